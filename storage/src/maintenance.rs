//! What keeps the lake small and quick, off the hot path: compaction, folding of corrections, retention, vacuum, checkpoints.
//!
//! One job at a time removes files, so that no two rewrite the same one; of several nodes that share a lake, the one that holds its lease does. What
//! another writer removed all the same is found out by the commit, which then does nothing. Ingest never waits for a job: commits to one table queue for
//! milliseconds, encoding happens elsewhere. A job holds the rows of at most [`FILE_RAW_BYTES_MAX`] in memory.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use assay_schemas::{ids::ProjectId, tables::TableId};
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clickhouse::{ClickHouse, ClickHouseError},
    corrections::{self, Correction, RowKey},
    flush::chain,
    jobs::{Done, RunClock},
    lake::{DataFile, DeltaError, LakeError, Merge, StatValue},
    outside,
    status::JobStatus,
    storage::{FILE_RAW_BYTES_MAX, Inner, Storage},
    tasks::to_the_end,
};

/// So many files of like size are merged into one: a row is rewritten about four times in its life.
const MERGE_FAN_IN: usize = 8;
/// Files of fewer bytes of rows are all of the smallest size class.
const SMALLEST_CLASS_BYTES: u64 = 256 << 10;
/// A checkpoint is written after so many commits to a table.
const CHECKPOINT_COMMITS: u64 = 50;
/// Least time between two rounds of jobs.
const PAUSE: Duration = Duration::from_secs(5);
/// Corrections wait for a compaction that concerns their files anyhow, but not if there are more than this …
const FOLD_CORRECTIONS: usize = 1000;
/// … and not longer than this.
const FOLD_AFTER: Duration = Duration::from_secs(15 * 60);
/// The tables of a flush are committed one after the other. Of a lake that is shared, rows are taken to be there as a whole if they were received so
/// long before the moment up to which it is complete: longer than a request takes.
const SETTLED_AFTER: Duration = Duration::from_secs(5 * 60);
/// Files that no log ever named may be those of a node that cannot commit, and writes them anew after a grace period. Of a lake that is shared, they
/// stay for so many.
const STRAY_GRACES: u32 = 24;

/// A job failed. Nothing is lost, and it is tried again at the next round.
#[derive(Debug, thiserror::Error)]
#[error("could not {job} the table `{table}`")]
pub struct MaintenanceError {
    job: &'static str,
    table: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// State of the jobs of one store.
#[derive(Default)]
pub(crate) struct Maintenance {
    one_at_a_time: tokio::sync::Mutex<()>,
    pub(crate) jobs: Mutex<BTreeMap<&'static str, JobStatus>>,
    /// Files that no view made from now on lists, by path.
    replaced: Mutex<BTreeMap<Path, Replaced>>,
    /// Files that were not written by this process and that no table refers to, and since when this is known.
    stray: Mutex<BTreeMap<Path, (TableId, Instant)>>,
    /// Since when corrections wait to be folded.
    corrections_since: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Replaced {
    table: TableId,
    /// Alive as long as a view lists the file.
    file: Weak<DataFile>,
    at: Instant,
}

impl Maintenance {
    /// Replaced files of `table` that are still on disk.
    pub(crate) fn unreferenced(&self, table: TableId) -> u64 {
        self.replaced.lock().values().filter(|r| r.table == table).count() as u64
    }
}

impl Storage {
    /// Merges small files and folds corrections into the files they concern. Returns how many files were replaced.
    ///
    /// # Errors
    /// [`MaintenanceError`] if the lake could not be read or written.
    pub async fn compact(&self) -> Result<u64, MaintenanceError> {
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.compact(outside::wall_clock().date_naive(), true).await }).await
    }

    /// Removes whole days that are older than the configured retention from every table, and blobs that were not put for as long.
    /// Returns how many files were removed from the tables; [`Storage::vacuum`] deletes them.
    ///
    /// # Errors
    /// [`MaintenanceError`] if the lake could not be written.
    pub async fn apply_retention(&self) -> Result<u64, MaintenanceError> {
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.apply_retention(outside::wall_clock()).await }).await
    }

    /// Deletes files that no table refers to, once no view lists them and the grace period for other readers is over. Returns how
    /// many.
    ///
    /// # Errors
    /// [`MaintenanceError`] if the store could not be listed or written.
    pub async fn vacuum(&self) -> Result<u64, MaintenanceError> {
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.vacuum().await }).await
    }

    /// Writes a Delta checkpoint of every table with many commits since its last one. Returns how many.
    ///
    /// # Errors
    /// [`MaintenanceError`] if the lake could not be read or written.
    pub async fn checkpoint(&self) -> Result<u64, MaintenanceError> {
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.checkpoint(CHECKPOINT_COMMITS).await }).await
    }
}

/// Does all jobs at every interval, and when asked, until `stop`. Holds the store only while it works.
pub(crate) async fn run(store: Weak<Inner>, wanted: Arc<Notify>, stop: CancellationToken) {
    let Some(interval) = store.upgrade().map(|inner| inner.config.compaction_interval) else { return };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = outside::sleep(interval) => {}
            // However much is asked for, ingest keeps most of the machine.
            () = async { outside::sleep(PAUSE).await; wanted.notified().await } => {}
        }
        let Some(inner) = store.upgrade() else { return };
        if let Err(error) = inner.follow(true).await {
            tracing::warn!(error = %chain(&error), "what other nodes committed could not be read; jobs wait");
            continue;
        }
        let fold = inner.fold_is_due();
        // A job that fails has been recorded and logged; the others still run.
        drop(inner.checkpoint(CHECKPOINT_COMMITS).await);
        drop(inner.compact(outside::wall_clock().date_naive(), fold).await);
        drop(inner.apply_retention(outside::wall_clock()).await);
        drop(inner.vacuum().await);
    }
}

impl Inner {
    pub(crate) async fn compact(&self, today: NaiveDate, fold: bool) -> Result<u64, MaintenanceError> {
        let _turn = self.maintenance.one_at_a_time.lock().await;
        let work = async {
            let mut replaced = 0;
            if self.config.role.is_shared() {
                self.follow(true).await.map_err(failed("follow", TableId::Spans))?;
            }
            for table in self.lake.tables().filter(|table| *table != TableId::SpanCorrections) {
                if !self.is_due_here("compact", table).await? {
                    return Ok(replaced);
                }
                replaced += self.on_table("compaction", table, self.compact_table(table, today)).await?;
            }
            // Folded in, a newer correction of another node would be under an older one that is yet to be flushed here.
            if fold && !(self.config.role.is_shared() && self.is_behind()) {
                let projects = self.state.lock().corrections.projects();
                for project in projects {
                    if !self.is_due_here("fold corrections into", TableId::Spans).await? {
                        return Ok(replaced);
                    }
                    let fold = async {
                        match &self.clickhouse {
                            Some(clickhouse) => {
                                let folded = self.fold_in_clickhouse(clickhouse, &project).await;
                                folded.map_err(failed("fold corrections into", TableId::Spans))
                            }
                            None => self.fold(&project).await.map_err(failed("fold corrections into", TableId::Spans)),
                        }
                    };
                    replaced += self.on_table("compaction", TableId::Spans, fold).await?;
                }
            }
            if self.config.role.is_shared() {
                self.lake.list_directories().await.map_err(failed("list the indexes of", TableId::Spans))?;
            }
            for table in self.lake.tables() {
                if !self.is_due_here("index the traces of", table).await? {
                    return Ok(replaced);
                }
                let files: Vec<_> = self.view().lake.of_table(table).cloned().collect();
                self.lake.index(table, &files).await.map_err(failed("index the traces of", table))?;
            }
            Ok(replaced)
        };
        self.job("compaction", work).await
    }

    /// Merges all spans as planned from what is in view, whoever holds the lease. Returns how many files were replaced.
    #[cfg(test)]
    pub(crate) async fn merge_all(&self) -> Result<u64, LakeError> {
        let files: Vec<_> = self.view().lake.of_table(TableId::Spans).cloned().collect();
        let done = self.rewrite(TableId::Spans, &files, &mut HashSet::new()).await?;
        Ok(done.map_or(0, |_| files.len() as u64))
    }

    /// Merges the small files of `table`. Returns how many were replaced, and by what.
    async fn compact_table(&self, table: TableId, today: NaiveDate) -> Result<(u64, Done), MaintenanceError> {
        if !self.config.role.is_shared() && self.lake.changed_by_others(table).await {
            self.reload(table).await.map_err(failed("reload", table))?;
        }
        let files = self.view().lake.of_table(table).cloned().collect();
        let (mut replaced, mut done) = (0, Done::default());
        for group in merge_plan(files, today) {
            if !self.is_due_here("compact", table).await? {
                break;
            }
            match self.rewrite(table, &group, &mut HashSet::new()).await.map_err(failed("compact", table))? {
                Some(written) => {
                    replaced += group.len() as u64;
                    done.add(written);
                }
                None => break,
            }
        }
        Ok((replaced, done))
    }

    pub(crate) async fn apply_retention(&self, now: DateTime<Utc>) -> Result<u64, MaintenanceError> {
        let Some(retention) = self.config.retention else { return Ok(0) };
        let _turn = self.maintenance.one_at_a_time.lock().await;
        let Some(first_kept) = chrono::TimeDelta::from_std(retention).ok().and_then(|r| now.checked_sub_signed(r)) else {
            return Ok(0);
        };
        let first_kept_day = first_kept.date_naive();
        let work = async {
            let mut removed = 0;
            self.check_owner().await.map_err(failed("apply retention to", TableId::Spans))?;
            for table in self.lake.tables() {
                if !self.is_due_here("apply retention to", table).await? {
                    return Ok(removed);
                }
                removed += self.on_table("retention", table, self.drop_days(table, first_kept_day)).await?;
            }
            // ClickHouse drops the rows of old days by itself.
            self.change(|state| {
                if let Some(stored) = &state.stored {
                    state.stored = Some(Arc::new(stored.without_days_before(first_kept_day.to_epoch_days())));
                    state.corrections.drop_before(first_kept_day.to_epoch_days());
                }
            });
            // Rows of the first day that is kept were received from midnight on.
            let midnight = first_kept_day.and_time(NaiveTime::MIN).and_utc();
            if let Err(error) = self.blobs.remove_older_than(midnight.into()).await {
                tracing::warn!(error = %chain(&error), "old blobs could not be removed");
            }
            Ok(removed)
        };
        self.job("retention", work).await
    }

    /// Whether this node does the jobs of the lake. A lease that is lost between two of them ends the round.
    async fn is_due_here(&self, job: &'static str, table: TableId) -> Result<bool, MaintenanceError> {
        match &self.bucket {
            Some(bucket) if self.config.role.is_shared() => bucket.hold_lease().await.map_err(failed(job, table)),
            None if self.config.role.is_shared() => match &self.clickhouse {
                Some(clickhouse) => Ok(clickhouse.turn().await.map_err(failed(job, table))?.is_some()),
                None => Ok(true),
            },
            _ => Ok(true),
        }
    }

    /// What is deleted from a bucket must not be another node's.
    async fn check_owner(&self) -> Result<(), LakeError> {
        match &self.bucket {
            Some(bucket) => Ok(bucket.check_owner().await?),
            None => Ok(()),
        }
    }

    /// Takes the files of days before `first_kept` out of `table`. Returns how many, and what was in them.
    async fn drop_days(&self, table: TableId, first_kept: NaiveDate) -> Result<(u64, Done), MaintenanceError> {
        let old: Vec<_> = self.view().lake.of_table(table).filter(|f| f.date < first_kept).cloned().collect();
        let done = Done::of(&old);
        if !old.is_empty() {
            self.lake.commit_replace(table, &[], &old, true).await.map_err(failed("apply retention to", table))?;
            self.change(|state| {
                Arc::make_mut(&mut state.lake).remove(table, &old);
                if table == TableId::SpanCorrections {
                    state.corrections.drop_before(first_kept.to_epoch_days());
                }
            });
            self.mark_replaced(table, old);
        }
        Ok((done.files, done))
    }

    pub(crate) async fn vacuum(&self) -> Result<u64, MaintenanceError> {
        let _turn = self.maintenance.one_at_a_time.lock().await;
        let work = async {
            let mut deleted = 0;
            self.check_owner().await.map_err(failed("vacuum", TableId::Spans))?;
            for table in self.lake.tables() {
                if !self.is_due_here("vacuum", table).await? {
                    // Another node deletes them; what it leaves is found by listing, once this one has the lease.
                    let patience = self.config.vacuum_grace * STRAY_GRACES;
                    self.maintenance.replaced.lock().retain(|_, file| outside::monotonic() - file.at < patience);
                    return Ok(deleted);
                }
                let vacuum = async { self.vacuum_table(table).await.map_err(failed("vacuum", table)) };
                deleted += self.on_table("vacuum", table, vacuum).await?;
            }
            Ok(deleted)
        };
        self.job("vacuum", work).await
    }

    /// Deletes the files of `table` that nothing refers to. Returns how many.
    async fn vacuum_table(&self, table: TableId) -> Result<(u64, Done), LakeError> {
        let grace = self.config.vacuum_grace;
        let due: Vec<Path> = {
            let replaced = self.maintenance.replaced.lock();
            let is_due = |r: &Replaced| r.table == table && r.file.strong_count() == 0 && outside::monotonic() - r.at >= grace;
            replaced.iter().filter(|(_, r)| is_due(r)).map(|(path, _)| path.clone()).collect()
        };
        self.lake.delete_files(&due).await?;
        self.maintenance.replaced.lock().retain(|path, _| !due.contains(path));
        let graces = if self.config.role.is_shared() { STRAY_GRACES } else { 1 };
        let stray = self.left_by_others(table, grace * graces).await?;
        self.lake.delete_files(&stray).await?;
        self.maintenance.stray.lock().retain(|path, _| !stray.contains(path));
        let deleted = (due.len() + stray.len()) as u64;
        Ok((deleted, Done { files: deleted, ..Done::default() }))
    }

    /// Files of `table` that an earlier process replaced, or wrote and could not commit, or that someone else is about to commit: nothing
    /// has referred to them for as long as `grace`. By our clock that only goes forward: a time of day may have been set back since.
    async fn left_by_others(&self, table: TableId, grace: Duration) -> Result<Vec<Path>, LakeError> {
        let found = self.lake.files_of_others(table).await?;
        let live: HashSet<Path> = self.view().lake.of_table(table).map(|f| f.path.clone()).collect();
        let now = outside::monotonic();
        let replaced = self.maintenance.replaced.lock();
        let mut stray = self.maintenance.stray.lock();
        let found: HashSet<Path> =
            found.into_iter().filter(|path| !live.contains(path) && !replaced.contains_key(path)).collect();
        stray.retain(|path, (of, _)| *of != table || found.contains(path));
        for path in found {
            stray.entry(path).or_insert((table, now));
        }
        let is_due = |(of, since): &(TableId, Instant)| *of == table && now - *since >= grace;
        Ok(stray.iter().filter(|(_, seen)| is_due(seen)).map(|(path, _)| path.clone()).collect())
    }

    pub(crate) async fn checkpoint(&self, commits: u64) -> Result<u64, MaintenanceError> {
        let _turn = self.maintenance.one_at_a_time.lock().await;
        let work = async {
            let mut written = 0;
            for table in self.lake.tables() {
                let is_due = || self.lake.table(table).commits_since_checkpoint.load(Ordering::Acquire) >= commits;
                if is_due() && !self.is_due_here("checkpoint", table).await? {
                    return Ok(written);
                }
                if is_due() && self.config.role.is_shared() {
                    self.lake.look_for_checkpoint(table).await;
                }
                if is_due() {
                    let checkpoint = async {
                        self.lake.checkpoint(table).await.map_err(failed("checkpoint", table))?;
                        Ok((1, Done { files: 1, ..Done::default() }))
                    };
                    written += self.on_table("checkpoint", table, checkpoint).await?;
                }
            }
            Ok(written)
        };
        self.job("checkpoint", work).await
    }

    /// Puts one file, or a few, with the same rows in the place of `files`, which are of one project and day. Corrections known now
    /// are folded in; the spans they concern are added to `matched`. Returns what was written; `None` if another writer removed one of
    /// `files`, and nothing was done.
    async fn rewrite(
        &self,
        table: TableId,
        files: &[Arc<DataFile>],
        matched: &mut HashSet<RowKey>,
    ) -> Result<Option<Done>, LakeError> {
        let [first, ..] = files else { return Ok(Some(Done::default())) };
        let (corrections, watermark) =
            self.change(|state| (state.corrections.by_project().get(&first.project).cloned(), state.hot.watermark()));
        let understood_to = corrections.as_ref().map_or(u64::MAX, |set| set.understood_to());
        let corrected_to = if self.config.role.is_shared() { 0 } else { watermark.min(understood_to) };
        let merge =
            Merge { corrections, corrected_to, position: files.iter().filter_map(|f| f.last_position()).max().unwrap_or(0) };
        let (added, found) = self.lake.merge(table, files, merge).await?;
        let data_change = !found.is_empty();
        let added = [added];
        match self.lake.commit_replace(table, &added, files, data_change).await {
            Err(LakeError::Delta(DeltaError::Conflict { path, .. })) => {
                tracing::warn!(
                    table = table.name(),
                    path,
                    "another writer removed a file that was being compacted; reading the table again"
                );
                match self.config.role.is_shared() {
                    true => self.follow_in_lake(false).await?,
                    false => self.reload(table).await?,
                }
                return Ok(None);
            }
            result => result?,
        }
        matched.extend(found);
        let done = Done::of(&added);
        self.change(|state| {
            let lake = Arc::make_mut(&mut state.lake);
            lake.remove(table, files);
            lake.add(table, added);
        });
        self.mark_replaced(table, files.to_vec());
        Ok(Some(done))
    }

    /// Takes the files of `table` from its log again.
    async fn reload(&self, table: TableId) -> Result<(), LakeError> {
        // No flush may commit between the listing and the switch.
        let no_flush = self.flusher.exclusive().await;
        let mut listed = self.lake.list_again(table).await?;
        // These come into view together with the end of their flush, which takes their rows from what is hot.
        listed.retain(|file| no_flush.files_of_hot_rows(table).all(|of_flush| of_flush.path != file.path));
        let gone = self.change(|state| Arc::make_mut(&mut state.lake).replace_all(table, listed));
        self.lake.plan_replacements(table).await;
        self.mark_replaced(table, gone);
        Ok(())
    }

    /// Rewrites the files that corrections of `project` concern, and removes those corrections. Returns how many files were replaced, and by what.
    async fn fold(&self, project: &ProjectId) -> Result<(u64, Done), LakeError> {
        let (corrections, files_of_corrections) = {
            let state = self.state.lock();
            let corrections = corrections::understood(state.corrections.persisted(project));
            (corrections, state.lake.of(TableId::SpanCorrections, project).to_vec())
        };
        // A row's corrections are done together, so that an older one is never left behind a newer.
        let mut newest: HashMap<RowKey, u64> = HashMap::new();
        for correction in &corrections {
            let position = newest.entry(RowKey::of(correction)).or_default();
            *position = correction.position.max(*position);
        }
        let shared = self.config.role.is_shared();
        if shared {
            for early in self.unsettled(&corrections) {
                newest.remove(&RowKey::of(early));
            }
        }
        let (mut replaced, mut done) = (0, Done::default());
        let (mut found, mut unsettled) = (HashSet::new(), HashSet::new());
        for table in [TableId::Spans, TableId::CostLines, TableId::Logs] {
            for file in self.view().files(table, project) {
                let mut held = self.held_by(table, &file, &newest).await?;
                if (table == TableId::Logs || shared) && !held.is_empty() {
                    // The index knows traces, of which a record need not have one: it takes a look to know what is in the file.
                    let there = self.lake.rows_of(table, &file, held.into_iter().cloned().collect()).await?;
                    if shared && !self.is_settled(&file) {
                        // Its cost lines may be yet to come.
                        unsettled.extend(there);
                        continue;
                    }
                    held = there.iter().filter_map(|key| Some(newest.get_key_value(key)?.0)).collect();
                    if table != TableId::CostLines {
                        found.extend(there);
                    }
                }
                // Files of a lake that is shared do not say what is folded in.
                if held.iter().any(|key| shared || newest[*key] > file.corrected_to) {
                    match self.rewrite(table, &[Arc::clone(&file)], &mut found).await? {
                        Some(written) => done.add(written),
                        None => return Ok((replaced, done)),
                    }
                    replaced += 1;
                } else if table == TableId::Spans && !held.is_empty() {
                    // The corrections were folded in when the file was written; are their spans in it?
                    let wanted = held.into_iter().cloned().collect();
                    found.extend(self.lake.rows_of(table, &file, wanted).await?);
                }
            }
        }
        // A correction whose row is nowhere waits for it.
        newest.retain(|key, _| found.contains(key) && !unsettled.contains(key));
        if newest.is_empty() {
            return Ok((replaced, done));
        }
        let is_done = |c: &Correction| newest.get(&RowKey::of(c)).is_some_and(|position| c.position <= *position);
        let added = self.lake.rewrite_corrections(&files_of_corrections, &is_done).await?;
        let _not_followed = self.follower.pause().await;
        self.lake.commit_replace(TableId::SpanCorrections, &added, &files_of_corrections, true).await?;
        self.change(|state| {
            let lake = Arc::make_mut(&mut state.lake);
            lake.remove(TableId::SpanCorrections, &files_of_corrections);
            lake.add(TableId::SpanCorrections, added);
            state.corrections.remove(project, &is_done);
        });
        self.mark_replaced(TableId::SpanCorrections, files_of_corrections);
        Ok((replaced, done))
    }

    /// Whether the requests whose rows are in `file` are in all tables.
    fn is_settled(&self, file: &DataFile) -> bool {
        let received = file.stats.iter().find(|stat| stat.column == "received_at").and_then(|stat| stat.max.as_ref());
        let Some(StatValue::Int(received_us)) = received else { return false };
        self.settled_until_us().is_some_and(|until| *received_us < until)
    }

    /// Those of `corrections` before which another node may have received one that it commits later: folded in, the newer one would be under it.
    fn unsettled<'a>(&self, corrections: &'a [Arc<Correction>]) -> impl Iterator<Item = &'a Correction> {
        let settled = self.settled_until_us();
        corrections.iter().map(Arc::as_ref).filter(move |c| settled.is_none_or(|until| c.received_at_us() >= until))
    }

    /// Of what nodes share: requests received before this moment, microseconds since 1970, are in all tables, whoever took them.
    fn settled_until_us(&self) -> Option<i64> {
        let complete_until = self.state.lock().complete_until?;
        let until = complete_until.checked_sub_signed(TimeDelta::from_std(SETTLED_AFTER).ok()?)?;
        Some(until.timestamp_micros())
    }

    /// Sets in ClickHouse what corrections of `project` say, and removes those corrections. Returns how many rows were corrected.
    async fn fold_in_clickhouse(&self, clickhouse: &ClickHouse, project: &ProjectId) -> Result<(u64, Done), ClickHouseError> {
        let mut turn = None;
        if self.config.role.is_shared() {
            turn = clickhouse.turn().await?;
            if turn.is_none() {
                return Ok((0, Done::default()));
            }
            // What another node folded before is not to be folded again.
            self.follow_in_clickhouse(clickhouse).await?;
        }
        let (mut corrections, visible) = {
            let state = self.state.lock();
            let stored = state.stored.as_ref().expect("rows are in ClickHouse");
            (corrections::understood(state.corrections.persisted(project)), stored.visible())
        };
        if turn.is_some() {
            let unsettled: HashSet<RowKey> = self.unsettled(&corrections).map(RowKey::of).collect();
            corrections.retain(|correction| !unsettled.contains(&RowKey::of(correction)));
        }
        let folded = clickhouse.fold(project, &corrections, &visible, turn.as_ref()).await?;
        let known: HashSet<*const Correction> = corrections.iter().map(Arc::as_ptr).collect();
        let is_done = |c: &Correction| known.contains(&std::ptr::from_ref(c)) && folded.contains(&RowKey::of(c));
        self.change(|state| state.corrections.remove(project, &is_done));
        let rows = folded.len() as u64;
        Ok((rows, Done { rows, ..Done::default() }))
    }

    /// The rows of `newest` that can be in `file` of `table`: their trace is, or they have none.
    async fn held_by<'a>(
        &self,
        table: TableId,
        file: &DataFile,
        newest: &'a HashMap<RowKey, u64>,
    ) -> Result<Vec<&'a RowKey>, LakeError> {
        let Some(index) = &file.traces else { return Ok(Vec::new()) };
        let keys = || newest.keys().filter(|key| key.is_of(table));
        let traces: HashSet<&str> = keys().map(RowKey::trace_id).collect();
        let held: HashSet<&str> = index.contains_any(traces).await?.into_iter().collect();
        Ok(keys().filter(|key| key.trace_id().is_empty() || held.contains(key.trace_id())).collect())
    }

    /// Whether a correction that this node received may be in memory alone that is older than settled ones of others.
    fn is_behind(&self) -> bool {
        let replays = self.wal.as_ref().is_some_and(|wal| wal.committed().get() < self.replayed_to);
        replays || self.state.lock().hot.age().is_some_and(|age| age >= SETTLED_AFTER)
    }

    fn fold_is_due(&self) -> bool {
        let waiting = self.state.lock().corrections.persisted_len();
        let mut since = self.maintenance.corrections_since.lock();
        if waiting == 0 {
            *since = None;
            return false;
        }
        let due =
            waiting >= FOLD_CORRECTIONS || outside::monotonic() - *since.get_or_insert_with(outside::monotonic) >= FOLD_AFTER;
        if due {
            *since = None;
        }
        due
    }

    pub(crate) fn mark_replaced(&self, table: TableId, files: Vec<Arc<DataFile>>) {
        let at = outside::monotonic();
        let mut replaced = self.maintenance.replaced.lock();
        replaced.extend(files.into_iter().map(|f| (f.path.clone(), Replaced { table, file: Arc::downgrade(&f), at })));
    }

    /// Runs the part of the job `kind` that concerns `table`, and keeps it in the history if it did something or failed.
    async fn on_table(
        &self,
        kind: &'static str,
        table: TableId,
        work: impl Future<Output = Result<(u64, Done), MaintenanceError>>,
    ) -> Result<u64, MaintenanceError> {
        let clock = RunClock::start();
        let result = work.await;
        match &result {
            Ok((_, done)) if *done == Done::default() => {}
            Ok((_, done)) => self.history.add(clock.end(kind, Some(table), *done, None)),
            Err(error) => self.history.add(clock.end(kind, Some(table), Done::default(), Some(chain(error)))),
        }
        result.map(|(count, _)| count)
    }

    /// Runs `work`, recording it as the job `name`.
    async fn job(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<u64, MaintenanceError>>,
    ) -> Result<u64, MaintenanceError> {
        self.maintenance.jobs.lock().entry(name).or_default().running = true;
        let started = outside::monotonic();
        let result = work.await;
        let mut jobs = self.maintenance.jobs.lock();
        let status = jobs.entry(name).or_default();
        status.running = false;
        status.last_unix_ms = Some(outside::wall_clock().timestamp_millis());
        status.last_ms = Some(u64::try_from((outside::monotonic() - started).as_millis()).unwrap_or(u64::MAX));
        match &result {
            Ok(done) => {
                status.done += done;
                status.error = None;
                if *done > 0 {
                    tracing::info!(job = name, done, took_ms = status.last_ms, "maintenance job finished");
                }
            }
            Err(error) => {
                tracing::error!(job = name, error = %chain(error), "maintenance job failed; it is tried again");
                status.error = Some(chain(error));
            }
        }
        result
    }
}

/// Which of `files` to merge with which: neighbours in time, of one project and day, of like size. Days before `today` get no more
/// rows, so there everything small is merged.
fn merge_plan(files: Vec<Arc<DataFile>>, today: NaiveDate) -> Vec<Vec<Arc<DataFile>>> {
    let mut classes: BTreeMap<(ProjectId, NaiveDate, u32), Vec<Arc<DataFile>>> = BTreeMap::new();
    for file in files.into_iter().filter(|f| f.raw_bytes < FILE_RAW_BYTES_MAX / 2) {
        let class = if file.date < today { 0 } else { size_class(file.raw_bytes) };
        classes.entry((file.project.clone(), file.date, class)).or_default().push(file);
    }
    let mut plan = Vec::new();
    for ((_, date, _), mut files) in classes {
        let fan_in = if date < today { 2 } else { MERGE_FAN_IN };
        files.sort_by_key(|f| (f.time_min, f.path.clone()));
        let mut group = Vec::new();
        let mut bytes = 0;
        for file in files {
            if bytes + file.raw_bytes > FILE_RAW_BYTES_MAX && !group.is_empty() {
                plan.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += file.raw_bytes;
            group.push(file);
            if date >= today && group.len() == fan_in {
                plan.push(std::mem::take(&mut group));
                bytes = 0;
            }
        }
        if group.len() >= fan_in {
            plan.push(group);
        }
    }
    plan.retain(|group| group.len() > 1);
    plan
}

fn size_class(raw_bytes: u64) -> u32 {
    u32::try_from(MERGE_FAN_IN).map_or(0, |fan_in| (raw_bytes / SMALLEST_CLASS_BYTES).max(1).ilog(u64::from(fan_in)))
}

fn failed<E: std::error::Error + Send + Sync + 'static>(job: &'static str, table: TableId) -> impl FnOnce(E) -> MaintenanceError {
    move |source| MaintenanceError { job, table: table.name(), source: source.into() }
}

#[cfg(test)]
mod tests;
