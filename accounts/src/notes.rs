//! Notes that people leave on traces and spans.

use assay_schemas::ids::ProjectId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    error::{AccountsError, failed},
    store::{Accounts, checked_id, later_than, time},
    transaction::{Row, SqlError},
};

/// Characters of a note.
const TEXT_CHARS_MAX: usize = 10_000;
/// Notes on a trace.
const NOTES_MAX: i64 = 500;
const COLUMNS: &str = "id, trace_id, span_id, text, created_at, updated_at";

/// A note on a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Identifier, a UUID.
    pub id: String,
    /// The trace.
    pub trace_id: String,
    /// The span, if it is about one.
    pub span_id: Option<String>,
    /// What it says, Markdown.
    pub text: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it was last changed; it never repeats.
    pub updated_at: DateTime<Utc>,
}

/// What a note is made of.
#[derive(Clone, Debug)]
pub struct NewNote {
    /// 32 hex digits. The trace need not have arrived.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: Option<String>,
    /// 1 to 10 000 characters.
    pub text: String,
}

impl Accounts {
    /// The notes on a trace, the oldest first.
    ///
    /// # Errors
    /// [`AccountsError::Invalid`] if `trace_id` is none; [`AccountsError::Database`].
    pub async fn notes(&self, project: &ProjectId, trace_id: &str) -> Result<Vec<Note>, AccountsError> {
        let (project, trace_id) = (project.clone(), hex_id("trace_id", trace_id, 32)?);
        let sql = format!("SELECT {COLUMNS} FROM notes WHERE project_id = ?1 AND trace_id = ?2 ORDER BY created_at, id");
        self.read(move |tx| {
            let rows = tx.rows(&sql, &[project.as_str().into(), trace_id.as_str().into()]);
            rows.and_then(|rows| rows.into_iter().map(read).collect()).map_err(failed("list notes"))
        })
        .await
    }

    /// Keeps a new note.
    ///
    /// # Errors
    /// [`AccountsError::Invalid`], [`AccountsError::Full`], [`AccountsError::Database`].
    pub async fn add_note(&self, project: &ProjectId, new: NewNote, now: DateTime<Utc>) -> Result<Note, AccountsError> {
        let now = time(now.timestamp_micros());
        let note = Note {
            id: Uuid::now_v7().to_string(),
            trace_id: hex_id("trace_id", &new.trace_id, 32)?,
            span_id: new.span_id.map(|id| hex_id("span_id", &id, 16)).transpose()?,
            text: checked(new.text)?,
            created_at: now,
            updated_at: now,
        };
        let in_project = project.clone();
        self.write(project, move |tx| {
            let project = in_project.as_str();
            let count = "SELECT count(*) FROM notes WHERE project_id = ?1 AND trace_id = ?2";
            let count = tx.number(count, &[project.into(), note.trace_id.as_str().into()]).map_err(failed("count notes"))?;
            if count >= NOTES_MAX {
                return Err(AccountsError::Full { what: "notes on the trace", limit: NOTES_MAX });
            }
            let insert = "INSERT INTO notes (id, project_id, trace_id, span_id, text, created_at, updated_at) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)";
            let (id, trace_id, span_id) = (note.id.as_str(), note.trace_id.as_str(), note.span_id.as_deref());
            let micros = now.timestamp_micros();
            let values = [id.into(), project.into(), trace_id.into(), span_id.into(), note.text.as_str().into(), micros.into()];
            tx.execute(insert, &values).map_err(failed("keep a note"))?;
            Ok(note)
        })
        .await
    }

    /// Changes what a note says; refused if it was changed since `read_at`.
    ///
    /// # Errors
    /// [`AccountsError::NotFound`], [`AccountsError::Changed`], [`AccountsError::Invalid`], [`AccountsError::Database`].
    pub async fn change_note(
        &self,
        project: &ProjectId,
        id: &str,
        text: String,
        read_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Note, AccountsError> {
        let (in_project, id, text) = (project.clone(), checked_id(id, not_found)?, checked(text)?);
        self.write(project, move |tx| {
            let project = in_project.as_str();
            let sql = format!("SELECT {COLUMNS} FROM notes WHERE project_id = ?1 AND id = ?2");
            let note = tx.row(&sql, &[project.into(), id.as_str().into()]).and_then(|row| row.map(read).transpose());
            let mut note = note.map_err(failed("read a note"))?.ok_or_else(|| not_found(&id))?;
            if read_at.is_some_and(|read_at| read_at != note.updated_at) {
                return Err(AccountsError::Changed { updated_at: note.updated_at });
            }
            (note.text, note.updated_at) = (text, later_than(note.updated_at, now));
            let update = "UPDATE notes SET text = ?3, updated_at = ?4 WHERE project_id = ?1 AND id = ?2";
            let micros = note.updated_at.timestamp_micros();
            let values = [project.into(), id.as_str().into(), note.text.as_str().into(), micros.into()];
            tx.execute(update, &values).map_err(failed("change a note"))?;
            Ok(note)
        })
        .await
    }

    /// Deletes a note.
    ///
    /// # Errors
    /// [`AccountsError::NotFound`], [`AccountsError::Database`].
    pub async fn delete_note(&self, project: &ProjectId, id: &str) -> Result<(), AccountsError> {
        let (in_project, id) = (project.clone(), checked_id(id, not_found)?);
        self.write(project, move |tx| {
            let delete = "DELETE FROM notes WHERE project_id = ?1 AND id = ?2";
            let values = [in_project.as_str().into(), id.as_str().into()];
            let deleted = tx.execute(delete, &values).map_err(failed("delete a note"))?;
            if deleted == 0 { Err(not_found(&id)) } else { Ok(()) }
        })
        .await
    }
}

/// A row of [`COLUMNS`].
fn read(row: Row) -> Result<Note, SqlError> {
    let [id, trace_id, span_id, text, created_at, updated_at] = row.columns()?;
    Ok(Note {
        id: id.text()?,
        trace_id: trace_id.text()?,
        span_id: span_id.optional_text()?,
        text: text.text()?,
        created_at: time(created_at.int()?),
        updated_at: time(updated_at.int()?),
    })
}

/// `text` as an identifier of `digits` lower-case hex digits.
fn hex_id(field: &'static str, text: &str, digits: usize) -> Result<String, AccountsError> {
    if text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let found = format!("`{}`", text.chars().take(80).collect::<String>());
    Err(AccountsError::Invalid { field, found, expected: format!("`{digits}` hex digits") })
}

fn checked(text: String) -> Result<String, AccountsError> {
    let chars = text.chars().count();
    if text.trim().is_empty() || chars > TEXT_CHARS_MAX {
        let found = if chars > TEXT_CHARS_MAX { format!("`{chars}` characters") } else { "nothing".to_owned() };
        return Err(AccountsError::Invalid { field: "text", found, expected: format!("`1` to `{TEXT_CHARS_MAX}` characters") });
    }
    if text.contains('\0') {
        // Postgres keeps no text with it.
        let (found, expected) = ("the character U+0000".to_owned(), "text without it".to_owned());
        return Err(AccountsError::Invalid { field: "text", found, expected });
    }
    Ok(text)
}

fn not_found(id: &str) -> AccountsError {
    AccountsError::NotFound { what: "note", id: id.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const TRACE: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test]
    async fn a_note_is_written_changed_and_deleted_by_its_project_alone() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(&dir.path().join("assay.db")).unwrap();
        let (ours, theirs) = (ProjectId::default_project(), ProjectId::new("theirs").unwrap());
        let new = NewNote {
            trace_id: TRACE.to_uppercase(),
            span_id: Some("00112233445566AA".into()),
            text: "why **three** calls?".into(),
        };
        let note = accounts.add_note(&ours, new, Utc::now()).await.unwrap();
        assert_eq!((note.trace_id.as_str(), note.span_id.as_deref()), (TRACE, Some("00112233445566aa")));
        assert!(accounts.notes(&theirs, TRACE).await.unwrap().is_empty());
        let foreign = accounts.change_note(&theirs, &note.id, "x".into(), None, Utc::now()).await;
        assert!(matches!(foreign, Err(AccountsError::NotFound { .. })));

        let read_at = Some(note.updated_at);
        let changed = accounts.change_note(&ours, &note.id, "a retry".into(), read_at, Utc::now()).await.unwrap();
        assert_eq!(accounts.notes(&ours, TRACE).await.unwrap(), [changed]);
        let late = accounts.change_note(&ours, &note.id, "another".into(), read_at, Utc::now()).await;
        assert!(matches!(late, Err(AccountsError::Changed { .. })));
        accounts.delete_note(&ours, &note.id).await.unwrap();
        assert!(accounts.notes(&ours, TRACE).await.unwrap().is_empty());
        assert!(matches!(accounts.delete_note(&ours, &note.id).await, Err(AccountsError::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_note_says_something_of_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(&dir.path().join("assay.db")).unwrap();
        for (trace_id, text, field) in
            [("0123", "x", "trace_id"), (TRACE, "  ", "text"), (TRACE, "a\0b", "text"), (TRACE, &*"x".repeat(10_001), "text")]
        {
            let new = NewNote { trace_id: trace_id.into(), span_id: None, text: text.into() };
            let refused = accounts.add_note(&ProjectId::default_project(), new, Utc::now()).await;
            assert!(matches!(refused, Err(AccountsError::Invalid { field: f, .. }) if f == field), "{trace_id} {text}");
        }
    }
}
