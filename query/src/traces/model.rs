//! What the read models answer, field by field. Money is text, so that no reader rounds it; NULL is "unknown", 0 is "none".

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

/// A trace in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are columns of the view `traces` and documented there")]
pub struct TraceSummary {
    pub trace_id: String,
    pub name: Option<String>,
    pub service_name: Option<String>,
    pub start_time: String,
    pub end_time: String,
    pub duration_ns: i64,
    pub status_code: Option<String>,
    pub span_count: i64,
    pub llm_call_count: i64,
    pub tool_call_count: i64,
    pub error_count: i64,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cache_read_tokens: Option<i64>,
    pub cost_usd: Option<String>,
    pub unpriced_calls: i64,
    #[serde(default)]
    pub models: Vec<String>,
    pub session_id: Option<String>,
    pub user_id: Option<String>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub tags: Vec<Value>,
    pub input_preview: Option<String>,
    pub output_preview: Option<String>,
    pub has_root: bool,
}

impl TraceSummary {
    /// Reads a row of [`super::summary_sql`]: `models` may be NULL, `tags` is JSON text.
    pub(super) fn from_row(mut row: Map<String, Value>) -> Result<Self, serde_json::Error> {
        if row.get("models").is_none_or(Value::is_null) {
            row.insert("models".into(), Value::Array(Vec::new()));
        }
        let tags = row.get("tags").and_then(Value::as_str).and_then(|t| serde_json::from_str::<Vec<Value>>(t).ok());
        row.insert("tags".into(), tags.unwrap_or_default().into());
        if row.get("has_root").is_none_or(Value::is_null) {
            row.insert("has_root".into(), false.into());
        }
        serde_json::from_value(Value::Object(row))
    }
}

/// A page of the trace list.
#[derive(Debug, Serialize, ToSchema)]
pub struct TraceList {
    /// The traces, in the order asked for.
    pub traces: Vec<TraceSummary>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
    /// SQL that gives these rows.
    pub sql: String,
    /// Time taken, milliseconds.
    pub elapsed_ms: f64,
}

/// The time strip above the list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Strip {
    /// Buckets in order of time, empty ones included.
    pub buckets: Vec<StripBucket>,
    /// Width of a bucket, nanoseconds.
    pub bucket_ns: i64,
    /// SQL that gives these numbers.
    pub sql: String,
}

/// One bucket of the time strip: the traces that began in it. A trace is counted once, where its earliest span begins, whether or not its
/// root has arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StripBucket {
    /// Start of the bucket.
    pub start: String,
    /// Traces that began in it.
    pub traces: i64,
    /// Those of them with a span that failed.
    pub errors: i64,
    /// Cost of their calls, US dollars.
    pub cost_usd: Option<String>,
    /// Median of their durations, nanoseconds.
    pub p50_ns: Option<f64>,
    /// 95th percentile.
    pub p95_ns: Option<f64>,
}

/// A trace with its spans.
#[derive(Debug, Serialize, ToSchema)]
pub struct TracePage {
    /// The trace as a whole.
    pub trace: TraceSummary,
    /// Its spans in order of start; at most 100 000.
    #[schema(value_type = Vec<SpanSummary>)]
    pub spans: Vec<Box<RawValue>>,
    /// Log records that belong to the trace.
    pub logs_count: i64,
    /// Whether there are more spans than are given.
    pub truncated: bool,
    /// SQL that gives the spans.
    pub sql: String,
}

/// A span in a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are columns of `spans` and documented there")]
pub struct SpanSummary {
    pub span_id: String,
    pub parent_span_id: Option<String>,
    pub name: String,
    pub span_kind: String,
    pub operation: Option<String>,
    pub service_name: Option<String>,
    pub scope_name: String,
    pub start_time: String,
    /// Nanoseconds since the start of the trace.
    pub start_ns: i64,
    pub duration_ns: i64,
    pub status_code: String,
    pub error_type: Option<String>,
    pub provider: Option<String>,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cache_read_tokens: Option<i64>,
    pub cache_write_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub cost_usd: Option<String>,
    pub reported_cost_usd: Option<String>,
    pub counted: bool,
    pub uncounted_reason: Option<String>,
    pub tool_name: Option<String>,
    pub agent_name: Option<String>,
    pub session_id: Option<String>,
    pub user_id: Option<String>,
    pub input_preview: Option<String>,
    pub output_preview: Option<String>,
    pub streaming: Option<bool>,
    pub time_to_first_token_ns: Option<i64>,
    pub event_count: i64,
}

/// Everything about a span: the fields of [`SpanSummary`] and those below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpanDetail {
    /// The span in short.
    #[serde(flatten)]
    pub summary: SpanSummary,
    /// Every other field: `attributes` as received with payloads merged back, `resource_attributes`, `scope_attributes`, `events`,
    /// `links`, messages and tool payloads (parsed), `finish_reasons`, `request_parameters`, `metadata`, `tags`, `rules`, `dialect`,
    /// `cost_lines`, `scores`, `logs`, `status_message`, `error_message`, `trace_state`, `flags`, `sql`.
    #[serde(flatten)]
    #[schema(value_type = std::collections::HashMap<String, Object>)]
    pub more: Map<String, Value>,
}
