//! ClickHouse as the store of rows, in the place of the lake: how flushes get there exactly once, and what is known of it at start.
//!
//! ```text
//! flush to position C:  C into the data folder ─> "begun C" ─> one insertion for each table and day ─> "done C" ─> view switched, log released
//!                                                                under the token `node:C:day`
//! start after a crash:  C in the data folder, beyond what is done ─> the first flush is up to C again, under the same tokens ─> …
//! ```
//! A table forgets an insertion whose token it has seen, so that what is unclear is sent again, by this process or the next one, and may arrive
//! late. That needs three things. The end of a flush stands in the data folder before anything of it is sent, and nowhere else is it looked up:
//! what is said to the server may arrive when a later flush is on its way. The same rows go under the same token: those up to the end, whatever
//! was published meanwhile. And an insertion is one block of one record batch, because the server tells insertions of several blocks apart by
//! how many they are.
//!
//! Rows beyond the position that a view shows are not read ([`StoredRows::position`]): those of a flush on its way are still shown from memory.
//! What the server knows ("begun", "done") says who writes the database and which positions may be in it.
//!
//! One node has a database to itself, or several share it: their positions say nothing about each other, so that a token carries the name of its
//! node, and a view has a position of each (`nodes`).

mod checks;
mod client;
mod fold;
mod nodes;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{ArrayRef, AsArray as _, Date32Array, RecordBatch, StringArray},
    compute::{max, min},
    datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType, UInt64Type},
};
use assay_schemas::{
    clickhouse::{
        self as ddl, Ddl, ENGINE_MIN, FLUSHES, NODE_ID, NODES, PROBES, TRACE_TIMES, VERSION, VERSIONS, rollup, text, time_column,
    },
    ids::ProjectId,
    tables::TableId,
};
use futures::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;

pub use self::client::{ClickHouseClient, Settings};
use self::nodes::Presence;
pub(crate) use self::nodes::Turn;
use crate::{
    bucket::Secret,
    config::Role,
    corrections::Correction,
    lake::FileRows,
    outside::{self, fs, replace_file},
    status::TableStatus,
    tasks::blocking,
};

/// Statements at the same time where each table is asked.
const READS_AT_ONCE: usize = 4;
/// File in the data folder: where the last flush that was begun ends.
const FLUSH_END: &str = "clickhouse-flush";

/// Where the rows are kept, if not in a lake.
#[derive(Clone, Debug)]
pub struct ClickHouseConfig {
    /// Its HTTP interface, such as `https://clickhouse.example:8443`.
    pub url: String,
    /// Database; `assay migrate` makes it.
    pub database: String,
    /// User.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// The cluster, as `system.clusters` names it; one server if `None`.
    pub cluster: Option<String>,
    /// Insertions on their way at the same time.
    pub inserts_in_flight: NonZeroUsize,
    /// Without an answer for so long, an insertion or statement is sent again.
    pub request_timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

/// ClickHouse cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// No answer, or half of one.
    #[error("no answer from ClickHouse at `{url}`")]
    Request {
        /// Where.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The server refused.
    #[error("ClickHouse at `{url}` answered with status {status}: {message}")]
    Refused {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// Its error code.
        code: Option<u32>,
        /// Its message.
        message: String,
    },
    /// The answer began and did not end.
    #[error("ClickHouse broke off its answer: {message}")]
    Incomplete {
        /// What it said.
        message: String,
    },
    /// The tables are not those of this version.
    #[error(
        "the schema of the ClickHouse database `{database}` has {}, expected version {VERSION} (hint: {})",
        found.map_or_else(|| "no version".to_owned(), |version| format!("version {version}")),
        if found.is_some_and(|version| version > VERSION) { "a newer Assay made it, and this one cannot write it" } else { "run `assay migrate` with the same configuration" }
    )]
    Version {
        /// The database.
        database: String,
        /// Its version.
        found: Option<u32>,
    },
    /// A column is not what this version writes.
    #[error(
        "column `{column}` of the ClickHouse table `{table}` {found}, expected type `{expected}` (hint: run `assay migrate`)"
    )]
    Column {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is there.
        found: String,
        /// Its type.
        expected: String,
    },
    /// The server is too old.
    #[error("ClickHouse at `{url}` has version `{found}`, expected {}.{} or later", ENGINE_MIN.0, ENGINE_MIN.1)]
    Engine {
        /// Where.
        url: String,
        /// Its version.
        found: String,
    },
    /// A table does not know an insertion again.
    #[error(
        "the ClickHouse table `{table}` remembers {found} insertions, expected more than 0: what is sent again would be there twice (hint: run \
         `assay migrate`)"
    )]
    Forgetful {
        /// The table.
        table: String,
        /// What it remembers.
        found: String,
    },
    /// What was inserted twice under one token is there so often.
    #[error(
        "an insertion that was sent twice is in the ClickHouse table `{PROBES}` {found} times, expected once (hint: the server, the profile of its \
         user, or what stands before it takes no notice of `insert_deduplicate` and `insert_deduplication_token`)"
    )]
    Doubled {
        /// How often.
        found: u64,
    },
    /// Another data folder writes there.
    #[error(
        "the ClickHouse database `{database}` is written by node `{found}`, expected `{expected}`, the node of this data folder (hint: \
         `storage.shared = true` on both lets them share it; if that node is gone for good, say in `{NODES}` that it was shared and has stopped)"
    )]
    OtherOwner {
        /// The database.
        database: String,
        /// The node that writes it.
        found: String,
        /// This node.
        expected: String,
    },
    /// Another data folder writes there, and does not know of others.
    #[error(
        "the ClickHouse database `{database}` is not shared: node `{found}` has it to itself (hint: start that node once with \
         `storage.shared = true`; if it is gone for good, say in `{NODES}` that it was shared and has stopped)"
    )]
    NotShared {
        /// The database.
        database: String,
        /// The node that writes it.
        found: String,
    },
    /// Another process writes under the name of this node.
    #[error(
        "another process writes to the ClickHouse database `{database}` as the node `{node_id}`, expected this one alone: nothing is written until a \
         restart (hint: a data folder was copied; remove `node-id` from the copy)"
    )]
    OtherProcess {
        /// The database.
        database: String,
        /// The node.
        node_id: String,
    },
    /// Where a flush ends could not be written down, or read.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What we were doing.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Rows could not be written as Arrow.
    #[error("could not encode rows for ClickHouse")]
    Encode(#[source] arrow::error::ArrowError),
    /// An answer is not what was asked for.
    #[error("ClickHouse's answer is not what was asked for")]
    Answer(#[source] arrow::error::ArrowError),
}

/// Codes of errors that pass: timeouts, too much at once, no memory, replicas and Keeper away, an insertion of unknown outcome.
const TRANSIENT: &[u32] = &[159, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 286, 289, 319, 394, 425, 439, 999];

impl ClickHouseError {
    /// Whether the same request may succeed at once: the connection broke before an answer, or there was one request too many.
    #[must_use]
    pub fn is_momentary(&self) -> bool {
        match self {
            Self::Request { source, .. } => !source.is_builder() && !source.is_timeout(),
            Self::Refused { code, .. } => *code == Some(202),
            _ => false,
        }
    }

    /// Whether the same request may succeed a moment later. It may also have been done: only what can be repeated is sent again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Request { source, .. } => !source.is_builder(),
            Self::Refused { code: Some(code), .. } => TRANSIENT.contains(code),
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Incomplete { .. } => true,
            _ => false,
        }
    }
}

/// The database, as this node uses it.
#[derive(Debug)]
pub(crate) struct ClickHouse {
    client: ClickHouseClient,
    ddl: Ddl,
    role: Role,
    node_id: String,
    /// This process, among all that ever wrote as `node_id`.
    process: String,
    presence: Mutex<Presence>,
    data_dir: PathBuf,
    /// Whether rows are also added up there.
    has_rollup: bool,
}

/// What is known of the database at start.
pub(crate) struct Opened {
    pub(crate) store: ClickHouse,
    /// Everything up to here is in it.
    pub(crate) done: u64,
    /// The last flush that was begun ends here.
    pub(crate) begun: u64,
    /// Nothing beyond is in it.
    pub(crate) last: u64,
}

/// Corrections that are not folded into rows, by project.
type Corrections = HashMap<ProjectId, Vec<Arc<Correction>>>;

/// Makes the database, its tables and what they lack, and says which version it had.
///
/// # Errors
/// [`ClickHouseError`] if the server does not answer or refuses, or if a newer version made the tables.
pub async fn migrate(config: ClickHouseConfig, retention: Option<Duration>) -> Result<Option<u32>, ClickHouseError> {
    let ddl = ddl_of(&config, retention);
    let client = ClickHouseClient::new(config)?;
    checks::engine(&client).await?;
    let exists =
        format!("SELECT count() FROM system.tables WHERE database = {} AND name = {}", text(&ddl.database), text(VERSIONS));
    let found = match number(&client.rows(&exists).await?) {
        Some(0) | None => None,
        Some(_) => version(&client, &ddl).await?,
    };
    if found.is_some_and(|found| found > VERSION) {
        return Err(ClickHouseError::Version { database: ddl.database, found });
    }
    for statement in ddl.statements() {
        client.execute(&statement, vec![("allow_suspicious_low_cardinality_types", "1".to_owned())]).await?;
    }
    let mut changes = ddl.index_changes(&checks::indexes(&client, &ddl).await?);
    changes.extend(ddl.rollup_changes(&checks::made_by(&client, &ddl, rollup::TABLE).await?));
    for statement in changes {
        client.execute(&statement, Settings::new()).await?;
    }
    if found != Some(VERSION) {
        let assay = text(env!("CARGO_PKG_VERSION"));
        let insert = format!("INSERT INTO {} (version, assay) VALUES ({VERSION}, {assay})", ddl.name(VERSIONS));
        client.execute(&insert, Settings::new()).await?;
    }
    checks::columns(&client, &ddl).await?;
    Ok(found)
}

impl ClickHouse {
    /// Opens the database of `config` for the node `node_id`, whose data folder is `data_dir`.
    pub(crate) async fn open(
        config: ClickHouseConfig,
        retention: Option<Duration>,
        role: Role,
        node_id: &str,
        data_dir: &Path,
    ) -> Result<Opened, ClickHouseError> {
        let ddl = ddl_of(&config, retention);
        let client = ClickHouseClient::new(config)?;
        checks::engine(&client).await?;
        let found = match version(&client, &ddl).await {
            // Unknown table, unknown database.
            Err(ClickHouseError::Refused { code: Some(60 | 81), .. }) => None,
            result => result?,
        };
        if found != Some(VERSION) {
            return Err(ClickHouseError::Version { database: ddl.database, found });
        }
        checks::columns(&client, &ddl).await?;
        let (node_id, process, data_dir) = (node_id.to_owned(), outside::unique_id().to_string(), data_dir.to_owned());
        let has_rollup = Ddl::has_rollup(&checks::made_by(&client, &ddl, rollup::TABLE).await?);
        if !has_rollup {
            tracing::warn!(
                table = rollup::TABLE.name(),
                "there is no rollup: aggregates over many rows take longer than they must (hint: run `assay migrate`)"
            );
        }
        let store = Self { client, ddl, role, node_id, process, presence: Mutex::default(), data_dir, has_rollup };
        store.check_sharing().await?;
        if !role.writes() {
            return Ok(Opened { store, done: 0, begun: 0, last: 0 });
        }
        checks::memory_of_insertions(&store.client, &store.ddl).await?;
        checks::an_insertion_sent_twice(&store.client, &store.ddl).await?;
        store.apply_retention().await?;
        let (done, last) = store.flushes().await?;
        // A data folder of an earlier version has told only the server.
        let begun = store.begun()?.unwrap_or(last);
        let last = last.max(begun);
        tracing::info!(
            url = store.client.config().url,
            database = store.ddl.database,
            done,
            begun,
            "rows are kept in ClickHouse"
        );
        Ok(Opened { store, done, begun, last })
    }

    /// What is there, of this node up to `position`.
    pub(crate) async fn read(&self, position: u64) -> Result<(StoredRows, Corrections), ClickHouseError> {
        let rows = StoredRows::read(self, position).await?;
        let corrections = self.corrections(&rows.visible()).await?;
        Ok((rows, corrections))
    }

    /// `table` as statements name it.
    pub(crate) fn name(&self, table: TableId) -> String {
        self.ddl.name(table.name())
    }

    /// Says that a flush up to `position` begins. Afterwards it must be finished with this end.
    pub(crate) async fn begin(&self, position: u64) -> Result<(), ClickHouseError> {
        let dir = self.data_dir.clone();
        let written = blocking(move || replace_file(&dir, FLUSH_END, &position.to_string())).await;
        written.map_err(|source| self.io("write", source))?;
        self.check_process().await?;
        self.record("begun", position).await
    }

    /// Where the flush ends that was begun last.
    fn begun(&self) -> Result<Option<u64>, ClickHouseError> {
        match fs::read_to_string(self.data_dir.join(FLUSH_END)) {
            Ok(text) => {
                let position = text.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
                position.map(Some).map_err(|source| self.io("read", source))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io("read", source)),
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> ClickHouseError {
        ClickHouseError::Io { action, path: self.data_dir.join(FLUSH_END), source }
    }

    /// Says that everything up to `position` is there.
    pub(crate) async fn finish(&self, position: u64) -> Result<(), ClickHouseError> {
        self.record("done", position).await
    }

    async fn record(&self, state: &str, position: u64) -> Result<(), ClickHouseError> {
        let node = text(&self.node_id);
        let sql =
            format!("INSERT INTO {} (node_id, state, position) VALUES ({node}, '{state}', {position})", self.ddl.name(FLUSHES));
        self.client.execute(&sql, at_once()).await
    }

    /// Inserts the rows of `table` that a flush up to `position` moves, of each day at once.
    pub(crate) async fn insert(&self, table: TableId, parts: &[FileRows], position: u64) -> Result<(), ClickHouseError> {
        let mut days: BTreeMap<i32, Vec<RecordBatch>> = BTreeMap::new();
        for part in parts {
            let batches = part.batches.iter().filter(|batch| batch.num_rows() > 0);
            days.entry(part.date).or_default().extend(batches.map(|batch| self.whole(part, batch)));
        }
        let table = self.name(table);
        let inserts = days.into_iter().map(|(day, batches)| {
            let token = format!("{}:{position}:{day}", self.node_id);
            let table = &table;
            async move { self.client.insert(table, &token, batches).await }
        });
        futures::stream::iter(inserts).buffer_unordered(self.client.config().inserts_in_flight.get()).try_collect().await
    }

    /// `batch` with the columns that are folders in a lake, and the node.
    fn whole(&self, part: &FileRows, batch: &RecordBatch) -> RecordBatch {
        let rows = batch.num_rows();
        let same = |text: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) as ArrayRef;
        let mut fields: Vec<Arc<Field>> = batch.schema_ref().fields().iter().cloned().collect();
        let mut columns = batch.columns().to_vec();
        fields.push(Arc::new(Field::new("project_id", DataType::Utf8, false)));
        columns.push(same(part.project.as_str()));
        fields.push(Arc::new(Field::new("date", DataType::Date32, false)));
        columns.push(Arc::new(Date32Array::from(vec![part.date; rows])));
        fields.push(Arc::new(Field::new(NODE_ID, DataType::Utf8, false)));
        columns.push(same(&self.node_id));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("all columns have the length of the batch")
    }

    /// Tells each table for how long it keeps rows, if it keeps them for another time.
    async fn apply_retention(&self) -> Result<(), ClickHouseError> {
        let count = format!(
            "SELECT count() FROM system.tables WHERE database = {} AND position(engine_full, {}) > 0",
            text(&self.ddl.database),
            text(&self.ddl.ttl())
        );
        let statements = self.ddl.retention();
        if number(&self.client.rows(&count).await?) != Some(statements.len() as u64) {
            for statement in statements {
                self.client.execute(&statement, Settings::new()).await?;
            }
        }
        Ok(())
    }

    /// How far this node has written, and how far it meant to.
    async fn flushes(&self) -> Result<(u64, u64), ClickHouseError> {
        let position = async |state: &str| {
            let sql = format!(
                "SELECT max(position) FROM {} WHERE node_id = {} AND state = '{state}'",
                self.ddl.name(FLUSHES),
                text(&self.node_id)
            );
            Ok(number(&self.client.rows(&sql).await?).unwrap_or(0))
        };
        Ok((position("done").await?, position("begun").await?))
    }

    /// The corrections that are not folded into rows and for which `visible` holds, by project.
    async fn corrections(&self, visible: &str) -> Result<Corrections, ClickHouseError> {
        let table = TableId::SpanCorrections;
        let mut corrections = Corrections::new();
        let columns: Vec<_> = table.columns().iter().map(|column| ddl::identifier(column.name)).collect();
        let sql = format!("SELECT {} FROM {} WHERE {visible}", columns.join(", "), self.name(table));
        for batch in self.client.rows(&sql).await? {
            for (project, date, batch) in crate::hot::split_by_partition(&batch) {
                corrections.entry(project).or_default().extend(Correction::read(&batch, date));
            }
        }
        Ok(corrections)
    }
}

/// The rows in ClickHouse that a view shows: those up to a position. How many there are is an estimate, old days may be gone.
#[derive(Clone, Debug)]
pub struct StoredRows {
    client: ClickHouseClient,
    names: Arc<BTreeMap<TableId, String>>,
    trace_times: Arc<str>,
    has_rollup: bool,
    /// Of this node.
    position: u64,
    node_id: Arc<str>,
    /// How far other nodes are; `None` where there are none.
    others: Option<BTreeMap<String, u64>>,
    days: BTreeMap<(TableId, ProjectId), BTreeMap<i32, Day>>,
}

/// The rows of a table, project and day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// How many.
    pub rows: u64,
    /// Earliest time (`start_time`, `time`, …), microseconds since 1970.
    pub time_min: i64,
    /// Latest time.
    pub time_max: i64,
}

/// Which of the rows of a view its rollup has: those whose position and all that are added up with it are visible. Conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledUp {
    /// On the rollup: what it says of them.
    pub in_rollup: String,
    /// On rows: these.
    pub in_rows: String,
    /// On rows: the others.
    pub beyond: String,
}

impl StoredRows {
    async fn read(store: &ClickHouse, position: u64) -> Result<Self, ClickHouseError> {
        let names = TableId::ALL.iter().map(|table| (*table, store.name(*table))).collect();
        let trace_times = store.ddl.name(TRACE_TIMES).into();
        let client = store.client.clone();
        let others = match store.role.is_shared() {
            true => Some(store.done_by_others().await?),
            false => None,
        };
        let node_id = store.node_id.as_str().into();
        let (names, has_rollup, days) = (Arc::new(names), store.has_rollup, BTreeMap::new());
        let mut rows = Self { client, names, trace_times, has_rollup, position, node_id, others, days };
        rows.add_days(store, &rows.visible()).await?;
        Ok(rows)
    }

    /// Adds the rows for which `condition` holds, which were not there before.
    async fn add_days(&mut self, store: &ClickHouse, condition: &str) -> Result<(), ClickHouseError> {
        let mut questions = Vec::new();
        for table in TableId::ALL {
            let time = ddl::identifier(time_column(*table));
            let sql = format!(
                "SELECT toString(project_id), toInt64(date), toInt64(count()), toInt64(toUnixTimestamp64Micro(min({time}))), \
                 toInt64(toUnixTimestamp64Micro(max({time}))) FROM {} WHERE {condition} GROUP BY project_id, date",
                store.name(*table)
            );
            questions.push((*table, sql));
        }
        let client = &store.client;
        let asked = questions.into_iter().map(|(table, sql)| async move { Ok((table, client.rows(&sql).await?)) });
        let found: Result<Vec<_>, ClickHouseError> =
            futures::stream::iter(asked).buffer_unordered(READS_AT_ONCE).try_collect().await;
        let found = found?;
        for (table, batch) in found.iter().flat_map(|(table, batches)| batches.iter().map(|batch| (*table, batch))) {
            let number = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            for row in 0..batch.num_rows() {
                // Rows of other names were not written by Assay.
                let Ok(project) = ProjectId::new(batch.column(0).as_string::<i32>().value(row)) else { continue };
                let new = Day { rows: number(2, row).cast_unsigned(), time_min: number(3, row), time_max: number(4, row) };
                let date = i32::try_from(number(1, row)).unwrap_or(i32::MAX);
                let day = self.days.entry((table, project)).or_default().entry(date).or_insert(Day { rows: 0, ..new });
                day.rows += new.rows;
                day.time_min = day.time_min.min(new.time_min);
                day.time_max = day.time_max.max(new.time_max);
            }
        }
        Ok(())
    }

    /// Of which rows a view consists, as a condition: the others are on their way, and perhaps in memory.
    #[must_use]
    pub fn visible(&self) -> String {
        self.of_nodes(|position| format!("wal_position <= {position}"))
    }

    /// What `condition` makes of the position of each node, for the rows of that node.
    fn of_nodes(&self, condition: impl Fn(u64) -> String) -> String {
        let Some(others) = &self.others else { return condition(self.position) };
        let nodes = others.iter().map(|(node, position)| (node.as_str(), *position)).chain([(&*self.node_id, self.position)]);
        let each: Vec<_> =
            nodes.map(|(node, position)| format!("node_id = {} AND {}", text(node), condition(position))).collect();
        format!("({})", each.join(" OR "))
    }

    /// How these rows divide into those that the rollup has and the others; `None` if it has none of them, or there is none.
    #[must_use]
    pub fn rolled_up(&self) -> Option<RolledUp> {
        let chunks = |position: u64| (position + 1) / rollup::POSITIONS;
        let positions = self.others.iter().flatten().map(|(_, position)| *position).chain([self.position]);
        (self.has_rollup && positions.map(chunks).any(|chunks| chunks > 0)).then(|| RolledUp {
            in_rollup: self.of_nodes(|position| format!("{} < {}", rollup::CHUNK_OF, chunks(position))),
            in_rows: self.of_nodes(|position| format!("wal_position < {}", chunks(position) * rollup::POSITIONS)),
            beyond: self.of_nodes(|position| format!("wal_position >= {}", chunks(position) * rollup::POSITIONS)),
        })
    }

    /// The same after everything up to `position` is there; of that, `parts` are new.
    pub(crate) fn flushed<'a>(&self, position: u64, parts: impl Iterator<Item = (TableId, &'a FileRows)>) -> Self {
        debug_assert!(position >= self.position, "what is done stays done");
        let mut rows = Self { position, ..self.clone() };
        for (table, part) in parts {
            let days = rows.days.entry((table, part.project.clone())).or_default();
            for batch in &part.batches {
                let times = batch.column_by_name(time_column(table)).expect("the time of the table");
                let times = times.as_primitive::<TimestampMicrosecondType>();
                let (Some(first), Some(last)) = (min(times), max(times)) else { continue };
                let day = days.entry(part.date).or_insert(Day { rows: 0, time_min: first, time_max: last });
                day.rows += batch.num_rows() as u64;
                day.time_min = day.time_min.min(first);
                day.time_max = day.time_max.max(last);
            }
        }
        rows
    }

    /// The same without the days before `date` (days since 1970).
    pub(crate) fn without_days_before(&self, date: i32) -> Self {
        let mut rows = self.clone();
        rows.days.values_mut().for_each(|days| days.retain(|day, _| *day >= date));
        rows
    }

    /// Rows of this node beyond this position of its log are not to be read: they are on their way, and in memory.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// `table` as statements name it.
    #[must_use]
    pub fn name(&self, table: TableId) -> &str {
        &self.names[&table]
    }

    /// The table that says when a trace has spans, as statements name it.
    #[must_use]
    pub fn trace_times(&self) -> &str {
        &self.trace_times
    }

    /// Asks the server.
    #[must_use]
    pub fn client(&self) -> &ClickHouseClient {
        &self.client
    }

    /// The rows of `table` and `project`, day by day.
    pub fn days(&self, table: TableId, project: &ProjectId) -> impl Iterator<Item = Day> + use<'_> {
        self.days.get(&(table, project.clone())).into_iter().flat_map(|days| days.values().copied())
    }

    pub(crate) fn projects(&self) -> impl Iterator<Item = &ProjectId> {
        self.days.keys().map(|(_, project)| project)
    }

    pub(crate) fn status(&self, table: TableId) -> TableStatus {
        let days = self.days.iter().filter(|((of, _), _)| *of == table).flat_map(|(_, days)| days.values());
        TableStatus { rows: days.map(|day| day.rows).sum(), committed: self.position, ..TableStatus::default() }
    }
}

fn ddl_of(config: &ClickHouseConfig, retention: Option<Duration>) -> Ddl {
    // A day is dropped when its last hour is old enough.
    let days = |time: Duration| u32::try_from(time.as_secs().div_ceil(24 * 3600)).unwrap_or(u32::MAX - 1) + 1;
    Ddl { database: config.database.clone(), cluster: config.cluster.clone(), retention_days: retention.map(days) }
}

async fn version(client: &ClickHouseClient, ddl: &Ddl) -> Result<Option<u32>, ClickHouseError> {
    let found = client.rows(&format!("SELECT toUInt64(max(version)) FROM {}", ddl.name(VERSIONS))).await?;
    Ok(number(&found).and_then(|version| u32::try_from(version).ok()).filter(|version| *version > 0))
}

/// What nodes say to each other is there when the answer comes, in a cluster too.
fn at_once() -> Settings {
    vec![("async_insert", "0".to_owned()), ("distributed_foreground_insert", "1".to_owned())]
}

/// The number that is the answer.
fn number(batches: &[RecordBatch]) -> Option<u64> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0)?;
    Some(batch.column(0).as_primitive_opt::<UInt64Type>()?.value(0))
}
