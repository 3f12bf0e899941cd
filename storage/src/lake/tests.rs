//! Claims about the lake's log: exactly once although answers get lost, older tables are brought up to date, other writers are seen.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use assay_schemas::{table::Row as _, tables::SpanRow};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, memory::InMemory,
};

use super::*;
use crate::storage::tests::{DATE, project, span};

/// A store that, once told to, loses the answer to the next commit, after or before it was stored.
#[derive(Debug, Default)]
struct Flaky {
    inner: InMemory,
    lose_answer: AtomicBool,
    refuse: AtomicBool,
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic { store: "Flaky", source: "the connection was reset".into() }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let commit = path.as_ref().ends_with(".json");
        if commit && self.refuse.swap(false, Ordering::AcqRel) {
            return Err(lost());
        }
        let result = self.inner.put_opts(path, payload, options).await;
        if commit && self.lose_answer.swap(false, Ordering::AcqRel) { Err(lost()) } else { result }
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn open(store: &Arc<Flaky>) -> (Lake, LakeFiles) {
    Lake::open(Arc::clone(store) as Arc<dyn ObjectStore>, "node", true).await.unwrap()
}

fn part(n: u64) -> FileRows {
    let batch = SpanRow::batch([span(crate::WalPosition(n), 1, n)]);
    FileRows { project: project(), date: DATE, batches: vec![without_partition_columns(&batch)], corrected_to: 0 }
}

async fn written(lake: &Lake, n: u64) -> Vec<Arc<DataFile>> {
    lake.write_files(TableId::Spans, &[part(n)], n, Effort::Quick).await.unwrap()
}

fn paths(files: &LakeFiles) -> Vec<String> {
    let mut paths: Vec<_> = files.of(TableId::Spans, &project()).iter().map(|f| f.path.to_string()).collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_made_once() {
    let store = Arc::new(Flaky::default());
    let (lake, _) = open(&store).await;
    let first = written(&lake, 1).await;
    store.lose_answer.store(true, Ordering::Release);
    lake.commit_rows(TableId::Spans, &first, 1).await.unwrap();
    assert_eq!(lake.committed(TableId::Spans), 1);
    let second = written(&lake, 2).await;
    lake.commit_rows(TableId::Spans, &second, 2).await.unwrap();
    let (lake, files) = open(&store).await;
    assert_eq!(paths(&files), [first[0].path.to_string(), second[0].path.to_string()]);
    assert_eq!(lake.committed(TableId::Spans), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_did_not_land_can_be_made_again() {
    let store = Arc::new(Flaky::default());
    let (lake, _) = open(&store).await;
    let first = written(&lake, 1).await;
    store.refuse.store(true, Ordering::Release);
    lake.commit_rows(TableId::Spans, &first, 1).await.unwrap_err();
    assert_eq!(lake.committed(TableId::Spans), 0);
    lake.commit_rows(TableId::Spans, &first, 1).await.unwrap();
    // Even a caller that never heard of the success may try once more.
    let (other, _) = open(&store).await;
    assert_eq!(other.committed(TableId::Spans), 1);
    let (_, files) = open(&store).await;
    assert_eq!(paths(&files), [first[0].path.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_is_met_without_loss() {
    let store = Arc::new(Flaky::default());
    let (ours, _) = open(&store).await;
    let first = written(&ours, 1).await;
    ours.commit_rows(TableId::Spans, &first, 1).await.unwrap();
    let (theirs, _) = open(&store).await;
    let replacement = written(&theirs, 1).await;
    theirs.commit_replace(TableId::Spans, &replacement, &first, false).await.unwrap();

    let second = written(&ours, 2).await;
    ours.commit_rows(TableId::Spans, &second, 2).await.unwrap();
    assert!(ours.changed_by_others(TableId::Spans).await);
    let merged = written(&ours, 1).await;
    let conflict = ours.commit_replace(TableId::Spans, &merged, &first, false).await;
    assert!(matches!(conflict, Err(LakeError::Delta(DeltaError::Conflict { .. }))), "their rows would be doubled: {conflict:?}");
    let (_, files) = open(&store).await;
    let mut expected = vec![replacement[0].path.to_string(), second[0].path.to_string()];
    expected.sort();
    assert_eq!(paths(&files), expected);
    assert_eq!(ours.list_again(TableId::Spans).await.unwrap().len(), 2);
    let too_early = ours.commit_replace(TableId::Spans, &merged, &replacement, false).await;
    assert!(
        matches!(too_early, Err(LakeError::Delta(DeltaError::Conflict { .. }))),
        "it may have been planned before the listing"
    );
    ours.plan_replacements(TableId::Spans).await;
    assert!(!ours.changed_by_others(TableId::Spans).await);
    ours.commit_replace(TableId::Spans, &merged, &replacement, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_take_over_the_process_before_commits_no_more() {
    for (lands_before, loses_answer) in [(false, false), (true, false), (false, true), (true, true)] {
        let store = Arc::new(Flaky::default());
        let (ended, _) = open(&store).await;
        let (ours, _) = open(&store).await;
        let (sent, mut changed) = (written(&ended, 1).await, Vec::new());
        if lands_before {
            ended.commit_rows(TableId::Spans, &sent, 1).await.unwrap();
            changed.push(TableId::Spans);
        }
        store.lose_answer.store(loses_answer, Ordering::Release);
        assert_eq!(ours.take_over().await.unwrap(), changed);
        assert_eq!(ours.committed(TableId::Spans), u64::from(lands_before));
        assert_eq!(ours.list_again(TableId::Spans).await.unwrap().len(), changed.len());
        for _ in 0..2 {
            let refused = ended.commit_rows(TableId::Spans, &sent, 2).await;
            assert!(matches!(refused, Err(LakeError::Delta(DeltaError::OtherProcess { .. }))), "{refused:?}");
        }
        let second = written(&ours, 2).await;
        ours.commit_rows(TableId::Spans, &second, 2).await.unwrap();
        let (reopened, files) = open(&store).await;
        assert_eq!((paths(&files).len(), reopened.committed(TableId::Spans)), (changed.len() + 1, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_table_gets_the_columns_it_lacks() {
    let store = Arc::new(Flaky::default());
    let all: Arc<dyn ObjectStore> = Arc::clone(&store) as _;
    // The table as a version without the column `session_id` would have made it, and with other comments.
    delta::create_without(TableId::Spans, &all, "session_id").await;
    let (lake, _) = open(&store).await;
    let version = lake.table(TableId::Spans).version.load(Ordering::Acquire);
    assert_eq!(version, 1, "one commit brought it up to date");
    let mut with_session = part(1);
    let mut row = span(crate::WalPosition(1), 1, 1);
    row.genai.session_id = Some("s".into());
    with_session.batches = vec![without_partition_columns(&SpanRow::batch([row]))];
    let files = lake.write_files(TableId::Spans, &[with_session], 1, Effort::Quick).await.unwrap();
    lake.commit_rows(TableId::Spans, &files, 1).await.unwrap();
    let (lake, files) = open(&store).await;
    assert_eq!(lake.table(TableId::Spans).version.load(Ordering::Acquire), 2, "and no commit more");
    let read = lake.read_file(TableId::Spans, &files.of(TableId::Spans, &project())[0]).await.unwrap();
    let sessions = arrow::array::AsArray::as_string::<i32>(read[0].column_by_name("session_id").unwrap()).clone();
    assert_eq!(sessions.value(0), "s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_asks_for_more_meanwhile_is_neither_read_on_nor_written() {
    let store = Arc::new(Flaky::default());
    let (lake, _) = open(&store).await;
    let first = written(&lake, 1).await;
    let entry = Path::from("lake/spans/_delta_log/00000000000000000001.json");
    let asks = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
    store.put(&entry, asks.into()).await.unwrap();
    for _ in 0..2 {
        let refused = [lake.commit_rows(TableId::Spans, &first, 1).await, lake.read_on(TableId::Spans).await];
        for error in refused.map(Result::unwrap_err) {
            let expected = r#"the Delta table `spans` asks for `readerFeatures` ["deletionVectors"]: expected no more than"#;
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
    // What is the same under other names is no more.
    let same = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["invariants","appendOnly"]}}"#;
    store.put(&entry, same.into()).await.unwrap();
    lake.commit_rows(TableId::Spans, &first, 1).await.unwrap();
    assert_eq!(lake.table(TableId::Spans).version.load(Ordering::Acquire), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_trace_index_is_rebuilt_from_its_file() {
    let store = Arc::new(Flaky::default());
    let (lake, _) = open(&store).await;
    let files = written(&lake, 1).await;
    lake.commit_rows(TableId::Spans, &files, 1).await.unwrap();
    let (index, sums) = (index_path(&files[0].path), sums_path(&files[0].path));
    store.delete(&index).await.unwrap();
    store.delete(&sums).await.unwrap();
    let (_, listed) = open(&store).await;
    let file = &listed.of(TableId::Spans, &project())[0];
    let rows = file.traces.as_ref().unwrap().rows(&format!("{:032x}", 1)).await.unwrap();
    assert_eq!(rows, Some(0..1));
    let added_up = file.traces.as_ref().unwrap().sums().await.unwrap().expect("spans have sums");
    assert_eq!((added_up.len(), added_up.sum(0).spans), (1, 1));
    assert!(store.head(&index).await.is_ok() && store.head(&sums).await.is_ok(), "and kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_without_a_value_are_read_into_the_same_memory() {
    let store = Arc::new(Flaky::default());
    let (lake, _) = open(&store).await;
    let mut seen = Vec::new();
    for n in 1..=2 {
        let file = &written(&lake, n).await[0];
        let rows = lake.read_file(TableId::Spans, file).await.unwrap();
        seen.extend(rows.into_iter().map(|batch| batch.column_by_name("output_messages").unwrap().to_data()));
    }
    let [first, second] = &*seen else { panic!("{} batches, expected one of each file", seen.len()) };
    assert_eq!((first.null_count(), second.null_count()), (1, 1));
    assert_eq!(first.buffers()[0].as_ptr(), second.buffers()[0].as_ptr());
}
