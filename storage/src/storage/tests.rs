//! Claims about the whole: durable, visible, exactly once.

use std::sync::atomic::AtomicBool;

use assay_schemas::{
    ids::{Encoding, Signal},
    table::Row as _,
    tables::{CorrectionRow, CostLineRow, LogRow, Origin, SpanRow},
};
use bytes::Bytes;

use std::fs;

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
        project_id: project().as_str().into(),
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

/// Copies the folder `from` over `to`: what a crash leaves of one part while another part went on.
fn copy_over(from: &FsPath, to: &FsPath) {
    fs::create_dir_all(to).unwrap();
    for old in fs::read_dir(to).unwrap() {
        fs::remove_file(old.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_commit_and_before_the_log_is_released_duplicates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let (wal, kept) = (config.data_dir.join("wal"), dir.path().join("kept"));
    let storage = Storage::open(config.clone()).await.unwrap();
    for n in 0..4 {
        ingest(&storage, 1, n).await;
    }
    copy_over(&wal, &kept);
    storage.flush().await.unwrap();
    drop(storage);
    copy_over(&kept, &wal);

    let storage = Storage::open(config).await.unwrap();
    recover(&storage);
    assert_eq!(visible(&storage).await, [0, 1, 2, 3]);
    ingest(&storage, 1, 4).await;
    storage.flush().await.unwrap();
    assert_eq!(visible(&storage).await, [0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_commits_of_two_tables_loses_and_duplicates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let log = |position| LogRow { origin: origin(position, DATE), log_id: position.to_string(), ..LogRow::default() };
    let both = |position| {
        let mut rows = spans(vec![span(position, 1, position.get())]);
        rows.push((TableId::Logs, LogRow::batch([log(position)])));
        rows
    };
    let storage = Storage::open(config.clone()).await.unwrap();
    for _ in 0..3 {
        let position = storage.append(record("both")).await.unwrap();
        storage.publish(position, both(position));
    }
    // The log of `logs` cannot be written, so the flush gets as far as `spans`.
    let delta_log = config.data_dir.join("lake/logs/_delta_log");
    let aside = dir.path().join("aside");
    fs::rename(&delta_log, &aside).unwrap();
    fs::write(&delta_log, b"in the way").unwrap();
    let error = storage.flush().await.unwrap_err();
    assert!(matches!(error, FlushError::Lake { table: "logs", .. }), "{error}");
    assert_eq!(visible(&storage).await, [1, 2, 3], "nothing is seen twice meanwhile");
    assert!(storage.status().flush_error.is_some());
    let position = storage.append(record("both")).await.unwrap();
    storage.publish(position, both(position));
    fs::remove_file(&delta_log).unwrap();
    fs::rename(&aside, &delta_log).unwrap();

    // Either the process goes on …
    let again = dir.path().join("again");
    for part in ["wal", "lake/spans/_delta_log", "lake/logs/_delta_log"] {
        copy_over(&config.data_dir.join(part), &again.join(part.replace('/', "-")));
    }
    storage.flush().await.unwrap();
    let count = async |storage: &Storage| rows::<LogRow>(storage, &storage.view()).await.len();
    assert_eq!((visible(&storage).await, count(&storage).await), (vec![1, 2, 3, 4], 4));
    drop(storage);

    // … or it is killed there.
    for part in ["wal", "lake/spans/_delta_log", "lake/logs/_delta_log"] {
        copy_over(&again.join(part.replace('/', "-")), &config.data_dir.join(part));
    }
    let storage = Storage::open(config).await.unwrap();
    assert_eq!((visible(&storage).await, count(&storage).await), (vec![1, 2, 3], 0));
    for item in storage.replay() {
        let (position, _) = item.unwrap();
        storage.publish(position, both(position));
    }
    assert_eq!((visible(&storage).await, count(&storage).await), (vec![1, 2, 3, 4], 4));
    storage.flush().await.unwrap();
    assert_eq!((visible(&storage).await, count(&storage).await), (vec![1, 2, 3, 4], 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_view_shows_every_published_row_once_while_flushes_and_compactions_run() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4_u64 {
        let storage = storage.clone();
        writers.spawn(async move {
            for n in 0..40 {
                ingest(&storage, writer, writer * 40 + n).await;
            }
        });
    }
    let mover = {
        let (storage, done) = (storage.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut moves = 0;
            while !done.load(Ordering::Acquire) || moves < 10 {
                storage.flush().await.unwrap();
                if moves % 4 == 3 {
                    storage.compact().await.unwrap();
                    storage.vacuum().await.unwrap();
                }
                moves += 1;
            }
        })
    };
    let mut seen = 0;
    loop {
        let finished = writers.is_empty();
        let numbers = visible(&storage).await;
        let mut distinct = numbers.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), numbers.len(), "a row is seen twice: {numbers:?}");
        assert!(numbers.len() >= seen, "a row that was visible is gone");
        seen = numbers.len();
        if finished {
            break;
        }
        while let Some(written) = writers.try_join_next() {
            written.unwrap();
        }
    }
    assert_eq!(seen, 160);
    done.store(true, Ordering::Release);
    mover.await.unwrap();
    assert_eq!(visible(&storage).await, (0..160).collect::<Vec<_>>());
    storage.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_published_holds_back_what_comes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let storage = Storage::open(config.clone()).await.unwrap();
    let slow = storage.append(record("0")).await.unwrap();
    ingest(&storage, 1, 1).await;
    storage.flush().await.unwrap();
    assert_eq!(storage.status().hot_rows, 1, "visible, but not committed before its predecessor");
    assert_eq!(visible(&storage).await, [1]);
    drop(storage);
    let storage = Storage::open(config).await.unwrap();
    assert_eq!(recover(&storage), [0, 1], "an acknowledged record that was never published is replayed");
    storage.flush().await.unwrap();
    assert_eq!(storage.status().hot_rows, 0);
    assert_eq!(storage.status().watermark.get(), slow.get() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_begins_at_the_limit_and_ends_well_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let one = span(WalPosition(1), 1, 1);
    let row_bytes = crate::hot::memory_of(&SpanRow::batch([one]));
    let config = StorageConfig { hot_bytes_max: row_bytes * 4, ..config(&dir) };
    let storage = Storage::open(config).await.unwrap();
    let other = ProjectId::new("other").unwrap();
    let first = storage.append(record("0")).await.unwrap();
    for n in 1..=4 {
        assert_eq!(storage.overload(), None);
        assert_eq!(storage.admit(&other, Duration::ZERO).await, Ok(()));
        ingest(&storage, 1, n).await;
    }
    assert_eq!(storage.overload(), Some(Overload::Memory));
    assert_eq!(storage.admit(&other, Duration::ZERO).await.unwrap_err().reason, Overload::Memory);
    storage.publish(first, Vec::new());
    storage.flush().await.unwrap();
    assert_eq!(storage.admit(&other, Duration::ZERO).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_floods_the_memory_is_refused_before_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let row_bytes = crate::hot::memory_of(&SpanRow::batch([span(WalPosition(1), 1, 1)]));
    let config = StorageConfig { hot_bytes_max: row_bytes * 8, ..config(&dir) };
    let storage = Storage::open(config).await.unwrap();
    let (flooding, other) = (ProjectId::default_project(), ProjectId::new("other").unwrap());
    for n in 1..=6 {
        assert_eq!(storage.admit(&flooding, Duration::ZERO).await, Ok(()), "{n}");
        ingest(&storage, 1, n).await;
    }
    ingest(&storage, 1, 7).await;
    assert_eq!(storage.admit(&flooding, Duration::ZERO).await.unwrap_err().reason, Overload::ProjectMemory);
    assert_eq!(storage.admit(&other, Duration::ZERO).await, Ok(()));
    storage.flush().await.unwrap();
    assert_eq!(storage.admit(&flooding, Duration::ZERO).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_memory_until_rows_are_written_or_patience_ends() {
    const FOR_EVER: Duration = Duration::from_secs(3600);
    let dir = tempfile::tempdir().unwrap();
    let row_bytes = crate::hot::memory_of(&SpanRow::batch([span(WalPosition(1), 1, 1)]));
    let config = StorageConfig { hot_bytes_max: row_bytes * 4, ..config(&dir) };
    let storage = Storage::open(config).await.unwrap();
    let project = ProjectId::default_project();
    // A request that is not published yet holds back the flush of those after it.
    let first = storage.append(record("0")).await.unwrap();
    for n in 1..=4 {
        ingest(&storage, 1, n).await;
    }
    assert_eq!(storage.admit(&project, Duration::from_millis(50)).await.unwrap_err().reason, Overload::Memory);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (storage, project) = (storage.clone(), project.clone());
            tokio::spawn(async move { storage.admit(&project, FOR_EVER).await })
        })
        .collect();
    assert!(waiting.iter().all(|one| !one.is_finished()));
    storage.publish(first, Vec::new());
    storage.flush().await.unwrap();
    for one in waiting {
        assert_eq!(one.await.unwrap(), Ok(()));
    }

    // So does what was set aside and is given back.
    let reserved = storage.reserve(&project, usize::try_from(row_bytes).unwrap() * 4, FOR_EVER).await.unwrap();
    assert!(storage.admit(&project, Duration::ZERO).await.is_err());
    let waiting = tokio::spawn({
        let (storage, project) = (storage.clone(), project.clone());
        async move { storage.admit(&project, FOR_EVER).await }
    });
    drop(reserved);
    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_uses_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Storage::open(config(&dir)).await.unwrap();
    assert!(matches!(Storage::open(config(&dir)).await, Err(OpenStorageError::InUse { .. })));
    first.close().await.unwrap();
    Storage::open(config(&dir)).await.unwrap();
}

fn correction(position: WalPosition, trace: u64, n: u64, patch: &str) -> (TableId, RecordBatch) {
    let row = CorrectionRow {
        origin: origin(position, DATE),
        trace_id: format!("{trace:032x}"),
        span_id: format!("{n:016x}"),
        patch: patch.into(),
        reason: "late_child".into(),
        log_id: None,
    };
    (TableId::SpanCorrections, CorrectionRow::batch([row]))
}

async fn correct(storage: &Storage, trace: u64, n: u64, patch: &str) {
    let position = storage.append(record("correction")).await.unwrap();
    storage.publish(position, vec![correction(position, trace, n, patch)]);
}

/// Session and whether it counts, of the span numbered `n`, as a reader sees it.
async fn seen(storage: &Storage, n: u64) -> (Option<String>, bool) {
    let rows: Vec<SpanRow> = rows(storage, &storage.view()).await;
    let found = rows.into_iter().find(|r| r.span_id == format!("{n:016x}")).expect("a span");
    (found.genai.session_id.clone(), found.genai.counted)
}

async fn correction_rows(storage: &Storage) -> usize {
    rows::<CorrectionRow>(storage, &storage.view()).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_in_the_same_flush_is_folded_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    ingest(&storage, 1, 7).await;
    correct(&storage, 1, 7, r#"{"session_id": "s", "counted": false}"#).await;
    assert_eq!(seen(&storage, 7).await, (Some("s".into()), false), "seen before the flush");
    storage.flush().await.unwrap();
    assert_eq!(seen(&storage, 7).await, (Some("s".into()), false));
    assert_eq!(correction_rows(&storage).await, 0);
    assert!(storage.view().corrections(&project()).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_of_a_later_version_is_applied_as_far_as_it_is_known_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let storage = Storage::open(config.clone()).await.unwrap();
    // In one flush with its span, and after it.
    ingest(&storage, 1, 7).await;
    correct(&storage, 1, 7, r#"{"session_id": "first", "later_grade": 3}"#).await;
    ingest(&storage, 2, 8).await;
    storage.flush().await.unwrap();
    correct(&storage, 2, 8, r#"{"session_id": "second", "later_grade": 4}"#).await;
    correct(&storage, 2, 8, r#"{"session_id": "third"}"#).await;
    ingest(&storage, 3, 9).await;
    storage.flush().await.unwrap();
    correct(&storage, 3, 9, r#"{"session_id": "known"}"#).await;
    storage.flush().await.unwrap();
    storage.compact().await.unwrap();
    let sessions = async |storage: &Storage| {
        let of = async |span| seen(storage, span).await.0.unwrap();
        [of(7).await, of(8).await, of(9).await]
    };
    assert_eq!(sessions(&storage).await, ["first", "third", "known"]);
    assert_eq!(correction_rows(&storage).await, 3, "those of a row with one that is not understood, in their order");
    let folded_to = |file: &crate::DataFile| file.corrected_to;
    let highest = storage.view().files(TableId::Spans, &project()).iter().map(|file| folded_to(file)).max().unwrap();
    assert!(highest < 2, "no file says that the correction at position 2 is folded in: {highest}");
    drop(storage);
    let storage = Storage::open(config).await.unwrap();
    assert_eq!((sessions(&storage).await, correction_rows(&storage).await), (["first", "third", "known"].map(String::from), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_correction_is_applied_by_reads_then_folded_by_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let storage = Storage::open(config.clone()).await.unwrap();
    let position = ingest(&storage, 1, 7).await;
    let line = CostLineRow {
        origin: origin(position, DATE),
        trace_id: Some(format!("{:032x}", 1)),
        span_id: Some(format!("{:016x}", 7)),
        counted: true,
        ..CostLineRow::default()
    };
    let with_line = storage.append(record("line")).await.unwrap();
    storage.publish(with_line, vec![(TableId::CostLines, CostLineRow::batch([line]))]);
    ingest(&storage, 2, 8).await;
    storage.flush().await.unwrap();

    correct(&storage, 1, 7, r#"{"session_id": "first", "counted": false}"#).await;
    storage.flush().await.unwrap();
    correct(&storage, 1, 7, r#"{"session_id": "second"}"#).await;
    correct(&storage, 9, 9, r#"{"session_id": "early"}"#).await;
    storage.flush().await.unwrap();
    assert_eq!(correction_rows(&storage).await, 3);
    drop(storage);
    let storage = Storage::open(config.clone()).await.unwrap();
    assert_eq!(seen(&storage, 7).await, (Some("second".into()), false), "corrections survive a restart");
    assert!(!rows::<CostLineRow>(&storage, &storage.view()).await[0].counted);

    assert!(storage.compact().await.unwrap() > 0);
    assert_eq!(correction_rows(&storage).await, 1, "the one whose span has not arrived waits");
    drop(storage);
    let storage = Storage::open(config).await.unwrap();
    assert_eq!(seen(&storage, 7).await, (Some("second".into()), false));
    assert!(!rows::<CostLineRow>(&storage, &storage.view()).await[0].counted);
    assert_eq!(seen(&storage, 8).await, (None, true));

    ingest(&storage, 9, 9).await;
    assert_eq!(seen(&storage, 9).await, (Some("early".into()), true), "applied to a span that arrives later");
    storage.flush().await.unwrap();
    storage.compact().await.unwrap();
    assert_eq!(correction_rows(&storage).await, 0);
    assert_eq!(seen(&storage, 9).await, (Some("early".into()), true));
    assert_eq!(visible(&storage).await, [7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_larger_than_memory_waits_for_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    for n in 0..200 {
        storage.append(record(&n.to_string())).await.unwrap();
    }
    drop(storage);
    let row_bytes = crate::hot::memory_of(&spans(vec![span(WalPosition(1), 1, 1)])[0].1);
    let small = StorageConfig { hot_bytes_max: row_bytes * 20, ..config(&dir) };
    let storage = Storage::open(small).await.unwrap();
    let mut most = 0;
    for item in storage.replay() {
        let (position, record) = item.unwrap();
        let n = std::str::from_utf8(&record.body).unwrap().parse().unwrap();
        storage.publish(position, spans(vec![span(position, 1, n)]));
        most = most.max(storage.status().hot_bytes);
    }
    assert!(most <= row_bytes * 20, "{most} bytes in memory");
    assert_eq!(visible(&storage).await, (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_whose_caller_went_away_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    ingest(&storage, 1, 1).await;
    {
        let mut flush = Box::pin(storage.flush());
        assert!(futures::poll!(&mut flush).is_pending());
    }
    ingest(&storage, 1, 2).await;
    storage.flush().await.unwrap();
    assert_eq!(storage.status().hot_rows, 0);
    assert_eq!(visible(&storage).await, [1, 2]);
}
