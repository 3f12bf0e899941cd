//! One trace with its spans; one span with everything about it.

use serde_json::{Map, Value};

use super::{Reader, SpanDetail, TracePage, as_time, columns::ANNOUNCEMENT, cut::cut, not_json, off_async, summary_sql};
use crate::{
    error::{QueryError, QueryErrorKind},
    filter::quoted,
};

/// Spans of a trace that are given at most.
const SPANS_MAX: usize = 100_000;
/// Log records and scores of a span that are given at most.
const RELATED_MAX: usize = 1000;

/// Columns of `spans` that are JSON text and are given parsed, besides `attributes`.
const PARSED: &[&str] = &[
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

/// The span `span_id` of `trace_id`; texts longer than `text_bytes_max` and very long lists are cut where they stand (see [`cut`]).
///
/// # Errors
/// A [`QueryError`] of kind `NotFound` if it was not received.
pub(crate) async fn span(
    reader: &Reader<'_>,
    trace_id: &str,
    span_id: &str,
    text_bytes_max: Option<usize>,
) -> Result<SpanDetail, QueryError> {
    let (mut row, condition, sql) = received_row(reader, trace_id, span_id).await?;
    let nanos = "arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part";
    let trace = format!("trace_id = {}", quoted(trace_id));
    let times = format!(
        "SELECT {} AS start_time, {nanos} - (SELECT min({nanos}) FROM spans WHERE {trace}) AS start_ns FROM spans WHERE {condition}",
        as_time(nanos)
    );
    let cost_lines_sql = format!(
        // Re-pricing takes old lines back by lines with negative units: grouped, only what stands is left.
        "SELECT usage_kind, sum(units) AS units, usd_per_million, sum(cost_usd) AS cost_usd, source, price, rate_mode, tier_above_tokens\n\
         FROM cost_lines\nWHERE {condition}\n\
         GROUP BY usage_kind, usd_per_million, source, price, rate_mode, tier_above_tokens HAVING sum(units) <> 0\nORDER BY usage_kind"
    );
    let scores = format!(
        "SELECT time, name, value, label, explanation, annotator_kind, metadata FROM scores WHERE {condition} ORDER BY time"
    );
    let logs = format!(
        "SELECT log_id, time, severity_number, severity_text, event_name, body, attributes FROM logs WHERE {condition} ORDER BY time"
    );
    let (mut times, cost_lines, scores, logs) = futures::try_join!(
        reader.rows(&times, 1),
        reader.rows(&cost_lines_sql, RELATED_MAX),
        reader.rows(&scores, RELATED_MAX),
        reader.rows(&logs, RELATED_MAX)
    )?;
    row.extend(times.pop().unwrap_or_default());
    row.insert("cost_lines".into(), objects(cost_lines));
    row.insert("scores".into(), objects(scores));
    row.insert("logs".into(), objects(logs));
    if let Some(text_bytes_max) = text_bytes_max {
        for (name, value) in &mut row {
            cut(value, &mut format!("/{name}"), text_bytes_max);
        }
    }
    row.insert("sql".into(), sql.into());
    row.insert("cost_sql".into(), cost_lines_sql.into());
    serde_json::from_value(Value::Object(row)).map_err(not_json)
}

/// One value of a span, whole, by its JSON pointer (RFC 6901) in the answer of [`span`].
///
/// # Errors
/// A [`QueryError`] of kind `NotFound` if the span was not received or has no such value.
pub(crate) async fn span_value(reader: &Reader<'_>, trace_id: &str, span_id: &str, path: &str) -> Result<Value, QueryError> {
    let (row, ..) = received_row(reader, trace_id, span_id).await?;
    let mut row = Value::Object(row);
    row.pointer_mut(path).map(Value::take).ok_or_else(|| {
        QueryError::new(QueryErrorKind::NotFound, format!("span `{span_id}` has no value at `{path}`")).found(path)
    })
}

/// The row of a span, the condition that finds it, and the SQL it came from. A span that was only announced is its announcement.
async fn received_row(
    reader: &Reader<'_>,
    trace_id: &str,
    span_id: &str,
) -> Result<(Map<String, Value>, String, String), QueryError> {
    let trace = format!("trace_id = {}", quoted(trace_id));
    let conditions = [
        format!("{trace} AND span_id = {}", quoted(span_id)),
        format!("{trace} AND parent_span_id = {} AND {ANNOUNCEMENT}", quoted(span_id)),
    ];
    for (idx, condition) in conditions.into_iter().enumerate() {
        let sql = format!("SELECT * FROM spans WHERE {condition}");
        if let Some(row) = reader.rows(&sql, 1).await?.pop() {
            let mut row = off_async(move || detail(row)).await?;
            let mut condition = condition;
            if idx == 1 {
                // What belongs to the announcement carries its identifier.
                condition = format!("{trace} AND span_id = {}", quoted(row["span_id"].as_str().unwrap_or_default()));
                row.insert("running".into(), true.into());
            }
            return Ok((row, condition, sql));
        }
    }
    Err(QueryError::new(QueryErrorKind::NotFound, format!("no span `{span_id}` in trace `{trace_id}`")).found(span_id))
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
    let mut payload = match row.get("payload").and_then(Value::as_str).map(serde_json::from_str) {
        Some(Ok(Value::Object(payload))) => payload,
        _ => Map::new(),
    };
    // A marker stands for a column as it was stored: attributes come before the columns are parsed.
    if let Some(mut attributes) = row.get_mut("attributes").map(Value::take) {
        parse(&mut attributes);
        for (key, value) in attributes.as_object_mut().into_iter().flatten() {
            if let Some(received) = received(key, value, &mut payload, &row) {
                *value = received;
            }
        }
        row.insert("attributes".into(), attributes);
    }
    for name in PARSED {
        if let Some(value) = row.get_mut(*name) {
            parse(value);
        }
    }
    row.retain(|key, _| !HIDDEN.contains(&key.as_str()));
    row
}

/// What stood where `value` marks a payload or a column.
fn received(key: &str, value: &Value, payload: &mut Map<String, Value>, columns: &Map<String, Value>) -> Option<Value> {
    let marker = value.as_object().filter(|o| o.len() == 1)?;
    if marker.contains_key("$payload") {
        return payload.get_mut(key).map(Value::take);
    }
    columns.get(marker.get("$column")?.as_str()?).cloned()
}

/// JSON text becomes what it says; other text stays.
fn parse(value: &mut Value) {
    if let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok()) {
        *value = parsed;
    }
}
