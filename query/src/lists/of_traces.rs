//! Lists of groups that say what the traces cost which each group is found in: tools and errors. Their SQL joins every trace to its cost,
//! which takes seconds over millions of spans; here the costs come from what traces add up to ([`sums`]), trace by trace, and only
//! the pairs of group and trace are asked for.
//!
//! ```text
//! groups and their traces (SQL) ── in order of trace ──┐
//! sums of traces, costs of calls told by logs ─────────┴─ number and cost of the traces, by group and in all
//! ```

use std::{collections::HashMap, sync::Arc};

use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use assay_schemas::table::MONEY_SCALE;
use assay_storage::{TraceKey, TraceSum, trace_key_of};
use serde_json::{Map, Value};

use super::{
    page::{Page, Rows},
    queries::{OfTraces, Query},
    totals,
};
use crate::{
    error::{QueryError, QueryErrorKind},
    format::decimal_text,
    traces::{Reader, sums},
};

/// Groups that are put together in memory at most.
const GROUPS_MAX: usize = 20_000;
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
    let (groups, total, pairs) = futures::try_join!(
        async { reader.rows(&(of.rows)(scope), GROUPS_MAX + 1).await },
        async {
            match page.is_first() {
                true => Ok(reader.rows(&(of.totals)(scope), 1).await?.into_iter().next()),
                false => Ok(None),
            }
        },
        Pairs::read(reader, query, &traces_sql),
    )?;
    let Some(pairs) = pairs.filter(|_| groups.len() <= GROUPS_MAX) else { return Ok(None) };
    let groups_of_traces = pairs.groups.clone();
    let Some(sums) = pairs.costs(reader, page).await? else { return Ok(None) };
    let mut key = String::new();
    let groups = groups.into_iter().map(|mut row| {
        write_key(&mut key, query.id.iter().map(|name| row.get(*name).and_then(Value::as_str)));
        groups_of_traces.get(&key).map_or_else(Cost::default, |group| sums.groups[*group as usize]).insert_into(&mut row);
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
    groups: Arc<HashMap<String, u32>>,
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
        Ok(Some(Self { groups: Arc::new(groups), pairs }))
    }

    /// Adds the costs of the traces up; `None` if they cannot be had.
    async fn costs(self, reader: &Reader<'_>, page: &Page) -> Result<Option<Costs>, QueryError> {
        let mut matching: Vec<TraceKey> = self.pairs.iter().map(|(trace, _)| *trace).collect();
        matching.dedup();
        let mut all = Cost { traces: matching.len() as i64, cost: None };
        let mut groups = vec![Cost::default(); self.groups.len()];
        self.pairs.iter().for_each(|(_, group)| groups[*group as usize].traces += 1);

        let costs = Vec::with_capacity(matching.len());
        let each = |costs: &mut Vec<(TraceKey, Option<i128>)>, trace: TraceKey, sum: &TraceSum| costs.push((trace, sum.cost));
        let Some(costs) = sums::fold_matching(reader, page.range(), Some(Arc::new(matching)), costs, each).await? else {
            return Ok(None);
        };
        let of_logs = totals::of_logs(reader, &page.scope).await?;
        let told_by_logs = of_logs.into_iter().map(|(trace, sum)| (trace, sum.cost));
        // Sums come in order of trace; calls told by logs do not, but are few.
        let mut left = &self.pairs[..];
        for (trace, cost) in costs {
            while left.first().is_some_and(|(other, _)| *other < trace) {
                left = &left[1..];
            }
            add(trace, cost, left, &mut groups, &mut all);
        }
        for (trace, cost) in told_by_logs {
            let from = self.pairs.partition_point(|(other, _)| *other < trace);
            add(trace, cost, &self.pairs[from..], &mut groups, &mut all);
        }
        Ok(Some(Costs { groups, all }))
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
    groups: &mut HashMap<String, u32>,
    pairs: &mut Vec<(TraceKey, u32)>,
) -> Result<(), QueryError> {
    let texts: Vec<&StringArray> = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>()).collect();
    let Some((traces, ids)) = texts.split_last().filter(|(_, ids)| ids.len() == id_columns) else {
        return Err(QueryError::new(QueryErrorKind::Internal, "the traces of groups are not told by text"));
    };
    let mut key = String::new();
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

/// The values that name a group as one text; NULL is not the empty text.
fn write_key<'a>(key: &mut String, values: impl Iterator<Item = Option<&'a str>>) {
    key.clear();
    for value in values {
        match value {
            Some(value) => {
                key.push_str(&value.len().to_string());
                key.push(':');
                key.push_str(value);
            }
            None => key.push('-'),
        }
    }
}
