//! Following a lake, or a database in ClickHouse, that several nodes write: what they committed comes into view, and with it the moment up to which the view is complete.
//!
//! In this order, so that what is seen is never ahead of what it rests on: the nodes say up to when all they acknowledged is committed; then the
//! log of `span_corrections` is read, then the other logs. A correction that was folded meanwhile is applied once more, which changes nothing; one
//! that is missing is in the files.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use assay_schemas::{ids::ProjectId, tables::TableId};
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    bucket::{Bucket, Member},
    clickhouse::{ClickHouse, ClickHouseError},
    config::Role,
    corrections::Correction,
    flush::chain,
    lake::{Changes, DataFile, LakeError},
    outside,
    storage::{Inner, State},
    view::LakeFiles,
};

const READS_AT_ONCE: usize = 8;
const DIRECTORIES_EVERY: Duration = Duration::from_secs(5 * 60);

/// What is remembered between two looks at a shared lake.
#[derive(Default)]
pub(crate) struct Follower {
    one_at_a_time: tokio::sync::Mutex<()>,
    /// What is in the files of `span_corrections` that are in view.
    corrections: Mutex<HashMap<Path, Vec<Arc<Correction>>>>,
    error: Mutex<Option<String>>,
    directories_listed: Mutex<Option<Instant>>,
}

impl Follower {
    /// Keeps others from being followed while the guard lives: files of `span_corrections` change by what this node does alone.
    pub(crate) async fn pause(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.one_at_a_time.lock().await
    }

    /// Why others could not be followed lately, if that is so.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }
}

/// Follows until `stop`. Holds the store only while it looks.
pub(crate) async fn run(store: Weak<Inner>, stop: CancellationToken) {
    let Some(interval) = store.upgrade().map(|inner| inner.config.follow_interval) else { return };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = outside::sleep(interval) => {}
        }
        let Some(inner) = store.upgrade() else { return };
        if let Err(error) = inner.follow(false).await {
            tracing::warn!(error = %chain(&error), "what other nodes committed could not be read; it is tried again");
        }
    }
}

/// What other nodes wrote could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// In a bucket.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// In ClickHouse.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
}

impl Inner {
    /// Reads what others committed, if there are any. `for_jobs`: from now on files are replaced that are chosen from what is in view then.
    pub(crate) async fn follow(&self, for_jobs: bool) -> Result<(), FollowError> {
        match self.clickhouse.as_ref().filter(|_| self.config.role.is_shared()) {
            Some(clickhouse) => Ok(self.follow_in_clickhouse(clickhouse).await?),
            None => Ok(self.follow_in_lake(for_jobs).await?),
        }
    }

    /// The same of a database.
    pub(crate) async fn follow_in_clickhouse(&self, clickhouse: &ClickHouse) -> Result<(), ClickHouseError> {
        let _turn = self.follower.one_at_a_time.lock().await;
        // What a flush inserted comes into view with its end.
        let _no_flush = self.flusher.exclusive().await;
        let known = self.view().stored.clone().expect("rows are in ClickHouse");
        let looked = clickhouse.look(&known).await;
        *self.follower.error.lock() = looked.as_ref().err().map(chain);
        let (complete_until, rows, corrections) = looked?;
        self.change(|state| {
            state.complete_until = Some(complete_until);
            state.stored = Some(Arc::new(rows));
            state.corrections.replace_persisted(corrections.into_iter().collect());
        });
        Ok(())
    }

    /// The same of a lake.
    pub(crate) async fn follow_in_lake(&self, for_jobs: bool) -> Result<(), LakeError> {
        let Some(bucket) = self.bucket.as_ref().filter(|_| self.config.role.is_shared()) else { return Ok(()) };
        let _turn = self.follower.one_at_a_time.lock().await;
        let followed = self.look(bucket).await;
        *self.follower.error.lock() = followed.as_ref().err().map(chain);
        let new = followed?;
        if for_jobs {
            for table in self.lake.tables() {
                self.lake.plan_replacements(table).await;
            }
        }
        if self.config.role.follows() {
            self.list_directories().await?;
            // Whoever asks for a trace must look into all of them. What cannot be read now is read, or complained about, when it is needed.
            let indexes = new.iter().filter_map(|file| file.traces.as_ref());
            futures::stream::iter(indexes)
                .for_each_concurrent(READS_AT_ONCE, |index| async move { drop(index.read_ahead().await) })
                .await;
        }
        Ok(())
    }

    /// Takes up the trace directories now and then: without one that is new, the indexes of the files it covers are read.
    async fn list_directories(&self) -> Result<(), LakeError> {
        let now = outside::monotonic();
        let is_due = self.follower.directories_listed.lock().is_none_or(|at| now - at >= DIRECTORIES_EVERY);
        if is_due {
            self.lake.list_directories().await?;
            *self.follower.directories_listed.lock() = Some(now);
        }
        Ok(())
    }

    /// Brings what others committed into view. Returns the files that are new there.
    async fn look(&self, bucket: &Bucket) -> Result<Vec<Arc<DataFile>>, LakeError> {
        let now = outside::wall_clock();
        let complete_until = complete_until(now, &bucket.members().await?, bucket.node_id());
        // What a flush committed comes into view with its end.
        let no_flush = self.flusher.exclusive().await;
        self.lake.read_on(TableId::SpanCorrections).await?;
        let corrections = self.lake.take_changes(TableId::SpanCorrections).await;
        let others = || self.lake.tables().filter(|table| *table != TableId::SpanCorrections);
        let read = async {
            let n_read = self.read_corrections(&corrections).await?;
            let logs = others().map(|table| self.lake.read_on(table));
            futures::stream::iter(logs.collect::<Vec<_>>()).buffer_unordered(READS_AT_ONCE).try_collect::<()>().await?;
            Ok(n_read)
        };
        let corrections_changed = match read.await {
            Ok(n_read) => n_read > 0 || !corrections.is_empty(),
            Err(error) => {
                self.lake.put_back(TableId::SpanCorrections, corrections).await;
                return Err(error);
            }
        };
        let mut changes = vec![(TableId::SpanCorrections, corrections)];
        for table in others().collect::<Vec<_>>() {
            changes.push((table, self.lake.take_changes(table).await));
        }
        let (new, gone) = self.change(|state| {
            state.complete_until = Some(complete_until);
            let (mut new, mut gone) = (Vec::new(), Vec::new());
            for (table, changes) in changes.into_iter().filter(|(_, changes)| !changes.is_empty()) {
                let of_flush = |path: &Path| no_flush.files_of_hot_rows(table).any(|file| file.path == *path);
                let (added, removed) = self.apply(state, table, changes, of_flush);
                new.extend(added);
                gone.push((table, removed));
            }
            if corrections_changed {
                let files = Arc::clone(&state.lake);
                state.corrections.replace_persisted(self.persisted_corrections(&files));
            }
            (new, gone)
        });
        for (table, files) in gone.into_iter().filter(|_| self.config.role.writes()) {
            self.mark_replaced(table, files);
        }
        Ok(new)
    }

    /// Puts `changes` of `table` into `state`. Returns which files are new, and which are gone.
    fn apply(
        &self,
        state: &mut State,
        table: TableId,
        changes: Changes,
        of_flush: impl Fn(&Path) -> bool,
    ) -> (Vec<Arc<DataFile>>, Vec<Arc<DataFile>>) {
        let lake = Arc::make_mut(&mut state.lake);
        let listed: HashSet<Path> = changes.added.iter().map(|facts| facts.path.clone()).collect();
        let is_gone = |file: &DataFile| changes.removed.contains(&file.path) || changes.anew && !listed.contains(&file.path);
        let (gone, known): (Vec<_>, Vec<_>) = lake.of_table(table).cloned().partition(|file| is_gone(file));
        lake.remove(table, &gone);
        let known: HashSet<Path> = known.into_iter().map(|file| file.path.clone()).collect();
        let is_new = |path: &Path| !known.contains(path) && !of_flush(path);
        let new: Vec<_> =
            changes.added.into_iter().filter(|facts| is_new(&facts.path)).map(|facts| self.lake.file_of(table, facts)).collect();
        lake.add(table, new.iter().cloned());
        (new, gone)
    }

    /// Reads the files of corrections that will be in view after `changes`, where they are not known. Returns how many.
    async fn read_corrections(&self, changes: &Changes) -> Result<usize, LakeError> {
        let in_view: Vec<_> = self.view().lake.of_table(TableId::SpanCorrections).cloned().collect();
        let mut unknown: Vec<Arc<DataFile>> = Vec::new();
        {
            let known = self.follower.corrections.lock();
            let is_unknown = |path: &Path| !known.contains_key(path) && !changes.removed.contains(path);
            unknown.extend(in_view.into_iter().filter(|file| !changes.anew && is_unknown(&file.path)));
            let added = changes.added.iter().filter(|facts| is_unknown(&facts.path)).cloned();
            unknown.extend(added.map(|facts| self.lake.file_of(TableId::SpanCorrections, facts)));
        }
        for file in &unknown {
            let batches = self.lake.read_file(TableId::SpanCorrections, file).await?;
            let date = file.date.to_epoch_days();
            let corrections = batches.iter().flat_map(|batch| Correction::read(batch, date)).collect();
            self.follower.corrections.lock().insert(file.path.clone(), corrections);
        }
        Ok(unknown.len())
    }

    /// The corrections in `files`, by project. Forgets those of other files.
    fn persisted_corrections(&self, files: &LakeFiles) -> BTreeMap<ProjectId, Vec<Arc<Correction>>> {
        let mut known = self.follower.corrections.lock();
        let mut all: BTreeMap<ProjectId, Vec<Arc<Correction>>> = BTreeMap::new();
        let mut kept = HashMap::new();
        for file in files.of_table(TableId::SpanCorrections) {
            let corrections = known.remove(&file.path).expect("files of corrections come into view when they were read");
            all.entry(file.project.clone()).or_default().extend(corrections.iter().cloned());
            kept.insert(file.path.clone(), corrections);
        }
        *known = kept;
        all
    }

    /// Says goodbye to the other nodes. `flushed`: nothing is left that is not in the tables.
    pub(crate) async fn leave(&self, flushed: bool) {
        let is_one_of_many = matches!(self.config.role, Role::Member | Role::Collector);
        if let Some(clickhouse) = self.clickhouse.as_ref().filter(|_| is_one_of_many && flushed) {
            if let Err(error) = clickhouse.report(outside::wall_clock(), true).await {
                tracing::warn!(error = %chain(&error), "other nodes could not be told that this one has ended; what they show is complete up to now");
            }
            return;
        }
        let Some(bucket) = self.bucket.as_ref().filter(|_| is_one_of_many) else { return };
        let goodbye = async {
            bucket.give_lease_back().await?;
            match flushed {
                true => bucket.report(outside::wall_clock(), true).await,
                false => Ok(()),
            }
        };
        if let Err(error) = goodbye.await {
            tracing::warn!(error = %chain(&error), "other nodes could not be told that this one has ended; what they show is complete up to now");
        }
    }
}

/// Whatever any of `members` but `own` acknowledged before is in the tables; so is what any acknowledged before `now` that had not joined by then.
fn complete_until(now: DateTime<Utc>, members: &[Member], own: &str) -> DateTime<Utc> {
    let running = members.iter().filter(|member| !member.stopped && member.node_id != own);
    running.fold(now, |until, member| until.min(member.complete_until))
}

#[cfg(test)]
mod tests;
