//! Decoded columns of row groups of the lake, packed and kept for the next question. Bounded by bytes, and by what queries leave of the memory that
//! they share; what was not used for longest goes first, and what nobody asks for any more goes after a while. A scan never drives out what
//! it uses itself, so that one that is larger than the cache still finds a part of its columns the next time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arrow::{array::Array, buffer::ScalarBuffer};
use assay_schemas::{ids::ProjectId, tables::TableId};
use assay_storage::DataFile;
use object_store::path::Path;
use parking_lot::Mutex;

use super::{chunk::Chunk, dictionary::Dictionary, packed::Packed};
use crate::metrics::ColumnMetrics;

/// A column chunk of more than this part of the cache is not kept.
const CHUNK_PART: usize = 16;
/// A dictionary takes at most this part of the cache,
const DICTIONARY_PART: usize = 8;
/// and all of them together this one.
const DICTIONARIES_PART: usize = 2;
/// What was not used between two looks, so far apart, goes.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Columns by file, row group and place in the table.
#[derive(Debug)]
pub(crate) struct ColumnCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
    bytes: AtomicUsize,
    /// What queries leave of the memory that they share.
    room: AtomicUsize,
    scans: AtomicU64,
    metrics: ColumnMetrics,
}

/// A scan, for the order of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScanNumber(u64);

#[derive(Debug, Default)]
struct Inner {
    chunks: HashMap<Place, Cached>,
    /// The same by their last use: the scan, and a number that makes uses different.
    by_use: BTreeMap<(ScanNumber, u64), Place>,
    uses: u64,
    /// The scans before this one had begun when somebody last looked for what is not used.
    looked: ScanNumber,
    dictionaries: HashMap<(TableId, ProjectId, usize), Arc<Dictionary>>,
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    /// Files of the lake never change, and no other gets the path of one that is gone.
    file: Path,
    row_group: usize,
    column: usize,
}

#[derive(Debug)]
struct Cached {
    file: Weak<DataFile>,
    chunk: Arc<Packed>,
    bytes: usize,
    used: (ScanNumber, u64),
}

impl ColumnCache {
    /// A cache of at most `bytes_max` bytes; 0 keeps nothing.
    pub(crate) fn new(bytes_max: usize, metrics: ColumnMetrics) -> Self {
        let (bytes, room) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        Self { bytes_max, inner: Mutex::default(), bytes, room, scans: AtomicU64::new(0), metrics }
    }

    /// Looks from time to time for what is not used any more, until `cache` is gone.
    pub(crate) async fn tidy(cache: Weak<Self>) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let Some(cache) = cache.upgrade() else { return };
            cache.forget_unused();
        }
    }

    /// A new scan begins.
    pub(crate) fn begin_scan(&self) -> ScanNumber {
        ScanNumber(self.scans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Column `column` of a row group.
    pub(crate) fn get(&self, scan: ScanNumber, file: &DataFile, row_group: usize, column: usize) -> Option<Chunk> {
        let place = Place { file: file.path.clone(), row_group, column };
        let packed = self.inner.lock().used(scan, &place);
        let counter = if packed.is_some() { &self.metrics.hits } else { &self.metrics.misses };
        counter.inc();
        packed.map(|packed| packed.chunk())
    }

    /// Keeps a column of a row group, if there is room; whether there is.
    pub(crate) fn put(&self, scan: ScanNumber, file: &Arc<DataFile>, row_group: usize, column: usize, chunk: &Chunk) -> bool {
        let packed = Arc::new(Packed::new(chunk));
        let bytes = packed.bytes();
        if bytes > self.bytes_max / CHUNK_PART {
            return false;
        }
        let mut inner = self.inner.lock();
        let bytes_max = self.bytes_max.min(self.room.load(Ordering::Relaxed));
        inner.shrink_to(bytes_max.saturating_sub(bytes), Some(scan));
        let has_room = inner.all_bytes() + bytes <= bytes_max;
        if has_room {
            let place = Place { file: file.path.clone(), row_group, column };
            inner.add(scan, place, Cached { file: Arc::downgrade(file), chunk: packed, bytes, used: (scan, 0) });
        }
        self.note(&inner);
        has_room
    }

    /// The texts of `array`, of a column of a project, as numbers of the dictionary of the column, if they are worth it.
    pub(crate) fn encode(
        &self,
        (table, project, column): (TableId, &ProjectId, usize),
        array: &dyn Array,
    ) -> Option<(ScalarBuffer<u32>, Arc<Dictionary>)> {
        let dictionary = {
            let mut inner = self.inner.lock();
            if inner.dictionary_bytes() >= self.bytes_max / DICTIONARIES_PART {
                return None;
            }
            let new = || Arc::new(Dictionary::new(self.bytes_max / DICTIONARY_PART));
            Arc::clone(inner.dictionaries.entry((table, project.clone(), column)).or_insert_with(new))
        };
        dictionary.encode(array).map(|numbers| (numbers, dictionary))
    }

    /// Queries leave `room` bytes of the memory that they share: what is more is given back, as far as no query holds it.
    pub(crate) fn leave(&self, room: usize) {
        self.room.store(room, Ordering::Relaxed);
        if self.bytes.load(Ordering::Relaxed) > room {
            let mut inner = self.inner.lock();
            inner.shrink_to(room, None);
            self.note(&inner);
        }
    }

    /// Forgets what was not used since this was last called, and what belongs to files that are gone.
    fn forget_unused(&self) {
        let mut inner = self.inner.lock();
        let looked = inner.looked;
        while let Some(((scan, _), _)) = inner.by_use.first_key_value()
            && *scan <= looked
        {
            inner.forget_oldest();
        }
        let gone: Vec<_> = inner.chunks.values().filter(|c| c.file.strong_count() == 0).map(|c| c.used).collect();
        gone.into_iter().for_each(|used| inner.forget(used));
        inner.forget_dictionaries();
        inner.looked = ScanNumber(self.scans.load(Ordering::Relaxed));
        self.note(&inner);
    }

    fn note(&self, inner: &Inner) {
        let bytes = inner.all_bytes();
        self.bytes.store(bytes, Ordering::Relaxed);
        self.metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Inner {
    fn used(&mut self, scan: ScanNumber, place: &Place) -> Option<Arc<Packed>> {
        self.uses += 1;
        let cached = self.chunks.get_mut(place)?;
        if let Some(place) = self.by_use.remove(&cached.used) {
            // An older scan may still run.
            cached.used = (cached.used.0.max(scan), self.uses);
            self.by_use.insert(cached.used, place);
        }
        Some(Arc::clone(&cached.chunk))
    }

    fn add(&mut self, scan: ScanNumber, place: Place, mut cached: Cached) {
        if let Some(before) = self.chunks.get(&place).map(|before| before.used) {
            self.forget(before);
        }
        self.uses += 1;
        cached.used = (scan, self.uses);
        self.bytes += cached.bytes;
        self.by_use.insert(cached.used, place.clone());
        self.chunks.insert(place, cached);
    }

    /// Forgets the oldest chunks, of scans before `scan`, until there are at most `bytes_max` bytes.
    fn shrink_to(&mut self, bytes_max: usize, scan: Option<ScanNumber>) {
        if self.all_bytes() <= bytes_max {
            return;
        }
        while self.all_bytes() > bytes_max
            && let Some(((used, _), _)) = self.by_use.first_key_value()
            && scan.is_none_or(|scan| *used < scan)
        {
            self.forget_oldest();
        }
        self.forget_dictionaries();
    }

    fn forget_oldest(&mut self) {
        if let Some(used) = self.by_use.first_key_value().map(|(used, _)| *used) {
            self.forget(used);
        }
    }

    fn forget(&mut self, used: (ScanNumber, u64)) {
        let cached = self.by_use.remove(&used).and_then(|place| self.chunks.remove(&place));
        self.bytes -= cached.map_or(0, |cached| cached.bytes);
    }

    /// A dictionary that only this map knows numbers nothing any more; one that takes no texts says so at no cost.
    fn forget_dictionaries(&mut self) {
        self.dictionaries.retain(|_, dictionary| Arc::strong_count(dictionary) > 1 || dictionary.is_closed());
    }

    fn all_bytes(&self) -> usize {
        self.bytes + self.dictionary_bytes()
    }

    fn dictionary_bytes(&self) -> usize {
        self.dictionaries.values().map(|dictionary| dictionary.bytes()).sum()
    }
}

#[cfg(test)]
mod tests;
