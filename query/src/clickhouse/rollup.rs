//! Aggregates over the rollup that ClickHouse keeps of `spans`: which rows of a statement it has, and how it is asked.
//!
//! ```text
//! rows of the statement ─┬─ in whole hours, of positions that are added up together and all visible ─> the rollup
//!                        ├─ of the same positions, in the hours at both ends, or in those of traces that are being corrected ─┐
//!                        └─ of the last positions of the log ──────────────────────────────────────────────────────────────────┴─> rows
//! ```
//! Which of the three a row is in depends on its position and its time only, and these never change: it is in one of them, whatever is inserted,
//! merged or corrected while one after the other is read.

use std::collections::BTreeSet;

use assay_schemas::clickhouse::{
    identifier,
    rollup::{HOUR, HOUR_OF, HOUR_US, is_key, keys, sums},
};
use assay_storage::RolledUp;
use datafusion::{
    common::ScalarValue,
    logical_expr::{Between, BinaryExpr, Expr, Operator},
};

use super::Statement;

/// Of fewer rows, all are read: it takes no longer.
pub(super) const ROWS_MIN: u64 = 10_000;
/// If traces that are being corrected are in more hours than this, all rows are read.
pub(super) const CORRECTED_HOURS_MAX: usize = 1000;

/// Hours, counted from 1970, the end left out; `None` has no end there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hours {
    from: Option<i64>,
    to: Option<i64>,
}

/// How the rows of a statement are divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rollup {
    /// What is asked of the rollup.
    conditions: Vec<String>,
    /// What is asked of the other rows, beside the conditions of the statement; none of them is in two.
    others: Vec<Vec<String>>,
}

impl Rollup {
    /// `conditions` hold for all rows of the project that are to be added up, but for those of `filters`, each of which stands beside what ClickHouse is
    /// asked for it. `apart` are hours of which no row may be taken from the rollup. `None` if it cannot be known from it which rows are meant, or if
    /// it has none of them.
    pub(super) fn of<'a>(
        rolled_up: RolledUp,
        mut conditions: Vec<String>,
        filters: impl Iterator<Item = (&'a Expr, String)>,
        apart: &BTreeSet<i64>,
    ) -> Option<Self> {
        let mut hours = Hours::default();
        for (filter, sql) in filters {
            match Hours::within(filter) {
                Some(within) => hours = hours.both(within),
                None if filter.column_refs().iter().all(|column| is_key(&column.name)) => conditions.push(sql),
                None => return None,
            }
        }
        if hours.from.zip(hours.to).is_some_and(|(from, to)| from >= to) {
            return None;
        }
        let RolledUp { in_rollup, in_rows, beyond } = rolled_up;
        conditions.push(in_rollup);
        conditions.extend(hours.from.map(|from| format!("{HOUR_OF} >= {from}")));
        conditions.extend(hours.to.map(|to| format!("{HOUR_OF} < {to}")));
        if !apart.is_empty() {
            let apart: Vec<_> = apart.iter().map(i64::to_string).collect();
            conditions.push(format!("{HOUR_OF} NOT IN ({})", apart.join(", ")));
        }
        let start = |hour: i64| format!("fromUnixTimestamp64Micro({}, 'UTC')", hour * HOUR_US);
        let mut outside: Vec<String> = hours.from.map(|from| format!("start_time < {}", start(from))).into_iter().collect();
        outside.extend(hours.to.map(|to| format!("start_time >= {}", start(to))));
        let is_inside = |hour: &&i64| hours.from.is_none_or(|from| from <= **hour) && hours.to.is_none_or(|to| **hour < to);
        let apart = apart.iter().filter(is_inside);
        outside.extend(apart.map(|hour| format!("start_time >= {} AND start_time < {}", start(*hour), start(hour + 1))));
        let mut others = vec![vec![beyond]];
        if !outside.is_empty() {
            others.push(vec![in_rows, format!("({})", outside.join(" OR "))]);
        }
        Some(Self { conditions, others })
    }

    /// The statement that gives `columns` of [`sums`], put together by `groups`, where `of_rows` gives the same of rows; and that of those that the rollup lacks.
    pub(super) fn statement(&self, of_rows: &Statement, columns: Vec<String>, groups: Vec<String>) -> Statement {
        // A name that only stands in a text is one too many, which changes nothing.
        let is_asked = |name: &str| columns.iter().chain(&groups).any(|sql| sql.contains(&identifier(name)));
        // Without rows there is no project, and so no group: sums of nothing are not taken for sums.
        let mut inner_groups = vec!["project_id".to_owned()];
        inner_groups.extend(keys().filter(|key| is_asked(key)).map(identifier));
        let mut selected = inner_groups.clone();
        if is_asked(HOUR) {
            inner_groups.push(HOUR_OF.to_owned());
            selected.push(format!("{HOUR_OF} AS {}", identifier(HOUR)));
        }
        let asked = sums().into_iter().filter(|sum| is_asked(&sum.name));
        selected.extend(asked.map(|sum| format!("{} AS {}", sum.sql, identifier(&sum.name))));
        let inner = Statement {
            columns: selected,
            table: of_rows.table.clone(),
            conditions: self.conditions.clone(),
            group_by: Some(inner_groups),
            ..of_rows.clone()
        };
        let of_others = self.others.iter().map(|more| {
            let conditions = of_rows.conditions.iter().chain(more).cloned().collect();
            Statement { conditions, ..of_rows.clone() }
        });
        Statement {
            columns,
            table: format!("({inner})"),
            conditions: Vec::new(),
            group_by: Some(groups),
            union: of_others.collect(),
            ..of_rows.clone()
        }
    }
}

impl Hours {
    /// The whole hours of the time that `filter` says; `None` if it says more, or something else.
    fn within(filter: &Expr) -> Option<Self> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Some(Self::within(left)?.both(Self::within(right)?))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (is_start_time(left), is_start_time(right)) {
                (true, false) => Self::beside(*op, micros(right)?),
                (false, true) => Self::beside(op.swap()?, micros(left)?),
                _ => None,
            },
            Expr::Between(Between { expr, negated: false, low, high }) if is_start_time(expr) => {
                Some(Self::beside(Operator::GtEq, micros(low)?)?.both(Self::beside(Operator::LtEq, micros(high)?)?))
            }
            _ => None,
        }
    }

    /// Those of `start_time op micros`.
    fn beside(op: Operator, micros: i64) -> Option<Self> {
        let first_at = |micros: i64| micros.checked_add(HOUR_US - 1).map(|last| last.div_euclid(HOUR_US));
        let from = |micros: i64| Some(Self { from: Some(first_at(micros)?), to: None });
        let to = |micros: i64| Some(Self { from: None, to: Some(micros.div_euclid(HOUR_US)) });
        match op {
            Operator::GtEq => from(micros),
            Operator::Gt => from(micros.checked_add(1)?),
            Operator::Lt => to(micros),
            Operator::LtEq => to(micros.checked_add(1)?),
            _ => None,
        }
    }

    /// Those that are in both.
    fn both(self, other: Self) -> Self {
        let (from, to) = (self.from.into_iter().chain(other.from).max(), self.to.into_iter().chain(other.to).min());
        Self { from, to }
    }
}

fn is_start_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "start_time")
}

fn micros(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(micros, _), _) => *micros,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn at(micros: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
    }

    fn rolled_up() -> RolledUp {
        RolledUp { in_rollup: "chunk < 3".to_owned(), in_rows: "p < 768".to_owned(), beyond: "p >= 768".to_owned() }
    }

    fn of(filters: &[Expr], apart: &[i64]) -> Option<Rollup> {
        let filters = filters.iter().map(|filter| (filter, "filter".to_owned()));
        Rollup::of(rolled_up(), vec!["project".to_owned()], filters, &apart.iter().copied().collect())
    }

    /// Each row is in one of the three.
    #[test]
    fn hours_that_are_not_whole_are_read() {
        let hour = HOUR_US;
        for (filters, from, to) in [
            (vec![], None, None),
            (vec![col("start_time").gt_eq(at(2 * hour))], Some(2), None),
            (vec![col("start_time").gt(at(2 * hour))], Some(3), None),
            (vec![col("start_time").gt_eq(at(2 * hour + 1))], Some(3), None),
            (vec![col("start_time").lt(at(5 * hour))], None, Some(5)),
            (vec![col("start_time").lt_eq(at(5 * hour - 1))], None, Some(5)),
            (vec![col("start_time").lt_eq(at(5 * hour - 2))], None, Some(4)),
            (vec![at(5 * hour - 1).gt_eq(col("start_time"))], None, Some(5)),
            (vec![col("start_time").gt_eq(at(hour)), col("start_time").lt(at(9 * hour))], Some(1), Some(9)),
            (vec![col("start_time").between(at(hour), at(9 * hour))], Some(1), Some(9)),
            (vec![col("start_time").gt_eq(at(hour)).and(col("start_time").lt(at(9 * hour)))], Some(1), Some(9)),
        ] {
            let found = filters.iter().filter_map(Hours::within).fold(Hours::default(), Hours::both);
            assert_eq!(found, Hours { from, to }, "{filters:?}");
            assert!(of(&filters, &[]).is_some());
        }
        assert_eq!(Hours::within(&col("start_time").eq(at(hour))), None);
        assert_eq!(Hours::within(&col("start_time").gt_eq(at(hour)).or(col("start_time").lt(at(0)))), None);
        let never = [col("start_time").gt_eq(at(1)), col("start_time").lt(at(2 * hour - 1))];
        assert_eq!(of(&never, &[]), None);
        assert_eq!(Hours::beside(Operator::GtEq, i64::MAX), None);
    }

    #[test]
    fn what_it_does_not_tell_apart_is_not_asked_of_it() {
        assert!(of(&[col("request_model").eq(lit("m")), col("counted")], &[]).is_some());
        assert!(of(&[col("session_id").eq(lit("m"))], &[]).is_none());
        assert!(of(&[col("start_time").gt(at(0)).or(col("counted"))], &[]).is_none());
    }

    #[test]
    fn statements_divide_the_rows() {
        let filters = [col("start_time").gt_eq(at(1)), col("start_time").lt(at(9 * HOUR_US)), col("counted")];
        let rollup = of(&filters, &[4, 20]).unwrap();
        let of_rows = Statement {
            columns: vec!["`request_model`".to_owned(), "count()".to_owned()],
            table: "spans".to_owned(),
            conditions: vec!["project".to_owned(), "visible".to_owned()],
            group_by: Some(vec!["`request_model`".to_owned()]),
            order_by: Vec::new(),
            limit: None,
            union: Vec::new(),
        };
        let columns = vec!["`request_model`".to_owned(), "sum(`rollup_rows`)".to_owned()];
        let groups = vec!["`request_model`".to_owned()];
        let statement = rollup.statement(&of_rows, columns, groups).to_string().replace(" UNION ALL", "\nUNION ALL");
        insta::assert_snapshot!(statement, @r"
        SELECT `request_model`, sum(`rollup_rows`) FROM (SELECT project_id, `request_model`, count() AS `rollup_rows` FROM spans WHERE project AND filter AND chunk < 3 AND intDiv(toUnixTimestamp64Micro(`start_time`), 3600000000) >= 1 AND intDiv(toUnixTimestamp64Micro(`start_time`), 3600000000) < 9 AND intDiv(toUnixTimestamp64Micro(`start_time`), 3600000000) NOT IN (4, 20) GROUP BY project_id, `request_model`) GROUP BY `request_model`
        UNION ALL SELECT `request_model`, count() FROM spans WHERE project AND visible AND p >= 768 GROUP BY `request_model`
        UNION ALL SELECT `request_model`, count() FROM spans WHERE project AND visible AND p < 768 AND (start_time < fromUnixTimestamp64Micro(3600000000, 'UTC') OR start_time >= fromUnixTimestamp64Micro(32400000000, 'UTC') OR start_time >= fromUnixTimestamp64Micro(14400000000, 'UTC') AND start_time < fromUnixTimestamp64Micro(18000000000, 'UTC')) GROUP BY `request_model`
        ");
    }
}
