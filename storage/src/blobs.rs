//! Large and binary parts, stored once by content in each project: what one project stored, no other can read or find out about.
//!
//! `blobs/<project>/<first two hex digits>/<sha256>.zst`. A blob is written and fsynced before [`BlobStore::put`] returns, so a row that refers
//! to it can be committed afterwards. A file is complete or absent: it is written beside its place and renamed.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use assay_schemas::ids::ProjectId;
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::{tasks::blocking, wal::sync_dir};

const ZSTD_LEVEL: i32 = 3;

/// Content-addressed storage beside the tables.
#[derive(Clone, Debug)]
pub struct BlobStore {
    root: PathBuf,
    touching: Arc<Mutex<()>>,
}

/// The blobs of one project.
#[derive(Clone, Debug)]
pub struct ProjectBlobs {
    root: PathBuf,
    /// Held while a stored blob is put again, or looked at and removed: a blob is never removed just after it was put.
    touching: Arc<Mutex<()>>,
}

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
    /// The content does not have the hash it is stored under.
    #[error("blob `{}` is damaged: its content has sha256 `{found}`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
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
    pub(crate) fn open(root: PathBuf) -> Result<Self, BlobError> {
        fs::create_dir_all(&root).map_err(|source| BlobError::Io { action: "create folder", path: root.clone(), source })?;
        Ok(Self { root, touching: Arc::default() })
    }

    /// The blobs of `project`.
    #[must_use]
    pub fn of(&self, project: &ProjectId) -> ProjectBlobs {
        ProjectBlobs { root: self.root.join(project.as_str()), touching: Arc::clone(&self.touching) }
    }

    /// Removes blobs that were last put before `moment`. A row is received before its blobs are put, so no row received since refers to
    /// them. Blocking.
    pub(crate) fn remove_older_than(&self, moment: SystemTime) -> Result<u64, BlobError> {
        let mut removed = 0;
        for project in entries(&self.root)? {
            for shard in entries(&project)? {
                for path in entries(&shard)? {
                    let _alone = self.touching.lock();
                    let removal = fs::metadata(&path).and_then(|found| {
                        let is_old = found.modified()? < moment;
                        if is_old { fs::remove_file(&path).map(|()| 1) } else { Ok(0) }
                    });
                    removed += removal.map_err(|source| BlobError::Io { action: "remove", path, source })?;
                }
            }
        }
        Ok(removed)
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
        {
            let _alone = self.touching.lock();
            if let Ok(stored) = fs::File::options().write(true).open(&path) {
                // Retention goes by the last put: this one may be the first of many rows to come.
                stored.set_modified(SystemTime::now()).map_err(|source| BlobError::Io { action: "touch", path, source })?;
                return Ok(name);
            }
        }
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| BlobError::Io { action, path, source }
        };
        let shard = self.root.join(&name[..2]);
        if !shard.exists() {
            fs::create_dir_all(&shard).map_err(io("create folder", &shard))?;
            for folder in [&*self.root, self.root.parent().unwrap_or(&self.root)] {
                sync_dir(folder).map_err(io("fsync folder", folder))?;
            }
        }
        let compressed = zstd::bulk::compress(content, ZSTD_LEVEL).map_err(io("compress", &path))?;
        // Two writers of one blob write different temporary files of the same content: either rename is right.
        let temporary = shard.join(format!(".{}.tmp", uuid::Uuid::new_v4()));
        let written = fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(&compressed)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync_dir(&shard)
        });
        if let Err(source) = written {
            drop(fs::remove_file(&temporary));
            return Err(BlobError::Io { action: "write", path, source });
        }
        Ok(name)
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
        let expected = sha256.to_owned();
        let read = move || read_blob(&path, &expected);
        blocking(read).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(&name[..2]).join(format!("{name}.zst"))
    }
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
    let content = zstd::stream::decode_all(file).map_err(io("decompress"))?;
    let found = hex::encode(Sha256::digest(&content));
    if found != expected {
        return Err(BlobError::Damaged { path: path.to_owned(), found });
    }
    Ok(Some(content.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, BlobStore, ProjectBlobs) {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path().join("blobs")).unwrap();
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
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(1000);
        for name in [&old, &again] {
            fs::File::options().write(true).open(blobs.path(name)).unwrap().set_modified(long_ago).unwrap();
        }
        blobs.put(b"again").unwrap();
        assert_eq!(store.remove_older_than(long_ago + std::time::Duration::from_secs(1)).unwrap(), 1);
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
}
