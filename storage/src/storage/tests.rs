//! Claims about the whole: durable, visible, exactly once.

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::Int64Type,
};
use assay_schemas::{
    ids::{Encoding, Signal},
    table::Row as _,
    tables::{CorrectionRow, CostLineRow, LogRow, Origin, SpanRow},
};
use bytes::Bytes;

use super::*;
use crate::lake::DataFile;

pub(crate) const DATE: i32 = 20_778;
const MICROS_PER_DAY: i64 = 86_400_000_000;

pub(crate) fn config(dir: &tempfile::TempDir) -> StorageConfig {
    let never = Duration::from_secs(1_000_000);
    StorageConfig {
        data_dir: dir.path().join("data"),
        flush_interval: never,
        compaction_interval: never,
        vacuum_grace: Duration::ZERO,
        ..StorageConfig::default()
    }
}

pub(crate) fn project() -> ProjectId {
    ProjectId::default_project()
}

pub(crate) fn record(body: &str) -> WalRecord {
    WalRecord {
        project: project(),
        signal: Signal::Traces,
        encoding: Encoding::Json,
        received_at_unix_nano: 1,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

pub(crate) fn origin(position: WalPosition, date: i32) -> Origin {
    Origin {
        project_id: project().to_string(),
        date,
        received_at: i64::from(date) * MICROS_PER_DAY,
        wal_position: position.get().cast_signed(),
    }
}

/// A span of trace `trace`, numbered `n`, that starts at `n` microseconds of its day.
pub(crate) fn span(position: WalPosition, trace: u64, n: u64) -> SpanRow {
    let mut row = SpanRow {
        origin: origin(position, DATE),
        trace_id: format!("{trace:032x}"),
        span_id: format!("{n:016x}"),
        name: format!("span {n}"),
        start_time: i64::from(DATE) * MICROS_PER_DAY + n.cast_signed(),
        ..SpanRow::default()
    };
    row.genai.counted = true;
    row.genai.input_messages = Some(format!("[\"message {n}\"]"));
    row
}

pub(crate) fn spans(rows: Vec<SpanRow>) -> Vec<(TableId, RecordBatch)> {
    vec![(TableId::Spans, SpanRow::batch(rows))]
}

/// Appends one record and publishes `n` as its only span.
pub(crate) async fn ingest(storage: &Storage, trace: u64, n: u64) -> WalPosition {
    let position = storage.append(record(&n.to_string())).await.unwrap();
    storage.publish(position, spans(vec![span(position, trace, n)]));
    position
}

/// Replays as a collector would: every record becomes the span that its body names.
pub(crate) fn recover(storage: &Storage) -> Vec<u64> {
    let mut replayed = Vec::new();
    for item in storage.replay() {
        let (position, record) = item.unwrap();
        let n = std::str::from_utf8(&record.body).unwrap().parse().unwrap();
        storage.publish(position, spans(vec![span(position, 1, n)]));
        replayed.push(n);
    }
    replayed
}

/// Every row of `table` in `view`, hot and in files, corrections applied.
pub(crate) async fn rows<R: assay_schemas::table::Row>(storage: &Storage, view: &ReadView) -> Vec<R> {
    let table = R::TABLE;
    let mut batches = view.hot(table, &project());
    for file in view.files(table, &project()) {
        batches.extend(
            storage.inner.lake.read_file(table, &file).await.unwrap().into_iter().map(|b| with_partition(&file, table, &b)),
        );
    }
    let corrections = view.corrections(&project());
    let batches = batches.into_iter().map(|b| corrections.as_ref().map_or(b.clone(), |set| set.apply(table, &b)));
    batches.flat_map(|b| (0..b.num_rows()).map(|row| R::read(&b, row)).collect::<Vec<_>>()).collect()
}

fn with_partition(file: &DataFile, table: TableId, batch: &RecordBatch) -> RecordBatch {
    let projects = arrow::array::StringArray::from(vec![file.project.as_str(); batch.num_rows()]);
    let dates = arrow::array::Date32Array::from(vec![chrono::Datelike::num_days_from_ce(&file.date) - 719_163; batch.num_rows()]);
    let mut columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(projects), Arc::new(dates)];
    columns.extend(batch.columns().iter().cloned());
    RecordBatch::try_new(table.schema(), columns).unwrap()
}

/// Numbers of all spans visible now, in order.
pub(crate) async fn visible(storage: &Storage) -> Vec<u64> {
    let rows: Vec<SpanRow> = rows(storage, &storage.view()).await;
    let mut numbers: Vec<u64> = rows.iter().map(|r| u64::from_str_radix(&r.span_id, 16).unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_visible_when_published_and_stays_so_through_flush_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    for n in 0..5 {
        ingest(&storage, 1, n).await;
        assert_eq!(visible(&storage).await, (0..=n).collect::<Vec<_>>());
    }
    storage.flush().await.unwrap();
    assert_eq!(visible(&storage).await, (0..5).collect::<Vec<_>>());
    assert_eq!(storage.status().hot_rows, 0);
    ingest(&storage, 1, 5).await;
    drop(storage);

    let storage = Storage::open(config(&dir)).await.unwrap();
    assert_eq!(visible(&storage).await, (0..5).collect::<Vec<_>>());
    assert_eq!(recover(&storage), vec![5], "only what was not committed is replayed");
    assert_eq!(visible(&storage).await, (0..6).collect::<Vec<_>>());
    storage.close().await.unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    assert_eq!(storage.replay().count(), 0);
    assert_eq!(visible(&storage).await, (0..6).collect::<Vec<_>>());
}
