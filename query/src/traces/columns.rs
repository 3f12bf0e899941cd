//! A trace for a page that draws it: columns instead of rows, so that 100 000 spans are a few megabytes of JSON and no object is made
//! for each. Texts that repeat are sent once; parents are places in the list; previews and payloads are left to other questions.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayRef, AsArray as _, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int32Type, Int64Type},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Reader, TraceSummary, summary_sql};
use crate::{
    error::{QueryError, QueryErrorKind},
    filter::quoted,
    format::{Cell, write_json},
};

/// Spans of a trace that are given at most.
pub(crate) const SPANS_MAX: usize = 200_000;
/// A parent that no span of the list has: the span is a root, or its parent was not received.
const NO_PARENT: i32 = -1;
const PARENT_NOT_RECEIVED: i32 = -2;

/// A trace with its spans as columns.
#[derive(Debug, Serialize, ToSchema)]
pub struct TraceColumns {
    /// The trace as a whole.
    pub trace: TraceSummary,
    /// Its spans in order of start; at most 200 000.
    pub spans: SpanColumns,
    /// Log records that belong to the trace.
    pub logs_count: i64,
    /// Whether there are more spans than are given.
    pub truncated: bool,
    /// SQL that gives the spans.
    pub sql: String,
    /// SQL that gives the numbers of the trace as a whole.
    pub summary_sql: String,
}

/// Spans as columns. A place in a column is a span; what a column says is documented at the table `spans`.
#[derive(Debug, Default, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the columns are those of `spans` and documented there")]
pub struct SpanColumns {
    /// Number of spans.
    pub count: u32,
    /// Start of the earliest span, nanoseconds since 1970, as text.
    pub start_unix_nano: String,
    /// Identifiers, 16 hex digits each, one after the other.
    pub span_ids: String,
    /// Place of the parent in the list; -1: a root, -2: the parent was not received.
    pub parents: Vec<i32>,
    /// Nanoseconds since the earliest span.
    pub start_ns: Vec<i64>,
    pub duration_ns: Vec<i64>,
    /// Spans that were announced and have not ended: their duration is not known.
    pub running: Vec<u32>,
    /// Spans whose usage counts.
    pub counted: Vec<u32>,
    pub name: TextColumn,
    pub span_kind: TextColumn,
    pub operation: TextColumn,
    pub service_name: TextColumn,
    pub scope_name: TextColumn,
    pub status_code: TextColumn,
    pub error_type: TextColumn,
    pub provider: TextColumn,
    pub request_model: TextColumn,
    pub response_model: TextColumn,
    pub tool_name: TextColumn,
    pub tool_call_id: TextColumn,
    pub agent_name: TextColumn,
    pub uncounted_reason: TextColumn,
    pub cost_source: TextColumn,
    /// US dollars as decimal text.
    pub cost_usd: TextColumn,
    pub input_tokens: NumberColumn,
    pub output_tokens: NumberColumn,
    pub cache_read_tokens: NumberColumn,
    pub cache_write_tokens: NumberColumn,
    pub reasoning_tokens: NumberColumn,
    pub time_to_first_token_ns: NumberColumn,
    pub event_count: NumberColumn,
}

/// Texts of those spans that have one.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct TextColumn {
    /// Places of the spans that have a value; left out if all have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<u32>>,
    /// The different values.
    pub words: Vec<String>,
    /// For each of those spans, the place of its value in `words`.
    pub values: Vec<u32>,
}

/// Numbers of those spans that have one.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct NumberColumn {
    /// Places of the spans that have a value; left out if all have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<u32>>,
    /// Their values.
    pub values: Vec<i64>,
}

/// The trace `trace_id`, as columns.
///
/// # Errors
/// A [`QueryError`] of kind `NotFound` if no span of it was received.
pub(crate) async fn columns(reader: &Reader<'_>, trace_id: &str) -> Result<TraceColumns, QueryError> {
    let condition = format!("trace_id = {}", quoted(trace_id));
    let sql = format!(
        "SELECT span_id, parent_span_id, arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part AS start_unix_nano, duration_ns, counted, \
         {}, {}\nFROM spans\nWHERE {condition}\nORDER BY start_unix_nano, span_id",
        TEXTS.join(", "),
        NUMBERS.join(", ")
    );
    let (summary_sql, logs_sql) = (summary_sql(&condition), format!("SELECT count(*) AS n FROM logs WHERE {condition}"));
    let (mut summary, batches, logs) =
        futures::try_join!(reader.summaries(&summary_sql, 1), reader.batches(&sql, SPANS_MAX + 1), reader.rows(&logs_sql, 1))?;
    let Some(trace) = summary.pop().filter(|_| batches.iter().any(|batch| batch.num_rows() > 0)) else {
        return Err(QueryError::new(QueryErrorKind::NotFound, format!("no trace `{trace_id}`")).found(trace_id));
    };
    let mut builder = Builder::default();
    for batch in &batches {
        builder.add(batch)?;
    }
    let truncated = builder.spans.count as usize > SPANS_MAX;
    let announced = if builder.has_instants { announced(reader, &condition).await? } else { HashMap::new() };
    let logs_count = logs.first().and_then(|row| row["n"].as_i64()).unwrap_or(0);
    Ok(TraceColumns { trace, spans: builder.finish(&announced), logs_count, truncated, sql, summary_sql })
}

/// Text columns, in the order of the query.
const TEXTS: [&str; 16] = [
    "name",
    "span_kind",
    "operation",
    "service_name",
    "scope_name",
    "status_code",
    "error_type",
    "provider",
    "request_model",
    "response_model",
    "tool_name",
    "tool_call_id",
    "agent_name",
    "uncounted_reason",
    "cost_source",
    "cost_usd",
];
/// Number columns, in the order of the query.
const NUMBERS: [&str; 7] = [
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "time_to_first_token_ns",
    "event_count",
];

impl SpanColumns {
    fn texts(&mut self) -> [&mut TextColumn; 16] {
        [
            &mut self.name,
            &mut self.span_kind,
            &mut self.operation,
            &mut self.service_name,
            &mut self.scope_name,
            &mut self.status_code,
            &mut self.error_type,
            &mut self.provider,
            &mut self.request_model,
            &mut self.response_model,
            &mut self.tool_name,
            &mut self.tool_call_id,
            &mut self.agent_name,
            &mut self.uncounted_reason,
            &mut self.cost_source,
            &mut self.cost_usd,
        ]
    }

    fn numbers(&mut self) -> [&mut NumberColumn; 7] {
        [
            &mut self.input_tokens,
            &mut self.output_tokens,
            &mut self.cache_read_tokens,
            &mut self.cache_write_tokens,
            &mut self.reasoning_tokens,
            &mut self.time_to_first_token_ns,
            &mut self.event_count,
        ]
    }
}

/// Announcements of spans that may still run: identifier of the announcement → parent of the span that it announces, if it has one.
///
/// The Logfire SDK sends one when a span starts: a span of no duration with an identifier of its own, as a child of the span it
/// announces, whose parent stands in an attribute.
async fn announced(reader: &Reader<'_>, condition: &str) -> Result<HashMap<String, Option<String>>, QueryError> {
    let sql = format!(
        "SELECT span_id, json_get_str(attributes, 'logfire.pending_parent_id') AS parent FROM spans WHERE {condition} AND {ANNOUNCEMENT}"
    );
    let rows = reader.rows(&sql, SPANS_MAX).await?;
    let text = |row: &serde_json::Map<String, serde_json::Value>, key: &str| row[key].as_str().map(str::to_owned);
    Ok(rows
        .iter()
        .filter_map(|row| Some((text(row, "span_id")?, text(row, "parent").filter(|id| id.bytes().any(|digit| digit != b'0')))))
        .collect())
}

/// Rows of `spans` that announce another span rather than being one.
pub(crate) const ANNOUNCEMENT: &str = "duration_ns = 0 AND json_get_str(attributes, 'logfire.span_type') = 'pending_span'";

#[derive(Default)]
struct Builder {
    spans: SpanColumns,
    ids: Vec<String>,
    parent_ids: Vec<Option<String>>,
    starts: Vec<i64>,
    /// Whether a span has no duration, as announcements have none.
    has_instants: bool,
    words: [HashMap<String, u32>; TEXTS.len()],
}

impl Builder {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let first = self.spans.count;
        let places = first..first + u32::try_from(batch.num_rows()).expect("rows are limited");
        let ids = as_text(batch.column(0))?;
        let ids = ids.as_string::<i32>();
        let parents = as_text(batch.column(1))?;
        let parents = parents.as_string::<i32>();
        self.ids.extend(ids.iter().map(|id| id.unwrap_or_default().to_owned()));
        self.parent_ids.extend(parents.iter().map(|id| id.map(str::to_owned)));
        self.starts.extend_from_slice(integers(batch.column(2))?.as_primitive::<Int64Type>().values());
        let durations = integers(batch.column(3))?;
        let durations = durations.as_primitive::<Int64Type>().values();
        self.has_instants |= durations.contains(&0);
        self.spans.duration_ns.extend_from_slice(durations);
        let counted = batch.column(4).as_boolean();
        self.spans
            .counted
            .extend(places.clone().zip(counted.iter()).filter(|(_, counted)| *counted == Some(true)).map(|(at, _)| at));
        for (idx, column) in self.spans.texts().into_iter().enumerate() {
            add_texts(column, &mut self.words[idx], batch.column(5 + idx), first)?;
        }
        for (idx, column) in self.spans.numbers().into_iter().enumerate() {
            add_numbers(column, batch.column(5 + TEXTS.len() + idx), first)?;
        }
        self.spans.count = places.end;
        Ok(())
    }

    fn finish(mut self, announced: &HashMap<String, Option<String>>) -> SpanColumns {
        let (count, earliest) = (self.ids.len(), self.starts.first().copied().unwrap_or(0));
        // A span that has arrived takes the place of its announcement; of several announcements of a span the first stands.
        let mut known: HashMap<&str, u32> = HashMap::with_capacity(count);
        let place = |at: usize| u32::try_from(at).expect("rows are limited");
        for (at, id) in self.ids.iter().enumerate().filter(|(_, id)| !announced.contains_key(*id)) {
            known.entry(id).or_insert(place(at));
        }
        let mut gone = vec![false; count];
        let mut running = Vec::new();
        for (at, (id, span)) in self.ids.iter().zip(&self.parent_ids).enumerate() {
            let Some(parent) = announced.get(id) else { continue };
            match span.as_deref() {
                Some(span) if !known.contains_key(span) => {
                    known.insert(span, place(at));
                    running.push((at, parent.clone()));
                }
                _ => gone[at] = true,
            }
        }
        let ended = |at: usize, running: &[(usize, Option<String>)]| running.binary_search_by_key(&at, |(at, _)| *at).ok();
        let kept: Vec<usize> = (0..count).filter(|at| !gone[*at]).take(SPANS_MAX).collect();
        let mut moved = vec![None; count];
        for (to, from) in kept.iter().enumerate() {
            moved[*from] = Some(place(to));
        }
        let (mut span_ids, mut parents) = (String::with_capacity(kept.len() * 16), Vec::with_capacity(kept.len()));
        for &at in &kept {
            let announcement = ended(at, &running);
            let (id, parent) = match announcement {
                Some(idx) => (self.parent_ids[at].as_deref().unwrap_or_default(), running[idx].1.as_deref()),
                None => (self.ids[at].as_str(), self.parent_ids[at].as_deref()),
            };
            span_ids.push_str(id);
            parents.push(match parent.map(|id| known.get(id).and_then(|at| moved[*at as usize])) {
                None => NO_PARENT,
                Some(None) => PARENT_NOT_RECEIVED,
                Some(Some(at)) => i32::try_from(at).expect("rows are limited"),
            });
        }
        let mut spans = std::mem::take(&mut self.spans);
        spans.running = running.iter().filter_map(|(at, _)| moved[*at]).collect();
        if kept.len() < count {
            spans.keep(&kept, &moved);
        }
        spans.start_ns = kept.iter().map(|at| self.starts[*at] - earliest).collect();
        spans.count = place(kept.len());
        (spans.span_ids, spans.parents, spans.start_unix_nano) = (span_ids, parents, earliest.to_string());
        spans
    }
}

impl SpanColumns {
    /// Leaves out the rows that are not in `kept`; `moved` has the new place of each old one.
    fn keep(&mut self, kept: &[usize], moved: &[Option<u32>]) {
        let place = |at: &u32| moved[*at as usize];
        self.duration_ns = kept.iter().map(|at| self.duration_ns[*at]).collect();
        self.counted = self.counted.iter().filter_map(place).collect();
        for column in self.texts() {
            keep_values(&mut column.rows, &mut column.values, moved);
        }
        for column in self.numbers() {
            keep_values(&mut column.rows, &mut column.values, moved);
        }
    }
}

fn keep_values<T: Copy>(rows: &mut Option<Vec<u32>>, values: &mut Vec<T>, moved: &[Option<u32>]) {
    match rows {
        None => *values = values.iter().zip(moved).filter(|(_, at)| at.is_some()).map(|(value, _)| *value).collect(),
        Some(rows) => {
            let left: Vec<_> =
                rows.iter().zip(values.iter()).filter_map(|(row, value)| Some((moved[*row as usize]?, *value))).collect();
            (*rows, *values) = left.into_iter().unzip();
        }
    }
}

/// From here on the column says which rows have a value.
fn sparse(rows: &mut Option<Vec<u32>>, before: usize) -> &mut Vec<u32> {
    rows.get_or_insert_with(|| (0..u32::try_from(before).expect("rows are limited")).collect())
}

fn add_texts(column: &mut TextColumn, words: &mut HashMap<String, u32>, array: &ArrayRef, first: u32) -> Result<(), QueryError> {
    let array = if matches!(array.data_type(), DataType::Decimal128(..)) { money_as_text(array) } else { array.clone() };
    let array = convert(&array, &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)))?;
    let array = array.as_dictionary::<Int32Type>();
    let own = array.values().as_string::<i32>();
    // Words of the batch that no row has are not taken over.
    let mut codes: Vec<Option<u32>> = vec![None; own.len()];
    for (at, key) in (first..).zip(array.keys()) {
        let Some(key) = key.and_then(|key| usize::try_from(key).ok()).filter(|key| own.is_valid(*key)) else {
            sparse(&mut column.rows, column.values.len());
            continue;
        };
        let code = *codes[key].get_or_insert_with(|| {
            let next = u32::try_from(column.words.len()).expect("rows are limited");
            *words.entry(own.value(key).to_owned()).or_insert_with(|| {
                column.words.push(own.value(key).to_owned());
                next
            })
        });
        if let Some(rows) = &mut column.rows {
            rows.push(at);
        }
        column.values.push(code);
    }
    Ok(())
}

fn add_numbers(column: &mut NumberColumn, array: &ArrayRef, first: u32) -> Result<(), QueryError> {
    let array = integers(array)?;
    for (at, value) in (first..).zip(array.as_primitive::<Int64Type>()) {
        let Some(value) = value else {
            sparse(&mut column.rows, column.values.len());
            continue;
        };
        if let Some(rows) = &mut column.rows {
            rows.push(at);
        }
        column.values.push(value);
    }
    Ok(())
}

/// Money as the SQL API writes it: no trailing zeros.
fn money_as_text(array: &ArrayRef) -> ArrayRef {
    let cell = Cell::of(array.as_ref());
    let texts = (0..array.len()).map(|row| {
        let mut out = Vec::new();
        write_json(&mut out, &cell, row);
        let text = String::from_utf8(out).unwrap_or_default();
        (text != "null").then(|| text.trim_matches('"').to_owned())
    });
    std::sync::Arc::new(texts.collect::<arrow::array::StringArray>())
}

fn as_text(array: &ArrayRef) -> Result<ArrayRef, QueryError> {
    convert(array, &DataType::Utf8)
}

fn integers(array: &ArrayRef) -> Result<ArrayRef, QueryError> {
    convert(array, &DataType::Int64)
}

fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, QueryError> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    cast(array.as_ref(), to)
        .map_err(|error| QueryError::new(QueryErrorKind::Internal, format!("a column is not of the type expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(rows: &[(&str, Option<&str>, i64)]) -> Builder {
        Builder {
            ids: rows.iter().map(|(id, ..)| (*id).to_owned()).collect(),
            parent_ids: rows.iter().map(|(_, parent, _)| parent.map(str::to_owned)).collect(),
            starts: rows.iter().map(|(.., start)| *start).collect(),
            spans: SpanColumns {
                count: 0,
                duration_ns: rows.iter().map(|_| 0).collect(),
                name: TextColumn { rows: None, words: vec!["x".into()], values: vec![0; rows.len()] },
                ..SpanColumns::default()
            },
            ..Builder::default()
        }
    }

    #[test]
    fn parents_are_places_and_what_is_missing_is_said() {
        let got = spans(&[("a", None, 5), ("b", Some("a"), 6), ("c", Some("z"), 7)]).finish(&HashMap::new());
        assert_eq!((got.parents.as_slice(), got.start_ns.as_slice()), ([-1, 0, -2].as_slice(), [0, 1, 2].as_slice()));
        assert_eq!(got.span_ids, "abc");
    }

    #[test]
    fn an_announced_span_runs_until_it_arrives_and_is_never_there_twice() {
        let announced = HashMap::from([("p".to_owned(), None), ("q".to_owned(), Some("a".to_owned()))]);
        let rows = [("p", Some("a"), 0), ("q", Some("b"), 1), ("c", Some("b"), 2)];
        let got = spans(&rows).finish(&announced);
        assert_eq!((got.span_ids.as_str(), got.running.as_slice()), ("abc", [0, 1].as_slice()));
        assert_eq!(got.parents, [-1, 0, 1]);

        let rows = [("a", None, 0), ("p", Some("a"), 0), ("q", Some("b"), 1), ("c", Some("b"), 2)];
        let got = spans(&rows).finish(&announced);
        assert_eq!((got.span_ids.as_str(), got.running.as_slice(), got.count), ("abc", [1].as_slice(), 3));
        assert_eq!((got.parents.as_slice(), got.name.values.len(), got.duration_ns.len()), ([-1, 0, 1].as_slice(), 3, 3));
    }

    #[test]
    fn a_text_column_names_rows_only_where_some_have_none() {
        let (mut column, mut words) = (TextColumn::default(), HashMap::new());
        let array = |values: &[Option<&str>]| -> ArrayRef {
            std::sync::Arc::new(values.iter().copied().collect::<arrow::array::StringViewArray>())
        };
        add_texts(&mut column, &mut words, &array(&[Some("x"), Some("y"), Some("x")]), 0).unwrap();
        assert_eq!((&column.rows, column.values.as_slice()), (&None, [0, 1, 0].as_slice()));
        add_texts(&mut column, &mut words, &array(&[None, Some("y")]), 3).unwrap();
        assert_eq!((column.rows, column.values), (Some(vec![0, 1, 2, 4]), vec![0, 1, 0, 1]));
        assert_eq!(column.words, ["x", "y"]);
    }
}
