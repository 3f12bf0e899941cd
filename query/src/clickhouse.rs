//! One table of one project where rows are kept in ClickHouse: the hot rows of a [`ReadView`] and what the server gives for the rest.
//!
//! ```text
//! UnionExec
//! ├─ hot batches, filtered                (memory)
//! └─ ClickHouseExec                       (projection, filters and limit are in its SQL, which EXPLAIN shows)
//! ```
//! While corrections are pending and a correctable column is read, the traces that they are about are read apart, so that the others stay a matter of
//! ClickHouse alone:
//!
//! ```text
//! UnionExec
//! ├─ CorrectionsExec, then filtered
//! │  └─ UnionExec
//! │     ├─ hot batches
//! │     └─ ClickHouseExec                 (their rows)
//! └─ ClickHouseExec                       (all others)
//! ```
//! Aggregates and the first rows of an order are sent too (`pushdown`); aggregates over many rows are asked of the rollup (`rollup`). Only predicates
//! that mean the same on both sides are sent (`dialect`), or that leave out rows for which the filter is false; the rest is DataFusion's. The project
//! and the position of the view are put into the statement here, never by the caller's SQL.

mod dialect;
mod pushdown;
mod rollup;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{
    array::{AsArray as _, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Int64Type, SchemaRef, UInt64Type},
};
use assay_schemas::{
    clickhouse::{identifier, rollup::HOUR_OF, searched_text, text},
    ids::ProjectId,
    tables::TableId,
};
use assay_storage::{ClickHouseClient, ClickHouseError, CorrectionSet, PATCHABLE, ReadView, RolledUp, StoredRows};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, Result, Statistics, stats::Precision, tree_node::TreeNodeRecursion},
    datasource::{TableType, memory::MemorySourceConfig, source::DataSourceExec},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableProviderFilterPushDown, utils::conjunction},
    physical_expr::{EquivalenceProperties, PhysicalExpr, expressions::Column},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        ReplaceChildrenOptions,
        execution_plan::{Boundedness, EmissionType},
        filter::FilterExec,
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
        projection::ProjectionExec,
        stream::RecordBatchStreamAdapter,
        union::UnionExec,
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use uuid::Uuid;

pub(crate) use self::pushdown::PushDown;
use self::rollup::Rollup;
use crate::{
    corrections::Corrected,
    table_provider::{wanted_traces, without_comments},
};

/// Of more traces than this, it is not asked first when they were.
const TRACES_MAX: usize = 100;
/// While more traces than this are being corrected, they are not told apart from the others.
const CORRECTED_TRACES_MAX: usize = 1000;
/// Length of a statement, far beyond what is asked.
const STATEMENT_BYTES_MAX: &str = "100000000";
const STATEMENT_ELEMENTS_MAX: &str = "1000000";

/// What ClickHouse is told about the query that it works for.
#[derive(Clone, Debug)]
pub(crate) struct OnBehalf {
    /// Name of the query; each statement of it gets a number more.
    pub(crate) query_id: Uuid,
    pub(crate) statements: Arc<AtomicU64>,
    pub(crate) deadline: Instant,
    pub(crate) memory_bytes_max: usize,
}

/// A table of a project at one moment.
#[derive(Debug)]
pub(crate) struct ClickHouseTable {
    table: TableId,
    project: ProjectId,
    view: Arc<ReadView>,
    stored: Arc<StoredRows>,
    on_behalf: OnBehalf,
    schema: SchemaRef,
    corrected_traces: OnceLock<Option<BTreeSet<String>>>,
}

impl ClickHouseTable {
    /// `table` of `project` as `view` shows it, of which `stored` is in ClickHouse.
    pub(crate) fn new(
        table: TableId,
        project: ProjectId,
        view: Arc<ReadView>,
        stored: Arc<StoredRows>,
        on_behalf: OnBehalf,
    ) -> Self {
        let schema = without_comments(&table.schema());
        Self { table, project, view, stored, on_behalf, schema, corrected_traces: OnceLock::new() }
    }

    /// `filter` as ClickHouse can answer it, if it can.
    fn pushed(&self, filter: &Expr) -> Option<Pushed> {
        let hint = || dialect::text_hint(filter).filter(|_| self.table == TableId::Spans);
        let (sql, is_exact) = match dialect::predicate(filter, &self.schema) {
            Some(sql) if sql.contains(&searched_text()) => (sql, true),
            Some(sql) => (hint().map_or(sql.clone(), |hint| format!("({hint} AND {sql})")), true),
            None => (hint()?, false),
        };
        // What is stored in a correctable column may be out of date, unless it is known where.
        let is_out_of_date = is_correctable(filter) && self.corrections().is_some() && self.corrected_traces().is_none();
        (!is_out_of_date).then_some(Pushed { sql, is_exact })
    }

    fn corrections(&self) -> Option<Arc<CorrectionSet>> {
        self.view.corrections(&self.project).filter(|set| set.concerns(self.table))
    }

    /// The traces that have all rows with pending corrections; `None` if they cannot be said, or are too many, or there are none.
    fn corrected_traces(&self) -> Option<&BTreeSet<String>> {
        let found = || {
            let set = self.corrections().filter(|_| matches!(self.table, TableId::Spans | TableId::CostLines))?;
            let mut traces = BTreeSet::new();
            for trace in set.traces() {
                if !traces.contains(trace) {
                    traces.insert(trace.to_owned());
                }
                if traces.len() > CORRECTED_TRACES_MAX {
                    return None;
                }
            }
            Some(traces)
        };
        self.corrected_traces.get_or_init(found).as_ref()
    }

    /// The rows of `traces`, hot or stored, corrected and filtered here, beside those of all others, which are as they are stored.
    async fn apart(
        &self,
        state: &dyn Session,
        wanted: &[usize],
        filters: &[Expr],
        exact: &[Expr],
        limit: Option<usize>,
        traces: &BTreeSet<&str>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let fixed: Vec<Expr> = filters.iter().filter(|filter| !is_correctable(filter)).cloned().collect();
        let (correctable, fixed_exact): (Vec<Expr>, Vec<Expr>) = exact.iter().cloned().partition(is_correctable);
        let named = traces.iter().map(|trace| text(trace)).collect::<Vec<_>>().join(", ");
        let corrected = Corrected::new(self.table, &self.view, &self.project, self.with_columns_of(&correctable, wanted)?);
        let mut these = format!("trace_id IN ({named})");
        if self.table == TableId::Spans {
            these = format!("{these} AND {}", self.when(traces.iter().copied()));
        }
        let stored = self.stored_plan(&corrected.read, &fixed, None, Some(Traces { condition: these.clone(), apart: None }))?;
        let parts = [self.hot_plan(state, &corrected.read, &fixed_exact)?, stored];
        let corrected = filtered(state, corrected.plan(parts, &self.schema)?, correctable, wanted.len())?;
        let apart = self.hours_apart(&these, wanted).await?;
        let others = Traces { condition: format!("(trace_id NOT IN ({named}) OR trace_id IS NULL)"), apart };
        let others = self.stored_plan(wanted, filters, limit, Some(others))?;
        others.map_or(Ok(Arc::clone(&corrected)), |others| UnionExec::try_new(vec![corrected, others]))
    }

    /// The hot rows for which all `filters` hold.
    fn hot_plan(&self, state: &dyn Session, projection: &[usize], filters: &[Expr]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let hot = self.view.hot(self.table, &self.project);
        if hot.is_empty() {
            return Ok(None);
        }
        let with_schema = |batch: RecordBatch| Ok(RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?);
        let hot = hot.into_iter().map(with_schema).collect::<Result<Vec<_>>>()?;
        let read = self.with_columns_of(filters, projection)?;
        let source = MemorySourceConfig::try_new(&[hot], Arc::clone(&self.schema), Some(read))?.with_show_sizes(false);
        filtered(state, Arc::new(DataSourceExec::new(Arc::new(source))), filters.to_vec(), projection.len()).map(Some)
    }

    /// The columns `wanted`, then those that only `filters` look at.
    fn with_columns_of(&self, filters: &[Expr], wanted: &[usize]) -> Result<Vec<usize>> {
        let mut read = wanted.to_vec();
        for column in filters.iter().flat_map(Expr::column_refs) {
            let idx = self.schema.index_of(&column.name)?;
            if !read.contains(&idx) {
                read.push(idx);
            }
        }
        Ok(read)
    }

    fn stored_plan(
        &self,
        projection: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
        of_traces: Option<Traces>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.stored.days(self.table, &self.project).next().is_none() {
            return Ok(None);
        }
        let of_project = format!("project_id = {}", text(self.project.as_str()));
        // Others are in the hot batches, and perhaps here too.
        let mut conditions = vec![of_project.clone(), self.stored.visible()];
        let pushed = filters.iter().map(|filter| {
            self.pushed(filter).ok_or_else(|| DataFusionError::Internal(format!("`{filter}` was not to be pushed down")))
        });
        let pushed = pushed.collect::<Result<Vec<_>>>()?;
        let apart = of_traces.as_ref().map_or_else(|| Some(BTreeSet::new()), |traces| traces.apart.clone());
        let apart = apart.filter(|_| limit.is_none() && pushed.iter().all(|pushed| pushed.is_exact));
        let rollup = apart.and_then(|apart| {
            let filters = filters.iter().zip(pushed.iter().map(|pushed| pushed.sql.clone()));
            Rollup::of(self.rolled_up()?, vec![of_project], filters, &apart)
        });
        conditions.extend(pushed.into_iter().map(|pushed| pushed.sql));
        conditions.extend(of_traces.map(|traces| traces.condition));
        if let Some(traces) = wanted_traces(filters).filter(|traces| self.table == TableId::Spans && traces.len() <= TRACES_MAX) {
            conditions.push(self.when(traces.iter().map(String::as_str)));
        }
        let statement = Statement {
            columns: projection.iter().map(|idx| identifier(self.table.columns()[*idx].name)).collect(),
            table: self.stored.name(self.table).to_owned(),
            conditions,
            group_by: None,
            order_by: Vec::new(),
            limit,
            union: Vec::new(),
        };
        let schema = Arc::new(self.schema.project(projection)?);
        let exec = ClickHouseExec::new(statement, schema, self.stored.client().clone(), self.on_behalf.clone());
        Ok(Some(Arc::new(ClickHouseExec { rollup: rollup.map(Arc::new), ..exec })))
    }

    /// Which of the stored rows the rollup has, if it is worth asking.
    fn rolled_up(&self) -> Option<RolledUp> {
        let rows = || self.stored.days(self.table, &self.project).map(|day| day.rows).sum::<u64>();
        let is_worth_it = self.table == assay_schemas::clickhouse::rollup::TABLE && rows() >= rollup::ROWS_MIN;
        if is_worth_it { self.stored.rolled_up() } else { None }
    }

    /// The hours of the stored rows of the traces that `these` says, where nothing but `wanted` is read and the rollup may answer; `None` if they are too
    /// many.
    async fn hours_apart(&self, these: &str, wanted: &[usize]) -> Result<Option<BTreeSet<i64>>> {
        let is_wanted = |name: &str| wanted.iter().any(|idx| self.table.columns()[*idx].name == name);
        if self.rolled_up().is_none() || ["trace_id", "span_id"].into_iter().any(is_wanted) {
            return Ok(None);
        }
        let sql = format!(
            "SELECT DISTINCT toInt64({HOUR_OF}) FROM {} WHERE project_id = {} AND {} AND {these} LIMIT {}",
            self.stored.name(self.table),
            text(self.project.as_str()),
            self.stored.visible(),
            rollup::CORRECTED_HOURS_MAX + 1
        );
        let batches = asked(self.stored.client().clone(), sql, &self.on_behalf).await?.try_collect::<Vec<_>>().await?;
        let hours: BTreeSet<i64> =
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter().copied()).collect();
        Ok((hours.len() <= rollup::CORRECTED_HOURS_MAX).then_some(hours))
    }

    /// When `traces` have spans, by the table that a materialised view keeps; at any time if it knows none of them. Rows lie in order of time:
    /// so those of a trace are found without a look at the others.
    fn when<'a>(&self, traces: impl Iterator<Item = &'a str>) -> String {
        let traces: Vec<_> = traces.map(text).collect();
        let known = format!(
            "FROM {} WHERE project_id = {} AND trace_id IN ({})",
            self.stored.trace_times(),
            text(self.project.as_str()),
            traces.join(", ")
        );
        let time = |known_time: &str, else_: &str| {
            format!("(SELECT if(count() = 0, toDateTime64('{else_}', 6, 'UTC'), {known_time}) {known})")
        };
        format!(
            "start_time >= {} AND start_time <= {}",
            time("min(time_min)", "1900-01-01 00:00:00"),
            time("max(time_max)", "2299-12-31 23:59:59.999999")
        )
    }
}

#[async_trait]
impl TableProvider for ClickHouseTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        // ClickHouse drops old days when it likes.
        let rows = usize::try_from(self.view.rows(self.table, &self.project)).unwrap_or(usize::MAX);
        statistics.num_rows = Precision::Inexact(rows);
        Some(statistics)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let supports = |filter: &&Expr| match self.pushed(filter) {
            Some(Pushed { is_exact: true, .. }) => TableProviderFilterPushDown::Exact,
            Some(Pushed { is_exact: false, .. }) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(supports).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = projection.cloned().unwrap_or_else(|| (0..self.table.columns().len()).collect());
        // What is true of rows as they are stored may not be of those in memory, where it is tried again above.
        let exact = |filter: &&Expr| self.pushed(filter).is_some_and(|pushed| pushed.is_exact);
        let exact: Vec<Expr> = filters.iter().filter(exact).cloned().collect();
        let mut corrected = Corrected::new(self.table, &self.view, &self.project, wanted.clone());
        if (corrected.set.is_some() || filters.iter().any(is_correctable))
            && let Some(traces) = self.corrected_traces()
        {
            let asked = wanted_traces(filters);
            let is_asked = |trace: &&String| asked.as_ref().is_none_or(|asked| asked.contains(*trace));
            let traces: BTreeSet<&str> = traces.iter().filter(is_asked).map(String::as_str).collect();
            if !traces.is_empty() {
                return self.apart(state, &wanted, filters, &exact, limit, &traces).await;
            }
            corrected = Corrected::as_stored(self.table, wanted);
        }
        let parts = [self.hot_plan(state, &corrected.read, &exact)?, self.stored_plan(&corrected.read, filters, limit, None)?];
        corrected.plan(parts, &self.schema)
    }
}

fn is_correctable(filter: &Expr) -> bool {
    filter.column_refs().iter().any(|column| PATCHABLE.contains(&column.name.as_str()))
}

/// The first `columns` columns of the rows of `plan` for which all `filters` hold.
fn filtered(
    state: &dyn Session,
    mut plan: Arc<dyn ExecutionPlan>,
    filters: Vec<Expr>,
    columns: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(filter) = conjunction(filters) else { return Ok(plan) };
    let predicate = state.create_physical_expr(filter, &DFSchema::try_from(plan.schema())?)?;
    plan = Arc::new(FilterExec::try_new(predicate, plan)?);
    let first: Vec<_> = plan.schema().fields()[..columns]
        .iter()
        .enumerate()
        .map(|(idx, f)| (Arc::new(Column::new(f.name(), idx)) as Arc<dyn PhysicalExpr>, f.name().clone()))
        .collect();
    Ok(Arc::new(ProjectionExec::try_new(first, plan)?))
}

/// Which traces are read.
struct Traces {
    condition: String,
    /// The hours in which the others have rows, so that the rollup is not asked for them; `None` if it is not asked at all.
    apart: Option<BTreeSet<i64>>,
}

/// A filter as ClickHouse is asked.
struct Pushed {
    sql: String,
    /// It is true of the same rows; else of those and others.
    is_exact: bool,
}

/// A question to ClickHouse.
#[derive(Clone, Debug)]
struct Statement {
    columns: Vec<String>,
    table: String,
    conditions: Vec<String>,
    /// Rows are put together by these; all into one if there are none of them.
    group_by: Option<Vec<String>>,
    order_by: Vec<String>,
    limit: Option<usize>,
    /// More of the same columns.
    union: Vec<Statement>,
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { columns, table, conditions, group_by, order_by, limit, union } = self;
        let where_ = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        match (columns.is_empty(), limit) {
            // Only how many rows there are is asked.
            (true, None) => return write!(f, "SELECT count() FROM {table}{where_}"),
            (true, Some(limit)) => {
                return write!(f, "SELECT count() FROM (SELECT 1 FROM {table}{where_} LIMIT {limit})");
            }
            (false, _) => write!(f, "SELECT {} FROM {table}{where_}", columns.join(", "))?,
        }
        for (what, list) in [("GROUP BY", group_by.as_deref().unwrap_or_default()), ("ORDER BY", order_by)] {
            if !list.is_empty() {
                write!(f, " {what} {}", list.join(", "))?;
            }
        }
        if let Some(limit) = limit {
            write!(f, " LIMIT {limit}")?;
        }
        union.iter().try_for_each(|more| write!(f, " UNION ALL {more}"))
    }
}

/// The operator: sends its statement when it is executed, and gives the rows as they arrive.
#[derive(Debug)]
pub(crate) struct ClickHouseExec {
    statement: Statement,
    /// Where the rollup has some of these rows.
    rollup: Option<Arc<Rollup>>,
    schema: SchemaRef,
    client: ClickHouseClient,
    on_behalf: OnBehalf,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ClickHouseExec {
    fn new(statement: Statement, schema: SchemaRef, client: ClickHouseClient, on_behalf: OnBehalf) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { statement, rollup: None, schema, client, on_behalf, properties: Arc::new(properties), metrics }
    }
}

impl ClickHouseExec {
    /// Whether it gives rows of the table, not yet what was made of them.
    fn is_plain(&self) -> bool {
        self.statement.group_by.is_none() && self.is_unlimited()
    }

    /// Whether it is one statement, and gives all of them.
    fn is_unlimited(&self) -> bool {
        self.statement.order_by.is_empty() && self.statement.limit.is_none() && self.statement.union.is_empty()
    }

    /// The column at `idx` of what it gives, as ClickHouse names it.
    fn column(&self, idx: usize) -> Option<(String, DataType)> {
        Some((self.statement.columns.get(idx)?.clone(), self.schema.field(idx).data_type().clone()))
    }

    /// The same rows, put together: `columns` for each of `groups`, with `schema`.
    fn aggregated(&self, columns: Vec<String>, groups: Vec<String>, schema: SchemaRef) -> Self {
        let statement = Statement { columns, group_by: Some(groups), ..self.statement.clone() };
        self.asking(statement, schema)
    }

    /// Parts of what [`Self::aggregated`] gives, with the rollup for as many rows as it has: that is asked for `of_rollup`, and put together by `groups` of it.
    fn rolled_up(
        &self,
        (columns, groups): (Vec<String>, Vec<String>),
        (of_rollup, groups_of_rollup): (Vec<String>, Vec<String>),
        schema: SchemaRef,
    ) -> Option<Self> {
        let of_rows = Statement { columns, group_by: Some(groups), ..self.statement.clone() };
        Some(self.asking(self.rollup.as_ref()?.statement(&of_rows, of_rollup, groups_of_rollup), schema))
    }

    /// The same for another statement.
    fn asking(&self, statement: Statement, schema: SchemaRef) -> Self {
        Self::new(statement, schema, self.client.clone(), self.on_behalf.clone())
    }

    /// The first `rows` of the same rows in the order of `keys`.
    fn first(&self, keys: Vec<String>, rows: usize) -> Self {
        let statement = Statement { order_by: keys, limit: Some(rows), ..self.statement.clone() };
        self.asking(statement, self.schema())
    }
}

impl DisplayAs for ClickHouseExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClickHouseExec: sql={}", self.statement)
    }
}

impl ExecutionPlan for ClickHouseExec {
    fn name(&self) -> &'static str {
        "ClickHouseExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
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

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (client, sql, on_behalf) = (self.client.clone(), self.statement.to_string(), self.on_behalf.clone());
        let schema = Arc::clone(&self.schema);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let bytes = MetricBuilder::new(&self.metrics).counter("bytes_scanned", partition);
        let batches = stream::once(async move { asked(client, sql, &on_behalf).await }).try_flatten();
        let batches = batches.map(move |batch| {
            let batch = with_schema(&schema, &batch?)?;
            bytes.add(batch.get_array_memory_size());
            metrics.record_output(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The rows of the answer to `sql`, for which the server has as long as the query. Dropping them early stops the server too.
async fn asked(
    client: ClickHouseClient,
    sql: String,
    on_behalf: &OnBehalf,
) -> Result<impl futures::Stream<Item = Result<RecordBatch>> + Send + use<>> {
    let (mut answer, mut guard) = match attempt(&client, &sql, on_behalf).await {
        // A connection that the server has just closed, or one request too many: once more, before anyone is told.
        Err(error) if error.is_momentary() => attempt(&client, &sql, on_behalf).await,
        first => first,
    }
    .map_err(|e| DataFusionError::External(Box::new(e)))?;
    Ok(stream::poll_fn(move |cx| {
        let polled = answer.poll_next_unpin(cx);
        match &polled {
            std::task::Poll::Ready(None) => guard.client = None,
            std::task::Poll::Ready(Some(Err(error))) => guard.ended(Some(error)),
            _ => {}
        }
        polled.map_err(|e| DataFusionError::External(Box::new(e)))
    }))
}

type Rows = BoxStream<'static, std::result::Result<RecordBatch, ClickHouseError>>;

async fn attempt(
    client: &ClickHouseClient,
    sql: &str,
    on_behalf: &OnBehalf,
) -> std::result::Result<(Rows, KillUnlessDone), ClickHouseError> {
    let left = on_behalf.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let query_id = format!("{}-{}", on_behalf.query_id, on_behalf.statements.fetch_add(1, Ordering::Relaxed));
    let settings = vec![
        ("query_id", query_id.clone()),
        ("max_execution_time", format!("{:.3}", left.as_secs_f64())),
        ("max_memory_usage", on_behalf.memory_bytes_max.to_string()),
        ("cancel_http_readonly_queries_on_client_close", "1".to_owned()),
        // Lists of thousands of traces are asked for.
        ("max_query_size", STATEMENT_BYTES_MAX.to_owned()),
        ("max_ast_elements", STATEMENT_ELEMENTS_MAX.to_owned()),
        ("max_expanded_ast_elements", STATEMENT_ELEMENTS_MAX.to_owned()),
    ];
    let mut guard = KillUnlessDone { client: Some(client.clone()), query_id };
    let answer = client.query(sql.to_owned(), settings, left).await;
    guard.ended(answer.as_ref().err());
    Ok((answer?, guard))
}

/// Stops a statement that nobody waits for any more.
struct KillUnlessDone {
    client: Option<ClickHouseClient>,
    query_id: String,
}

impl KillUnlessDone {
    /// The server said that it has failed. Of an answer that breaks off, or does not come in time, it has said nothing.
    fn ended(&mut self, error: Option<&ClickHouseError>) {
        if matches!(error, Some(ClickHouseError::Refused { .. } | ClickHouseError::Incomplete { .. })) {
            self.client = None;
        }
    }
}

impl Drop for KillUnlessDone {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            client.kill(&self.query_id);
        }
    }
}

/// `batch` as this version names and types its columns.
fn with_schema(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    if schema.fields().is_empty() {
        let counts = batch.column(0).as_primitive::<UInt64Type>();
        let rows = counts.values().iter().map(|count| usize::try_from(*count).unwrap_or(usize::MAX)).sum();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        return Ok(RecordBatch::try_new_with_options(Arc::clone(schema), Vec::new(), &options)?);
    }
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => cast(column, field.data_type()),
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<std::result::Result<Vec<_>, _>>()?)?)
}
