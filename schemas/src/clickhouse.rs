//! The tables as ClickHouse has them: the DDL, generated from [`tables`](crate::tables), and the version of it.
//!
//! Every table keeps the columns of the lake, in their order, and `node_id` behind them: the data folder that wrote the row, without which
//! `wal_position` says nothing. Beside them stand [`FLUSHES`] (how far each node has written), [`VERSIONS`] (which version was made when) and
//! [`TRACE_TIMES`] (when a trace has spans, kept by a materialised view).
//!
//! In a cluster each table is two: `<name>_local`, replicated, on every node, and the distributed one that is written and read. Text that
//! comes from a configuration is quoted here and nowhere else.

pub mod rollup;

use std::fmt::Write as _;

use arrow::datatypes::DataType;

use crate::{
    table::{Column, Layout},
    tables::{TEXT_COLUMNS, TableId},
};

/// Version of everything in this file. It grows with every change of the text that [`Ddl::statements`] gives.
pub const VERSION: u32 = 4;
/// How far each node has written: two rows for each flush.
pub const FLUSHES: &str = "flushes";
/// Which version of the schema was made when.
pub const VERSIONS: &str = "schema_versions";
/// When a trace has spans.
pub const TRACE_TIMES: &str = "trace_times";
/// What each node last said of itself.
pub const NODES: &str = "nodes";
/// Where a start proves that what is inserted twice is there once.
pub const PROBES: &str = "insertion_probes";
/// The column behind those of the lake: which data folder wrote the row.
pub const NODE_ID: &str = "node_id";

/// The least version of ClickHouse whose materialised views know insertions again as tables do.
pub const ENGINE_MIN: (u32, u32) = (24, 8);

/// So many insertions are remembered by each table: one that is sent again is known for much longer than a node is away.
const DEDUPLICATED_INSERTS: u32 = 10_000;
/// The same as time, where tables are replicated.
const DEDUPLICATED_SECONDS: u32 = 30 * 24 * 3600;
/// A hundred years.
const KEPT_FOR_EVER_DAYS: u32 = 36_525;

/// Where the tables are made.
#[derive(Clone, Debug)]
pub struct Ddl {
    /// The database; it is made if it is missing.
    pub database: String,
    /// The cluster, as `system.clusters` names it; one server if `None`.
    pub cluster: Option<String>,
    /// Days that rows are kept; for ever if `None`.
    pub retention_days: Option<u32>,
}

impl Ddl {
    /// What makes everything that is missing, in order. Running it again changes nothing but the time that rows are kept.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        let mut statements = vec![format!("CREATE DATABASE IF NOT EXISTS {}{}", identifier(&self.database), self.on_cluster())];
        for table in TableId::ALL {
            statements.extend(self.table(&table_parts(*table)));
            statements.extend(self.new_columns(*table));
        }
        statements.extend(self.table(&trace_times()));
        statements.push(self.trace_times_view());
        statements.extend(self.table(&flushes()));
        statements.extend(self.table(&nodes()));
        statements.extend(self.table(&versions()));
        statements.extend(self.table(&probes()));
        statements.extend(self.deduplicated().map(|table| {
            format!("ALTER TABLE {}{} MODIFY SETTING {}", self.local(table), self.on_cluster(), self.deduplication())
        }));
        statements.extend(self.retention());
        statements
    }

    /// `table` as statements name it.
    #[must_use]
    pub fn name(&self, table: &str) -> String {
        format!("{}.{}", identifier(&self.database), identifier(table))
    }

    /// The name of what holds the rows of `table` on each node.
    #[must_use]
    pub fn local(&self, table: &str) -> String {
        self.name(&self.local_plain(table))
    }

    /// The same without the database.
    #[must_use]
    pub fn local_plain(&self, table: &str) -> String {
        if self.cluster.is_some() { format!("{table}_local") } else { table.to_owned() }
    }

    /// What makes a statement run on every node.
    #[must_use]
    pub fn on_cluster(&self) -> String {
        self.cluster.as_ref().map_or_else(String::new, |cluster| format!(" ON CLUSTER {}", identifier(cluster)))
    }

    fn table(&self, parts: &Parts) -> Vec<String> {
        let Parts { name, columns, engine, partition_by, order_by, shard_by, ttl, settings } = parts;
        let (engine, mut settings) = match &self.cluster {
            None => (engine.to_string(), settings.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()),
            Some(_) => {
                let (kind, arguments) = engine.split_once('(').unwrap_or((engine, ")"));
                let place = format!("'/clickhouse/tables/{{shard}}/{{database}}/{name}', '{{replica}}'");
                let separator = if arguments == ")" { "" } else { ", " };
                let settings = settings.iter().filter(|setting| !DURABLE.contains(setting)).map(|s| (*s).to_owned());
                (format!("Replicated{kind}({place}{separator}{arguments}"), settings.collect())
            }
        };
        settings.push(self.deduplication());
        let mut sql = format!(
            "CREATE TABLE IF NOT EXISTS {}{} (\n    {}\n) ENGINE = {engine}\n",
            self.local(name),
            self.on_cluster(),
            columns.join(",\n    ")
        );
        if let Some(partition_by) = partition_by {
            let _ = writeln!(sql, "PARTITION BY {partition_by}");
        }
        let _ = writeln!(sql, "ORDER BY ({order_by})");
        if let Some(ttl) = ttl {
            let _ = writeln!(sql, "TTL {ttl}");
        }
        let _ = write!(sql, "SETTINGS {}", settings.join(", "));
        let mut statements = vec![sql];
        if let Some(cluster) = &self.cluster {
            statements.push(format!(
                "CREATE TABLE IF NOT EXISTS {}{} AS {} ENGINE = Distributed({}, {}, {}, {shard_by})",
                self.name(name),
                self.on_cluster(),
                self.local(name),
                text(cluster),
                text(&self.database),
                text(&format!("{name}_local")),
            ));
        }
        statements
    }

    /// The tables that must know an insertion again, those of materialised views included.
    pub fn deduplicated(&self) -> impl Iterator<Item = &'static str> + use<> {
        TableId::ALL.iter().map(|table| table.name()).chain([TRACE_TIMES])
    }

    fn deduplication(&self) -> String {
        match self.cluster {
            None => format!("non_replicated_deduplication_window = {DEDUPLICATED_INSERTS}"),
            Some(_) => format!(
                "replicated_deduplication_window = {DEDUPLICATED_INSERTS}, replicated_deduplication_window_seconds = \
                 {DEDUPLICATED_SECONDS}"
            ),
        }
    }

    /// What adds the columns that an earlier version did not have, where they belong.
    fn new_columns(&self, table: TableId) -> Vec<String> {
        let mut names = vec![self.local(table.name())];
        if self.cluster.is_some() {
            names.push(self.name(table.name()));
        }
        let mut adds = Vec::new();
        let mut after: Option<&str> = None;
        for column in table.columns() {
            let place = after.map_or_else(|| " FIRST".to_owned(), |after| format!(" AFTER {}", identifier(after)));
            adds.push((column, place));
            after = Some(column.name);
        }
        names
            .iter()
            .enumerate()
            .map(|(nth, name)| {
                // A distributed table has no columns of its own to compress.
                let define = |column: &Column| if nth == 0 { definition(column) } else { declaration(column) };
                let adds: Vec<_> =
                    adds.iter().map(|(column, place)| format!("ADD COLUMN IF NOT EXISTS {}{place}", define(column))).collect();
                format!("ALTER TABLE {name}{}\n    {}", self.on_cluster(), adds.join(",\n    "))
            })
            .collect()
    }

    /// What gives tables the indexes that they lack or have in another form, rows that are there included; `found` are those they have, as
    /// table, name and type.
    #[must_use]
    pub fn index_changes(&self, found: &[(String, String, String)]) -> Vec<String> {
        let mut statements = Vec::new();
        for table in TableId::ALL {
            let local = self.local_plain(table.name());
            let alter = format!("ALTER TABLE {}{}", self.local(table.name()), self.on_cluster());
            for index in indexes(*table) {
                let same_name = |(of, name, _): &&(String, String, String)| *of == local && *name == index.name;
                let known = found.iter().find(same_name).map(|(_, _, kind)| kind);
                if known == Some(&index.kind) {
                    continue;
                }
                let name = identifier(&index.name);
                if known.is_some() {
                    statements.push(format!("{alter} DROP INDEX IF EXISTS {name}"));
                }
                statements.push(format!("{alter} ADD INDEX IF NOT EXISTS {}", index.definition()));
                statements.push(format!("{alter} MATERIALIZE INDEX {name}"));
            }
        }
        statements
    }

    /// What gives `spans` its [`rollup`], rows that are there included; `found` is what the server says the table was made by.
    #[must_use]
    pub fn rollup_changes(&self, found: &str) -> Vec<String> {
        if Self::has_rollup(found) {
            return Vec::new();
        }
        let alter = format!("ALTER TABLE {}{}", self.local(rollup::TABLE.name()), self.on_cluster());
        vec![
            format!("{alter} ADD PROJECTION IF NOT EXISTS {} ({})", rollup::NAME, rollup::definition()),
            format!("{alter} MATERIALIZE PROJECTION {}", rollup::NAME),
        ]
    }

    /// Whether a table has its [`rollup`], of which the server says that it was `made` so.
    #[must_use]
    pub fn has_rollup(made: &str) -> bool {
        made.contains(&format!("PROJECTION {} ", rollup::NAME))
    }

    /// What makes ClickHouse drop old days, table by table.
    #[must_use]
    pub fn retention(&self) -> Vec<String> {
        let tables = TableId::ALL.iter().map(|table| table.name()).chain([TRACE_TIMES]);
        tables.map(|table| format!("ALTER TABLE {}{} MODIFY TTL {}", self.local(table), self.on_cluster(), self.ttl())).collect()
    }

    /// When a row is dropped. One that is kept for ever has a time too: ClickHouse refuses to remove one that is not there.
    #[must_use]
    pub fn ttl(&self) -> String {
        format!("date + toIntervalDay({})", self.retention_days.unwrap_or(KEPT_FOR_EVER_DAYS))
    }

    fn trace_times_view(&self) -> String {
        format!(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {}{} TO {} AS\nSELECT project_id, date, trace_id, min(start_time) AS time_min, \
             max(start_time) AS time_max\nFROM {}\nGROUP BY project_id, date, trace_id",
            self.name(&format!("{TRACE_TIMES}_view")),
            self.on_cluster(),
            self.local(TRACE_TIMES),
            self.local(TableId::Spans.name()),
        )
    }
}

/// The type of `column` in ClickHouse, as `system.columns` says it.
#[must_use]
pub fn type_of(column: &Column) -> String {
    let plain = match &column.data_type {
        DataType::Utf8 => "String".to_owned(),
        DataType::Boolean => "Bool".to_owned(),
        DataType::Int64 => "Int64".to_owned(),
        DataType::Float64 => "Float64".to_owned(),
        // `Date` ends in 2149 and comes back as a number.
        DataType::Date32 => "Date32".to_owned(),
        DataType::Timestamp(..) => "DateTime64(6, 'UTC')".to_owned(),
        DataType::Decimal128(precision, scale) => format!("Decimal({precision}, {scale})"),
        other => unreachable!("no column of a table is of type {other}"),
    };
    let nullable = if column.nullable { format!("Nullable({plain})") } else { plain };
    if column.layout == Layout::Dictionary { format!("LowCardinality({nullable})") } else { nullable }
}

/// The column by whose values the rows of `table` lie in order.
#[must_use]
pub fn time_column(table: TableId) -> &'static str {
    let named = |name: &&str| table.columns().iter().any(|column| column.name == *name && !column.nullable);
    ["time", "start_time", "minute", "received_at"].into_iter().find(named).expect("every table has `received_at`")
}

/// `name` as an identifier.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// `value` as a literal.
#[must_use]
pub fn text(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'").replace('\0', "\\0"))
}

/// The texts of a span that free text is looked for in, as one text in one form of each letter: what the text index of `spans` is over. Only a
/// condition on exactly this uses it.
///
/// Letters are folded as case-insensitive regular expressions do it, as far as that ends in ASCII: to two of those letters, one beyond ASCII folds too.
#[must_use]
pub fn searched_text() -> String {
    let columns: Vec<_> = TEXT_COLUMNS.iter().map(|column| format!("ifNull({}, '')", identifier(column))).collect();
    format!("replaceAll(replaceAll(lower(concat({})), 'ſ', 's'), '\u{212A}', 'k')", columns.join(", '\\0', "))
}

/// Fewer characters than this are in no index.
pub const SEARCHED_LETTERS_MIN: usize = 4;

/// The parts of `text` that stand in [`searched_text`] in one form, in that form: the others have letters beyond ASCII that differ by case.
#[must_use]
pub fn searched_letters(text: &str) -> Vec<String> {
    let has_one_form = |c: char| c.to_lowercase().eq([c]) && c.to_uppercase().eq([c]);
    // NUL separates the columns.
    let parts = text.split(|c: char| c == '\0' || !c.is_ascii() && !has_one_form(c));
    parts.filter(|part| !part.is_empty()).map(str::to_ascii_lowercase).collect()
}

/// One table.
struct Parts {
    name: &'static str,
    columns: Vec<String>,
    engine: &'static str,
    partition_by: Option<&'static str>,
    order_by: String,
    /// What decides on which shard a row is.
    shard_by: &'static str,
    /// Where it is not that of the configuration.
    ttl: Option<&'static str>,
    settings: &'static [&'static str],
}

/// An insertion that was acknowledged survives the machine: rows are not in a log any more then.
const DURABLE: &[&str] = &["fsync_after_insert = 1", "fsync_part_directory = 1"];
/// Of tables that hold days: those that are over are dropped as a whole.
const DAILY: &[&str] = &["ttl_only_drop_parts = 1", DURABLE[0], DURABLE[1]];

fn table_parts(table: TableId) -> Parts {
    let mut columns: Vec<_> = table.columns().iter().map(definition).collect();
    columns.push(format!("{} LowCardinality(String)", identifier(NODE_ID)));
    let named = |name: &str| table.columns().iter().any(|column| column.name == name);
    columns.extend(indexes(table).iter().map(|index| format!("INDEX {}", index.definition())));
    let time = time_column(table);
    let key = |first: &str| format!("project_id, {first}{}", identifier(time));
    let order_by = match table {
        _ if named("metric_name") => key("metric_name, "),
        TableId::Spans => format!("{}, trace_id", key("")),
        _ => key(""),
    };
    let shard_by = if named("trace_id") { "cityHash64(trace_id)" } else { "wal_position" };
    Parts {
        name: table.name(),
        columns,
        engine: "MergeTree",
        partition_by: Some("date"),
        order_by,
        shard_by,
        ttl: None,
        settings: DAILY,
    }
}

/// What lets granules of a table be left out.
struct Index {
    name: String,
    over: String,
    /// Its type, as `system.data_skipping_indices` says it.
    kind: String,
}

impl Index {
    fn over_column(column: &str, kind: &str) -> Self {
        Self { name: format!("by_{column}"), over: identifier(column), kind: kind.to_owned() }
    }

    fn definition(&self) -> String {
        format!("{} {} TYPE {} GRANULARITY 1", identifier(&self.name), self.over, self.kind)
    }
}

/// The indexes of `table`. Bloom filters also for columns of few values: a `set` over a dictionary with NULL is there in vain, it leaves out nothing.
fn indexes(table: TableId) -> Vec<Index> {
    let identifiers = [("trace_id", "bloom_filter(0.001)"), ("span_id", "bloom_filter(0.01)"), ("log_id", "bloom_filter(0.01)")];
    let values = ["name", "session_id", "user_id", "service_name", "operation", "request_model", "status_code", "error_type"];
    let named = |(name, _): &(&str, &str)| table.columns().iter().any(|column| column.name == *name);
    let all = identifiers.into_iter().chain(values.map(|name| (name, "bloom_filter(0.01)"))).chain([("wal_position", "minmax")]);
    let mut indexes: Vec<_> = all.filter(named).map(|(column, kind)| Index::over_column(column, kind)).collect();
    if table == TableId::Spans {
        // For the texts of a granule 64 KiB, in which each sequence of letters sets one bit. An index of type `text` knows each row, and so takes many
        // times as much; over words instead of sequences, it does not find what begins within one.
        let kind = format!("ngrambf_v1({SEARCHED_LETTERS_MIN}, 65536, 1, 0)");
        indexes.push(Index { name: "by_text".to_owned(), over: searched_text(), kind });
    }
    indexes
}

fn trace_times() -> Parts {
    let columns = [
        "`project_id` LowCardinality(String)",
        "`date` Date32",
        "`trace_id` String CODEC(ZSTD(1))",
        "`time_min` SimpleAggregateFunction(min, DateTime64(6, 'UTC'))",
        "`time_max` SimpleAggregateFunction(max, DateTime64(6, 'UTC'))",
    ];
    Parts {
        name: TRACE_TIMES,
        columns: columns.map(str::to_owned).into(),
        engine: "AggregatingMergeTree",
        partition_by: Some("date"),
        order_by: "project_id, trace_id".to_owned(),
        shard_by: "cityHash64(trace_id)",
        ttl: None,
        settings: DAILY,
    }
}

fn flushes() -> Parts {
    let columns =
        ["`node_id` String", "`state` Enum8('begun' = 1, 'done' = 2)", "`position` UInt64", "`at` DateTime DEFAULT now()"];
    Parts {
        name: FLUSHES,
        columns: columns.map(str::to_owned).into(),
        engine: "ReplacingMergeTree(position)",
        partition_by: None,
        order_by: "node_id, state".to_owned(),
        shard_by: "cityHash64(node_id)",
        ttl: None,
        settings: DURABLE,
    }
}

fn nodes() -> Parts {
    let columns = [
        "`node_id` String",
        "`process` String",
        "`shared` Bool",
        "`stopped` Bool",
        "`complete_until` Int64 COMMENT 'Microseconds since 1970.'",
        "`at` DateTime64(6, 'UTC') DEFAULT now64(6)",
    ];
    Parts {
        name: NODES,
        columns: columns.map(str::to_owned).into(),
        engine: "ReplacingMergeTree(at)",
        partition_by: None,
        order_by: "node_id".to_owned(),
        shard_by: "cityHash64(node_id)",
        ttl: None,
        settings: DURABLE,
    }
}

fn versions() -> Parts {
    let columns = ["`version` UInt32", "`assay` String", "`at` DateTime DEFAULT now()"];
    Parts {
        name: VERSIONS,
        columns: columns.map(str::to_owned).into(),
        engine: "MergeTree",
        partition_by: None,
        order_by: "version".to_owned(),
        shard_by: "version",
        ttl: None,
        settings: DURABLE,
    }
}

fn probes() -> Parts {
    let columns = ["`probe` String", "`at` DateTime DEFAULT now()"];
    Parts {
        name: PROBES,
        columns: columns.map(str::to_owned).into(),
        engine: "MergeTree",
        partition_by: None,
        order_by: "at".to_owned(),
        shard_by: "cityHash64(probe)",
        ttl: Some("at + toIntervalDay(1)"),
        settings: &[],
    }
}

/// Name and type.
fn declaration(column: &Column) -> String {
    format!("{} {}", identifier(column.name), type_of(column))
}

/// Name, type, compression and comment.
fn definition(column: &Column) -> String {
    let codec = match (&column.data_type, column.layout) {
        (_, Layout::Payload) => "ZSTD(3)",
        (DataType::Timestamp(..), _) => "Delta(8), ZSTD(1)",
        _ if column.name == "wal_position" || column.name.ends_with("_unix_nano") => "Delta(8), ZSTD(1)",
        _ => "ZSTD(1)",
    };
    format!("{} CODEC({codec}) COMMENT {}", declaration(column), text(column.doc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ddl(cluster: Option<&str>) -> Ddl {
        Ddl { database: "assay".to_owned(), cluster: cluster.map(str::to_owned), retention_days: Some(30) }
    }

    fn found(statements: &[String], start: &str) -> String {
        statements.iter().find(|sql| sql.starts_with(start)).unwrap_or_else(|| panic!("no {start}")).clone()
    }

    /// Whoever changes what is made must also raise [`VERSION`].
    #[test]
    fn the_text_of_a_version_does_not_change() {
        let comments = regex::Regex::new(r" COMMENT '(\\.|[^'])*'").unwrap();
        let text = [ddl(None), ddl(Some("c"))].map(|ddl| ddl.statements().join(";\n")).join(";\n");
        let sum = comments
            .replace_all(&text, "")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        insta::assert_snapshot!(format!("{VERSION}: {sum:016x}"), @"4: 6e5c128082fe7d1c");
    }

    #[test]
    fn one_server_has_plain_tables() {
        let statements = ddl(None).statements();
        insta::assert_snapshot!(found(&statements, "CREATE TABLE IF NOT EXISTS `assay`.`ingest_ledger`"), @r#"
        CREATE TABLE IF NOT EXISTS `assay`.`ingest_ledger` (
            `project_id` LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Tenant; set by the server from the credentials, never by the sender.',
            `date` Date32 CODEC(ZSTD(1)) COMMENT 'Day of receipt, UTC. Partition column.',
            `received_at` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the request was received.',
            `wal_position` Int64 CODEC(Delta(8), ZSTD(1)) COMMENT 'Position in the write-ahead log of the request that carried the row.',
            `minute` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'Minute of receipt.',
            `signal` LowCardinality(String) CODEC(ZSTD(1)) COMMENT '`traces`, `logs` or `metrics`.',
            `accepted` Int64 CODEC(ZSTD(1)) COMMENT 'Records received, resent ones left out.',
            `stored` Int64 CODEC(ZSTD(1)) COMMENT 'Records stored.',
            `quarantined` Int64 CODEC(ZSTD(1)) COMMENT 'Records refused.',
            `resent` Int64 CODEC(ZSTD(1)) COMMENT 'Records received before (a client resent them after a lost acknowledgement) and therefore not stored again.',
            `request_bytes` Int64 CODEC(ZSTD(1)) COMMENT 'Size of the request after inflating.',
            `node_id` LowCardinality(String),
            INDEX `by_wal_position` `wal_position` TYPE minmax GRANULARITY 1
        ) ENGINE = MergeTree
        PARTITION BY date
        ORDER BY (project_id, `minute`)
        SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000
        "#);
        insta::assert_snapshot!(found(&statements, "CREATE MATERIALIZED VIEW"), @r#"
        CREATE MATERIALIZED VIEW IF NOT EXISTS `assay`.`trace_times_view` TO `assay`.`trace_times` AS
        SELECT project_id, date, trace_id, min(start_time) AS time_min, max(start_time) AS time_max
        FROM `assay`.`spans`
        GROUP BY project_id, date, trace_id
        "#);
        insta::assert_snapshot!(found(&statements, "CREATE TABLE IF NOT EXISTS `assay`.`flushes`"), @r#"
        CREATE TABLE IF NOT EXISTS `assay`.`flushes` (
            `node_id` String,
            `state` Enum8('begun' = 1, 'done' = 2),
            `position` UInt64,
            `at` DateTime DEFAULT now()
        ) ENGINE = ReplacingMergeTree(position)
        ORDER BY (node_id, state)
        SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000
        "#);
        assert!(!statements.iter().any(|sql| sql.contains("Distributed") || sql.contains("CLUSTER")));
    }

    #[test]
    fn a_cluster_has_replicated_tables_and_distributed_ones_before_them() {
        let statements = ddl(Some("it's")).statements();
        insta::assert_snapshot!(found(&statements, "CREATE TABLE IF NOT EXISTS `assay`.`ingest_ledger_local`"), @r#"
        CREATE TABLE IF NOT EXISTS `assay`.`ingest_ledger_local` ON CLUSTER `it's` (
            `project_id` LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Tenant; set by the server from the credentials, never by the sender.',
            `date` Date32 CODEC(ZSTD(1)) COMMENT 'Day of receipt, UTC. Partition column.',
            `received_at` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the request was received.',
            `wal_position` Int64 CODEC(Delta(8), ZSTD(1)) COMMENT 'Position in the write-ahead log of the request that carried the row.',
            `minute` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'Minute of receipt.',
            `signal` LowCardinality(String) CODEC(ZSTD(1)) COMMENT '`traces`, `logs` or `metrics`.',
            `accepted` Int64 CODEC(ZSTD(1)) COMMENT 'Records received, resent ones left out.',
            `stored` Int64 CODEC(ZSTD(1)) COMMENT 'Records stored.',
            `quarantined` Int64 CODEC(ZSTD(1)) COMMENT 'Records refused.',
            `resent` Int64 CODEC(ZSTD(1)) COMMENT 'Records received before (a client resent them after a lost acknowledgement) and therefore not stored again.',
            `request_bytes` Int64 CODEC(ZSTD(1)) COMMENT 'Size of the request after inflating.',
            `node_id` LowCardinality(String),
            INDEX `by_wal_position` `wal_position` TYPE minmax GRANULARITY 1
        ) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/ingest_ledger', '{replica}')
        PARTITION BY date
        ORDER BY (project_id, `minute`)
        SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 2592000
        "#);
        insta::assert_snapshot!(found(&statements, "CREATE TABLE IF NOT EXISTS `assay`.`ingest_ledger` "), @r#"CREATE TABLE IF NOT EXISTS `assay`.`ingest_ledger` ON CLUSTER `it's` AS `assay`.`ingest_ledger_local` ENGINE = Distributed('it\'s', 'assay', 'ingest_ledger_local', wal_position)"#);
        insta::assert_snapshot!(found(&statements, "CREATE TABLE IF NOT EXISTS `assay`.`flushes_local`"), @r#"
        CREATE TABLE IF NOT EXISTS `assay`.`flushes_local` ON CLUSTER `it's` (
            `node_id` String,
            `state` Enum8('begun' = 1, 'done' = 2),
            `position` UInt64,
            `at` DateTime DEFAULT now()
        ) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/flushes', '{replica}', position)
        ORDER BY (node_id, state)
        SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 2592000
        "#);
        assert!(statements.iter().all(|sql| sql.contains("ON CLUSTER `it's`")), "{statements:#?}");
    }

    #[test]
    fn every_column_has_a_type_and_every_table_a_time() {
        let column =
            |table: TableId, name: &str| type_of(table.columns().iter().find(|column| column.name == name).expect("a column"));
        assert_eq!(column(TableId::Spans, "service_name"), "LowCardinality(Nullable(String))");
        assert_eq!(column(TableId::Spans, "start_time"), "DateTime64(6, 'UTC')");
        assert_eq!(column(TableId::Spans, "cost_usd"), "Nullable(Decimal(28, 15))");
        assert_eq!(column(TableId::Spans, "counted"), "Bool");
        let times: Vec<_> = TableId::ALL.iter().map(|table| time_column(*table)).collect();
        assert_eq!(times[..3], ["start_time", "time", "start_time"]);
    }

    #[test]
    fn quotes_cannot_be_left() {
        assert_eq!(text("a'; DROP TABLE spans --\\"), r"'a\'; DROP TABLE spans --\\'");
        assert_eq!(text("a\0b"), r"'a\0b'");
        assert_eq!(identifier("a`b\\"), r"`a\`b\\`");
    }

    #[test]
    fn indexes_that_are_missing_or_of_another_form_are_made() {
        let found = |table: &str| -> Vec<(String, String, String)> {
            let indexes = TableId::ALL.iter().filter(|id| id.name() == table).flat_map(|id| indexes(*id));
            indexes.map(|index| (table.to_owned(), index.name, index.kind)).collect()
        };
        let all: Vec<_> = TableId::ALL.iter().flat_map(|table| found(table.name())).collect();
        assert!(ddl(None).index_changes(&all).is_empty());
        let mut other = all.clone();
        other.retain(|(table, name, _)| table != "logs" || name != "by_trace_id");
        other
            .iter_mut()
            .filter(|(table, name, _)| table == "logs" && name == "by_service_name")
            .for_each(|i| i.2 = "set(256)".to_owned());
        insta::assert_snapshot!(ddl(None).index_changes(&other).join("\n"), @r"
        ALTER TABLE `assay`.`logs` ADD INDEX IF NOT EXISTS `by_trace_id` `trace_id` TYPE bloom_filter(0.001) GRANULARITY 1
        ALTER TABLE `assay`.`logs` MATERIALIZE INDEX `by_trace_id`
        ALTER TABLE `assay`.`logs` DROP INDEX IF EXISTS `by_service_name`
        ALTER TABLE `assay`.`logs` ADD INDEX IF NOT EXISTS `by_service_name` `service_name` TYPE bloom_filter(0.01) GRANULARITY 1
        ALTER TABLE `assay`.`logs` MATERIALIZE INDEX `by_service_name`
        ");
        assert!(ddl(Some("c")).index_changes(&[])[0].starts_with("ALTER TABLE `assay`.`spans_local` ON CLUSTER `c` ADD INDEX"));
    }

    #[test]
    fn a_rollup_that_is_missing_is_made() {
        let changes = ddl(Some("c")).rollup_changes("CREATE TABLE assay.spans_local (PROJECTION by_hour_10 (SELECT 1))");
        assert!(changes[0].starts_with(
            "ALTER TABLE `assay`.`spans_local` ON CLUSTER `c` ADD PROJECTION IF NOT EXISTS by_hour_1 (SELECT project_id, "
        ));
        assert_eq!(changes[1..], ["ALTER TABLE `assay`.`spans_local` ON CLUSTER `c` MATERIALIZE PROJECTION by_hour_1"]);
        assert!(ddl(None).rollup_changes("CREATE TABLE assay.spans (PROJECTION by_hour_1 (SELECT 1))").is_empty());
    }

    #[test]
    fn only_letters_of_one_form_are_searched() {
        assert_eq!(searched_letters("Refund-Policy 退款"), ["refund-policy 退款"]);
        assert_eq!(searched_letters("aÜb\0c ſ\u{212A}ß\u{1FD3}d"), ["a", "b", "c ", "d"]);
        assert!(searched_letters("").is_empty());
        // What the expression makes of letters is what is looked for: all that `(?i)` takes for an ASCII letter.
        let ascii = regex::Regex::new("(?i)^[a-z]$").unwrap();
        let forms: String = ('\u{80}'..=char::MAX).filter(|c| ascii.is_match(c.encode_utf8(&mut [0; 4]))).collect();
        assert_eq!(forms, "ſ\u{212A}");
    }
}
