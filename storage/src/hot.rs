//! The hot buffer: rows that are published and not yet in the lake, and the watermark up to which nothing is missing.
//!
//! ```text
//! publish ─> active ──begin_flush(cut)──> flushing ──finish──> lake files
//! ```
//! A reader sees active, flushing and files of one moment, so a row is in exactly one of them. Small batches are joined as they
//! come, so that thousands of one-row requests do not become thousands of batches for every query.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array, ArrayRef, AsArray as _, BooleanArray, RecordBatch},
    compute::{concat, filter_record_batch},
    datatypes::{Date32Type, Int64Type},
};
use assay_schemas::{
    ids::ProjectId,
    table::{NULLS_SHARED_MAX, nulls},
    tables::TableId,
};
use chrono::{DateTime, Utc};

use crate::outside;

/// Batches of at least so many rows or bytes are not joined any more: those of an SDK's usual size stay as they came.
const JOINED_ROWS: usize = 256;
const JOINED_BYTES: u64 = 512 << 10;
/// So many batches of like size are joined into one: each row is copied at most twice.
const JOIN_FAN_IN: usize = 16;

/// Rows of one project and day, published together or joined.
#[derive(Clone, Debug)]
pub(crate) struct HotChunk {
    pub(crate) batch: RecordBatch,
    /// Days since 1970.
    pub(crate) date: i32,
    pub(crate) first_position: u64,
    pub(crate) last_position: u64,
    pub(crate) bytes: u64,
}

/// Chunks of one table and project, shared with the views that saw them.
pub(crate) type Chunks = Arc<Vec<HotChunk>>;

/// What a flush takes of one table and project.
pub(crate) type Moved = ((TableId, ProjectId), Chunks);

#[derive(Clone, Debug, Default)]
pub(crate) struct HotRows {
    pub(crate) flushing: Chunks,
    pub(crate) active: Chunks,
}

/// Rows in memory, by table and project.
#[derive(Debug, Default)]
pub(crate) struct HotBuffer {
    rows: BTreeMap<(TableId, ProjectId), HotRows>,
    watermark: Watermark,
    /// Where the next flush must end, if it was begun before.
    flush_end: Option<u64>,
    bytes: u64,
    flushing_bytes: u64,
    /// `bytes` by project, without those that have none.
    project_bytes: HashMap<ProjectId, u64>,
    /// When the oldest row that is active, and that is flushing, was published.
    since: (Option<Instant>, Option<Instant>),
}

impl HotBuffer {
    /// A buffer in which everything up to `committed` has been published before.
    pub(crate) fn new(committed: u64) -> Self {
        Self { watermark: Watermark { contiguous: committed, beyond: BTreeMap::new() }, ..Self::default() }
    }

    /// The next flush will take everything up to `position`, and nothing beyond: an earlier process began it.
    pub(crate) fn next_flush_ends_at(&mut self, position: u64) {
        self.flush_end = Some(position);
    }

    /// Whether no flush can begin until more is published.
    pub(crate) fn flush_waits(&self) -> bool {
        self.flush_end.is_some_and(|end| self.watermark() < end)
    }

    /// Adds rows of `table` that belong to `position`.
    pub(crate) fn add(&mut self, position: u64, table: TableId, batch: &RecordBatch) {
        self.since.0.get_or_insert_with(outside::monotonic);
        for (project, date, batch) in split_by_partition(batch) {
            let bytes = memory_of(&batch);
            let own = self.project_bytes.entry(project.clone()).or_default();
            let rows = self.rows.entry((table, project)).or_default();
            let active = Arc::make_mut(&mut rows.active);
            active.push(HotChunk { batch, date, first_position: position, last_position: position, bytes });
            let (before, after) = join_small(active, self.watermark.contiguous);
            self.bytes = self.bytes + bytes + after - before;
            *own = *own + bytes + after - before;
        }
    }

    /// Everything that belongs to `position` was added.
    pub(crate) fn complete(&mut self, position: u64) {
        self.watermark.complete(position);
    }

    /// Up to here everything was published.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark.contiguous
    }

    /// What was published before this moment is up to the watermark.
    pub(crate) fn published_until(&self) -> DateTime<Utc> {
        let now = outside::wall_clock();
        self.watermark.beyond.values().fold(now, |until, at| until.min(*at))
    }

    /// Published positions that wait for an earlier one.
    pub(crate) fn beyond_watermark(&self) -> usize {
        self.watermark.beyond.len()
    }

    /// Moves everything up to the watermark to `flushing`, or less if that is more than about `bytes_max` or if the flush must end before, and says
    /// what the cut is and what was moved; `None` while [`HotBuffer::flush_waits`].
    pub(crate) fn begin_flush(&mut self, bytes_max: u64) -> Option<(u64, Vec<Moved>)> {
        if self.flush_waits() {
            return None;
        }
        let cut = self.flush_end.unwrap_or_else(|| self.cut(bytes_max));
        let mut moved = Vec::new();
        for (key, rows) in &mut self.rows {
            debug_assert!(rows.flushing.is_empty(), "one flush at a time");
            let (mut old, mut young) = (Vec::new(), Vec::new());
            for chunk in rows.active.iter().cloned() {
                if chunk.last_position <= cut {
                    old.push(chunk);
                } else if chunk.first_position > cut {
                    young.push(chunk);
                } else {
                    let parts = parted(&chunk, cut);
                    let bytes = parts.0.bytes + parts.1.bytes;
                    self.bytes = self.bytes + bytes - chunk.bytes;
                    *self.project_bytes.entry(key.1.clone()).or_default() += bytes;
                    *self.project_bytes.entry(key.1.clone()).or_default() -= chunk.bytes;
                    old.push(parts.0);
                    young.push(parts.1);
                }
            }
            if old.is_empty() {
                continue;
            }
            rows.active = Arc::new(young);
            rows.flushing = Arc::new(old);
            self.flushing_bytes += rows.flushing.iter().map(|c| c.bytes).sum::<u64>();
            moved.push((key.clone(), Arc::clone(&rows.flushing)));
        }
        let still_active = self.rows.values().any(|rows| !rows.active.is_empty());
        self.since = (self.since.0.filter(|_| still_active), self.since.0);
        Some((cut, moved))
    }

    /// The watermark, or the position up to which there are about `bytes_max`, at least one request.
    fn cut(&self, bytes_max: u64) -> u64 {
        if self.active_bytes() <= bytes_max {
            return self.watermark();
        }
        let complete = self.rows.values().flat_map(|rows| rows.active.iter()).filter(|c| c.last_position <= self.watermark());
        let mut ends: Vec<(u64, u64)> = complete.map(|chunk| (chunk.last_position, chunk.bytes)).collect();
        ends.sort_unstable();
        let mut bytes = 0;
        let beyond = ends.iter().position(|(_, own)| {
            bytes += own;
            bytes > bytes_max
        });
        // The request with which it is too much waits, unless it is the first.
        let Some(beyond) = beyond.map(|nth| ends[nth].0) else { return self.watermark() };
        ends.iter().map(|(end, _)| *end).take_while(|end| *end < beyond).last().unwrap_or(beyond)
    }

    /// Forgets what was flushing: it is in the lake.
    pub(crate) fn finish_flush(&mut self) {
        self.since.1 = None;
        self.flush_end = None;
        self.bytes -= std::mem::take(&mut self.flushing_bytes);
        for ((_, project), rows) in &self.rows {
            if let Some(own) = self.project_bytes.get_mut(project) {
                *own -= rows.flushing.iter().map(|chunk| chunk.bytes).sum::<u64>();
            }
        }
        self.project_bytes.retain(|_, own| *own > 0);
        self.rows.retain(|_, rows| {
            rows.flushing = Chunks::default();
            !rows.active.is_empty()
        });
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of one project in memory.
    pub(crate) fn bytes_of(&self, project: &ProjectId) -> u64 {
        self.project_bytes.get(project).copied().unwrap_or(0)
    }

    /// Bytes that no flush has taken yet.
    pub(crate) fn active_bytes(&self) -> u64 {
        self.bytes - self.flushing_bytes
    }

    /// Rows in memory.
    pub(crate) fn row_count(&self) -> u64 {
        let rows = |chunks: &Chunks| chunks.iter().map(|c| c.batch.num_rows() as u64).sum::<u64>();
        self.rows.values().map(|r| rows(&r.flushing) + rows(&r.active)).sum()
    }

    /// How long the oldest row has been in memory.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.since.1.or(self.since.0).map(|since| outside::monotonic() - since)
    }

    /// What a view keeps of this moment.
    pub(crate) fn snapshot(&self) -> BTreeMap<(TableId, ProjectId), HotRows> {
        self.rows.clone()
    }
}

/// The largest position up to which everything was published, and what was published beyond it, and when.
#[derive(Debug, Default)]
struct Watermark {
    contiguous: u64,
    beyond: BTreeMap<u64, DateTime<Utc>>,
}

impl Watermark {
    fn complete(&mut self, position: u64) {
        if position <= self.contiguous {
            return;
        }
        if position > self.contiguous + 1 {
            self.beyond.insert(position, outside::wall_clock());
            return;
        }
        self.contiguous = position;
        while self.beyond.first_key_value().is_some_and(|(first, _)| *first == self.contiguous + 1) {
            self.beyond.pop_first();
            self.contiguous += 1;
        }
    }
}

/// Joins the newest small chunks of one size class; returns the bytes of what was joined before and after. Only chunks up to the watermark are
/// joined, so that a flush up to it never has to part one.
fn join_small(active: &mut Vec<HotChunk>, watermark: u64) -> (u64, u64) {
    let (mut before, mut after) = (0, 0);
    loop {
        let end = active.iter().rposition(|c| c.last_position <= watermark).map_or(0, |idx| idx + 1);
        let Some(newest) = end.checked_sub(1).map(|idx| &active[idx]) else { return (before, after) };
        let (date, class) = (newest.date, size_class(newest));
        let Some(class) = class else { return (before, after) };
        let same = |c: &&HotChunk| c.last_position <= watermark && c.date == date && size_class(c) == Some(class);
        let run = active[..end].iter().rev().take(JOIN_FAN_IN).take_while(same).count();
        if run < JOIN_FAN_IN {
            return (before, after);
        }
        let joined = join(&active[end - run..end]);
        before += active[end - run..end].iter().map(|c| c.bytes).sum::<u64>();
        after += joined.bytes;
        active.splice(end - run..end, [joined]);
    }
}

/// 0 for up to 15 rows, 1 for up to 255; `None` if large enough.
fn size_class(chunk: &HotChunk) -> Option<u32> {
    let rows = chunk.batch.num_rows();
    (rows < JOINED_ROWS && chunk.bytes < JOINED_BYTES).then(|| rows.max(1).ilog(JOIN_FAN_IN))
}

fn join(chunks: &[HotChunk]) -> HotChunk {
    let rows = chunks.iter().map(|c| c.batch.num_rows()).sum();
    let columns = (0..chunks[0].batch.num_columns()).map(|idx| {
        let parts: Vec<&dyn Array> = chunks.iter().map(|c| c.batch.column(idx).as_ref()).collect();
        match parts.iter().all(|part| is_null(*part)) {
            true => nulls(parts[0].data_type(), rows),
            false => concat(&parts).expect("chunks of one table have one schema"),
        }
    });
    let batch = RecordBatch::try_new(chunks[0].batch.schema(), columns.collect()).expect("chunks of one table have one schema");
    let bytes = memory_of(&batch);
    let first_position = chunks.iter().map(|c| c.first_position).min().expect("at least one chunk is joined");
    let last_position = chunks.iter().map(|c| c.last_position).max().expect("at least one chunk is joined");
    HotChunk { batch, date: chunks[0].date, first_position, last_position, bytes }
}

/// The rows of `chunk` up to the position `cut`, and those beyond.
fn parted(chunk: &HotChunk, cut: u64) -> (HotChunk, HotChunk) {
    let positions = chunk.batch.column_by_name("wal_position").expect("every table has wal_position").as_primitive::<Int64Type>();
    let of = |rows: BooleanArray| {
        let batch = filter_record_batch(&chunk.batch, &rows).expect("the mask has the length of the batch");
        let bytes = memory_of(&batch);
        HotChunk { batch, bytes, ..chunk.clone() }
    };
    let is_old = |position: i64| position.cast_unsigned() <= cut;
    let old = of(positions.values().iter().map(|p| Some(is_old(*p))).collect());
    let young = of(positions.values().iter().map(|p| Some(!is_old(*p))).collect());
    (HotChunk { last_position: cut, ..old }, HotChunk { first_position: cut + 1, ..young })
}

/// Bytes that `batch` keeps in memory. NULL columns share theirs, see [`nulls`].
#[must_use]
pub fn memory_of(batch: &RecordBatch) -> u64 {
    /// About what an array is without its values.
    const ARRAY_BYTES: usize = 128;
    let is_shared = |column: &ArrayRef| column.len() <= NULLS_SHARED_MAX && is_null(column);
    let bytes = |column: &ArrayRef| if is_shared(column) { ARRAY_BYTES } else { column.get_array_memory_size() };
    batch.columns().iter().map(bytes).sum::<usize>() as u64
}

/// Whether there is no value in `column`.
fn is_null(column: &dyn Array) -> bool {
    column.null_count() == column.len()
}

/// `batch` by project and day: nearly always one part.
pub(crate) fn split_by_partition(batch: &RecordBatch) -> Vec<(ProjectId, i32, RecordBatch)> {
    if batch.num_rows() == 0 {
        return Vec::new();
    }
    let projects = batch.column_by_name("project_id").expect("every table has project_id").as_string::<i32>();
    let dates = batch.column_by_name("date").expect("every table has date").as_primitive::<Date32Type>();
    let key = |row: usize| (projects.value(row), dates.value(row));
    let mut keys = vec![key(0)];
    for row in 1..batch.num_rows() {
        if key(row) != key(row - 1) && !keys.contains(&key(row)) {
            keys.push(key(row));
        }
    }
    let project = |name: &str| ProjectId::new(name).expect("rows are built with a valid project");
    if let [(name, date)] = keys[..] {
        return vec![(project(name), date, batch.clone())];
    }
    keys.into_iter()
        .map(|wanted| {
            let mask: BooleanArray = (0..batch.num_rows()).map(|row| Some(key(row) == wanted)).collect();
            let part = filter_record_batch(batch, &mask).expect("the mask has the length of the batch");
            (project(wanted.0), wanted.1, part)
        })
        .collect()
}

#[cfg(test)]
mod tests;
