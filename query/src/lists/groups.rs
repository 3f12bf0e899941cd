//! Lists of sessions and users: their steps are read once, and what they add up to gives both the page and the totals. By SQL, each of these
//! reads and groups all steps anew, and to tell the traces of each group apart takes longer than all else.
//!
//! ```text
//! steps (SQL) ── runs of one trace and group ── sums of the groups ─┬─ the rows of the page
//!                                                                   └─ totals
//! ```
//! The rows of a trace stand together in a file, so that a group is looked up once for each run of rows, not for each row.

use std::collections::{HashMap, HashSet};

use arrow::{
    array::{Array, AsArray as _, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};
use assay_schemas::table::MONEY_SCALE;
use assay_storage::{TraceKey, trace_key_of};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};
use twox_hash::XxHash3_128;

use super::{
    PAIRS_MAX,
    page::{Key, Page, Place, Rows},
    queries::Group,
};
use crate::{
    error::{QueryError, QueryErrorKind},
    format::decimal_text,
    traces::{Reader, off_async},
    views::FAILED,
};

/// Groups that are added up in memory at most, some 200 bytes each.
pub(super) const ADDED_UP_MAX: usize = 500_000;

/// The page, and the totals if it is the first one; `None` if there are too many groups or traces for memory, if the page is in an order
/// that is not known here, or if the steps are not stored here: then ask the SQL.
///
/// # Errors
/// As the questions it asks.
pub(super) async fn list(
    reader: &Reader<'_>,
    group: &'static Group,
    page: &Page,
) -> Result<Option<(Rows, Option<Map<String, Value>>)>, QueryError> {
    let Some(key) = Sum::key_of(page.sorted_by()).filter(|_| !reader.is_stored_elsewhere()) else { return Ok(None) };
    let Some((range, wanted)) = page.groups_wanted() else { return Ok(None) };
    let _turn = reader.sums_turn().await;
    let Some(steps) = read(reader, group, range, wanted).await? else { return Ok(None) };
    let added_up = steps.add_up().await?;
    let place = |(id, sum): &(&str, &Sum)| Place { key: key(sum), id: vec![(*id).to_owned()] };
    let rows = page.of_all(added_up.groups(), place, |(id, sum)| {
        let mut row = sum.row(group);
        row.insert(group.column.to_owned(), id.into());
        row
    });
    let rows = match group.is_added_up {
        true => rows,
        false => page.named(reader, group.column, rows).await?,
    };
    let totals = page.is_first().then(|| added_up.totals(group));
    Ok(Some((page.ended(rows), totals)))
}

/// Reads the steps in `range` of the groups `wanted` (all if `None`).
async fn read(
    reader: &Reader<'_>,
    group: &Group,
    range: &str,
    wanted: Option<&HashSet<Box<str>>>,
) -> Result<Option<Steps>, QueryError> {
    let column = group.column;
    let distinct = group.distinct.map_or("CAST(NULL AS VARCHAR)", |(column, _)| column);
    let sql = format!(
        "SELECT {column}, {distinct}, trace_id, start_time, {FAILED}, counted, cost_source = 'unpriced', input_tokens, output_tokens, cost_usd\n\
         FROM steps WHERE {range} AND {column} IS NOT NULL"
    );
    let mut answer = reader.answer(&sql, usize::MAX).await?;
    let mut steps = Steps::default();
    while let Some(batch) = answer.next().await? {
        steps.add(&Columns::of(&batch)?, wanted);
        if steps.groups.len() > ADDED_UP_MAX || steps.traces.len() > PAIRS_MAX || steps.distinct.len() > PAIRS_MAX {
            return Ok(None);
        }
    }
    Ok((!answer.stats().truncated).then_some(steps))
}

/// What the steps of a group add up to.
#[derive(Clone, Debug)]
struct Sum {
    /// Start of the first step, microseconds since 1970.
    first: i64,
    /// Start of the last step.
    last: i64,
    /// Counted once all steps are known.
    traces: i64,
    /// Values of the distinct column, likewise.
    distinct: i64,
    calls: i64,
    errors: i64,
    unpriced_calls: i64,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    /// In 10⁻¹⁵ US dollars.
    cost: Option<i128>,
}

impl Sum {
    const NONE: Self = Self {
        first: i64::MAX,
        last: i64::MIN,
        traces: 0,
        distinct: 0,
        calls: 0,
        errors: 0,
        unpriced_calls: 0,
        input_tokens: None,
        output_tokens: None,
        cost: None,
    };

    /// How a page ordered by `column` orders groups; `None` if that is not among the sums.
    fn key_of(column: &str) -> Option<fn(&Self) -> Option<Key>> {
        Some(match column {
            "first_time" => |sum| Some(Key::Integer(sum.first)),
            "last_time" => |sum| Some(Key::Integer(sum.last)),
            "sessions" => |sum| Some(Key::Integer(sum.distinct)),
            "traces" => |sum| Some(Key::Integer(sum.traces)),
            "llm_calls" => |sum| Some(Key::Integer(sum.calls)),
            "errors" => |sum| Some(Key::Integer(sum.errors)),
            "unpriced_calls" => |sum| Some(Key::Integer(sum.unpriced_calls)),
            "input_tokens" => |sum| sum.input_tokens.map(Key::Integer),
            "output_tokens" => |sum| sum.output_tokens.map(Key::Integer),
            "cost_usd" => |sum| sum.cost.map(Key::Money),
            _ => return None,
        })
    }

    fn add(&mut self, columns: &Columns<'_>, row: usize) {
        let start = columns.starts[row];
        self.first = self.first.min(start);
        self.last = self.last.max(start);
        self.errors += i64::from(is_true(columns.failed, row));
        if !is_true(columns.counted, row) {
            return;
        }
        self.calls += 1;
        self.unpriced_calls += i64::from(is_true(columns.unpriced, row));
        let known = |array: &Int64Array| array.is_valid(row).then(|| array.value(row));
        add_known(&mut self.input_tokens, known(columns.input_tokens), i64::wrapping_add);
        add_known(&mut self.output_tokens, known(columns.output_tokens), i64::wrapping_add);
        add_known(&mut self.cost, columns.costs.is_valid(row).then(|| columns.costs.value(row)), i128::wrapping_add);
    }

    /// What is the same for one group and for all of them together.
    fn numbers(&self, group: &Group) -> Map<String, Value> {
        let mut row = Map::new();
        let mut insert = |name: &str, value: Value| row.insert(name.to_owned(), value);
        if let Some((_, name)) = group.distinct {
            insert(name, self.distinct.into());
        }
        insert("traces", self.traces.into());
        insert("llm_calls", self.calls.into());
        insert("errors", self.errors.into());
        insert("unpriced_calls", self.unpriced_calls.into());
        insert("input_tokens", self.input_tokens.into());
        insert("output_tokens", self.output_tokens.into());
        insert("cost_usd", self.cost.map_or(Value::Null, |cost| decimal_text(cost, MONEY_SCALE).into()));
        row
    }

    fn row(&self, group: &Group) -> Map<String, Value> {
        let time = |micros| {
            DateTime::from_timestamp_micros(micros).map_or(Value::Null, |t| t.to_rfc3339_opts(SecondsFormat::Micros, true).into())
        };
        let mut row = self.numbers(group);
        row.insert("first_time".to_owned(), time(self.first));
        row.insert("last_time".to_owned(), time(self.last));
        row
    }
}

fn is_true(values: &BooleanArray, row: usize) -> bool {
    values.is_valid(row) && values.value(row)
}

/// `None` is "unknown": it adds nothing, and the sum of nothing known is unknown, as in SQL, where sums wrap too.
fn add_known<T: Copy>(sum: &mut Option<T>, value: Option<T>, add: fn(T, T) -> T) {
    if let Some(value) = value {
        *sum = Some(sum.map_or(value, |sum| add(sum, value)));
    }
}

/// The steps read so far.
#[derive(Debug, Default)]
struct Steps {
    /// Number of each group by its name; none if it is not wanted.
    numbers: HashMap<Box<str>, Option<u32>>,
    groups: Vec<Sum>,
    /// Each trace with each of its groups, more than once where its rows do not stand together.
    traces: Vec<(TraceKey, u32)>,
    /// Likewise each value of the distinct column, by 128 bits of its hash.
    distinct: Vec<(u128, u32)>,
}

impl Steps {
    fn add(&mut self, columns: &Columns<'_>, wanted: Option<&HashSet<Box<str>>>) {
        let mut group = None;
        for row in 0..columns.starts.len() {
            let same = |texts: &StringArray| row > 0 && is_repeated(texts, row);
            let (same_group, same_trace, same_distinct) = (same(columns.groups), same(columns.traces), same(columns.distinct));
            if !same_group {
                group = self.number(columns.groups.value(row), wanted);
            }
            let Some(group) = group else { continue };
            if !(same_group && same_trace) && columns.traces.is_valid(row) {
                self.traces.push((trace_key_of(columns.traces.value(row)), group));
            }
            if !(same_group && same_distinct) && columns.distinct.is_valid(row) {
                self.distinct.push((XxHash3_128::oneshot(columns.distinct.value(row).as_bytes()), group));
            }
            self.groups[group as usize].add(columns, row);
        }
    }

    fn number(&mut self, name: &str, wanted: Option<&HashSet<Box<str>>>) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = wanted.is_none_or(|wanted| wanted.contains(name)).then(|| {
            self.groups.push(Sum::NONE);
            self.groups.len() as u32 - 1
        });
        self.numbers.insert(name.into(), number);
        number
    }

    /// Tells traces and distinct values apart. CPU-bound, so it is done off the async threads.
    async fn add_up(mut self) -> Result<AddedUp, QueryError> {
        let work = move || {
            let traces = count_once(self.traces, |group| self.groups[group].traces += 1);
            let distinct = count_once(self.distinct, |group| self.groups[group].distinct += 1);
            AddedUp { numbers: self.numbers, groups: self.groups, traces, distinct }
        };
        off_async(work).await
    }
}

/// Calls `each` with the group of each pair, equal pairs once, and returns how many different values the pairs have.
fn count_once<T: Ord>(mut pairs: Vec<(T, u32)>, mut each: impl FnMut(usize)) -> i64 {
    pairs.sort_unstable();
    pairs.dedup();
    pairs.iter().for_each(|(_, group)| each(*group as usize));
    pairs.chunk_by(|(a, _), (b, _)| a == b).count() as i64
}

/// Whether the row has the text of the row before it.
fn is_repeated(texts: &StringArray, row: usize) -> bool {
    match (texts.is_valid(row - 1), texts.is_valid(row)) {
        (true, true) => texts.value(row - 1) == texts.value(row),
        (before, now) => before == now,
    }
}

/// All groups.
#[derive(Debug)]
struct AddedUp {
    numbers: HashMap<Box<str>, Option<u32>>,
    groups: Vec<Sum>,
    /// Traces that have a step in one of them.
    traces: i64,
    /// Different values of the distinct column.
    distinct: i64,
}

impl AddedUp {
    fn groups(&self) -> impl Iterator<Item = (&str, &Sum)> {
        self.numbers.iter().filter_map(|(name, number)| Some((&**name, &self.groups[(*number)? as usize])))
    }

    fn totals(&self, group: &Group) -> Map<String, Value> {
        let mut all = Sum { traces: self.traces, distinct: self.distinct, ..Sum::NONE };
        for sum in &self.groups {
            all.calls += sum.calls;
            all.errors += sum.errors;
            all.unpriced_calls += sum.unpriced_calls;
            add_known(&mut all.input_tokens, sum.input_tokens, i64::wrapping_add);
            add_known(&mut all.output_tokens, sum.output_tokens, i64::wrapping_add);
            add_known(&mut all.cost, sum.cost, i128::wrapping_add);
        }
        let mut totals = all.numbers(group);
        totals.insert("rows".to_owned(), self.groups.len().into());
        totals
    }
}

/// The columns of a batch of steps, in the order of [`read`].
#[derive(Debug)]
struct Columns<'a> {
    groups: &'a StringArray,
    distinct: &'a StringArray,
    traces: &'a StringArray,
    starts: &'a [i64],
    failed: &'a BooleanArray,
    counted: &'a BooleanArray,
    unpriced: &'a BooleanArray,
    input_tokens: &'a Int64Array,
    output_tokens: &'a Int64Array,
    costs: &'a Decimal128Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, QueryError> {
        Self::read(batch.columns().iter().map(AsRef::as_ref))
            .ok_or_else(|| QueryError::new(QueryErrorKind::Internal, "the columns of steps are not those asked for"))
    }

    fn read(mut columns: impl Iterator<Item = &'a dyn Array>) -> Option<Self> {
        Some(Self {
            groups: columns.next()?.as_string_opt()?,
            distinct: columns.next()?.as_string_opt()?,
            traces: columns.next()?.as_string_opt()?,
            starts: columns.next()?.as_primitive_opt::<TimestampMicrosecondType>()?.values(),
            failed: columns.next()?.as_boolean_opt()?,
            counted: columns.next()?.as_boolean_opt()?,
            unpriced: columns.next()?.as_boolean_opt()?,
            input_tokens: columns.next()?.as_primitive_opt::<Int64Type>()?,
            output_tokens: columns.next()?.as_primitive_opt::<Int64Type>()?,
            costs: columns.next()?.as_primitive_opt::<Decimal128Type>()?,
        })
    }
}
