//! The plan node that applies pending corrections to the rows read: it stands above the scan only while there are any.

use std::{collections::HashSet, fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use assay_schemas::{clickhouse::identifier, ids::ProjectId, tables::TableId};
use assay_storage::{CorrectionSet, PATCHABLE, ReadView, patchable, row_key_columns};
use datafusion::{
    common::{ColumnStatistics, Result, Statistics, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, PlanProperties,
        ReplaceChildrenOptions, StatisticsArgs,
        empty::EmptyExec,
        execution_plan::CardinalityEffect,
        filter_pushdown::{ChildFilterDescription, FilterDescription, FilterPushdownPhase},
        statistics::ChildStats,
        stream::RecordBatchStreamAdapter,
        union::UnionExec,
    },
};
use futures::StreamExt as _;

/// How a scan of some columns of a table is corrected: not at all, unless corrections are pending and a correctable column is wanted.
pub(crate) struct Corrected {
    table: TableId,
    wanted: usize,
    /// The columns to read: those wanted, then what tells which rows are corrected.
    pub(crate) read: Vec<usize>,
    pub(crate) set: Option<Arc<CorrectionSet>>,
}

impl Corrected {
    /// For the columns `wanted` of `table`, as `view` shows the project.
    pub(crate) fn new(table: TableId, view: &ReadView, project: &ProjectId, wanted: Vec<usize>) -> Self {
        let name = |idx: usize| table.columns()[idx].name;
        let correctable = || wanted.iter().any(|idx| patchable(table).contains(&name(*idx)));
        let set = view.corrections(project).filter(|set| set.concerns(table) && correctable());
        let n_wanted = wanted.len();
        let mut read = wanted;
        if set.is_some() {
            for idx in 0..table.columns().len() {
                if row_key_columns(table).contains(&name(idx)) && !read.contains(&idx) {
                    read.push(idx);
                }
            }
        }
        Self { table, wanted: n_wanted, read, set }
    }

    /// For the columns `wanted` of rows of `table` that no correction is about.
    pub(crate) fn as_stored(table: TableId, wanted: Vec<usize>) -> Self {
        Self { table, wanted: wanted.len(), read: wanted, set: None }
    }

    /// The columns wanted of `parts`, each of which gives those read.
    pub(crate) fn plan(self, parts: [Option<Arc<dyn ExecutionPlan>>; 2], schema: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
        let mut parts = parts.into_iter().flatten();
        let input = match (parts.next(), parts.next()) {
            (None, _) => return Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(&self.read[..self.wanted])?)))),
            (Some(only), None) => only,
            (Some(hot), Some(stored)) => UnionExec::try_new(vec![hot, stored])?,
        };
        Ok(match self.set {
            Some(set) => Arc::new(CorrectionsExec::try_new(self.table, set, input, self.wanted)?),
            None => input,
        })
    }
}

/// Applies corrections to `input`, whose first `columns` columns are wanted; the others are there to find the rows.
#[derive(Debug)]
pub(crate) struct CorrectionsExec {
    pub(crate) table: TableId,
    pub(crate) corrections: Arc<CorrectionSet>,
    input: Arc<dyn ExecutionPlan>,
    pub(crate) columns: usize,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl CorrectionsExec {
    pub(crate) fn try_new(
        table: TableId,
        corrections: Arc<CorrectionSet>,
        input: Arc<dyn ExecutionPlan>,
        columns: usize,
    ) -> Result<Self> {
        let schema = Arc::new(input.schema().project(&(0..columns).collect::<Vec<_>>())?);
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        Ok(Self { table, corrections, input, columns, schema, properties })
    }
}

impl CorrectionsExec {
    pub(crate) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Whether the value of the column that `sql` begins with can be another one above.
    pub(crate) fn may_change(&self, sql: &str) -> bool {
        PATCHABLE.iter().any(|name| sql.starts_with(&identifier(name)))
    }

    /// The same over `input`, which has the same columns.
    pub(crate) fn over(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::try_new(self.table, Arc::clone(&self.corrections), input, self.columns)?))
    }
}

impl DisplayAs for CorrectionsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CorrectionsExec: table={}, pending={}", self.table.name(), self.corrections.len())
    }
}

impl ExecutionPlan for CorrectionsExec {
    fn name(&self) -> &'static str {
        "CorrectionsExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().expect("the node has one child");
        Ok(Arc::new(Self::try_new(self.table, Arc::clone(&self.corrections), input, self.columns)?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (table, columns, corrections) = (self.table, self.columns, Arc::clone(&self.corrections));
        let wanted: Vec<usize> = (0..columns).collect();
        let corrected = self.input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            Ok(corrections.apply(table, &batch).project(&wanted)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), corrected)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, input: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = input[0].as_ref().clone();
        statistics.column_statistics.truncate(self.columns);
        for (idx, field) in self.schema.fields().iter().enumerate() {
            if PATCHABLE.contains(&field.name().as_str()) {
                statistics.column_statistics[idx] = ColumnStatistics::new_unknown();
            }
        }
        Ok(Arc::new(statistics))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        // A filter may pass below this node only if no correction can change what it sees.
        let fixed: HashSet<usize> =
            (0..self.columns).filter(|idx| !PATCHABLE.contains(&self.schema.field(*idx).name().as_str())).collect();
        let child = ChildFilterDescription::from_child_with_allowed_indices(&parent_filters, fixed, &self.input)?;
        Ok(FilterDescription::new().with_child(child))
    }
}
