//! Claims about maintenance: rows stay what they are, files become few, days go as a whole, nothing a reader holds is deleted.

use std::time::{Duration, SystemTime};

use assay_schemas::tables::SpanRow;
use chrono::Days;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use sha2::Digest as _;

use super::*;
use crate::{
    StorageConfig, WalPosition,
    lake::{Effort, FileRows},
    storage::tests::{DATE, config, ingest, project, record, rows, span, spans, visible},
};

fn day() -> NaiveDate {
    NaiveDate::from_epoch_days(DATE).unwrap()
}

async fn flushed_files(storage: &Storage, n: u64) {
    for n in 0..n {
        // Every third span belongs to a trace that all files have a part of.
        ingest(storage, if n % 3 == 0 { 1 } else { 100 + n }, n).await;
        storage.flush().await.unwrap();
    }
}

fn parquet_files(storage: &Storage) -> usize {
    let folder = storage.inner.config.data_dir.join(format!("lake/spans/project_id=default/date={}", day()));
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_every_row_and_joins_the_parts_of_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    flushed_files(&storage, 10).await;
    let sorted = |mut rows: Vec<SpanRow>| {
        rows.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        rows
    };
    let before = sorted(rows(&storage, &storage.view()).await);
    assert_eq!(storage.inner.compact(day(), false).await.unwrap(), 8, "eight of like size are merged on the day itself");
    assert_eq!(storage.view().files(TableId::Spans, &project()).len(), 3);
    assert_eq!(storage.inner.compact(day() + Days::new(1), false).await.unwrap(), 3, "the rest when the day is over");
    let files = storage.view().files(TableId::Spans, &project());
    assert_eq!(files.len(), 1);
    assert_eq!(sorted(rows(&storage, &storage.view()).await), before);

    let index = files[0].traces.as_ref().unwrap();
    assert_eq!(index.rows(&format!("{:032x}", 1)).await.unwrap(), Some(0..4), "one run, the trace that started first");
    assert_eq!(index.rows(&format!("{:032x}", 104)).await.unwrap().map(|r| r.count()), Some(1));
    assert_eq!(index.rows(&format!("{:032x}", 999)).await.unwrap(), None);
    assert_eq!(
        (files[0].rows, files[0].time_min, files[0].time_max),
        (10, Some(before[0].start_time), Some(before[9].start_time))
    );
    drop(storage);
    let storage = Storage::open(config(&dir)).await.unwrap();
    assert_eq!(sorted(rows(&storage, &storage.view()).await), before, "and after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_deletes_what_no_view_and_no_table_needs() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    flushed_files(&storage, 4).await;
    let held = storage.view();
    storage.inner.compact(day() + Days::new(1), false).await.unwrap();
    assert_eq!(parquet_files(&storage), 5);
    assert_eq!(storage.status().tables["spans"].unreferenced_files, 4);
    assert_eq!(storage.vacuum().await.unwrap(), 0, "a reader still lists them");
    assert_eq!(rows::<SpanRow>(&storage, &held).await.len(), 4);
    drop(held);
    assert_eq!(storage.vacuum().await.unwrap(), 4);
    assert_eq!(parquet_files(&storage), 1);
    assert_eq!(visible(&storage).await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_deletes_what_an_earlier_process_left() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    flushed_files(&storage, 3).await;
    storage.inner.compact(day() + Days::new(1), false).await.unwrap();
    drop(storage);
    let patient = StorageConfig { vacuum_grace: Duration::from_secs(1000), ..config(&dir) };
    let storage = Storage::open(patient).await.unwrap();
    assert_eq!(storage.vacuum().await.unwrap(), 0, "readers elsewhere have their time");
    drop(storage);
    let storage = Storage::open(config(&dir)).await.unwrap();
    assert_eq!(storage.vacuum().await.unwrap(), 3);
    assert_eq!(parquet_files(&storage), 1);
    assert_eq!(visible(&storage).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_drops_whole_days() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Some(Duration::from_secs(2 * 86_400));
    let storage = Storage::open(StorageConfig { retention, ..config(&dir) }).await.unwrap();
    for (n, date) in [(1, DATE - 3), (2, DATE - 2), (3, DATE)] {
        let position = storage.append(crate::storage::tests::record("x")).await.unwrap();
        let mut row = span(position, 1, n);
        row.origin.date = date;
        storage.publish(position, spans(vec![row]));
    }
    storage.flush().await.unwrap();
    assert_eq!(storage.view().files(TableId::Spans, &project()).len(), 3, "one file per day");
    let noon = day().and_hms_opt(12, 0, 0).unwrap().and_utc();
    // The blobs of a day were put in it: just after and just before the first midnight that is kept.
    let midnight: SystemTime = (day() - Days::new(2)).and_time(NaiveTime::MIN).and_utc().into();
    let blobs = storage.blobs().of(&project());
    let put = |content: &[u8], at: SystemTime| {
        let name = blobs.put(content).unwrap();
        let path = storage.inner.config.data_dir.join(format!("blobs/default/{}/{name}.zst", &name[..2]));
        std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        name
    };
    let second = Duration::from_secs(1);
    let (kept, dropped) = (put(b"kept", midnight + second), put(b"dropped", midnight - second));
    assert_eq!(storage.inner.apply_retention(noon).await.unwrap(), 1);
    assert!(blobs.get(&kept).await.unwrap().is_some(), "a row of the day may refer to it");
    assert!(blobs.get(&dropped).await.unwrap().is_none());
    assert_eq!(visible(&storage).await, [2, 3]);
    assert_eq!(storage.inner.apply_retention(noon).await.unwrap(), 0);
    drop(storage);
    let storage = Storage::open(config(&dir)).await.unwrap();
    assert_eq!(visible(&storage).await, [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_changes_nothing_that_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    flushed_files(&storage, 3).await;
    assert_eq!(storage.inner.checkpoint(3).await.unwrap(), 1);
    assert_eq!(storage.inner.checkpoint(3).await.unwrap(), 0, "not again before there are new commits");
    ingest(&storage, 1, 3).await;
    storage.flush().await.unwrap();
    let facts = |storage: &Storage| {
        let mut files = storage.view().files(TableId::Spans, &project());
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.iter().map(|f| (f.path.clone(), f.rows, f.stats.clone(), f.raw_bytes, f.corrected_to)).collect::<Vec<_>>()
    };
    let before = facts(&storage);
    let committed = storage.inner.lake.committed(TableId::Spans);
    drop(storage);
    let storage = Storage::open(config(&dir)).await.unwrap();
    assert_eq!(facts(&storage), before, "what the log says of a file survives the checkpoint");
    assert_eq!(storage.inner.lake.committed(TableId::Spans), committed);
    assert_eq!(visible(&storage).await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_engine_did_to_a_table_is_seen_and_not_undone() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    flushed_files(&storage, 3).await;
    let (theirs, listed) = crate::lake::Lake::open(storage.object_store(), "another node", true).await.unwrap();
    let deleted: Vec<_> =
        listed.of(TableId::Spans, &project()).iter().filter(|f| f.last_position() == Some(2)).cloned().collect();
    theirs.commit_replace(TableId::Spans, &[], &deleted, true).await.unwrap();
    flushed_files(&storage, 1).await;
    storage.inner.compact(day() + Days::new(1), false).await.unwrap();
    assert_eq!(visible(&storage).await, [0, 0, 2]);
    assert_eq!(storage.view().files(TableId::Spans, &project()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_kept_table_by_table() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    flushed_files(&storage, 3).await;
    storage.inner.compact(day() + Days::new(1), false).await.unwrap();
    storage.vacuum().await.unwrap();
    let of = |kind: &str| -> Vec<_> {
        let runs = storage.jobs().into_iter().filter(|run| run.kind == kind && run.table == Some("spans"));
        runs.map(|run| (run.files, run.rows, run.bytes > 0, run.error)).collect()
    };
    assert_eq!(of("flush"), vec![(1, 1, true, None); 3]);
    assert_eq!(of("compaction"), [(1, 3, true, None)], "one file of all rows was written");
    assert_eq!(of("vacuum"), [(3, 0, false, None)]);
    assert!(storage.last_job("compaction", TableId::Spans) >= storage.last_job("flush", TableId::Spans));
    // What has nothing to do is not kept.
    let runs = storage.jobs().len();
    storage.inner.compact(day() + Days::new(1), false).await.unwrap();
    assert_eq!(storage.jobs().len(), runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_is_kept_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    ingest(&storage, 1, 1).await;
    let folder = storage.inner.config.data_dir.join("lake/spans/project_id=default");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    storage.flush().await.unwrap_err();
    let failed: Vec<_> = storage.jobs().into_iter().filter(|run| run.error.is_some()).collect();
    assert_eq!((failed.len(), failed[0].kind, failed[0].table, failed[0].rows), (1, "flush", Some("spans"), 0));
    assert!(failed[0].error.as_ref().unwrap().contains("project_id=default"), "{failed:?}");
    assert_eq!(storage.last_job("flush", TableId::Spans), None);
    std::fs::remove_file(&folder).unwrap();
    storage.flush().await.unwrap();
    assert_eq!(storage.jobs().last().map(|run| (run.rows, run.error.clone())), Some((1, None)));
}

/// Text of about `n` bytes that zstd makes half as large, other text for other `seed`.
fn words(seed: u64, n: usize) -> String {
    let word = |nth: usize| hex::encode(sha2::Sha256::digest(format!("{seed} {nth}")));
    (0..n.div_ceil(64)).map(word).collect()
}

/// `talks` conversations, each of whose `calls` sends all that was said so far. Those of even number are one trace; each call of the
/// others is a trace of its own.
fn conversations(position: WalPosition, call: u64, talks: u64) -> Vec<SpanRow> {
    let talk = |talk: u64| {
        let said: Vec<String> = (0..=call).map(|turn| format!("\"{}\"", words(talk * 1000 + turn, 600))).collect();
        let trace = if talk.is_multiple_of(2) { talk } else { 1000 * (talk + 1) + call };
        let mut row = span(position, trace, call * talks + talk);
        row.genai.session_id = Some(format!("session {talk}"));
        row.genai.input_messages = Some(format!("[{}]", said.join(",")));
        row
    };
    (0..talks).map(talk).collect()
}

fn prompt_bytes_in_files(storage: &Storage) -> u64 {
    let files = storage.view().files(TableId::Spans, &project());
    let of_file = |file: &Arc<DataFile>| {
        let path = storage.inner.config.data_dir.join(file.path.as_ref());
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let columns = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
        columns.filter(|c| c.column_path().string() == "input_messages").map(|c| c.compressed_size().cast_unsigned()).sum::<u64>()
    };
    files.iter().map(of_file).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_conversation_repeats_costs_next_to_nothing_once_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    let mut sent = Vec::new();
    for call in 0..50 {
        let position = storage.append(record(&call.to_string())).await.unwrap();
        let rows = conversations(position, call, 6);
        sent.extend(rows.iter().cloned());
        storage.publish(position, spans(rows));
        storage.flush().await.unwrap();
    }
    assert_eq!(storage.inner.compact(day() + Days::new(1), false).await.unwrap(), 50);

    let by_key = |mut rows: Vec<SpanRow>| {
        rows.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        rows
    };
    assert_eq!(by_key(rows(&storage, &storage.view()).await), by_key(sent.clone()));
    let prompts = sent.iter().map(|row| row.genai.input_messages.as_deref().unwrap());
    let row_by_row: usize = prompts.map(|prompt| zstd::bulk::compress(prompt.as_bytes(), 3).unwrap().len()).sum();
    let stored = usize::try_from(prompt_bytes_in_files(&storage)).unwrap();
    assert!(stored * 10 < row_by_row, "{stored} bytes, against {row_by_row} row by row");
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_leaves_a_file_that_is_about_to_be_committed_whatever_the_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(config(&dir)).await.unwrap();
    let rows = crate::lake::without_partition_columns(&spans(vec![span(crate::WalPosition(1), 1, 1)])[0].1);
    let part = FileRows { project: project(), date: DATE, batches: vec![rows], corrected_to: 0 };
    let written = storage.inner.lake.write_files(TableId::Spans, &[part], 1, Effort::Quick).await.unwrap();
    // As if the clock had been set back since the start: the file looks older than the process.
    let path = storage.inner.config.data_dir.join(written[0].path.as_ref());
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(storage.vacuum().await.unwrap(), 0);
    assert!(path.exists());
}
