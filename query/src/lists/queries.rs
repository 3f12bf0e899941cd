//! The lists as SQL. Rows that a list is about are those that the filter lets through, but for sessions and users: there, a row is the
//! whole session or user if one of its spans matches, as a trace is in the trace list.

use std::pin::Pin;

use serde_json::{Map, Value};

use super::{
    ColumnType::{self, Double, Integer, List, Money, Text, Time},
    ListColumn, Scope,
    Unit::{self, Count, Ns, Tokens, Usd},
};
use crate::{
    error::QueryError,
    filter::quoted,
    traces::Reader,
    views::{ENDED, FAILED},
};

type JsonRow = Map<String, Value>;
type Details =
    for<'a> fn(&'a Reader<'a>, Vec<JsonRow>) -> Pin<Box<dyn Future<Output = Result<Vec<JsonRow>, QueryError>> + Send + 'a>>;

/// A list.
pub(crate) struct Query {
    pub(super) name: &'static str,
    pub(super) columns: &'static [ListColumn],
    /// Columns that name a row.
    pub(super) id: &'static [&'static str],
    /// Column it is ordered by unless told otherwise, the largest first.
    pub(super) sort: &'static str,
    /// SQL of all its rows.
    pub(super) rows: fn(&Scope) -> String,
    /// The same without columns that are costly to read, where there are any.
    pub(super) keys: Option<fn(&Scope) -> String>,
    /// Reads those columns for the rows of a page.
    pub(super) details: Option<Details>,
    /// What steps are grouped by, where a row is such a group.
    pub(super) group: Option<Group>,
    /// SQL of one row over all of them.
    pub(super) totals: fn(&Scope) -> String,
    /// How the same is had without joining traces to their costs, where there is that.
    pub(super) of_traces: Option<OfTraces>,
}

/// Steps that are a row together. Rows have the columns `first_time` and `last_time`.
pub(super) struct Group {
    /// Column of `steps` whose value they share.
    pub(super) column: &'static str,
    /// Another column whose values are counted once each, and what their number is called.
    pub(super) distinct: Option<(&'static str, &'static str)>,
    /// Whether sums over the steps are all that a row has; otherwise the rows of a page are read by SQL, which is told their names.
    pub(super) is_added_up: bool,
}

/// A list of groups with the number and the cost of the traces that each is found in.
pub(super) enum OfTraces {
    /// SQL knows the groups.
    Groups {
        /// SQL of all rows without these two columns.
        rows: fn(&Scope) -> String,
        /// SQL of the totals without them.
        totals: fn(&Scope) -> String,
        /// SQL of each row with each of its traces, once: the columns that name the row, then `trace_id`.
        traces: fn(&Scope) -> String,
    },
    /// SQL of each run of a tool: its name, `trace_id`, `duration_ns`, and whether it failed.
    ToolRuns(fn(&Scope) -> String),
}

const fn column(name: &'static str, r#type: ColumnType, unit: Option<Unit>) -> ListColumn {
    ListColumn { name, r#type, unit, sortable: true }
}

const fn shown(name: &'static str, r#type: ColumnType) -> ListColumn {
    ListColumn { name, r#type, unit: None, sortable: false }
}

/// What takes longest of the totals over groups: [`distinct_traces`] counts them apart.
pub(super) const TRACES: &str = "count(DISTINCT trace_id)";
const COUNTED_CALLS: &str = "count(*) FILTER (WHERE counted) AS llm_calls";
const ERRORS_COUNT: &str = "count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL) AS errors";
/// Sums over calls among steps.
const CALL_SUMS: &str = "sum(input_tokens) FILTER (WHERE counted) AS input_tokens, sum(output_tokens) FILTER (WHERE counted) AS output_tokens, \
     sum(cost_usd) FILTER (WHERE counted) AS cost_usd, count(*) FILTER (WHERE counted AND cost_source = 'unpriced') AS unpriced_calls";
const MODEL: &str = "coalesce(response_model, request_model)";
const TOOL: &str = "coalesce(tool_name, name)";
/// Exact, not approximate: a page begins after the value that the last row of the page before had.
const PERCENTILES: &str =
    "CAST(percentile_cont(duration_ns, 0.5) AS BIGINT) AS p50_ns, CAST(percentile_cont(duration_ns, 0.95) AS BIGINT) AS p95_ns";
const TOKENS_PER_SECOND: &str = "CAST(sum(output_tokens) FILTER (WHERE duration_ns > 0 AND output_tokens IS NOT NULL) AS DOUBLE) * 1e9 \
     / sum(duration_ns) FILTER (WHERE duration_ns > 0 AND output_tokens IS NOT NULL) AS tokens_per_second";
/// From the start of the first step to the end of the last; the time of a log record is its end.
const EXTENT: &str = "max(arrow_cast(start_time, 'Int64') * 1000 + CASE WHEN source = 'span' THEN duration_ns ELSE 0 END) \
     - min(arrow_cast(start_time, 'Int64') * 1000)";

/// Calls of models.
pub(crate) static CALLS: Query = Query {
    name: "calls",
    columns: &[
        column("trace_id", Text, None),
        column("span_id", Text, None),
        column("log_id", Text, None),
        column("start_time", Time, None),
        column("duration_ns", Integer, Some(Ns)),
        column("status_code", Text, None),
        column("provider", Text, None),
        column("request_model", Text, None),
        column("response_model", Text, None),
        column("operation", Text, None),
        column("input_tokens", Integer, Some(Tokens)),
        column("output_tokens", Integer, Some(Tokens)),
        column("cache_read_tokens", Integer, Some(Tokens)),
        column("reasoning_tokens", Integer, Some(Tokens)),
        column("cost_usd", Money, Some(Usd)),
        column("cost_source", Text, None),
        column("time_to_first_token_ns", Integer, Some(Ns)),
        column("service_name", Text, None),
        column("session_id", Text, None),
        column("user_id", Text, None),
        shown("input_preview", Text),
        shown("output_preview", Text),
        column("error_type", Text, None),
    ],
    id: &["trace_id", "span_id", "log_id"],
    sort: "start_time",
    rows: |scope| format!("SELECT {CALL_COLUMNS}, input_preview, output_preview\nFROM llm_calls WHERE {}", scope.rows()),
    keys: Some(|scope| format!("SELECT {CALL_COLUMNS} FROM llm_calls WHERE {}", scope.rows())),
    details: Some(with_previews),
    group: None,
    totals: |scope| {
        format!(
            "SELECT count(*) AS rows, {ERRORS_COUNT}, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, \
             sum(cache_read_tokens) AS cache_read_tokens, sum(reasoning_tokens) AS reasoning_tokens, sum(cost_usd) AS cost_usd, \
             count(*) FILTER (WHERE cost_source = 'unpriced') AS unpriced_calls\nFROM llm_calls WHERE {}",
            scope.rows()
        )
    },
    of_traces: None,
};

const CALL_COLUMNS: &str = "trace_id, span_id, log_id, start_time, duration_ns, status_code, provider, request_model, response_model, operation, \
     input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, cost_usd, cost_source, time_to_first_token_ns, service_name, \
     session_id, user_id, error_type";

fn with_previews<'a>(
    reader: &'a Reader<'a>,
    rows: Vec<JsonRow>,
) -> Pin<Box<dyn Future<Output = Result<Vec<JsonRow>, QueryError>> + Send + 'a>> {
    Box::pin(previews(reader, rows))
}

/// Adds the previews to calls.
async fn previews(reader: &Reader<'_>, mut rows: Vec<JsonRow>) -> Result<Vec<JsonRow>, QueryError> {
    let ids = |name: &str| -> Vec<String> { rows.iter().filter_map(|row| row.get(name)?.as_str().map(quoted)).collect() };
    let (spans, traces) = (ids("span_id"), ids("trace_id"));
    let logs: Vec<String> =
        rows.iter().filter(|row| row["log_id"].is_string()).filter_map(|row| row["log_id"].as_str().map(quoted)).collect();
    let mut found = Vec::new();
    if !spans.is_empty() && !traces.is_empty() {
        let sql = format!(
            "SELECT trace_id, span_id, CAST(NULL AS VARCHAR) AS log_id, input_preview, output_preview FROM spans \
             WHERE trace_id IN ({}) AND span_id IN ({})",
            traces.join(", "),
            spans.join(", ")
        );
        found.extend(reader.rows(&sql, usize::MAX).await?);
    }
    if !logs.is_empty() {
        let sql = format!(
            "SELECT trace_id, span_id, log_id, input_preview, output_preview FROM logs WHERE log_id IN ({})",
            logs.join(", ")
        );
        found.extend(reader.rows(&sql, usize::MAX).await?);
    }
    for row in &mut rows {
        let same = |other: &&JsonRow| ["trace_id", "span_id", "log_id"].iter().all(|id| other[*id] == row[*id]);
        let previews = found.iter().find(same);
        let of = |name: &str| previews.map_or(Value::Null, |p| p[name].clone());
        let (input, output) = (of("input_preview"), of("output_preview"));
        row.insert("input_preview".into(), input);
        row.insert("output_preview".into(), output);
    }
    Ok(rows)
}

/// Sessions.
pub(crate) static SESSIONS: Query = Query {
    name: "sessions",
    columns: &[
        column("session_id", Text, None),
        column("user_id", Text, None),
        column("first_time", Time, None),
        column("last_time", Time, None),
        column("traces", Integer, Some(Count)),
        column("llm_calls", Integer, Some(Count)),
        column("errors", Integer, Some(Count)),
        column("input_tokens", Integer, Some(Tokens)),
        column("output_tokens", Integer, Some(Tokens)),
        column("cost_usd", Money, Some(Usd)),
        column("unpriced_calls", Integer, Some(Count)),
        column("duration_ns", Integer, Some(Ns)),
        shown("models", List),
    ],
    id: &["session_id"],
    sort: "last_time",
    rows: |scope| sessions_sql(&scope.whole("session_id")),
    keys: None,
    details: None,
    group: Some(Group { column: "session_id", distinct: None, is_added_up: false }),
    totals: |scope| {
        format!(
            "SELECT count(DISTINCT session_id) AS rows, count(DISTINCT trace_id) AS traces, {COUNTED_CALLS}, {ERRORS_COUNT}, {CALL_SUMS}\n\
             FROM steps WHERE {}",
            scope.whole("session_id")
        )
    },
    of_traces: None,
};

/// Sessions of the steps for which `condition` holds.
pub(super) fn sessions_sql(condition: &str) -> String {
    format!(
        "SELECT session_id, first_value(user_id ORDER BY start_time) FILTER (WHERE user_id IS NOT NULL) AS user_id, \
         min(start_time) AS first_time, max(start_time) AS last_time, count(DISTINCT trace_id) AS traces, {COUNTED_CALLS}, {ERRORS_COUNT}, \
         {CALL_SUMS}, {EXTENT} AS duration_ns, \
         array_agg(DISTINCT {MODEL}) FILTER (WHERE counted AND {MODEL} IS NOT NULL) AS models\n\
         FROM steps WHERE {condition}\nGROUP BY session_id"
    )
}

/// Users.
pub(crate) static USERS: Query = Query {
    name: "users",
    columns: &[
        column("user_id", Text, None),
        column("first_time", Time, None),
        column("last_time", Time, None),
        column("sessions", Integer, Some(Count)),
        column("traces", Integer, Some(Count)),
        column("llm_calls", Integer, Some(Count)),
        column("errors", Integer, Some(Count)),
        column("input_tokens", Integer, Some(Tokens)),
        column("output_tokens", Integer, Some(Tokens)),
        column("cost_usd", Money, Some(Usd)),
        column("unpriced_calls", Integer, Some(Count)),
    ],
    id: &["user_id"],
    sort: "cost_usd",
    rows: |scope| {
        format!(
            "SELECT user_id, min(start_time) AS first_time, max(start_time) AS last_time, count(DISTINCT session_id) AS sessions, \
             count(DISTINCT trace_id) AS traces, {COUNTED_CALLS}, {ERRORS_COUNT}, {CALL_SUMS}\nFROM steps WHERE {}\nGROUP BY user_id",
            scope.whole("user_id")
        )
    },
    keys: None,
    details: None,
    group: Some(Group { column: "user_id", distinct: Some(("session_id", "sessions")), is_added_up: true }),
    totals: |scope| {
        format!(
            "SELECT count(DISTINCT user_id) AS rows, count(DISTINCT session_id) AS sessions, count(DISTINCT trace_id) AS traces, \
             {COUNTED_CALLS}, {ERRORS_COUNT}, {CALL_SUMS}\nFROM steps WHERE {}",
            scope.whole("user_id")
        )
    },
    of_traces: None,
};

/// Models, by who answered.
pub(crate) static MODELS: Query = Query {
    name: "models",
    columns: &[
        column("provider", Text, None),
        column("model", Text, None),
        column("llm_calls", Integer, Some(Count)),
        column("errors", Integer, Some(Count)),
        column("input_tokens", Integer, Some(Tokens)),
        column("output_tokens", Integer, Some(Tokens)),
        column("cache_read_tokens", Integer, Some(Tokens)),
        column("cost_usd", Money, Some(Usd)),
        column("unpriced_calls", Integer, Some(Count)),
        column("p50_ns", Integer, Some(Ns)),
        column("p95_ns", Integer, Some(Ns)),
        column("tokens_per_second", Double, None),
    ],
    id: &["provider", "model"],
    sort: "cost_usd",
    rows: |scope| {
        format!(
            "SELECT provider, {MODEL} AS model, {}\nFROM llm_calls WHERE {}\nGROUP BY provider, {MODEL}",
            model_sums(),
            scope.rows()
        )
    },
    keys: None,
    details: None,
    group: None,
    totals: |scope| {
        let rows = scope.rows();
        format!(
            "SELECT (SELECT count(*) FROM (SELECT DISTINCT provider, {MODEL} FROM llm_calls WHERE {rows}) AS models) AS rows, {}\n\
             FROM llm_calls WHERE {rows}",
            model_sums()
        )
    },
    of_traces: None,
};

fn model_sums() -> String {
    format!(
        "count(*) AS llm_calls, {ERRORS_COUNT}, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, \
         sum(cache_read_tokens) AS cache_read_tokens, sum(cost_usd) AS cost_usd, \
         count(*) FILTER (WHERE cost_source = 'unpriced') AS unpriced_calls, {PERCENTILES}, {TOKENS_PER_SECOND}"
    )
}

/// Tools that ran.
pub(crate) static TOOLS: Query = Query {
    name: "tools",
    columns: &[
        column("tool_name", Text, None),
        column("calls", Integer, Some(Count)),
        column("errors", Integer, Some(Count)),
        column("p50_ns", Integer, Some(Ns)),
        column("p95_ns", Integer, Some(Ns)),
        column("traces", Integer, Some(Count)),
        column("cost_usd", Money, Some(Usd)),
    ],
    id: &["tool_name"],
    sort: "calls",
    rows: |scope| {
        let runs = tool_runs(scope);
        // Each trace once for each of its tools, which gives both its number and its cost: told apart within the sums, they take too much memory.
        format!(
            "SELECT runs.tool_name, calls, errors, p50_ns, p95_ns, traces, cost_usd\n\
             FROM (SELECT {TOOL} AS tool_name, {} FROM spans WHERE {runs} GROUP BY {TOOL}) AS runs\n\
             JOIN (\n\
             SELECT tool_name, count(*) AS traces, sum(cost_usd) AS cost_usd\n\
             FROM (SELECT DISTINCT {TOOL} AS tool_name, trace_id FROM spans WHERE {runs}) AS used\n\
             LEFT JOIN ({}) AS costs ON costs.trace_id = used.trace_id GROUP BY tool_name\n\
             ) AS costs ON costs.tool_name = runs.tool_name",
            tool_sums(),
            trace_costs(scope, &format!("SELECT trace_id FROM spans WHERE {runs}"))
        )
    },
    keys: None,
    details: None,
    group: None,
    totals: |scope| {
        let runs = tool_runs(scope);
        format!(
            "SELECT count(DISTINCT {TOOL}) AS rows, {}, count(DISTINCT trace_id) AS traces, \
             (SELECT sum(cost_usd) FROM ({}) AS costs) AS cost_usd\nFROM spans WHERE {runs}",
            tool_sums(),
            trace_costs(scope, &format!("SELECT trace_id FROM spans WHERE {runs}"))
        )
    },
    of_traces: Some(OfTraces::ToolRuns(|scope| {
        format!("SELECT {TOOL}, trace_id, duration_ns, {FAILED} FROM spans WHERE {}", tool_runs(scope))
    })),
};

fn tool_runs(scope: &Scope) -> String {
    format!("{} AND operation = 'execute_tool' AND {ENDED}", scope.rows())
}

fn tool_sums() -> String {
    format!("count(*) AS calls, {ERRORS_COUNT}, {PERCENTILES}")
}

/// The cost of each trace among `traces` in the range.
fn trace_costs(scope: &Scope, traces: &str) -> String {
    format!(
        "SELECT trace_id, sum(cost_usd) AS cost_usd FROM llm_calls WHERE {} AND trace_id IN ({traces}) GROUP BY trace_id",
        scope.range
    )
}

/// Errors that are alike.
pub(crate) static ERRORS: Query = Query {
    name: "errors",
    columns: &[
        column("error_type", Text, None),
        column("service_name", Text, None),
        column("name", Text, None),
        column("message", Text, None),
        column("spans", Integer, Some(Count)),
        column("traces", Integer, Some(Count)),
        column("users", Integer, Some(Count)),
        column("first_time", Time, None),
        column("last_time", Time, None),
        shown("last_trace_id", Text),
        column("cost_usd", Money, Some(Usd)),
    ],
    id: &["error_type", "service_name", "message"],
    sort: "spans",
    rows: |scope| {
        format!(
            "SELECT error_type, service_name, first_value(name ORDER BY last_time DESC) AS name, message, sum(spans) AS spans, \
             count(errors_of_trace.trace_id) AS traces, count(DISTINCT user_id) AS users, min(first_time) AS first_time, \
             max(last_time) AS last_time, {LAST_TRACE}, sum(cost_usd) AS cost_usd\nFROM ({}) AS errors_of_trace\nLEFT JOIN ({}) AS costs ON costs.trace_id = errors_of_trace.trace_id\n\
             GROUP BY error_type, service_name, message",
            errors_of_traces(scope),
            trace_costs(scope, &failed_traces(scope))
        )
    },
    keys: None,
    details: None,
    group: None,
    totals: |scope| {
        format!(
            "SELECT (SELECT count(*) FROM (SELECT DISTINCT error_type, service_name, {MESSAGE} FROM steps WHERE {}) AS errors) AS rows, \
             count(*) AS spans, count(DISTINCT trace_id) AS traces, count(DISTINCT user_id) AS users, \
             (SELECT sum(cost_usd) FROM ({}) AS costs) AS cost_usd\nFROM steps WHERE {}",
            failures(scope),
            trace_costs(scope, &failed_traces(scope)),
            failures(scope)
        )
    },
    of_traces: Some(OfTraces::Groups {
        rows: |scope| {
            format!(
                "SELECT error_type, service_name, first_value(name ORDER BY last_time DESC) AS name, message, sum(spans) AS spans, \
                 count(DISTINCT user_id) AS users, min(first_time) AS first_time, max(last_time) AS last_time, {LAST_TRACE}\n\
                 FROM ({}) AS errors_of_trace GROUP BY error_type, service_name, message",
                errors_of_traces(scope)
            )
        },
        totals: |scope| {
            format!(
                "SELECT (SELECT count(*) FROM (SELECT DISTINCT error_type, service_name, {MESSAGE} FROM steps WHERE {}) AS errors) AS rows, \
                 count(*) AS spans, count(DISTINCT user_id) AS users FROM steps WHERE {}",
                failures(scope),
                failures(scope)
            )
        },
        traces: |scope| {
            format!(
                "SELECT DISTINCT error_type, service_name, {MESSAGE} AS message, trace_id FROM steps WHERE {} AND trace_id IS NOT NULL",
                failures(scope)
            )
        },
    }),
};

const LAST_TRACE: &str = "first_value(errors_of_trace.trace_id ORDER BY last_time DESC) FILTER (WHERE errors_of_trace.trace_id IS NOT NULL) AS last_trace_id";
const MESSAGE: &str = "normalise_message(coalesce(error_message, status_message))";

fn failures(scope: &Scope) -> String {
    format!("{} AND {FAILED}", scope.rows())
}

fn failed_traces(scope: &Scope) -> String {
    format!("SELECT trace_id FROM steps WHERE {}", failures(scope))
}

/// Errors that are alike in one trace: the cost of a trace is joined to them once. Users are told apart by trace.
fn errors_of_traces(scope: &Scope) -> String {
    format!(
        "SELECT error_type, service_name, {MESSAGE} AS message, trace_id, first_value(name ORDER BY start_time DESC) AS name, \
         count(*) AS spans, max(user_id) AS user_id, min(start_time) AS first_time, max(start_time) AS last_time\n\
         FROM steps WHERE {} GROUP BY error_type, service_name, {MESSAGE}, trace_id",
        failures(scope)
    )
}
