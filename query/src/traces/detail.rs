//! One trace with its spans; one span with everything about it.

use serde_json::{Map, Value};

use super::{Reader, SpanDetail, TracePage, as_time, not_json, summary_sql};
use crate::{
    error::{QueryError, QueryErrorKind},
    filter::quoted,
};

/// Spans of a trace that are given at most.
const SPANS_MAX: usize = 100_000;
/// Log records and scores of a span that are given at most.
const RELATED_MAX: usize = 1000;

/// Columns of `spans` that are JSON text and are given parsed.
const PARSED: &[&str] = &[
    "attributes",
    "resource_attributes",
    "scope_attributes",
    "events",
    "links",
    "input_messages",
    "output_messages",
    "system_instructions",
    "tool_definitions",
    "tool_arguments",
    "tool_result",
    "retrieval_documents",
    "finish_reasons",
    "request_parameters",
    "metadata",
    "tags",
    "rules",
    "prompt_variables",
];
/// Columns that say how a row was stored, not what was sent; those of the store stay out of the answer.
const HIDDEN: &[&str] =
    &["project_id", "date", "wal_position", "start_time_ns_part", "payload", "attributes_exact", "resource_exact", "scope_exact"];

/// The columns of a span in a trace, `start_ns` counted from the earliest span.
fn span_columns() -> String {
    let nanos = "(arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part)";
    format!(
        "span_id, parent_span_id, name, span_kind, operation, service_name, scope_name, {} AS start_time, {nanos} - min({nanos}) OVER () AS start_ns, \
         duration_ns, status_code, error_type, provider, request_model, response_model, input_tokens, output_tokens, cache_read_tokens, \
         cache_write_tokens, reasoning_tokens, cost_usd, reported_cost_usd, counted, uncounted_reason, tool_name, agent_name, session_id, \
         user_id, input_preview, output_preview, streaming, time_to_first_token_ns, event_count",
        as_time(nanos)
    )
}

/// The trace `trace_id`.
///
/// # Errors
/// A [`QueryError`] of kind `NotFound` if no span of it was received.
pub(crate) async fn trace(reader: &Reader<'_>, trace_id: &str) -> Result<TracePage, QueryError> {
    let condition = format!("trace_id = {}", quoted(trace_id));
    let sql = format!("SELECT {}\nFROM spans\nWHERE {condition}\nORDER BY start_ns, span_id", span_columns());
    let (summary_sql, logs_sql) = (summary_sql(&condition), format!("SELECT count(*) AS n FROM logs WHERE {condition}"));
    let (mut summary, mut spans, logs) =
        futures::try_join!(reader.summaries(&summary_sql, 1), reader.raw_rows(&sql, SPANS_MAX + 1), reader.rows(&logs_sql, 1))?;
    let Some(trace) = summary.pop().filter(|_| !spans.is_empty()) else {
        return Err(QueryError::new(QueryErrorKind::NotFound, format!("no trace `{trace_id}`")).found(trace_id));
    };
    let truncated = spans.len() > SPANS_MAX;
    spans.truncate(SPANS_MAX);
    let logs_count = logs.first().and_then(|row| row["n"].as_i64()).unwrap_or(0);
    Ok(TracePage { trace, spans, logs_count, truncated, sql })
}

/// The span `span_id` of `trace_id`.
///
/// # Errors
/// A [`QueryError`] of kind `NotFound` if it was not received.
pub(crate) async fn span(reader: &Reader<'_>, trace_id: &str, span_id: &str) -> Result<SpanDetail, QueryError> {
    let condition = format!("trace_id = {} AND span_id = {}", quoted(trace_id), quoted(span_id));
    let sql = format!("SELECT * FROM spans WHERE {condition}");
    let Some(row) = reader.rows(&sql, 1).await?.pop() else {
        return Err(
            QueryError::new(QueryErrorKind::NotFound, format!("no span `{span_id}` in trace `{trace_id}`")).found(span_id)
        );
    };
    // The offset needs the whole trace, but only its times.
    let times = format!(
        "SELECT {} AS start_time, start_ns FROM (SELECT span_id, arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part AS nanos, \
         arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part - min(arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part) OVER () AS start_ns \
         FROM spans WHERE trace_id = {}) WHERE span_id = {}",
        as_time("nanos"),
        quoted(trace_id),
        quoted(span_id)
    );
    let cost_lines = format!(
        // Re-pricing takes old lines back by lines with negative units: grouped, only what stands is left.
        "SELECT usage_kind, sum(units) AS units, usd_per_million, sum(cost_usd) AS cost_usd, source, price, rate_mode, tier_above_tokens \
         FROM cost_lines WHERE {condition} \
         GROUP BY usage_kind, usd_per_million, source, price, rate_mode, tier_above_tokens HAVING sum(units) <> 0 ORDER BY usage_kind"
    );
    let scores = format!(
        "SELECT time, name, value, label, explanation, annotator_kind, metadata FROM scores WHERE {condition} ORDER BY time"
    );
    let logs = format!(
        "SELECT log_id, time, severity_number, severity_text, event_name, body, attributes FROM logs WHERE {condition} ORDER BY time"
    );
    let (mut times, cost_lines, scores, logs) = futures::try_join!(
        reader.rows(&times, 1),
        reader.rows(&cost_lines, RELATED_MAX),
        reader.rows(&scores, RELATED_MAX),
        reader.rows(&logs, RELATED_MAX)
    )?;
    let mut row = detail(row);
    row.extend(times.pop().unwrap_or_default());
    row.insert("cost_lines".into(), objects(cost_lines));
    row.insert("scores".into(), objects(scores));
    row.insert("logs".into(), objects(logs));
    row.insert("sql".into(), sql.into());
    serde_json::from_value(Value::Object(row)).map_err(not_json)
}

fn objects(rows: Vec<Map<String, Value>>) -> Value {
    rows.into_iter()
        .map(|mut row| {
            for key in ["metadata", "attributes"] {
                if let Some(value) = row.get_mut(key) {
                    parse(value);
                }
            }
            Value::Object(row)
        })
        .collect()
}

/// A row of `spans` with JSON text parsed and payloads put back where they were received.
fn detail(mut row: Map<String, Value>) -> Map<String, Value> {
    let payload = match row.get("payload").and_then(Value::as_str).map(serde_json::from_str) {
        Some(Ok(Value::Object(payload))) => payload,
        _ => Map::new(),
    };
    let columns = row.clone();
    for name in PARSED {
        if let Some(value) = row.get_mut(*name) {
            parse(value);
        }
    }
    if let Some(Value::Object(attributes)) = row.get_mut("attributes") {
        for (key, value) in attributes {
            if let Some(received) = received(key, value, &payload, &columns) {
                *value = received;
            }
        }
    }
    row.retain(|key, _| !HIDDEN.contains(&key.as_str()));
    row
}

/// What stood where `value` marks a payload or a column.
fn received(key: &str, value: &Value, payload: &Map<String, Value>, columns: &Map<String, Value>) -> Option<Value> {
    let marker = value.as_object().filter(|o| o.len() == 1)?;
    if marker.contains_key("$payload") {
        return payload.get(key).cloned();
    }
    columns.get(marker.get("$column")?.as_str()?).cloned()
}

/// JSON text becomes what it says; other text stays.
fn parse(value: &mut Value) {
    if let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok()) {
        *value = parsed;
    }
}
