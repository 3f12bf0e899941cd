//! Joins that can be stopped, and that do not keep others waiting. `DataFusion` gives way only where input is read, but a join can make
//! millions of rows of one batch, and can compare for minutes without making any: a query that was stopped would go on, and as many of
//! them as there are threads would let no other query run.

use std::{
    cell::Cell,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, FieldRef, Schema},
};
use datafusion::{
    common::{
        Result, exec_err,
        tree_node::{Transformed, TreeNode as _, TreeNodeRecursion},
    },
    logical_expr::ColumnarValue,
    physical_expr::PhysicalExpr,
    physical_plan::{
        ExecutionPlan,
        coop::CooperativeExec,
        execution_plan::CardinalityEffect,
        joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec, utils::JoinFilter},
    },
};
use tokio_util::sync::CancellationToken;

use crate::distributed;

/// Comparing for so long without a pause, a query gives its thread to others.
const ALONE_MAX: Duration = Duration::from_millis(50);
/// Comparisons that are further apart belong to different turns of the query.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// `plan`, whose joins fail soon after `stopped` is cancelled, even in the middle of a batch. Those of other nodes are left as they are: each
/// node does so itself.
pub(crate) fn with_interruptible_filters(
    plan: Arc<dyn ExecutionPlan>,
    stopped: &CancellationToken,
) -> Result<Arc<dyn ExecutionPlan>> {
    let watched = plan.transform_down(|node| {
        if distributed::is_of_other_nodes(node.as_ref()) {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        Ok(match with_interruptible_filter(&node, stopped)? {
            Some(watched) => Transformed::yes(watched),
            None => Transformed::no(node),
        })
    })?;
    Ok(watched.data)
}

/// `plan`, whose operators that can give more rows than they get (joins, `unnest`, recursion) give way after some batches.
pub(crate) fn giving_way(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let multiplies = |node: &dyn ExecutionPlan| {
        let bounded = matches!(node.cardinality_effect(), CardinalityEffect::Equal | CardinalityEffect::LowerEqual);
        !bounded && !node.children().is_empty()
    };
    let yielding = plan.transform_up(|node| {
        if !multiplies(node.as_ref()) {
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(yielding.data)
}

/// The join `node` with a filter that can be interrupted; `None` if it is no join with a filter. A join without one gives a row for each
/// pair that it looks at, and so gives way.
fn with_interruptible_filter(
    node: &Arc<dyn ExecutionPlan>,
    stopped: &CancellationToken,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let watched = |filter: &JoinFilter| {
        let compared = Arc::clone(filter.expression());
        let expression = Arc::new(Interruptible { compared, stopped: stopped.clone() });
        Some(JoinFilter::new(expression, filter.column_indices().to_vec(), Arc::clone(filter.schema())))
    };
    let join: Arc<dyn ExecutionPlan> = if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        let Some(filter) = join.filter() else { return Ok(None) };
        let builder = NestedLoopJoinExecBuilder::new(Arc::clone(join.left()), Arc::clone(join.right()), *join.join_type());
        Arc::new(builder.with_filter(watched(filter)).with_projection_ref(join.projection().clone()).build()?)
    } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        let Some(filter) = join.filter() else { return Ok(None) };
        join.builder().with_filter(watched(filter)).build_exec()?
    } else if let Some(join) = node.downcast_ref::<SortMergeJoinExec>() {
        let Some(filter) = &join.filter else { return Ok(None) };
        let mut watched_join = join.clone();
        watched_join.filter = watched(filter);
        Arc::new(watched_join)
    } else {
        return Ok(None);
    };
    Ok(Some(join))
}

/// What a join compares by, until it is stopped.
#[derive(Debug)]
struct Interruptible {
    compared: Arc<dyn PhysicalExpr>,
    stopped: CancellationToken,
}

thread_local! {
    /// When this thread began to compare without a pause, and when it last did.
    static COMPARING: Cell<Option<(Instant, Instant)>> = const { Cell::new(None) };
}

/// Whether this thread has compared for long.
fn alone_for_long() -> bool {
    let now = Instant::now();
    let since = match COMPARING.get() {
        Some((since, last)) if now - last < PAUSE_MIN => since,
        _ => now,
    };
    COMPARING.set(Some((since, now)));
    now - since > ALONE_MAX
}

impl PhysicalExpr for Interruptible {
    fn data_type(&self, input_schema: &Schema) -> Result<DataType> {
        self.compared.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.compared.nullable(input_schema)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.compared.return_field(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stopped.is_cancelled() {
            return exec_err!("the query was stopped");
        }
        if alone_for_long() {
            // The other tasks of this thread go on in another one.
            return tokio::task::block_in_place(|| self.compared.evaluate(batch));
        }
        self.compared.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.compared]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [compared] = <[_; 1]>::try_from(children).or_else(|_| exec_err!("expected one expression to compare by"))?;
        Ok(Arc::new(Self { compared, stopped: self.stopped.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.compared.fmt_sql(f)
    }
}

impl fmt::Display for Interruptible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.compared.fmt(f)
    }
}

impl PartialEq for Interruptible {
    fn eq(&self, other: &Self) -> bool {
        self.compared.as_ref() == other.compared.as_ref()
    }
}

impl Eq for Interruptible {}

impl Hash for Interruptible {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.compared.hash(state);
    }
}
