//! Fills the call index from recently committed rows at start, so that a call reported again after a restart is still recognised.

use std::time::Duration;

use anyhow::Context as _;
use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::Int64Type,
};
use assay_collector::calls::{CallIndex, SeedRow};
use assay_query::{Ask, QueryEngine, time_range::literal};
use assay_schemas::{
    ids::ProjectId,
    table::{Bool, Field, Int, Label, Opt, Text, Time},
    tables::TableId,
};
use assay_storage::WalPosition;
use chrono::{DateTime, Utc};

/// Read back as far as the index remembers.
const SEED_WINDOW: Duration = Duration::from_secs(15 * 60);
/// What the index can hold.
const SEED_ROWS_MAX: i64 = 1_000_000;
/// A table with more rows is read minute by minute.
const SLICE_ROWS: u64 = 100_000;
const MINUTE_US: i64 = 60_000_000;

/// The first record of the replay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstReplayed {
    pub(crate) position: WalPosition,
    /// When it was received.
    pub(crate) received_at_unix_nano: i64,
}

/// Reads rows of requests before `replayed`: those from there on come again in the replay, and must not be taken for resent. A flush that a
/// crash interrupted has committed some tables and not others, so the spans of a replayed request can be there already.
///
/// What the replay is compared with was recent when it was received, however long ago that is.
///
/// # Errors
/// If the committed rows cannot be read.
pub(crate) async fn seed(
    engine: &QueryEngine,
    calls: &CallIndex,
    projects: &[ProjectId],
    replayed: Option<FirstReplayed>,
) -> anyhow::Result<()> {
    let before = replayed.map_or(u64::MAX >> 1, |first| first.position.get());
    let now = Utc::now();
    let received = replayed.map_or(now, |first| DateTime::from_timestamp_nanos(first.received_at_unix_nano));
    let since = (now.min(received) - SEED_WINDOW).timestamp_micros();
    let view = engine.storage().view();
    for project in projects {
        for is_log in [false, true] {
            // There may be many projects, and few of them send logs.
            let table = if is_log { TableId::Logs } else { TableId::Spans };
            let rows = view.rows(table, project);
            if rows == 0 {
                continue;
            }
            let recent = Recent { engine, project, table, before };
            let slices = if rows <= SLICE_ROWS { vec![(since, i64::MAX)] } else { recent.slices(since).await? };
            for (from, to) in slices {
                recent
                    .read(from, to, |batch| {
                        calls.seed((0..batch.num_rows()).map(|row| seed_row(project, is_log, batch, row)));
                    })
                    .await?;
            }
        }
    }
    Ok(())
}

/// Rows of one table received not long ago.
struct Recent<'a> {
    engine: &'a QueryEngine,
    project: &'a ProjectId,
    table: TableId,
    /// Position of the first request that the replay brings again.
    before: u64,
}

impl Recent<'_> {
    /// The minutes since `since` (microseconds since 1970) that have rows, oldest first: as many of the newest as the index can hold.
    /// Order within a minute means nothing to the index, so that nothing is sorted, however many rows there are.
    async fn slices(&self, since: i64) -> anyhow::Result<Vec<(i64, i64)>> {
        let sql = format!(
            "SELECT arrow_cast(received_at, 'Int64') / {MINUTE_US} AS minute, count(*) AS n FROM {} WHERE {} GROUP BY 1 ORDER BY 1 DESC",
            self.table.name(),
            self.condition(since, i64::MAX)
        );
        let (mut slices, mut rows) = (Vec::new(), 0);
        self.ask(sql, |batch| {
            let minutes = batch.column(0).as_primitive::<Int64Type>().values();
            let counts = batch.column(1).as_primitive::<Int64Type>().values();
            for (minute, count) in minutes.iter().zip(counts) {
                rows += count;
                if slices.is_empty() || rows <= SEED_ROWS_MAX {
                    slices.push(((minute * MINUTE_US).max(since), (minute + 1) * MINUTE_US));
                }
            }
        })
        .await?;
        slices.reverse();
        Ok(slices)
    }

    /// Gives the rows received from `from` until before `to`, in microseconds since 1970, to `each`.
    async fn read(&self, from: i64, to: i64, each: impl FnMut(&RecordBatch)) -> anyhow::Result<()> {
        let (columns, filter) = match self.table {
            TableId::Logs => (
                "cast(NULL as varchar), time, cast(0 as bigint) AS start_time_ns_part, cast(0 as bigint) AS duration_ns, 'UNSET'",
                "(counted or input_tokens is not null or output_tokens is not null)",
            ),
            _ => ("parent_span_id, start_time, start_time_ns_part, duration_ns, status_code", "true"),
        };
        let sql = format!(
            "SELECT received_at, trace_id, span_id, {columns}, error_type, operation, counted, uncounted_reason, response_id, \
             input_tokens, output_tokens, session_id, user_id, \
             coalesce(input_preview, output_preview) IS NOT NULL \
             FROM {} WHERE {} AND {filter}",
            self.table.name(),
            self.condition(from, to)
        );
        self.ask(sql, each).await
    }

    fn condition(&self, from: i64, to: i64) -> String {
        let until = if to == i64::MAX { String::new() } else { format!(" AND received_at < {}", literal(to)) };
        format!("received_at >= {}{until} AND wal_position < {}", literal(from), self.before)
    }

    async fn ask(&self, sql: String, mut each: impl FnMut(&RecordBatch)) -> anyhow::Result<()> {
        let (table, project) = (self.table.name(), self.project);
        let ask = Ask { row_limit: Some(SEED_ROWS_MAX as usize), ..Ask::new(sql) };
        let failed = || format!("could not read the recent `{table}` of project `{project}`");
        let mut answer = self.engine.ask(project, ask).await.with_context(failed)?;
        while let Some(batch) = answer.next().await.with_context(failed)? {
            each(&batch);
        }
        Ok(())
    }
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
