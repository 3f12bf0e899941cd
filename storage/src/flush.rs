//! Moving what is hot into the lake: one file per table, project and day, one Delta commit per table, one switch of the view.
//!
//! A flush that fails half-way is kept and continued: a table that has committed is not written again, and the rows of the others are
//! the same. So every table's application transaction means exactly "all my rows up to here".

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use arrow::array::{Array as _, AsArray as _, BooleanArray};
use arrow::compute::filter_record_batch;
use assay_schemas::{ids::ProjectId, tables::TableId};
use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use crate::{
    WalPosition,
    blobs::BlobError,
    bucket::BucketError,
    clickhouse::{ClickHouse, ClickHouseError},
    corrections::{Correction, CorrectionsByProject, RowKey},
    hot::{HotChunk, Moved},
    jobs::{Done, RunClock},
    lake::{DataFile, Effort, FileRows, LakeError, without_partition_columns},
    outside,
    storage::{FILE_RAW_BYTES_MAX, Inner},
    tasks::blocking,
};

/// A flush to ClickHouse takes about so many bytes of memory: it is copied into insertions, each of which is one block there.
const INSERTION_BYTES_MAX: u64 = 64 << 20;

/// A flush failed; nothing is lost, and the next one continues it.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The bucket is not ours to write to, or does not say.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A blob that rows refer to could not be uploaded.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The lake did not take the rows.
    #[error("could not flush to the table `{table}`")]
    Lake {
        /// The table.
        table: &'static str,
        /// Why.
        source: LakeError,
    },
    /// ClickHouse did not say whether it has taken the rows, or refused them.
    #[error("could not flush to ClickHouse")]
    ClickHouse(#[from] ClickHouseError),
    /// The write-ahead log could not be told.
    #[error("could not release the write-ahead log")]
    Release {
        /// Why.
        source: std::io::Error,
    },
}

/// One flush at a time.
#[derive(Default)]
pub(crate) struct Flusher {
    pending: tokio::sync::Mutex<Option<Pending>>,
    pub(crate) last: Mutex<LastFlush>,
}

impl Flusher {
    /// Keeps flushes from running while the guard lives.
    pub(crate) async fn exclusive(&self) -> NoFlush<'_> {
        NoFlush(self.pending.lock().await)
    }
}

/// While it lives, no flush runs.
pub(crate) struct NoFlush<'a>(tokio::sync::MutexGuard<'a, Option<Pending>>);

impl NoFlush<'_> {
    /// Files of `table` whose rows are still hot: of a flush that failed half-way. The log may have them already.
    pub(crate) fn files_of_hot_rows(&self, table: TableId) -> impl Iterator<Item = &Arc<DataFile>> {
        let tables = self.0.iter().flat_map(|pending| &pending.tables);
        tables.filter(move |flush| flush.table == table).flat_map(|flush| flush.files.iter().flatten())
    }
}

/// How the last flush went.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastFlush {
    pub(crate) unix_ms: Option<i64>,
    pub(crate) took_ms: Option<u64>,
    pub(crate) error: Option<String>,
    pub(crate) flushes: u64,
    pub(crate) rows: u64,
    pub(crate) file_bytes: u64,
}

/// A flush that has begun.
struct Pending {
    cut: u64,
    /// Once it is done, whatever was acknowledged before is in the tables; `None` while a replay goes on.
    complete_until: Option<DateTime<Utc>>,
    tables: Vec<TableFlush>,
    /// Corrections that stay pending, by project.
    kept: BTreeMap<ProjectId, Vec<Arc<Correction>>>,
}

struct TableFlush {
    table: TableId,
    parts: Vec<FileRows>,
    /// Written and perhaps committed; none of them where ClickHouse has the rows.
    files: Option<Vec<Arc<DataFile>>>,
    /// When writing `files` began.
    written_at: Option<Instant>,
}

impl Inner {
    /// Commits everything up to the watermark, in several flushes if it is too much for one.
    pub(crate) async fn flush(&self) -> Result<(), FlushError> {
        let mut slot = self.flusher.pending.lock().await;
        let started = outside::monotonic();
        let result = self.flush_to_watermark(&mut slot).await;
        let mut last = self.flusher.last.lock();
        last.error = result.as_ref().err().map(chain);
        if result.is_ok() {
            last.unix_ms = Some(outside::wall_clock().timestamp_millis());
            last.took_ms = Some(u64::try_from((outside::monotonic() - started).as_millis()).unwrap_or(u64::MAX));
            last.flushes += 1;
        }
        result
    }

    async fn flush_to_watermark(&self, slot: &mut Option<Pending>) -> Result<(), FlushError> {
        // What failed before comes first; then what was published since.
        self.finish(slot).await?;
        let watermark = self.state.lock().hot.watermark();
        loop {
            *slot = self.begin().await;
            let Some(cut) = slot.as_ref().map(|pending| pending.cut) else { return Ok(()) };
            self.finish(slot).await?;
            if cut >= watermark {
                return Ok(());
            }
        }
    }

    /// `None` while a flush that must be finished lacks rows.
    async fn begin(&self) -> Option<Pending> {
        let orphans = std::mem::take(&mut *self.orphans.lock());
        // Files are cut when they are written; an insertion is one block.
        let bytes_max = if self.clickhouse.is_some() { INSERTION_BYTES_MAX } else { u64::MAX };
        let (cut, moved, corrections, complete_until) = self.change(|state| {
            orphans.iter().for_each(|position| state.hot.complete(position.get()));
            // What was acknowledged before is published, and nothing is while this lock is held.
            let complete_until = (state.hot.watermark() >= self.replayed_to).then(|| state.hot.published_until());
            let (cut, moved) = state.hot.begin_flush(bytes_max)?;
            // An insertion may end before.
            let complete_until = complete_until.filter(|_| cut >= state.hot.watermark());
            Some((cut, moved, state.corrections.by_project(), complete_until))
        })?;
        let persisted: HashSet<RowKey> = {
            let state = self.state.lock();
            let projects = moved.iter().map(|((_, project), _)| project);
            projects.flat_map(|project| state.corrections.persisted(project)).map(|c| RowKey::of(c)).collect()
        };
        // Positions of several nodes cannot be compared: files of a lake that is shared do not say which corrections are folded in.
        let corrected_to = if self.config.role.is_shared() { 0 } else { cut };
        let prepare = move || prepare(cut, corrected_to, moved, &corrections, &persisted);
        Some(Pending { complete_until, ..blocking(prepare).await })
    }

    async fn finish(&self, slot: &mut Option<Pending>) -> Result<(), FlushError> {
        let Some(pending) = slot.as_mut() else { return Ok(()) };
        let cut = pending.cut;
        if let Some(bucket) = self.bucket.as_ref().filter(|_| !pending.tables.is_empty()) {
            bucket.check_owner().await?;
        }
        // Before the rows: who reads a row finds what it refers to.
        self.blobs.upload().await?;
        if let Some(clickhouse) = self.clickhouse.as_ref().filter(|_| !pending.tables.is_empty()) {
            self.insert(clickhouse, pending).await?;
        }
        for part in pending.tables.iter_mut().filter(|_| self.clickhouse.is_none()) {
            // An earlier try may have come so far.
            if part.files.is_some() && self.lake.committed(part.table) >= cut {
                continue;
            }
            let clock = RunClock::start();
            let committed = self.commit_table(part, cut).await;
            let error = committed.as_ref().err().map(chain);
            let done = if error.is_none() { Done::of(part.files.iter().flatten()) } else { Done::default() };
            self.history.add(clock.end("flush", Some(part.table), done, error));
            committed.map_err(|source| FlushError::Lake { table: part.table.name(), source })?;
        }
        let pending = slot.take().expect("checked above");
        let stored = self.view().stored.as_ref().map(|stored| {
            let parts = pending.tables.iter().flat_map(|part| part.parts.iter().map(|rows| (part.table, rows)));
            Arc::new(stored.flushed(cut, parts))
        });
        self.change(|state| {
            state.stored = stored;
            let lake = Arc::make_mut(&mut state.lake);
            for part in &pending.tables {
                lake.add(part.table, part.files.iter().flatten().cloned());
            }
            state.hot.finish_flush();
            self.drained.notify_all();
            state.corrections.flushed(cut, &pending.kept);
        });
        self.gate.made_room();
        {
            let mut last = self.flusher.last.lock();
            let files = || pending.tables.iter().flat_map(|part| part.files.iter().flatten());
            last.rows += match self.clickhouse {
                Some(_) => pending.tables.iter().map(TableFlush::rows).sum::<u64>(),
                None => files().map(|f| f.rows).sum::<u64>(),
            };
            last.file_bytes += files().map(|f| f.size).sum::<u64>();
        }
        let Some(wal) = self.wal.clone() else { return Ok(()) };
        let clock = RunClock::start();
        let released = blocking(move || wal.release(WalPosition(cut))).await.map_err(|source| FlushError::Release { source });
        if let Err(error) = &released {
            self.history.add(clock.end("flush", None, Done::default(), Some(chain(error))));
        }
        released?;
        let Some(complete_until) = pending.complete_until.filter(|_| self.config.role.is_shared()) else { return Ok(()) };
        match (&self.bucket, &self.clickhouse) {
            (Some(bucket), _) => Ok(bucket.report(complete_until, false).await?),
            (None, Some(clickhouse)) => Ok(clickhouse.report(complete_until, false).await?),
            (None, None) => Ok(()),
        }
    }

    /// Sends all rows of `pending` to ClickHouse, except those of tables that it has acknowledged. What it may have taken before is sent
    /// again: it knows it by its token.
    async fn insert(&self, clickhouse: &ClickHouse, pending: &mut Pending) -> Result<(), FlushError> {
        clickhouse.begin(pending.cut).await?;
        for part in pending.tables.iter_mut().filter(|part| part.files.is_none()) {
            let clock = RunClock::start();
            let inserted = clickhouse.insert(part.table, &part.parts, pending.cut).await;
            let error = inserted.as_ref().err().map(chain);
            let done = if error.is_none() { Done { rows: part.rows(), ..Done::default() } } else { Done::default() };
            self.history.add(clock.end("flush", Some(part.table), done, error));
            inserted?;
            part.files = Some(Vec::new());
        }
        Ok(clickhouse.finish(pending.cut).await?)
    }

    /// Writes the files of one table, unless they are, and commits them, unless they are.
    async fn commit_table(&self, part: &mut TableFlush, cut: u64) -> Result<(), LakeError> {
        if part.written_at.is_some_and(|at| outside::monotonic() - at >= self.config.vacuum_grace) && self.config.role.is_shared()
        {
            // Another node may soon take these files for left over.
            self.lake.read_on(part.table).await?;
            if self.lake.committed(part.table) < cut {
                (part.files, part.written_at) = (None, None);
            }
        }
        if part.files.is_none() {
            let written_at = outside::monotonic();
            part.files = Some(self.lake.write_files(part.table, &part.parts, cut, Effort::Quick).await?);
            part.written_at = Some(written_at);
        }
        let files = part.files.as_deref().unwrap_or_default();
        if self.lake.committed(part.table) >= cut {
            return Ok(());
        }
        self.lake.commit_rows(part.table, files, cut).await
    }
}

impl TableFlush {
    fn rows(&self) -> u64 {
        self.parts.iter().flat_map(|part| &part.batches).map(|batch| batch.num_rows() as u64).sum()
    }
}

/// Groups what was moved into files, and folds corrections into their rows. CPU-bound.
fn prepare(
    cut: u64,
    corrected_to: u64,
    mut moved: Vec<Moved>,
    corrections: &CorrectionsByProject,
    persisted: &HashSet<RowKey>,
) -> Pending {
    let mut tables: BTreeMap<TableId, Vec<FileRows>> = BTreeMap::new();
    let mut matched = HashMap::<ProjectId, HashSet<RowKey>>::new();
    let mut kept = BTreeMap::new();
    // Corrections last: by then it is known which of them found their span.
    moved.sort_by_key(|((table, _), _)| *table);
    for ((table, project), chunks) in moved {
        let chunks: Vec<HotChunk> = match table {
            TableId::SpanCorrections => {
                let found = matched.get(&project);
                let done = |key: &RowKey| found.is_some_and(|found| found.contains(key)) && !persisted.contains(key);
                let rest: Vec<_> = chunks.iter().filter_map(|chunk| without_done(chunk, &done)).collect();
                let list: Vec<_> = rest.iter().flat_map(|chunk| Correction::read(&chunk.batch, chunk.date)).collect();
                if !list.is_empty() {
                    kept.insert(project.clone(), list);
                }
                rest
            }
            _ => match corrections.get(&project) {
                Some(set) => {
                    let mut found = HashSet::new();
                    let apply =
                        |chunk: &HotChunk| HotChunk { batch: set.apply_noting(table, &chunk.batch, &mut found), ..chunk.clone() };
                    let corrected = chunks.iter().map(apply).collect();
                    // A cost line says nothing about whether its span has come.
                    if table != TableId::CostLines {
                        matched.entry(project.clone()).or_default().extend(found);
                    }
                    corrected
                }
                None => chunks.to_vec(),
            },
        };
        let understood_to = corrections.get(&project).map_or(u64::MAX, |set| set.understood_to());
        tables.entry(table).or_default().extend(files_of(&project, chunks, corrected_to.min(understood_to)));
    }
    tables.retain(|_, parts| !parts.is_empty());
    let tables = tables.into_iter().map(|(table, parts)| TableFlush { table, parts, files: None, written_at: None }).collect();
    Pending { cut, complete_until: None, tables, kept }
}

/// The rows of `chunk` whose correction is not done; `None` if there are none.
fn without_done(chunk: &HotChunk, done: &impl Fn(&RowKey) -> bool) -> Option<HotChunk> {
    let column = |name: &str| chunk.batch.column_by_name(name).expect("a column of span_corrections").as_string::<i32>();
    let (traces, spans, logs) = (column("trace_id"), column("span_id"), column("log_id"));
    let key = |row| RowKey::of_correction(traces.value(row), spans.value(row), logs.is_valid(row).then(|| logs.value(row)));
    let keep: BooleanArray = (0..chunk.batch.num_rows()).map(|row| Some(!done(&key(row)))).collect();
    let batch = filter_record_batch(&chunk.batch, &keep).expect("the mask has the length of the batch");
    (batch.num_rows() > 0).then(|| HotChunk { batch, ..chunk.clone() })
}

/// One file per day, more where the rows are many.
fn files_of(project: &ProjectId, chunks: Vec<HotChunk>, corrected_to: u64) -> Vec<FileRows> {
    let mut files: Vec<(FileRows, u64)> = Vec::new();
    for chunk in chunks {
        let batch = without_partition_columns(&chunk.batch);
        match files.iter_mut().find(|(file, bytes)| file.date == chunk.date && *bytes + chunk.bytes <= FILE_RAW_BYTES_MAX) {
            Some((file, bytes)) => {
                file.batches.push(batch);
                *bytes += chunk.bytes;
            }
            None => {
                let rows = FileRows { project: project.clone(), date: chunk.date, batches: vec![batch], corrected_to };
                files.push((rows, chunk.bytes));
            }
        }
    }
    files.into_iter().map(|(file, _)| file).collect()
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(impl std::error::Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
