//! Corrections to rows that were already written: what a late child, a duplicate or a late log event changes about a span, and what a
//! new price changes about a span or a log record.
//!
//! A correction is a row of `span_corrections`: a row and new values for some columns. Until the file of that row is rewritten, every
//! read applies it ([`CorrectionSet::apply`]); the later one wins. Applying one twice changes nothing.
//!
//! One that changes what only a later version of Assay knows is applied as far as it is understood, and stays where it is, with all of its row: the
//! later version folds them in.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray as _, BooleanArray, Decimal128Array, RecordBatch, StringArray},
    compute::interleave,
    datatypes::{DataType, Int64Type, TimestampMicrosecondType},
};
use assay_schemas::{ids::ProjectId, table::Money, tables::TableId};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Columns of `spans` that a correction may change.
pub const PATCHABLE: &[&str] = &[
    "counted",
    "uncounted_reason",
    "session_id",
    "user_id",
    "input_messages",
    "output_messages",
    "system_instructions",
    "tool_definitions",
    "input_preview",
    "output_preview",
    "finish_reasons",
    "response_id",
    "cost_usd",
    "cost_source",
];
/// Columns of `cost_lines` that a correction may change: its `cost_usd` is that of a line, not of the span.
const PATCHABLE_COST_LINE: &[&str] = &["counted"];
/// Columns of `logs` that a correction may change: what a record says stays, only its price is Assay's.
const PATCHABLE_LOG: &[&str] = &["cost_usd", "cost_source"];

/// Columns of `table` that a correction may change; none for most tables.
#[must_use]
pub fn patchable(table: TableId) -> &'static [&'static str] {
    match table {
        TableId::Spans => PATCHABLE,
        TableId::CostLines => PATCHABLE_COST_LINE,
        TableId::Logs => PATCHABLE_LOG,
        _ => &[],
    }
}

/// Columns of `table` by which corrections find their rows: to apply corrections, read them too.
#[must_use]
pub fn row_key_columns(table: TableId) -> &'static [&'static str] {
    match table {
        TableId::Logs => &["trace_id", "log_id"],
        _ => &["trace_id", "span_id"],
    }
}

/// One correction.
#[derive(Debug)]
pub(crate) struct Correction {
    /// Position in the log of the node that made it.
    pub(crate) position: u64,
    /// When the request that made it was received, microseconds since 1970.
    received_at: i64,
    /// Day of the row, days since 1970.
    pub(crate) date: i32,
    pub(crate) key: RowKey,
    patch: serde_json::Map<String, Value>,
}

impl Correction {
    /// What grows from a correction to a later one. Positions of several nodes say nothing about each other: then it is when it was received.
    pub(crate) fn order(&self, of_nodes: bool) -> (i64, u64) {
        (if of_nodes { self.received_at } else { 0 }, self.position)
    }

    /// The new value of `column`, if it has one.
    pub(crate) fn value(&self, column: &str) -> Option<&Value> {
        self.patch.get(column)
    }

    /// When the request that made it was received, microseconds since 1970, by the clock of the node that did.
    pub(crate) fn received_at_us(&self) -> i64 {
        self.received_at
    }

    /// Whether this version knows all that it changes.
    fn is_understood(&self) -> bool {
        let known = if self.key.is_log { PATCHABLE_LOG } else { PATCHABLE };
        self.patch.keys().all(|column| known.contains(&column.as_str()))
    }

    /// Reads the corrections of a batch of `span_corrections`, all of one day. A patch that is not a JSON object corrects nothing and is logged.
    pub(crate) fn read(batch: &RecordBatch, date: i32) -> Vec<Arc<Self>> {
        let column = |name: &str| batch.column_by_name(name).expect("a column of span_corrections");
        let positions = column("wal_position").as_primitive::<Int64Type>();
        let received = column("received_at").as_primitive::<TimestampMicrosecondType>();
        let traces = column("trace_id").as_string::<i32>();
        let spans = column("span_id").as_string::<i32>();
        let logs = column("log_id").as_string::<i32>();
        let patches = column("patch").as_string::<i32>();
        let read = |row| match serde_json::from_str(patches.value(row)) {
            Ok(patch) => Some(Arc::new(Self {
                position: positions.value(row).cast_unsigned(),
                received_at: received.value(row),
                date,
                key: RowKey::of_correction(traces.value(row), spans.value(row), logs.is_valid(row).then(|| logs.value(row))),
                patch,
            })),
            Err(error) => {
                tracing::error!(trace_id = traces.value(row), span_id = spans.value(row), %error, "a correction is not a JSON object");
                None
            }
        };
        (0..batch.num_rows()).filter_map(read).collect()
    }
}

/// Those of `corrections` whose rows have none that is not understood.
pub(crate) fn understood(corrections: &[Arc<Correction>]) -> Vec<Arc<Correction>> {
    let later: HashSet<&RowKey> = corrections.iter().filter(|c| !c.is_understood()).map(|c| &c.key).collect();
    if !later.is_empty() {
        tracing::info!(rows = later.len(), "corrections that a later version made wait for it");
    }
    corrections.iter().filter(|c| !later.contains(&c.key)).cloned().collect()
}

/// A correction as text.
#[derive(Deserialize, Serialize)]
struct Written {
    position: u64,
    received_at: i64,
    date: i32,
    is_log: bool,
    trace_id: Box<str>,
    id: Box<str>,
    patch: serde_json::Map<String, Value>,
}

/// The corrections of one project that are not yet folded into the files.
#[derive(Debug, Default)]
pub struct CorrectionSet {
    by_row: HashMap<u64, Vec<Arc<Correction>>>,
    len: usize,
    /// How many of them are of log records.
    n_logs: usize,
    /// Position of the first that is not understood.
    later_from: Option<u64>,
}

impl CorrectionSet {
    /// Corrections of one node: the one with the larger position in its log is the later one.
    pub(crate) fn new(corrections: impl IntoIterator<Item = Arc<Correction>>) -> Self {
        Self::ordered_by(corrections, |c| c.order(false))
    }

    /// Corrections of several nodes, whose positions say nothing about each other: the one that was received later is the later one.
    pub(crate) fn of_nodes(corrections: impl IntoIterator<Item = Arc<Correction>>) -> Self {
        Self::ordered_by(corrections, |c| c.order(true))
    }

    fn ordered_by(corrections: impl IntoIterator<Item = Arc<Correction>>, order: impl Fn(&Correction) -> (i64, u64)) -> Self {
        let mut set = Self::default();
        for correction in corrections {
            set.len += 1;
            set.n_logs += usize::from(correction.key.is_log);
            if !correction.is_understood() {
                set.later_from = set.later_from.into_iter().chain([correction.position]).min();
            }
            set.by_row.entry(number_of(&correction.key.id)).or_default().push(correction);
        }
        for same_key in set.by_row.values_mut() {
            same_key.sort_by_key(|c| order(c));
        }
        set
    }

    /// All of it as text, for another node: see [`CorrectionSet::from_text`].
    ///
    /// # Errors
    /// None that is known: the values are those that were read from JSON.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let written = |c: &Arc<Correction>| Written {
            position: c.position,
            received_at: c.received_at,
            date: c.date,
            is_log: c.key.is_log,
            trace_id: c.key.trace_id.clone(),
            id: c.key.id.clone(),
            patch: c.patch.clone(),
        };
        serde_json::to_string(&self.by_row.values().flatten().map(written).collect::<Vec<_>>())
    }

    /// The set whose [`CorrectionSet::to_text`] is `text`: what comes later for a row stays the later one.
    ///
    /// # Errors
    /// If `text` is no such text.
    pub fn from_text(text: &str) -> serde_json::Result<Self> {
        let written: Vec<Written> = serde_json::from_str(text)?;
        let read = |w: Written| {
            let key = RowKey { is_log: w.is_log, trace_id: w.trace_id, id: w.id };
            Arc::new(Correction { position: w.position, received_at: w.received_at, date: w.date, key, patch: w.patch })
        };
        Ok(Self::ordered_by(written.into_iter().map(read), |_| (0, 0)))
    }

    /// How many corrections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Up to here, all of what they change can be folded in; `u64::MAX` if it all can.
    pub(crate) fn understood_to(&self) -> u64 {
        self.later_from.map_or(u64::MAX, |position| position.saturating_sub(1))
    }

    /// Traces of the spans that are corrected; one that has several corrections comes several times.
    pub fn traces(&self) -> impl Iterator<Item = &str> {
        self.by_row.values().flatten().filter(|correction| !correction.key.is_log).map(|correction| correction.key.trace_id())
    }

    /// Whether a row of `table` may be among those corrected.
    #[must_use]
    pub fn concerns(&self, table: TableId) -> bool {
        match table {
            TableId::Logs => self.n_logs > 0,
            TableId::Spans | TableId::CostLines => self.n_logs < self.len,
            _ => false,
        }
    }

    /// `batch` of `table` with the corrections of its rows applied to whichever [`patchable`] columns it has. `batch` must hold the
    /// [`row_key_columns`]; without them it is returned as it is.
    ///
    /// Cost: one hash lookup per row; columns are copied only if a row of them changes.
    #[must_use]
    pub fn apply(&self, table: TableId, batch: &RecordBatch) -> RecordBatch {
        self.apply_noting(table, batch, &mut HashSet::new())
    }

    /// As [`CorrectionSet::apply`]; adds the rows found to `matched`, but for those with a correction that is not understood.
    pub(crate) fn apply_noting(&self, table: TableId, batch: &RecordBatch, matched: &mut HashSet<RowKey>) -> RecordBatch {
        if !self.concerns(table) {
            return batch.clone();
        }
        let hits = self.hits(table, batch);
        if hits.is_empty() {
            return batch.clone();
        }
        let patchable = patchable(table);
        let done = hits.iter().filter(|(_, corrections)| corrections.iter().all(|c| c.is_understood()));
        matched.extend(done.filter_map(|(_, corrections)| Some(corrections.first()?.key.clone())));
        let mut columns = batch.columns().to_vec();
        for (idx, field) in batch.schema_ref().fields().iter().enumerate() {
            if patchable.contains(&field.name().as_str()) {
                columns[idx] = patched(&columns[idx], field.name(), &hits);
            }
        }
        RecordBatch::try_new(batch.schema(), columns).expect("patched columns keep type and length")
    }

    /// Rows that have corrections.
    fn hits<'a>(&'a self, table: TableId, batch: &RecordBatch) -> Vec<(usize, Vec<&'a Correction>)> {
        let Some(keys) = RowKeys::of(table, batch) else { return Vec::new() };
        let mut hits = Vec::new();
        for row in 0..batch.num_rows() {
            let Some((trace_id, id)) = keys.at(row) else { continue };
            let Some(same_number) = self.by_row.get(&number_of(id)) else { continue };
            let corrections: Vec<&Correction> =
                same_number.iter().map(Arc::as_ref).filter(|c| c.key.is(keys.is_log, trace_id, id)).collect();
            if !corrections.is_empty() {
                hits.push((row, corrections));
            }
        }
        hits
    }
}

/// The row that a correction is about: a span with its cost lines, or a log record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowKey {
    is_log: bool,
    /// Empty for a log record without a trace.
    trace_id: Box<str>,
    /// `span_id` or `log_id`.
    id: Box<str>,
}

impl RowKey {
    /// From the columns of `span_corrections`.
    pub(crate) fn of_correction(trace_id: &str, span_id: &str, log_id: Option<&str>) -> Self {
        Self { is_log: log_id.is_some(), trace_id: trace_id.into(), id: log_id.unwrap_or(span_id).into() }
    }

    pub(crate) fn trace_id(&self) -> &str {
        &self.trace_id
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Trace and identifier as one text; those of spans and of log records differ in length.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.trace_id, self.id)
    }

    pub(crate) fn of(correction: &Correction) -> Self {
        correction.key.clone()
    }

    /// Whether rows of `table` can be meant.
    pub(crate) fn is_of(&self, table: TableId) -> bool {
        match table {
            TableId::Logs => self.is_log,
            TableId::Spans | TableId::CostLines => !self.is_log,
            _ => false,
        }
    }

    fn is(&self, is_log: bool, trace_id: &str, id: &str) -> bool {
        self.is_log == is_log && *self.id == *id && *self.trace_id == *trace_id
    }
}

/// The keys of the rows of one batch.
pub(crate) struct RowKeys<'a> {
    is_log: bool,
    traces: &'a StringArray,
    ids: &'a StringArray,
}

impl<'a> RowKeys<'a> {
    /// `None` if `batch` lacks one of the [`row_key_columns`] of `table`.
    pub(crate) fn of(table: TableId, batch: &'a RecordBatch) -> Option<Self> {
        let text = |name: &str| batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<StringArray>());
        let [trace_id, id] = row_key_columns(table) else { return None };
        Some(Self { is_log: table == TableId::Logs, traces: text(trace_id)?, ids: text(id)? })
    }

    /// Trace and identifier of a row; `None` if it has no identifier (cost lines of a log record have none of a span).
    fn at(&self, row: usize) -> Option<(&'a str, &'a str)> {
        let trace_id = if self.traces.is_null(row) { "" } else { self.traces.value(row) };
        (!self.ids.is_null(row)).then(|| (trace_id, self.ids.value(row)))
    }

    /// The keys of all rows that have one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = RowKey> + '_ {
        let key = |(trace_id, id): (&str, &str)| RowKey { is_log: self.is_log, trace_id: trace_id.into(), id: id.into() };
        (0..self.ids.len()).filter_map(move |row| self.at(row).map(key))
    }
}

/// The corrections of all projects at one moment.
pub(crate) type CorrectionsByProject = HashMap<ProjectId, Arc<CorrectionSet>>;

/// A number for the identifier: span ids are 16 hex digits, log ids 24. Whatever else there is shares a number, which costs only time.
fn number_of(id: &str) -> u64 {
    let (first, rest) = id.split_at_checked(16).unwrap_or((id, ""));
    let number = |digits: &str| u64::from_str_radix(digits, 16).unwrap_or(0);
    number(first).wrapping_add(number(rest))
}

/// `column` with the last value that a correction gives to `name` in each row of `hits`.
fn patched(column: &ArrayRef, name: &str, hits: &[(usize, Vec<&Correction>)]) -> ArrayRef {
    let values: Vec<(usize, &Value)> = hits
        .iter()
        .filter_map(|(row, corrections)| Some((*row, corrections.iter().rev().find_map(|c| c.patch.get(name))?)))
        .collect();
    if values.is_empty() {
        return Arc::clone(column);
    }
    let Some(news) = array_of(column.data_type(), values.iter().map(|(_, value)| *value)) else {
        return Arc::clone(column);
    };
    let mut indices: Vec<(usize, usize)> = (0..column.len()).map(|row| (0, row)).collect();
    for (nth, (row, _)) in values.iter().enumerate() {
        indices[*row] = (1, nth);
    }
    interleave(&[column.as_ref(), news.as_ref()], &indices).expect("both arrays have the column's type")
}

fn array_of<'a>(data_type: &DataType, values: impl Iterator<Item = &'a Value>) -> Option<ArrayRef> {
    match data_type {
        DataType::Utf8 => Some(Arc::new(values.map(text_of).collect::<StringArray>())),
        // A column that is never NULL stays so: what is not a boolean counts as false.
        DataType::Boolean => Some(Arc::new(values.map(|v| Some(v.as_bool().unwrap_or(false))).collect::<BooleanArray>())),
        DataType::Decimal128(precision, scale) => {
            let money = values.map(|v| money_of(v).map(Money::to_stored)).collect::<Decimal128Array>();
            money.with_precision_and_scale(*precision, *scale).ok().map(|array| Arc::new(array) as ArrayRef)
        }
        _ => None,
    }
}

pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

pub(crate) fn money_of(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    text.parse().or_else(|_| Decimal::from_scientific(&text)).ok()
}

#[cfg(test)]
mod tests;
