//! The log of one Delta table: opening, committing exactly once, evolving, checkpointing.
//!
//! Several nodes may write a table, and other engines: a version that is taken is read before the next one is tried. Files that are added stand in
//! nobody's way; to replace one that another writer removed is a conflict. A commit whose answer was lost is looked up by its application
//! transaction (this node, WAL position), or by the files it added, before anything is written again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use assay_schemas::{ids::ProjectId, tables::TableId};
use bytes::Bytes;
use chrono::NaiveDate;
use deltalake_core::{
    DeltaTable, DeltaTableError, TableProperty,
    checkpoints::{cleanup_metadata, create_checkpoint},
    kernel::{
        Action, Add, EagerSnapshot, MetadataExt as _, Remove, StructField, StructType, Transaction,
        engine::arrow_conversion::TryIntoKernel as _,
        transaction::{CommitData, TransactionError},
    },
    logstore::{CommitOrBytes, LogStoreRef, StorageConfig, default_logstore},
    operations::create::CreateBuilder,
    protocol::{DeltaOperation, SaveMode},
};
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path, prefix::PrefixStore};
use serde_json::Value;

use super::{
    DataFile, FileFacts,
    encode::PARTITION_COLUMNS,
    file::{stats_from_delta, stats_to_delta},
    table_path,
};
use crate::outside;

const TAG_RAW_BYTES: &str = "assay.raw_bytes";
const TAG_CORRECTED_TO: &str = "assay.corrected_to";
/// Readers outside this process may be this far behind.
const LOG_RETENTION: &str = "interval 1 days";
/// Names a commit in its commit info.
const COMMIT_ID: &str = "assayCommit";
/// Names the process that made a commit in its commit info.
const PROCESS: &str = "assayProcess";
/// Names the node in a commit that takes the table over.
const TAKEN_OVER_BY: &str = "assayTakenOverBy";
const COMMIT_ATTEMPTS_MAX: usize = 100;
/// What of Delta's protocol is done here.
const PROTOCOL: &str = "reader version 1 and writer version 2";
const READER_VERSION_MAX: u64 = 1;
const WRITER_VERSION_MAX: u64 = 2;
/// What these versions ask for, by the names that later ones give it.
const FEATURES: [&str; 2] = ["appendOnly", "invariants"];
/// Entries of the log are deleted a day after they were written, at the earliest. Who has not looked for half of that reads the table anew: of the
/// version that he believes to be the next, the name may be free again.
const STALE_AFTER: Duration = Duration::from_secs(12 * 3600);
/// Another node may make or change a table at the same moment.
const OPEN_ATTEMPTS_MAX: usize = 5;

/// A Delta log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The log store failed.
    #[error("could not {action} the Delta table `{table}`")]
    Log {
        /// What we were doing.
        action: &'static str,
        /// The table.
        table: &'static str,
        /// Why.
        source: Box<DeltaTableError>,
    },
    /// The table on disk cannot hold this version's rows.
    #[error("column `{column}` of the Delta table `{table}` has type `{found}`, expected `{expected}`")]
    Schema {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
        /// Type on disk.
        found: String,
        /// Type of this version.
        expected: String,
    },
    /// The table asks its readers or writers for what this version does not do.
    #[error(
        "the Delta table `{table}` asks for {found}: expected no more than {expected} (another engine, or a later version of Assay, turned it on)"
    )]
    Protocol {
        /// The table.
        table: &'static str,
        /// What it asks for.
        found: String,
        /// What this version does.
        expected: &'static str,
    },
    /// A node is one process.
    #[error(
        "another process commits to the Delta table `{table}` in the name of this node: expected none (two data folders with one `node-id`?)"
    )]
    OtherProcess {
        /// The table.
        table: &'static str,
    },
    /// Someone else removed a file that was being replaced.
    #[error("the Delta table `{table}` was changed by another writer: `{path}` is no longer in it")]
    Conflict {
        /// The table.
        table: &'static str,
        /// The file.
        path: String,
    },
}

/// What one commit does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) added: &'a [Arc<DataFile>],
    pub(crate) removed: &'a [Arc<DataFile>],
    /// Whether the rows of the table differ afterwards.
    pub(crate) data_change: bool,
    /// Everything up to here is in the table afterwards.
    pub(crate) position: Option<u64>,
}

/// What other writers did to a table.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Files that are in it now, and were not before.
    pub(crate) added: Vec<FileFacts>,
    /// Files that are no longer in it.
    pub(crate) removed: HashSet<Path>,
    /// `added` are all files there are: what was not looked at for long was read anew.
    pub(crate) anew: bool,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && !self.anew
    }

    /// What `self` did, and then `later`.
    fn then(&mut self, later: Self) {
        if later.anew {
            *self = later;
            return;
        }
        self.added.retain(|file| !later.removed.contains(&file.path));
        self.removed.extend(later.removed);
        self.added.extend(later.added);
    }
}

/// The log of one table. Holds its version, not its files.
pub(crate) struct DeltaLog {
    table: TableId,
    log_store: LogStoreRef,
    node_id: String,
    /// This process, among those of the node.
    process: String,
    writes: bool,
    version: u64,
    committed: u64,
    /// Until this process has taken the table over, a commit of an earlier one of this node may land.
    taken_over: bool,
    last_checkpoint: u64,
    /// Whether there is such a table; only a node that does not write can be without.
    exists: bool,
    /// When `version` was the last one there is, at the latest.
    last_seen: Instant,
    /// What other writers did that nobody has asked for yet.
    others: Changes,
    /// Files that other writers removed since replacements were last planned.
    removed_by_others: HashSet<String>,
    /// Since then, others may have removed any file.
    removals_unknown: bool,
    /// The version that a failed commit may or may not have written, durably or not.
    unsure: Option<u64>,
}

impl std::fmt::Debug for DeltaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaLog").field("table", &self.table).field("version", &self.version).finish_non_exhaustive()
    }
}

impl DeltaLog {
    /// Opens the table and lists its files. Who `writes` makes it if it is missing, and adds columns that it lacks.
    pub(crate) async fn open(
        table: TableId,
        store: &Arc<dyn ObjectStore>,
        node_id: &str,
        process: &str,
        writes: bool,
    ) -> Result<(Self, Vec<FileFacts>), DeltaError> {
        let failed = |action| move |source| log_error(table, action, source);
        let log_store = log_store(table, store);
        let mut log = Self {
            table,
            log_store,
            node_id: node_id.to_owned(),
            process: process.to_owned(),
            writes,
            version: 0,
            committed: 0,
            taken_over: false,
            last_checkpoint: 0,
            exists: true,
            last_seen: outside::monotonic(),
            others: Changes::default(),
            removed_by_others: HashSet::new(),
            removals_unknown: false,
            unsure: None,
        };
        if !log.log_store.is_delta_table_location().await.map_err(failed("open"))? {
            if !writes {
                log.exists = false;
                return Ok((log, Vec::new()));
            }
            let created = outside::with_own_threads(create_with(table, log.log_store(), delta_fields(table))).await;
            if created.is_err() && !log.log_store.is_delta_table_location().await.map_err(failed("open"))? {
                created?;
            }
        }
        for attempt in 1.. {
            let snapshot = log.load().await?;
            match if writes { log.evolve(&snapshot).await } else { Ok(()) } {
                Err(DeltaError::Conflict { .. }) if attempt < OPEN_ATTEMPTS_MAX => log.others = Changes::default(),
                Err(error) => return Err(error),
                Ok(()) => {
                    let files = log.files(&snapshot).await?;
                    log.taken_over = true;
                    return Ok((log, files));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The files as the log has them now. Those that were chosen before, to be replaced, no longer can be: see [`DeltaLog::plan_replacements`].
    pub(crate) async fn list_again(&mut self) -> Result<Vec<FileFacts>, DeltaError> {
        self.read_anew().await?;
        Ok(std::mem::take(&mut self.others).added)
    }

    /// Whether another writer committed since the files were listed, or since [`DeltaLog::take_changes`].
    pub(crate) fn changed_by_others(&self) -> bool {
        !self.others.is_empty() || !self.removed_by_others.is_empty() || self.removals_unknown
    }

    /// Reads what others committed, up to the last version there is.
    pub(crate) async fn read_on(&mut self) -> Result<(), DeltaError> {
        let table = self.table;
        let failed = |action| move |source| log_error(table, action, source);
        if !self.exists {
            if self.log_store.is_delta_table_location().await.map_err(failed("open"))? {
                self.read_anew().await?;
                self.exists = true;
            }
            return Ok(());
        }
        self.settle().await?;
        if outside::monotonic() - self.last_seen >= STALE_AFTER {
            return self.read_anew().await;
        }
        loop {
            let asked_at = outside::monotonic();
            let read = self.log_store.read_commit_entry(self.version + 1).await;
            let Some(entry) = read.map_err(failed("read the log of"))? else {
                self.last_seen = asked_at;
                return Ok(());
            };
            let commit = Commit::parse(&entry, &self.node_id);
            self.check_protocol(commit.protocol.as_ref())?;
            self.note(commit)?;
            self.version += 1;
        }
    }

    /// Whether this version may read, and if it does write, a table whose log says `protocol`.
    fn check_protocol(&self, protocol: Option<&Value>) -> Result<(), DeltaError> {
        match protocol.and_then(|protocol| beyond(protocol, self.writes)) {
            Some(found) => Err(DeltaError::Protocol { table: self.table.name(), found, expected: PROTOCOL }),
            None => Ok(()),
        }
    }

    /// What other writers did since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.others)
    }

    /// The next [`DeltaLog::take_changes`] gives `changes` again.
    pub(crate) fn put_back(&mut self, mut changes: Changes) {
        changes.then(std::mem::take(&mut self.others));
        self.others = changes;
    }

    /// From now on, files are replaced that were listed after all changes taken so far.
    pub(crate) fn plan_replacements(&mut self) {
        let prefix = format!("{}/", table_path(self.table));
        let relative = |path: &Path| path.as_ref().strip_prefix(&prefix).map(ToOwned::to_owned);
        self.removed_by_others = self.others.removed.iter().filter_map(relative).collect();
        self.removals_unknown = self.others.anew;
    }

    /// Makes sure that no commit of an earlier process of this node lands any more: one that was on its way when the process ended has the next
    /// version, which this takes. Returns whether anyone committed since the files were listed.
    pub(crate) async fn take_over(&mut self) -> Result<bool, DeltaError> {
        self.taken_over = false;
        self.commit_actions(Vec::new(), append(), Vec::new()).await?;
        self.taken_over = true;
        Ok(self.changed_by_others())
    }

    /// Remembers what a commit of another writer did.
    fn note(&mut self, commit: Commit) -> Result<(), DeltaError> {
        if self.taken_over && commit.is_of_node && commit.process.as_ref() != Some(&self.process) {
            return Err(DeltaError::OtherProcess { table: self.table.name() });
        }
        self.committed = self.committed.max(commit.position.unwrap_or(0));
        let prefix = table_path(self.table);
        let removed = commit.removed.iter().map(|path| Path::from(format!("{prefix}/{path}"))).collect();
        let added = commit.adds.iter().filter_map(|add| self.checked_facts(add)).collect();
        self.others.then(Changes { added, removed, anew: false });
        self.removed_by_others.extend(commit.removed);
        Ok(())
    }

    async fn read_anew(&mut self) -> Result<(), DeltaError> {
        self.settle().await?;
        let asked_at = outside::monotonic();
        let snapshot = self.load().await?;
        self.others = Changes { added: self.files(&snapshot).await?, removed: HashSet::new(), anew: true };
        self.removals_unknown = true;
        self.last_seen = asked_at;
        Ok(())
    }

    pub(crate) fn table(&self) -> TableId {
        self.table
    }

    pub(crate) fn log_store(&self) -> LogStoreRef {
        Arc::clone(&self.log_store)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Largest WAL position that a commit of this node carries.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    pub(crate) fn commits_since_checkpoint(&self) -> u64 {
        self.version.saturating_sub(self.last_checkpoint)
    }

    /// Another node may have written a checkpoint.
    pub(crate) async fn look_for_checkpoint(&mut self) {
        self.last_checkpoint = self.last_checkpoint.max(self.read_last_checkpoint().await);
    }

    /// A checkpoint of `version` was written.
    pub(crate) fn checkpointed(&mut self, version: u64) {
        self.last_checkpoint = version;
    }

    /// Makes `change` the next version of the table. Rows up to a position that the table has are not added again.
    pub(crate) async fn commit(&mut self, change: Change<'_>) -> Result<(), DeltaError> {
        let operation = if change.removed.is_empty() {
            append()
        } else if change.data_change {
            DeltaOperation::Delete { predicate: None }
        } else {
            DeltaOperation::Optimize { predicate: None, target_size: 0 }
        };
        let now = outside::wall_clock().timestamp_millis();
        let mut actions: Vec<Action> =
            change.removed.iter().map(|file| Action::Remove(self.remove(file, change.data_change, now))).collect();
        actions.extend(change.added.iter().map(|file| Action::Add(self.add(file, change.data_change, now))));
        let transactions =
            change.position.map(|position| Transaction::new(&self.node_id, position.cast_signed())).into_iter().collect();
        self.commit_actions(actions, operation, transactions).await
    }

    async fn commit_actions(
        &mut self,
        actions: Vec<Action>,
        operation: DeltaOperation,
        transactions: Vec<Transaction>,
    ) -> Result<(), DeltaError> {
        let table = self.table;
        let failed = |action| move |source| log_error(table, action, source);
        // The files that a commit adds and removes name it: a retry of the same change finds the first attempt by them.
        let (mut added, mut removed, mut changes_schema) = (Vec::new(), Vec::new(), false);
        for action in &actions {
            match action {
                Action::Add(add) => added.push(add.path.clone()),
                Action::Remove(remove) => removed.push(remove.path.clone()),
                Action::Metadata(_) => changes_schema = true,
                _ => {}
            }
        }
        let commit_id = outside::unique_id().to_string();
        let mut marker = vec![(COMMIT_ID, &commit_id), (PROCESS, &self.process)];
        if actions.is_empty() {
            marker.push((TAKEN_OVER_BY, &self.node_id));
        }
        let marker = marker.into_iter().map(|(key, value)| (key.to_owned(), value.clone().into())).collect();
        let position = transactions.first().map(|transaction| transaction.version.cast_unsigned());
        let data = CommitData::new(actions, operation, marker, transactions);
        let bytes = data.get_bytes().map_err(DeltaTableError::from).map_err(failed("encode a commit to"))?;
        self.settle().await?;
        if outside::monotonic() - self.last_seen >= STALE_AFTER {
            self.read_on().await?;
        }
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            if position.is_some_and(|position| position <= self.committed) {
                tracing::info!(table = self.table.name(), version = self.version, "a commit whose answer was lost had landed");
                return Ok(());
            }
            let gone = |path: &&String| self.removals_unknown || self.removed_by_others.contains(*path);
            if let Some(path) = removed.iter().find(gone) {
                return Err(DeltaError::Conflict { table: self.table.name(), path: path.clone() });
            }
            let version = self.version + 1;
            let asked_at = outside::monotonic();
            let entry = CommitOrBytes::LogBytes(bytes.clone());
            let error = match self.log_store.write_commit_entry(version, entry, outside::unique_id()).await {
                Ok(()) => {
                    self.version = version;
                    self.committed = self.committed.max(position.unwrap_or(0));
                    self.last_seen = asked_at;
                    return Ok(());
                }
                Err(error) => error,
            };
            if !matches!(error, TransactionError::VersionAlreadyExists(_)) {
                self.unsure = Some(version);
            }
            // Whatever the error says, what counts is what the log says now.
            let Some(found) = self.settled_entry(version).await? else {
                return Err(log_error(self.table, "commit to", error.into()));
            };
            let found = Commit::parse(&found, &self.node_id);
            self.check_protocol(found.protocol.as_ref())?;
            if found.id.as_deref() == Some(&commit_id)
                || (!added.is_empty() && added.iter().all(|path| found.added.contains(path)))
            {
                self.version = version;
                self.committed = self.committed.max(found.position.unwrap_or(0));
                tracing::info!(table = self.table.name(), version, "a commit whose answer was lost had landed");
                return Ok(());
            }
            let schema_changed = found.changes_schema;
            self.note(found)?;
            self.version = version;
            tracing::debug!(table = self.table.name(), version, "another writer committed");
            if changes_schema && schema_changed {
                return Err(DeltaError::Conflict {
                    table: self.table.name(),
                    path: format!("the schema before version {version}"),
                });
            }
        }
        Err(log_error(self.table, "commit to", DeltaTableError::generic("too many other writers")))
    }

    /// Makes durable what a failed commit may have left, before anything rests on it.
    async fn settle(&mut self) -> Result<(), DeltaError> {
        if let Some(version) = self.unsure {
            self.settled_entry(version).await?;
            // Had it been written, it would be there.
            self.unsure = None;
        }
        Ok(())
    }

    /// The entry of `version`, if there is one. After a failed commit it can be seen, but a power cut may take it away: it is put once more.
    async fn settled_entry(&mut self, version: u64) -> Result<Option<Bytes>, DeltaError> {
        let table = self.table;
        let failed = |action| move |source| log_error(table, action, source);
        let found = self.log_store.read_commit_entry(version).await.map_err(failed("read the log of"))?;
        if let Some(entry) = &found
            && self.unsure == Some(version)
        {
            let path = Path::from(format!("_delta_log/{version:020}.json"));
            let put = self.log_store.object_store(None).put(&path, entry.clone().into()).await;
            put.map_err(DeltaTableError::from).map_err(failed("make a commit durable in"))?;
            self.unsure = None;
        }
        Ok(found)
    }

    async fn load(&mut self) -> Result<EagerSnapshot, DeltaError> {
        let table = self.table;
        let failed = |action| move |source| log_error(table, action, source);
        let read = async {
            let snapshot = EagerSnapshot::try_new(self.log_store.as_ref(), None).await?;
            let committed = snapshot.transaction_version(self.log_store.as_ref(), &self.node_id).await?;
            Ok((snapshot, committed))
        };
        let (snapshot, committed) = outside::with_own_threads(read).await.map_err(failed("load"))?;
        self.check_protocol(serde_json::to_value(snapshot.protocol()).ok().as_ref())?;
        self.version = snapshot.version();
        self.committed = committed.unwrap_or(0).max(0).cast_unsigned();
        self.last_checkpoint = self.read_last_checkpoint().await;
        Ok(snapshot)
    }

    /// The version of the last checkpoint, 0 if there is none or its hint cannot be read: then one is written sooner.
    async fn read_last_checkpoint(&self) -> u64 {
        let Ok(hint) = self.log_store.object_store(None).get(&Path::from("_delta_log/_last_checkpoint")).await else { return 0 };
        let Ok(hint) = hint.bytes().await else { return 0 };
        serde_json::from_slice::<Value>(&hint).ok().and_then(|hint| hint["version"].as_u64()).unwrap_or(0)
    }

    /// Adds the columns that this version knows and the table lacks, and brings the comments up to date.
    async fn evolve(&mut self, snapshot: &EagerSnapshot) -> Result<(), DeltaError> {
        let table = self.table;
        let failed = |action| move |source| log_error(table, action, source);
        let found = snapshot.schema();
        let expected = delta_fields(self.table);
        let mut fields = Vec::new();
        for field in found.fields() {
            let Some(ours) = expected.iter().find(|e| e.name() == field.name()) else {
                fields.push(field.clone());
                continue;
            };
            if ours.data_type() != field.data_type() {
                return Err(DeltaError::Schema {
                    table: self.table.name(),
                    column: field.name().clone(),
                    found: field.data_type().to_string(),
                    expected: ours.data_type().to_string(),
                });
            }
            let kept = StructField::new(field.name(), field.data_type().clone(), field.is_nullable());
            fields.push(kept.with_metadata(ours.metadata().clone()));
        }
        let missing: Vec<StructField> = expected
            .iter()
            .filter(|e| found.field(e.name()).is_none())
            // Files written before do not have it.
            .map(|e| StructField::new(e.name(), e.data_type().clone(), true).with_metadata(e.metadata().clone()))
            .collect();
        fields.extend(missing.iter().cloned());
        let schema = StructType::try_new(fields).map_err(DeltaTableError::from).map_err(failed("evolve"))?;
        if schema == *found.as_ref() {
            return Ok(());
        }
        tracing::info!(table = self.table.name(), added_columns = missing.len(), "the table's schema is brought up to date");
        let metadata =
            snapshot.metadata().clone().with_schema(&schema).map_err(DeltaTableError::from).map_err(failed("evolve"))?;
        let operation = DeltaOperation::AddColumn { fields: missing };
        self.commit_actions(vec![Action::Metadata(metadata)], operation, Vec::new()).await
    }

    async fn files(&self, snapshot: &EagerSnapshot) -> Result<Vec<FileFacts>, DeltaError> {
        let table = self.table;
        let failed = |action| move |source| log_error(table, action, source);
        let read = async { snapshot.file_views(self.log_store.as_ref(), None).try_collect::<Vec<_>>().await };
        let views = outside::with_own_threads(read).await.map_err(failed("list the files of"))?;
        let mut files = Vec::with_capacity(views.len());
        for view in views {
            #[expect(deprecated, reason = "the only way to the tags of a file")]
            let add = view.add_action();
            files.extend(self.checked_facts(&add));
        }
        Ok(files)
    }

    fn checked_facts(&self, add: &Add) -> Option<FileFacts> {
        let facts = self.facts(add);
        if facts.is_none() {
            tracing::error!(table = self.table.name(), path = add.path, "a file outside any project and day is not read");
        }
        facts
    }

    fn facts(&self, add: &Add) -> Option<FileFacts> {
        let partition = |name: &str| add.partition_values.get(name).and_then(Option::as_deref);
        let tag = |name: &str| add.tags.as_ref()?.get(name)?.as_deref()?.parse::<u64>().ok();
        let (rows, stats) = stats_from_delta(add.stats.as_deref(), self.table);
        let size = add.size.cast_unsigned();
        Some(FileFacts {
            path: Path::from(format!("{}/{}", table_path(self.table), add.path)),
            size,
            rows,
            project: ProjectId::new(partition("project_id")?).ok()?,
            date: partition("date")?.parse::<NaiveDate>().ok()?,
            stats,
            // A file rewritten by another engine: text of this kind shrinks to about an eighth.
            raw_bytes: tag(TAG_RAW_BYTES).unwrap_or(size * 8),
            corrected_to: tag(TAG_CORRECTED_TO).unwrap_or(0),
        })
    }

    fn relative(&self, file: &DataFile) -> String {
        let prefix = format!("{}/", table_path(self.table));
        file.path.as_ref().strip_prefix(&prefix).expect("a file lies in the folder of its table").to_owned()
    }

    fn add(&self, file: &DataFile, data_change: bool, now: i64) -> Add {
        let tags = [(TAG_RAW_BYTES, file.raw_bytes), (TAG_CORRECTED_TO, file.corrected_to)];
        Add {
            path: self.relative(file),
            partition_values: partition_values(file),
            size: file.size.cast_signed(),
            modification_time: now,
            data_change,
            stats: Some(stats_to_delta(file.rows, &file.stats, self.table)),
            tags: Some(tags.map(|(name, value)| (name.to_owned(), Some(value.to_string()))).into()),
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }

    fn remove(&self, file: &DataFile, data_change: bool, now: i64) -> Remove {
        Remove {
            path: self.relative(file),
            data_change,
            deletion_timestamp: Some(now),
            extended_file_metadata: Some(true),
            partition_values: Some(partition_values(file)),
            size: Some(file.size.cast_signed()),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
        }
    }
}

/// Writes a checkpoint of `version` and deletes the log entries that nobody needs any more.
pub(crate) async fn checkpoint(table: TableId, log_store: LogStoreRef, version: u64) -> Result<(), DeltaError> {
    let failed = |action| move |source| log_error(table, action, source);
    let mut delta_table = DeltaTable::new(log_store);
    delta_table.load_version(version).await.map_err(failed("load"))?;
    create_checkpoint(&delta_table, None).await.map_err(failed("checkpoint"))?;
    cleanup_metadata(&delta_table, None).await.map_err(failed("clean the log of"))?;
    Ok(())
}

/// What `protocol`, as it stands in the log, asks for beyond [`PROTOCOL`], if anything.
fn beyond(protocol: &Value, writes: bool) -> Option<String> {
    let beyond = |version: &str, most: u64, features: &str| {
        // From these versions on, features are named one by one.
        let named: Vec<&str> = protocol[features].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match protocol[version].as_u64() {
            Some(found) if found <= most => None,
            _ if !named.is_empty() && named.iter().all(|name| FEATURES.contains(name)) => None,
            Some(_) if !named.is_empty() => Some(format!("`{features}` {named:?}")),
            found => Some(format!("`{version}` `{}`", found.unwrap_or(0))),
        }
    };
    let to_write = || writes.then(|| beyond("minWriterVersion", WRITER_VERSION_MAX, "writerFeatures")).flatten();
    beyond("minReaderVersion", READER_VERSION_MAX, "readerFeatures").or_else(to_write)
}

fn log_store(table: TableId, store: &Arc<dyn ObjectStore>) -> LogStoreRef {
    // The URL only names the folder inside `store`, wherever that store is; its scheme says that paths are not file names.
    let url = url::Url::parse(&format!("memory:///{}/", table_path(table))).expect("table names are URL paths");
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(store), table_path(table)));
    default_logstore(prefixed, Arc::clone(store), &url, &StorageConfig::default())
}

async fn create_with(table: TableId, log_store: LogStoreRef, columns: Vec<StructField>) -> Result<(), DeltaError> {
    let created = CreateBuilder::new()
        .with_log_store(log_store)
        .with_table_name(table.name())
        .with_comment(table.doc())
        .with_columns(columns)
        .with_partition_columns(PARTITION_COLUMNS)
        .with_configuration_property(TableProperty::LogRetentionDuration, Some(LOG_RETENTION))
        .with_configuration_property(TableProperty::DeletedFileRetentionDuration, Some(LOG_RETENTION))
        .with_save_mode(SaveMode::Ignore)
        .await;
    created.map(drop).map_err(|source| log_error(table, "create", source))
}

fn delta_fields(table: TableId) -> Vec<StructField> {
    let schema: StructType = table.schema().as_ref().try_into_kernel().expect("every column type of a table is a Delta type");
    schema.fields().cloned().collect()
}

fn partition_values(file: &DataFile) -> HashMap<String, Option<String>> {
    let [project, date] = PARTITION_COLUMNS.map(str::to_owned);
    [(project, Some(file.project.to_string())), (date, Some(file.date.to_string()))].into()
}

fn append() -> DeltaOperation {
    let partition_by = Some(PARTITION_COLUMNS.map(str::to_owned).to_vec());
    DeltaOperation::Write { mode: SaveMode::Append, partition_by, predicate: None }
}

fn log_error(table: TableId, action: &'static str, source: DeltaTableError) -> DeltaError {
    DeltaError::Log { action, table: table.name(), source: Box::new(source) }
}

/// What a commit found in the log did.
#[derive(Debug, Default)]
struct Commit {
    id: Option<String>,
    process: Option<String>,
    /// It brings rows of the node asked about, or takes the table over for it.
    is_of_node: bool,
    /// Everything up to here of the node asked about is in the table.
    position: Option<u64>,
    added: Vec<String>,
    adds: Vec<Add>,
    removed: Vec<String>,
    changes_schema: bool,
    /// What readers and writers must do from now on, if it says so.
    protocol: Option<Value>,
}

impl Commit {
    fn parse(bytes: &[u8], node_id: &str) -> Self {
        let mut commit = Self::default();
        for line in bytes.split(|b| *b == b'\n') {
            let Ok(action) = serde_json::from_slice::<Value>(line) else { continue };
            let text = |value: &Value| value.as_str().map(str::to_owned);
            commit.id = commit.id.or_else(|| text(&action["commitInfo"][COMMIT_ID]));
            commit.process = commit.process.or_else(|| text(&action["commitInfo"][PROCESS]));
            let transaction = &action["txn"];
            if transaction["appId"] == node_id {
                commit.position = commit.position.max(transaction["version"].as_u64());
            }
            commit.is_of_node |= transaction["appId"] == node_id || action["commitInfo"][TAKEN_OVER_BY] == node_id;
            commit.added.extend(text(&action["add"]["path"]));
            commit.removed.extend(text(&action["remove"]["path"]));
            commit.changes_schema |= action.get("metaData").is_some();
            commit.protocol = action.get("protocol").cloned().or(commit.protocol);
            if let Ok(Action::Add(add)) = serde_json::from_value(action) {
                commit.adds.push(add);
            }
        }
        commit
    }
}

/// Makes `table` as a version that did not know `column` would have.
#[cfg(test)]
pub(super) async fn create_without(table: TableId, store: &Arc<dyn ObjectStore>, column: &str) {
    let columns = delta_fields(table).into_iter().filter(|field| field.name() != column);
    create_with(table, log_store(table, store), columns.collect()).await.expect("a new table");
}
