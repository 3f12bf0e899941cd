//! One table of one project as DataFusion sees it: hot rows and lake files of one [`ReadView`], corrections applied.
//!
//! The provider holds the project; no SQL can name another one, because rows of other projects are not in the view it reads.
//! ```text
//! CorrectionsExec (only while corrections are pending and a correctable column is read)
//! └─ LakeScanExec                         (slim columns: hot batches and files, see `scan`)
//! or
//! └─ UnionExec                            (payload columns, or rows of single traces)
//!    ├─ hot batches                       (memory)
//!    └─ lake files                        (Parquet)
//!       pruned by statistics of the file, then to rows: for `trace_id = …` by the file's trace index to those of the trace, for a text
//!       that must occur (`name ILIKE '%refund%'`) by its text index to those that can hold it
//! ```

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema, SchemaRef},
};
use assay_schemas::{ids::ProjectId, table::Layout, tables::TableId};
use assay_storage::{CorrectionSet, DataFile, PATCHABLE, ReadView, TraceIndex, file_schema};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, Result, ScalarValue, Statistics, stats::Precision},
    datasource::{
        TableType,
        listing::PartitionedFile,
        memory::MemorySourceConfig,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetSource,
            parquet::{CachedParquetFileReaderFactory, ParquetRowSelection},
        },
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::DataFusionError,
    logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, expr::InList, utils::conjunction},
    physical_expr::PhysicalExpr,
    physical_plan::ExecutionPlan,
};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::RowSelection;

use crate::{
    corrections::Corrected,
    lake_store, pruning,
    scan::{self, ColumnCache, LakeScan, LakeScanExec},
    text_pruning::Text,
};

/// Trace indexes asked at the same time.
const INDEX_READS: usize = 8;
/// While more traces than this are being corrected, text indexes are not used: what they say of those traces is out of date.
const CORRECTED_TRACES_MAX: usize = 1000;
/// Fewer rows than this are not worth a thread of their own.
const PARTITION_ROWS: usize = 16_384;
/// The columns that are folders in the lake, not columns of its files.
const PARTITION_COLUMNS: usize = 2;

/// In the configuration of a session: its plans are to be divided over nodes, each of which reads a part of every scan. What is planned for one
/// partition takes that for all of the rows, so no scan is one partition, nor nothing at all.
#[derive(Debug)]
pub(crate) struct Divisible;

/// Partitions of a scan that is to be divided, at least.
const DIVISIBLE_PARTITIONS_MIN: usize = 2;

/// A table of a project at one moment.
#[derive(Debug)]
pub(crate) struct LakeTable {
    table: TableId,
    project: ProjectId,
    view: Arc<ReadView>,
    store: Arc<dyn ObjectStore>,
    columns: Arc<ColumnCache>,
    schema: SchemaRef,
}

impl LakeTable {
    /// `table` of `project` as `view` shows it, files read from `store`, columns of them kept in `columns`.
    #[must_use]
    pub(crate) fn new(
        table: TableId,
        project: ProjectId,
        view: Arc<ReadView>,
        store: Arc<dyn ObjectStore>,
        columns: Arc<ColumnCache>,
    ) -> Self {
        Self { table, project, view, store, columns, schema: without_comments(&table.schema()) }
    }

    /// The files that can hold rows for `filters`, with the rows to read where an index knows them. A file's value of a correctable column
    /// may be out of date while there are `corrections`.
    async fn files(
        &self,
        state: &dyn Session,
        all_filters: &[Expr],
        corrections: Option<&CorrectionSet>,
    ) -> Result<Vec<FileToRead>> {
        let uncorrected = |filter: &&Expr| !filter.column_refs().iter().any(|c| PATCHABLE.contains(&c.name.as_str()));
        let filters: &[Expr] = &match corrections {
            Some(_) => all_filters.iter().filter(uncorrected).cloned().collect(),
            None => all_filters.to_vec(),
        };
        let files = self.view.files(self.table, &self.project);
        let kept = match conjunction(filters.to_vec()) {
            None => files,
            Some(filter) => {
                let schema = DFSchema::try_from(self.schema())?;
                match state.create_physical_expr(filter, &schema) {
                    Ok(predicate) => pruning::prune(&self.schema(), &predicate, files)?,
                    Err(_) => files, // Not a predicate over columns alone: nothing to prune by.
                }
            }
        };
        let wanted = |(_, rows): &FileToRead| std::future::ready(rows.as_ref().is_none_or(|r| !r.is_empty()));
        if let Some(traces) = wanted_traces(filters) {
            let looked_up = futures::stream::iter(kept).map(|file| rows_of_traces(file, &traces)).buffered(INDEX_READS);
            return looked_up.try_filter(wanted).try_collect().await;
        }
        let corrected: BTreeSet<String> = corrections.into_iter().flat_map(|set| set.traces()).map(ToOwned::to_owned).collect();
        if let Some(text) = Text::of(all_filters).filter(|_| corrected.len() <= CORRECTED_TRACES_MAX) {
            let looked_up = futures::stream::iter(kept).map(|file| rows_with_text(file, &text, &corrected)).buffered(INDEX_READS);
            return looked_up.try_filter(wanted).try_collect().await;
        }
        Ok(kept.into_iter().map(|file| (file, None)).collect())
    }

    fn has_payloads(&self, projection: &[usize]) -> bool {
        projection.iter().any(|idx| self.table.columns()[*idx].layout == Layout::Payload)
    }

    /// The scan of slim columns, of hot rows and `files`.
    fn slim_plan(
        &self,
        state: &dyn Session,
        projection: &[usize],
        files: &[FileToRead],
        limit: Option<usize>,
    ) -> Result<LakeScanExec> {
        let schema = self.schema();
        let with_schema = |batch: RecordBatch| Ok(RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?);
        let hot = self.view.hot(self.table, &self.project).into_iter().map(with_schema).collect::<Result<Vec<_>>>()?;
        let lake_projection: Vec<usize> = projection.iter().map(|idx| self.lake_index(*idx)).collect();
        let of_files = pruning::statistics(self.table, files.iter().map(|(file, _)| file)).project(Some(&lake_projection));
        let hot_rows = hot.iter().map(RecordBatch::num_rows).sum();
        let statistics = scan::statistics(of_files, hot_rows);
        let partitions_min = if is_divisible(state) { DIVISIBLE_PARTITIONS_MIN } else { 1 };
        let rows = hot_rows + files.iter().map(|(file, _)| usize::try_from(file.rows).unwrap_or(usize::MAX)).sum::<usize>();
        Ok(LakeScanExec::new(LakeScan {
            table: self.table,
            hot,
            files: newest_first(files).into_iter().map(|(file, _)| Arc::clone(file)).collect(),
            projection: projection.to_vec(),
            schema: Arc::new(schema.project(projection)?),
            filters: Vec::new(),
            moving: None,
            limit,
            statistics,
            partitions: (rows / PARTITION_ROWS).clamp(partitions_min, state.config().target_partitions().max(partitions_min)),
            cache: Arc::clone(&self.columns),
            readers: self.readers(state),
            stopped: None,
        }))
    }

    fn readers(&self, state: &dyn Session) -> Arc<CachedParquetFileReaderFactory> {
        let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
        Arc::new(CachedParquetFileReaderFactory::new(Arc::clone(&self.store), footers))
    }

    fn hot_plan(&self, projection: &[usize], partitions: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let batches = self.view.hot(self.table, &self.project);
        if batches.is_empty() {
            return Ok(None);
        }
        let schema = self.schema();
        let mut parts = vec![Vec::new(); partitions.clamp(1, batches.len())];
        let n_parts = parts.len();
        for (nth, batch) in batches.into_iter().enumerate() {
            parts[nth % n_parts].push(RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?);
        }
        let source = MemorySourceConfig::try_new(&parts, schema, Some(projection.to_vec()))?.with_show_sizes(false);
        Ok(Some(Arc::new(DataSourceExec::new(Arc::new(source)))))
    }

    fn lake_plan(&self, state: &dyn Session, projection: &[usize], scan: Scan) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if scan.files.is_empty() {
            return Ok(None);
        }
        let full = self.schema();
        let partition_columns = full.fields()[..PARTITION_COLUMNS].to_vec();
        let table_schema =
            TableSchema::builder(without_comments(&file_schema(self.table))).with_table_partition_cols(partition_columns).build();
        // Payload columns are decoded only for rows that pass the filters; for slim columns that costs more than it saves.
        let payloads = self.has_payloads(projection);
        let mut source = ParquetSource::new(table_schema)
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_pushdown_filters(payloads)
            .with_reorder_filters(payloads)
            .with_parquet_file_reader_factory(self.readers(state));
        if let Some(predicate) = scan.predicate {
            source = source.with_predicate(predicate);
        }
        let exact = scan.files.iter().all(|(_, rows)| rows.is_none());
        let statistics = pruning::statistics(self.table, scan.files.iter().map(|(file, _)| file));
        // The newest files first in every partition: what asks for the latest rows then knows soon which files it can leave out.
        let newest_first = newest_first(&scan.files);
        let mut groups = vec![Vec::new(); state.config().target_partitions().clamp(1, newest_first.len())];
        let n_groups = groups.len();
        for (nth, (file, rows)) in newest_first.into_iter().enumerate() {
            groups[nth % n_groups].push(self.partitioned_file(file, rows.as_deref())?);
        }
        let groups = groups.into_iter().map(FileGroup::new).collect();
        let config = FileScanConfigBuilder::new(lake_store::url(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(if exact { statistics } else { statistics.to_inexact() })
            .with_projection_indices(Some(projection.iter().map(|idx| self.lake_index(*idx)).collect()))?
            .with_limit(scan.limit)
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }

    /// Where a column of the table is in the scan of files: partition columns come last there.
    fn lake_index(&self, idx: usize) -> usize {
        let columns = self.table.columns().len();
        if idx < PARTITION_COLUMNS { columns - PARTITION_COLUMNS + idx } else { idx - PARTITION_COLUMNS }
    }

    fn partitioned_file(&self, file: &DataFile, rows: Option<&[Range<u64>]>) -> Result<PartitionedFile> {
        let date = pruning::days(file.date);
        let values = vec![ScalarValue::Utf8(Some(file.project.to_string())), ScalarValue::Date32(Some(date))];
        let mut partitioned = PartitionedFile::new_from_meta(scan::object_meta(file)).with_partition_values(values);
        let statistics = pruning::file_statistics(self.table, file);
        partitioned = partitioned.with_statistics(Arc::new(match rows {
            None => statistics,
            Some(_) => statistics.to_inexact(),
        }));
        if let Some(rows) = rows {
            let total = usize::try_from(file.rows).map_err(|e| DataFusionError::External(e.into()))?;
            let ranges = rows.iter().map(|r| r.start as usize..(r.end as usize).min(total));
            partitioned =
                partitioned.with_extension(ParquetRowSelection::new(RowSelection::from_consecutive_ranges(ranges, total)));
        }
        Ok(partitioned)
    }
}

/// A file, and the rows of it to read where a trace index knows them; else all.
type FileToRead = (Arc<DataFile>, Option<Vec<Range<u64>>>);

struct Scan {
    files: Vec<FileToRead>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let hot: usize = self.view.hot(self.table, &self.project).iter().map(|b| b.num_rows()).sum();
        let mut statistics = Statistics::new_unknown(&self.schema());
        let lake: u64 = self.view.files(self.table, &self.project).iter().map(|f| f.rows).sum();
        statistics.num_rows = Precision::Exact(hot + usize::try_from(lake).unwrap_or(usize::MAX));
        Some(statistics)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files are left out by them, rows are not: a filter above the scan does that, and reaches into the scan where it pays.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = projection.cloned().unwrap_or_else(|| (0..self.table.columns().len()).collect());
        let corrected = Corrected::new(self.table, &self.view, &self.project, wanted);
        let files = self.files(state, filters, corrected.set.as_deref()).await?;
        let limit = limit.filter(|_| filters.is_empty());
        let read = &corrected.read;
        let slim = !self.has_payloads(read) && files.iter().all(|(_, rows)| rows.is_none());
        let is_empty = files.is_empty() && self.view.hot(self.table, &self.project).is_empty();
        let parts = if slim && (!is_empty || is_divisible(state)) {
            [Some(Arc::new(self.slim_plan(state, read, &files, limit)?) as Arc<dyn ExecutionPlan>), None]
        } else {
            let scan = Scan { files, predicate: None, limit };
            [self.hot_plan(read, state.config().target_partitions())?, self.lake_plan(state, read, scan)?]
        };
        corrected.plan(parts, &self.schema())
    }
}

fn is_divisible(state: &dyn Session) -> bool {
    state.config().get_extension::<Divisible>().is_some()
}

/// `files` in the order in which what asks for the latest rows soon knows which it can leave out.
fn newest_first(files: &[FileToRead]) -> Vec<&FileToRead> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|(file, _)| std::cmp::Reverse((file.time_max, file.last_position())));
    files
}

/// Comments travel in field metadata, which a union of two tables would have to agree on.
pub(crate) fn without_comments(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), field.is_nullable());
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// The rows of `traces` in `file`; `None` if the file has no trace index and all of it must be read.
async fn rows_of_traces(file: Arc<DataFile>, traces: &BTreeSet<String>) -> Result<FileToRead> {
    let Some(index) = file.traces.clone() else { return Ok((file, None)) };
    let rows = ranges_of_traces(&index, traces).await?;
    Ok((file, Some(joined(rows))))
}

/// The rows of `file` that can hold `text`, and those of the traces `corrected`; `None` if the file has no text index and all of it must be
/// read.
async fn rows_with_text(file: Arc<DataFile>, text: &Text, corrected: &BTreeSet<String>) -> Result<FileToRead> {
    let Some(traces) = file.traces.clone() else { return Ok((file, None)) };
    let Some(index) = traces.text().await.map_err(|e| DataFusionError::External(Box::new(e)))? else { return Ok((file, None)) };
    let mut rows = text.rows(&index);
    rows.extend(ranges_of_traces(&traces, corrected).await?);
    let rows = joined(rows);
    let all = rows.iter().map(|r| r.end - r.start).sum::<u64>() >= file.rows;
    Ok((file, Some(rows).filter(|_| !all)))
}

async fn ranges_of_traces(index: &TraceIndex, traces: &BTreeSet<String>) -> Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    for trace in traces {
        ranges.extend(index.rows(trace).await.map_err(|e| DataFusionError::External(Box::new(e)))?);
    }
    Ok(ranges)
}

/// `ranges` in order, none within another. Those of different traces do not overlap in files written by us; a rebuilt index may say so.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|r| r.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// The trace ids to which `filters` limit the rows, if they do.
pub(crate) fn wanted_traces(filters: &[Expr]) -> Option<BTreeSet<String>> {
    filters.iter().filter_map(traces_of).min_by_key(BTreeSet::len)
}

fn traces_of(filter: &Expr) -> Option<BTreeSet<String>> {
    let is_trace_id = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == "trace_id");
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_trace_id(left) => Some([text(right)?].into()),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_trace_id(right) => Some([text(left)?].into()),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (mut left, right) = (traces_of(left)?, traces_of(right)?);
            left.extend(right);
            Some(left)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            [left, right].into_iter().filter_map(|side| traces_of(side)).min_by_key(BTreeSet::len)
        }
        Expr::InList(InList { expr, list, negated: false }) if is_trace_id(expr) => list.iter().map(text).collect(),
        _ => None,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(ToOwned::to_owned),
        _ => None,
    }
}
