//! Which rows of a file belong to which trace: a small file beside the lake, read when first asked for.
//!
//! `lake-index/<table>/<name of the Parquet file>.tix` holds, sorted by trace, the trace (16 bytes), its first row and its number of
//! rows. It can be lost: it is then rebuilt from the Parquet file's own `trace_id` column. Memory is bounded by [`Cache`]. Beside it, for
//! `spans`, lie what each trace adds up to (`trace_sums`) and which rows can hold a text (`text_index`). What the indexes of many files say together is
//! in `trace_directory`.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow::array::AsArray as _;
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use parking_lot::Mutex;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use sha2::{Digest as _, Sha256};

use crate::{
    tasks::blocking,
    text_index::{self, FileText},
    trace_directory::Directory,
    trace_sums::{self, FileSums, TraceKey, TraceSums},
};

const MAGIC: [u8; 8] = *b"ASSAYTI\x01";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 24;
/// Memory for trace indexes that were read lately.
const INDEX_CACHE_BYTES: usize = 64 << 20;
/// Memory for sums of traces that were read lately: some 600 000 traces.
const SUMS_CACHE_BYTES: usize = 64 << 20;
/// Memory for text indexes that were read lately: some five million spans of prose.
const TEXT_CACHE_BYTES: usize = 48 << 20;

/// Row ranges of the traces of one file.
#[derive(Debug)]
pub struct TraceIndex {
    store: Arc<dyn ObjectStore>,
    caches: Arc<Caches>,
    directory: Arc<Directory>,
    paths: IndexPaths,
}

/// Where an index lies, and what it is of.
#[derive(Debug)]
pub(crate) struct IndexPaths {
    pub(crate) index: Path,
    /// For `spans` only.
    pub(crate) sums: Option<Path>,
    /// For `spans` only, and not for small files.
    pub(crate) text: Option<Path>,
    pub(crate) file: Path,
    pub(crate) file_rows: u64,
}

/// What was read lately of the indexes of all files.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) indexes: Cache<Bytes>,
    pub(crate) sums: Cache<Arc<TraceSums>>,
    pub(crate) text: Cache<FileText>,
    /// Text indexes of older files are made one after the other: each needs the whole file in memory.
    pub(crate) text_turn: tokio::sync::Mutex<()>,
}

impl Caches {
    pub(crate) fn new() -> Self {
        Self {
            indexes: Cache::new(INDEX_CACHE_BYTES),
            sums: Cache::new(SUMS_CACHE_BYTES),
            text: Cache::new(TEXT_CACHE_BYTES),
            text_turn: tokio::sync::Mutex::default(),
        }
    }
}

/// A trace index could neither be read nor rebuilt.
#[derive(Debug, thiserror::Error)]
#[error("could not index the traces of `{path}`")]
pub struct TraceIndexError {
    path: Path,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl TraceIndex {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, caches: Arc<Caches>, directory: Arc<Directory>, paths: IndexPaths) -> Self {
        Self { store, caches, directory, paths }
    }

    /// Rows of the file that belong to `trace_id` (32 hex digits), or `None` if the file has none of it. A binary search in memory; before that,
    /// what is not at hand is read: a block of the directory that covers the file, 28 KB, or else the index, a few hundred kilobytes at most for a
    /// usual file.
    ///
    /// # Errors
    /// [`TraceIndexError`] if the index is missing and the Parquet file cannot be read either.
    pub async fn rows(&self, trace_id: &str) -> Result<Option<Range<u64>>, TraceIndexError> {
        let key = trace_key(trace_id);
        if let Some(entries) = self.caches.indexes.get(&self.paths.index) {
            return Ok(find(&entries, &key));
        }
        let found = self.directory.find(self.name(), &key).await;
        if let Some(rows) = found.map_err(|error| self.failed(error.into()))? {
            return Ok(rows);
        }
        let entries = self.load().await?;
        Ok(find(&entries, &key))
    }

    /// The rows of each trace, in the order of the traces.
    pub(crate) async fn runs(&self) -> Result<impl ExactSizeIterator<Item = (TraceKey, Range<u64>)>, TraceIndexError> {
        let entries = self.load().await?;
        let n_entries = entries.len() / ENTRY_BYTES;
        Ok((0..n_entries).map(move |idx| {
            let entry = &entries[idx * ENTRY_BYTES..(idx + 1) * ENTRY_BYTES];
            (entry[..16].try_into().expect("sixteen bytes"), rows_of(entry))
        }))
    }

    /// Those of `trace_ids` that the file holds.
    pub(crate) async fn contains_any<'a>(
        &self,
        trace_ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<&'a str>, TraceIndexError> {
        let entries = self.load().await?;
        Ok(trace_ids.into_iter().filter(|id| find(&entries, &trace_key(id)).is_some()).collect())
    }

    /// What each trace of the file adds up to; `None` for a table that has no sums. Reads a few bytes for each trace on first use.
    ///
    /// # Errors
    /// [`TraceIndexError`] if index or sums are missing and the Parquet file cannot be read either.
    pub async fn sums(&self) -> Result<Option<FileSums>, TraceIndexError> {
        let Some(path) = &self.paths.sums else { return Ok(None) };
        let traces = TraceKeys(self.load().await?);
        if let Some(sums) = self.caches.sums.get(path) {
            return Ok(Some(FileSums { traces, sums }));
        }
        let n_traces = traces.len();
        let decoded = match self.read(path).await {
            Some(stored) => blocking(move || trace_sums::decode(stored, n_traces)).await,
            None => None,
        };
        let sums = match decoded {
            Some(sums) => sums,
            None => self.rebuild_sums(path, n_traces).await?,
        };
        let sums = Arc::new(sums);
        self.caches.sums.put(path.clone(), Arc::clone(&sums), sums.bytes());
        Ok(Some(FileSums { traces, sums }))
    }

    /// Which rows can hold a text; `None` for files that have no such index. Made on first use for a file that was written without.
    ///
    /// # Errors
    /// [`TraceIndexError`] if the index is missing and the Parquet file cannot be read either.
    pub async fn text(&self) -> Result<Option<FileText>, TraceIndexError> {
        let Some(path) = &self.paths.text else { return Ok(None) };
        if let Some(text) = self.caches.text.get(path) {
            return Ok(Some(text));
        }
        let text = match self.stored_text(path).await {
            Some(text) => text,
            None => self.rebuild_text(path).await?,
        };
        self.caches.text.put(path.clone(), text.clone(), text.bytes());
        Ok(Some(text))
    }

    async fn stored_text(&self, path: &Path) -> Option<FileText> {
        text_index::decode(self.read(path).await?, self.paths.file_rows)
    }

    async fn rebuild_text(&self, path: &Path) -> Result<FileText, TraceIndexError> {
        let _turn = self.caches.text_turn.lock().await;
        if let Some(text) = self.stored_text(path).await {
            return Ok(text); // Made while we waited.
        }
        tracing::info!(file = %self.paths.file, "indexing the text of a file that was written without");
        let content = async { self.store.get(&self.paths.file).await?.bytes().await };
        let content = content.await.map_err(|e| self.failed(e.into()))?;
        let encoded = blocking(move || text_index::rebuild(content)).await.map_err(|e| self.failed(e))?;
        self.keep(path, &encoded).await;
        text_index::decode(encoded, self.paths.file_rows)
            .ok_or_else(|| self.failed("the file has other rows than its log says".into()))
    }

    /// Reads what [`TraceIndex::rows`] needs of all traces, so that it is quick to read again: the head of the directory that covers the file, or else the
    /// index.
    pub(crate) async fn read_ahead(&self) -> Result<(), TraceIndexError> {
        let covered = self.directory.covers(self.name()).await;
        if !covered.map_err(|error| self.failed(error.into()))? {
            self.load().await?;
        }
        Ok(())
    }

    fn name(&self) -> &str {
        self.paths.file.filename().unwrap_or_default()
    }

    async fn load(&self) -> Result<Bytes, TraceIndexError> {
        if let Some(entries) = self.caches.indexes.get(&self.paths.index) {
            return Ok(entries);
        }
        let entries = match self.read(&self.paths.index).await.and_then(|bytes| check(&bytes)) {
            Some(entries) => entries,
            None => self.rebuild().await?,
        };
        self.caches.indexes.put(self.paths.index.clone(), entries.clone(), entries.len());
        Ok(entries)
    }

    async fn read(&self, path: &Path) -> Option<Bytes> {
        self.store.get(path).await.ok()?.bytes().await.ok()
    }

    async fn rebuild(&self) -> Result<Bytes, TraceIndexError> {
        tracing::warn!(file = %self.paths.file, "rebuilding a missing or damaged trace index");
        let runs = read_runs(Arc::clone(&self.store), self.paths.file.clone()).await.map_err(|e| self.failed(e))?;
        let encoded = encode(runs);
        self.keep(&self.paths.index, &encoded).await;
        Ok(encoded.slice(HEADER_BYTES..))
    }

    async fn rebuild_sums(&self, path: &Path, n_traces: usize) -> Result<TraceSums, TraceIndexError> {
        tracing::info!(file = %self.paths.file, "adding up the traces of a file that was written without sums");
        let content = async { self.store.get(&self.paths.file).await?.bytes().await };
        let content = content.await.map_err(|e| self.failed(e.into()))?;
        let encoded = blocking(move || trace_sums::rebuild(content)).await.map_err(|e| self.failed(e))?;
        self.keep(path, &encoded).await;
        trace_sums::decode(encoded, n_traces).ok_or_else(|| self.failed("the trace index is of another file".into()))
    }

    /// An index only saves time: if it cannot be written, the next start rebuilds it again.
    async fn keep(&self, path: &Path, content: &Bytes) {
        if let Err(error) = self.store.put(path, content.clone().into()).await {
            tracing::warn!(index = %path, %error, "could not write a trace index");
        }
    }

    fn failed(&self, source: Box<dyn std::error::Error + Send + Sync>) -> TraceIndexError {
        TraceIndexError { path: self.paths.file.clone(), source }
    }
}

/// The traces of a file, by key.
#[derive(Clone, Debug)]
pub(crate) struct TraceKeys(Bytes);

impl TraceKeys {
    pub(crate) fn len(&self) -> usize {
        self.0.len() / ENTRY_BYTES
    }

    pub(crate) fn get(&self, idx: usize) -> TraceKey {
        let at = idx * ENTRY_BYTES;
        self.0[at..at + 16].try_into().expect("sixteen bytes")
    }
}

/// One run of rows of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceRun {
    pub(crate) key: TraceKey,
    pub(crate) first_row: u32,
    pub(crate) rows: u32,
}

/// A trace as 16 bytes: its hex digits, or a hash of what is not that.
pub(crate) fn trace_key(trace_id: &str) -> TraceKey {
    let mut key = [0; 16];
    if hex::decode_to_slice(trace_id, &mut key).is_err() {
        key.copy_from_slice(&Sha256::digest(trace_id)[..16]);
    }
    key
}

/// Collects the runs of a file whose rows come in order.
#[derive(Debug, Default)]
pub(crate) struct RunCollector {
    runs: Vec<TraceRun>,
    current: String,
    next_row: u32,
}

impl RunCollector {
    /// The next row belongs to `trace_id`, or to none.
    pub(crate) fn push(&mut self, trace_id: Option<&str>) {
        let row = self.next_row;
        self.next_row += 1;
        match trace_id {
            None => self.current.clear(),
            Some(id) if id == self.current => {
                if let Some(run) = self.runs.last_mut() {
                    run.rows += 1;
                }
            }
            Some(id) => {
                id.clone_into(&mut self.current);
                self.runs.push(TraceRun { key: trace_key(id), first_row: row, rows: 1 });
            }
        }
    }

    /// How many runs so far: the number of traces, where rows are grouped by trace.
    pub(crate) fn finish(self) -> Vec<TraceRun> {
        self.runs
    }
}

/// The content of an index file.
pub(crate) fn encode(mut runs: Vec<TraceRun>) -> Bytes {
    runs.sort_by_key(|run| (run.key, run.first_row));
    // A trace in several runs (a file not written by us) gets the range that spans them: readers filter by trace id anyway.
    runs.dedup_by(|later, kept| {
        let same = later.key == kept.key;
        if same {
            kept.rows = later.first_row + later.rows - kept.first_row;
        }
        same
    });
    let mut entries = Vec::with_capacity(runs.len() * ENTRY_BYTES);
    for run in &runs {
        entries.extend_from_slice(&run.key);
        entries.extend_from_slice(&run.first_row.to_le_bytes());
        entries.extend_from_slice(&run.rows.to_le_bytes());
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + entries.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&u32::try_from(runs.len()).expect("rows of a file fit into 32 bits").to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    out.extend_from_slice(&entries);
    out.into()
}

/// The entries of an index file, or `None` if it is damaged.
fn check(bytes: &Bytes) -> Option<Bytes> {
    let header = bytes.get(..HEADER_BYTES)?;
    let entries = bytes.slice(HEADER_BYTES..);
    let count = u32::from_le_bytes(header[8..12].try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(header[12..16].try_into().ok()?);
    let whole = header[..8] == MAGIC && entries.len() == count * ENTRY_BYTES && crc32fast::hash(&entries) == crc;
    whole.then_some(entries)
}

fn find(entries: &[u8], key: &[u8; 16]) -> Option<Range<u64>> {
    let entry = |idx: usize| &entries[idx * ENTRY_BYTES..(idx + 1) * ENTRY_BYTES];
    let (mut low, mut high) = (0, entries.len() / ENTRY_BYTES);
    while low < high {
        let middle = low.midpoint(high);
        match entry(middle)[..16].cmp(key) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Some(rows_of(entry(middle))),
        }
    }
    None
}

/// The rows that an entry of an index tells.
fn rows_of(entry: &[u8]) -> Range<u64> {
    let number = |at: usize| u64::from(u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes")));
    number(16)..number(16) + number(20)
}

async fn read_runs(store: Arc<dyn ObjectStore>, path: Path) -> Result<Vec<TraceRun>, Box<dyn std::error::Error + Send + Sync>> {
    let content = store.get(&path).await?.bytes().await?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(content)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["trace_id"]);
    let mut runs = RunCollector::default();
    for batch in builder.with_projection(mask).build()? {
        for trace_id in batch?.column(0).as_string::<i32>() {
            runs.push(trace_id);
        }
    }
    Ok(runs.finish())
}

/// What was read lately, the least recently used dropped first.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    bytes_max: usize,
    state: Mutex<CacheState<V>>,
}

#[derive(Debug)]
struct CacheState<V> {
    entries: HashMap<Path, Cached<V>>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Cached<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::new(CacheState { entries: HashMap::new(), bytes: 0, clock: 0 }) }
    }

    pub(crate) fn get(&self, path: &Path) -> Option<V> {
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        let cached = state.entries.get_mut(path)?;
        cached.used = now;
        Some(cached.value.clone())
    }

    pub(crate) fn put(&self, path: Path, value: V, bytes: usize) {
        let mut state = self.state.lock();
        state.clock += 1;
        let used = state.clock;
        state.bytes += bytes;
        if let Some(old) = state.entries.insert(path, Cached { value, bytes, used }) {
            state.bytes -= old.bytes;
        }
        while state.bytes > self.bytes_max && state.entries.len() > 1 {
            let Some(oldest) = state.entries.iter().min_by_key(|(_, cached)| cached.used).map(|(path, _)| path.clone()) else {
                return;
            };
            state.remove(&oldest);
        }
    }

    pub(crate) fn forget(&self, path: &Path) {
        self.state.lock().remove(path);
    }
}

impl<V> CacheState<V> {
    fn remove(&mut self, path: &Path) {
        if let Some(old) = self.entries.remove(path) {
            self.bytes -= old.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> String {
        format!("{n:032x}")
    }

    #[test]
    fn every_trace_is_found_at_its_rows() {
        let mut runs = RunCollector::default();
        for n in [7, 7, 3, 9, 9, 9] {
            runs.push(Some(&id(n)));
        }
        runs.push(None);
        runs.push(Some(&id(4)));
        let encoded = encode(runs.finish());
        let entries = check(&encoded).expect("whole");
        let rows = |n| find(&entries, &trace_key(&id(n)));
        assert_eq!(rows(7), Some(0..2));
        assert_eq!(rows(3), Some(2..3));
        assert_eq!(rows(9), Some(3..6));
        assert_eq!(rows(4), Some(7..8));
        assert_eq!(rows(5), None);
    }

    #[test]
    fn a_damaged_index_is_not_believed() {
        let mut runs = RunCollector::default();
        runs.push(Some(&id(1)));
        let mut encoded = encode(runs.finish()).to_vec();
        *encoded.last_mut().unwrap() ^= 1;
        assert!(check(&Bytes::from(encoded)).is_none());
        assert!(check(&Bytes::from_static(b"short")).is_none());
    }

    #[test]
    fn the_cache_forgets_what_was_not_used() {
        let cache = Cache::new(10);
        let path = |n: u32| Path::from(format!("{n}"));
        cache.put(path(1), "one", 5);
        cache.put(path(2), "two", 5);
        assert!(cache.get(&path(1)).is_some());
        cache.put(path(3), "three", 5);
        assert!(cache.get(&path(2)).is_none());
        assert!(cache.get(&path(1)).is_some() && cache.get(&path(3)).is_some());
    }
}
