//! The views: one row per call, step, trace, session and user. Each is SQL over the tables, so that what it means can be read, and a list of
//! its columns with their documentation, which a test compares with what the SQL gives.
//!
//! Columns that a query does not ask for are not read: `llm_calls` touches a prompt only if the prompt is selected.

use std::sync::LazyLock;

use assay_schemas::tables::TableId;

/// Whether a row of spans, steps or calls failed. Some SDKs name the error and leave the status unset.
pub(crate) const FAILED: &str = "(status_code = 'ERROR' OR error_type IS NOT NULL)";
/// Whether a span of that name ran, rather than being announced: see the column `pending`.
pub(crate) const ENDED: &str = "pending IS NOT TRUE";

/// A view.
#[derive(Clone, Debug)]
pub struct View {
    /// Name in SQL.
    pub name: &'static str,
    /// One sentence on what a row is.
    pub doc: &'static str,
    /// The query it stands for.
    pub sql: String,
    /// Name and documentation of each column, in order.
    pub columns: Vec<(&'static str, &'static str)>,
}

/// All views.
pub static VIEWS: LazyLock<Vec<View>> = LazyLock::new(|| vec![llm_calls(), steps(), traces(), sessions(), users()]);

/// The view called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| view.name == name)
}

/// Canonical columns, with their documentation, but for those that the view's own filter settles.
fn canonical_columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    let columns = TableId::Spans.columns();
    let first = columns.iter().position(|c| c.name == "dialect").expect("canonical columns begin with `dialect`");
    columns[first..].iter().filter(|c| !matches!(c.name, "counted" | "uncounted_reason")).map(|c| (c.name, c.doc))
}

/// Columns of a call that are not canonical ones: name, SQL of a span, SQL of a log record, documentation.
const CALL_COLUMNS: [(&str, &str, &str, &str); 21] = [
    ("project_id", "project_id", "project_id", "Tenant; set by the server from the credentials, never by the sender."),
    ("date", "date", "date", "Day of receipt, UTC."),
    ("received_at", "received_at", "received_at", "When the request was received."),
    ("source", "'span'", "'log'", "`span` or `log`: what reported the call. A call reported by both is one row."),
    (
        "trace_id",
        "trace_id",
        "trace_id",
        "Trace of the call, 32 lower-case hex digits; NULL if a log without a trace reported it.",
    ),
    ("span_id", "span_id", "span_id", "Span of the call, 16 lower-case hex digits."),
    ("parent_span_id", "parent_span_id", "CAST(NULL AS VARCHAR)", "Parent of that span."),
    ("log_id", "CAST(NULL AS VARCHAR)", "log_id", "Log record of the call, where a log reported it."),
    ("name", "name", "event_name", "Span name, or event name of the log record."),
    ("start_time", "start_time", "time", "Start of the call; for a log record the time of its event, which is usually the end."),
    (
        "duration_ns",
        "duration_ns",
        "CAST(json_get_float(attributes, 'duration_ms') * 1000000 AS BIGINT)",
        "How long the call took; for a log record its attribute `duration_ms`, NULL if there is none.",
    ),
    ("pending", "pending", "CAST(NULL AS BOOLEAN)", "True if the row only announces a span that had begun; else NULL."),
    (
        "status_code",
        "status_code",
        "CASE WHEN error_type IS NULL THEN 'UNSET' ELSE 'ERROR' END",
        "`UNSET`, `OK` or `ERROR`; of a log record `ERROR` if it carries an error.",
    ),
    ("status_message", "status_message", "error_message", "Status message of the span, or error message of the log record."),
    ("service_name", "service_name", "service_name", "Service that sent it: resource attribute `service.name`."),
    ("service_version", "service_version", "service_version", "Resource attribute `service.version`."),
    (
        "deployment_environment",
        "deployment_environment",
        "deployment_environment",
        "Resource attribute `deployment.environment.name`.",
    ),
    ("span_kind", "span_kind", "CAST(NULL AS VARCHAR)", "`INTERNAL`, `SERVER`, `CLIENT`, …; NULL of a log record."),
    ("scope_name", "scope_name", "scope_name", "Instrumentation scope."),
    ("resource_attributes", "resource_attributes", "resource_attributes", "Resource attributes as received, as a JSON object."),
    ("attributes", "attributes", "attributes", "Attributes as received, as a JSON object."),
];

/// Whether the row counts, which all filters can ask.
const COUNTED: (&str, &str) =
    ("counted", "Whether the row counts for a call: sums of tokens and money over `steps` filter on it.");

/// The columns of a call, of the rows of `table`.
fn call_rows(log: bool, table: &str) -> String {
    let own = CALL_COLUMNS.iter().map(|(name, span_sql, log_sql, _)| {
        let sql = if log { log_sql } else { span_sql };
        if sql == name { (*name).to_owned() } else { format!("{sql} AS {name}") }
    });
    let columns: Vec<_> = own.chain(canonical_columns().chain([COUNTED]).map(|(name, _)| name.to_owned())).collect();
    format!("SELECT {} FROM {table}", columns.join(", "))
}

fn call_columns() -> Vec<(&'static str, &'static str)> {
    CALL_COLUMNS.iter().map(|(name, _, _, doc)| (*name, *doc)).chain(canonical_columns()).chain([COUNTED]).collect()
}

fn llm_calls() -> View {
    View {
        name: "llm_calls",
        doc: "One row per call of a model that a provider answered or failed, however many spans or logs described it.",
        sql: format!("{} WHERE counted\nUNION ALL\n{} WHERE counted", call_rows(false, "spans"), call_rows(true, "logs")),
        columns: call_columns(),
    }
}

fn steps() -> View {
    View {
        name: "steps",
        doc: "One row per span, and per call of a model that only a log record reported: what happened, step by step.",
        sql: format!("{}\nUNION ALL\n{} WHERE counted", call_rows(false, "spans"), call_rows(true, "logs")),
        columns: call_columns(),
    }
}

/// Spans, and calls that only a log record reported, in the columns that the aggregates below need.
const STEPS: &str = "SELECT true AS is_span, trace_id, span_id, parent_span_id, name, service_name, start_time, start_time_ns_part, \
     duration_ns, pending, status_code, error_type, operation, counted, request_model, response_model, provider, input_tokens, output_tokens, \
     cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_usd, cost_source, session_id, user_id, tags, input_preview, \
     output_preview FROM spans\n\
     UNION ALL\n\
     SELECT false, trace_id, span_id, CAST(NULL AS VARCHAR), event_name, service_name, time, CAST(0 AS BIGINT), CAST(0 AS BIGINT), \
     CAST(NULL AS BOOLEAN), CASE WHEN error_type IS NULL THEN 'UNSET' ELSE 'ERROR' END, error_type, operation, counted, request_model, response_model, provider, \
     input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_usd, cost_source, session_id, user_id, \
     tags, input_preview, output_preview FROM logs WHERE counted";

/// Sums over calls: expression, name, documentation.
const CALL_SUMS: [(&str, &str, &str); 10] = [
    ("count(*) FILTER (WHERE counted)", "llm_call_count", "Calls of models."),
    ("count(*) FILTER (WHERE operation = 'execute_tool' AND pending IS NOT TRUE)", "tool_call_count", "Tool executions."),
    (
        "count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL)",
        "error_count",
        "Spans (and calls reported by logs) that failed: their status is `ERROR`, or they have an `error_type`.",
    ),
    (
        "sum(input_tokens) FILTER (WHERE counted)",
        "input_tokens",
        "Prompt tokens of all calls, cache reads and writes included; NULL if unknown.",
    ),
    (
        "sum(output_tokens) FILTER (WHERE counted)",
        "output_tokens",
        "Answer tokens of all calls, reasoning included; NULL if unknown.",
    ),
    ("sum(cache_read_tokens) FILTER (WHERE counted)", "cache_read_tokens", "Part of `input_tokens` read from the prompt cache."),
    (
        "sum(cache_write_tokens) FILTER (WHERE counted)",
        "cache_write_tokens",
        "Part of `input_tokens` written to the prompt cache.",
    ),
    ("sum(reasoning_tokens) FILTER (WHERE counted)", "reasoning_tokens", "Part of `output_tokens` spent on reasoning."),
    ("sum(cost_usd) FILTER (WHERE counted)", "cost_usd", "Cost of the priced calls in US dollars; NULL if none is priced."),
    ("count(*) FILTER (WHERE counted AND cost_source = 'unpriced')", "unpriced_calls", "Calls whose model has no price."),
];

/// A root (no parent) before other spans, spans before log records, then the earliest.
const ROOT_FIRST: &str = "ORDER BY is_span DESC, (parent_span_id IS NULL) DESC, start_time, start_time_ns_part";

/// The columns of a trace: expression, name, documentation. Shared with the trace list, which adds a condition below the aggregate.
fn trace_columns() -> Vec<(String, &'static str, &'static str)> {
    let root = |column: &str| format!("first_value({column} {ROOT_FIRST})");
    let first = |column: &str| format!("first_value({column} {ROOT_FIRST}) FILTER (WHERE {column} IS NOT NULL)");
    let start_ns = "min(arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part)";
    let end_ns = "max(arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part + duration_ns)";
    let mut columns = vec![
        ("trace_id".to_owned(), "trace_id", "Trace, 32 lower-case hex digits."),
        (root("name"), "name", "Name of the root span; of the earliest span while no root has arrived."),
        (root("service_name"), "service_name", "Service of that span."),
        ("min(start_time)".to_owned(), "start_time", "Start of the earliest span."),
        (start_ns.to_owned(), "start_unix_nano", "The same, nanoseconds since 1970."),
        (end_ns.to_owned(), "end_unix_nano", "End of the latest span, nanoseconds since 1970."),
        (
            format!("{end_ns} - {start_ns}"),
            "duration_ns",
            "From the start of the earliest span to the end of the latest, nanoseconds.",
        ),
        (root("status_code"), "status_code", "Status of the root span."),
        (
            format!("count(*) FILTER (WHERE is_span AND {ENDED})"),
            "span_count",
            "Spans received; one that was announced before it ended counts once, when it has.",
        ),
        (
            "bool_or(is_span AND parent_span_id IS NULL)".to_owned(),
            "has_root",
            "Whether the root span (a span without a parent) has arrived.",
        ),
    ];
    columns.extend(CALL_SUMS.iter().map(|(sql, name, doc)| ((*sql).to_owned(), *name, *doc)));
    columns.extend([
        (
            "array_agg(DISTINCT coalesce(response_model, request_model)) FILTER (WHERE counted AND coalesce(response_model, request_model) IS NOT NULL)".to_owned(),
            "models",
            "Models called.",
        ),
        (first("session_id"), "session_id", "Session of the trace."),
        (first("user_id"), "user_id", "User of the trace."),
        (first("tags"), "tags", "Tags of the root span, else of the first span that has any, as a JSON array of text."),
        (first("input_preview"), "input_preview", "First 240 characters of what the trace was given."),
        (first("output_preview"), "output_preview", "First 240 characters of what the trace returned."),
    ]);
    columns
}

/// Traces of the steps for which `condition` (over columns that spans and logs share) holds.
#[must_use]
pub(crate) fn traces_sql(condition: Option<&str>) -> String {
    let select: Vec<_> =
        trace_columns().into_iter().map(|(sql, name, _)| if sql == name { sql } else { format!("{sql} AS {name}") }).collect();
    let condition = condition.map(|c| format!(" WHERE {c}")).unwrap_or_default();
    format!(
        "SELECT {}\nFROM (SELECT * FROM ({STEPS}) AS steps{condition}) AS steps\nWHERE trace_id IS NOT NULL\nGROUP BY trace_id",
        select.join(", ")
    )
}

fn traces() -> View {
    View {
        name: "traces",
        doc: "One row per trace. Limit `start_time` or `trace_id` where you can: the view reads every span of the project.",
        sql: traces_sql(None),
        columns: trace_columns().into_iter().map(|(_, name, doc)| (name, doc)).collect(),
    }
}

fn grouped(
    key: &'static str,
    key_doc: &'static str,
    other: (&'static str, &'static str, &'static str),
) -> (String, Vec<(&'static str, &'static str)>) {
    let own: [(&str, &str, &str); 7] = [
        (key, key, key_doc),
        ("min(start_time)", "first_seen", "Start of the first span."),
        ("max(start_time)", "last_seen", "Start of the last span."),
        ("count(DISTINCT trace_id)", "trace_count", "Traces."),
        ("count(*) FILTER (WHERE is_span AND pending IS NOT TRUE)", "span_count", "Spans, without announcements of spans."),
        (other.0, other.1, other.2),
        ("count(DISTINCT service_name)", "service_count", "Services that sent them."),
    ];
    let all = || own.iter().chain(CALL_SUMS.iter());
    let select: Vec<_> =
        all().map(|(sql, name, _)| if sql == name { (*sql).to_owned() } else { format!("{sql} AS {name}") }).collect();
    let sql = format!("SELECT {}\nFROM ({STEPS}) AS steps\nWHERE {key} IS NOT NULL\nGROUP BY {key}", select.join(", "));
    (sql, all().map(|(_, name, doc)| (*name, *doc)).collect())
}

fn sessions() -> View {
    let user = (
        "first_value(user_id ORDER BY start_time) FILTER (WHERE user_id IS NOT NULL)",
        "user_id",
        "User of the session: the first one named.",
    );
    let (sql, columns) = grouped("session_id", "Conversation or session.", user);
    View { name: "sessions", doc: "One row per session: the spans that carry its `session_id`.", sql, columns }
}

fn users() -> View {
    let sessions = ("count(DISTINCT session_id)", "session_count", "Sessions of the user.");
    let (sql, columns) = grouped("user_id", "End user.", sessions);
    View { name: "users", doc: "One row per user: the spans that carry its `user_id`.", sql, columns }
}
