//! Proof, ownership and uploads against a bucket in memory; `tests/test_s3.py` does the same against real services.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{local::LocalFileSystem, memory::InMemory};

use super::*;

/// A service that takes a conditional put for an ordinary one, and lists everything wherever it is to begin.
#[derive(Debug)]
struct Careless(InMemory);

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Careless")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Careless {
    async fn put_opts(
        &self,
        location: &Path,
        payload: object_store::PutPayload,
        _: PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        self.0.put(location, payload).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        _: &Path,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<object_store::ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: object_store::CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// The bucket in memory that `url`, `memory://NAME`, is about: one for each name.
pub(super) fn in_memory(url: &str) -> Option<Arc<dyn ObjectStore>> {
    static BUCKETS: parking_lot::Mutex<std::collections::BTreeMap<String, Arc<InMemory>>> =
        parking_lot::Mutex::new(std::collections::BTreeMap::new());
    let name = url.strip_prefix("memory://")?;
    Some(Arc::clone(BUCKETS.lock().entry(name.to_owned()).or_default()) as _)
}

#[tokio::test]
async fn a_store_proves_that_it_refuses_the_second_of_two() {
    let good = Bucket::in_store(Arc::new(InMemory::new()), "node-a");
    good.prove_conditional_put().await.unwrap();
    assert_eq!(good.store.list(None).count().await, 0, "nothing is left of the proof");
    let careless = Bucket::in_store(Arc::new(Careless(InMemory::new())), "node-a");
    let error = careless.prove_conditional_put().await.unwrap_err().to_string();
    assert!(error.contains("both of two conditional puts succeeded, expected a refusal of the second"), "{error}");
}

#[tokio::test]
async fn a_lake_belongs_to_one_node() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (ours, theirs) = (Bucket::in_store(Arc::clone(&store), "node-a"), Bucket::in_store(Arc::clone(&store), "node-b"));
    assert!(matches!(ours.check_owner().await, Err(BucketError::NoOwner { .. })));
    ours.own().await.unwrap();
    ours.own().await.unwrap();
    let error = theirs.own().await.unwrap_err().to_string();
    assert!(error.contains("is written by node `node-a`") && error.contains("expected `node-b`"), "{error}");
    // Someone says that the first is gone for good. It is not: it finds out.
    store.delete(&Path::from(OWNER)).await.unwrap();
    theirs.own().await.unwrap();
    assert!(matches!(ours.check_owner().await, Err(BucketError::OtherOwner { .. })));
}

#[tokio::test]
async fn a_large_object_goes_up_in_parts_and_a_commit_never() {
    let requests = Requests::new(Arc::new(InMemory::new()), None);
    let content: Vec<u8> = (0..(20_u32 << 20)).map(|n| n as u8).collect();
    let path = Path::from("large");
    requests.put(&path, content.clone().into()).await.unwrap();
    assert_eq!(requests.counts().puts, 3);
    assert_eq!(requests.get(&path).await.unwrap().bytes().await.unwrap(), content);
    let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let again = requests.put_opts(&path, content.into(), create).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(requests.counts().puts, 4);
}

#[tokio::test]
async fn what_is_not_there_is_deleted_whatever_the_store_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    let (there, absent) = (Path::from("lake/a"), Path::from("lake/b"));
    store.put(&there, "first".into()).await.unwrap();
    assert!(matches!(store.delete(&absent).await, Err(Error::NotFound { .. })), "it says so, as Google and Azure do");
    let requests = Requests::new(Arc::new(store), None);
    let paths = futures::stream::iter([Ok(absent), Ok(there.clone())]).boxed();
    assert_eq!(requests.delete_stream(paths).try_collect::<Vec<_>>().await.unwrap().len(), 2);
    assert!(matches!(requests.head(&there).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_listing_begins_where_it_is_to_begin() {
    let requests = Requests::new(Arc::new(Careless(InMemory::new())), None);
    let paths = ["log/1", "log/2", "log/3"].map(Path::from);
    for path in &paths {
        requests.put(path, "entry".into()).await.unwrap();
    }
    let listed: Vec<_> = requests.list_with_offset(Some(&Path::from("log")), &paths[0]).try_collect().await.unwrap();
    assert_eq!(listed.into_iter().map(|meta| meta.location).collect::<Vec<_>>(), paths[1..]);
}

#[tokio::test]
async fn what_is_on_the_local_disk_is_not_asked_for_again() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let open = || {
        let cache = DiskCache::open(dir.path().join("cache"), 64 << 20).unwrap();
        Requests::new(Arc::clone(&store) as _, Some(cache))
    };
    let content: bytes::Bytes = (0..(5_u32 << 19)).map(|n| (n / 1000) as u8).collect();
    let (file, index) = (Path::from("lake/spans/project_id=p/a.parquet"), Path::from("lake-index/spans/a.tix"));
    for path in [&file, &index] {
        store.put(path, content.clone().into()).await.unwrap();
    }
    let size = content.len() as u64;
    let ranges = [size - 8..size, 10..20, (1 << 20) - 5..(1 << 20) + 5, 0..0, 0..size];
    let expected: Vec<_> = ranges.iter().map(|r| content.slice(r.start as usize..r.end as usize)).collect();
    let cold = open();
    assert_eq!(cold.get_range(&file, size - 8..size).await.unwrap(), expected[0]);
    assert_eq!(cold.get_ranges(&file, &ranges).await.unwrap(), expected);
    assert_eq!(cold.get(&index).await.unwrap().bytes().await.unwrap(), content);
    assert_eq!(cold.counts().gets, 3, "the last block, the two before it, the index");
    let warm = open();
    assert_eq!(warm.get_ranges(&file, &ranges).await.unwrap(), expected);
    assert_eq!(warm.get(&index).await.unwrap().bytes().await.unwrap(), content);
    assert_eq!(warm.counts().gets, 0);
    assert_eq!(warm.head(&file).await.unwrap().size, size);
    // What is written is there to be read; what may change is never cached.
    let (written, log) = (Path::from("lake-index/spans/b.tix"), Path::from("lake/spans/_delta_log/0.json"));
    for path in [&written, &log] {
        warm.put(path, "first".into()).await.unwrap();
        store.put(path, "second".into()).await.unwrap();
    }
    assert_eq!(warm.get(&written).await.unwrap().bytes().await.unwrap(), "first");
    assert_eq!(warm.get(&log).await.unwrap().bytes().await.unwrap(), "second");
}

#[tokio::test]
async fn what_several_ask_for_at_once_is_read_once() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let slow = object_store::throttle::ThrottledStore::new(
        Arc::clone(&store),
        object_store::throttle::ThrottleConfig { wait_get_per_call: Duration::from_millis(50), ..Default::default() },
    );
    let requests = Requests::new(Arc::new(slow), Some(DiskCache::open(dir.path().join("cache"), 64 << 20).unwrap()));
    let content: bytes::Bytes = (0..(4_u32 << 20)).map(|n| (n / 1000) as u8).collect();
    let (file, index) = (Path::from("lake/spans/project_id=p/a.parquet"), Path::from("lake-index/spans/a.tix"));
    for path in [&file, &index] {
        store.put(path, content.clone().into()).await.unwrap();
    }
    let whole = futures::future::join_all((0..5).map(|_| async { requests.get(&index).await.unwrap().bytes().await.unwrap() }));
    assert!(whole.await.iter().all(|read| *read == content));
    assert_eq!(requests.counts().gets, 1);
    let mib = 1_u64 << 20;
    let overlapping = [0..mib, mib - 1..mib + 1, 0..3 * mib, 2 * mib..4 * mib, 10..20];
    let read = futures::future::try_join_all(overlapping.iter().map(|range| requests.get_range(&file, range.clone())));
    for (range, read) in overlapping.iter().zip(read.await.unwrap()) {
        assert_eq!(read, content.slice(range.start as usize..range.end as usize));
    }
    assert_eq!((requests.counts().gets, requests.counts().get_bytes), (1 + 4, 8 << 20), "each of four blocks once");
    // What could not be read is asked for by each that waited: one failure is not another's.
    let absent = Path::from("lake-index/spans/b.tix");
    let found = futures::future::join_all((0..3).map(|_| requests.get(&absent))).await;
    assert!(found.iter().all(|read| matches!(read, Err(Error::NotFound { .. }))));
}

#[test]
fn a_lake_does_not_move_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (Some("s3://telemetry/here"), Some("s3://telemetry/there"));
    remember_place(dir.path(), None).unwrap();
    remember_place(dir.path(), here).unwrap();
    remember_place(dir.path(), Some(address(&BucketConfig::at("s3://telemetry/here/")))).unwrap();
    let error = remember_place(dir.path(), there).unwrap_err().to_string();
    assert!(error.ends_with("is in `s3://telemetry/here`, expected `s3://telemetry/there`, which is configured"), "{error}");
    assert!(remember_place(dir.path(), None).is_err());
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("lake")).unwrap();
    remember_place(dir.path(), None).unwrap();
    assert!(matches!(remember_place(dir.path(), here), Err(BucketError::Elsewhere { .. })));
}
