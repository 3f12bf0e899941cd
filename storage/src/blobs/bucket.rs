//! Blobs in a bucket: uploaded from the folder in which they were made durable, read from there ever after.
//!
//! An upload renews the age of its object, by which retention goes. So a blob that is put again is uploaded again, but once a day.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt as _, path::Path};
use parking_lot::Mutex;

use super::{BlobError, DURABLE_NAMES_MAX, Shared, decompressed};
use crate::{
    outside::{self, fs},
    tasks::blocking,
};

/// The folder of the bucket.
const FOLDER: &str = "blobs";
/// The clock of the bucket, which dates objects, may differ from ours by so much.
const CLOCK_DIFFERENCE_MAX: TimeDelta = TimeDelta::hours(1);
const UPLOADS_AT_ONCE: usize = 8;

#[derive(Debug)]
pub(super) struct BlobBucket {
    store: Arc<dyn ObjectStore>,
    /// Files that are to be uploaded.
    wanted: Mutex<BTreeSet<PathBuf>>,
    /// When files were last uploaded, as far as is remembered.
    uploaded: Mutex<HashMap<PathBuf, NaiveDate>>,
    /// Held while blobs are uploaded, or looked at and removed: none is removed just after it was uploaded.
    one_at_a_time: tokio::sync::Mutex<()>,
    /// Up to when blobs were removed.
    removed_to: Mutex<Option<DateTime<Utc>>>,
}

impl BlobBucket {
    /// The blobs in `store`; `left` are files that an earlier process left.
    pub(super) fn new(store: Arc<dyn ObjectStore>, left: Vec<PathBuf>) -> Self {
        let is_blob = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "zst");
        Self {
            store,
            wanted: Mutex::new(left.into_iter().filter(is_blob).collect()),
            uploaded: Mutex::default(),
            one_at_a_time: tokio::sync::Mutex::default(),
            removed_to: Mutex::default(),
        }
    }

    /// Whether the blob whose file is at `path` is in the bucket, as young as today.
    pub(super) fn has(&self, path: &FsPath) -> bool {
        self.uploaded.lock().get(path).is_some_and(|day| *day >= outside::wall_clock().date_naive())
    }

    /// The next upload takes the file at `path`, which is durable.
    pub(super) fn wants(&self, path: PathBuf) {
        self.wanted.lock().insert(path);
    }

    /// Uploads every file that is wanted by now, and removes it.
    pub(super) async fn upload(&self, root: &FsPath, shared: &Shared) -> Result<(), BlobError> {
        let wanted: Vec<PathBuf> = self.wanted.lock().iter().cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let _turn = self.one_at_a_time.lock().await;
        let uploads: Vec<_> = wanted.into_iter().map(|path| self.upload_file(root, shared, path)).collect();
        stream::iter(uploads).buffer_unordered(UPLOADS_AT_ONCE).try_collect().await
    }

    async fn upload_file(&self, root: &FsPath, shared: &Shared, path: PathBuf) -> Result<(), BlobError> {
        let file = path.clone();
        let content = match blocking(move || read(&file)).await {
            Ok(content) => content,
            // It was put again while it was being uploaded.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.wanted.lock().remove(&path);
                return Ok(());
            }
            Err(source) => return Err(BlobError::Io { action: "read", path, source }),
        };
        let object = object_of(root, &path);
        let day = outside::wall_clock().date_naive();
        let put = self.store.put(&object, content.into()).await;
        put.map_err(|source| BlobError::Store { action: "upload", path: object, source })?;
        {
            let mut uploaded = self.uploaded.lock();
            if uploaded.len() >= DURABLE_NAMES_MAX {
                uploaded.clear();
            }
            uploaded.insert(path.clone(), day);
        }
        self.wanted.lock().remove(&path);
        shared.remove(&path).map_err(|source| BlobError::Io { action: "remove", path, source })
    }

    /// The content of the blob whose file would be at `path`, checked; `None` if there is none.
    pub(super) async fn get(&self, root: &FsPath, path: &FsPath, sha256: &str) -> Result<Option<Bytes>, BlobError> {
        let object = object_of(root, path);
        let read = async { self.store.get(&object).await?.bytes().await };
        let compressed = match read.await {
            Ok(compressed) => compressed,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(BlobError::Store { action: "read", path: object, source }),
        };
        let expected = sha256.to_owned();
        blocking(move || decompressed(compressed.reader(), object.as_ref(), &expected)).await.map(Some)
    }

    /// Removes blobs that were last uploaded before `moment`. Looks at all of them, so it does that once for each moment.
    pub(super) async fn remove_older_than(&self, moment: DateTime<Utc>) -> Result<u64, BlobError> {
        if self.removed_to.lock().is_some_and(|done| done >= moment) {
            return Ok(0);
        }
        let is_old = |object: &ObjectMeta| object.last_modified < moment - CLOCK_DIFFERENCE_MAX;
        let folder = Path::from(FOLDER);
        let mut old: BTreeMap<Path, u64> = BTreeMap::new();
        let mut listed = self.store.list(Some(&folder));
        while let Some(object) = listed.try_next().await.map_err(failed("list", &folder))? {
            if is_old(&object) {
                *old.entry(shard_of(&object.location)).or_default() += 1;
            }
        }
        let mut removed = 0;
        for shard in old.into_keys() {
            let _turn = self.one_at_a_time.lock().await;
            // Since they were listed, some may have been uploaded again.
            let old: Vec<ObjectMeta> = self.store.list(Some(&shard)).try_collect().await.map_err(failed("list", &shard))?;
            let old: Vec<Path> = old.into_iter().filter(is_old).map(|object| object.location).collect();
            removed += old.len() as u64;
            let deleted: Result<Vec<Path>, Error> =
                self.store.delete_stream(stream::iter(old.into_iter().map(Ok)).boxed()).try_collect().await;
            deleted.map_err(failed("delete", &shard))?;
        }
        *self.removed_to.lock() = Some(moment);
        Ok(removed)
    }
}

fn read(path: &FsPath) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::Read::read_to_end(&mut fs::File::open(path)?, &mut content)?;
    Ok(content)
}

/// The object of the file at `path` below `root`.
fn object_of(root: &FsPath, path: &FsPath) -> Path {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts = below.iter().map(|part| part.to_string_lossy().into_owned());
    std::iter::once(FOLDER.to_owned()).chain(parts).collect()
}

/// The folder of the bucket that an object is in.
fn shard_of(object: &Path) -> Path {
    let parts: Vec<_> = object.parts().collect();
    parts[..parts.len().saturating_sub(1)].iter().cloned().collect()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(Error) -> BlobError + use<> {
    let path = path.clone();
    move |source| BlobError::Store { action, path, source }
}

#[cfg(test)]
mod tests {
    use assay_schemas::ids::ProjectId;
    use object_store::memory::InMemory;

    use super::*;
    use crate::blobs::{BlobStore, ProjectBlobs, files};

    fn open(dir: &FsPath, bucket: &Arc<InMemory>) -> (BlobStore, ProjectBlobs) {
        let store = BlobStore::open(dir.join("blobs"), Some(Arc::clone(bucket) as _)).unwrap();
        let blobs = store.of(&ProjectId::default_project());
        (store, blobs)
    }

    async fn objects(bucket: &InMemory) -> usize {
        bucket.list(None).count().await
    }

    #[tokio::test]
    async fn a_blob_can_be_read_before_its_upload_and_after_it() {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        let (store, blobs) = open(dir.path(), &bucket);
        let name = blobs.put(b"an image").unwrap();
        assert_eq!(objects(&bucket).await, 0);
        assert_eq!(blobs.get(&name).await.unwrap().as_deref(), Some(&b"an image"[..]));
        store.upload().await.unwrap();
        assert_eq!(objects(&bucket).await, 1);
        assert!(files(&dir.path().join("blobs")).unwrap().is_empty(), "its file is gone");
        assert_eq!(blobs.get(&name).await.unwrap().as_deref(), Some(&b"an image"[..]));
        assert!(blobs.get(&"0".repeat(64)).await.unwrap().is_none());
        blobs.put(b"an image").unwrap();
        assert!(files(&dir.path().join("blobs")).unwrap().is_empty(), "it is known to be in the bucket");
    }

    #[tokio::test]
    async fn what_an_earlier_process_left_is_uploaded() {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        let name = open(dir.path(), &bucket).1.put(b"an image").unwrap();
        let (store, blobs) = open(dir.path(), &bucket);
        store.upload().await.unwrap();
        assert_eq!(objects(&bucket).await, 1);
        assert!(blobs.get(&name).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_damaged_object_is_not_returned() {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        let (store, blobs) = open(dir.path(), &bucket);
        let name = blobs.put(b"an image").unwrap();
        store.upload().await.unwrap();
        let object = Path::from(format!("blobs/default/{}/{name}.zst", &name[..2]));
        bucket.put(&object, zstd::bulk::compress(b"another", 1).unwrap().into()).await.unwrap();
        assert!(matches!(blobs.get(&name).await, Err(BlobError::Damaged { .. })));
    }

    #[tokio::test]
    async fn old_blobs_are_removed_and_young_ones_stay() {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        let (store, blobs) = open(dir.path(), &bucket);
        blobs.put(b"an image").unwrap();
        store.upload().await.unwrap();
        let now = Utc::now();
        assert_eq!(store.remove_older_than((now - TimeDelta::hours(2)).into()).await.unwrap(), 0);
        assert_eq!(store.remove_older_than((now + TimeDelta::hours(2)).into()).await.unwrap(), 1);
        assert_eq!(objects(&bucket).await, 0);
    }
}
