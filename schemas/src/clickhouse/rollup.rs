//! What the rows of `spans` add up to by the hour, which ClickHouse keeps beside them: a projection of the table.
//!
//! A projection belongs to the part of the table that it is made of. Insertions and merges make it anew, and so does a mutation, which a correction
//! becomes: it cannot say something else than the rows. What it says is of so many positions of the log at once ([`POSITIONS`]) that it is
//! much smaller than they are, and of so few that a view, which ends at a position, reads few rows beside it.

use std::fmt::Write as _;

use arrow::datatypes::DataType;

use super::{NODE_ID, identifier};
use crate::{table::Column, tables::TableId};

/// The table that it is of.
pub const TABLE: TableId = TableId::Spans;
/// Its name, by which it is known whether a table has it: another definition must have another one.
pub const NAME: &str = "by_hour_1";
/// Positions of the log that are added up together.
pub const POSITIONS: u64 = 256;
/// Length of its hours in microseconds.
pub const HOUR_US: i64 = 3_600_000_000;
/// How many rows there are, as [`sums`] names it.
pub const ROWS: &str = "rollup_rows";
/// Their hour: whole ones since 1970.
pub const HOUR: &str = "rollup_hour";
/// [`HOUR`] of a row.
pub const HOUR_OF: &str = "intDiv(toUnixTimestamp64Micro(`start_time`), 3600000000)";
/// To which positions of the log a row belongs, counted from 0.
pub const CHUNK_OF: &str = "intDiv(`wal_position`, 256)";

/// Columns by which rows are told apart: all have few values, and most depend on each other.
const KEYS: &[&str] = &[
    "date",
    "deployment_environment",
    "service_name",
    "operation",
    "provider",
    "request_model",
    "response_model",
    "agent_name",
    "tool_name",
    "prompt_name",
    "prompt_version",
    "status_code",
    "error_type",
    "pending",
    "counted",
    "cost_source",
];

/// Columns that are added up.
const NUMBERS: &[&str] = &[
    "duration_ns",
    "time_to_first_token_ns",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
    "reported_cost_usd",
];

/// Something that rows add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Its name in a statement; no column has it.
    pub name: String,
    /// What it is of rows.
    pub sql: String,
}

impl Sum {
    fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { name: name.into(), sql: sql.into() }
    }
}

/// Whether rows of different values of `column` are told apart.
#[must_use]
pub fn is_key(column: &str) -> bool {
    KEYS.contains(&column)
}

/// The names of [`KEYS`].
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().copied()
}

/// All that rows add up to.
#[must_use]
pub fn sums() -> Vec<Sum> {
    let extremes = |column: &str| {
        ["min", "max"].map(|function| Sum::new(format!("{function}_{column}"), format!("{function}({})", identifier(column))))
    };
    let mut sums = vec![Sum::new(ROWS, "count()")];
    sums.extend(extremes("start_time"));
    for column in NUMBERS.iter().map(|name| column(name)) {
        let name = identifier(column.name);
        sums.push(Sum::new(format!("sum_{}", column.name), format!("sum({name})")));
        sums.extend(extremes(column.name));
        if column.nullable {
            sums.push(Sum::new(format!("count_{}", column.name), format!("count({name})")));
        }
        // What an average is made of: the sum of integers may be more than one can be.
        if column.data_type == DataType::Int64 {
            sums.push(Sum::new(format!("float_sum_{}", column.name), format!("sum(toFloat64({name}))")));
        }
    }
    sums
}

/// The definition in the table, without its name.
pub(super) fn definition() -> String {
    let groups = ["project_id", HOUR_OF].into_iter().map(str::to_owned);
    let groups = groups.chain(keys().map(identifier)).chain([identifier(NODE_ID), CHUNK_OF.to_owned()]).collect::<Vec<_>>();
    let mut sql = format!("SELECT {}", groups.join(", "));
    for sum in sums() {
        let _ = write!(sql, ", {}", sum.sql);
    }
    let _ = write!(sql, " GROUP BY {}", groups.join(", "));
    sql
}

fn column(name: &str) -> &'static Column {
    TABLE.columns().iter().find(|column| column.name == name).expect("a column of the table")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Layout;

    #[test]
    fn it_has_columns_of_the_table_under_names_that_none_has() {
        for key in keys().filter(|key| *key != "date") {
            let column = column(key);
            assert!(column.layout == Layout::Dictionary || column.data_type == DataType::Boolean, "{key}");
        }
        for number in NUMBERS.iter().map(|name| column(name)) {
            assert!(matches!(number.data_type, DataType::Int64 | DataType::Decimal128(..)), "{}", number.name);
        }
        let names: Vec<_> = sums().into_iter().map(|sum| sum.name).chain([HOUR.to_owned()]).collect();
        assert!(!TABLE.columns().iter().any(|column| names.contains(&column.name.to_owned())));
        assert!(CHUNK_OF.ends_with(&format!(", {POSITIONS})")) && HOUR_OF.ends_with(&format!(", {HOUR_US})")));
    }

    /// Whoever changes it must also change [`NAME`].
    #[test]
    fn the_definition_of_a_name_does_not_change() {
        insta::assert_snapshot!(format!("{NAME}: {}", definition().replace(", ", ",\n").replace(" GROUP", "\nGROUP")), @r"
        by_hour_1: SELECT project_id,
        intDiv(toUnixTimestamp64Micro(`start_time`),
        3600000000),
        `date`,
        `deployment_environment`,
        `service_name`,
        `operation`,
        `provider`,
        `request_model`,
        `response_model`,
        `agent_name`,
        `tool_name`,
        `prompt_name`,
        `prompt_version`,
        `status_code`,
        `error_type`,
        `pending`,
        `counted`,
        `cost_source`,
        `node_id`,
        intDiv(`wal_position`,
        256),
        count(),
        min(`start_time`),
        max(`start_time`),
        sum(`duration_ns`),
        min(`duration_ns`),
        max(`duration_ns`),
        sum(toFloat64(`duration_ns`)),
        sum(`time_to_first_token_ns`),
        min(`time_to_first_token_ns`),
        max(`time_to_first_token_ns`),
        count(`time_to_first_token_ns`),
        sum(toFloat64(`time_to_first_token_ns`)),
        sum(`input_tokens`),
        min(`input_tokens`),
        max(`input_tokens`),
        count(`input_tokens`),
        sum(toFloat64(`input_tokens`)),
        sum(`output_tokens`),
        min(`output_tokens`),
        max(`output_tokens`),
        count(`output_tokens`),
        sum(toFloat64(`output_tokens`)),
        sum(`cache_read_tokens`),
        min(`cache_read_tokens`),
        max(`cache_read_tokens`),
        count(`cache_read_tokens`),
        sum(toFloat64(`cache_read_tokens`)),
        sum(`cache_write_tokens`),
        min(`cache_write_tokens`),
        max(`cache_write_tokens`),
        count(`cache_write_tokens`),
        sum(toFloat64(`cache_write_tokens`)),
        sum(`reasoning_tokens`),
        min(`reasoning_tokens`),
        max(`reasoning_tokens`),
        count(`reasoning_tokens`),
        sum(toFloat64(`reasoning_tokens`)),
        sum(`cost_usd`),
        min(`cost_usd`),
        max(`cost_usd`),
        count(`cost_usd`),
        sum(`reported_cost_usd`),
        min(`reported_cost_usd`),
        max(`reported_cost_usd`),
        count(`reported_cost_usd`)
        GROUP BY project_id,
        intDiv(toUnixTimestamp64Micro(`start_time`),
        3600000000),
        `date`,
        `deployment_environment`,
        `service_name`,
        `operation`,
        `provider`,
        `request_model`,
        `response_model`,
        `agent_name`,
        `tool_name`,
        `prompt_name`,
        `prompt_version`,
        `status_code`,
        `error_type`,
        `pending`,
        `counted`,
        `cost_source`,
        `node_id`,
        intDiv(`wal_position`,
        256)
        ");
    }
}
