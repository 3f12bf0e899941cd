//! A session: its row in the list of sessions, and its traces in order of time with the conversation of each.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::{SessionRow, first, queries::sessions_sql};
use crate::{
    error::{QueryError, QueryErrorKind},
    filter::quoted,
    traces::{Reader, TraceSummary, summary_sql},
};

/// A session with a page of its traces.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionPage {
    /// The session as a whole.
    pub(crate) session: SessionRow,
    /// Its traces, the first one first.
    pub(crate) traces: Vec<SessionTrace>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub(crate) next_cursor: Option<String>,
    /// SQL that gives the session's row.
    pub(crate) sql: String,
    /// SQL that gives the traces.
    pub(crate) traces_sql: String,
}

/// A trace of a session, with what was said in it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionTrace {
    /// The trace in short.
    #[serde(flatten)]
    pub(crate) trace: TraceSummary,
    /// Span that the conversation is taken from: the root if it has messages, else the longest span that has.
    pub(crate) span_id: Option<String>,
    /// What it was given, in the GenAI message format.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(crate) input_messages: Option<Box<RawValue>>,
    /// What it answered, in the same format.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(crate) output_messages: Option<Box<RawValue>>,
}

/// The session `session_id` and `limit` of its traces after `cursor`.
///
/// # Errors
/// A [`QueryError`] of kind `NotFound` if nothing of it was received, `Invalid` if the cursor is not one of this session.
pub(crate) async fn session(
    reader: &Reader<'_>,
    session_id: &str,
    limit: usize,
    cursor: Option<&str>,
) -> Result<SessionPage, QueryError> {
    let condition = format!("session_id = {}", quoted(session_id));
    let after = cursor.map(cursor_condition).transpose()?.unwrap_or_default();
    let sql = sessions_sql(&condition);
    let ids_sql = format!(
        "SELECT trace_id, arrow_cast(min(start_time), 'Int64') AS begun FROM steps WHERE {condition} AND trace_id IS NOT NULL\n\
         GROUP BY trace_id{after} ORDER BY begun, trace_id"
    );
    let page_sql = format!("{ids_sql} LIMIT {}", limit + 1);
    let (session, mut ids) = futures::try_join!(reader.rows(&sql, 1), reader.rows(&page_sql, limit + 1))?;
    if session.is_empty() {
        return Err(QueryError::new(QueryErrorKind::NotFound, format!("no session `{session_id}`")).found(session_id));
    }
    let more = ids.len() > limit;
    ids.truncate(limit);
    let ids: Vec<(String, i64)> =
        ids.iter().filter_map(|row| Some((row["trace_id"].as_str()?.to_owned(), row["begun"].as_i64()?))).collect();
    let next_cursor = ids.last().filter(|_| more).map(|(id, begun)| hex::encode(format!("{begun} {id}")));
    let traces_sql = summary_sql(&format!("trace_id IN (SELECT trace_id FROM ({ids_sql} LIMIT {limit}) AS page)"));
    Ok(SessionPage { session: first(session)?, traces: traces(reader, &ids).await?, next_cursor, sql, traces_sql })
}

fn cursor_condition(text: &str) -> Result<String, QueryError> {
    let invalid = || QueryError::invalid("not a cursor").found(text).expected("the `next_cursor` of the page before");
    let decoded = hex::decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    let (begun, id) = decoded.split_once(' ').ok_or_else(invalid)?;
    let begun: i64 = begun.parse().map_err(|_| invalid())?;
    let first = "arrow_cast(min(start_time), 'Int64')";
    Ok(format!(" HAVING {first} > {begun} OR ({first} = {begun} AND trace_id > {})", quoted(id)))
}

async fn traces(reader: &Reader<'_>, ids: &[(String, i64)]) -> Result<Vec<SessionTrace>, QueryError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let list = ids.iter().map(|(id, _)| quoted(id)).collect::<Vec<_>>().join(", ");
    let outermost = format!(
        "SELECT trace_id, first_value(span_id ORDER BY parent_span_id IS NULL DESC, duration_ns DESC, start_time, span_id) AS span_id \
         FROM spans WHERE trace_id IN ({list}) AND (input_messages IS NOT NULL OR output_messages IS NOT NULL) GROUP BY trace_id"
    );
    let summaries_sql = summary_sql(&format!("trace_id IN ({list})"));
    let (summaries, spans) = futures::try_join!(reader.summaries(&summaries_sql, ids.len()), reader.rows(&outermost, ids.len()))?;
    let spans: Vec<String> = spans.iter().filter_map(|row| row["span_id"].as_str().map(quoted)).collect();
    let mut messages = HashMap::new();
    if !spans.is_empty() {
        // Only now are messages read, of one span for each trace.
        let sql = format!(
            "SELECT trace_id, span_id, input_messages, output_messages FROM spans WHERE trace_id IN ({list}) AND span_id IN ({})",
            spans.join(", ")
        );
        for row in reader.rows(&sql, usize::MAX).await? {
            messages.insert(row["trace_id"].as_str().unwrap_or_default().to_owned(), row);
        }
    }
    let with_messages = |trace: TraceSummary| {
        let row = messages.get(&trace.trace_id);
        let json = |name: &str| row.and_then(|row| row[name].as_str()).and_then(parsed);
        SessionTrace {
            span_id: row.and_then(|row| row["span_id"].as_str()).map(ToOwned::to_owned),
            input_messages: json("input_messages"),
            output_messages: json("output_messages"),
            trace,
        }
    };
    let mut traces: Vec<_> = summaries.into_iter().map(with_messages).collect();
    traces.sort_by_key(|trace| ids.iter().position(|(id, _)| *id == trace.trace.trace_id));
    Ok(traces)
}

/// Messages as they are stored; text that is not JSON becomes a JSON text.
fn parsed(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).or_else(|_| RawValue::from_string(Value::from(text).to_string())).ok()
}
