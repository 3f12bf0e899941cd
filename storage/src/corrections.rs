//! Corrections to spans that were already written: what a late child, a duplicate or a late log event changes about them.
//!
//! A correction is a row of `span_corrections`: a span and new values for some columns. Until its span's file is rewritten, every
//! read applies it ([`CorrectionSet::apply`]); later positions win. Applying one twice changes nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray as _, BooleanArray, Decimal128Array, RecordBatch, StringArray},
    compute::interleave,
    datatypes::{DataType, Int64Type},
};
use assay_schemas::{ids::ProjectId, table::Money, tables::TableId};
use rust_decimal::Decimal;
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

/// One correction.
#[derive(Debug)]
pub(crate) struct Correction {
    pub(crate) position: u64,
    /// Day of the row, days since 1970.
    pub(crate) date: i32,
    pub(crate) trace_id: Box<str>,
    pub(crate) span_id: Box<str>,
    patch: serde_json::Map<String, Value>,
}

impl Correction {
    /// Reads the corrections of a batch of `span_corrections`, all of one day. A patch that is not a JSON object corrects nothing and is logged.
    pub(crate) fn read(batch: &RecordBatch, date: i32) -> Vec<Arc<Self>> {
        let column = |name: &str| batch.column_by_name(name).expect("a column of span_corrections");
        let positions = column("wal_position").as_primitive::<Int64Type>();
        let traces = column("trace_id").as_string::<i32>();
        let spans = column("span_id").as_string::<i32>();
        let patches = column("patch").as_string::<i32>();
        let read = |row| match serde_json::from_str(patches.value(row)) {
            Ok(patch) => Some(Arc::new(Self {
                position: positions.value(row).cast_unsigned(),
                date,
                trace_id: traces.value(row).into(),
                span_id: spans.value(row).into(),
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

/// The corrections of one project that are not yet folded into the files.
#[derive(Debug, Default)]
pub struct CorrectionSet {
    by_span: HashMap<u64, Vec<Arc<Correction>>>,
    len: usize,
}

impl CorrectionSet {
    pub(crate) fn new(corrections: impl IntoIterator<Item = Arc<Correction>>) -> Self {
        let mut set = Self::default();
        for correction in corrections {
            set.len += 1;
            set.by_span.entry(span_key(&correction.span_id)).or_default().push(correction);
        }
        for same_key in set.by_span.values_mut() {
            same_key.sort_by_key(|c| c.position);
        }
        set
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

    /// Traces of the spans that are corrected; one that has several corrections comes several times.
    pub fn traces(&self) -> impl Iterator<Item = &str> {
        self.by_span.values().flatten().map(|correction| &*correction.trace_id)
    }

    /// `batch` of `table` with the corrections of its rows applied to whichever patchable columns it has. Only `spans` and
    /// `cost_lines` are corrected. `batch` must hold `trace_id` and `span_id`; without them it is returned as it is.
    ///
    /// Cost: one hash lookup per row; columns are copied only if a row of them changes.
    #[must_use]
    pub fn apply(&self, table: TableId, batch: &RecordBatch) -> RecordBatch {
        self.apply_noting(table, batch, &mut HashSet::new())
    }

    /// As [`CorrectionSet::apply`]; adds the spans found to `matched`.
    pub(crate) fn apply_noting(&self, table: TableId, batch: &RecordBatch, matched: &mut HashSet<SpanKey>) -> RecordBatch {
        let patchable = match table {
            TableId::Spans => PATCHABLE,
            TableId::CostLines => PATCHABLE_COST_LINE,
            _ => return batch.clone(),
        };
        let hits = self.hits(batch);
        if hits.is_empty() {
            return batch.clone();
        }
        matched.extend(hits.iter().flat_map(|(_, corrections)| corrections.iter().map(|c| SpanKey::of(c))));
        let mut columns = batch.columns().to_vec();
        for (idx, field) in batch.schema_ref().fields().iter().enumerate() {
            if patchable.contains(&field.name().as_str()) {
                columns[idx] = patched(&columns[idx], field.name(), &hits);
            }
        }
        RecordBatch::try_new(batch.schema(), columns).expect("patched columns keep type and length")
    }

    /// Rows that have corrections.
    fn hits<'a>(&'a self, batch: &RecordBatch) -> Vec<(usize, Vec<&'a Correction>)> {
        let text = |name| batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<StringArray>());
        let (Some(traces), Some(spans)) = (text("trace_id"), text("span_id")) else { return Vec::new() };
        let mut hits = Vec::new();
        for row in 0..batch.num_rows() {
            if spans.is_null(row) || traces.is_null(row) {
                continue;
            }
            let Some(same_key) = self.by_span.get(&span_key(spans.value(row))) else { continue };
            let corrections: Vec<&Correction> = same_key
                .iter()
                .map(Arc::as_ref)
                .filter(|c| *c.trace_id == *traces.value(row) && *c.span_id == *spans.value(row))
                .collect();
            if !corrections.is_empty() {
                hits.push((row, corrections));
            }
        }
        hits
    }
}

/// A span, as a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SpanKey {
    trace_id: Box<str>,
    span_id: Box<str>,
}

impl SpanKey {
    pub(crate) fn new(trace_id: &str, span_id: &str) -> Self {
        Self { trace_id: trace_id.into(), span_id: span_id.into() }
    }

    pub(crate) fn trace_id(&self) -> &str {
        &self.trace_id
    }

    pub(crate) fn of(correction: &Correction) -> Self {
        Self { trace_id: correction.trace_id.clone(), span_id: correction.span_id.clone() }
    }
}

/// The corrections of all projects at one moment.
pub(crate) type CorrectionsByProject = HashMap<ProjectId, Arc<CorrectionSet>>;

/// Span ids are 16 hex digits; anything else shares a key, which costs only time.
fn span_key(span_id: &str) -> u64 {
    u64::from_str_radix(span_id, 16).unwrap_or(0)
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

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn money_of(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    text.parse().or_else(|_| Decimal::from_scientific(&text)).ok()
}

#[cfg(test)]
mod tests;
