//! The scan of slim columns: hot rows and files of the lake in one operator, which decodes columns once and keeps them.
//!
//! ```text
//! LakeScanExec ── Scanner (a partition) ── hot batches
//!                                       └─ RowGroups: pruned by statistics ── ColumnCache ── Parquet
//! ```
//! Filters, those of `ORDER BY … LIMIT` that move while it runs included, are applied here: their columns are looked at first, the others
//! only where a row is left. Texts that repeat are numbers of a [`dictionary`] that all row groups share. Row groups are read the newest
//! first. Payload columns and rows of single traces are not read here but by DataFusion's own Parquet scan.

mod cache;
mod chunk;
mod dictionary;
mod evaluate;
mod metrics;
mod packed;
mod row_groups;
mod scanner;

use std::{fmt, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use assay_schemas::tables::TableId;
use assay_storage::DataFile;
use datafusion::{
    common::{ColumnStatistics, Result, Statistics, exec_err, stats::Precision, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    datasource::physical_plan::parquet::CachedParquetFileReaderFactory,
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryConsumer},
    physical_expr::{EquivalenceProperties, PhysicalExpr, conjunction},
    physical_expr_common::physical_expr::{is_volatile, snapshot_generation},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        ReplaceChildrenOptions, StatisticsArgs,
        coop::make_cooperative,
        execution_plan::{Boundedness, EmissionType, SchedulingType},
        filter_pushdown::{ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown},
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    cache::ColumnCache,
    metrics::{ROW_GROUPS, ROW_GROUPS_READ},
    row_groups::object_meta,
};
use self::{
    metrics::RowGroupCounts,
    row_groups::RowGroups,
    scanner::{Rows, Scanner},
};

/// What is scanned.
#[derive(Clone, Debug)]
pub(crate) struct LakeScan {
    pub(crate) table: TableId,
    /// Rows that are not yet in files, with the columns of the table.
    pub(crate) hot: Vec<RecordBatch>,
    /// The newest first.
    pub(crate) files: Vec<Arc<DataFile>>,
    /// Columns, as places in the table.
    pub(crate) projection: Vec<usize>,
    /// These columns.
    pub(crate) schema: SchemaRef,
    /// Predicates over these columns: only rows for which all are true are given.
    pub(crate) filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Those of them that change while the query runs.
    pub(crate) moving: Option<Arc<dyn PhysicalExpr>>,
    /// Most rows wanted of each partition.
    pub(crate) limit: Option<usize>,
    /// Of all rows, without the filters.
    pub(crate) statistics: Statistics,
    pub(crate) partitions: usize,
    pub(crate) cache: Arc<ColumnCache>,
    pub(crate) readers: Arc<CachedParquetFileReaderFactory>,
    /// Ends the scan with an error, where another node asked for it; who asks here drops it.
    pub(crate) stopped: Option<CancellationToken>,
}

impl LakeScan {
    /// A number that changes with the filters that change.
    fn moving_generation(&self) -> u64 {
        self.moving.as_ref().map_or(0, snapshot_generation)
    }

    pub(crate) fn with_filters(&self, more: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>) -> Self {
        let mut scan = self.clone();
        scan.filters.extend(more);
        let moving = || scan.filters.iter().filter(|filter| snapshot_generation(filter) != 0).cloned();
        scan.moving = moving().next().map(|_| conjunction(moving()));
        scan
    }
}

/// The operator.
#[derive(Debug)]
pub(crate) struct LakeScanExec {
    pub(crate) scan: Arc<LakeScan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LakeScanExec {
    pub(crate) fn new(scan: LakeScan) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&scan.schema)),
            Partitioning::UnknownPartitioning(scan.partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { scan: Arc::new(scan), properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// How many files it reads.
    pub(crate) fn files(&self) -> usize {
        self.scan.files.len()
    }

    /// Whether a predicate chooses among its row groups.
    pub(crate) fn chooses_row_groups(&self) -> bool {
        !self.scan.filters.is_empty()
    }

    fn scanner(&self, partition: usize, context: &TaskContext) -> Result<Scanner> {
        let row_groups = RowGroups {
            table: self.scan.table,
            cache: Arc::clone(&self.scan.cache),
            readers: Arc::clone(&self.scan.readers),
            scan: self.scan.cache.begin_scan(),
            partition,
            metrics: self.metrics.clone(),
        };
        let memory = MemoryConsumer::new(format!("LakeScan[{partition}]")).register(context.memory_pool());
        let counts = RowGroupCounts::new(&self.metrics, partition);
        Scanner::try_new(Arc::clone(&self.scan), row_groups, counts, memory, context.session_config().batch_size())
    }
}

impl DisplayAs for LakeScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.scan.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let hot: usize = self.scan.hot.iter().map(RecordBatch::num_rows).sum();
        write!(f, "LakeScanExec: table={}, files={}, hot_rows={hot}", self.scan.table.name(), self.scan.files.len())?;
        write!(f, ", columns=[{}]", columns.join(", "))?;
        if !self.scan.filters.is_empty() {
            write!(f, ", predicate={}", conjunction(self.scan.filters.iter().cloned()))?;
        }
        match self.scan.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for LakeScanExec {
    fn name(&self) -> &'static str {
        "LakeScanExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.scan.schema)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for filter in &self.scan.filters {
            if f(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let scanner = self.scanner(partition, &context)?;
        let schema = Arc::clone(&self.scan.schema);
        let left = self.scan.limit.unwrap_or(usize::MAX);
        let stopped = self.scan.stopped.clone();
        let mut batches = Box::pin(stream::try_unfold((scanner, left), move |(mut scanner, left)| {
            let (schema, stopped) = (Arc::clone(&schema), stopped.clone());
            async move {
                if left == 0 {
                    return Ok(None);
                }
                if stopped.as_ref().is_some_and(CancellationToken::is_cancelled) {
                    return exec_err!("the query was stopped");
                }
                let Some(rows) = scanner.next().await? else { return Ok(None) };
                let batch = batch(&schema, &rows)?;
                let batch = batch.slice(0, batch.num_rows().min(left));
                let left = left - batch.num_rows();
                Ok(Some((batch, (scanner, left))))
            }
        }));
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        // What decodes, evaluates and copies runs within a poll; waiting for the disk does not.
        let measured = stream::poll_fn(move |cx| {
            let timer = metrics.elapsed_compute().timer();
            let polled = batches.poll_next_unpin(cx);
            drop(timer);
            metrics.record_poll(polled)
        });
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), measured))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        if args.partition().is_some() {
            return Ok(Arc::new(Statistics::new_unknown(&self.scan.schema)));
        }
        let whole = self.scan.statistics.clone();
        // What the filters leave is not known: the numbers of all rows are the most there can be.
        let filtered = if self.scan.filters.is_empty() { whole } else { whole.to_inexact() };
        Ok(Arc::new(match self.scan.limit {
            // Each partition gives as many as the limit.
            Some(limit) => filtered.to_inexact().with_fetch(Some(limit), 0, self.scan.partitions)?,
            None => filtered,
        }))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self::new(LakeScan { limit, ..self.scan.as_ref().clone() })))
    }

    fn fetch(&self) -> Option<usize> {
        self.scan.limit
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        pushed: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // Rows are counted after the filters that are here now: no other may come between. What gives another answer each time it is
        // asked is asked once for a row, above.
        let takes = |filter: &Arc<dyn PhysicalExpr>| self.scan.limit.is_none() && !is_volatile(filter);
        let filters: Vec<_> = pushed.parent_filters.into_iter().map(|pushed| pushed.filter).collect();
        let told = filters.iter().map(|filter| if takes(filter) { PushedDown::Yes } else { PushedDown::No }).collect();
        let propagation = FilterPushdownPropagation::with_parent_pushdown_result(told);
        let taken: Vec<_> = filters.into_iter().filter(takes).collect();
        if taken.is_empty() {
            return Ok(propagation);
        }
        Ok(propagation.with_updated_node(Arc::new(Self::new(self.scan.with_filters(taken)))))
    }
}

fn batch(schema: &SchemaRef, rows: &Rows) -> Result<RecordBatch> {
    let arrays = rows.chunks.iter().map(chunk::Chunk::array).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

/// Statistics of hot rows and files together: of the files alone where there are no others.
pub(crate) fn statistics(files: Statistics, hot_rows: usize) -> Statistics {
    if hot_rows == 0 {
        return files;
    }
    let columns = files.column_statistics.len();
    Statistics {
        num_rows: files.num_rows.add(&Precision::Exact(hot_rows)),
        total_byte_size: Precision::Absent,
        column_statistics: vec![ColumnStatistics::new_unknown(); columns],
    }
}
