//! Sends the captures through the whole write path: each scenario's request bodies, in order of arrival, into a project of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use assay_collector::{Ingest, normalise::Normaliser};
use assay_schemas::{
    genai::GenAi,
    ids::{Encoding, ProjectId, Signal},
    prices::PriceTable,
    table::Row as _,
    tables::{LogRow, SpanRow, TableId},
};
use assay_storage::{ReadView, Storage, StorageConfig, WalRecord};
use serde_json::Value;

/// One scenario of one capture folder.
pub(crate) struct Scenario {
    pub(crate) folder: String,
    pub(crate) name: String,
    /// Its entry of `expected.json`.
    pub(crate) expected: Value,
    pub(crate) rows: Vec<Row>,
}

/// A row of `spans` or `logs`, as a reader sees it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) start: i64,
    pub(crate) is_log: bool,
    pub(crate) is_error: bool,
    pub(crate) genai: GenAi,
    /// Whether it is a row of `llm_calls`.
    pub(crate) counts: bool,
}

/// Every scenario of every folder.
pub(crate) async fn scenarios() -> Vec<Scenario> {
    let root = own_folder().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures"));
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    // Read before they are flushed: what reads from files is the storage's to test.
    let config = StorageConfig {
        data_dir: data_dir.path().to_owned(),
        flush_interval: Duration::from_secs(3600),
        flush_bytes: 1 << 40,
        hot_bytes_max: 1 << 40,
        group_commit_window: Duration::ZERO,
        ..StorageConfig::default()
    };
    let storage = Storage::open(config).await.expect("an empty folder opens");
    let ingest = Arc::new(Ingest::new(storage.clone(), Normaliser::embedded(), Arc::new(PriceTable::embedded())));

    let mut folders: Vec<_> = fs::read_dir(root).expect("captures").map(|entry| entry.expect("readable").path()).collect();
    folders.sort();
    let mut out = Vec::new();
    for folder in folders.iter().filter(|folder| folder.join("expected.json").exists()) {
        let expected: Value = serde_json::from_slice(&fs::read(folder.join("expected.json")).expect("readable")).expect("JSON");
        for (name, expected) in expected.as_object().expect("scenarios") {
            let project = ProjectId::new(&format!("scenario-{}", out.len())).expect("a valid name");
            for file in expected["files"].as_array().expect("files") {
                send(&ingest, &project, &folder.join(file.as_str().expect("a name"))).await;
            }
            let rows = rows(&storage.view(), &project);
            let folder = folder.file_name().expect("a name").to_string_lossy().into_owned();
            out.push(Scenario { folder, name: name.clone(), expected: expected.clone(), rows });
        }
    }
    storage.close().await.expect("the store closes");
    out
}

/// Captures to look at instead of ours: the folder that `finalize.py` wrote, in `ASSAY_CAPTURES`.
pub(crate) fn own_folder() -> Option<PathBuf> {
    std::env::var_os("ASSAY_CAPTURES").map(PathBuf::from)
}

async fn send(ingest: &Arc<Ingest>, project: &ProjectId, file: &Path) {
    let name = file.to_string_lossy();
    let signal = match () {
        () if name.contains(".traces.") => Signal::Traces,
        () if name.contains(".logs.") => Signal::Logs,
        () => Signal::Metrics,
    };
    let encoding = if name.ends_with(".json") { Encoding::Json } else { Encoding::Protobuf };
    let body = fs::read(file).expect("readable").into();
    // All at one moment: the clock of the captures is that of their making.
    let received_at_unix_nano = 1_800_000_000_000_000_000;
    let record = WalRecord { project: project.clone(), signal, encoding, received_at_unix_nano, body };
    let outcome = ingest.accept(record).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(outcome.rejected, 0, "{name} has refused records");
}

fn rows(view: &ReadView, project: &ProjectId) -> Vec<Row> {
    let corrections = view.corrections(project);
    assert!(view.files(TableId::Spans, project).is_empty(), "a scenario is read before it is flushed");
    let mut out = Vec::new();
    for batch in view.hot(TableId::Spans, project) {
        let batch = corrections.as_ref().map_or_else(|| batch.clone(), |corrections| corrections.apply(TableId::Spans, &batch));
        for index in 0..batch.num_rows() {
            let row = SpanRow::read(&batch, index);
            out.push(Row {
                name: row.name,
                start: row.start_time * 1000 + row.start_time_ns_part,
                is_log: false,
                is_error: row.status_code == "ERROR" || row.genai.error_type.is_some(),
                counts: row.genai.counted,
                genai: row.genai.into_inner(),
            });
        }
    }
    for batch in view.hot(TableId::Logs, project) {
        for index in 0..batch.num_rows() {
            let row = LogRow::read(&batch, index);
            out.push(Row {
                name: format!("log {}", row.event_name.as_deref().unwrap_or_default()),
                start: row.time * 1000,
                is_log: true,
                is_error: row.genai.error_type.is_some(),
                counts: row.genai.counted,
                genai: row.genai.into_inner(),
            });
        }
    }
    out
}
