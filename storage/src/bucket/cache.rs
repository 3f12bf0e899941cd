//! What was read from the bucket lately, on the local disk: whole small objects and blocks of large ones, up to a number of bytes.
//!
//! `cache/<two hex digits>/<hash of the key>` holds a CRC and the content. Nothing is fsynced: a file that does not pass its CRC, or is gone, is
//! read from the bucket again. Objects of the lake never change under their name, so nothing in here grows old; the least recently used goes
//! first.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::{
    outside::{self, fs},
    tasks::blocking,
};

const CRC_BYTES: usize = 4;

/// How the cache is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheCounts {
    pub(crate) bytes: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// A folder of things read lately.
#[derive(Debug)]
pub(crate) struct DiskCache {
    dir: PathBuf,
    bytes_max: u64,
    entries: Mutex<Entries>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What is in the folder, by file name.
#[derive(Debug, Default)]
struct Entries {
    by_name: HashMap<String, Entry>,
    /// File names by when they were last used.
    by_use: BTreeMap<u64, String>,
    bytes: u64,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    used: u64,
}

impl DiskCache {
    /// Takes up what an earlier process left in `dir`, the oldest first to go. Blocking.
    pub(crate) fn open(dir: PathBuf, bytes_max: u64) -> io::Result<Self> {
        outside::create_dir_durably(&dir)?;
        let mut found = Vec::new();
        for shard in fs::read_dir(&dir)? {
            for file in fs::read_dir(shard?.path())? {
                let file = file?;
                let name = file.file_name().to_string_lossy().into_owned();
                if name.ends_with(".tmp") {
                    fs::remove_file(file.path())?;
                    continue;
                }
                let meta = file.metadata()?;
                found.push((meta.modified()?, name, meta.len()));
            }
        }
        found.sort();
        let mut entries = Entries::default();
        found.into_iter().for_each(|(_, name, bytes)| entries.insert(name, bytes));
        let cache = Self { dir, bytes_max, entries: Mutex::new(entries), hits: AtomicU64::new(0), misses: AtomicU64::new(0) };
        cache.shrink();
        Ok(cache)
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        CacheCounts {
            bytes: self.entries.lock().bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// What was put under `key`, if it is still there.
    pub(crate) async fn get(&self, key: &str) -> Option<Bytes> {
        let name = name_of(key);
        let content = if self.entries.lock().touch(&name) {
            let path = self.path(&name);
            blocking(move || read(&path)).await
        } else {
            None
        };
        let counter = if content.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        if content.is_none() {
            self.entries.lock().remove(&name);
        }
        content
    }

    /// Whether something was put under `key` and not removed since.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.lock().by_name.contains_key(&name_of(key))
    }

    /// Keeps `content` under `key`. A disk that does not take it costs a read of the bucket, later.
    pub(crate) async fn put(&self, key: &str, content: Bytes) {
        let name = name_of(key);
        let bytes = (content.len() + CRC_BYTES) as u64;
        if bytes > self.bytes_max {
            return;
        }
        let path = self.path(&name);
        match blocking(move || write(&path, &content)).await {
            Ok(()) => self.entries.lock().insert(name, bytes),
            Err(error) => tracing::warn!(dir = %self.dir.display(), %error, "could not keep what was read from the bucket"),
        }
        self.shrink();
    }

    /// Removes what was not used for longest, until the rest fits.
    fn shrink(&self) {
        loop {
            let Some(name) = self.entries.lock().pop_beyond(self.bytes_max) else { return };
            match fs::remove_file(self.path(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(dir = %self.dir.display(), %error, "could not remove a file of the cache");
                }
                _ => {}
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(&name[..2]).join(name)
    }
}

impl Entries {
    fn insert(&mut self, name: String, bytes: u64) {
        self.remove(&name);
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, name.clone());
        self.by_name.insert(name, Entry { bytes, used: self.uses });
    }

    fn touch(&mut self, name: &str) -> bool {
        let Some(entry) = self.by_name.get_mut(name) else { return false };
        self.uses += 1;
        if let Some(name) = self.by_use.remove(&entry.used) {
            self.by_use.insert(self.uses, name);
        }
        entry.used = self.uses;
        true
    }

    fn remove(&mut self, name: &str) {
        if let Some(entry) = self.by_name.remove(name) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    fn pop_beyond(&mut self, bytes_max: u64) -> Option<String> {
        if self.bytes <= bytes_max {
            return None;
        }
        let oldest = self.by_use.values().next()?.clone();
        self.remove(&oldest);
        Some(oldest)
    }
}

fn name_of(key: &str) -> String {
    hex::encode(&Sha256::digest(key)[..16])
}

/// The content of the file at `path`; `None` if it is not there, whole.
fn read(path: &Path) -> Option<Bytes> {
    let mut content = Vec::new();
    fs::File::open(path).ok()?.read_to_end(&mut content).ok()?;
    let crc = u32::from_le_bytes(content.get(..CRC_BYTES)?.try_into().ok()?);
    let content = Bytes::from(content).slice(CRC_BYTES..);
    (crc32fast::hash(&content) == crc).then_some(content)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let shard = path.parent().unwrap_or(path);
    let temporary = shard.join(format!("{}.tmp", outside::unique_id()));
    let mut file = match fs::File::create(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match fs::create_dir(shard) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            fs::File::create(&temporary)?
        }
        created => created?,
    };
    let written = file
        .write_all(&crc32fast::hash(content).to_le_bytes())
        .and_then(|()| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It may or may not be there.
        drop(fs::remove_file(&temporary));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(byte: u8) -> Bytes {
        vec![byte; 1000].into()
    }

    #[tokio::test]
    async fn what_was_not_used_for_longest_goes_first_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(dir.path().join("cache"), 2500).unwrap();
        cache.put("a", content(1)).await;
        cache.put("b", content(2)).await;
        assert_eq!(cache.get("a").await, Some(content(1)));
        cache.put("c", content(3)).await;
        assert_eq!((cache.get("a").await, cache.get("b").await), (Some(content(1)), None));
        assert_eq!(cache.counts(), CacheCounts { bytes: 2008, hits: 2, misses: 1 });
        let old = std::fs::File::options().write(true).open(cache.path(&name_of("a"))).unwrap();
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let cache = DiskCache::open(dir.path().join("cache"), 1500).unwrap();
        assert_eq!(cache.counts().bytes, 1004);
        assert_eq!(cache.get("c").await, Some(content(3)), "the younger file");
    }

    #[tokio::test]
    async fn a_damaged_file_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(dir.path().join("cache"), 2500).unwrap();
        cache.put("a", content(1)).await;
        std::fs::write(cache.path(&name_of("a")), content(7)).unwrap();
        assert_eq!(cache.get("a").await, None);
        assert_eq!(cache.counts().bytes, 0);
        cache.put("a", content(1)).await;
        assert_eq!(cache.get("a").await, Some(content(1)));
    }
}
