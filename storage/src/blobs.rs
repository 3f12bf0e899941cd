//! Large and binary parts, stored once by content in each project: what one project stored, no other can read or find out about.
//!
//! `blobs/<project>/<first two hex digits>/<sha256>.zst`. A blob is written and fsynced before [`BlobStore::put`] returns, so a row that refers
//! to it can be committed afterwards. A file is complete or absent: it is written beside its place and renamed.
//!
//! Where the lake is in a bucket, blobs are too, under the same names. The folder then holds those on their way: a flush uploads them all before
//! it commits rows that refer to them (`blobs/bucket.rs`).

mod bucket;

use std::{
    collections::HashSet,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use assay_schemas::ids::ProjectId;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::ObjectStore;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use self::bucket::BlobBucket;
use crate::{
    outside::{self, DurableFolders, create_dir_durably, fs, sync_dir},
    tasks::blocking,
};

const ZSTD_LEVEL: i32 = 3;

/// Content-addressed storage beside the tables.
#[derive(Clone, Debug)]
pub struct BlobStore {
    root: PathBuf,
    shared: Arc<Shared>,
}

/// The blobs of one project.
#[derive(Clone, Debug)]
pub struct ProjectBlobs {
    /// Of all projects.
    all: PathBuf,
    root: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Where blobs go from the folder, if they do.
    bucket: Option<BlobBucket>,
    /// Held while a stored blob is put again, or looked at and removed: a blob is never removed just after it was put.
    touching: Mutex<()>,
    folders: DurableFolders,
    /// Blobs whose names are known to be durable. That a name is there says nothing: another thread may be about to fsync the folder,
    /// or an earlier process was killed before it could.
    durable: Mutex<HashSet<PathBuf>>,
}

/// More than so many names are not remembered; some are then fsynced once more.
const DURABLE_NAMES_MAX: usize = 50_000;

/// A blob could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// A file operation failed.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What we were doing.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A request to the bucket failed.
    #[error("could not {action} the blob `{path}`")]
    Store {
        /// What we were doing.
        action: &'static str,
        /// On what.
        path: object_store::path::Path,
        /// Why.
        source: object_store::Error,
    },
    /// The content does not have the hash it is stored under.
    #[error("blob `{path}` is damaged: its content has sha256 `{found}`")]
    Damaged {
        /// The file, or the object.
        path: String,
        /// Hash of what it holds.
        found: String,
    },
    /// The name is not a sha256.
    #[error("found `{found}`, expected 64 lower-case hex digits")]
    Name {
        /// The name.
        found: String,
    },
}

impl BlobStore {
    /// The blobs in the folder `root`, or, with a `bucket`, there.
    pub(crate) fn open(root: PathBuf, bucket: Option<Arc<dyn ObjectStore>>) -> Result<Self, BlobError> {
        create_dir_durably(&root).map_err(|source| BlobError::Io { action: "create folder", path: root.clone(), source })?;
        let bucket = match bucket {
            Some(store) => Some(BlobBucket::new(store, files(&root)?)),
            None => None,
        };
        Ok(Self { root, shared: Arc::new(Shared { bucket, ..Shared::default() }) })
    }

    /// The blobs of `project`.
    #[must_use]
    pub fn of(&self, project: &ProjectId) -> ProjectBlobs {
        ProjectBlobs { all: self.root.clone(), root: self.root.join(project.as_str()), shared: Arc::clone(&self.shared) }
    }

    /// Brings every blob that was put so far to where rows may refer to it from other machines. At once where that is the folder itself.
    pub(crate) async fn upload(&self) -> Result<(), BlobError> {
        match &self.shared.bucket {
            Some(bucket) => bucket.upload(&self.root, &self.shared).await,
            None => Ok(()),
        }
    }

    /// Removes blobs that were last put before `moment`. A row is received before its blobs are put, so no row received since refers to
    /// them.
    pub(crate) async fn remove_older_than(&self, moment: SystemTime) -> Result<u64, BlobError> {
        if let Some(bucket) = &self.shared.bucket {
            return bucket.remove_older_than(moment.into()).await;
        }
        let blobs = self.clone();
        blocking(move || blobs.remove_files_older_than(moment)).await
    }

    fn remove_files_older_than(&self, moment: SystemTime) -> Result<u64, BlobError> {
        let mut removed = 0;
        for path in files(&self.root)? {
            let _alone = self.shared.touching.lock();
            self.shared.durable.lock().remove(&path);
            let removal = fs::metadata(&path).and_then(|found| {
                let is_old = found.modified()? < moment;
                if is_old { fs::remove_file(&path).map(|()| 1) } else { Ok(0) }
            });
            removed += removal.map_err(|source| BlobError::Io { action: "remove", path, source })?;
        }
        Ok(removed)
    }
}

impl Shared {
    /// Removes a file whose blob is elsewhere by now.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let _alone = self.touching.lock();
        self.durable.lock().remove(path);
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl ProjectBlobs {
    /// Stores `content` unless it is stored, durably, and returns its sha256 as hex. Blocking: compresses and fsyncs.
    ///
    /// # Errors
    /// [`BlobError::Io`] if the disk does not take it.
    pub fn put(&self, content: &[u8]) -> Result<String, BlobError> {
        let name = hex::encode(Sha256::digest(content));
        let path = self.path(&name);
        let bucket = self.shared.bucket.as_ref();
        if bucket.is_some_and(|bucket| bucket.has(&path)) {
            return Ok(name);
        }
        let written = self.touch(&path).and_then(|stored| if stored { Ok(()) } else { self.write(&path, content) });
        written.map_err(|source| BlobError::Io { action: "write", path: path.clone(), source })?;
        if let Some(bucket) = bucket {
            bucket.wants(path);
        }
        Ok(name)
    }

    /// Whether the blob is stored; if so, it is durable, and as young as today.
    fn touch(&self, path: &Path) -> io::Result<bool> {
        let _alone = self.shared.touching.lock();
        let stored = match fs::File::options().write(true).open(path) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // Retention goes by the day of the last put: this one may be the first of many rows to come. The clock may have been set back.
        let now = outside::wall_clock();
        if DateTime::<Utc>::from(stored.metadata()?.modified()?).date_naive() < now.date_naive() {
            stored.set_modified(now.into())?;
            stored.sync_all()?;
        }
        if !self.shared.durable.lock().contains(path) {
            let shard = path.parent().unwrap_or(path);
            self.shared.folders.ensure(&self.all, shard)?;
            sync_dir(shard)?;
            self.remember(path);
        }
        Ok(true)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let shard = path.parent().unwrap_or(path);
        let compressed = zstd::bulk::compress(content, ZSTD_LEVEL)?;
        self.shared.folders.ensure(&self.all, shard)?;
        // Two writers of one blob write different temporary files of the same content: either rename is right.
        let temporary = shard.join(format!(".{}.tmp", outside::unique_id()));
        let written = fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(&compressed)?;
            // Its age is the moment of the put, which a clock of the file system need not show.
            file.set_modified(outside::wall_clock().into())?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            sync_dir(shard)
        });
        match written {
            Ok(()) => self.remember(path),
            Err(_) => {
                self.shared.folders.forget();
                // It may or may not be there.
                drop(fs::remove_file(&temporary));
            }
        }
        written
    }

    fn remember(&self, path: &Path) {
        let mut durable = self.shared.durable.lock();
        if durable.len() >= DURABLE_NAMES_MAX {
            durable.clear();
        }
        durable.insert(path.to_owned());
    }

    /// The content stored under `sha256` (64 hex digits), checked against it; `None` if there is none.
    ///
    /// # Errors
    /// [`BlobError`] if the name is not a hash, the file cannot be read, or does not hold what it should.
    pub async fn get(&self, sha256: &str) -> Result<Option<Bytes>, BlobError> {
        if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(BlobError::Name { found: sha256.chars().take(80).collect() });
        }
        let path = self.path(sha256);
        let (file, expected) = (path.clone(), sha256.to_owned());
        let found = blocking(move || read_blob(&file, &expected)).await?;
        // In this order: a blob is in the bucket before its file is removed.
        match &self.shared.bucket {
            Some(bucket) if found.is_none() => bucket.get(&self.all, &path, sha256).await,
            _ => Ok(found),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(&name[..2]).join(format!("{name}.zst"))
    }
}

/// The blobs in the folder `root` of all projects.
fn files(root: &Path) -> Result<Vec<PathBuf>, BlobError> {
    let mut files = Vec::new();
    for project in entries(root)? {
        for shard in entries(&project)? {
            files.extend(entries(&shard)?);
        }
    }
    Ok(files)
}

/// What is in `folder`.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, BlobError> {
    let listed = fs::read_dir(folder).and_then(|list| list.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(|source| BlobError::Io { action: "list", path: folder.to_owned(), source })
}

fn read_blob(path: &Path, expected: &str) -> Result<Option<Bytes>, BlobError> {
    let io = |action| move |source| BlobError::Io { action, path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open")(error)),
    };
    decompressed(file, &path.display().to_string(), expected).map(Some)
}

/// The content of the blob at `path`, checked against its hash.
fn decompressed(compressed: impl io::Read, path: &str, expected: &str) -> Result<Bytes, BlobError> {
    let failed = |source| BlobError::Io { action: "decompress", path: path.into(), source };
    let content = zstd::stream::decode_all(compressed).map_err(failed)?;
    let found = hex::encode(Sha256::digest(&content));
    if found != expected {
        return Err(BlobError::Damaged { path: path.to_owned(), found });
    }
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::simulation::{
        bucket::Place,
        world::{Crash, Image, Mistake, World},
    };

    fn store() -> (tempfile::TempDir, BlobStore, ProjectBlobs) {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path().join("blobs"), None).unwrap();
        let blobs = store.of(&ProjectId::default_project());
        (dir, store, blobs)
    }

    #[tokio::test]
    async fn a_blob_is_stored_once_and_read_back() {
        let (_dir, _, blobs) = store();
        let name = blobs.put(b"an image").unwrap();
        assert_eq!(blobs.put(b"an image").unwrap(), name);
        assert_eq!(blobs.get(&name).await.unwrap().as_deref(), Some(&b"an image"[..]));
        assert_eq!(fs::read_dir(blobs.root.join(&name[..2])).unwrap().count(), 1);
        assert!(blobs.get(&"0".repeat(64)).await.unwrap().is_none());
        assert!(matches!(blobs.get("../../etc/passwd").await, Err(BlobError::Name { .. })));
    }

    #[tokio::test]
    async fn a_blob_is_of_its_project_alone() {
        let (_dir, store, blobs) = store();
        let other = store.of(&ProjectId::new("other").unwrap());
        let name = blobs.put(b"an image").unwrap();
        assert!(other.get(&name).await.unwrap().is_none());
        assert_eq!(other.put(b"an image").unwrap(), name);
        assert!(other.get(&name).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_blob_that_is_put_again_stays() {
        let (_dir, store, blobs) = store();
        let (old, again) = (blobs.put(b"old").unwrap(), blobs.put(b"again").unwrap());
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
        for name in [&old, &again] {
            fs::File::options().write(true).open(blobs.path(name)).unwrap().set_modified(long_ago).unwrap();
        }
        blobs.put(b"again").unwrap();
        assert_eq!(store.remove_older_than(long_ago + std::time::Duration::from_secs(1)).await.unwrap(), 1);
        assert!(blobs.get(&old).await.unwrap().is_none());
        assert!(blobs.get(&again).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_damaged_blob_is_not_returned() {
        let (_dir, _, blobs) = store();
        let name = blobs.put(b"an image").unwrap();
        fs::write(blobs.path(&name), zstd::bulk::compress(b"another", 1).unwrap()).unwrap();
        assert!(matches!(blobs.get(&name).await, Err(BlobError::Damaged { .. })));
    }

    #[test]
    fn a_blob_that_an_earlier_process_left_half_done_is_durable_when_it_is_put_again() {
        let start = DateTime::UNIX_EPOCH;
        for seed in 0..40 {
            // The rename of the first put is not fsynced when its process is killed.
            let world = World::new(seed, Image::default(), Place::Bucket, start, Some(Mistake::NoFolderFsyncAnywhere));
            let put = || async {
                BlobStore::open("/data/blobs".into(), None).unwrap().of(&ProjectId::default_project()).put(b"an image")
            };
            let name = world.run(put()).unwrap().unwrap();
            world.restart(Crash::Kill);
            let world = World::new(seed, world.image(), Place::Bucket, start, None);
            assert_eq!(world.run(put()).unwrap().unwrap(), name);
            world.restart(Crash::PowerCut);
            let path = format!("/data/blobs/default/{}/{name}.zst", &name[..2]);
            assert!(world.disk().content(Path::new(&path)).is_ok(), "seed {seed}");
        }
    }
}
