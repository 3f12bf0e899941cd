//! How much a statement grows while it is planned, told from what was written, before any of it grows.
//!
//! Some things are written once and planned twice: the first arguments of `coalesce`, what `BETWEEN` compares, and the conditions of `CASE`; and a
//! condition on a column of a subquery is pushed down as a condition on what that column was made of. Inside each other, each level doubles what is
//! below it. `DataFusion` does all of that in single steps that look neither at a clock nor at a memory pool: twenty levels of `coalesce`, a few
//! hundred bytes of text, take 2 GB and 18 s, and four more take sixteen times that. The estimate leaves literals out, because lists of them may be
//! long.

use std::{collections::HashMap, rc::Rc};

use datafusion::{
    common::{
        Column, Result,
        tree_node::{TreeNode as _, TreeNodeRecursion},
    },
    logical_expr::{Aggregate, Between, Expr, LogicalPlan, Projection},
};

use crate::error::{QueryError, QueryErrorKind};

/// Statements that grow to more parts than these are refused: at about 400 bytes each, and some ten milliseconds for a thousand of them.
const PARTS_MAX: u64 = 100_000;

/// Functions that are planned as `CASE WHEN x IS NOT NULL THEN x … ELSE last END`.
const FIRST_THAT_IS_KNOWN: [&str; 3] = ["coalesce", "ifnull", "nvl"];

/// Refuses `plan`, on which nothing was done yet, if it would grow too large.
pub(crate) fn check(plan: &LogicalPlan) -> Result<(), QueryError> {
    let parts = Growth::default().parts(plan);
    if parts <= PARTS_MAX {
        return Ok(());
    }
    let found = if parts < 1_000_000_000 { format!("about {parts}") } else { "more than a billion".to_owned() };
    let error =
        QueryError::new(QueryErrorKind::TooLarge, "the query becomes too long once everything in it stands where it is used")
            .found(format!("{found} operators and expressions"))
            .expected(format!("at most {PARTS_MAX}"));
    Err(error.hint("`coalesce`, `CASE` and `BETWEEN` inside each other, and columns that are made of another column twice, double with each level"))
}

/// What is known of plans by their address: what is named twice is there once.
#[derive(Default)]
struct Growth {
    parts: HashMap<*const LogicalPlan, u64>,
    columns: HashMap<*const LogicalPlan, Rc<[u64]>>,
}

impl Growth {
    /// Operators and expressions of `plan` once everything stands where it is used; [`u64::MAX`] is more than can be counted.
    fn parts(&mut self, plan: &LogicalPlan) -> u64 {
        if let Some(known) = self.parts.get(&std::ptr::from_ref(plan)) {
            return *known;
        }
        // A condition is tried as far down as it can be.
        let moves_down = matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
        let below = if moves_down { self.of_inputs(plan) } else { Vec::new() };
        let mut parts = vec![1];
        each(plan.apply_expressions(|expr| {
            parts.push(size(expr, &|_| 1));
            if moves_down {
                parts.push(size(expr, &|column| made_of(column, plan, &below)));
            }
            Ok(TreeNodeRecursion::Continue)
        }));
        // They are shown wrapped in plans that are gone a moment later, whose address would be another one's.
        each(plan.apply_subqueries(|subquery| {
            parts.extend(subquery.inputs().into_iter().map(|plan| self.parts(plan)));
            Ok(TreeNodeRecursion::Continue)
        }));
        parts.extend(plan.inputs().into_iter().map(|input| self.parts(input)));
        let parts = sum(parts);
        self.parts.insert(plan, parts);
        parts
    }

    /// Of how many parts each column of `plan` is made, down to where a condition on it cannot go further.
    fn columns(&mut self, plan: &LogicalPlan) -> Rc<[u64]> {
        if let Some(known) = self.columns.get(&std::ptr::from_ref(plan)) {
            return Rc::clone(known);
        }
        let below = self.of_inputs(plan);
        let made_of = |expr: &Expr| size(expr, &|column| made_of(column, plan, &below));
        let n_columns = plan.schema().fields().len();
        let columns: Rc<[u64]> = match plan {
            LogicalPlan::Projection(Projection { expr, .. }) => expr.iter().map(made_of).collect(),
            LogicalPlan::Aggregate(Aggregate { group_expr, aggr_expr, .. }) => {
                group_expr.iter().map(made_of).chain(aggr_expr.iter().map(|_| 1)).collect()
            }
            LogicalPlan::Union(_) => {
                let of_column = |idx: usize| below.iter().filter_map(|columns| columns.get(idx)).max().copied();
                (0..n_columns).map(|idx| of_column(idx).unwrap_or(1)).collect()
            }
            // The columns of its inputs as they are, and perhaps new ones behind them.
            _ => below.iter().flat_map(|columns| columns.iter().copied()).chain(std::iter::repeat(1)).take(n_columns).collect(),
        };
        self.columns.insert(plan, Rc::clone(&columns));
        columns
    }

    fn of_inputs(&mut self, plan: &LogicalPlan) -> Vec<Rc<[u64]>> {
        plan.inputs().into_iter().map(|input| self.columns(input)).collect()
    }
}

/// Of how many parts `column` is made, which is of an input of `plan`; `below` says it of all of theirs.
fn made_of(column: &Column, plan: &LogicalPlan, below: &[Rc<[u64]>]) -> u64 {
    let mut inputs = plan.inputs().into_iter().zip(below);
    let found = inputs.find_map(|(input, columns)| columns.get(input.schema().maybe_index_of_column(column)?).copied());
    found.unwrap_or(1)
}

/// Parts of `expr`, whose columns are of as many as `of_column` says.
fn size(expr: &Expr, of_column: &impl Fn(&Column) -> u64) -> u64 {
    let once = |expr: &Expr| size(expr, of_column);
    let twice = |expr: &Expr| once(expr).saturating_mul(2);
    let parts: Vec<u64> = match expr {
        Expr::Literal(..) => return 0,
        Expr::Column(column) => return of_column(column),
        Expr::Alias(alias) => return once(&alias.expr),
        Expr::ScalarFunction(function) if FIRST_THAT_IS_KNOWN.contains(&function.name()) => {
            let (first, last) = function.args.split_at(function.args.len().saturating_sub(1));
            first.iter().map(twice).chain(last.iter().map(once)).collect()
        }
        Expr::Between(Between { expr, low, high, .. }) => vec![twice(expr), once(low), once(high)],
        Expr::Case(case) => {
            let cases = case.when_then_expr.iter().flat_map(|(when, then)| [twice(when), once(then)]);
            cases.chain(case.expr.iter().chain(&case.else_expr).map(|expr| once(expr))).collect()
        }
        _ => {
            let mut parts = Vec::new();
            each(expr.apply_children(|child| {
                parts.push(once(child));
                Ok(TreeNodeRecursion::Continue)
            }));
            parts
        }
    };
    sum(parts).saturating_add(1)
}

fn sum(parts: Vec<u64>) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

/// The end of a visit that cannot fail.
fn each(visited: Result<TreeNodeRecursion>) {
    visited.expect("what looks at the parts does not fail");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::{
        arrow::datatypes::{DataType, Field, Schema},
        datasource::empty::EmptyTable,
        prelude::SessionContext,
    };

    use super::*;

    async fn of(sql: &str) -> u64 {
        let context = SessionContext::new();
        let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, true));
        context.register_table("t", Arc::new(EmptyTable::new(Arc::new(Schema::new(fields.to_vec()))))).unwrap();
        Growth::default().parts(&context.state().create_logical_plan(sql).await.unwrap())
    }

    /// `levels` times, `form` with what came before in the place of `?`.
    fn nested(form: &str, levels: usize) -> String {
        (0..levels).fold("a".to_owned(), |inner, _| form.replace('?', &inner))
    }

    #[tokio::test]
    async fn what_is_planned_twice_counts_twice_at_each_level() {
        for form in ["coalesce(?, b)", "nvl(?, b)", "CASE WHEN ? > 1 THEN b END", "CAST((? BETWEEN 1 AND 2) AS BIGINT)"] {
            let [few, more] = [10, 20].map(|levels| format!("SELECT {} FROM t", nested(form, levels)));
            let (few, more) = (of(&few).await, of(&more).await);
            assert!(few > 1 << 10 && few < 1 << 14, "{form}: {few}");
            assert!(more > few * 900, "{form}: {few}, {more}");
        }
        for form in ["coalesce(b, ?)", "? + b", "CASE WHEN b > 1 THEN ? ELSE 0 END", "nullif(?, b)"] {
            let parts = of(&format!("SELECT {} FROM t", nested(form, 20))).await;
            assert!(parts < 200, "{form}: {parts}");
        }
    }

    #[tokio::test]
    async fn a_common_table_expression_counts_wherever_it_is_named() {
        let chain = |levels: usize, body: &str| {
            let each = (1..=levels).map(|n| format!(", c{n} AS ({})", body.replace('?', &format!("c{}", n - 1))));
            format!("WITH c0 AS (SELECT a FROM t){} SELECT count(*) FROM c{levels}", each.collect::<String>())
        };
        for body in ["SELECT a FROM ? UNION ALL SELECT a FROM ?", "SELECT a FROM ? WHERE a IN (SELECT a FROM ?)"] {
            let (few, more) = (of(&chain(2, body)).await, of(&chain(8, body)).await);
            assert!(few < 100 && more > few * 50, "{body}: {few}, {more}");
        }
        assert!(of(&chain(8, "SELECT a + 1 AS a FROM ? WHERE a > 1")).await < 200);
    }

    #[tokio::test]
    async fn a_condition_counts_as_what_its_columns_are_made_of() {
        let made = (0..8).fold("SELECT a FROM t".to_owned(), |inner, _| format!("SELECT a + a AS a FROM ({inner})"));
        let plain = of(&format!("SELECT a FROM ({made})")).await;
        assert!(plain < 60, "{plain}");
        assert!(of(&format!("SELECT a FROM ({made}) WHERE a > 1")).await > 1 << 8);
        assert!(of(&format!("SELECT x.a FROM ({made}) x JOIN t ON x.a = t.b")).await > 1 << 8);
        // Sums are made of rows: no condition goes below them.
        assert!(of(&format!("SELECT s FROM (SELECT sum(a) AS s FROM ({made})) WHERE s > 1")).await < 60);
    }

    #[tokio::test]
    async fn subqueries_count_each_as_what_they_are() {
        let subqueries =
            ["SELECT 1".to_owned(), format!("SELECT {} FROM t", nested("coalesce(?, b)", 8)), "SELECT b FROM t".to_owned()];
        for large in 0..3 {
            let mut order = subqueries.clone();
            order.swap(1, large);
            let [first, second, third] = order;
            let parts = of(&format!("SELECT a FROM t WHERE a IN ({first}) OR a IN ({second}) OR EXISTS ({third})")).await;
            assert!((1 << 9..1 << 10).contains(&parts), "{large}: {parts}");
        }
    }

    #[tokio::test]
    async fn lists_may_be_long() {
        let list = (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        assert!(of(&format!("SELECT a FROM t WHERE a IN ({list})")).await < 20);
    }
}
