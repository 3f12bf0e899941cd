//! One page of a list: where it begins, how it is ordered, and where the next one begins.

use std::{cmp::Ordering, collections::HashSet};

use arrow::array::AsArray as _;
use assay_schemas::table::Money;
use chrono::DateTime;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    ColumnType, ListColumn, ListRequest, Scope,
    groups::ADDED_UP_MAX,
    queries::{Group, Query},
};
use crate::{
    error::{QueryError, nearest},
    filter::quoted,
    traces::{Reader, sums},
};

/// Groups that are named in a question at most.
const NAMED_MAX: usize = 5_000;
/// So few groups are found among all steps by their names; more, by looking at each.
const FEW: usize = 50;

/// A page that is asked for.
pub(super) struct Page {
    query: &'static Query,
    column: &'static ListColumn,
    ascending: bool,
    limit: usize,
    cursor: Option<Cursor>,
    from: Option<i64>,
    to: i64,
    q: String,
    pub(super) scope: Scope,
    /// The same, as it is asked: [`Page::narrow`] may know what the filter comes to.
    pub(super) asked: Scope,
    /// Groups that the filter lets through, if they are known.
    wanted: Option<HashSet<Box<str>>>,
}

/// Rows of a page.
pub(super) struct Rows {
    pub(super) rows: Vec<Map<String, Value>>,
    pub(super) next_cursor: Option<String>,
}

/// The last row of the page before, and what the list was.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    list: String,
    from: Option<i64>,
    to: i64,
    sort: String,
    ascending: bool,
    q: String,
    /// Sort key; none if it is unknown.
    key: Option<String>,
    id: Vec<String>,
}

impl Page {
    pub(super) fn new(query: &'static Query, request: &ListRequest) -> Result<Self, QueryError> {
        let column = sort_column(query, request.sort.as_deref().unwrap_or(query.sort))?;
        let q = request.filter.to_string();
        let cursor = request.cursor.as_deref().map(Cursor::decode).transpose()?;
        if let Some(cursor) = &cursor {
            let same = (cursor.list.as_str(), cursor.sort.as_str(), cursor.ascending, cursor.q.as_str())
                == (query.name, column.name, request.ascending, q.as_str());
            if !same {
                return Err(QueryError::invalid("the cursor belongs to another list")
                    .expected("the same list, `q`, `sort` and `order` as on the page before"));
            }
            if cursor.id.len() != query.id.len() || cursor.key.as_deref().is_some_and(|key| literal(column.r#type, key).is_none())
            {
                return Err(Cursor::invalid(request.cursor.as_deref().unwrap_or_default()));
            }
        }
        // A relative range would move between pages.
        let (from, to) = cursor.as_ref().map_or((request.from, request.to), |c| (c.from, c.to));
        let scope = Scope::new(from, to, &request.filter);
        let asked = scope.clone();
        Ok(Self {
            query,
            column,
            ascending: request.ascending,
            limit: request.limit,
            cursor,
            from,
            to,
            q,
            scope,
            asked,
            wanted: None,
        })
    }

    /// SQL that gives the page as it is shown.
    pub(super) fn sql(&self) -> String {
        self.page_sql("*", &(self.query.rows)(&self.scope), self.limit)
    }

    pub(super) async fn rows(&self, reader: &Reader<'_>) -> Result<Rows, QueryError> {
        let wanted = self.limit + 1;
        let rows = match self.query.group {
            Some(Group { column, .. }) => self.groups(reader, column, wanted).await?,
            None => {
                let body = self.query.keys.unwrap_or(self.query.rows)(&self.asked);
                reader.rows(&self.page_sql("*", &body, wanted), wanted).await?
            }
        };
        let mut page = self.ended(rows);
        if let Some(details) = self.query.details {
            page.rows = details(reader, page.rows).await?;
        }
        Ok(page)
    }

    /// Rows of the page, and one more if there are more, among `all` of the list: what [`Page::sql`] does, done here.
    pub(super) fn of_all<T>(
        &self,
        all: impl Iterator<Item = T>,
        place: impl Fn(&T) -> Place,
        row: impl FnMut(T) -> Map<String, Value>,
    ) -> Vec<Map<String, Value>> {
        let from = self.cursor.as_ref().map(|cursor| self.place(cursor.key.as_deref(), cursor.id.clone()));
        let mut rows: Vec<(Place, T)> = all.map(|row| (place(&row), row)).collect();
        rows.retain(|(place, _)| from.as_ref().is_none_or(|from| from.compare(place, self.ascending).is_lt()));
        let wanted = self.limit + 1;
        if rows.len() > wanted {
            rows.select_nth_unstable_by(wanted, |(a, _), (b, _)| a.compare(b, self.ascending));
            rows.truncate(wanted);
        }
        rows.sort_by(|(a, _), (b, _)| a.compare(b, self.ascending));
        rows.into_iter().map(|(_, row)| row).map(row).collect()
    }

    /// Where a row of the list stands in it.
    pub(super) fn place_of(&self, row: &Map<String, Value>) -> Place {
        let id = self.query.id.iter().map(|name| text(row, name).unwrap_or_default()).collect();
        self.place(text(row, self.column.name).as_deref(), id)
    }

    fn place(&self, key: Option<&str>, id: Vec<String>) -> Place {
        Place { key: key.and_then(|key| Key::parse(self.column.r#type, key)), id }
    }

    /// The page of rows that are one too many if there are more.
    pub(super) fn ended(&self, mut rows: Vec<Map<String, Value>>) -> Rows {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next_cursor = rows.last().filter(|_| more).map(|row| self.cursor_after(row).encode());
        Rows { rows, next_cursor }
    }

    /// The rows of a page of groups: which they are and when they were by the sort key alone, then their numbers by what lies between.
    async fn groups(&self, reader: &Reader<'_>, group: &str, wanted: usize) -> Result<Vec<Map<String, Value>>, QueryError> {
        let mut columns = vec![group, "first_time", "last_time"];
        if !columns.contains(&self.column.name) {
            columns.push(self.column.name);
        }
        let keys_sql = self.page_sql(&columns.join(", "), &(self.query.rows)(&self.asked), wanted);
        let keys = reader.rows(&keys_sql, wanted).await?;
        self.named(reader, group, keys).await
    }

    /// The rows of the groups that `keys` name and date, in the same order.
    pub(super) async fn named(
        &self,
        reader: &Reader<'_>,
        group: &str,
        keys: Vec<Map<String, Value>>,
    ) -> Result<Vec<Map<String, Value>>, QueryError> {
        let texts = |name: &'static str| keys.iter().filter_map(move |row| row[name].as_str());
        // All times have the same form, so that the first text is the first time.
        let (Some(first), Some(last)) = (texts("first_time").min(), texts("last_time").max()) else { return Ok(Vec::new()) };
        let ids: Vec<&str> = keys.iter().filter_map(|row| row[group].as_str()).collect();
        let range = format!(
            "{} AND start_time >= TIMESTAMP {} AND start_time <= TIMESTAMP {} AND {group} IN ({})",
            self.scope.range,
            quoted(first),
            quoted(last),
            ids.iter().map(|id| quoted(id)).collect::<Vec<_>>().join(", ")
        );
        let mut rows = reader.rows(&(self.query.rows)(&Scope { range, filter: None }), keys.len()).await?;
        rows.sort_by_cached_key(|row| ids.iter().position(|id| row[group] == *id));
        Ok(rows)
    }

    /// Asks once which groups the filter lets through, where that is asked for in several questions, and names them if they are few.
    ///
    /// # Errors
    /// As the question it asks.
    pub(super) async fn narrow(&mut self, reader: &Reader<'_>) -> Result<(), QueryError> {
        let (Some(Group { column, .. }), Some(_)) = (&self.query.group, &self.scope.filter) else { return Ok(()) };
        let sql = format!("SELECT DISTINCT {column} FROM steps WHERE {} AND {column} IS NOT NULL", self.scope.rows());
        let batches = reader.batches(&sql, ADDED_UP_MAX + 1).await?;
        let names = || batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
        let count = names().count();
        if count > ADDED_UP_MAX {
            return Ok(());
        }
        if count <= NAMED_MAX {
            let range = match count {
                0 => format!("{} AND false", self.scope.range),
                _ => format!("{} AND {column} IN ({})", self.scope.range, names().map(quoted).collect::<Vec<_>>().join(", ")),
            };
            self.asked = Scope { range, filter: None };
        }
        self.wanted = Some(names().map(Into::into).collect());
        Ok(())
    }

    /// A condition on steps, and which of the groups that it leaves are on the list (all if `None`); nothing if that is not known.
    pub(super) fn groups_wanted(&self) -> Option<(&str, Option<&HashSet<Box<str>>>)> {
        match &self.wanted {
            Some(wanted) if wanted.len() <= FEW => Some((&self.asked.range, None)),
            Some(wanted) => Some((&self.scope.range, Some(wanted))),
            None => self.scope.filter.is_none().then_some((&*self.scope.range, None)),
        }
    }

    /// The column that the list is ordered by.
    pub(super) fn sorted_by(&self) -> &'static str {
        self.column.name
    }

    /// Whether no page comes before it.
    pub(super) fn is_first(&self) -> bool {
        self.cursor.is_none()
    }

    /// The time range of the list.
    pub(super) fn range(&self) -> sums::Range {
        sums::Range { from: self.from.unwrap_or(i64::MIN), to: self.to }
    }

    fn page_sql(&self, columns: &str, body: &str, limit: usize) -> String {
        let order = if self.ascending { "ASC" } else { "DESC" };
        let id: Vec<String> = self.query.id.iter().map(|id| format!("{} {order}", id_sql(id))).collect();
        let after = self.cursor.as_ref().map(|cursor| format!("\nWHERE {}", self.after(cursor))).unwrap_or_default();
        format!(
            "SELECT {columns} FROM (\n{body}\n) AS {}{after}\nORDER BY {} {order} NULLS LAST, {}\nLIMIT {limit}",
            self.query.name,
            self.column.name,
            id.join(", ")
        )
    }

    /// Rows that come after the cursor.
    fn after(&self, cursor: &Cursor) -> String {
        let (column, beyond) = (self.column.name, if self.ascending { ">" } else { "<" });
        let id = id_after(self.query.id, &cursor.id, beyond);
        match cursor.key.as_deref().and_then(|key| literal(self.column.r#type, key)) {
            Some(key) => format!("({column} {beyond} {key} OR {column} IS NULL OR ({column} = {key} AND {id}))"),
            None => format!("{column} IS NULL AND {id}"),
        }
    }

    fn cursor_after(&self, row: &Map<String, Value>) -> Cursor {
        Cursor {
            list: self.query.name.to_owned(),
            from: self.from,
            to: self.to,
            sort: self.column.name.to_owned(),
            ascending: self.ascending,
            q: self.q.clone(),
            key: text(row, self.column.name),
            id: self.query.id.iter().map(|name| text(row, name).unwrap_or_default()).collect(),
        }
    }
}

/// Where a row stands in a list.
#[derive(Debug)]
pub(super) struct Place {
    /// Sort key; none if it is unknown.
    pub(super) key: Option<Key>,
    pub(super) id: Vec<String>,
}

impl Place {
    /// As `ORDER BY key NULLS LAST, id`, both in the same direction.
    fn compare(&self, other: &Self, ascending: bool) -> Ordering {
        let directed = |order: Ordering| if ascending { order } else { order.reverse() };
        let keys = match (&self.key, &other.key) {
            (Some(a), Some(b)) => directed(a.compare(b)),
            (a, b) => a.is_none().cmp(&b.is_none()),
        };
        keys.then_with(|| directed(self.id.cmp(&other.id)))
    }
}

/// What a list is ordered by. All keys of a list are of one kind.
#[derive(Debug)]
pub(super) enum Key {
    /// Ordered by its bytes.
    Text(String),
    /// A number, or a time in microseconds since 1970.
    Integer(i64),
    /// In 10⁻¹⁵ US dollars.
    Money(i128),
    Double(f64),
}

impl Key {
    /// A value as JSON has it; none if it is not of that type.
    fn parse(of: ColumnType, text: &str) -> Option<Self> {
        Some(match of {
            ColumnType::Text | ColumnType::List => Self::Text(text.to_owned()),
            ColumnType::Time => Self::Integer(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros()),
            ColumnType::Integer => Self::Integer(text.parse().ok()?),
            ColumnType::Money => Self::Money(Money::to_stored(text.parse::<Decimal>().ok()?)),
            ColumnType::Double => Self::Double(text.parse().ok()?),
        })
    }

    /// As SQL orders them.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Money(a), Self::Money(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            _ => Ordering::Equal,
        }
    }
}

/// A value as text; none if it is unknown.
fn text(row: &Map<String, Value>, name: &str) -> Option<String> {
    match row.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl Cursor {
    fn encode(&self) -> String {
        hex::encode(serde_json::to_vec(self).expect("a cursor is plain data"))
    }

    fn decode(text: &str) -> Result<Self, QueryError> {
        let bytes = hex::decode(text).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| Self::invalid(text))
    }

    fn invalid(text: &str) -> QueryError {
        QueryError::invalid("not a cursor").found(text).expected("the `next_cursor` of the page before")
    }
}

fn sort_column(query: &'static Query, name: &str) -> Result<&'static ListColumn, QueryError> {
    let sortable = || query.columns.iter().filter(|column| column.sortable);
    if let Some(column) = sortable().find(|column| column.name == name) {
        return Ok(column);
    }
    let error = QueryError::invalid(format!("this list cannot be ordered by `{name}`")).found(name);
    Err(match nearest(name, sortable().map(|column| column.name)) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error.expected(format!("one of {}", sortable().map(|c| format!("`{}`", c.name)).collect::<Vec<_>>().join(", "))),
    })
}

/// A part of what names a row; what is unknown stands as empty text.
fn id_sql(column: &str) -> String {
    format!("coalesce({column}, '')")
}

fn id_after(columns: &[&str], values: &[String], beyond: &str) -> String {
    match (columns.split_first(), values.split_first()) {
        (Some((column, columns)), Some((value, values))) => {
            let (column, value) = (id_sql(column), quoted(value));
            if columns.is_empty() {
                return format!("{column} {beyond} {value}");
            }
            format!("({column} {beyond} {value} OR ({column} = {value} AND {}))", id_after(columns, values, beyond))
        }
        _ => "false".to_owned(),
    }
}

/// A sort key as SQL; none if it is not one.
fn literal(column_type: ColumnType, key: &str) -> Option<String> {
    let number = key.parse::<f64>().is_ok_and(f64::is_finite);
    match column_type {
        ColumnType::Text => Some(quoted(key)),
        ColumnType::Integer => key.parse::<i64>().ok().map(|key| key.to_string()),
        ColumnType::Double => number.then(|| format!("CAST({} AS DOUBLE)", quoted(key))),
        ColumnType::Money => number.then(|| format!("CAST({} AS DECIMAL(38, 15))", quoted(key))),
        ColumnType::Time => chrono::DateTime::parse_from_rfc3339(key).is_ok().then(|| format!("TIMESTAMP {}", quoted(key))),
        ColumnType::List => None,
    }
}
