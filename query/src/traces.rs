//! The read models of the UI: the trace list, a trace, a span. Each is SQL over the same engine and hands its SQL back, so that every
//! number on screen can be asked for again.
//!
//! A trace belongs to a time range by the start of its earliest span in the range. The newest page of a list reads only as much time as
//! it probably needs, and widens until the page is full; a trace that began before the time read is left for a wider look. Any other order,
//! and the strip, are made from what each trace adds up to (`sums`); the SQL shown says the same over `spans`.

mod columns;
mod cut;
mod detail;
mod list;
mod model;
pub(crate) mod sums;

use std::sync::Arc;

use arrow::array::RecordBatch;
use assay_schemas::ids::ProjectId;
use assay_storage::ReadView;
use serde_json::{Map, Value, value::RawValue};
use tokio::sync::SemaphorePermit;

pub use self::columns::{NumberColumn, SpanColumns, TextColumn, TraceColumns};
pub use self::model::{SpanDetail, SpanSummary, Strip, StripBucket, TraceList, TracePage, TraceSummary};
pub(crate) use self::{
    columns::columns,
    detail::{span, span_value, trace},
    list::{ListRequest, Sort, between, list, strip},
};
use crate::{
    engine::{Answer, Ask, QueryEngine},
    error::{QueryError, QueryErrorKind},
    format::{Cell, write_json},
    views,
};

/// Questions of one request, all over the same rows.
pub(crate) struct Reader<'a> {
    engine: &'a QueryEngine,
    project: &'a ProjectId,
    view: Arc<ReadView>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(engine: &'a QueryEngine, project: &'a ProjectId) -> Self {
        Self { engine, project, view: engine.storage().view() }
    }

    /// Whether rows are kept where questions are better asked than rows read.
    pub(crate) fn is_stored_elsewhere(&self) -> bool {
        self.view.stored().is_some()
    }

    /// Waits for the turn to add up many rows in memory; it ends when the permit is dropped.
    pub(crate) async fn sums_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.engine.sums_turn().await
    }

    pub(crate) async fn batches(&self, sql: &str, rows_max: usize) -> Result<Vec<RecordBatch>, QueryError> {
        Ok(self.answer(sql, rows_max).await?.collect().await?.0)
    }

    pub(crate) async fn answer(&self, sql: &str, rows_max: usize) -> Result<Answer, QueryError> {
        let ask = Ask { row_limit: Some(rows_max), ..Ask::new(sql) };
        self.engine.ask_view(self.project, Arc::clone(&self.view), ask).await.map_err(ours)
    }

    /// Rows as JSON objects, in the words of the SQL API.
    pub(crate) async fn rows(&self, sql: &str, rows_max: usize) -> Result<Vec<Map<String, Value>>, QueryError> {
        let batches = self.batches(sql, rows_max).await?;
        off_async(move || {
            let rows = json_rows(batches)?;
            rows.into_iter().map(|row| serde_json::from_str(row.get()).map_err(not_json)).collect()
        })
        .await?
    }

    /// Rows as the text of JSON objects: for many rows.
    async fn raw_rows(&self, sql: &str, rows_max: usize) -> Result<Vec<Box<RawValue>>, QueryError> {
        let batches = self.batches(sql, rows_max).await?;
        off_async(move || json_rows(batches)).await?
    }

    pub(crate) async fn summaries(&self, sql: &str, rows_max: usize) -> Result<Vec<TraceSummary>, QueryError> {
        let rows = self.rows(sql, rows_max).await?;
        rows.into_iter().map(|row| TraceSummary::from_row(row).map_err(not_json)).collect()
    }
}

/// Each row as the text of a JSON object. A batch is let go when its rows are written.
fn json_rows(batches: Vec<RecordBatch>) -> Result<Vec<Box<RawValue>>, QueryError> {
    let mut rows = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let keys: Vec<String> = schema.fields().iter().map(|f| Value::from(f.name().as_str()).to_string()).collect();
        let columns: Vec<Cell<'_>> = batch.columns().iter().map(|c| Cell::of(c.as_ref())).collect();
        for row in 0..batch.num_rows() {
            let mut out = Vec::with_capacity(keys.len() * 24);
            for (idx, (key, column)) in keys.iter().zip(&columns).enumerate() {
                out.push(if idx == 0 { b'{' } else { b',' });
                out.extend_from_slice(key.as_bytes());
                out.push(b':');
                write_json(&mut out, column, row);
            }
            out.push(b'}');
            let text = String::from_utf8(out).map_err(|e| QueryError::new(QueryErrorKind::Internal, e.to_string()))?;
            rows.push(RawValue::from_string(text).map_err(not_json)?);
        }
    }
    Ok(rows)
}

/// What `work` gives, done off the async threads: adding up many rows, or writing and parsing large ones, takes long.
///
/// # Errors
/// If it panics.
pub(crate) async fn off_async<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, QueryError> {
    let stopped = |e| QueryError::new(QueryErrorKind::Internal, format!("work on rows stopped unexpectedly: {e}"));
    tokio::task::spawn_blocking(work).await.map_err(stopped)
}

/// The SQL of a read model is ours: what is wrong with it is not the caller's fault.
fn ours(mut error: QueryError) -> QueryError {
    if matches!(error.kind, QueryErrorKind::Invalid | QueryErrorKind::NotFound | QueryErrorKind::ReadOnly) {
        error.kind = QueryErrorKind::Internal;
        error.position = None;
    }
    error
}

fn not_json(error: serde_json::Error) -> QueryError {
    QueryError::new(QueryErrorKind::Internal, format!("a row does not have the form expected: {error}"))
}

/// Nanoseconds since 1970 as a time with a zone.
fn as_time(nanos: &str) -> String {
    format!("arrow_cast({nanos}, 'Timestamp(Nanosecond, Some(\"UTC\"))')")
}

/// Summaries of the traces for which `condition` holds, in no order.
pub(crate) fn summary_sql(condition: &str) -> String {
    format!(
        "SELECT trace_id, name, service_name, {} AS start_time, {} AS end_time, duration_ns, status_code, span_count, llm_call_count, \
         tool_call_count, error_count, input_tokens, output_tokens, cache_read_tokens, cost_usd, unpriced_calls, models, session_id, \
         user_id, tags, input_preview, output_preview, has_root\nFROM (\n{}\n) AS traces",
        as_time("start_unix_nano"),
        as_time("end_unix_nano"),
        views::traces_sql(Some(condition)),
    )
}
