//! The SQL schema `system`: the store about itself, for the ingest page and for whoever asks why. Virtual tables, read when asked:
//! nothing of them is stored, and of files only those of the caller's project are seen.

mod footers;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use assay_schemas::{
    ids::ProjectId,
    prices::PriceTable,
    table::{MONEY_PRECISION, MONEY_SCALE, Money},
    tables::TableId,
};
use assay_storage::{DataFile, Storage};
use async_trait::async_trait;
use chrono::Utc;
use datafusion::{
    catalog::{Session, TableProvider},
    common::Result,
    datasource::{TableType, memory::MemorySourceConfig},
    logical_expr::Expr,
    physical_plan::ExecutionPlan,
};

use self::footers::Footers;
use crate::{
    catalog::ProjectCatalog,
    information_schema::{ColumnDoc, TableDoc, sql_type},
    pruning,
};

/// Name of the schema.
pub(crate) const NAME: &str = "system";

/// What the virtual tables read, beside the view of a query.
#[derive(Debug)]
pub(crate) struct System {
    storage: StorageHandle,
    footers: Footers,
    prices: Prices,
}

struct Prices(Arc<PriceTable>);

impl std::fmt::Debug for Prices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prices({})", self.0.version())
    }
}

struct StorageHandle(Storage);

impl std::fmt::Debug for StorageHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Storage")
    }
}

impl System {
    pub(crate) fn new(storage: Storage, prices: Arc<PriceTable>) -> Self {
        let footers = Footers::new(storage.object_store());
        Self { storage: StorageHandle(storage), footers, prices: Prices(prices) }
    }
}

/// A virtual table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SystemTable {
    Files,
    Columns,
    Jobs,
    Wal,
    Tables,
    Prices,
}

/// Type of a column.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Int,
    Time,
    Date,
    Money,
}

/// Name, type and documentation of a column.
type ColumnSpec = (&'static str, Kind, &'static str);

impl SystemTable {
    pub(crate) const ALL: [Self; 6] = [Self::Files, Self::Columns, Self::Jobs, Self::Wal, Self::Tables, Self::Prices];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Columns => "columns",
            Self::Jobs => "jobs",
            Self::Wal => "wal",
            Self::Tables => "tables",
            Self::Prices => "prices",
        }
    }

    fn doc(self) -> &'static str {
        match self {
            Self::Files => "Files of the lake that are read: one row per file of the project.",
            Self::Columns => "Bytes on disk, column by column: one row per table and column of the project.",
            Self::Jobs => {
                "Background work of the store lately, all projects together: the last 256 runs of each kind since the start of the process."
            }
            Self::Wal => "The write-ahead log, all projects together: one row.",
            Self::Tables => "The tables: files and rows of the project, and when they were last written.",
            Self::Prices => {
                "The rates that calls are billed at, published and own ones: one row per price, rate set, tier and usage kind. \
                 Multipliers by the hour or the region of a call are not in them."
            }
        }
    }

    fn columns(self) -> &'static [ColumnSpec] {
        use Kind::{Date, Int, Money, Text, Time};
        match self {
            Self::Files => &[
                ("table_name", Text, "The table."),
                ("path", Text, "Path below the data folder."),
                ("date", Date, "Day of receipt of its rows, UTC."),
                ("rows", Int, "Rows in it."),
                ("bytes", Int, "Its size on disk."),
                ("time_min", Time, "Smallest `start_time` or `time` in it; NULL if the table has neither."),
                ("time_max", Time, "Largest `start_time` or `time` in it."),
            ],
            Self::Columns => &[
                ("table_name", Text, "The table."),
                ("column_name", Text, "The column."),
                ("rows", Int, "Rows of the files that have it; rows in memory are not in files yet."),
                ("compressed_bytes", Int, "Its bytes on disk, as the footers of the Parquet files say."),
                ("uncompressed_bytes", Int, "The same before compression, after encoding."),
            ],
            Self::Jobs => &[
                (
                    "kind",
                    Text,
                    "`flush`, `compaction`, `retention`, `vacuum` or `checkpoint`. Runs that had nothing to do are left out.",
                ),
                ("table_name", Text, "The table; NULL for what concerns none."),
                ("started_at", Time, "When it began."),
                ("ended_at", Time, "When it ended."),
                ("duration_ms", Int, "How long it took, milliseconds."),
                ("files", Int, "Files written; of retention and vacuum, files removed."),
                ("rows", Int, "Rows written; of retention, rows removed."),
                ("bytes", Int, "Bytes of the files written; of retention, removed."),
                ("status", Text, "`ok` or `failed`. What failed is tried again."),
                ("error", Text, "Why it failed, with the causes; paths of other projects are left out."),
            ],
            Self::Wal => &[
                ("segments", Int, "Its files."),
                ("bytes", Int, "Their bytes."),
                ("bytes_max", Int, "Bytes it may take; requests are refused a little before."),
                ("oldest_received_at", Time, "When the oldest rows that are not in the lake yet were received; NULL if all are."),
                ("last_position", Int, "Position of the last request that was made durable."),
                ("flushed_position", Int, "Everything up to here is in the lake."),
            ],
            Self::Tables => &[
                ("table_name", Text, "The table."),
                ("files", Int, "Files of the project."),
                ("rows", Int, "Rows in them."),
                ("bytes", Int, "Their bytes."),
                ("hot_rows", Int, "Rows of the project that are still in memory; queries see them."),
                ("hot_bytes", Int, "Their bytes in memory, roughly."),
                ("version", Int, "Version of the Delta table, which all projects share."),
                (
                    "last_flush_at",
                    Time,
                    "When rows of any project were last written to it; NULL if not since the start of the process.",
                ),
                (
                    "last_compaction_at",
                    Time,
                    "When its files were last merged or corrected; NULL if not since the start of the process.",
                ),
            ],
            Self::Prices => &[
                ("price", Text, "The price row, as `cost_lines.price` names it."),
                ("source", Text, "`computed` for published prices, `configured` for own ones, as in `cost_lines.source`."),
                ("provider", Text, "Provider; NULL for an own price at every provider."),
                ("model", Text, "Model; in an own price `*` stands for any text."),
                ("region", Text, "Region, where it has a price of its own."),
                (
                    "usage_kind",
                    Text,
                    "Kind of token, as in `cost_lines`. A kind without a row is billed as the input or output it is part of.",
                ),
                ("rate_mode", Text, "Rate set: `standard`, `batch`, `flex`, `priority`, `fast` or `ultrafast`."),
                ("tier_above_tokens", Int, "The rate is for prompts of more than so many tokens; NULL if for all."),
                ("effective_from", Date, "First day on which the rate is known to hold, UTC; NULL if that is not known."),
                ("usd_per_million", Money, "US dollars per million tokens."),
            ],
        }
    }

    fn schema(self) -> SchemaRef {
        let field = |(name, kind, _): &ColumnSpec| Field::new(*name, kind.data_type(), true);
        Arc::new(Schema::new(self.columns().iter().map(field).collect::<Vec<_>>()))
    }

    /// The table as `information_schema` and `/api/v1/schema` describe it.
    pub(crate) fn described(self) -> TableDoc {
        let columns = self.columns().iter().map(|(name, kind, doc)| ColumnDoc {
            name: (*name).to_owned(),
            data_type: sql_type(&kind.data_type()),
            nullable: true,
            doc: (*doc).to_owned(),
        });
        let name = format!("{NAME}.{}", self.name());
        TableDoc { name, kind: "table".to_owned(), doc: self.doc().to_owned(), columns: columns.collect() }
    }
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
            Self::Money => DataType::Decimal128(MONEY_PRECISION, MONEY_SCALE),
        }
    }
}

/// A virtual table of one query.
#[derive(Debug)]
pub(crate) struct SystemProvider {
    pub(crate) table: SystemTable,
    pub(crate) catalog: ProjectCatalog,
}

#[async_trait]
impl TableProvider for SystemProvider {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = match self.table {
            SystemTable::Files => self.files(),
            SystemTable::Columns => self.columns().await?,
            SystemTable::Jobs => self.jobs(),
            SystemTable::Wal => self.wal(),
            SystemTable::Tables => self.tables(),
            SystemTable::Prices => self.prices()?,
        };
        let batch = RecordBatch::try_new(self.schema(), columns)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?)
    }
}

impl SystemProvider {
    fn project(&self) -> &ProjectId {
        &self.catalog.project
    }

    fn storage(&self) -> &Storage {
        &self.catalog.system.storage.0
    }

    fn project_files(&self) -> impl Iterator<Item = (TableId, Arc<DataFile>)> + '_ {
        TableId::ALL
            .iter()
            .flat_map(|table| self.catalog.view.files(*table, self.project()).into_iter().map(|file| (*table, file)))
    }

    fn files(&self) -> Vec<ArrayRef> {
        let files: Vec<_> = self.project_files().collect();
        let all = || files.iter().map(|(_, file)| file);
        vec![
            texts(files.iter().map(|(table, _)| Some(table.name()))),
            texts(all().map(|file| Some(file.path.as_ref()))),
            Arc::new(all().map(|file| Some(pruning::days(file.date))).collect::<Date32Array>()),
            ints(all().map(|file| file.rows)),
            ints(all().map(|file| file.size)),
            times(all().map(|file| file.time_min)),
            times(all().map(|file| file.time_max)),
        ]
    }

    async fn columns(&self) -> Result<Vec<ArrayRef>> {
        let files: Vec<_> = self.project_files().collect();
        let columns = self.catalog.system.footers.by_column(&files).await?;
        Ok(vec![
            texts(columns.iter().map(|column| Some(column.table.name()))),
            texts(columns.iter().map(|column| Some(column.name.as_ref()))),
            ints(columns.iter().map(|column| column.bytes.rows)),
            ints(columns.iter().map(|column| column.bytes.compressed)),
            ints(columns.iter().map(|column| column.bytes.uncompressed)),
        ])
    }

    fn jobs(&self) -> Vec<ArrayRef> {
        let jobs = self.storage().jobs();
        let started = |job: &assay_storage::JobRun| job.started_at.timestamp_micros();
        let took = |job: &assay_storage::JobRun| i64::try_from(job.took.as_micros()).unwrap_or(i64::MAX);
        let errors: Vec<_> =
            jobs.iter().map(|job| job.error.as_deref().map(|e| without_other_projects(e, self.project()))).collect();
        vec![
            texts(jobs.iter().map(|job| Some(job.kind))),
            texts(jobs.iter().map(|job| job.table)),
            times(jobs.iter().map(|job| Some(started(job)))),
            times(jobs.iter().map(|job| Some(started(job).saturating_add(took(job))))),
            ints(jobs.iter().map(|job| u64::try_from(took(job) / 1000).unwrap_or_default())),
            ints(jobs.iter().map(|job| job.files)),
            ints(jobs.iter().map(|job| job.rows)),
            ints(jobs.iter().map(|job| job.bytes)),
            texts(jobs.iter().map(|job| Some(if job.error.is_some() { "failed" } else { "ok" }))),
            texts(errors.iter().map(Option::as_deref)),
        ]
    }

    fn wal(&self) -> Vec<ArrayRef> {
        let wal = self.storage().status().wal;
        let age = i64::try_from(wal.uncommitted_age_ms).unwrap_or(i64::MAX);
        let oldest = (age > 0).then(|| Utc::now().timestamp_micros().saturating_sub(age.saturating_mul(1000)));
        vec![
            ints([wal.segments]),
            ints([wal.bytes]),
            ints([wal.bytes_max]),
            times([oldest]),
            ints([wal.last.get()]),
            ints([wal.committed.get()]),
        ]
    }

    fn tables(&self) -> Vec<ArrayRef> {
        let status = self.storage().status();
        let view = &self.catalog.view;
        let of = |sum: &dyn Fn(&[Arc<DataFile>]) -> u64| {
            ints(TableId::ALL.iter().map(|table| sum(&view.files(*table, self.project()))))
        };
        let hot = |sum: &dyn Fn(&RecordBatch) -> u64| {
            ints(TableId::ALL.iter().map(|table| view.hot(*table, self.project()).iter().map(sum).sum()))
        };
        let last = |kind: &'static str| {
            times(TableId::ALL.iter().map(|table| Some(self.storage().last_job(kind, *table)?.timestamp_micros())))
        };
        vec![
            texts(TableId::ALL.iter().map(|table| Some(table.name()))),
            of(&|files| files.len() as u64),
            of(&|files| files.iter().map(|file| file.rows).sum()),
            of(&|files| files.iter().map(|file| file.size).sum()),
            hot(&|batch| batch.num_rows() as u64),
            hot(&assay_storage::memory_of),
            ints(TableId::ALL.iter().map(|table| status.tables.get(table.name()).map_or(0, |table| table.version))),
            last("flush"),
            last("compaction"),
        ]
    }

    fn prices(&self) -> Result<Vec<ArrayRef>> {
        let rates = self.catalog.system.prices.0.stated_rates();
        let all = || rates.iter();
        let money = all().map(|rate| Some(Money::to_stored(rate.usd_per_million))).collect::<Decimal128Array>();
        Ok(vec![
            texts(all().map(|rate| Some(rate.price.as_str()))),
            texts(all().map(|rate| rate.source.as_str())),
            texts(all().map(|rate| rate.provider.as_deref())),
            texts(all().map(|rate| Some(rate.model.as_str()))),
            texts(all().map(|rate| rate.region.as_deref())),
            texts(all().map(|rate| Some(rate.kind.as_str()))),
            texts(all().map(|rate| Some(rate.rate_mode))),
            Arc::new(all().map(|rate| rate.tier_above_tokens).collect::<Int64Array>()),
            Arc::new(all().map(|rate| rate.effective_from.map(pruning::days)).collect::<Date32Array>()),
            Arc::new(money.with_precision_and_scale(MONEY_PRECISION, MONEY_SCALE)?),
        ])
    }
}

/// `error` with the names of other projects, and what follows them in a path, replaced by `…`.
fn without_other_projects(error: &str, project: &ProjectId) -> String {
    const FOLDER: &str = "project_id=";
    let mut parts = error.split(FOLDER);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name_end = part.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(part.len());
        text.push_str(FOLDER);
        if &part[..name_end] == project.as_str() {
            text.push_str(part);
        } else {
            let path_end = part.find(|c: char| c.is_whitespace() || "`'\"".contains(c)).unwrap_or(part.len());
            text.push('…');
            text.push_str(&part[path_end..]);
        }
    }
    text
}

fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn ints(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(values.into_iter().map(|value| i64::try_from(value).ok()).collect::<Int64Array>())
}

fn times(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_no_other_project() {
        let ours = ProjectId::new("ours").unwrap();
        let error = "could not write `lake/spans/project_id=theirs/date=2026-11-20/part-1.parquet`: disk full; \
                     `lake/spans/project_id=ours/date=2026-11-20/part-2.parquet`";
        let said = without_other_projects(error, &ours);
        assert_eq!(
            said,
            "could not write `lake/spans/project_id=…`: disk full; `lake/spans/project_id=ours/date=2026-11-20/part-2.parquet`"
        );
        let alike = ProjectId::new("our").unwrap();
        assert!(!without_other_projects(error, &alike).contains("ours"));
    }

    #[test]
    fn every_column_has_its_array_and_a_comment() {
        for table in SystemTable::ALL {
            assert_eq!(SystemTable::from_name(table.name()), Some(table));
            assert!(!table.doc().is_empty() && table.columns().iter().all(|(_, _, doc)| doc.ends_with('.')), "{table:?}");
        }
    }
}
