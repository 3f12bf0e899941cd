//! Whole parts of a plan that ClickHouse does better: aggregates, and the first rows of an order.
//!
//! ```text
//! AggregateExec: Final                         AggregateExec: Final
//! └─ AggregateExec: Partial            ─>      └─ UnionExec
//!    └─ UnionExec                                 ├─ AggregateExec: Partial ─ hot batches
//!       ├─ hot batches                            └─ ClickHouseExec: its partial states
//!       └─ ClickHouseExec
//! ```
//! A partial aggregate gives the states from which the final one is made: for the few functions here (`count`, `sum`, `min`, `max`, `avg` over
//! columns that are not floats) they are numbers that ClickHouse can give, so that hot rows and stored ones meet in the final aggregate. Of
//! `ORDER BY … LIMIT n` the store gives its first n rows, and the sort stays. Both happen only where nothing stands between that could change
//! a row: a filter that stays here, a correction.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, SchemaRef},
    common::{
        Result,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode as _},
    },
    physical_expr::{
        PhysicalExpr,
        aggregate::AggregateFunctionExpr,
        expressions::{CastExpr, Column, Literal},
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode},
        projection::ProjectionExec,
        sorts::sort::SortExec,
        union::UnionExec,
    },
};

use super::ClickHouseExec;
use crate::corrections::CorrectionsExec;

/// The rule. It must be the first: later ones spread a plan over threads.
#[derive(Debug)]
pub(crate) struct PushDown;

impl PhysicalOptimizerRule for PushDown {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if !reads_clickhouse(&plan) {
            return Ok(plan);
        }
        let pushed = plan.transform_up(|node| {
            let better = match (node.downcast_ref::<AggregateExec>(), node.downcast_ref::<SortExec>()) {
                (Some(aggregate), _) => aggregated(aggregate)?,
                (_, Some(sort)) => sorted(sort)?,
                _ => None,
            };
            Ok(better.map_or_else(|| Transformed::no(node), Transformed::yes))
        })?;
        Ok(pushed.data)
    }

    fn name(&self) -> &'static str {
        "push_down_to_clickhouse"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn reads_clickhouse(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<ClickHouseExec>().is_some() || plan.children().into_iter().any(reads_clickhouse)
}

/// What is below a node: rows of ClickHouse, perhaps hot rows beside them, perhaps under other names.
struct Source<'a> {
    stored: &'a ClickHouseExec,
    hot: Option<Arc<dyn ExecutionPlan>>,
}

impl<'a> Source<'a> {
    fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        let (stored, hot) = match plan.downcast_ref::<UnionExec>().map(|union| union.inputs().as_slice()) {
            Some([hot, stored]) => (stored, Some(Arc::clone(hot))),
            Some(_) => return None,
            None => (plan, None),
        };
        let stored = stored.downcast_ref::<ClickHouseExec>().filter(|stored| stored.is_plain())?;
        Some(Self { stored, hot })
    }
}

/// The partial aggregate over ClickHouse and hot rows as a union of their partial aggregates; `None` if that is not possible.
fn aggregated(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let plain = *aggregate.mode() == AggregateMode::Partial
        && aggregate.limit_options().is_none()
        && aggregate.group_expr().groups().len() <= 1
        && !aggregate.group_expr().has_grouping_set();
    // Columns that only got other names.
    let (input, renamed) = match aggregate.input().downcast_ref::<ProjectionExec>() {
        Some(projection) => (projection.input(), Some(projection)),
        None => (aggregate.input(), None),
    };
    let Some(source) = Source::of(input).filter(|_| plain) else { return Ok(None) };
    let columns = Columns { stored: source.stored, renamed };
    let groups = aggregate.group_expr().expr().iter().map(|(expr, _)| columns.sql(expr)).collect::<Option<Vec<_>>>();
    let filters = aggregate.filter_expr().iter();
    let states = aggregate.aggr_expr().iter().zip(filters).map(|(function, filter)| columns.states(function, filter.as_ref()));
    let (Some(groups), Some(states)) = (groups, states.collect::<Option<Vec<_>>>()) else { return Ok(None) };
    let selected: Vec<String> = groups.iter().cloned().chain(states.into_iter().flatten()).collect();
    let schema = aggregate.schema();
    if selected.len() != schema.fields().len() || selected.is_empty() {
        return Ok(None);
    }
    let stored = Arc::new(source.stored.aggregated(selected, groups, schema)) as Arc<dyn ExecutionPlan>;
    let Some(hot) = source.hot else { return Ok(Some(stored)) };
    let hot = match renamed {
        Some(projection) => Arc::new(ProjectionExec::try_new(projection.expr().to_vec(), hot)?) as Arc<dyn ExecutionPlan>,
        None => hot,
    };
    let hot = AggregateExec::try_new(
        AggregateMode::Partial,
        Arc::new(aggregate.group_expr().clone()),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        hot,
        aggregate.input_schema(),
    )?;
    Ok(Some(UnionExec::try_new(vec![Arc::new(hot), stored])?))
}

/// The columns that a node sees, as ClickHouse names them.
struct Columns<'a> {
    stored: &'a ClickHouseExec,
    renamed: Option<&'a ProjectionExec>,
}

impl Columns<'_> {
    /// `expr` if it is a column of a type that compares alike on both sides.
    fn sql(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
        let column = expr.downcast_ref::<Column>()?;
        let column = match self.renamed {
            Some(projection) => projection.expr().get(column.index())?.expr.downcast_ref::<Column>()?,
            None => column,
        };
        self.stored.column(column.index()).filter(|(_, data_type)| !data_type.is_floating()).map(|(name, _)| name)
    }

    fn data_type(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<DataType> {
        let schema: SchemaRef = self.renamed.map_or_else(|| self.stored.schema(), |projection| projection.schema());
        expr.data_type(&schema).ok()
    }

    /// What ClickHouse must compute for each part of the state of `function`.
    fn states(&self, function: &AggregateFunctionExpr, filter: Option<&Arc<dyn PhysicalExpr>>) -> Option<Vec<String>> {
        if function.is_distinct() || function.ignore_nulls() || !function.order_bys().is_empty() {
            return None;
        }
        let arguments = function.expressions();
        let [argument] = arguments.as_slice() else { return None };
        // `count(*)` counts a constant.
        let constant = argument.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null());
        let cond = match filter {
            // A flag: the only filter that is one column.
            Some(filter) if self.data_type(filter)? == DataType::Boolean => Some(format!("ifNull({}, false)", self.sql(filter)?)),
            Some(_) => return None,
            None => None,
        };
        let call = |name: &str, argument: &str| match &cond {
            Some(cond) if argument.is_empty() => format!("{name}If({cond})"),
            Some(cond) => format!("{name}If({argument}, {cond})"),
            None => format!("{name}({argument})"),
        };
        let summed = |data_type: &DataType| matches!(data_type, DataType::Int64 | DataType::Decimal128(..));
        Some(match function.fun().name() {
            "count" if constant => vec![call("count", "")],
            "count" => vec![call("count", &self.sql(argument)?)],
            "sum" if summed(&self.data_type(argument)?) => vec![call("sumOrNull", &self.sql(argument)?)],
            "min" => vec![call("minOrNull", &self.sql(argument)?)],
            "max" => vec![call("maxOrNull", &self.sql(argument)?)],
            // Of integers: they are cast first.
            "avg" => {
                let cast = argument.downcast_ref::<CastExpr>()?;
                let is_int = self.data_type(cast.expr())? == DataType::Int64 && *cast.cast_type() == DataType::Float64;
                let column = self.sql(cast.expr()).filter(|_| is_int)?;
                vec![call("count", &column), call("sumOrNull", &format!("toFloat64({column})"))]
            }
            _ => return None,
        })
    }
}

/// `sort` over a source that gives only the rows that can be among the first; `None` if that is not possible.
fn sorted(sort: &SortExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(fetch) = sort.fetch() else { return Ok(None) };
    let Some(input) = first_rows(sort.input(), sort, fetch)? else { return Ok(None) };
    let sorted = SortExec::new(sort.expr().clone(), input).with_fetch(Some(fetch));
    Ok(Some(Arc::new(sorted.with_preserve_partitioning(sort.preserve_partitioning()))))
}

fn first_rows(plan: &Arc<dyn ExecutionPlan>, sort: &SortExec, fetch: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let keys = |columns: &Columns<'_>| {
        let key = |key: &datafusion::physical_expr::PhysicalSortExpr| {
            let (direction, nulls) =
                (if key.options.descending { "DESC" } else { "ASC" }, if key.options.nulls_first { "FIRST" } else { "LAST" });
            Some(format!("{} {direction} NULLS {nulls}", columns.sql(&key.expr)?))
        };
        sort.expr().iter().map(key).collect::<Option<Vec<_>>>()
    };
    let (below, renamed) = match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => (projection.input(), Some(projection)),
        None => (plan, None),
    };
    // Corrections change no row's place as long as they do not concern what is sorted by.
    let corrections = below.downcast_ref::<CorrectionsExec>();
    let below = corrections.map_or(below, |corrections| corrections.input());
    let Some(source) = Source::of(below) else { return Ok(None) };
    let columns = Columns { stored: source.stored, renamed };
    let Some(keys) = keys(&columns) else { return Ok(None) };
    if corrections.is_some_and(|corrections| keys.iter().any(|key| corrections.may_change(key))) {
        return Ok(None);
    }
    let stored = Arc::new(source.stored.first(keys, fetch)) as Arc<dyn ExecutionPlan>;
    let mut rows = match source.hot {
        Some(hot) => UnionExec::try_new(vec![hot, stored])?,
        None => stored,
    };
    if let Some(corrections) = corrections {
        rows = corrections.over(rows)?;
    }
    if let Some(projection) = renamed {
        rows = Arc::new(ProjectionExec::try_new(projection.expr().to_vec(), rows)?);
    }
    Ok(Some(rows))
}
