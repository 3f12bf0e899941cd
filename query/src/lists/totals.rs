//! Totals of the trace list.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Scope, first};
use crate::{error::QueryError, filter::Filter, traces::Reader};

/// Sums over the traces of a list: all their spans in the time range, and the calls that only a log record of them reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TraceTotals {
    /// Traces with a span in the range.
    pub(crate) traces: i64,
    /// Their spans in the range.
    pub(crate) spans: i64,
    /// Calls of models that count.
    pub(crate) llm_calls: i64,
    /// Spans and calls that failed.
    pub(crate) errors: i64,
    /// Prompt tokens of those calls; null if none is known.
    pub(crate) input_tokens: Option<i64>,
    /// Answer tokens.
    pub(crate) output_tokens: Option<i64>,
    /// Cost of the priced calls, US dollars; null if none is priced.
    pub(crate) cost_usd: Option<String>,
    /// Calls whose model has no price.
    pub(crate) unpriced_calls: i64,
    /// SQL that gives these numbers.
    #[serde(default)]
    pub(crate) sql: String,
    /// Time taken, milliseconds.
    #[serde(default)]
    pub(crate) elapsed_ms: f64,
}

/// Totals of the traces between `from` and `to` (microseconds since 1970) of which a span passes `filter`.
pub(crate) async fn trace_totals(
    reader: &Reader<'_>,
    from: Option<i64>,
    to: i64,
    filter: &Filter,
) -> Result<TraceTotals, QueryError> {
    let started = Instant::now();
    let scope = Scope::new(from, to, filter);
    let traces = match &scope.filter {
        Some(_) => format!("trace_id IN (SELECT trace_id FROM spans WHERE {})", scope.rows()),
        None => "trace_id IS NOT NULL".to_owned(),
    };
    let sql = format!(
        "SELECT count(DISTINCT trace_id) FILTER (WHERE source = 'span') AS traces, count(*) FILTER (WHERE source = 'span') AS spans, \
         count(*) FILTER (WHERE counted) AS llm_calls, count(*) FILTER (WHERE status_code = 'ERROR') AS errors, \
         sum(input_tokens) FILTER (WHERE counted) AS input_tokens, sum(output_tokens) FILTER (WHERE counted) AS output_tokens, \
         sum(cost_usd) FILTER (WHERE counted) AS cost_usd, count(*) FILTER (WHERE counted AND cost_source = 'unpriced') AS unpriced_calls\n\
         FROM steps WHERE {} AND {traces}",
        scope.range
    );
    let totals: TraceTotals = first(reader.rows(&sql, 1).await?)?;
    Ok(TraceTotals { sql, elapsed_ms: started.elapsed().as_secs_f64() * 1e3, ..totals })
}
