//! Fills the call index from recently committed rows at start, so that a call reported again after a restart is still recognised.

use std::time::Duration;

use anyhow::Context as _;
use arrow::array::RecordBatch;
use assay_collector::calls::{CallIndex, SeedRow};
use assay_query::{Ask, QueryEngine};
use assay_schemas::{
    ids::ProjectId,
    table::{Bool, Field, Int, Label, Opt, Text, Time},
    tables::TableId,
};
use assay_storage::WalPosition;
use chrono::Utc;

/// Read back as far as the index remembers.
const SEED_WINDOW: Duration = Duration::from_secs(15 * 60);
const SEED_ROWS_MAX: usize = 1_000_000;

/// Reads rows of requests before `replayed_from`: those from there on come again in the replay, and must not be taken for resent. A
/// flush that a crash interrupted has committed some tables and not others, so the spans of a replayed request can be there already.
///
/// # Errors
/// If the committed rows cannot be read.
pub(crate) async fn seed(
    engine: &QueryEngine,
    calls: &CallIndex,
    projects: &[ProjectId],
    replayed_from: Option<WalPosition>,
) -> anyhow::Result<()> {
    let end = replayed_from.map_or(u64::MAX >> 1, WalPosition::get);
    let since = (Utc::now() - SEED_WINDOW).format("%Y-%m-%dT%H:%M:%S%.6fZ");
    let view = engine.storage().view();
    for project in projects {
        for is_log in [false, true] {
            // There may be many projects, and few of them send logs.
            let table = if is_log { TableId::Logs } else { TableId::Spans };
            if view.files(table, project).is_empty() && view.hot(table, project).is_empty() {
                continue;
            }
            let (name, columns, filter) = match is_log {
                false => ("spans", "parent_span_id, start_time, start_time_ns_part, duration_ns, status_code", "true"),
                true => (
                    "logs",
                    "cast(NULL as varchar), time, cast(0 as bigint) AS start_time_ns_part, cast(0 as bigint) AS duration_ns, 'UNSET'",
                    "(counted or input_tokens is not null or output_tokens is not null)",
                ),
            };
            let sql = format!(
                "SELECT received_at, trace_id, span_id, {columns}, error_type, operation, counted, uncounted_reason, response_id, \
                 input_tokens, output_tokens, session_id, user_id, \
                 coalesce(input_preview, output_preview) IS NOT NULL \
                 FROM {name} WHERE received_at >= TIMESTAMP '{since}' AND wal_position < {end} AND {filter} \
                 ORDER BY wal_position"
            );
            let ask = Ask { row_limit: Some(SEED_ROWS_MAX), ..Ask::new(sql) };
            let answer = engine.ask(project, ask).await;
            let mut answer = answer.with_context(|| format!("could not read the recent `{name}` of project `{project}`"))?;
            while let Some(batch) = answer.next().await? {
                calls.seed((0..batch.num_rows()).map(|row| seed_row(project, is_log, &batch, row)));
            }
        }
    }
    Ok(())
}

fn seed_row(project: &ProjectId, is_log: bool, batch: &RecordBatch, row: usize) -> SeedRow {
    let arrays = &mut batch.columns().iter();
    let received_at = Time::take(arrays, row);
    let trace_id = Opt::<Text>::take(arrays, row);
    let span_id = Opt::<Text>::take(arrays, row);
    let parent_span_id = Opt::<Text>::take(arrays, row);
    let start = Time::take(arrays, row);
    let start_ns_part = <Int as Field>::take(arrays, row);
    let duration_ns = <Int as Field>::take(arrays, row);
    let status_code = <Label as Field>::take(arrays, row);
    let error_type = Opt::<Label>::take(arrays, row);
    SeedRow {
        project: project.clone(),
        received_at_unix_nano: received_at.saturating_mul(1000),
        is_log,
        trace_id,
        span_id,
        parent_span_id,
        start_time_unix_nano: start.saturating_mul(1000).saturating_add(start_ns_part),
        duration_ns,
        failed: status_code == "ERROR" || error_type.is_some(),
        operation: Opt::<Label>::take(arrays, row),
        counted: <Bool as Field>::take(arrays, row),
        uncounted_reason: Opt::<Label>::take(arrays, row),
        response_id: Opt::<Text>::take(arrays, row),
        input_tokens: Opt::<Int>::take(arrays, row),
        output_tokens: Opt::<Int>::take(arrays, row),
        session_id: Opt::<Text>::take(arrays, row),
        user_id: Opt::<Text>::take(arrays, row),
        has_messages: <Bool as Field>::take(arrays, row),
    }
}
