//! Lists of groups that are few: all of them are read once, and the page and most totals are made of them. By SQL, the rows of the busiest
//! groups, which may be nearly all there are, would be added up once for the page and once for the totals.

use assay_schemas::table::{MONEY_SCALE, Money};
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{
    ColumnType, GROUPS_MAX, Unit, distinct_traces,
    page::{Page, Rows},
    queries::{Query, Whole},
};
use crate::{error::QueryError, format::decimal_text, traces::Reader};

/// The page, and the totals if it is the first one; `None` if there are too many groups: then ask the SQL.
///
/// # Errors
/// As the questions it asks.
pub(super) async fn list(
    reader: &Reader<'_>,
    query: &'static Query,
    whole: &Whole,
    group: &str,
    page: &Page,
) -> Result<Option<(Rows, Option<Map<String, Value>>)>, QueryError> {
    let scope = &page.asked;
    let condition = scope.whole(group);
    let groups = async { reader.rows(&(query.rows)(scope), GROUPS_MAX + 1).await };
    let others = async {
        match page.is_first() {
            true => reader.rows(&(whole.others)(scope), 1).await,
            false => Ok(Vec::new()),
        }
    };
    let traces = async {
        match page.is_first() {
            true => distinct_traces(reader, page.range(), &condition).await,
            false => Ok(None),
        }
    };
    let (groups, others, traces) = futures::try_join!(groups, others, traces)?;
    if groups.len() > GROUPS_MAX || (page.is_first() && traces.is_none()) {
        return Ok(None);
    }
    let totals = others.into_iter().next().zip(traces).map(|(mut totals, traces)| {
        totals.insert("rows".to_owned(), groups.len().into());
        totals.insert("traces".to_owned(), traces.into());
        for name in whole.added {
            totals.insert((*name).to_owned(), sum(&groups, query, name));
        }
        totals
    });
    Ok(Some((page.of_all(groups), totals)))
}

/// The sum of a column as SQL has it: of nothing known it is unknown, but a count of nothing is 0.
fn sum(groups: &[Map<String, Value>], query: &Query, name: &str) -> Value {
    let values = || groups.iter().map(|row| &row[name]).filter(|value| !value.is_null());
    let column = query.columns.iter().find(|column| column.name == name);
    if column.is_some_and(|column| column.r#type == ColumnType::Money) {
        let costs = values().filter_map(|cost| cost.as_str()?.parse::<Decimal>().ok());
        return costs.reduce(|a, b| a + b).map_or(Value::Null, |sum| decimal_text(Money::to_stored(sum), MONEY_SCALE).into());
    }
    let is_count = column.is_some_and(|column| column.unit == Some(Unit::Count));
    let sum = values().filter_map(Value::as_i64).reduce(i64::wrapping_add).or(is_count.then_some(0));
    sum.map_or(Value::Null, Value::from)
}
