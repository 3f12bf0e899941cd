//! The lake: one Delta table per [`TableId`], readable by any engine. This is the narrow interface behind which another store can stand:
//! write these rows up to this position, replace these files, list the files.
//!
//! The file list of every table is held here; the Delta log is read once, at start. There is no long-lived Delta handle, whose memory
//! would grow with the history: a checkpoint opens its own and drops it.

mod conversations;
mod delta;
mod encode;
mod file;
mod merge;
mod order;
mod read;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::array::RecordBatch;
use assay_schemas::{ids::ProjectId, tables::TableId};
use chrono::NaiveDate;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};

pub use self::{
    delta::DeltaError,
    encode::{EncodeError, file_schema},
    file::{ColumnStats, DataFile, StatValue},
};
pub(crate) use self::{
    delta::{Change, Changes, DeltaLog},
    encode::{Effort, grouped_by_trace, without_partition_columns},
    merge::Merge,
};
use self::{
    encode::{Encoded, encode},
    file::time_range,
};
use crate::{
    bucket::BucketError,
    outside,
    tasks::blocking,
    text_index,
    trace_directory::{Directory, ListedFile, TraceDirectoryError},
    trace_index::{self, Caches, IndexPaths, TraceIndex, TraceIndexError},
    view::LakeFiles,
};

/// A request to a bucket deletes a thousand objects at most: what lies beside so many files.
const DELETED_AT_ONCE: usize = 300;
const LAKE: &str = "lake";
const INDEX: &str = "lake-index";

/// The lake could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The Delta log.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// The bucket is not ours to write to, or does not say.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Rows could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A file operation failed.
    #[error("could not {action} `{path}`")]
    Store {
        /// What we were doing.
        action: &'static str,
        /// On what.
        path: Path,
        /// Why.
        source: object_store::Error,
    },
    /// A Parquet file could not be read back.
    #[error("could not read `{path}`")]
    Parquet {
        /// The file.
        path: Path,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// A trace index could neither be read nor rebuilt.
    #[error(transparent)]
    Index(#[from] TraceIndexError),
    /// The trace directory could not be brought up to date.
    #[error(transparent)]
    Directory(#[from] TraceDirectoryError),
}

/// All tables of one node.
#[derive(Debug)]
pub(crate) struct Lake {
    store: Arc<dyn ObjectStore>,
    caches: Arc<Caches>,
    /// Of the tables whose rows are grouped by trace.
    directories: BTreeMap<TableId, Arc<Directory>>,
    tables: BTreeMap<TableId, Table>,
    /// In the names of the files that this process writes.
    process: u64,
}

/// One table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Commits to one table are made one after the other.
    log: tokio::sync::Mutex<DeltaLog>,
    pub(crate) version: AtomicU64,
    pub(crate) committed: AtomicU64,
    pub(crate) commits_since_checkpoint: AtomicU64,
}

impl Table {
    fn new(log: DeltaLog) -> Self {
        let zero = || AtomicU64::new(0);
        let (version, committed, commits_since_checkpoint) = (zero(), zero(), zero());
        let table = Self { version, committed, commits_since_checkpoint, log: tokio::sync::Mutex::new(log) };
        table.show(&table.log.try_lock().expect("nobody else has it yet"));
        table
    }

    /// What `log` says now, for those who do not wait for it.
    fn show(&self, log: &DeltaLog) {
        self.version.store(log.version(), Ordering::Release);
        self.committed.store(log.committed(), Ordering::Release);
        self.commits_since_checkpoint.store(log.commits_since_checkpoint(), Ordering::Release);
    }
}

/// Rows of one project and day that become one file.
#[derive(Clone, Debug)]
pub(crate) struct FileRows {
    pub(crate) project: ProjectId,
    pub(crate) date: i32,
    /// Without the partition columns.
    pub(crate) batches: Vec<RecordBatch>,
    /// Corrections up to this position are folded in.
    pub(crate) corrected_to: u64,
}

impl Lake {
    /// Opens every table, making those that are missing if it `writes`, and lists their files.
    pub(crate) async fn open(store: Arc<dyn ObjectStore>, node_id: &str, writes: bool) -> Result<(Self, LakeFiles), LakeError> {
        let mut lake = Self::without_tables(store);
        let mut files = LakeFiles::default();
        let ids = tables_to_open();
        let process = format!("{:016x}", lake.process);
        lake.list_directories().await?;
        let opened = futures::future::join_all(ids.iter().map(|id| DeltaLog::open(*id, &lake.store, node_id, &process, writes)));
        // All of them end before one that failed ends the process: threads of the library would panic in its last words.
        for opened in opened.await {
            let (log, found) = opened?;
            let id = log.table();
            files.add(id, found.into_iter().map(|file| Arc::new(lake.data_file(id, file))));
            lake.tables.insert(id, Table::new(log));
        }
        Ok((lake, files))
    }

    /// A lake without tables, where rows are kept elsewhere: only blobs are in `store`.
    pub(crate) fn without_tables(store: Arc<dyn ObjectStore>) -> Self {
        let caches = Arc::new(Caches::new());
        let directory = |table: &TableId| {
            let folder = Path::from(format!("{INDEX}/{}/directory", table.name()));
            (*table, Arc::new(Directory::new(Arc::clone(&store), Arc::clone(&caches), folder)))
        };
        let directories = tables_to_open().iter().filter(|table| grouped_by_trace(**table)).map(directory).collect();
        Self { store, caches, directories, tables: BTreeMap::new(), process: outside::unique_id().as_u64_pair().0 }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// All tables, in their order.
    pub(crate) fn tables(&self) -> impl Iterator<Item = TableId> + '_ {
        self.tables.keys().copied()
    }

    pub(crate) fn table(&self, id: TableId) -> &Table {
        self.tables.get(&id).expect("every table was opened")
    }

    /// Largest position committed to `table`.
    pub(crate) fn committed(&self, table: TableId) -> u64 {
        self.table(table).committed.load(Ordering::Acquire)
    }

    /// Makes sure that no commit that an earlier process of this node sent lands any more. Returns the tables that were changed since they were
    /// opened.
    pub(crate) async fn take_over(&self) -> Result<Vec<TableId>, LakeError> {
        let taken = self.tables.iter().map(|(id, table)| async move {
            let mut log = table.log.lock().await;
            let changed = log.take_over().await;
            table.show(&log);
            changed.map(|changed| changed.then_some(*id))
        });
        let taken = futures::future::join_all(taken).await;
        Ok(taken.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// Encodes and uploads `parts`, not yet part of the table. One part at a time, so that memory holds one file.
    pub(crate) async fn write_files(
        &self,
        table: TableId,
        parts: &[FileRows],
        position: u64,
        effort: Effort,
    ) -> Result<Vec<Arc<DataFile>>, LakeError> {
        let mut files = Vec::with_capacity(parts.len());
        for part in parts {
            let FileRows { project, date, batches, corrected_to } = part.clone();
            let encoded = blocking(move || encode(table, &batches, effort)).await?;
            let date = NaiveDate::from_epoch_days(date).expect("the date of a row is in the range of dates");
            files.push(Arc::new(self.write_file(table, project, date, corrected_to, position, encoded).await?));
        }
        Ok(files)
    }

    /// Makes one Delta commit that adds `added`, carrying `position` as the application transaction.
    pub(crate) async fn commit_rows(&self, table: TableId, added: &[Arc<DataFile>], position: u64) -> Result<(), LakeError> {
        self.commit(table, Change { added, removed: &[], data_change: true, position: Some(position) }).await
    }

    /// Makes one Delta commit that puts `added` in the place of `removed`. `data_change` is whether a row's values differ.
    pub(crate) async fn commit_replace(
        &self,
        table: TableId,
        added: &[Arc<DataFile>],
        removed: &[Arc<DataFile>],
        data_change: bool,
    ) -> Result<(), LakeError> {
        self.commit(table, Change { added, removed, data_change, position: None }).await
    }

    async fn commit(&self, id: TableId, change: Change<'_>) -> Result<(), LakeError> {
        let table = self.table(id);
        let mut log = table.log.lock().await;
        let committed = log.commit(change).await;
        table.show(&log);
        Ok(committed?)
    }

    /// Writes a checkpoint of `table` and deletes log entries that it makes superfluous. Does not hold up commits.
    pub(crate) async fn checkpoint(&self, id: TableId) -> Result<(), LakeError> {
        let table = self.table(id);
        let (log_store, version) = {
            let log = table.log.lock().await;
            (log.log_store(), log.version())
        };
        outside::with_own_threads(delta::checkpoint(id, log_store, version)).await?;
        table.log.lock().await.checkpointed(version);
        table.commits_since_checkpoint.store(0, Ordering::Release);
        Ok(())
    }

    /// Brings the trace directory of `table`, which has these `files`, up to date.
    pub(crate) async fn index(&self, table: TableId, files: &[Arc<DataFile>]) -> Result<(), LakeError> {
        let Some(directory) = self.directories.get(&table) else { return Ok(()) };
        let listed = |file: &Arc<DataFile>| {
            let name = file.path.filename().unwrap_or_default().to_owned();
            Some(ListedFile { name, traces: file.traces.clone()? })
        };
        let files: Vec<_> = files.iter().filter_map(listed).collect();
        Ok(directory.cover(&files).await?)
    }

    /// Takes up the trace directories that there are: another node may have written some.
    pub(crate) async fn list_directories(&self) -> Result<(), LakeError> {
        for directory in self.directories.values() {
            let listed = directory.list().await;
            listed.map_err(|source| LakeError::Store { action: "list", path: directory.folder().clone(), source })?;
        }
        Ok(())
    }

    /// Looks whether another node has written a checkpoint of `table`.
    pub(crate) async fn look_for_checkpoint(&self, table: TableId) {
        let of_table = self.table(table);
        let mut log = of_table.log.lock().await;
        log.look_for_checkpoint().await;
        of_table.show(&log);
    }

    /// Whether another writer committed to `table` since its files were listed.
    pub(crate) async fn changed_by_others(&self, table: TableId) -> bool {
        self.table(table).log.lock().await.changed_by_others()
    }

    /// Reads the files of `table` from its log again, after another writer changed it.
    pub(crate) async fn list_again(&self, table: TableId) -> Result<Vec<DataFile>, LakeError> {
        let files = {
            let of_table = self.table(table);
            let mut log = of_table.log.lock().await;
            let files = log.list_again().await?;
            of_table.show(&log);
            files
        };
        Ok(files.into_iter().map(|facts| self.data_file(table, facts)).collect())
    }

    /// Reads what other writers committed to `table`, up to the last version there is.
    pub(crate) async fn read_on(&self, table: TableId) -> Result<(), LakeError> {
        let of_table = self.table(table);
        let mut log = of_table.log.lock().await;
        let read = log.read_on().await;
        of_table.show(&log);
        Ok(read?)
    }

    /// What other writers did to `table` since this was last asked.
    pub(crate) async fn take_changes(&self, table: TableId) -> Changes {
        self.table(table).log.lock().await.take_changes()
    }

    /// The next [`Lake::take_changes`] gives `changes` again.
    pub(crate) async fn put_back(&self, table: TableId, changes: Changes) {
        self.table(table).log.lock().await.put_back(changes);
    }

    /// From now on, files of `table` are replaced that were listed after all changes taken so far.
    pub(crate) async fn plan_replacements(&self, table: TableId) {
        self.table(table).log.lock().await.plan_replacements();
    }

    /// The file that `facts` are about.
    pub(crate) fn file_of(&self, table: TableId, facts: FileFacts) -> Arc<DataFile> {
        Arc::new(self.data_file(table, facts))
    }

    /// Parquet files in the folder of `table`, whether it refers to them or not, that were not written by this process.
    pub(crate) async fn files_of_others(&self, table: TableId) -> Result<Vec<Path>, LakeError> {
        let folder = table_path(table);
        let listed: Vec<_> = self.store.list(Some(&folder)).try_collect().await.map_err(|source| LakeError::Store {
            action: "list",
            path: folder.clone(),
            source,
        })?;
        let is_data =
            |path: &Path| path.as_ref().ends_with(".parquet") && !path.parts().any(|part| part.as_ref() == "_delta_log");
        let process = format!("-{:016x}", self.process);
        let is_ours = |path: &Path| path.filename().is_some_and(|name| name.contains(&process));
        Ok(listed.into_iter().map(|m| m.location).filter(|path| is_data(path) && !is_ours(path)).collect())
    }

    /// Deletes files that no table refers to, their indexes, sums and text indexes. Those first: as long as a file is there, what lies beside
    /// it is found.
    pub(crate) async fn delete_files(&self, files: &[Path]) -> Result<(), LakeError> {
        for files in files.chunks(DELETED_AT_ONCE) {
            let mut beside = Vec::with_capacity(3 * files.len());
            for path in files {
                let (index, sums, text) = (index_path(path), sums_path(path), text_path(path));
                self.caches.indexes.forget(&index);
                self.caches.sums.forget(&sums);
                self.caches.text.forget(&text);
                beside.extend([index, sums, text]);
            }
            self.delete(beside).await?;
            self.delete(files.to_vec()).await?;
        }
        Ok(())
    }

    /// Deletes `paths`, of which some need not be there.
    async fn delete(&self, paths: Vec<Path>) -> Result<(), LakeError> {
        let Some(first) = paths.first().cloned() else { return Ok(()) };
        let mut deleted = self.store.delete_stream(futures::stream::iter(paths.into_iter().map(Ok)).boxed());
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(LakeError::Store { action: "delete files such as", path: first, source }),
            }
        }
        Ok(())
    }

    async fn write_file(
        &self,
        table: TableId,
        project: ProjectId,
        date: NaiveDate,
        corrected_to: u64,
        position: u64,
        encoded: Encoded,
    ) -> Result<DataFile, LakeError> {
        let Encoded { parquet, rows, raw_bytes, stats, runs, sums, text } = encoded;
        let name = format!("part-{position:020}-{:016x}{:016x}.zstd.parquet", self.process, outside::unique_id().as_u64_pair().1);
        let path = Path::from(format!("{LAKE}/{}/project_id={project}/date={date}/{name}", table.name()));
        let size = parquet.len() as u64;
        let beside = [(index_path(&path), runs.map(trace_index::encode)), (sums_path(&path), sums), (text_path(&path), text)];
        let contents = beside.into_iter().filter_map(|(path, content)| Some((path, content?)));
        for (path, content) in contents.chain([(path.clone(), parquet.into())]) {
            let put = self.store.put(&path, content.into()).await;
            put.map_err(|source| LakeError::Store { action: "write", path, source })?;
        }
        Ok(self.data_file(table, FileFacts { path, size, rows, project, date, stats, raw_bytes, corrected_to }))
    }

    fn data_file(&self, table: TableId, facts: FileFacts) -> DataFile {
        let FileFacts { path, size, rows, project, date, stats, raw_bytes, corrected_to } = facts;
        let (time_min, time_max) = time_range(table, &stats);
        let traces = grouped_by_trace(table).then(|| {
            let sums = (table == TableId::Spans).then(|| sums_path(&path));
            let text = (table == TableId::Spans && rows >= text_index::ROWS_MIN).then(|| text_path(&path));
            let paths = IndexPaths { index: index_path(&path), sums, text, file: path.clone(), file_rows: rows };
            let directory = self.directories.get(&table).expect("there is one for each table whose rows are grouped by trace");
            Arc::new(TraceIndex::new(Arc::clone(&self.store), Arc::clone(&self.caches), Arc::clone(directory), paths))
        });
        DataFile { path, size, rows, project, date, time_min, time_max, stats, traces, raw_bytes, corrected_to }
    }
}

/// What the Delta log says about a file.
#[derive(Clone, Debug)]
pub(crate) struct FileFacts {
    pub(crate) path: Path,
    pub(crate) size: u64,
    pub(crate) rows: u64,
    pub(crate) project: ProjectId,
    pub(crate) date: NaiveDate,
    pub(crate) stats: Vec<ColumnStats>,
    pub(crate) raw_bytes: u64,
    pub(crate) corrected_to: u64,
}

/// A simulation opens the tables that it uses: each costs it some milliseconds, at every start of every seed.
fn tables_to_open() -> &'static [TableId] {
    #[cfg(test)]
    if crate::simulation::world::current().is_some() {
        return crate::simulation::TABLES;
    }
    TableId::ALL
}

/// The folder of `table` in the store.
fn table_path(table: TableId) -> Path {
    Path::from(format!("{LAKE}/{}", table.name()))
}

/// Where the trace index of the file at `path` lies: in a folder of its own, so that other engines find only Parquet in the lake.
fn index_path(path: &Path) -> Path {
    beside_lake(path, "tix")
}

/// Where the sums of the traces of the file at `path` lie.
fn sums_path(path: &Path) -> Path {
    beside_lake(path, "sums")
}

/// Where the text index of the file at `path` lies.
fn text_path(path: &Path) -> Path {
    beside_lake(path, "txt")
}

fn beside_lake(path: &Path, extension: &str) -> Path {
    let table = path.parts().nth(1).map_or_else(String::new, |part| part.as_ref().to_owned());
    let name = path.filename().unwrap_or_default();
    Path::from(format!("{INDEX}/{table}/{name}.{extension}"))
}

#[cfg(test)]
mod tests;
