//! Lists of calls, sessions, users, models, tools and errors: rows with their cost, page by page, with totals.
//!
//! Each list is one SQL query over the view `steps` or `llm_calls` ([`queries`]), ordered and cut here. What a page shows is what its `sql`
//! gives. Costs are sums over rows that count (`counted` in `docs/data-model.md`), an unknown cost is NULL, and `unpriced_calls` says how many
//! calls that leaves out.
//! ```text
//! rows    SELECT columns FROM (query) WHERE after the last row of the page before ORDER BY key, id LIMIT n
//! totals  one row over everything that the list is about, on the first page
//! ```
//! Unknown keys come last in either direction. A page of calls is found by slim columns; previews are read for its rows alone. So are the
//! numbers of sessions and users: which ones are on the page is known by the sort key. Tools and errors take the costs of traces from their
//! sums ([`of_traces`]); sessions and users are added up from their steps, read once ([`groups`]).

mod groups;
mod of_traces;
mod page;
mod queries;
mod rows;
mod series;
mod session;
mod tools;
mod totals;

use std::time::Instant;

use assay_storage::trace_key_of;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use self::rows::{
    CallRow, CallTotals, ErrorRow, ErrorTotals, ModelRow, ModelTotals, SessionRow, SessionTotals, ToolRow, ToolTotals, UserRow,
    UserTotals,
};
use self::{
    page::Page,
    queries::{Group, TRACES},
};
pub(crate) use self::{
    queries::{CALLS, ERRORS, MODELS, Query, SESSIONS, TOOLS, USERS},
    series::{By, Measure, Series, SeriesRequest, series},
    session::{SessionPage, session},
    totals::{TraceTotals, trace_totals},
};
use crate::{
    error::{QueryError, QueryErrorKind},
    filter::Filter,
    time_range::span_range,
    traces::{Reader, sums},
};

/// Pairs of group and trace that are held in memory at most, 32 bytes each.
const PAIRS_MAX: usize = 4_000_000;

/// A column of a list.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ListColumn {
    /// Name, as in the rows and in SQL.
    pub(crate) name: &'static str,
    /// Type of its values.
    pub(crate) r#type: ColumnType,
    /// What they count or measure.
    pub(crate) unit: Option<Unit>,
    /// Whether the list can be ordered by it.
    pub(crate) sortable: bool,
}

/// Type of a column of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ColumnType {
    Text,
    Integer,
    /// A number with a fraction.
    Double,
    /// US dollars, as text, so that no digit is lost.
    Money,
    /// RFC 3339 in UTC.
    Time,
    /// A list of text.
    List,
}

/// What the values of a column count or measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Tokens,
    /// US dollars.
    Usd,
    /// Nanoseconds.
    Ns,
    Count,
}

/// What is asked of a list.
#[derive(Debug)]
pub(crate) struct ListRequest {
    /// Begin of the range, microseconds since 1970; none for everything.
    pub(crate) from: Option<i64>,
    /// End of the range, left out of it.
    pub(crate) to: i64,
    pub(crate) filter: Filter,
    /// Column; the list's own if none.
    pub(crate) sort: Option<String>,
    pub(crate) ascending: bool,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<String>,
}

/// The rows that a list is about, as conditions.
#[derive(Clone, Debug)]
struct Scope {
    /// On `start_time`.
    range: String,
    /// What the filter says.
    filter: Option<String>,
}

impl Scope {
    fn new(from: Option<i64>, to: i64, filter: &Filter) -> Self {
        Self { range: span_range(from, to), filter: filter.sql() }
    }

    /// Range and filter, both on the row itself.
    fn rows(&self) -> String {
        match &self.filter {
            Some(filter) => format!("{} AND {filter}", self.range),
            None => self.range.clone(),
        }
    }

    /// The range, and `column` having a row that the filter lets through.
    fn whole(&self, column: &str) -> String {
        match &self.filter {
            Some(_) => format!("{} AND {column} IN (SELECT {column} FROM steps WHERE {})", self.range, self.rows()),
            None => format!("{} AND {column} IS NOT NULL", self.range),
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<R, T> {
    /// The columns of the rows, in order.
    pub(crate) columns: Vec<ListColumn>,
    /// The rows, in the order asked for.
    pub(crate) rows: Vec<R>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub(crate) next_cursor: Option<String>,
    /// Over all rows of the list, on its first page; null on later ones.
    pub(crate) totals: Option<T>,
    /// SQL that gives these rows.
    pub(crate) sql: String,
    /// SQL that gives the totals.
    pub(crate) totals_sql: String,
    /// Time taken, milliseconds.
    pub(crate) elapsed_ms: f64,
}

/// A page of the list `query`.
///
/// # Errors
/// A [`QueryError`] of kind `Invalid` if the list cannot be ordered so or the cursor is not one of this list.
pub(crate) async fn list<R: DeserializeOwned, T: DeserializeOwned>(
    reader: &Reader<'_>,
    query: &'static Query,
    request: &ListRequest,
) -> Result<List<R, T>, QueryError> {
    let started = Instant::now();
    let mut page = Page::new(query, request)?;
    page.narrow(reader).await?;
    let totals_sql = (query.totals)(&page.scope);
    let summed = match (&query.of_traces, &query.group) {
        (Some(of), _) => of_traces::list(reader, query, of, &page).await?,
        (None, Some(group)) => groups::list(reader, group, &page).await?,
        (None, None) => None,
    };
    let (rows, totals) = match summed {
        Some((rows, totals)) => (rows, totals.map(typed::<T>).transpose()?),
        None => {
            let totals = async {
                match page.is_first() {
                    true => typed::<T>(total_row(reader, query, &page).await?).map(Some),
                    false => Ok(None),
                }
            };
            futures::try_join!(page.rows(reader), totals)?
        }
    };
    Ok(List {
        columns: query.columns.to_vec(),
        rows: rows.rows.into_iter().map(typed).collect::<Result<_, _>>()?,
        next_cursor: rows.next_cursor,
        totals,
        sql: page.sql(),
        totals_sql,
        elapsed_ms: started.elapsed().as_secs_f64() * 1e3,
    })
}

/// Totals of the list.
async fn total_row(reader: &Reader<'_>, query: &Query, page: &Page) -> Result<Map<String, Value>, QueryError> {
    let sql = (query.totals)(&page.asked);
    let none = || QueryError::new(QueryErrorKind::Internal, "totals have no row");
    if let Some(Group { column, .. }) = &query.group {
        // Told apart as SQL tells them apart, traces take longer than all other totals together; their rows stand side by side in files.
        let other_totals = sql.replacen(TRACES, "CAST(0 AS BIGINT)", 1);
        let condition = page.asked.whole(column);
        let (other, traces) =
            futures::try_join!(reader.rows(&other_totals, 1), distinct_traces(reader, page.range(), &condition))?;
        if let Some(traces) = traces {
            let mut row = other.into_iter().next().ok_or_else(none)?;
            row.insert("traces".to_owned(), traces.into());
            return Ok(row);
        }
    }
    reader.rows(&sql, 1).await?.into_iter().next().ok_or_else(none)
}

/// How many traces have a step in `range` for which `condition` holds; `None` if they are too many for memory.
async fn distinct_traces(reader: &Reader<'_>, range: sums::Range, condition: &str) -> Result<Option<usize>, QueryError> {
    let of_logs = format!("SELECT DISTINCT trace_id FROM steps WHERE {condition} AND source = 'log' AND trace_id IS NOT NULL");
    let (of_spans, of_logs) = futures::try_join!(sums::matching(reader, range, condition), reader.rows(&of_logs, usize::MAX))?;
    let Some(of_spans) = of_spans else { return Ok(None) };
    let of_logs = of_logs.iter().filter_map(|row| row["trace_id"].as_str()).map(trace_key_of);
    Ok(Some(of_spans.len() + of_logs.filter(|trace| of_spans.binary_search(trace).is_err()).count()))
}

fn first<T: DeserializeOwned>(rows: Vec<Map<String, Value>>) -> Result<T, QueryError> {
    let row = rows.into_iter().next().ok_or_else(|| QueryError::new(QueryErrorKind::Internal, "totals have no row"))?;
    typed(row)
}

fn typed<T: DeserializeOwned>(row: Map<String, Value>) -> Result<T, QueryError> {
    serde_json::from_value(Value::Object(row))
        .map_err(|e| QueryError::new(QueryErrorKind::Internal, format!("a row does not have the form expected: {e}")))
}
