//! Totals of the trace list.

use std::{sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::{Decimal128Type, Int64Type},
};
use assay_schemas::table::MONEY_SCALE;
use assay_storage::{TraceKey, TraceSum, trace_key_of};

use super::{Scope, first};
use crate::{
    error::QueryError,
    filter::Filter,
    format::decimal_text,
    traces::{Reader, sums},
    views::ENDED,
};

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

/// Totals of the traces between `from` and `to` (microseconds since 1970) of which a span passes `filter`: of what the traces add up to, or
/// by SQL where that cannot be had.
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
        "SELECT count(DISTINCT trace_id) FILTER (WHERE source = 'span') AS traces, \
         count(*) FILTER (WHERE source = 'span' AND {ENDED}) AS spans, count(*) FILTER (WHERE counted) AS llm_calls, \
         count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL) AS errors, \
         sum(input_tokens) FILTER (WHERE counted) AS input_tokens, sum(output_tokens) FILTER (WHERE counted) AS output_tokens, \
         sum(cost_usd) FILTER (WHERE counted) AS cost_usd, count(*) FILTER (WHERE counted AND cost_source = 'unpriced') AS unpriced_calls\n\
         FROM steps WHERE {} AND {traces}",
        scope.range
    );
    let range = sums::Range { from: from.unwrap_or(i64::MIN), to };
    let totals: TraceTotals = match of_sums(reader, range, &scope).await? {
        Some(total) => total.into(),
        None => first(reader.rows(&sql, 1).await?)?,
    };
    Ok(TraceTotals { sql, elapsed_ms: started.elapsed().as_secs_f64() * 1e3, ..totals })
}

/// All traces of a list together.
#[derive(Default)]
struct Total {
    traces: i64,
    sum: Option<TraceSum>,
}

impl Total {
    fn add(&mut self, sum: &TraceSum) {
        match &mut self.sum {
            Some(all) => all.add(sum),
            None => self.sum = Some(*sum),
        }
    }
}

impl From<Total> for TraceTotals {
    fn from(total: Total) -> Self {
        let count = |of: fn(&TraceSum) -> i64| total.sum.as_ref().map_or(0, of);
        Self {
            traces: total.traces,
            spans: count(|sum| sum.spans),
            llm_calls: count(|sum| sum.calls),
            errors: count(|sum| sum.errors),
            input_tokens: total.sum.and_then(|sum| sum.input_tokens),
            output_tokens: total.sum.and_then(|sum| sum.output_tokens),
            cost_usd: total.sum.and_then(|sum| sum.cost).map(|cost| decimal_text(cost, MONEY_SCALE)),
            unpriced_calls: count(|sum| sum.unpriced_calls),
            sql: String::new(),
            elapsed_ms: 0.0,
        }
    }
}

/// The total of what the traces add up to and of the calls that only logs reported; `None` if that cannot be had.
async fn of_sums(reader: &Reader<'_>, range: sums::Range, scope: &Scope) -> Result<Option<Total>, QueryError> {
    let matching = match &scope.filter {
        None => None,
        Some(filter) => match sums::matching(reader, range, filter).await? {
            Some(matching) => Some(Arc::new(matching)),
            None => return Ok(None),
        },
    };
    let each = |total: &mut Total, _: TraceKey, sum: &TraceSum| {
        total.traces += 1;
        total.add(sum);
    };
    let Some(mut total) = sums::fold_matching(reader, range, matching.clone(), Total::default(), each).await? else {
        return Ok(None);
    };
    for (trace, sum) in of_logs(reader, scope).await? {
        if matching.as_ref().is_none_or(|matching| matching.binary_search(&trace).is_ok()) {
            total.add(&sum);
        }
    }
    Ok(Some(total))
}

/// The calls that only logs reported, by trace.
pub(super) async fn of_logs(reader: &Reader<'_>, scope: &Scope) -> Result<Vec<(TraceKey, TraceSum)>, QueryError> {
    let sql = format!(
        "SELECT trace_id, count(*) AS calls, count(error_type) AS errors, count(*) FILTER (WHERE cost_source = 'unpriced') AS unpriced_calls, \
         sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, CAST(sum(cost_usd) AS DECIMAL(38, 15)) AS cost_usd \
         FROM steps WHERE {} AND source = 'log' AND trace_id IS NOT NULL GROUP BY trace_id",
        scope.range
    );
    let mut found = Vec::new();
    for batch in reader.batches(&sql, usize::MAX).await? {
        let traces = batch.column(0).as_string::<i32>();
        let int = |column: usize, row: usize| {
            let values = batch.column(column).as_primitive::<Int64Type>();
            values.is_valid(row).then(|| values.value(row))
        };
        let costs = batch.column(6).as_primitive::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            let count = |column: usize| int(column, row).unwrap_or(0);
            let sum = TraceSum {
                start_ns: i64::MAX,
                last_start_ns: i64::MIN,
                end_ns: i64::MIN,
                spans: 0,
                errors: count(2),
                calls: count(1),
                unpriced_calls: count(3),
                input_tokens: int(4, row),
                output_tokens: int(5, row),
                cost: costs.is_valid(row).then(|| costs.value(row)),
            };
            found.push((trace_key_of(traces.value(row)), sum));
        }
    }
    Ok(found)
}
