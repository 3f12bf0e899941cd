//! What the index needs of a row that was committed before a restart.

use assay_schemas::ids::ProjectId;

/// The slim columns of a span, or of a log record with `counted` or usage, in the order of receipt.
///
/// Read the last quarter of an hour by `received_at`, with corrections applied, so that what was decided stays decided.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedRow {
    /// `project_id`
    pub project: ProjectId,
    /// `received_at`, nanoseconds since 1970.
    pub received_at_unix_nano: i64,
    /// Whether the row is of `logs` (`spans` otherwise).
    pub is_log: bool,
    /// `trace_id`
    pub trace_id: Option<String>,
    /// `span_id`
    pub span_id: Option<String>,
    /// `parent_span_id`
    pub parent_span_id: Option<String>,
    /// `start_time` and `start_time_ns_part`, or the `time` of a log record: nanoseconds since 1970.
    pub start_time_unix_nano: i64,
    /// `duration_ns`; 0 for a log record.
    pub duration_ns: i64,
    /// Whether `status_code` is `ERROR` or `error_type` is set.
    pub failed: bool,
    /// `operation`
    pub operation: Option<String>,
    /// `counted`
    pub counted: bool,
    /// `uncounted_reason`
    pub uncounted_reason: Option<String>,
    /// `response_id`
    pub response_id: Option<String>,
    /// `input_tokens`
    pub input_tokens: Option<i64>,
    /// `output_tokens`
    pub output_tokens: Option<i64>,
    /// `session_id`
    pub session_id: Option<String>,
    /// `user_id`
    pub user_id: Option<String>,
    /// Whether `input_preview` or `output_preview` is set, which stands for messages without reading them.
    pub has_messages: bool,
}
