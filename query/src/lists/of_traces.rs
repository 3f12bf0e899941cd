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
    PAIRS_MAX,
    page::{Page, Rows},
    queries::{OfTraces, Query},
    tools, totals,
};
use crate::{
    error::{QueryError, QueryErrorKind},
    format::decimal_text,
    traces::{Reader, sums},
};

/// Groups that are put together outside SQL at most.
pub(super) const GROUPS_MAX: usize = 20_000;

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
    if reader.is_stored_elsewhere() {
        return Ok(None);
    }
    let scope = &page.scope;
    let groups = async {
        match of {
            OfTraces::Groups { rows, totals, traces } => {
                let totals = page.is_first().then(|| totals(scope));
                Groups::ask(reader, query, &rows(scope), totals.as_deref(), &traces(scope)).await
            }
            OfTraces::ToolRuns(runs) => tools::read(reader, &runs(scope)).await,
        }
    };
    let each = |costs: &mut Vec<(TraceKey, Option<i128>)>, trace: TraceKey, sum: &TraceSum| costs.push((trace, sum.cost));
    let costs = sums::fold_matching(reader, page.range(), None, Vec::new(), each);
    let (groups, costs, told_by_logs) = futures::try_join!(groups, costs, totals::of_logs(reader, scope))?;
    let (Some(groups), Some(costs)) = (groups, costs) else { return Ok(None) };
    let mut told_by_logs: Vec<_> = told_by_logs.into_iter().map(|(trace, sum)| (trace, sum.cost)).collect();
    told_by_logs.sort_unstable();
    let costs = groups.pairs.add_up(costs.into_iter().chain(told_by_logs));
    let rows = groups.rows.into_iter().map(|(group, mut row)| {
        group.map_or_else(Cost::default, |group| costs.groups[group as usize]).insert_into(&mut row);
        row
    });
    let rows = page.of_all(rows, |row| page.place_of(row), |row| row);
    let total = groups.total.filter(|_| page.is_first()).map(|mut total| {
        costs.all.insert_into(&mut total);
        total
    });
    Ok(Some((page.ended(rows), total)))
}

/// All groups of a list, but for what their traces are.
#[derive(Debug)]
pub(super) struct Groups {
    /// Rows, each with the number that `pairs` know it by; none if no trace is known of it.
    pub(super) rows: Vec<(Option<u32>, Map<String, Value>)>,
    /// Row of the totals.
    pub(super) total: Option<Map<String, Value>>,
    /// Their traces.
    pub(super) pairs: Pairs,
}

impl Groups {
    /// Groups that SQL puts together; `None` if they are too many.
    async fn ask(
        reader: &Reader<'_>,
        query: &Query,
        rows: &str,
        total: Option<&str>,
        traces: &str,
    ) -> Result<Option<Self>, QueryError> {
        let total = async {
            match total {
                Some(total) => Ok(reader.rows(total, 1).await?.into_iter().next()),
                None => Ok(None),
            }
        };
        let named = NamedPairs::read(reader, query, traces);
        let (rows, total, named) = futures::try_join!(reader.rows(rows, GROUPS_MAX + 1), total, named)?;
        let Some(named) = named.filter(|_| rows.len() <= GROUPS_MAX) else { return Ok(None) };
        let mut key = Vec::new();
        let numbered = rows.into_iter().map(|row| {
            write_key(&mut key, query.id.iter().map(|name| row.get(*name).and_then(Value::as_str)));
            (named.numbers.get(&key).copied(), row)
        });
        let rows = numbered.collect();
        Ok(Some(Self { rows, total, pairs: Pairs::new(named.pairs, named.numbers.len()) }))
    }
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
pub(super) struct Pairs {
    /// In order of trace, none twice.
    pairs: Vec<(TraceKey, u32)>,
    groups: usize,
}

impl Pairs {
    /// Puts pairs in order, of groups with numbers below `groups`.
    pub(super) fn new(mut pairs: Vec<(TraceKey, u32)>, groups: usize) -> Self {
        pairs.sort_unstable();
        // Identifiers that differ in upper and lower case are one trace to its sums.
        pairs.dedup();
        Self { pairs, groups }
    }

    /// Adds up what the traces cost. One may be told in parts; `costs` are in order of trace, from the first one again a few times.
    fn add_up(&self, costs: impl Iterator<Item = (TraceKey, Option<i128>)>) -> Costs {
        let traces = self.pairs.chunk_by(|(a, _), (b, _)| a == b).count() as i64;
        let mut all = Cost { traces, cost: None };
        let mut groups = vec![Cost::default(); self.groups];
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

/// Pairs of groups that are known by their names.
#[derive(Debug, Default)]
struct NamedPairs {
    /// Number of each group, by its key.
    numbers: HashMap<Vec<u8>, u32>,
    pairs: Vec<(TraceKey, u32)>,
}

impl NamedPairs {
    async fn read(reader: &Reader<'_>, query: &Query, sql: &str) -> Result<Option<Self>, QueryError> {
        let mut answer = reader.answer(sql, usize::MAX).await?;
        let mut named = Self::default();
        while let Some(batch) = answer.next().await? {
            named.add(&batch, query.id.len())?;
            if named.numbers.len() > GROUPS_MAX || named.pairs.len() > PAIRS_MAX {
                return Ok(None);
            }
        }
        Ok((!answer.stats().truncated).then_some(named))
    }

    fn add(&mut self, batch: &RecordBatch, id_columns: usize) -> Result<(), QueryError> {
        let texts: Vec<&StringArray> = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>()).collect();
        let Some((traces, ids)) = texts.split_last().filter(|(_, ids)| ids.len() == id_columns) else {
            return Err(QueryError::new(QueryErrorKind::Internal, "the traces of groups are not told by text"));
        };
        let mut key = Vec::new();
        for row in 0..batch.num_rows() {
            write_key(&mut key, ids.iter().map(|id| id.is_valid(row).then(|| id.value(row))));
            let group = match self.numbers.get(&key) {
                Some(group) => *group,
                None => {
                    let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
                    self.numbers.insert(key.clone(), next);
                    next
                }
            };
            self.pairs.push((trace_key_of(traces.value(row)), group));
        }
        Ok(())
    }
}

/// The values that name a group as one; NULL is not the empty text.
fn write_key<'a>(key: &mut Vec<u8>, values: impl Iterator<Item = Option<&'a str>>) {
    key.clear();
    for value in values {
        key.extend(value.map_or(usize::MAX, str::len).to_le_bytes());
        key.extend(value.unwrap_or_default().as_bytes());
    }
}
