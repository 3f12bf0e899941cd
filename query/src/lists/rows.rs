//! The rows of the lists, field by field. Money is text, so that no reader rounds it; NULL is "unknown", 0 is "none".

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// A call of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are columns of the view `llm_calls` and documented there")]
pub struct CallRow {
    pub trace_id: Option<String>,
    pub span_id: Option<String>,
    pub log_id: Option<String>,
    pub start_time: String,
    pub duration_ns: Option<i64>,
    pub status_code: String,
    pub provider: Option<String>,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    pub operation: Option<String>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cache_read_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub cost_usd: Option<String>,
    pub cost_source: Option<String>,
    pub time_to_first_token_ns: Option<i64>,
    pub service_name: Option<String>,
    pub session_id: Option<String>,
    pub user_id: Option<String>,
    pub input_preview: Option<String>,
    pub output_preview: Option<String>,
    pub error_type: Option<String>,
}

/// All calls of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallTotals {
    /// Calls.
    pub rows: i64,
    /// Those that failed.
    pub errors: i64,
    /// Prompt tokens; null if none is known.
    pub input_tokens: Option<i64>,
    /// Answer tokens.
    pub output_tokens: Option<i64>,
    /// Part of the prompt tokens read from a cache.
    pub cache_read_tokens: Option<i64>,
    /// Part of the answer tokens spent on reasoning.
    pub reasoning_tokens: Option<i64>,
    /// Cost of the priced calls, US dollars.
    pub cost_usd: Option<String>,
    /// Calls whose model has no price.
    pub unpriced_calls: i64,
}

/// A session, in the time range asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionRow {
    /// Conversation or session.
    pub session_id: String,
    /// Its user: the first one named.
    pub user_id: Option<String>,
    /// Start of its first span.
    pub first_time: String,
    /// Start of its last span.
    pub last_time: String,
    /// Traces.
    pub traces: i64,
    /// Calls of models.
    pub llm_calls: i64,
    /// Spans and calls that failed.
    pub errors: i64,
    /// Prompt tokens of the calls; null if none is known.
    pub input_tokens: Option<i64>,
    /// Answer tokens.
    pub output_tokens: Option<i64>,
    /// Cost of the priced calls, US dollars; null if none is priced.
    pub cost_usd: Option<String>,
    /// Calls whose model has no price.
    pub unpriced_calls: i64,
    /// From the start of the first span to the end of the last, nanoseconds.
    pub duration_ns: i64,
    /// Models called, by name.
    #[serde(deserialize_with = "names")]
    pub models: Vec<String>,
}

/// All sessions of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionTotals {
    /// Sessions.
    pub rows: i64,
    /// Traces, each once.
    pub traces: i64,
    /// Calls of models.
    pub llm_calls: i64,
    /// Spans and calls that failed.
    pub errors: i64,
    /// Prompt tokens of the calls; null if none is known.
    pub input_tokens: Option<i64>,
    /// Answer tokens.
    pub output_tokens: Option<i64>,
    /// Cost of the priced calls, US dollars.
    pub cost_usd: Option<String>,
    /// Calls whose model has no price.
    pub unpriced_calls: i64,
}

/// A user, in the time range asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRow {
    /// End user.
    pub user_id: String,
    /// Start of the first span.
    pub first_time: String,
    /// Start of the last span.
    pub last_time: String,
    /// Sessions.
    pub sessions: i64,
    /// Traces.
    pub traces: i64,
    /// Calls of models.
    pub llm_calls: i64,
    /// Spans and calls that failed.
    pub errors: i64,
    /// Prompt tokens of the calls; null if none is known.
    pub input_tokens: Option<i64>,
    /// Answer tokens.
    pub output_tokens: Option<i64>,
    /// Cost of the priced calls, US dollars; null if none is priced.
    pub cost_usd: Option<String>,
    /// Calls whose model has no price.
    pub unpriced_calls: i64,
}

/// All users of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserTotals {
    /// Users.
    pub rows: i64,
    /// Sessions, each once.
    pub sessions: i64,
    /// Traces, each once.
    pub traces: i64,
    /// Calls of models.
    pub llm_calls: i64,
    /// Spans and calls that failed.
    pub errors: i64,
    /// Prompt tokens of the calls; null if none is known.
    pub input_tokens: Option<i64>,
    /// Answer tokens.
    pub output_tokens: Option<i64>,
    /// Cost of the priced calls, US dollars.
    pub cost_usd: Option<String>,
    /// Calls whose model has no price.
    pub unpriced_calls: i64,
}

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    /// Who answered.
    pub provider: Option<String>,
    /// Model that answered, else the one asked for.
    pub model: Option<String>,
    /// Calls.
    pub llm_calls: i64,
    /// Those that failed.
    pub errors: i64,
    /// Prompt tokens; null if none is known.
    pub input_tokens: Option<i64>,
    /// Answer tokens.
    pub output_tokens: Option<i64>,
    /// Part of the prompt tokens read from a cache.
    pub cache_read_tokens: Option<i64>,
    /// Cost of the priced calls, US dollars; null if none is priced.
    pub cost_usd: Option<String>,
    /// Calls that have no price.
    pub unpriced_calls: i64,
    /// Median duration of a call, nanoseconds.
    pub p50_ns: Option<i64>,
    /// 95th percentile.
    pub p95_ns: Option<i64>,
    /// Answer tokens per second of call.
    pub tokens_per_second: Option<f64>,
}

/// All models of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTotals {
    /// Models.
    pub rows: i64,
    /// Calls.
    pub llm_calls: i64,
    /// Those that failed.
    pub errors: i64,
    /// Prompt tokens; null if none is known.
    pub input_tokens: Option<i64>,
    /// Answer tokens.
    pub output_tokens: Option<i64>,
    /// Part of the prompt tokens read from a cache.
    pub cache_read_tokens: Option<i64>,
    /// Cost of the priced calls, US dollars.
    pub cost_usd: Option<String>,
    /// Calls that have no price.
    pub unpriced_calls: i64,
    /// Median duration over all calls, nanoseconds.
    pub p50_ns: Option<i64>,
    /// 95th percentile.
    pub p95_ns: Option<i64>,
    /// Answer tokens per second of call.
    pub tokens_per_second: Option<f64>,
}

/// A tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolRow {
    /// Tool; the span's name where it does not say.
    pub tool_name: String,
    /// How often it ran.
    pub calls: i64,
    /// Runs that failed.
    pub errors: i64,
    /// Median duration of a run, nanoseconds.
    pub p50_ns: Option<i64>,
    /// 95th percentile.
    pub p95_ns: Option<i64>,
    /// Traces that used it.
    pub traces: i64,
    /// Cost of those traces, US dollars; null if no call of theirs is priced.
    pub cost_usd: Option<String>,
}

/// All tools of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolTotals {
    /// Tools.
    pub rows: i64,
    /// Runs.
    pub calls: i64,
    /// Runs that failed.
    pub errors: i64,
    /// Median duration over all runs, nanoseconds.
    pub p50_ns: Option<i64>,
    /// 95th percentile.
    pub p95_ns: Option<i64>,
    /// Traces that used one of them, each once.
    pub traces: i64,
    /// Cost of those traces, each once, US dollars.
    pub cost_usd: Option<String>,
}

/// Errors that are alike: of one class and service, with the same message but for numbers, identifiers, quoted texts and URLs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRow {
    /// Class of the error.
    pub error_type: Option<String>,
    /// Service it happened in.
    pub service_name: Option<String>,
    /// Name of the span that failed last.
    pub name: Option<String>,
    /// The message, what varies replaced: `normalise_message`.
    pub message: Option<String>,
    /// Spans that failed so.
    pub spans: i64,
    /// Traces they are in.
    pub traces: i64,
    /// Users of those traces.
    pub users: i64,
    /// Start of the first such span.
    pub first_time: String,
    /// Start of the last one.
    pub last_time: String,
    /// Trace of the last one.
    pub last_trace_id: Option<String>,
    /// Cost of those traces, US dollars; null if no call of theirs is priced.
    pub cost_usd: Option<String>,
}

/// All errors of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorTotals {
    /// Kinds of error.
    pub rows: i64,
    /// Spans that failed.
    pub spans: i64,
    /// Traces they are in, each once.
    pub traces: i64,
    /// Users, each once.
    pub users: i64,
    /// Cost of those traces, each once, US dollars.
    pub cost_usd: Option<String>,
}

/// A list of text in the order of the alphabet; NULL is an empty one.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut names = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    names.sort();
    Ok(names)
}
