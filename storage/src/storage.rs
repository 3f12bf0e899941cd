//! [`Storage`]: the parts put together.
//!
//! ```text
//! append ─> WAL (durable) ─> publish ─> hot buffer (visible) ─> flush ─> Parquet + Delta commits ─> view switched ─> WAL released
//!                                                                or ─> ClickHouse insertions
//! ```
//! `State` is what a view shows, behind one lock: rows and files change together in it, so that no view sees a row twice or not at
//! all. The order of a flush makes a crash at any point harmless: a table that was committed knows its position and drops replayed
//! rows up to it; the log is released only when every table has committed.
//! A process that goes on where another was killed first takes the tables over, since a commit of that one may still be on its way.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path as FsPath,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use arrow::array::RecordBatch;
use assay_schemas::{ids::ProjectId, tables::TableId};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use object_store::ObjectStore;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{Gate, Overload, Overloaded, Reservation, Usage},
    blobs::{BlobError, BlobStore},
    bucket::{self, Bucket, BucketError},
    clickhouse::{ClickHouse, ClickHouseError, StoredRows},
    config::StorageConfig,
    corrections::{Correction, CorrectionSet, CorrectionsByProject},
    flush::{FlushError, Flusher, chain},
    follow::{self, FollowError, Follower},
    hot::HotBuffer,
    jobs::{JobHistory, JobRun},
    lake::{Lake, LakeError},
    maintenance::{self, Maintenance},
    outside::{self, Task, create_dir_durably, fs, replace_file},
    status::{StorageStatus, TableStatus},
    store,
    tasks::{blocking, to_the_end},
    view::{LakeFiles, ReadView},
    wal::{AppendError, OpenWalError, ReplayError, Wal, WalOptions, WalPosition, WalRecord},
};

/// Files of one flush and table are cut at so many bytes of rows, so that encoding holds a bounded amount in memory.
pub(crate) const FILE_RAW_BYTES_MAX: u64 = 256 << 20;
/// File with the identity under which a data folder commits.
const NODE_ID: &str = "node-id";
/// A failed flush is tried again after this long.
const FLUSH_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The store of one node. Cheap to clone; all clones are the same store. Dropping the last one without [`Storage::close`] is like
/// a crash: nothing acknowledged is lost, the next start replays.
#[derive(Clone)]
pub struct Storage {
    pub(crate) inner: Arc<Inner>,
    background: Arc<Background>,
}

/// Storage cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenStorageError {
    /// Another process uses the folder.
    #[error("the data folder `{}` is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// A file operation failed.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What we were doing.
        action: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder cannot be an object store.
    #[error("could not open the object store in `{}`", path.display())]
    Store {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        source: object_store::Error,
    },
    /// Nodes can share a bucket or ClickHouse only.
    #[error(
        "the lake is in the data folder, expected one in a bucket (`storage.url`) or ClickHouse (`storage.clickhouse.url`): nodes can share only those"
    )]
    NoBucket,
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// ClickHouse.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    /// The write-ahead log.
    #[error(transparent)]
    Wal(#[from] OpenWalError),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// What other nodes wrote.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

impl Storage {
    /// Opens or makes the store in `config.data_dir` and starts its background tasks. Needs a multi-threaded tokio runtime.
    ///
    /// Afterwards, before anything is appended, every record of [`Storage::replay`] must be published.
    ///
    /// # Errors
    /// [`OpenStorageError`] if the folder is in use, unreadable, or holds tables that this version cannot write.
    pub async fn open(config: StorageConfig) -> Result<Self, OpenStorageError> {
        let inner = Arc::new(Inner::open(config).await?);
        let background = Arc::new(Background::start(&inner));
        Ok(Self { inner, background })
    }

    /// The records that are not committed, in order, read one at a time. Each must be published, like a record just appended.
    /// Ends after the first error.
    ///
    /// While memory is full, the next record waits for a flush: call it where blocking is allowed, or on a multi-threaded runtime.
    pub fn replay(&self) -> impl Iterator<Item = Result<(WalPosition, WalRecord), ReplayError>> + Send + use<> {
        let store = Arc::downgrade(&self.inner);
        self.inner.wal.as_ref().map(|wal| wal.replay()).into_iter().flatten().inspect(move |_| {
            if let Some(inner) = store.upgrade() {
                inner.wait_for_memory();
            }
        })
    }

    /// Makes `record` durable; returns after the fsync, shared with concurrent appends. Must not be cancelled: a position that is
    /// returned must be published, or nothing after it is ever flushed.
    ///
    /// # Errors
    /// [`AppendError`]; its kind says what to do.
    pub async fn append(&self, record: WalRecord) -> Result<WalPosition, AppendError> {
        let Some(wal) = &self.inner.wal else {
            return Err(AppendError::Failed { reason: "this node answers questions only, and has none".into() });
        };
        let appended = wal.append(record).await;
        if let Err(AppendError::Overloaded { .. }) = &appended {
            self.inner.flush_wanted.notify_one();
        }
        appended
    }

    /// Adds the rows that the record at `position` became. They are visible to [`Storage::view`] when this returns. Call it exactly
    /// once for every position, also if there are no rows. Batches have the schema of their table.
    pub fn publish(&self, position: WalPosition, rows: Vec<(TableId, RecordBatch)>) {
        self.inner.publish(position, &rows);
    }

    /// Whether a request of `project` should be read: asked before its body is. While the memory for rows is used up it waits up to
    /// `patience` for some to be written.
    ///
    /// # Errors
    /// [`Overloaded`] if there is no room.
    pub async fn admit(&self, project: &ProjectId, patience: Duration) -> Result<(), Overloaded> {
        let mut deadline = None;
        loop {
            // Before asking, so that room made meanwhile is not missed.
            let room = self.inner.gate.room();
            let Err(refused) = self.inner.admit(project) else { return Ok(()) };
            if !matches!(refused.reason, Overload::Memory | Overload::ProjectMemory) {
                return Err(refused);
            }
            let until = *deadline.get_or_insert_with(|| {
                self.inner.gate.waits();
                tokio::time::Instant::now() + patience
            });
            if tokio::time::timeout_at(until, room).await.is_err() {
                return Err(refused);
            }
        }
    }

    /// Sets memory aside for the rows of a request of `project` with a body of `body_bytes`, from when its work begins until its rows are
    /// published: what is on its way counts as used. Waits for it like [`Storage::admit`].
    ///
    /// # Errors
    /// [`Overloaded`] if there is no room.
    pub async fn reserve(&self, project: &ProjectId, body_bytes: usize, patience: Duration) -> Result<Reservation, Overloaded> {
        self.admit(project, patience).await?;
        Ok(self.inner.gate.reserve(project, body_bytes as u64))
    }

    /// What refuses the requests of every project now, if something does.
    #[must_use]
    pub fn overload(&self) -> Option<Overload> {
        self.inner.overload()
    }

    /// One consistent snapshot: every published row exactly once.
    #[must_use]
    pub fn view(&self) -> Arc<ReadView> {
        self.inner.view()
    }

    /// Commits everything published so far whose predecessors are published too.
    ///
    /// # Errors
    /// [`FlushError`] if the lake does not take it. The rows stay visible in memory, and the next flush tries again.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.flush().await }).await
    }

    /// Content-addressed storage of large parts.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.inner.blobs
    }

    /// The store in which the paths of [`crate::DataFile`] are.
    #[must_use]
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(self.inner.lake.store())
    }

    /// What storage says about itself.
    #[must_use]
    pub fn status(&self) -> StorageStatus {
        self.inner.status()
    }

    /// What flushes and maintenance did lately, table by table, in the order they began: the last few hundred of each kind.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobRun> {
        self.inner.history.runs()
    }

    /// When a job of this kind (as in [`JobRun::kind`]) last did something to `table` since the start of the process.
    #[must_use]
    pub fn last_job(&self, kind: &'static str, table: TableId) -> Option<DateTime<Utc>> {
        self.inner.history.last(kind, table)
    }

    /// Reads what other nodes committed to the lake or database they share with this one. Does nothing where no other node writes.
    ///
    /// # Errors
    /// [`FollowError`] if the bucket or ClickHouse does not answer.
    pub async fn follow(&self) -> Result<(), FollowError> {
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.follow(false).await }).await
    }

    /// Stops the background tasks, flushes, and closes the log. Other clones must not be used afterwards.
    ///
    /// # Errors
    /// [`FlushError`] if the last flush failed; what it held is replayed at the next start.
    pub async fn close(self) -> Result<(), FlushError> {
        self.background.stop().await;
        let flushed = self.flush().await;
        self.inner.leave(flushed.is_ok()).await;
        let inner = Arc::clone(&self.inner);
        let end_log = move || {
            let Some(wal) = &inner.wal else { return };
            wal.close();
            if let Err(error) = wal.leave_empty() {
                tracing::warn!(%error, "segments of the log that are no longer needed could not be deleted");
            }
        };
        blocking(end_log).await;
        flushed
    }
}

/// What all clones share.
pub(crate) struct Inner {
    pub(crate) config: StorageConfig,
    /// `None` where nothing is taken.
    pub(crate) wal: Option<Arc<Wal>>,
    /// The last position that the log had at the start: before everything up to it is published, a replay goes on.
    pub(crate) replayed_to: u64,
    /// Positions whose appender went away: nobody will publish them, and nobody was told that they are durable.
    pub(crate) orphans: Arc<Mutex<Vec<WalPosition>>>,
    pub(crate) lake: Lake,
    /// Where the lake is, if not in the data folder.
    pub(crate) bucket: Option<Bucket>,
    /// Where rows are kept in the place of the lake, which then has no tables.
    pub(crate) clickhouse: Option<ClickHouse>,
    pub(crate) blobs: BlobStore,
    pub(crate) state: Mutex<State>,
    /// The view of `state`, until `state` changes. Written only under the lock of `state`.
    view: ArcSwapOption<ReadView>,
    pub(crate) flusher: Flusher,
    pub(crate) maintenance: Maintenance,
    pub(crate) follower: Follower,
    pub(crate) history: JobHistory,
    flush_wanted: Arc<Notify>,
    maintenance_wanted: Arc<Notify>,
    /// Told when a flush has freed memory. Belongs to `state`.
    pub(crate) drained: Condvar,
    pub(crate) gate: Arc<Gate>,
    /// Held as long as this process uses the folder.
    _lock: fs::File,
}

/// What a view shows.
pub(crate) struct State {
    pub(crate) hot: HotBuffer,
    pub(crate) lake: Arc<LakeFiles>,
    pub(crate) corrections: PendingCorrections,
    /// What is in ClickHouse, if rows are kept there.
    pub(crate) stored: Option<Arc<StoredRows>>,
    /// Whatever other nodes acknowledged before is in `lake`; `None` where there are none.
    pub(crate) complete_until: Option<DateTime<Utc>>,
}

impl Inner {
    async fn open(config: StorageConfig) -> Result<Self, OpenStorageError> {
        let dir = config.data_dir.clone();
        create_dir_durably(&dir).map_err(io_error("create folder", &dir))?;
        let dir = fs::canonicalize(&dir).map_err(io_error("resolve folder", &dir))?;
        let lock = lock(&dir)?;
        let node_id = node_id(&dir)?;
        let place = match (&config.bucket, &config.clickhouse) {
            (Some(bucket), _) => Some(bucket::address(bucket).to_owned()),
            (None, Some(clickhouse)) => Some(format!("clickhouse:{}", clickhouse.database)),
            (None, None) => None,
        };
        bucket::remember_place(&dir, place.as_deref())?;
        let bucket = match &config.bucket {
            Some(place) => Some(bucket::open(place, &dir, &node_id, config.role).await?),
            None if config.role.is_shared() && config.clickhouse.is_none() => return Err(OpenStorageError::NoBucket),
            None => None,
        };
        let store = match &bucket {
            Some(bucket) => bucket.store(),
            None => {
                store::sync_delta_logs(&dir).map_err(io_error("fsync the Delta logs in", &dir))?;
                store::local(&dir).map_err(|source| OpenStorageError::Store { path: dir.clone(), source })?
            }
        };
        let opened = match &config.clickhouse {
            Some(clickhouse) => Some(ClickHouse::open(clickhouse.clone(), config.retention, config.role, &node_id, &dir).await?),
            None => None,
        };
        let (lake, mut files) = match &opened {
            Some(_) => (Lake::without_tables(store), LakeFiles::default()),
            None => Lake::open(store, &node_id, config.role.writes()).await?,
        };
        // If the log was lost, positions must still not begin anew: the tables would drop what they believe to have, and files that another
        // node wrote would seem to have corrections folded in that are yet to come. (Of a lake that is shared, no file says so.)
        let committed = lake.tables().map(|table| lake.committed(table)).max().unwrap_or(0);
        let in_files = if config.role.is_shared() { 0 } else { files.last_position().unwrap_or(0) };
        let floor = committed.max(in_files).max(opened.as_ref().map_or(0, |opened| opened.last));
        let options = WalOptions {
            dir: dir.join("wal"),
            // The segment being written is never deleted: it must stay a small part of what the log may hold.
            segment_bytes: config.wal_segment_bytes.min(config.wal_bytes_max / 4),
            bytes_max: config.wal_bytes_max,
            group_commit_window: config.group_commit_window,
        };
        let orphans: Arc<Mutex<Vec<WalPosition>>> = Arc::default();
        let orphaned = Arc::clone(&orphans);
        let wal = match config.role.writes() {
            true => Some(Arc::new(Wal::open(options, floor, move |position| orphaned.lock().push(position))?)),
            false => None,
        };
        // The log is released only after a flush is done: what it says is as true.
        let done = opened.as_ref().map_or(0, |opened| opened.done).max(wal.as_ref().map_or(0, |wal| wal.committed().get()));
        let mut hot = HotBuffer::new(done);
        wal.iter().flat_map(|wal| wal.never_written.clone()).for_each(|position| hot.complete(position));
        let replayed_to = wal.as_ref().map_or(0, |wal| wal.status().last.get());
        if let (Some(bucket), true) = (&bucket, config.role.is_shared() && config.role.writes()) {
            bucket.join(hot.watermark() < replayed_to).await?;
        }
        if hot.watermark() < replayed_to {
            // The process that was to commit what is replayed may have sent it just before it ended.
            for table in lake.take_over().await? {
                let listed = lake.list_again(table).await?;
                files.replace_all(table, listed);
                lake.plan_replacements(table).await;
            }
        }
        let (clickhouse, stored, persisted) = match opened {
            Some(opened) => {
                if config.role.writes() {
                    opened.store.join(hot.watermark() < replayed_to).await?;
                }
                if opened.begun > done {
                    hot.next_flush_ends_at(opened.begun);
                }
                let (stored, corrections) = opened.store.read(done).await?;
                (Some(opened.store), Some(Arc::new(stored)), corrections)
            }
            None if config.role.is_shared() => (None, None, HashMap::new()),
            None => (None, None, lake.read_corrections(&files).await?),
        };
        let corrections = PendingCorrections::new(persisted, config.role.is_shared());
        let state = State { hot, lake: Arc::new(files), corrections, stored, complete_until: None };
        let inner = Self {
            blobs: BlobStore::open(dir.join("blobs"), bucket.as_ref().map(Bucket::store))?,
            bucket,
            clickhouse,
            config,
            wal,
            replayed_to,
            orphans,
            lake,
            state: Mutex::new(state),
            view: ArcSwapOption::empty(),
            flusher: Flusher::default(),
            maintenance: Maintenance::default(),
            follower: Follower::default(),
            history: JobHistory::default(),
            flush_wanted: Arc::default(),
            maintenance_wanted: Arc::default(),
            drained: Condvar::new(),
            gate: Arc::new(Gate::new(dir)),
            _lock: lock,
        };
        inner.follow(true).await?;
        Ok(inner)
    }

    fn publish(&self, position: WalPosition, rows: &[(TableId, RecordBatch)]) {
        let hot_bytes = self.change(|state| {
            for (table, batch) in rows {
                debug_assert_eq!(batch.schema(), table.schema(), "a batch of `{}`", table.name());
                // A flush that was interrupted may have committed some tables: their rows come again in a replay.
                let committed = state.stored.as_ref().map_or_else(|| self.lake.committed(*table), |stored| stored.position());
                if position.get() <= committed {
                    continue;
                }
                if *table == TableId::SpanCorrections {
                    state.corrections.add(batch);
                }
                state.hot.add(position.get(), *table, batch);
            }
            state.hot.complete(position.get());
            state.hot.active_bytes()
        });
        if hot_bytes >= self.config.flush_bytes || self.wal_bytes() > self.wal_soft_bytes() {
            self.flush_wanted.notify_one();
        }
    }

    pub(crate) fn view(&self) -> Arc<ReadView> {
        if let Some(view) = self.view.load_full() {
            return view;
        }
        let mut state = self.state.lock();
        let view = Arc::new(ReadView {
            hot: state.hot.snapshot(),
            lake: Arc::clone(&state.lake),
            corrections: state.corrections.by_project(),
            stored: state.stored.clone(),
            complete_until: state.complete_until,
        });
        self.view.store(Some(Arc::clone(&view)));
        view
    }

    /// Changes what views show, in one step.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = change(&mut state);
        self.view.store(None);
        result
    }

    /// Returns when the rows in memory are below their limit.
    fn wait_for_memory(&self) {
        // A flush that waits for more would never make room.
        let full = |state: &mut State| state.hot.bytes() >= self.config.hot_bytes_max && !state.hot.flush_waits();
        if full(&mut self.state.lock()) {
            self.flush_wanted.notify_one();
            tokio::task::block_in_place(|| self.drained.wait_while(&mut self.state.lock(), full));
        }
    }

    fn admit(&self, project: &ProjectId) -> Result<(), Overloaded> {
        if let Some(reason) = self.overload() {
            return Err(reason.refuse());
        }
        let (mut usage, mut own_bytes) = {
            let state = self.state.lock();
            (self.usage(&state), state.hot.bytes_of(project))
        };
        let (reserved_own, reserved) = self.gate.reserved(project);
        usage.hot_bytes += reserved;
        own_bytes += reserved_own;
        if self.gate.beyond_share(&self.config, usage, project, own_bytes) {
            self.flush_wanted.notify_one();
            return Err(Overload::ProjectMemory.refuse());
        }
        Ok(())
    }

    fn overload(&self) -> Option<Overload> {
        let (usage, persisted) = {
            let state = self.state.lock();
            (self.usage(&state), state.corrections.persisted_len())
        };
        if persisted >= self.config.corrections_max / 4 {
            self.maintenance_wanted.notify_one();
        }
        let overload = self.gate.overload(&self.config, usage);
        // Rows that are written give back memory and log, but take disk.
        if overload.is_some_and(|reason| reason != Overload::Disk) {
            self.flush_wanted.notify_one();
        }
        overload
    }

    /// Without what is set aside.
    fn usage(&self, state: &State) -> Usage {
        Usage { hot_bytes: state.hot.bytes(), wal_bytes: self.wal_bytes(), corrections: state.corrections.len() }
    }

    pub(crate) fn status(&self) -> StorageStatus {
        let overload = self.overload();
        let state = self.state.lock();
        let mut wal = self.wal.as_ref().map(|wal| wal.status()).unwrap_or_default();
        wal.uncommitted_age_ms = state.hot.age().map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let last = self.flusher.last.lock().clone();
        StorageStatus {
            hot_rows: state.hot.row_count(),
            hot_bytes: state.hot.bytes(),
            watermark: WalPosition(state.hot.watermark()),
            beyond_watermark: state.hot.beyond_watermark(),
            pending_corrections: state.corrections.len(),
            overload,
            complete_until_unix_ms: state
                .complete_until
                .filter(|_| self.config.role.follows())
                .map(|until| until.timestamp_millis()),
            follow_error: self.follower.error(),
            last_flush_unix_ms: last.unix_ms,
            last_flush_ms: last.took_ms,
            flush_error: last.error,
            tables: match &state.stored {
                Some(stored) => TableId::ALL.iter().map(|id| (id.name(), stored.status(*id))).collect(),
                None => self.lake.tables().map(|id| (id.name(), self.table_status(id, &state.lake))).collect(),
            },
            jobs: self.maintenance.jobs.lock().clone(),
            wal,
        }
    }

    fn table_status(&self, id: TableId, files: &LakeFiles) -> TableStatus {
        let table = self.lake.table(id);
        let mut status = TableStatus {
            version: table.version.load(Ordering::Acquire),
            committed: table.committed.load(Ordering::Acquire),
            unreferenced_files: self.maintenance.unreferenced(id),
            ..TableStatus::default()
        };
        for file in files.of_table(id) {
            status.files += 1;
            status.rows += file.rows;
            status.bytes += file.size;
        }
        status
    }

    fn wal_bytes(&self) -> u64 {
        self.wal.as_ref().map_or(0, |wal| wal.bytes())
    }

    fn wal_soft_bytes(&self) -> u64 {
        self.config.wal_bytes_max / 4 * 3
    }
}

/// The tasks of one store. They hold the store only while they work, so that dropping it ends them.
struct Background {
    stop: CancellationToken,
    tasks: Mutex<Vec<Task>>,
}

impl Background {
    fn start(inner: &Arc<Inner>) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        if inner.config.role.writes() {
            tasks.push(Task::spawn(flush_loop(Arc::downgrade(inner), Arc::clone(&inner.flush_wanted), stop.clone())));
            let jobs = maintenance::run(Arc::downgrade(inner), Arc::clone(&inner.maintenance_wanted), stop.clone());
            tasks.push(Task::spawn(jobs));
        }
        if inner.config.role.follows() {
            tasks.push(Task::spawn(follow::run(Arc::downgrade(inner), stop.clone())));
        }
        if inner.bucket.is_some() {
            tasks.push(Task::spawn(read_indexes(inner.view(), stop.clone())));
        }
        Self { stop, tasks: Mutex::new(tasks) }
    }

    /// Lets each task finish what it is doing.
    async fn stop(&self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            if let Err(error) = task.join().await {
                tracing::error!(%error, "a background task of storage had panicked");
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.cancel();
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

/// Flushes at every interval and when asked, until `stop`. Holds the store only while it flushes.
async fn flush_loop(store: Weak<Inner>, wanted: Arc<Notify>, stop: CancellationToken) {
    let Some(interval) = store.upgrade().map(|inner| inner.config.flush_interval) else { return };
    let mut failed = false;
    loop {
        let wait = if failed { FLUSH_RETRY_AFTER.min(interval) } else { interval };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = outside::sleep(wait) => {}
            // After a failure the disk gets its pause, however much is waiting.
            () = wanted.notified(), if !failed => {}
        }
        let Some(inner) = store.upgrade() else { return };
        let result = inner.flush().await;
        failed = result.is_err();
        if let Err(error) = result {
            tracing::error!(error = %chain(&error), "a flush failed; its rows stay in memory and it is tried again");
        }
    }
}

/// Reads the trace indexes of `view` until `stop`, the newest first: those that are not in the cache of the bucket are then. Whoever asks for a
/// trace must look into all of them; of files that a directory covers, into that.
async fn read_indexes(view: Arc<ReadView>, stop: CancellationToken) {
    const READS_AT_ONCE: usize = 8;
    let mut files: Vec<_> = view.lake.all().filter(|f| f.traces.is_some()).cloned().collect();
    drop(view);
    files.sort_by_key(|file| std::cmp::Reverse(file.time_max));
    let n_files = files.len();
    let read = futures::stream::iter(files).for_each_concurrent(READS_AT_ONCE, |file| async move {
        // What cannot be read now is read, or complained about, when it is needed.
        if let Some(index) = &file.traces {
            drop(index.read_ahead().await);
        }
    });
    tokio::select! {
        () = stop.cancelled() => {}
        () = read => tracing::info!(files = n_files, "trace indexes are at hand"),
    }
}

/// Corrections that are not folded into files, by project and by where they are.
#[derive(Debug, Default)]
pub(crate) struct PendingCorrections {
    /// In files of `span_corrections`.
    persisted: BTreeMap<ProjectId, Vec<Arc<Correction>>>,
    /// In the hot buffer.
    hot: BTreeMap<ProjectId, Vec<Arc<Correction>>>,
    by_project: Option<Arc<CorrectionsByProject>>,
    /// Whether several nodes make them.
    of_nodes: bool,
}

impl PendingCorrections {
    fn new(persisted: HashMap<ProjectId, Vec<Arc<Correction>>>, of_nodes: bool) -> Self {
        Self { persisted: persisted.into_iter().collect(), of_nodes, ..Self::default() }
    }

    /// In files of `span_corrections` are these now, and no others.
    pub(crate) fn replace_persisted(&mut self, persisted: BTreeMap<ProjectId, Vec<Arc<Correction>>>) {
        self.persisted = persisted;
        self.tidy();
    }

    fn add(&mut self, batch: &RecordBatch) {
        for (project, date, batch) in crate::hot::split_by_partition(batch) {
            self.hot.entry(project).or_default().extend(Correction::read(&batch, date));
        }
        self.by_project = None;
    }

    /// All of them, as readers need them.
    pub(crate) fn by_project(&mut self) -> Arc<CorrectionsByProject> {
        let (persisted, hot) = (&self.persisted, &self.hot);
        let build = || {
            let mut all: HashMap<ProjectId, Vec<Arc<Correction>>> = HashMap::new();
            for (project, corrections) in persisted.iter().chain(hot) {
                all.entry(project.clone()).or_default().extend(corrections.iter().cloned());
            }
            let set = |list| Arc::new(if self.of_nodes { CorrectionSet::of_nodes(list) } else { CorrectionSet::new(list) });
            Arc::new(all.into_iter().map(|(project, list)| (project, set(list))).collect())
        };
        Arc::clone(self.by_project.get_or_insert_with(build))
    }

    /// Everything up to `cut` was flushed; of that, `kept` is in files of `span_corrections` now.
    pub(crate) fn flushed(&mut self, cut: u64, kept: &BTreeMap<ProjectId, Vec<Arc<Correction>>>) {
        self.hot.retain(|_, corrections| {
            corrections.retain(|c| c.position > cut);
            !corrections.is_empty()
        });
        for (project, corrections) in kept {
            self.persisted.entry(project.clone()).or_default().extend(corrections.iter().cloned());
        }
        self.by_project = None;
    }

    /// Those of `project` that are `done` are no longer in files of `span_corrections`.
    pub(crate) fn remove(&mut self, project: &ProjectId, done: &impl Fn(&Correction) -> bool) {
        if let Some(corrections) = self.persisted.get_mut(project) {
            corrections.retain(|c| !done(c));
        }
        self.tidy();
    }

    /// Days before `date` (days since 1970) are gone.
    pub(crate) fn drop_before(&mut self, date: i32) {
        for corrections in self.persisted.values_mut() {
            corrections.retain(|c| c.date >= date);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.persisted.retain(|_, corrections| !corrections.is_empty());
        self.by_project = None;
    }

    /// Projects with corrections in files.
    pub(crate) fn projects(&self) -> Vec<ProjectId> {
        self.persisted.keys().cloned().collect()
    }

    pub(crate) fn persisted_len(&self) -> usize {
        self.persisted.values().map(Vec::len).sum()
    }

    pub(crate) fn persisted(&self, project: &ProjectId) -> &[Arc<Correction>] {
        self.persisted.get(project).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn len(&self) -> usize {
        self.persisted.values().chain(self.hot.values()).map(Vec::len).sum()
    }
}

fn io_error(action: &'static str, path: &FsPath) -> impl FnOnce(std::io::Error) -> OpenStorageError {
    let path = path.to_owned();
    move |source| OpenStorageError::Io { action, path, source }
}

fn lock(dir: &FsPath) -> Result<fs::File, OpenStorageError> {
    let path = dir.join("lock");
    let file = fs::File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenStorageError::InUse { path: dir.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
    }
}

/// The identity under which this folder commits, made once.
fn node_id(dir: &FsPath) -> Result<String, OpenStorageError> {
    let path = dir.join(NODE_ID);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = format!("assay-{}", outside::unique_id());
            replace_file(dir, NODE_ID, &id).map_err(io_error("write", &path))?;
            Ok(id)
        }
        Err(source) => Err(io_error("read", &path)(source)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
