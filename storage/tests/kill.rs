//! kill -9 at seeded moments under load, while rows are flushed, merged and vacuumed: no acknowledged row is missing, none is there twice.
//!
//! The test starts itself as a child that writes; a line on the child's standard output is an acknowledgement.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use arrow::array::{AsArray as _, RecordBatch};
use assay_schemas::{
    ids::{Encoding, ProjectId, Signal},
    table::Row as _,
    tables::{Origin, SpanRow, TableId},
};
use assay_storage::{Storage, StorageConfig, WalPosition, WalRecord};
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Unless `ASSAY_KILL_ROUNDS` says how many.
const ROUNDS: u64 = 30;
const WRITERS: u64 = 4;
const FOLDER: &str = "ASSAY_KILL_TEST_FOLDER";
const FIRST: &str = "ASSAY_KILL_TEST_FIRST";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    if let Ok(folder) = std::env::var(FOLDER) {
        let first = std::env::var(FIRST).unwrap().parse().unwrap();
        return write_until_killed(Path::new(&folder), first).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut seed = 0x5eed_u64;
    let rounds = std::env::var("ASSAY_KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    for round in 0..rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        acknowledged.extend(killed_after(usize::try_from(seed >> 33).unwrap() % 120, dir.path(), round * 1_000_000));
        if round % 3 == 2 || round + 1 == rounds {
            check(dir.path(), &acknowledged).await;
        }
    }
    assert!(acknowledged.len() as u64 > rounds * 6);
}

/// Starts a child, kills it after so many acknowledgements, and returns all that it gave.
fn killed_after(lines: usize, folder: &Path, first: u64) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_acknowledged_is_lost_or_doubled_by_kill_9", "--nocapture", "--quiet"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged: Vec<u64> = Vec::new();
    // A line that the kill cut in two is no acknowledgement: whole lines end in a full stop.
    let number = |line: String| line.strip_prefix("ack ")?.strip_suffix('.')?.parse::<u64>().ok();
    // One at least: before, the child is still starting.
    while acknowledged.len() <= lines {
        acknowledged.extend(number(output.next().expect("the child writes until it is killed")));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(output.filter_map(number));
    acknowledged
}

fn config(folder: &Path) -> StorageConfig {
    StorageConfig {
        data_dir: folder.join("data"),
        flush_interval: Duration::from_millis(15),
        compaction_interval: Duration::from_millis(40),
        vacuum_grace: Duration::from_millis(10),
        wal_segment_bytes: 4 << 10,
        ..StorageConfig::default()
    }
}

async fn write_until_killed(folder: &Path, first: u64) {
    let storage = Storage::open(config(folder)).await.unwrap();
    recover(&storage);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let storage = storage.clone();
        writers.spawn(async move {
            for n in (first + writer..).step_by(usize::try_from(WRITERS).unwrap()) {
                let position = storage.append(record(n)).await.unwrap();
                storage.publish(position, rows(position, n));
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(format!("ack {n}.\n").as_bytes()).unwrap();
                stdout.flush().unwrap();
            }
        });
    }
    writers.join_all().await;
}

fn recover(storage: &Storage) {
    for item in storage.replay() {
        let (position, record) = item.unwrap();
        storage.publish(position, rows(position, std::str::from_utf8(&record.body).unwrap().parse().unwrap()));
    }
}

/// Reads everything back, as after a restart.
async fn check(folder: &Path, acknowledged: &[u64]) {
    let storage = Storage::open(config(folder)).await.unwrap();
    recover(&storage);
    let view = storage.view();
    let project = ProjectId::default_project();
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let mut count = |batch: &RecordBatch| {
        for name in batch.column_by_name("name").unwrap().as_string::<i32>() {
            *seen.entry(name.unwrap().parse().unwrap()).or_default() += 1;
        }
    };
    view.hot(TableId::Spans, &project).iter().for_each(&mut count);
    for file in view.files(TableId::Spans, &project) {
        let content = storage.object_store().get(&file.path).await.unwrap().bytes().await.unwrap();
        let batches = ParquetRecordBatchReaderBuilder::try_new(content).unwrap().build().unwrap();
        batches.for_each(|batch| count(&batch.unwrap()));
    }
    for n in acknowledged {
        assert_eq!(seen.get(n), Some(&1), "row {n}");
    }
    // What was durable and not yet acknowledged may be there, but once.
    assert!(seen.values().all(|times| *times == 1));
    storage.close().await.unwrap();
}

fn record(n: u64) -> WalRecord {
    WalRecord {
        project: ProjectId::default_project(),
        signal: Signal::Traces,
        encoding: Encoding::Json,
        received_at_unix_nano: 0,
        body: Bytes::from(n.to_string()),
    }
}

fn rows(position: WalPosition, n: u64) -> Vec<(TableId, RecordBatch)> {
    let row = SpanRow {
        origin: Origin {
            project_id: "default".into(),
            date: 20_778,
            received_at: 0,
            wal_position: i64::try_from(position.get()).unwrap(),
        },
        trace_id: format!("{:032x}", n / 3 + 1),
        span_id: format!("{:016x}", n + 1),
        name: n.to_string(),
        start_time: i64::try_from(n).unwrap(),
        ..SpanRow::default()
    };
    vec![(SpanRow::TABLE, SpanRow::batch([row]))]
}
