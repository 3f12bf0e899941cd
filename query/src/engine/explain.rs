//! How a question is answered: the plan as a tree, what pruning left to read, and, once it has run, rows and time of each operator.

use std::{collections::BTreeMap, sync::Arc};

use assay_schemas::{ids::ProjectId, tables::TableId};
use assay_storage::ReadView;
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    datasource::{physical_plan::ParquetSource, source::DataSourceExec},
    logical_expr::LogicalPlan,
    physical_plan::{
        ExecutionPlan,
        display::DisplayableExecutionPlan,
        metrics::{MetricValue, MetricsSet},
    },
    sql::parser::Statement,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Ask, QueryEngine, metric};
use crate::{
    error::{QueryError, QueryErrorKind},
    scan::{LakeScanExec, ROW_GROUPS, ROW_GROUPS_READ},
    statement::{self, Question},
};

/// How a question is answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// The operators, each before those it reads from; the first one gives the answer.
    pub plan: Vec<PlanNode>,
    /// What is read of the tables, and what need not be.
    pub pruning: Pruning,
    /// The plan as indented text.
    pub text: String,
    /// The statement that gives the same as rows.
    pub sql: String,
}

/// An operator of a plan.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlanNode {
    /// Place in the list, from 0.
    pub id: usize,
    /// The operator that reads from this one; null of the first.
    pub parent: Option<usize>,
    /// What it is, e.g. `SortExec`.
    pub operator: String,
    /// What it does, in one line.
    pub detail: String,
    /// Rows it gave; null if it did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Processor time it took itself, over all partitions, nanoseconds; null if it did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ns: Option<u64>,
    /// Everything else it counted: bytes, rows spilled, times in nanoseconds.
    pub metrics: BTreeMap<String, u64>,
}

/// What is read of the tables of a question. Rows that are not yet in files are read as they are and not counted here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Pruning {
    /// Files of the tables named, once for each time a table is read.
    pub files: u64,
    /// Files that can hold what is asked for.
    pub files_read: u64,
    /// Row groups of the files read, where a predicate chose among them; null if none did or it did not run.
    pub row_groups: Option<u64>,
    /// Row groups read.
    pub row_groups_read: Option<u64>,
    /// Size of the files of the tables named, bytes.
    pub bytes: u64,
    /// Bytes read; null if it did not run.
    pub bytes_read: Option<u64>,
    /// The query that gives `files` and `bytes`; null if no table is named. The figures of what was read are those of `EXPLAIN`.
    pub files_sql: Option<String>,
}

impl QueryEngine {
    /// Explains `ask`: an `EXPLAIN` before it is left out. With `analyze` it runs to its end, its rows are thrown away, and the figures are
    /// of that run.
    ///
    /// # Errors
    /// As [`QueryEngine::ask`].
    pub async fn explain(&self, project: &ProjectId, ask: Ask, analyze: bool) -> Result<Explanation, QueryError> {
        let view = self.inner.storage.view();
        let (question, ask) = unwrapped(statement::parse(&ask.sql)?, ask);
        let scans = self.scans(project, &view, question, &ask).await?;
        let sql = format!("EXPLAIN {}{}", if analyze { "ANALYZE " } else { "" }, ask.sql.trim_start());
        let mut figures = None;
        let plan = if analyze {
            let mut answer = self.ask_view(project, Arc::clone(&view), ask).await?;
            while answer.next().await?.is_some() {}
            figures = answer.running.figures.get().cloned();
            Arc::clone(&answer.plan)
        } else {
            // The plan of a query that is dropped before it gives a row.
            Arc::clone(&self.ask_view(project, Arc::clone(&view), ask).await?.plan)
        };
        let mut pruning = pruning(project, &view, &scans, plan.as_ref(), analyze);
        // What other nodes counted stands in a plan of its own.
        let shown = figures.as_ref().unwrap_or(&plan);
        if figures.is_some() {
            pruning.bytes_read = Some(metric(shown.as_ref(), "bytes_scanned") as u64);
        }
        let mut nodes = Vec::new();
        describe(shown.as_ref(), None, analyze, &mut nodes);
        let text = match analyze {
            true => DisplayableExecutionPlan::with_metrics(shown.as_ref()),
            false => DisplayableExecutionPlan::new(shown.as_ref()),
        };
        Ok(Explanation { plan: nodes, pruning, text: text.indent(true).to_string(), sql })
    }

    /// The tables that a question reads, once for each time it does.
    async fn scans(
        &self,
        project: &ProjectId,
        view: &Arc<ReadView>,
        question: Question,
        ask: &Ask,
    ) -> Result<Vec<TableId>, QueryError> {
        let (engine, catalog) = (self.clone(), self.catalog(project, Arc::clone(view)));
        let (ask, limit) = (ask.clone(), self.inner.config.row_limit_default);
        let planned = self.threads().spawn(async move {
            let state = catalog.state();
            let logical = engine.logical_plan(&state, &question, &ask, limit).await?;
            state.optimize(&logical).map_err(|e| engine.explained(&e, &ask.sql))
        });
        let stopped = |_| QueryError::new(QueryErrorKind::Internal, "planning stopped unexpectedly");
        let logical = planned.await.map_err(stopped)??;
        let mut tables = Vec::new();
        let visited = logical.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                tables.extend(TableId::from_name(scan.table_name.table()));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        visited.map_err(|e| self.explained(&e, ""))?;
        Ok(tables)
    }
}

/// The question that an `EXPLAIN` is about.
fn unwrapped(mut question: Question, mut ask: Ask) -> (Question, Ask) {
    while let Statement::Explain(explain) = question.statement {
        question = Question { statement: *explain.statement, is_query: true };
        ask.sql = question.statement.to_string();
    }
    (question, ask)
}

fn describe(plan: &dyn ExecutionPlan, parent: Option<usize>, analyze: bool, nodes: &mut Vec<PlanNode>) {
    let id = nodes.len();
    let line = DisplayableExecutionPlan::new(plan).one_line().to_string();
    let detail = line.trim().trim_start_matches(plan.name()).trim_start_matches(':').trim().to_owned();
    let metrics = plan.metrics().filter(|_| analyze).map(|m| m.aggregate_by_name());
    nodes.push(PlanNode {
        id,
        parent,
        operator: plan.name().to_owned(),
        detail,
        rows: metrics.as_ref().and_then(MetricsSet::output_rows).map(|rows| rows as u64),
        elapsed_ns: metrics.as_ref().and_then(MetricsSet::elapsed_compute).map(|nanos| nanos as u64),
        metrics: metrics.iter().flat_map(MetricsSet::iter).filter_map(|m| named(m.value())).collect(),
    });
    for child in plan.children() {
        describe(child.as_ref(), Some(id), analyze, nodes);
    }
}

/// A figure that is neither rows nor time of the operator, and not zero.
fn named(value: &MetricValue) -> Option<(String, u64)> {
    let figure = match value {
        MetricValue::OutputRows(_)
        | MetricValue::ElapsedCompute(_)
        | MetricValue::StartTimestamp(_)
        | MetricValue::EndTimestamp(_)
        | MetricValue::Ratio { .. } => return None,
        MetricValue::PruningMetrics { pruning_metrics, .. } => pruning_metrics.pruned(),
        other => other.as_usize(),
    };
    (figure > 0).then(|| (value.name().to_owned(), figure as u64))
}

fn pruning(project: &ProjectId, view: &ReadView, scans: &[TableId], plan: &dyn ExecutionPlan, analyze: bool) -> Pruning {
    let mut found = Pruning { files_sql: files_sql(scans), ..Pruning::default() };
    for table in scans {
        let files = view.files(*table, project);
        found.files += files.len() as u64;
        found.bytes += files.iter().map(|file| file.size).sum::<u64>();
    }
    found.bytes_read = analyze.then_some(0);
    read_by(plan, analyze, &mut found);
    found
}

fn files_sql(scans: &[TableId]) -> Option<String> {
    let named: Vec<_> = scans.iter().map(|table| format!("('{}')", table.name())).collect();
    (!named.is_empty()).then(|| {
        format!(
            "SELECT sum(files) AS files, sum(bytes) AS bytes\nFROM (VALUES {}) AS named (table_name)\nJOIN system.tables USING (table_name)",
            named.join(", ")
        )
    })
}

fn read_by(plan: &dyn ExecutionPlan, analyze: bool, found: &mut Pruning) {
    let scan = plan.downcast_ref::<DataSourceExec>().and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>);
    if let Some((config, _)) = scan {
        let mut files: Vec<_> = config.file_groups.iter().flat_map(|g| g.iter()).map(|f| &f.object_meta.location).collect();
        files.sort_unstable();
        files.dedup();
        found.files_read += files.len() as u64;
        if let Some(metrics) = plan.metrics().filter(|_| analyze) {
            let bytes = metrics.sum_by_name("bytes_scanned").map_or(0, |m| m.as_usize() as u64);
            found.bytes_read = found.bytes_read.map(|sum| sum + bytes);
            let (considered, read) = row_groups(&metrics);
            if considered > 0 {
                found.row_groups = Some(found.row_groups.unwrap_or(0) + considered);
                found.row_groups_read = Some(found.row_groups_read.unwrap_or(0) + read);
            }
        }
    }
    if let Some(scan) = crate::distributed::divided_scan(plan) {
        found.files_read += scan.files() as u64;
    }
    if let Some(scan) = plan.downcast_ref::<LakeScanExec>() {
        found.files_read += scan.files() as u64;
        if let Some(metrics) = plan.metrics().filter(|_| analyze) {
            let sum = |name: &str| metrics.sum_by_name(name).map_or(0, |m| m.as_usize() as u64);
            found.bytes_read = found.bytes_read.map(|bytes| bytes + sum("bytes_scanned"));
            if scan.chooses_row_groups() {
                found.row_groups = Some(found.row_groups.unwrap_or(0) + sum(ROW_GROUPS));
                found.row_groups_read = Some(found.row_groups_read.unwrap_or(0) + sum(ROW_GROUPS_READ));
            }
        }
    }
    plan.children().into_iter().for_each(|child| read_by(child.as_ref(), analyze, found));
}

/// Row groups considered and read.
fn row_groups(metrics: &MetricsSet) -> (u64, u64) {
    let (mut considered, mut left_out) = (0, 0);
    for metric in metrics.iter() {
        match metric.value() {
            MetricValue::PruningMetrics { name, pruning_metrics } => match name.as_ref() {
                "row_groups_pruned_statistics" => {
                    considered += pruning_metrics.pruned() + pruning_metrics.matched();
                    left_out += pruning_metrics.pruned();
                }
                "row_groups_pruned_bloom_filter" | "limit_pruned_row_groups" => left_out += pruning_metrics.pruned(),
                _ => {}
            },
            MetricValue::Count { name, count } if name == "row_groups_pruned_dynamic_filter" => left_out += count.value(),
            _ => {}
        }
    }
    (considered as u64, considered.saturating_sub(left_out) as u64)
}
