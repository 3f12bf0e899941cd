//! Which rows of which file belong to a trace, for many files at once: so that a node with nothing of the lake on its disk finds a trace in a
//! few reads, however many files there are.
//!
//! `lake-index/<table>/directory/<name>.dir` is a segment of the directory: what the trace indexes of some files say, in one order.
//!
//! ```text
//! entries   trace (16 bytes), number of the file (4), first row (4), rows (4), all big-endian; sorted; in blocks of 1024
//! head      JSON: name and number of entries of each file; for each block its first 20 bytes (hex) and the CRC of all of them
//! tail      length of the head (4), CRC of the head (4), magic (8)
//! ```
//! Compaction writes a segment when some files are in none, together with the segments that are not much larger: there are few, each several
//! times as large as the one before. A segment never changes. What one says of a file that is gone is not asked for. All of this only saves time:
//! of a file that no segment covers, or whose segment is gone or damaged, the index of its own is read ([`crate::TraceIndex`]).

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, path::Path};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{
    outside,
    tasks::blocking,
    trace_index::{Caches, TraceIndex, TraceIndexError},
    trace_sums::TraceKey,
};

const MAGIC: [u8; 8] = *b"ASSAYTD\x01";
const TAIL_BYTES: u64 = 16;
const ENTRY_BYTES: usize = 28;
/// Trace and number of the file: what entries are sorted by, and no two have in common.
const SORTED_BYTES: usize = 20;
const BLOCK_ENTRIES: usize = 1024;
/// The head is looked for in so many bytes at the end. It is seldom larger: some 60 bytes for each block and 80 for each file.
const HEAD_GUESS_BYTES: u64 = 256 << 10;
/// A segment is made when so many files are in none.
const UNCOVERED_FILES: usize = 4;
/// A segment is made anew together with others if it is at most so many times as large as they are.
const GROWTH: usize = 4;
/// No segment has more entries, for a while of 84 bytes of memory each; a file can have more on its own.
const SEGMENT_ENTRIES_MAX: usize = 1 << 20;
/// So many blocks can be read at once.
const TURNS: usize = 16;

/// The directory of one table.
#[derive(Debug)]
pub(crate) struct Directory {
    store: Arc<dyn ObjectStore>,
    caches: Arc<Caches>,
    folder: Path,
    segments: Mutex<Arc<Vec<Arc<Segment>>>>,
    /// Held while a block is read, by its number: no block is read twice at once, and few wait for another.
    turns: [tokio::sync::Mutex<()>; TURNS],
}

#[derive(Debug)]
struct Segment {
    path: Path,
    bytes: u64,
    head: OnceCell<Head>,
}

/// What is kept in memory of a segment.
#[derive(Debug)]
struct Head {
    files: HashMap<String, FileEntries>,
    blocks: Vec<Block>,
    n_entries: usize,
}

#[derive(Debug)]
struct FileEntries {
    number: u32,
    n_entries: usize,
}

#[derive(Debug)]
struct Block {
    first: [u8; SORTED_BYTES],
    crc: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredHead {
    files: Vec<(String, usize)>,
    blocks: Vec<(String, u32)>,
}

/// A file as the directory knows it.
#[derive(Clone, Debug)]
pub(crate) struct ListedFile {
    /// Its name, without folders.
    pub(crate) name: String,
    pub(crate) traces: Arc<TraceIndex>,
}

/// A segment cannot be used.
#[derive(Debug, thiserror::Error)]
enum SegmentError {
    #[error("could not read a part of the trace directory")]
    Store(#[source] Error),
    #[error("a part of the trace directory is damaged")]
    Damaged,
}

/// The directory could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum TraceDirectoryError {
    /// A request to the store failed.
    #[error("could not read or write the trace directory")]
    Store(#[from] Error),
    /// The index of a file could not be had.
    #[error(transparent)]
    Index(#[from] TraceIndexError),
}

/// The files that a new segment is to cover, and the segments that are superfluous then.
#[derive(Default)]
struct Plan {
    covered: Vec<ListedFile>,
    replaced: Vec<Arc<Segment>>,
}

/// A segment that covers files of the table.
struct Kept<'a> {
    segment: &'a Arc<Segment>,
    files: Vec<ListedFile>,
    /// Those of `files`.
    n_entries: usize,
    is_mostly_gone: bool,
}

impl Plan {
    /// Takes in files that are in no segment, as many as fit, and the segments that are not much larger or hold little. `kept` has the smallest last.
    async fn extend(&mut self, uncovered: Vec<&ListedFile>, kept: Vec<Kept<'_>>) -> Result<(), TraceIndexError> {
        let mut n_entries = 0;
        for file in uncovered {
            let n_traces = file.traces.runs().await?.len();
            if !self.covered.is_empty() && n_entries + n_traces > SEGMENT_ENTRIES_MAX {
                break;
            }
            self.covered.push(file.clone());
            n_entries += n_traces;
        }
        for kept in kept.into_iter().rev() {
            let is_wanted = kept.is_mostly_gone || kept.n_entries <= GROWTH * n_entries;
            if is_wanted && n_entries + kept.n_entries <= SEGMENT_ENTRIES_MAX {
                self.covered.extend(kept.files);
                self.replaced.push(Arc::clone(kept.segment));
                n_entries += kept.n_entries;
            }
        }
        Ok(())
    }
}

type Entry = [u8; ENTRY_BYTES];

impl Directory {
    /// A directory in `folder` that has no segments yet.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, caches: Arc<Caches>, folder: Path) -> Self {
        Self { store, caches, folder, segments: Mutex::default(), turns: Default::default() }
    }

    /// Where its segments lie.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes up the segments that there are.
    pub(crate) async fn list(&self) -> Result<(), Error> {
        let listed: Vec<_> = self.store.list(Some(&self.folder)).try_collect().await?;
        let known: HashMap<Path, Arc<Segment>> = self.segments().iter().map(|s| (s.path.clone(), Arc::clone(s))).collect();
        let segment = |meta: object_store::ObjectMeta| {
            let unread = || Arc::new(Segment { path: meta.location.clone(), bytes: meta.size, head: OnceCell::new() });
            known.get(&meta.location).cloned().unwrap_or_else(unread)
        };
        *self.segments.lock() = Arc::new(listed.into_iter().map(segment).collect());
        Ok(())
    }

    /// Whether the rows of `file` (its name) are known here. Reads the heads of segments on first use.
    pub(crate) async fn covers(&self, file: &str) -> Result<bool, Error> {
        for segment in self.segments().iter() {
            if self.head(segment).await?.is_some_and(|head| head.files.contains_key(file)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Rows of `file` that belong to a trace: `None` if this is not known here, else what [`TraceIndex::rows`] says. Reads a block of the segment
    /// that covers the file, if it is not at hand.
    pub(crate) async fn find(&self, file: &str, key: &TraceKey) -> Result<Option<Option<Range<u64>>>, Error> {
        for segment in self.segments().iter() {
            let Some(head) = self.head(segment).await? else { continue };
            let Some(entries) = head.files.get(file) else { continue };
            let found = self.find_in(segment, head, entries.number, key).await;
            if let Some(rows) = self.usable(segment, found)? {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    async fn find_in(
        &self,
        segment: &Segment,
        head: &Head,
        file: u32,
        key: &TraceKey,
    ) -> Result<Option<Range<u64>>, SegmentError> {
        let sought = sorted_bytes(key, file);
        let Some(block) = head.blocks.partition_point(|block| block.first <= sought).checked_sub(1) else { return Ok(None) };
        let entries = self.block(segment, head, block).await?;
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        let found = entries.binary_search_by(|entry| entry[..SORTED_BYTES].cmp(&sought)).ok();
        Ok(found.map(|idx| rows_of(&entries[idx])))
    }

    async fn block(&self, segment: &Segment, head: &Head, idx: usize) -> Result<Bytes, SegmentError> {
        let key = Path::from(format!("{}/{idx}", segment.path));
        if let Some(block) = self.caches.indexes.get(&key) {
            return Ok(block);
        }
        // A question asks for all files at once: one of them reads the block.
        let _turn = self.turns[idx % TURNS].lock().await;
        if let Some(block) = self.caches.indexes.get(&key) {
            return Ok(block);
        }
        let first = idx * BLOCK_ENTRIES;
        let end = head.n_entries.min(first + BLOCK_ENTRIES);
        let range = (first * ENTRY_BYTES) as u64..(end * ENTRY_BYTES) as u64;
        let block = self.store.get_range(&segment.path, range).await.map_err(SegmentError::Store)?;
        if crc32fast::hash(&block) != head.blocks[idx].crc {
            return Err(SegmentError::Damaged);
        }
        self.caches.indexes.put(key, block.clone(), block.len());
        Ok(block)
    }

    /// The head of `segment`; `None` if that is gone or damaged.
    async fn head<'a>(&self, segment: &'a Segment) -> Result<Option<&'a Head>, Error> {
        let head = segment.head.get_or_try_init(|| self.read_head(segment)).await;
        self.usable(segment, head)
    }

    async fn read_head(&self, segment: &Segment) -> Result<Head, SegmentError> {
        let get = async |range| self.store.get_range(&segment.path, range).await.map_err(SegmentError::Store);
        let end = segment.bytes;
        if end < TAIL_BYTES {
            return Err(SegmentError::Damaged);
        }
        let guess = end.saturating_sub(HEAD_GUESS_BYTES);
        let read = get(guess..end).await?;
        let head_bytes = u64::from(tail(&read).ok_or(SegmentError::Damaged)?.0);
        let begin = end.checked_sub(TAIL_BYTES + head_bytes).ok_or(SegmentError::Damaged)?;
        let whole = if begin >= guess { read.slice((begin - guess) as usize..) } else { get(begin..end).await? };
        blocking(move || decode_head(&whole, begin)).await.ok_or(SegmentError::Damaged)
    }

    /// What was read of `segment`; if it is gone or damaged, it is done without from now on. Of a store that fails nothing follows.
    fn usable<T>(&self, segment: &Segment, read: Result<T, SegmentError>) -> Result<Option<T>, Error> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(SegmentError::Store(error)) if !matches!(error, Error::NotFound { .. }) => Err(error),
            Err(error) => {
                tracing::info!(segment = %segment.path, %error, "a part of the trace directory cannot be used");
                self.change(|segments| segments.retain(|known| known.path != segment.path));
                Ok(None)
            }
        }
    }

    /// Sees to it that all but a few of `files`, which are those of the table, are in a segment, and that segments of files that are gone go too.
    pub(crate) async fn cover(&self, files: &[ListedFile]) -> Result<(), TraceDirectoryError> {
        while let Some(Plan { covered, replaced }) = self.plan(files).await? {
            if !covered.is_empty() {
                self.write(&covered).await?;
            }
            self.remove(&replaced).await;
        }
        Ok(())
    }

    /// What is to be done next; `None` if nothing is.
    async fn plan(&self, files: &[ListedFile]) -> Result<Option<Plan>, TraceDirectoryError> {
        let mut uncovered: HashMap<&str, &ListedFile> = files.iter().map(|file| (file.name.as_str(), file)).collect();
        let mut segments = Vec::new();
        let known = self.segments();
        for segment in known.iter() {
            if let Some(head) = self.head(segment).await? {
                segments.push((segment, head));
            }
        }
        // What two cover is covered by the larger.
        segments.sort_by_key(|(_, head)| std::cmp::Reverse(head.n_entries));
        let mut plan = Plan::default();
        let mut kept = Vec::new();
        for (segment, head) in segments {
            let held: Vec<_> = head
                .files
                .iter()
                .filter_map(|(name, of)| Some((uncovered.remove(name.as_str())?.clone(), of.n_entries)))
                .collect();
            let n_entries: usize = held.iter().map(|(_, n_entries)| n_entries).sum();
            let files: Vec<_> = held.into_iter().map(|(file, _)| file).collect();
            if files.is_empty() {
                plan.replaced.push(Arc::clone(segment));
            } else {
                kept.push(Kept { segment, files, n_entries, is_mostly_gone: n_entries * 2 < head.n_entries });
            }
        }
        if uncovered.len() >= UNCOVERED_FILES || kept.iter().any(|kept| kept.is_mostly_gone) {
            let mut uncovered: Vec<_> = uncovered.into_values().collect();
            uncovered.sort_by(|a, b| a.name.cmp(&b.name));
            plan.extend(uncovered, kept).await?;
        }
        Ok((!plan.covered.is_empty() || !plan.replaced.is_empty()).then_some(plan))
    }

    /// Writes a segment that covers `files`, of which there is at least one.
    async fn write(&self, files: &[ListedFile]) -> Result<(), TraceDirectoryError> {
        let (mut entries, mut stored) = (Vec::new(), Vec::with_capacity(files.len()));
        for (number, file) in (0_u32..).zip(files) {
            let runs = file.traces.runs().await?;
            stored.push((file.name.clone(), runs.len()));
            entries.extend(runs.map(|(key, rows)| entry(&key, number, &rows)));
        }
        let content: Bytes = blocking(move || encode(stored, entries).into()).await;
        let path = Path::from(format!("{}/{}.dir", self.folder, outside::unique_id()));
        let bytes = content.len() as u64;
        self.store.put(&path, content.into()).await?;
        self.change(|segments| segments.push(Arc::new(Segment { path, bytes, head: OnceCell::new() })));
        Ok(())
    }

    /// Does without `segments`, and deletes them. Who still reads them falls back to the indexes of files.
    async fn remove(&self, segments: &[Arc<Segment>]) {
        let gone: HashSet<&Path> = segments.iter().map(|segment| &segment.path).collect();
        self.change(|segments| segments.retain(|segment| !gone.contains(&segment.path)));
        for path in gone {
            match self.store.delete(path).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(segment = %path, %error, "a superfluous part of the trace directory could not be deleted")
                }
            }
        }
    }

    fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.lock())
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>)) {
        change(Arc::make_mut(&mut self.segments.lock()));
    }
}

fn sorted_bytes(key: &TraceKey, file: u32) -> [u8; SORTED_BYTES] {
    let mut bytes = [0; SORTED_BYTES];
    bytes[..16].copy_from_slice(key);
    bytes[16..].copy_from_slice(&file.to_be_bytes());
    bytes
}

fn entry(key: &TraceKey, file: u32, rows: &Range<u64>) -> Entry {
    let mut entry = [0; ENTRY_BYTES];
    entry[..SORTED_BYTES].copy_from_slice(&sorted_bytes(key, file));
    entry[20..24].copy_from_slice(&(rows.start as u32).to_be_bytes());
    entry[24..].copy_from_slice(&((rows.end - rows.start) as u32).to_be_bytes());
    entry
}

fn rows_of(entry: &Entry) -> Range<u64> {
    let number = |at: usize| u64::from(u32::from_be_bytes(entry[at..at + 4].try_into().expect("four bytes")));
    number(20)..number(20) + number(24)
}

/// The content of a segment of `files` (name, number of entries).
fn encode(files: Vec<(String, usize)>, mut entries: Vec<Entry>) -> Vec<u8> {
    // Those of each file are in order already, which this sort makes use of.
    entries.sort();
    let block = |block: &[Entry]| (hex::encode(&block[0][..SORTED_BYTES]), crc32fast::hash(block.as_flattened()));
    let blocks = entries.chunks(BLOCK_ENTRIES).map(block).collect();
    let head = serde_json::to_vec(&StoredHead { files, blocks }).expect("texts and numbers are JSON");
    let mut content = entries.into_flattened();
    let head_bytes = u32::try_from(head.len()).expect("a head is much smaller than its segment");
    content.extend_from_slice(&head);
    content.extend_from_slice(&head_bytes.to_be_bytes());
    content.extend_from_slice(&crc32fast::hash(&head).to_be_bytes());
    content.extend_from_slice(&MAGIC);
    content
}

/// Length and CRC of the head of a segment that ends with `bytes`.
fn tail(bytes: &[u8]) -> Option<(u32, u32)> {
    let tail = bytes.last_chunk::<{ TAIL_BYTES as usize }>()?;
    let number = |at: usize| u32::from_be_bytes(tail[at..at + 4].try_into().expect("four bytes"));
    (tail[8..] == MAGIC).then(|| (number(0), number(4)))
}

/// Reads `bytes`, head and tail of a segment whose entries end at `begin`.
fn decode_head(bytes: &[u8], begin: u64) -> Option<Head> {
    let (_, crc) = tail(bytes)?;
    let head = bytes.get(..bytes.len() - TAIL_BYTES as usize)?;
    if crc32fast::hash(head) != crc {
        return None;
    }
    let StoredHead { files, blocks } = serde_json::from_slice(head).ok()?;
    let n_entries = files.iter().map(|(_, n_entries)| n_entries).sum::<usize>();
    let blocks: Vec<Block> = blocks
        .into_iter()
        .map(|(first, crc)| Some(Block { first: hex::decode(first).ok()?.try_into().ok()?, crc }))
        .collect::<Option<_>>()?;
    let is_whole = begin == (n_entries * ENTRY_BYTES) as u64 && blocks.len() == n_entries.div_ceil(BLOCK_ENTRIES);
    let files = (0..).zip(files).map(|(number, (name, n_entries))| (name, FileEntries { number, n_entries })).collect();
    is_whole.then_some(Head { files, blocks, n_entries })
}

#[cfg(test)]
mod tests;
