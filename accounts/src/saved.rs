//! Saved views of the trace list and saved queries of the SQL workbench, by name, shared by everyone in the project.

use assay_schemas::ids::ProjectId;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    error::{AccountsError, failed},
    store::{Accounts, checked_id, later_than, time},
    transaction::{Row, SqlError, Transaction},
};

/// Characters of a name.
const NAME_CHARS_MAX: usize = 120;
/// Bytes of a body as JSON text.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Items of a project and kind: a list that is shown whole.
const ITEMS_MAX: i64 = 1000;
const COLUMNS: &str = "id, kind, name, body, is_default, created_at, updated_at";

/// What is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedKind {
    /// Filter, columns and order of a list.
    View,
    /// SQL with parameters and perhaps a chart.
    Query,
}

impl SavedKind {
    /// As it is written in the API and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Query => "query",
        }
    }
}

/// A saved view or query.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Identifier, a UUID.
    pub id: String,
    /// View or query.
    pub kind: SavedKind,
    /// Unique among those of its kind in the project.
    pub name: String,
    /// What the UI keeps of it.
    pub body: Value,
    /// Whether it is the view that the project opens with.
    pub is_default: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed; it never repeats, so that it also tells one state from the next.
    pub updated_at: DateTime<Utc>,
}

/// What a saved item is made of.
#[derive(Clone, Debug)]
pub struct NewSaved {
    /// View or query.
    pub kind: SavedKind,
    /// 1 to 120 characters without white space around.
    pub name: String,
    /// A JSON object of at most 64 KiB; of a query, with its SQL as `query`.
    pub body: Value,
    /// Makes it the default, in the place of the one that is. Views only.
    pub is_default: bool,
}

/// What is to be changed; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct SavedChange {
    /// Refuses the change if the item is of another kind.
    pub kind: Option<SavedKind>,
    /// New name.
    pub name: Option<String>,
    /// New body.
    pub body: Option<Value>,
    /// Whether it is the default.
    pub is_default: Option<bool>,
    /// Refuses the change if the item was changed since.
    pub read_at: Option<DateTime<Utc>>,
}

impl Accounts {
    /// The items of `project`, by kind and name; of one kind if asked for.
    ///
    /// # Errors
    /// [`AccountsError::Database`].
    pub async fn saved(&self, project: &ProjectId, kind: Option<SavedKind>) -> Result<Vec<Saved>, AccountsError> {
        let project = project.clone();
        let sql =
            format!("SELECT {COLUMNS} FROM saved WHERE project_id = ?1 AND (kind = ?2 OR ?2 IS NULL) ORDER BY kind DESC, name");
        self.read(move |tx| {
            let rows = tx.rows(&sql, &[project.as_str().into(), kind.map(SavedKind::as_str).into()]);
            rows.and_then(|rows| rows.into_iter().map(read).collect()).map_err(failed("list saved items"))
        })
        .await
    }

    /// Keeps a new item.
    ///
    /// # Errors
    /// [`AccountsError::Invalid`], [`AccountsError::NameTaken`], [`AccountsError::Full`], [`AccountsError::Database`].
    pub async fn save(&self, project: &ProjectId, new: NewSaved, now: DateTime<Utc>) -> Result<Saved, AccountsError> {
        let now = time(now.timestamp_micros());
        let NewSaved { kind, name, body, is_default } = new;
        let saved = Saved { id: Uuid::now_v7().to_string(), kind, name, body, is_default, created_at: now, updated_at: now };
        let (in_project, body) = (project.clone(), checked(&saved)?);
        self.write(project, move |tx| {
            let project = in_project.as_str();
            let count = "SELECT count(*) FROM saved WHERE project_id = ?1 AND kind = ?2";
            let count = tx.number(count, &[project.into(), kind.as_str().into()]).map_err(failed("count saved items"))?;
            if count >= ITEMS_MAX {
                let what = if kind == SavedKind::View { "views of the project" } else { "queries of the project" };
                return Err(AccountsError::Full { what, limit: ITEMS_MAX });
            }
            if is_default {
                drop_default(tx, project, now)?;
            }
            let insert = "INSERT INTO saved (id, project_id, kind, name, body, is_default, created_at, updated_at) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)";
            let (id, kind, name, body) = (saved.id.as_str(), kind.as_str(), saved.name.as_str(), body.as_str());
            let micros = now.timestamp_micros();
            let values = [id.into(), project.into(), kind.into(), name.into(), body.into(), is_default.into(), micros.into()];
            tx.execute(insert, &values).map_err(|error| not_kept(error, &saved))?;
            Ok(saved)
        })
        .await
    }

    /// Changes an item and returns it as it is then.
    ///
    /// # Errors
    /// [`AccountsError::NotFound`], [`AccountsError::Changed`], and those of [`Accounts::save`].
    pub async fn change_saved(
        &self,
        project: &ProjectId,
        id: &str,
        change: SavedChange,
        now: DateTime<Utc>,
    ) -> Result<Saved, AccountsError> {
        let (in_project, id) = (project.clone(), checked_id(id, not_found)?);
        self.write(project, move |tx| {
            let project = in_project.as_str();
            let sql = format!("SELECT {COLUMNS} FROM saved WHERE project_id = ?1 AND id = ?2");
            let saved = tx.row(&sql, &[project.into(), id.as_str().into()]).and_then(|row| row.map(read).transpose());
            let saved = saved.map_err(failed("read a saved item"))?.ok_or_else(|| not_found(&id))?.changed(change, now)?;
            let body = checked(&saved)?;
            if saved.is_default {
                drop_default(tx, project, saved.updated_at)?;
            }
            let update =
                "UPDATE saved SET name = ?3, body = ?4, is_default = ?5, updated_at = ?6 WHERE project_id = ?1 AND id = ?2";
            let (id, name, body, micros) = (id.as_str(), saved.name.as_str(), body.as_str(), saved.updated_at.timestamp_micros());
            let values = [project.into(), id.into(), name.into(), body.into(), saved.is_default.into(), micros.into()];
            tx.execute(update, &values).map_err(|error| not_kept(error, &saved))?;
            Ok(saved)
        })
        .await
    }

    /// Deletes an item.
    ///
    /// # Errors
    /// [`AccountsError::NotFound`], [`AccountsError::Database`].
    pub async fn delete_saved(&self, project: &ProjectId, id: &str) -> Result<(), AccountsError> {
        let (in_project, id) = (project.clone(), checked_id(id, not_found)?);
        self.write(project, move |tx| {
            let delete = "DELETE FROM saved WHERE project_id = ?1 AND id = ?2";
            let values = [in_project.as_str().into(), id.as_str().into()];
            let deleted = tx.execute(delete, &values).map_err(failed("delete a saved item"))?;
            if deleted == 0 { Err(not_found(&id)) } else { Ok(()) }
        })
        .await
    }
}

impl Saved {
    /// The item after `change`, if it is still as it was when it was read.
    fn changed(self, change: SavedChange, now: DateTime<Utc>) -> Result<Self, AccountsError> {
        if change.read_at.is_some_and(|read_at| read_at != self.updated_at) {
            return Err(AccountsError::Changed { updated_at: self.updated_at });
        }
        if let Some(kind) = change.kind.filter(|kind| *kind != self.kind) {
            let (found, expected) = (format!("`{}`", kind.as_str()), format!("`{}`, which it is", self.kind.as_str()));
            return Err(AccountsError::Invalid { field: "kind", found, expected });
        }
        Ok(Self {
            name: change.name.unwrap_or(self.name),
            body: change.body.unwrap_or(self.body),
            is_default: change.is_default.unwrap_or(self.is_default),
            updated_at: later_than(self.updated_at, now),
            ..self
        })
    }
}

/// No view of `project` is the default after this.
fn drop_default(tx: &mut dyn Transaction, project: &str, now: DateTime<Utc>) -> Result<(), AccountsError> {
    let sql = "UPDATE saved SET is_default = FALSE, updated_at = CASE WHEN updated_at < ?2 THEN ?2 ELSE updated_at + 1 END \
               WHERE project_id = ?1 AND is_default";
    tx.execute(sql, &[project.into(), now.timestamp_micros().into()]).map(drop).map_err(failed("change the default view"))
}

/// A row of [`COLUMNS`].
fn read(row: Row) -> Result<Saved, SqlError> {
    let [id, kind, name, body, is_default, created_at, updated_at] = row.columns()?;
    Ok(Saved {
        id: id.text()?,
        kind: if kind.text()? == SavedKind::View.as_str() { SavedKind::View } else { SavedKind::Query },
        name: name.text()?,
        body: serde_json::from_str(&body.text()?).map_err(SqlError::other)?,
        is_default: is_default.bool()?,
        created_at: time(created_at.int()?),
        updated_at: time(updated_at.int()?),
    })
}

/// The body as text, if everything about `saved` is as it must be.
fn checked(saved: &Saved) -> Result<String, AccountsError> {
    let invalid = |field, found: String, expected: String| Err(AccountsError::Invalid { field, found, expected });
    let chars = saved.name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) {
        return invalid("name", format!("`{chars}` characters"), format!("`1` to `{NAME_CHARS_MAX}`"));
    }
    if saved.name.trim() != saved.name || saved.name.chars().any(char::is_control) {
        return invalid("name", format!("`{}`", saved.name), "no white space around it and no control characters".to_owned());
    }
    if !saved.body.is_object() {
        return invalid("body", kind_of(&saved.body).to_owned(), "a JSON object".to_owned());
    }
    if saved.kind == SavedKind::Query && !saved.body.get("query").is_some_and(Value::is_string) {
        return invalid("body", "no text `query` in it".to_owned(), "the SQL of the query as `query`".to_owned());
    }
    if saved.kind == SavedKind::Query && saved.is_default {
        return invalid("is_default", "`true` for a query".to_owned(), "`false`: only a view can be the default".to_owned());
    }
    let body = saved.body.to_string();
    if body.len() > BODY_BYTES_MAX {
        return invalid("body", format!("`{}` bytes", body.len()), format!("at most `{BODY_BYTES_MAX}`"));
    }
    Ok(body)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The only unique index that a caller can break is the one on names.
fn not_kept(error: SqlError, saved: &Saved) -> AccountsError {
    match error {
        SqlError::Duplicate => AccountsError::NameTaken { kind: saved.kind.as_str(), name: saved.name.clone() },
        other => failed("keep a saved item")(other),
    }
}

fn not_found(id: &str) -> AccountsError {
    AccountsError::NotFound { what: "saved item", id: id.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Fixture {
        accounts: Accounts,
        project: ProjectId,
        _dir: tempfile::TempDir,
    }

    impl Fixture {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let accounts = Accounts::open(&dir.path().join("assay.db")).unwrap();
            Self { accounts, project: ProjectId::default_project(), _dir: dir }
        }

        async fn view(&self, name: &str, is_default: bool) -> Result<Saved, AccountsError> {
            let new = NewSaved { kind: SavedKind::View, name: name.to_owned(), body: json!({"q": "has:error"}), is_default };
            self.accounts.save(&self.project, new, Utc::now()).await
        }

        async fn change(&self, id: &str, change: SavedChange) -> Result<Saved, AccountsError> {
            self.accounts.change_saved(&self.project, id, change, Utc::now()).await
        }

        async fn defaults(&self) -> Vec<String> {
            let all = self.accounts.saved(&self.project, None).await.unwrap();
            all.into_iter().filter(|saved| saved.is_default).map(|saved| saved.name).collect()
        }
    }

    #[tokio::test]
    async fn a_project_has_one_default_view() {
        let f = Fixture::new().await;
        let errors = f.view("errors", true).await.unwrap();
        f.view("slow", true).await.unwrap();
        assert_eq!(f.defaults().await, ["slow"]);
        f.change(&errors.id, SavedChange { is_default: Some(true), ..Default::default() }).await.unwrap();
        assert_eq!(f.defaults().await, ["errors"]);
        f.change(&errors.id, SavedChange { is_default: Some(false), ..Default::default() }).await.unwrap();
        assert!(f.defaults().await.is_empty());
        let query = NewSaved { kind: SavedKind::Query, name: "q".into(), body: json!({"query": "SELECT 1"}), is_default: true };
        let refused = f.accounts.save(&f.project, query, Utc::now()).await;
        assert!(matches!(refused, Err(AccountsError::Invalid { field: "is_default", .. })));
    }

    #[tokio::test]
    async fn a_name_is_taken_once_in_its_project_and_kind() {
        let f = Fixture::new().await;
        f.view("errors", false).await.unwrap();
        assert!(matches!(f.view("errors", false).await, Err(AccountsError::NameTaken { kind: "view", .. })));
        let query =
            NewSaved { kind: SavedKind::Query, name: "errors".into(), body: json!({"query": "SELECT 1"}), is_default: false };
        f.accounts.save(&f.project, query, Utc::now()).await.unwrap();
        let slow = f.view("slow", false).await.unwrap();
        let renamed = f.change(&slow.id, SavedChange { name: Some("errors".into()), ..Default::default() }).await;
        assert!(matches!(renamed, Err(AccountsError::NameTaken { .. })));
        let views = f.accounts.saved(&f.project, Some(SavedKind::View)).await.unwrap();
        assert_eq!(views.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["errors", "slow"]);
    }

    #[tokio::test]
    async fn a_change_of_what_was_changed_meanwhile_is_refused() {
        let f = Fixture::new().await;
        let read = f.view("errors", false).await.unwrap();
        let first = SavedChange { body: Some(json!({"q": "a"})), read_at: Some(read.updated_at), ..Default::default() };
        let second = SavedChange { body: Some(json!({"q": "b"})), read_at: Some(read.updated_at), ..Default::default() };
        let changed = f.change(&read.id, first).await.unwrap();
        assert!(changed.updated_at > read.updated_at);
        assert!(
            matches!(f.change(&read.id, second).await, Err(AccountsError::Changed { updated_at }) if updated_at == changed.updated_at)
        );
        assert_eq!(f.accounts.saved(&f.project, None).await.unwrap(), [changed]);
    }

    #[tokio::test]
    async fn another_projects_items_are_not_there() {
        let f = Fixture::new().await;
        let view = f.view("errors", false).await.unwrap();
        let other = ProjectId::new("other").unwrap();
        assert!(f.accounts.saved(&other, None).await.unwrap().is_empty());
        let change = f.accounts.change_saved(&other, &view.id, SavedChange::default(), Utc::now()).await;
        assert!(matches!(change, Err(AccountsError::NotFound { .. })));
        assert!(matches!(f.accounts.delete_saved(&other, &view.id).await, Err(AccountsError::NotFound { .. })));
        f.accounts.delete_saved(&f.project, &view.id).await.unwrap();
        assert!(matches!(f.accounts.delete_saved(&f.project, &view.id).await, Err(AccountsError::NotFound { .. })));
    }

    #[test]
    fn what_is_too_large_or_of_another_shape_is_refused_by_field() {
        let check = |kind, name: &str, body: Value| {
            let (id, now) = (String::new(), Utc::now());
            let saved = Saved { id, kind, name: name.to_owned(), body, is_default: false, created_at: now, updated_at: now };
            checked(&saved).err().map(|error| error.to_string())
        };
        use SavedKind::{Query, View};
        for (kind, name, body, says) in [
            (View, "", json!({}), "`name` cannot be kept: found `0` characters"),
            (View, &*"x".repeat(121), json!({}), "`name` cannot be kept: found `121` characters"),
            (View, " a", json!({}), "no white space around"),
            (View, "a", json!([]), "`body` cannot be kept: found an array, expected a JSON object"),
            (View, "a", json!({"q": "x".repeat(70_000)}), "`body` cannot be kept: found `70008` bytes"),
            (Query, "a", json!({}), "no text `query`"),
        ] {
            let said = check(kind, name, body).unwrap();
            assert!(said.contains(says), "{said}");
        }
        assert_eq!(check(View, &"ä".repeat(120), json!({})), None);
    }
}
