//! Lists of groups that say what the traces cost which each group is found in: tools and errors. Their SQL joins every trace to its cost,
//! which takes seconds over millions of spans; here the costs come from what traces add up to ([`sums`]), trace by trace, and only
//! the pairs of group and trace are asked for.
//!
//! ```text
//! groups and their traces (SQL) ── in order of trace ──┐
//! sums of traces, costs of calls told by logs ─────────┴─ number and cost of the traces, by group and in all
//! ```

use std::collections::HashMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use assay_schemas::table::MONEY_SCALE;
use assay_storage::{TraceKey, TraceSum, trace_key_of};
use serde_json::{Map, Value};

use super::{
    GROUPS_MAX,
    page::{Page, Rows},
    queries::{OfTraces, Query},
    totals,
};
use crate::{
    error::{QueryError, QueryErrorKind},
    format::decimal_text,
    traces::{Reader, sums},
};

/// Pairs of group and trace held at most, 32 bytes each.
const PAIRS_MAX: usize = 4_000_000;

/// The page, and the totals if it is the first one; `None` if there are too many groups or traces for memory, or no sums: then ask the SQL.
///
/// # Errors
/// As the questions it asks.
pub(super) async fn list(
    reader: &Reader<'_>,
    query: &'static Query,
    of: &OfTraces,
    page: &Page,
) -> Result<Option<(Rows, Option<Map<String, Value>>)>, QueryError> {
    let scope = &page.scope;
    let traces_sql = (of.traces)(scope);
    let each = |costs: &mut Vec<(TraceKey, Option<i128>)>, trace: TraceKey, sum: &TraceSum| costs.push((trace, sum.cost));
    let (groups, total, pairs, costs, told_by_logs) = futures::try_join!(
        async { reader.rows(&(of.rows)(scope), GROUPS_MAX + 1).await },
        async {
            match page.is_first() {
                true => Ok(reader.rows(&(of.totals)(scope), 1).await?.into_iter().next()),
                false => Ok(None),
            }
        },
        Pairs::read(reader, query, &traces_sql),
        sums::fold_matching(reader, page.range(), None, Vec::new(), each),
        totals::of_logs(reader, scope),
    )?;
    let (Some(pairs), Some(costs), true) = (pairs, costs, groups.len() <= GROUPS_MAX) else { return Ok(None) };
    let mut told_by_logs: Vec<_> = told_by_logs.into_iter().map(|(trace, sum)| (trace, sum.cost)).collect();
    told_by_logs.sort_unstable();
    let sums = pairs.add_up(costs.into_iter().chain(told_by_logs));
    let mut key = Vec::new();
    let groups = groups.into_iter().map(|mut row| {
        write_key(&mut key, query.id.iter().map(|name| row.get(*name).and_then(Value::as_str)));
        pairs.groups.get(&key).map_or_else(Cost::default, |group| sums.groups[*group as usize]).insert_into(&mut row);
        row
    });
    let rows = page.of_all(groups.collect());
    let total = total.map(|mut total| {
        sums.all.insert_into(&mut total);
        total
    });
    Ok(Some((rows, total)))
}

/// Traces and what they cost together.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    traces: i64,
    /// In 10⁻¹⁵ US dollars; `None` if none is known.
    cost: Option<i128>,
}

impl Cost {
    fn add(&mut self, cost: Option<i128>) {
        if let Some(cost) = cost {
            *self.cost.get_or_insert(0) += cost;
        }
    }

    fn insert_into(self, row: &mut Map<String, Value>) {
        row.insert("traces".to_owned(), self.traces.into());
        row.insert("cost_usd".to_owned(), self.cost.map_or(Value::Null, |cost| decimal_text(cost, MONEY_SCALE).into()));
    }
}

/// What the pairs add up to.
#[derive(Debug)]
struct Costs {
    groups: Vec<Cost>,
    all: Cost,
}

/// Which traces each group is found in.
#[derive(Debug)]
struct Pairs {
    /// Number of each group, by its key.
    groups: HashMap<Vec<u8>, u32>,
    /// In order of trace, none twice.
    pairs: Vec<(TraceKey, u32)>,
}

impl Pairs {
    async fn read(reader: &Reader<'_>, query: &Query, sql: &str) -> Result<Option<Self>, QueryError> {
        let mut answer = reader.answer(sql, usize::MAX).await?;
        let (mut groups, mut pairs) = (HashMap::new(), Vec::new());
        while let Some(batch) = answer.next().await? {
            add_batch(&batch, query.id.len(), &mut groups, &mut pairs)?;
            if groups.len() > GROUPS_MAX || pairs.len() > PAIRS_MAX {
                return Ok(None);
            }
        }
        if answer.stats().truncated {
            return Ok(None);
        }
        pairs.sort_unstable();
        // Identifiers that differ in upper and lower case are one trace to its sums.
        pairs.dedup();
        Ok(Some(Self { groups, pairs }))
    }

    /// Adds up what the traces cost. One may be told in parts; `costs` are in order of trace, from the first one again a few times.
    fn add_up(&self, costs: impl Iterator<Item = (TraceKey, Option<i128>)>) -> Costs {
        let traces = self.pairs.chunk_by(|(a, _), (b, _)| a == b).count() as i64;
        let mut all = Cost { traces, cost: None };
        let mut groups = vec![Cost::default(); self.groups.len()];
        self.pairs.iter().for_each(|(_, group)| groups[*group as usize].traces += 1);
        let (mut left, mut last) = (&self.pairs[..], TraceKey::default());
        for (trace, cost) in costs {
            if trace < last {
                left = &self.pairs;
            }
            last = trace;
            while left.first().is_some_and(|(other, _)| *other < trace) {
                left = &left[1..];
            }
            add(trace, cost, left, &mut groups, &mut all);
        }
        Costs { groups, all }
    }
}

/// Adds the cost of a trace to its groups, with which `pairs` begin.
fn add(trace: TraceKey, cost: Option<i128>, pairs: &[(TraceKey, u32)], groups: &mut [Cost], all: &mut Cost) {
    let mut found = false;
    for (_, group) in pairs.iter().take_while(|(other, _)| *other == trace) {
        groups[*group as usize].add(cost);
        found = true;
    }
    if found {
        all.add(cost);
    }
}

fn add_batch(
    batch: &RecordBatch,
    id_columns: usize,
    groups: &mut HashMap<Vec<u8>, u32>,
    pairs: &mut Vec<(TraceKey, u32)>,
) -> Result<(), QueryError> {
    let texts: Vec<&StringArray> = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>()).collect();
    let Some((traces, ids)) = texts.split_last().filter(|(_, ids)| ids.len() == id_columns) else {
        return Err(QueryError::new(QueryErrorKind::Internal, "the traces of groups are not told by text"));
    };
    let mut key = Vec::new();
    for row in 0..batch.num_rows() {
        write_key(&mut key, ids.iter().map(|id| id.is_valid(row).then(|| id.value(row))));
        let group = match groups.get(&key) {
            Some(group) => *group,
            None => {
                let next = u32::try_from(groups.len()).unwrap_or(u32::MAX);
                groups.insert(key.clone(), next);
                next
            }
        };
        pairs.push((trace_key_of(traces.value(row)), group));
    }
    Ok(())
}

/// The values that name a group as one; NULL is not the empty text.
fn write_key<'a>(key: &mut Vec<u8>, values: impl Iterator<Item = Option<&'a str>>) {
    key.clear();
    for value in values {
        key.extend(value.map_or(usize::MAX, str::len).to_le_bytes());
        key.extend(value.unwrap_or_default().as_bytes());
    }
}
