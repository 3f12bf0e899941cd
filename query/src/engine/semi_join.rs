//! `IN (SELECT …)` and `EXISTS` whose subquery says the same thing many times. The hash join that answers them looks at every row of the
//! subquery that equals a row outside, although one would do: with keys that repeat, users say, its time is the product of both sides. So
//! what the join looks into holds each key once.

use std::sync::Arc;

use datafusion::{
    common::{JoinType, Result, tree_node::Transformed},
    logical_expr::{Aggregate, Distinct, Join, LogicalPlan, LogicalPlanBuilder},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
    prelude::Expr,
};

/// The rule. It comes after those that make joins of subqueries.
#[derive(Debug)]
pub(super) struct DistinctKeys;

impl OptimizerRule for DistinctKeys {
    fn name(&self) -> &'static str {
        "distinct_keys_of_semi_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
        if !matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) || !has_only_keys(&join) || is_distinct(&join.right)
        {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let keys = join.right.schema().columns().into_iter().map(Expr::Column);
        let right = LogicalPlanBuilder::from(Arc::clone(&join.right)).aggregate(keys, Vec::<Expr>::new())?.build()?;
        Ok(Transformed::yes(LogicalPlan::Join(Join { right: Arc::new(right), ..join })))
    }
}

/// Whether the right side has no other columns than those that are compared for equality, so that equal rows are the same to the join.
fn has_only_keys(join: &Join) -> bool {
    let is_key = |column| join.on.iter().any(|(_, right)| matches!(right, Expr::Column(of) if *of == column));
    join.filter.is_none() && !join.on.is_empty() && join.right.schema().columns().into_iter().all(is_key)
}

fn is_distinct(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Distinct(Distinct::All(_)) => true,
        LogicalPlan::Aggregate(Aggregate { aggr_expr, schema, group_expr, .. }) => {
            aggr_expr.is_empty() && schema.fields().len() == group_expr.len()
        }
        LogicalPlan::SubqueryAlias(alias) => is_distinct(&alias.input),
        LogicalPlan::Projection(projection) => {
            let whole = projection.expr.len() == projection.input.schema().fields().len();
            whole && projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) && is_distinct(&projection.input)
        }
        _ => false,
    }
}
