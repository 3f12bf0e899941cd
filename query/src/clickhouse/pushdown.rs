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
//! columns that are not floats) they are numbers that ClickHouse can give, so that hot rows and stored ones meet in the final aggregate. Where
//! there are no hot rows, ClickHouse gives the whole answer, and more can be asked of it: `count(DISTINCT …)`, percentiles, `approx_distinct`.
//! Rows are put together by columns, or by times cut to hours, days or buckets. Of rows of several tables (`llm_calls`) each table gives its own
//! partial states; where the rollup has most of the rows (`rollup`), so do its sums and the rows that it lacks. Of `ORDER BY … LIMIT n` the store
//! gives its first n rows, and the sort stays. All this happens only where nothing stands between that could change a row: a filter that stays
//! here, a correction.

use std::sync::Arc;

use assay_schemas::clickhouse::{identifier, rollup, text};
use datafusion::{
    arrow::datatypes::{DataType, SchemaRef, TimeUnit},
    common::{
        Result, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode as _},
    },
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        aggregate::AggregateFunctionExpr,
        expressions::{BinaryExpr, CastExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr},
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode},
        empty::EmptyExec,
        projection::ProjectionExec,
        sorts::sort::SortExec,
        union::UnionExec,
    },
};

use super::ClickHouseExec;
use crate::{corrections::CorrectionsExec, engine::distinct_texts::NAME as DISTINCT_TEXTS};

/// The rule. It must be the first: later ones spread a plan over threads.
#[derive(Debug)]
pub(crate) struct PushDown;

impl PhysicalOptimizerRule for PushDown {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if !reads_clickhouse(&plan) {
            return Ok(plan);
        }
        let aggregates = plan.transform_down(|node| {
            let better = match node.downcast_ref::<AggregateExec>() {
                Some(aggregate) => match whole(aggregate) {
                    Some(whole) => Some(whole),
                    None => match aggregated(aggregate)? {
                        Some(aggregated) => Some(aggregated),
                        None => of_each_input(aggregate)?,
                    },
                },
                None => None,
            };
            Ok(better.map_or_else(|| Transformed::no(node), Transformed::yes))
        })?;
        let sorts = aggregates.data.transform_up(|node| {
            let better = node.downcast_ref::<SortExec>().map(sorted).transpose()?.flatten();
            Ok(better.map_or_else(|| Transformed::no(node), Transformed::yes))
        })?;
        Ok(sorts.data)
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
    /// Rows of the table.
    fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        Self::any(plan).filter(|source| source.stored.is_plain())
    }

    /// Rows of the table, or what ClickHouse made of them.
    fn any(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        let (stored, hot) = match plan.downcast_ref::<UnionExec>().map(|union| union.inputs().as_slice()) {
            Some([hot, stored]) => (stored, Some(Arc::clone(hot))),
            Some(_) => return None,
            None => (plan, None),
        };
        Some(Self { stored: stored.downcast_ref::<ClickHouseExec>()?, hot })
    }
}

/// The partial aggregate over ClickHouse and hot rows as a union of their partial aggregates; `None` if that is not possible.
fn aggregated(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(over) = Over::of(aggregate).filter(|_| *aggregate.mode() == AggregateMode::Partial) else { return Ok(None) };
    let Some(stored) = over.partial() else { return Ok(None) };
    let stored = Arc::new(stored) as Arc<dyn ExecutionPlan>;
    let Some(hot) = over.hot else { return Ok(Some(stored)) };
    let hot = again(&over.projections, hot)?;
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

/// The partial aggregate over rows of several tables, as those of the view `llm_calls` are, as a union of partial aggregates of each: what is below
/// them is looked at next. `None` if no table of ClickHouse is read there, or hot rows beside it are all there is.
fn of_each_input(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (below, projections) = projected(aggregate.input());
    let Some(union) = below.downcast_ref::<UnionExec>() else { return Ok(None) };
    if *aggregate.mode() != AggregateMode::Partial || !is_simple(aggregate) || Source::any(below).is_some() {
        return Ok(None);
    }
    let (filled, empty): (Vec<_>, Vec<_>) = union.inputs().iter().partition(|input| !is_empty(input));
    let inputs = if filled.is_empty() { empty } else { filled };
    let of_input = |input: &Arc<dyn ExecutionPlan>| {
        let of_input = AggregateExec::try_new(
            AggregateMode::Partial,
            Arc::new(aggregate.group_expr().clone()),
            aggregate.aggr_expr().to_vec(),
            aggregate.filter_expr().to_vec(),
            again(&projections, Arc::clone(input))?,
            aggregate.input_schema(),
        )?;
        let better = aggregated(&of_input)?;
        Ok((better.is_some(), better.unwrap_or_else(|| Arc::new(of_input))))
    };
    let of_inputs = inputs.into_iter().map(of_input).collect::<Result<Vec<_>>>()?;
    // Rows that come here all the same are put together here all at once.
    if !of_inputs.iter().any(|(is_better, _)| *is_better) {
        return Ok(None);
    }
    let mut of_inputs: Vec<_> = of_inputs.into_iter().map(|(_, of_input)| of_input).collect();
    Ok(Some(if of_inputs.len() == 1 { of_inputs.remove(0) } else { UnionExec::try_new(of_inputs)? }))
}

/// Whether `plan` has no rows whatever happens: a table without any.
fn is_empty(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => is_empty(projection.input()),
        None => plan.downcast_ref::<EmptyExec>().is_some(),
    }
}

/// The only input of a union that has rows; `plan` itself if it is none, or has several.
fn only_filled(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    let Some(union) = plan.downcast_ref::<UnionExec>() else { return plan };
    let mut filled = union.inputs().iter().filter(|input| !is_empty(input));
    match (filled.next(), filled.next()) {
        (Some(only), None) => only,
        _ => plan,
    }
}

/// What ClickHouse answers in the place of an aggregate with all that is below it; `None` if that is not possible, or if there are hot rows.
fn whole(aggregate: &AggregateExec) -> Option<Arc<dyn ExecutionPlan>> {
    let first = first_step(aggregate)?;
    if let Some(over) = Over::of(first).filter(|over| over.hot.is_none()) {
        // There are two steps, of which the rollup takes most of the first.
        if *first.mode() == AggregateMode::Partial && over.rolled_up().is_some() {
            return None;
        }
        let values = over.each(|function, filter| over.columns().value(function, filter))?;
        return over.stored.answering(over.groups()?, values, aggregate.schema());
    }
    whole_of_distinct(aggregate, first)
}

/// The same for `count(DISTINCT x)` as it is planned: the groups of another aggregate, which has `x` as one more, are counted.
fn whole_of_distinct(aggregate: &AggregateExec, first: &AggregateExec) -> Option<Arc<dyn ExecutionPlan>> {
    let below = first.input().downcast_ref::<AggregateExec>()?;
    let over = Over::of(first_step(below)?).filter(|over| over.hot.is_none())?;
    let known = over.groups()?;
    let values = over.each(|function, filter| over.columns().value(function, filter))?;
    let named = |expr: &Arc<dyn PhysicalExpr>| Some(expr.downcast_ref::<Column>()?.index());
    let groups = first.group_expr().expr().iter().map(|(expr, _)| known.get(named(expr)?).cloned());
    let groups = groups.collect::<Option<Vec<_>>>()?;
    let is_group = |idx: usize| groups.contains(&known[idx]);
    if known.len() != groups.len() + 1 || first.filter_expr().iter().any(Option::is_some) || !is_simple(first) {
        return None;
    }
    let value = |function: &Arc<AggregateFunctionExpr>| {
        let arguments = function.expressions();
        let [argument] = arguments.as_slice() else { return None };
        let idx = named(argument).filter(|_| !function.is_distinct() && !function.ignore_nulls())?;
        let name = function.fun().name();
        match idx.checked_sub(known.len()) {
            None if name == "count" && !is_group(idx) => Some(format!("uniqExact({})", known[idx].key)),
            None => None,
            // The sum of sums, the least of the least.
            Some(nth) => {
                let same = below.aggr_expr().get(nth)?.fun().name() == name && matches!(name, "sum" | "min" | "max");
                values.get(nth).filter(|_| same).cloned()
            }
        }
    };
    let answers = first.aggr_expr().iter().map(value).collect::<Option<Vec<_>>>()?;
    over.stored.answering(groups, answers, aggregate.schema())
}

/// The aggregate that sees the rows of which `aggregate` is the last step: itself, or the partial one below it.
fn first_step(aggregate: &AggregateExec) -> Option<&AggregateExec> {
    match aggregate.mode() {
        AggregateMode::Single | AggregateMode::SinglePartitioned => Some(aggregate),
        AggregateMode::Final | AggregateMode::FinalPartitioned => {
            let first = aggregate.input().downcast_ref::<AggregateExec>()?;
            (*first.mode() == AggregateMode::Partial).then_some(first)
        }
        _ => None,
    }
}

/// Whether rows are put together in one way, and all of them are.
fn is_simple(aggregate: &AggregateExec) -> bool {
    let groups = aggregate.group_expr();
    aggregate.limit_options().is_none() && groups.groups().len() <= 1 && !groups.has_grouping_set()
}

/// What is below projections, and these, the outermost first.
fn projected(plan: &Arc<dyn ExecutionPlan>) -> (&Arc<dyn ExecutionPlan>, Vec<&ProjectionExec>) {
    let (mut below, mut projections) = (only_filled(plan), Vec::new());
    while let Some(projection) = below.downcast_ref::<ProjectionExec>() {
        projections.push(projection);
        below = only_filled(projection.input());
    }
    (below, projections)
}

/// The same projections over `rows`.
fn again(projections: &[&ProjectionExec], rows: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    projections.iter().rev().try_fold(rows, |rows, projection| {
        Ok(Arc::new(ProjectionExec::try_new(projection.expr().to_vec(), rows)?) as Arc<dyn ExecutionPlan>)
    })
}

/// An aggregate over rows of ClickHouse, and hot rows if there are any.
struct Over<'a> {
    aggregate: &'a AggregateExec,
    stored: &'a ClickHouseExec,
    projections: Vec<&'a ProjectionExec>,
    hot: Option<Arc<dyn ExecutionPlan>>,
}

impl<'a> Over<'a> {
    fn of(aggregate: &'a AggregateExec) -> Option<Self> {
        let (input, projections) = projected(aggregate.input());
        let source = Source::of(input).filter(|_| is_simple(aggregate))?;
        Some(Self { aggregate, stored: source.stored, projections, hot: source.hot })
    }

    fn columns(&self) -> Columns<'_> {
        Columns { stored: self.stored, projections: &self.projections, of: Of::Rows }
    }

    /// By what rows are put together.
    fn groups(&self) -> Option<Vec<Group>> {
        self.groups_of(self.columns())
    }

    fn groups_of(&self, columns: Columns<'_>) -> Option<Vec<Group>> {
        self.aggregate.group_expr().expr().iter().map(|(expr, _)| columns.group(expr)).collect()
    }

    /// What ClickHouse is asked for the partial states: columns and groups.
    fn states_of(&self, columns: Columns<'_>) -> Option<(Vec<String>, Vec<String>)> {
        let states = self.each(|function, filter| columns.states(function, filter))?;
        selected(self.groups_of(columns)?, states.concat(), &self.aggregate.schema())
    }

    /// What gives the partial states of stored rows.
    fn partial(&self) -> Option<ClickHouseExec> {
        self.rolled_up().or_else(|| {
            let (columns, groups) = self.states_of(self.columns())?;
            Some(self.stored.aggregated(columns, groups, self.aggregate.schema()))
        })
    }

    /// The same where the rollup has some of them: several states of one group, of other rows each.
    fn rolled_up(&self) -> Option<ClickHouseExec> {
        let of_rollup = self.states_of(Columns { of: Of::Rollup, ..self.columns() })?;
        self.stored.rolled_up(self.states_of(self.columns())?, of_rollup, self.aggregate.schema())
    }

    /// What `sql` makes of each function and its filter.
    fn each<T>(&self, sql: impl Fn(&AggregateFunctionExpr, Option<&Arc<dyn PhysicalExpr>>) -> Option<T>) -> Option<Vec<T>> {
        let filters = self.aggregate.filter_expr().iter();
        self.aggregate.aggr_expr().iter().zip(filters).map(|(function, filter)| sql(function, filter.as_ref())).collect()
    }
}

impl ClickHouseExec {
    /// `values` for each of `groups`, with `schema`; `None` if they are not its columns.
    fn answering(&self, groups: Vec<Group>, values: Vec<String>, schema: SchemaRef) -> Option<Arc<dyn ExecutionPlan>> {
        let (columns, groups) = selected(groups, values, &schema)?;
        Some(Arc::new(self.aggregated(columns, groups, schema)))
    }
}

/// What is selected, and by what rows are put together; `None` if that are not the columns of `schema`.
fn selected(groups: Vec<Group>, values: Vec<String>, schema: &SchemaRef) -> Option<(Vec<String>, Vec<String>)> {
    let columns: Vec<String> = groups.iter().map(|group| group.shown.clone()).chain(values).collect();
    let keys = groups.into_iter().map(|group| group.key).collect();
    (columns.len() == schema.fields().len() && !columns.is_empty()).then_some((columns, keys))
}

/// By what rows are put together, and how it is shown.
#[derive(Clone, PartialEq)]
struct Group {
    key: String,
    shown: String,
}

/// The columns that a node sees, as ClickHouse names them.
#[derive(Clone, Copy)]
struct Columns<'a> {
    stored: &'a ClickHouseExec,
    /// What they were given other names by, or computed by, the outermost first.
    projections: &'a [&'a ProjectionExec],
    of: Of,
}

/// Of what ClickHouse is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Rows,
    /// What they add up to, under the names of [`rollup::sums`].
    Rollup,
}

impl Columns<'_> {
    /// What stands behind the name that `expr` is, and the columns that it is over; else `expr` itself. Casts to what a value is already go.
    fn resolved(&self, expr: &Arc<dyn PhysicalExpr>) -> (Self, Arc<dyn PhysicalExpr>) {
        let (mut columns, mut expr) = (*self, Arc::clone(expr));
        loop {
            let below = match (expr.downcast_ref::<Column>(), columns.projections.split_first()) {
                (Some(column), Some((projection, projections))) => {
                    columns.projections = projections;
                    Arc::clone(&projection.expr()[column.index()].expr)
                }
                _ => match expr.downcast_ref::<CastExpr>() {
                    Some(cast) if columns.type_of(cast.expr()).as_ref() == Some(cast.cast_type()) => Arc::clone(cast.expr()),
                    _ => return (columns, expr),
                },
            };
            expr = below;
        }
    }

    /// `expr` if it is a column of a type that compares alike on both sides, or a time cut to a bucket.
    fn sql(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
        self.group(expr).map(|group| group.shown)
    }

    /// The same, to put rows together by.
    fn group(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Group> {
        let (columns, expr) = self.resolved(expr);
        let Some(column) = expr.downcast_ref::<Column>() else {
            return columns.bucket(expr.downcast_ref::<ScalarFunctionExpr>()?);
        };
        let is_known = columns.of == Of::Rows || columns.name(&expr).is_some_and(rollup::is_key);
        let known = columns.stored.column(column.index()).filter(|(_, data_type)| is_known && !data_type.is_floating());
        known.map(|(name, _)| Group { key: name.clone(), shown: name })
    }

    /// The name of the column of the table that `expr` is.
    fn name(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<&str> {
        let (columns, expr) = self.resolved(expr);
        Some(columns.stored.schema.field(expr.downcast_ref::<Column>()?.index()).name())
    }

    fn data_type(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<DataType> {
        let (columns, expr) = self.resolved(expr);
        columns.type_of(&expr)
    }

    fn type_of(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<DataType> {
        let schema: SchemaRef = self.projections.first().map_or_else(|| self.stored.schema(), |projection| projection.schema());
        expr.data_type(&schema).ok()
    }

    /// `date_trunc`, `date_bin` and `time_bucket` with buckets of one length.
    fn bucket(&self, function: &ScalarFunctionExpr) -> Option<Group> {
        let [width, time] = function.args() else { return None };
        let (width_us, origin_us) = bucket_of(function.name(), width.downcast_ref::<Literal>()?.value())?;
        let (columns, time) = self.resolved(time);
        // `date_bin` counts in nanoseconds.
        let time = time.downcast_ref::<CastExpr>().filter(|cast| is_utc(cast.cast_type())).map_or(&time, |cast| cast.expr());
        if columns.data_type(time)? != DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())) {
            return None;
        }
        // No time is before 1970, so that what is divided is not negative; the number of a bucket is put together faster than its start.
        let first_us = origin_us.rem_euclid(width_us) - width_us;
        let time_us = match columns.of {
            Of::Rows => format!("toUnixTimestamp64Micro({})", columns.sql(time)?),
            Of::Rollup => {
                let of_hours = width_us % rollup::HOUR_US == 0 && first_us % rollup::HOUR_US == 0;
                let hour = identifier(rollup::HOUR);
                (of_hours && columns.name(time)? == "start_time").then(|| format!("{hour} * {}", rollup::HOUR_US))?
            }
        };
        let key = format!("intDiv({time_us} - ({first_us}), {width_us})");
        let shown = format!("fromUnixTimestamp64Micro({key} * {width_us} + ({first_us}), 'UTC')");
        Some(Group { key, shown })
    }

    /// The integer of which `expr` makes a float, and the columns that it is over.
    fn made_float(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<(Self, Arc<dyn PhysicalExpr>)> {
        let (columns, expr) = self.resolved(expr);
        let cast = expr.downcast_ref::<CastExpr>().filter(|cast| *cast.cast_type() == DataType::Float64)?;
        (columns.data_type(cast.expr())? == DataType::Int64).then(|| (columns, Arc::clone(cast.expr())))
    }

    /// The same as ClickHouse computes it.
    fn float(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
        let (columns, integer) = self.made_float(expr)?;
        Some(format!("toFloat64({})", columns.sql(&integer)?))
    }

    /// `expr` if it says of columns what they are: flags, comparisons with text, NULL or not, and what `AND`, `OR` and `NOT` make of them.
    fn condition(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
        let (columns, expr) = self.resolved(expr);
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            let (left, right) = (binary.left(), binary.right());
            return match binary.op() {
                Operator::And => Some(format!("({} AND {})", columns.condition(left)?, columns.condition(right)?)),
                Operator::Or => Some(format!("({} OR {})", columns.condition(left)?, columns.condition(right)?)),
                Operator::Eq => Some(format!("({} = {})", columns.text(left)?, columns.text(right)?)),
                // What `IS NOT TRUE` is planned as.
                Operator::IsDistinctFrom if is_true(right) => Some(format!("NOT ifNull({}, false)", columns.condition(left)?)),
                _ => None,
            };
        }
        if let Some(not) = expr.downcast_ref::<NotExpr>() {
            return Some(format!("NOT {}", columns.condition(not.arg())?));
        }
        if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
            return Some(format!("({} IS NULL)", columns.sql(is_null.arg())?));
        }
        if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
            return Some(format!("({} IS NOT NULL)", columns.sql(is_not_null.arg())?));
        }
        let is_flag = columns.data_type(&expr)? == DataType::Boolean;
        columns.sql(&expr).filter(|_| is_flag)
    }

    /// `expr` if it is a column of text, or a text.
    fn text(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
        let (columns, expr) = self.resolved(expr);
        match expr.downcast_ref::<Literal>().map(Literal::value) {
            Some(ScalarValue::Utf8(Some(value))) => Some(text(value)),
            Some(_) => None,
            None => columns.sql(&expr).filter(|_| columns.data_type(&expr) == Some(DataType::Utf8)),
        }
    }

    /// How functions are called over the rows for which `filter` holds; `None` if it says more than [`Columns::condition`] knows.
    fn call(&self, filter: Option<&Arc<dyn PhysicalExpr>>) -> Option<impl Fn(&str, &str) -> String + use<>> {
        let cond = match filter {
            Some(filter) => Some(format!("ifNull({}, false)", self.condition(filter)?)),
            None => None,
        };
        Some(move |name: &str, argument: &str| {
            // Parameters stand behind the name and whatever is added to it.
            let (name, parameters) = name.find('(').map_or((name, ""), |at| name.split_at(at));
            match &cond {
                Some(cond) if argument.is_empty() => format!("{name}If{parameters}({cond})"),
                Some(cond) => format!("{name}If{parameters}({argument}, {cond})"),
                None => format!("{name}{parameters}({argument})"),
            }
        })
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
        let call = self.call(filter)?;
        let summed = |data_type: &DataType| matches!(data_type, DataType::Int64 | DataType::Decimal128(..));
        // What is called, over which values.
        let calls = match function.fun().name() {
            "count" if constant => vec![self.count(None)?],
            "count" => vec![self.count(Some(argument))?],
            "sum" if summed(&self.data_type(argument)?) => vec![("sumOrNull", self.value_of("sum", argument)?)],
            "min" => vec![("minOrNull", self.value_of("min", argument)?)],
            "max" => vec![("maxOrNull", self.value_of("max", argument)?)],
            // Of integers: they are cast first.
            "avg" => {
                let (columns, integer) = self.made_float(argument)?;
                let sum = match self.of {
                    Of::Rows => format!("toFloat64({})", columns.sql(&integer)?),
                    Of::Rollup => columns.value_of("float_sum", &integer)?,
                };
                vec![columns.count(Some(&integer))?, ("sumOrNull", sum)]
            }
            _ => return None,
        };
        let calls: Vec<_> = calls.iter().map(|(function, values)| call(function, values)).collect();
        Some(match <[String; 2]>::try_from(calls) {
            // A count that is there says that there is a sum.
            Ok([count, sum]) => vec![format!("nullIf({count}, 0)"), sum],
            Err(calls) => calls,
        })
    }

    /// What counts the rows, or those with a value of `column`: a function, and over what it is called.
    fn count(&self, column: Option<&Arc<dyn PhysicalExpr>>) -> Option<(&'static str, String)> {
        let rows = identifier(rollup::ROWS);
        match (self.of, column) {
            (Of::Rows, None) => Some(("count", String::new())),
            (Of::Rows, Some(column)) => Some(("count", self.sql(column)?)),
            (Of::Rollup, None) => Some(("sum", rows)),
            (Of::Rollup, Some(column)) => {
                let known = self.sql(column).map(|key| format!("if(isNull({key}), 0, {rows})"));
                // Of a column that always has a value, nothing is counted but rows.
                let known = known.or_else(|| self.value_of("count", column));
                known.or_else(|| self.value_of("sum", column).map(|_| rows)).map(|values| ("sum", values))
            }
        }
    }

    /// Over what a function is called that makes one value of those of `column`: in the rollup these are what `function` made of them.
    fn value_of(&self, function: &str, column: &Arc<dyn PhysicalExpr>) -> Option<String> {
        self.sql(column).or_else(|| {
            let name = (self.of == Of::Rollup).then(|| Some(format!("{function}_{}", self.name(column)?)))??;
            rollup::sums().iter().any(|sum| sum.name == name).then(|| identifier(&name))
        })
    }

    /// What ClickHouse must compute for the result of `function`.
    fn value(&self, function: &AggregateFunctionExpr, filter: Option<&Arc<dyn PhysicalExpr>>) -> Option<String> {
        if let Some(states) = self.states(function, filter) {
            return Some(match states.as_slice() {
                [count, sum] => format!("{sum} / {count}"),
                _ => states.concat(),
            });
        }
        let arguments = function.expressions();
        let (argument, level) = match arguments.as_slice() {
            [argument] => (argument, 0.5),
            [argument, level] => match level.downcast_ref::<Literal>()?.value() {
                ScalarValue::Float64(Some(level)) => (argument, *level),
                _ => return None,
            },
            _ => return None,
        };
        let call = self.call(filter)?;
        let ascending = function.order_bys().iter().all(|key| !key.options.descending);
        let plain = !function.is_distinct() && !function.ignore_nulls() && ascending;
        match function.fun().name() {
            "count" if function.is_distinct() && arguments.len() == 1 => Some(call("uniqExact", &self.sql(argument)?)),
            // What the same is planned as beside other functions, where it is of text.
            DISTINCT_TEXTS => Some(call("uniqExact", &self.sql(argument)?)),
            "median" | "percentile_cont" if plain => {
                Some(call(&format!("quantileExactInclusiveOrNull({level})"), &self.float(argument)?))
            }
            // Of the estimates there the one that gives a value of a row, as exact as that here at least.
            "approx_median" | "approx_percentile_cont" if plain => {
                Some(call(&format!("quantileGKOrNull(1000, {level})"), &self.float(argument)?))
            }
            "approx_distinct" if plain => Some(call("uniqCombined64", &self.sql(argument)?)),
            _ => None,
        }
    }
}

const UTC: &str = "UTC";
const DAY_US: i64 = 86_400_000_000;
/// 1970-01-05, 2000-01-03: Mondays.
const FIRST_MONDAY_US: i64 = 4 * DAY_US;

fn is_true(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Literal>().is_some_and(|literal| *literal.value() == ScalarValue::Boolean(Some(true)))
}

fn is_utc(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(zone)) if zone.as_ref() == UTC)
}

/// Length of the buckets of `function` and the start of one of them, in microseconds.
fn bucket_of(function: &str, width: &ScalarValue) -> Option<(i64, i64)> {
    match (function, width) {
        ("date_trunc", ScalarValue::Utf8(Some(unit))) => match unit.to_lowercase().as_str() {
            "second" => Some((1_000_000, 0)),
            "minute" => Some((60_000_000, 0)),
            "hour" => Some((3_600_000_000, 0)),
            "day" => Some((DAY_US, 0)),
            "week" => Some((7 * DAY_US, FIRST_MONDAY_US)),
            _ => None,
        },
        ("date_bin" | "time_bucket", ScalarValue::IntervalMonthDayNano(Some(width))) => {
            let width_us = i64::from(width.days).checked_mul(DAY_US)?.checked_add(width.nanoseconds / 1000)?;
            let is_whole = width.months == 0 && width.nanoseconds % 1000 == 0 && width_us > 0;
            // Both Mondays begin the same weeks; of other lengths, only those of the later one count.
            let origin_us = if function == "time_bucket" { 10_959 * DAY_US } else { 0 };
            is_whole.then_some((width_us, origin_us))
        }
        _ => None,
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
    let Some(source) = Source::any(below).filter(|source| source.stored.is_unlimited()) else { return Ok(None) };
    let columns = Columns { stored: source.stored, projections: renamed.as_slice(), of: Of::Rows };
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
