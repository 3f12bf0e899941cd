//! The rows of one partition of a scan, slice by slice: hot rows, then row groups, the newest first. The columns of the filters are
//! looked at first; the others only where a row is left.

use std::{collections::VecDeque, sync::Arc};

use arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch};
use assay_storage::DataFile;
use datafusion::{
    common::Result,
    execution::memory_pool::MemoryReservation,
    physical_expr::{PhysicalExpr, conjunction, split_conjunction},
    physical_expr_common::physical_expr::snapshot_generation,
};

use crate::pruning;

use super::{
    LakeScan,
    chunk::Chunk,
    evaluate::{Evaluator, kept},
    metrics::RowGroupCounts,
    row_groups::{OpenFile, RowGroups, row_groups_to_read},
};

/// Of a row group of which no more than one row in so many is left, the other columns are not decoded whole.
const FEW: usize = 2000;

/// Rows that passed the filters: a chunk for each column of the scan.
pub(crate) struct Rows {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) rows: usize,
}

pub(crate) struct Scanner {
    scan: Arc<LakeScan>,
    row_groups: RowGroups,
    counts: RowGroupCounts,
    /// What is decoded and not in the cache. It is counted, never refused: it is at most the row group that is being read, which is
    /// bounded where files are written, and operators that can spill make room for it.
    memory: MemoryReservation,
    filters: Vec<Evaluator>,
    /// Those of them that change while the query runs.
    moving: Vec<Evaluator>,
    /// Columns of the scan that the filters look at.
    filter_columns: Arc<[usize]>,
    hot: VecDeque<RecordBatch>,
    files: VecDeque<(usize, Arc<DataFile>)>,
    open: Option<(OpenFile, Vec<usize>)>,
    current: Option<Unit>,
    /// What the moving filters were when the row groups of the open file were chosen, and the rows of the current unit.
    opened_at: u64,
    kept_at: u64,
    slice_rows: usize,
}

/// A row group, or a batch of hot rows, of which slices are taken from the end.
struct Unit {
    chunks: Vec<Option<Chunk>>,
    /// The rows that passed the filters; `None`: all.
    keep: Option<BooleanArray>,
    rows_left: usize,
}

impl Scanner {
    /// The part of `scan` that `row_groups` reads, in slices of at most `slice_rows` rows.
    pub(super) fn try_new(
        scan: Arc<LakeScan>,
        row_groups: RowGroups,
        counts: RowGroupCounts,
        memory: MemoryReservation,
        slice_rows: usize,
    ) -> Result<Self> {
        let evaluators = |filters: &[Arc<dyn PhysicalExpr>]| -> Result<Vec<Evaluator>> {
            filters.iter().flat_map(split_conjunction).map(|filter| Evaluator::try_new(filter, &scan.schema)).collect()
        };
        let filters = evaluators(&scan.filters)?;
        let moving = evaluators(scan.moving.as_slice())?;
        let mut filter_columns: Vec<usize> = filters.iter().flat_map(|f| f.columns().iter().copied()).collect();
        filter_columns.sort_unstable();
        filter_columns.dedup();
        let hot = scan.hot.iter().skip(row_groups.partition).step_by(scan.partitions).rev().cloned().collect();
        Ok(Self {
            counts,
            memory,
            filters,
            moving,
            filter_columns: filter_columns.into(),
            hot,
            files: scan.files.iter().cloned().enumerate().collect(),
            open: None,
            current: None,
            opened_at: 0,
            kept_at: 0,
            slice_rows,
            row_groups,
            scan,
        })
    }

    /// The next rows; `None` after the last ones.
    pub(crate) async fn next(&mut self) -> Result<Option<Rows>> {
        loop {
            while self.current.as_ref().is_some_and(|unit| unit.rows_left > 0) {
                if let Some(rows) = self.slice()? {
                    return Ok(Some(rows));
                }
            }
            self.current = None;
            self.memory.free();
            // A row group is a few milliseconds of work: others, and a cancellation, get their turn between two.
            tokio::task::yield_now().await;
            if !self.next_unit().await? {
                return Ok(None);
            }
        }
    }

    /// The rows of the next slice of the current unit that pass the filters.
    fn slice(&mut self) -> Result<Option<Rows>> {
        let Some(unit) = &mut self.current else { return Ok(None) };
        let rows = unit.rows_left.min(self.slice_rows);
        unit.rows_left -= rows;
        let offset = unit.rows_left;
        let mut keep = unit.keep.as_ref().map(|keep| keep.slice(offset, rows));
        if self.scan.moving_generation() != self.kept_at {
            let chunks: Vec<_> = unit.chunks.iter().map(|c| c.as_ref().map(|c| c.slice(offset, rows))).collect();
            keep = kept(&mut self.moving, &chunks, rows, keep)?;
        }
        let n_kept = keep.as_ref().map_or(rows, BooleanArray::true_count);
        if n_kept == 0 {
            return Ok(None);
        }
        let columns = unit.chunks.iter().flatten();
        let chunks = columns.map(|chunk| match &keep {
            Some(keep) if n_kept < rows => chunk.slice(offset, rows).filter(keep),
            _ => chunk.copy(offset, rows),
        });
        Ok(Some(Rows { chunks: chunks.collect::<Result<_>>()?, rows: n_kept }))
    }

    /// Opens the next batch of hot rows or the next row group that holds a row; whether there is one.
    async fn next_unit(&mut self) -> Result<bool> {
        while let Some(batch) = self.hot.pop_front() {
            let columns = self.scan.projection.iter().map(|column| Some(Chunk::Plain(Arc::clone(batch.column(*column)))));
            let chunks: Vec<_> = columns.collect();
            let keep = self.kept(&chunks, batch.num_rows())?;
            if keep.as_ref().is_none_or(|keep| keep.true_count() > 0) {
                self.current = Some(Unit { chunks, keep, rows_left: batch.num_rows() });
                return Ok(true);
            }
        }
        loop {
            let Some((open, row_groups)) = &mut self.open else {
                let Some((nth, file)) = self.files.pop_front() else { return Ok(false) };
                self.open = self.opened(nth, file).await?;
                continue;
            };
            let Some(row_group) = row_groups.pop() else {
                self.open = None;
                continue;
            };
            if let Some(moving) = &self.scan.moving
                && snapshot_generation(moving) != self.opened_at
                && !row_groups_to_read(open, &[row_group], moving, &self.scan.schema)[0]
            {
                self.counts.pruned.add(1);
                continue;
            }
            self.counts.read.add(1);
            if self.load(row_group).await? {
                return Ok(true);
            }
            self.memory.free();
            tokio::task::yield_now().await;
        }
    }

    /// Opens a file and says which of its row groups are for this partition and can hold a row, the last to be read first.
    async fn opened(&mut self, nth: usize, file: Arc<DataFile>) -> Result<Option<(OpenFile, Vec<usize>)>> {
        self.opened_at = self.scan.moving_generation();
        if let Some(moving) = &self.scan.moving
            && pruning::prune(&self.scan.schema, moving, vec![Arc::clone(&file)])?.is_empty()
        {
            return Ok(None);
        }
        let open = self.row_groups.open(&file).await?;
        let mine = |row_group: &usize| (nth + row_group) % self.scan.partitions == self.row_groups.partition;
        let mut row_groups: Vec<usize> = (0..open.footer.num_row_groups()).filter(mine).collect();
        self.counts.considered.add(row_groups.len());
        if !self.scan.filters.is_empty() && !row_groups.is_empty() {
            let predicate = conjunction(self.scan.filters.iter().cloned());
            let mut read = row_groups_to_read(&open, &row_groups, &predicate, &self.scan.schema).into_iter();
            let before = row_groups.len();
            row_groups.retain(|_| read.next().unwrap_or(true));
            self.counts.pruned.add(before - row_groups.len());
        }
        Ok((!row_groups.is_empty()).then_some((open, row_groups)))
    }

    /// Makes a row group the current unit, unless none of its rows passes the filters.
    async fn load(&mut self, row_group: usize) -> Result<bool> {
        let Some((open, _)) = &mut self.open else { return Ok(false) };
        let rows = open.rows(row_group)?;
        let mut chunks = vec![None; self.scan.projection.len()];
        if let (true, Some(limit)) = (self.filters.is_empty(), self.scan.limit.filter(|limit| *limit < rows / 4)) {
            // No more rows are wanted than these: the others are not decoded.
            let first_rows: BooleanArray = (0..rows).map(|row| Some(row < limit)).collect();
            self.fill_rows(&mut chunks, row_group, &first_rows).await?;
            self.current = Some(Unit { chunks, keep: None, rows_left: limit });
            return Ok(true);
        }
        let filter_columns = Arc::clone(&self.filter_columns);
        self.fill(&mut chunks, row_group, &filter_columns).await?;
        let keep = self.kept(&chunks, rows)?;
        let n_kept = keep.as_ref().map_or(rows, BooleanArray::true_count);
        self.current = match keep {
            Some(_) if n_kept == 0 => return Ok(false),
            Some(keep) if n_kept <= rows / FEW => {
                for chunk in chunks.iter_mut().flatten() {
                    *chunk = chunk.filter(&keep)?;
                }
                self.fill_rows(&mut chunks, row_group, &keep).await?;
                Some(Unit { chunks, keep: None, rows_left: n_kept })
            }
            keep => {
                let columns: Vec<usize> = (0..chunks.len()).collect();
                self.fill(&mut chunks, row_group, &columns).await?;
                Some(Unit { chunks, keep, rows_left: rows })
            }
        };
        Ok(true)
    }

    /// The rows that pass the filters as they are now; `None`: all. Slice by slice, because what is looked at then stays near.
    fn kept(&mut self, chunks: &[Option<Chunk>], rows: usize) -> Result<Option<BooleanArray>> {
        if self.filters.is_empty() {
            return Ok(None);
        }
        self.kept_at = self.scan.moving_generation();
        let mut all = BooleanBufferBuilder::new(rows);
        for offset in (0..rows).step_by(self.slice_rows) {
            let rows = self.slice_rows.min(rows - offset);
            let slices: Vec<_> = chunks.iter().map(|c| c.as_ref().map(|c| c.slice(offset, rows))).collect();
            match kept(&mut self.filters, &slices, rows, None)? {
                Some(keep) => all.append_buffer(keep.values()),
                None => all.append_n(rows, true),
            }
        }
        Ok(Some(BooleanArray::new(all.finish(), None)))
    }

    /// Puts the columns `columns` of a row group where `chunks` has none.
    async fn fill(&mut self, chunks: &mut [Option<Chunk>], row_group: usize, columns: &[usize]) -> Result<()> {
        let Some((open, _)) = &mut self.open else { return Ok(()) };
        let missing: Vec<usize> = columns.iter().filter(|c| chunks[**c].is_none()).map(|c| self.scan.projection[*c]).collect();
        let (loaded, bytes) = self.row_groups.columns(open, row_group, &missing).await?;
        self.memory.grow(bytes);
        place(chunks, &self.scan.projection, &loaded);
        Ok(())
    }

    /// The same of the rows `keep` alone, and of all columns.
    async fn fill_rows(&mut self, chunks: &mut [Option<Chunk>], row_group: usize, keep: &BooleanArray) -> Result<()> {
        let Some((open, _)) = &mut self.open else { return Ok(()) };
        let empty = chunks.iter().zip(&self.scan.projection).filter(|(chunk, _)| chunk.is_none());
        let missing: Vec<usize> = empty.map(|(_, column)| *column).collect();
        let loaded = self.row_groups.columns_of_rows(open, row_group, &missing, keep).await?;
        self.memory.grow(loaded.values().map(Chunk::bytes).sum());
        place(chunks, &self.scan.projection, &loaded);
        Ok(())
    }
}

/// Puts columns of the table, by their place in it, where `chunks` has none.
fn place(chunks: &mut [Option<Chunk>], projection: &[usize], loaded: &std::collections::HashMap<usize, Chunk>) {
    for (chunk, column) in chunks.iter_mut().zip(projection) {
        if chunk.is_none() {
            *chunk = loaded.get(column).cloned();
        }
    }
}
