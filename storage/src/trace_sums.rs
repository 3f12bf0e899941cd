//! What the spans of a trace add up to: times, counts, tokens, cost. One [`TraceSum`] for each trace and file, in a small file beside the
//! trace index, so that a list of traces by cost or a strip over a week reads one row for each trace instead of all its spans.
//!
//! Sums of one trace from several files and from the hot buffer are put together with [`TraceSum::add`]; every field is a count, a sum, a
//! smallest or a largest, so the order does not matter and the result is exact, however compaction groups the rows. A reader that is asked
//! for a range of time takes the sums of traces that lie in it ([`TraceSum::start_ns`] to [`TraceSum::last_start_ns`]) and reads the rows of
//! the few that cross its ends; it does the same for traces with corrections that are pending.
//!
//! `lake-index/spans/<name of the Parquet file>.sums` is itself Parquet, its rows in the order of the trace index of the same file. It can
//! be lost: it is then rebuilt from the file.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray},
    compute::concat_batches,
    datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
};

use crate::trace_index::{TraceKeys, trace_key};

/// A trace as 16 bytes: its 32 hex digits, which is what every trace identifier of `spans` is.
pub type TraceKey = [u8; 16];

/// The key of a trace identifier.
#[must_use]
pub fn trace_key_of(trace_id: &str) -> TraceKey {
    trace_key(trace_id)
}

/// Columns of `spans` that sums are made of.
pub(crate) const SOURCE_COLUMNS: [&str; 12] = [
    "trace_id",
    "start_time",
    "start_time_ns_part",
    "duration_ns",
    "pending",
    "status_code",
    "error_type",
    "counted",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "cost_source",
];

/// What some spans of one trace add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceSum {
    /// Start of the earliest span, nanoseconds since 1970.
    pub start_ns: i64,
    /// Start of the latest span, nanoseconds since 1970.
    pub last_start_ns: i64,
    /// End of the span that ends last, nanoseconds since 1970.
    pub end_ns: i64,
    /// Spans, without those that only announce one (`pending`).
    pub spans: i64,
    /// Spans that failed: their status is `ERROR`, or they have an `error_type`.
    pub errors: i64,
    /// Counted calls.
    pub calls: i64,
    /// Counted calls whose model has no price.
    pub unpriced_calls: i64,
    /// Prompt tokens of the counted calls; `None` if no call says.
    pub input_tokens: Option<i64>,
    /// Answer tokens of the counted calls; `None` if no call says.
    pub output_tokens: Option<i64>,
    /// Cost of the counted calls in 10⁻¹⁵ US dollars; `None` if none is priced.
    pub cost: Option<i128>,
}

impl TraceSum {
    /// Adds what other spans of the same trace add up to.
    pub fn add(&mut self, other: &Self) {
        self.start_ns = self.start_ns.min(other.start_ns);
        self.last_start_ns = self.last_start_ns.max(other.last_start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
        self.spans += other.spans;
        self.errors += other.errors;
        self.calls += other.calls;
        self.unpriced_calls += other.unpriced_calls;
        self.input_tokens = sum(self.input_tokens, other.input_tokens, i64::wrapping_add);
        self.output_tokens = sum(self.output_tokens, other.output_tokens, i64::wrapping_add);
        self.cost = sum(self.cost, other.cost, i128::wrapping_add);
    }
}

/// `None` is "unknown": it adds nothing, and the sum of nothing known is unknown, as in SQL, where sums wrap too.
fn sum<T>(a: Option<T>, b: Option<T>, add: fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (a, b) => a.or(b),
    }
}

/// The rows of a batch of `spans`, each as the sum of itself.
#[derive(Debug)]
pub struct SpanSums<'a> {
    traces: &'a StringArray,
    starts: &'a [i64],
    start_parts: &'a [i64],
    durations: &'a [i64],
    /// Files of older versions lack it.
    pendings: Option<&'a BooleanArray>,
    statuses: &'a StringArray,
    error_types: &'a StringArray,
    counted: &'a BooleanArray,
    input_tokens: &'a Int64Array,
    output_tokens: &'a Int64Array,
    costs: &'a Decimal128Array,
    cost_sources: &'a StringArray,
}

impl<'a> SpanSums<'a> {
    /// Reads `batch`, which has the columns `trace_id`, `start_time`, `start_time_ns_part`, `duration_ns`, `status_code`, `error_type`,
    /// `counted`, `input_tokens`, `output_tokens`, `cost_usd` and `cost_source` of `spans`, and `pending` if the file has it; corrections applied.
    ///
    /// # Panics
    /// If one of them is missing or has another type.
    #[must_use]
    pub fn new(batch: &'a RecordBatch) -> Self {
        let column = |name: &str| batch.column_by_name(name).expect("a column of spans");
        Self {
            traces: column("trace_id").as_string(),
            starts: column("start_time").as_primitive::<TimestampMicrosecondType>().values(),
            start_parts: column("start_time_ns_part").as_primitive::<Int64Type>().values(),
            durations: column("duration_ns").as_primitive::<Int64Type>().values(),
            pendings: batch.column_by_name("pending").map(|pending| pending.as_boolean()),
            statuses: column("status_code").as_string(),
            error_types: column("error_type").as_string(),
            counted: column("counted").as_boolean(),
            input_tokens: column("input_tokens").as_primitive(),
            output_tokens: column("output_tokens").as_primitive(),
            costs: column("cost_usd").as_primitive(),
            cost_sources: column("cost_source").as_string(),
        }
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The trace of a row.
    #[must_use]
    pub fn trace_id(&self, row: usize) -> &'a str {
        self.traces.value(row)
    }

    /// What the row adds to its trace.
    #[must_use]
    pub fn row(&self, row: usize) -> TraceSum {
        let start_ns = self.starts[row].wrapping_mul(1000).wrapping_add(self.start_parts[row]);
        let counted = self.counted.value(row);
        let known = |array: &Int64Array| (counted && array.is_valid(row)).then(|| array.value(row));
        let pending = self.pendings.is_some_and(|pending| pending.is_valid(row) && pending.value(row));
        let failed = self.statuses.value(row) == "ERROR" || self.error_types.is_valid(row);
        let unpriced = counted && self.cost_sources.is_valid(row) && self.cost_sources.value(row) == "unpriced";
        TraceSum {
            start_ns,
            last_start_ns: start_ns,
            end_ns: start_ns.wrapping_add(self.durations[row]),
            spans: i64::from(!pending),
            errors: i64::from(failed),
            calls: i64::from(counted),
            unpriced_calls: i64::from(unpriced),
            input_tokens: known(self.input_tokens),
            output_tokens: known(self.output_tokens),
            cost: (counted && self.costs.is_valid(row)).then(|| self.costs.value(row)),
        }
    }
}

/// The traces of one file with their sums.
#[derive(Clone, Debug)]
pub struct FileSums {
    pub(crate) traces: TraceKeys,
    pub(crate) sums: Arc<TraceSums>,
}

impl FileSums {
    /// Traces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sums.columns.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The trace at `idx`; traces are in order of their keys.
    ///
    /// # Panics
    /// If `idx` is not less than [`FileSums::len`], as the functions below.
    #[must_use]
    pub fn key(&self, idx: usize) -> TraceKey {
        self.traces.get(idx)
    }

    /// Start of the earliest and of the latest span of the trace at `idx`, nanoseconds since 1970.
    #[must_use]
    pub fn starts(&self, idx: usize) -> (i64, i64) {
        let start = self.sums.columns.starts.value(idx);
        (start, start.wrapping_add(self.sums.columns.last_starts.value(idx)))
    }

    /// What the file has of the trace at `idx`.
    #[must_use]
    pub fn sum(&self, idx: usize) -> TraceSum {
        self.sums.get(idx)
    }
}

/// The sums of one file, in the order of its trace index.
#[derive(Debug)]
pub(crate) struct TraceSums {
    columns: Columns,
    bytes: usize,
}

impl TraceSums {
    fn get(&self, idx: usize) -> TraceSum {
        let c = &self.columns;
        let start_ns = c.starts.value(idx);
        TraceSum {
            start_ns,
            last_start_ns: start_ns.wrapping_add(c.last_starts.value(idx)),
            end_ns: start_ns.wrapping_add(c.durations.value(idx)),
            spans: c.spans.value(idx),
            errors: c.errors.value(idx),
            calls: c.calls.value(idx),
            unpriced_calls: c.unpriced_calls.value(idx),
            input_tokens: c.input_tokens.is_valid(idx).then(|| c.input_tokens.value(idx)),
            output_tokens: c.output_tokens.is_valid(idx).then(|| c.output_tokens.value(idx)),
            cost: c.costs.is_valid(idx).then(|| c.costs.value(idx)),
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Adds up the rows of a file as they come.
#[derive(Debug, Default)]
pub(crate) struct SumCollector {
    sums: Vec<(TraceKey, TraceSum)>,
    current: String,
}

impl SumCollector {
    /// Adds the rows of `slice`, which has the columns that [`SpanSums`] needs.
    pub(crate) fn add(&mut self, slice: &RecordBatch) {
        let rows = SpanSums::new(slice);
        for row in 0..rows.len() {
            let (trace_id, sum) = (rows.trace_id(row), rows.row(row));
            match self.sums.last_mut() {
                Some((_, last)) if trace_id == self.current => last.add(&sum),
                _ => {
                    trace_id.clone_into(&mut self.current);
                    self.sums.push((trace_key(trace_id), sum));
                }
            }
        }
    }

    /// The content of the file of sums: one row for each trace, by key.
    pub(crate) fn encode(self) -> Result<Bytes, ParquetError> {
        // Keys are sorted alone: sums are large to move.
        let mut order: Vec<(TraceKey, usize)> = self.sums.iter().map(|(key, _)| *key).zip(0..).collect();
        order.sort_unstable();
        let mut sums: Vec<TraceSum> = Vec::with_capacity(order.len());
        let mut before = None;
        for (key, nth) in order {
            let sum = &self.sums[nth].1;
            match sums.last_mut() {
                Some(kept) if before == Some(key) => kept.add(sum),
                _ => sums.push(*sum),
            }
            before = Some(key);
        }
        let batch = Columns::of(sums.iter()).batch();
        let zstd = Compression::ZSTD(ZstdLevel::try_new(1)?);
        let properties = WriterProperties::builder()
            .set_compression(zstd)
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BINARY_PACKED)
            .set_column_encoding("cost".into(), Encoding::PLAIN)
            .set_statistics_enabled(EnabledStatistics::None)
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        Ok(writer.into_inner()?.into())
    }
}

/// Reads the content of a file of sums; `None` if it is damaged or does not have `traces` rows.
pub(crate) fn decode(content: Bytes, traces: usize) -> Option<TraceSums> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(content).ok()?.with_batch_size(traces.max(1)).build().ok()?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().ok()?;
    let batch = concat_batches(&schema(), &batches).ok()?;
    let sums = TraceSums { bytes: batch.get_array_memory_size(), columns: Columns::from_batch(&batch)? };
    (sums.columns.starts.len() == traces).then_some(sums)
}

/// The content of the file of sums of a data file. CPU-bound.
pub(crate) fn rebuild(content: Bytes) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(content)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), SOURCE_COLUMNS);
    let mut sums = SumCollector::default();
    for batch in builder.with_projection(mask).build()? {
        sums.add(&batch?);
    }
    Ok(sums.encode()?)
}

#[derive(Debug)]
struct Columns {
    starts: Int64Array,
    /// From the start of the earliest span.
    last_starts: Int64Array,
    /// From the start of the earliest span.
    durations: Int64Array,
    spans: Int64Array,
    errors: Int64Array,
    calls: Int64Array,
    unpriced_calls: Int64Array,
    input_tokens: Int64Array,
    output_tokens: Int64Array,
    costs: Decimal128Array,
}

impl Columns {
    fn of<'a>(sums: impl Iterator<Item = &'a TraceSum> + Clone) -> Self {
        let column = |value: fn(&TraceSum) -> i64| sums.clone().map(value).collect::<Vec<_>>().into();
        let optional = |value: fn(&TraceSum) -> Option<i64>| sums.clone().map(value).collect();
        let costs: Decimal128Array = sums.clone().map(|s| s.cost).collect();
        Self {
            starts: column(|s| s.start_ns),
            last_starts: column(|s| s.last_start_ns.wrapping_sub(s.start_ns)),
            durations: column(|s| s.end_ns.wrapping_sub(s.start_ns)),
            spans: column(|s| s.spans),
            errors: column(|s| s.errors),
            calls: column(|s| s.calls),
            unpriced_calls: column(|s| s.unpriced_calls),
            input_tokens: optional(|s| s.input_tokens),
            output_tokens: optional(|s| s.output_tokens),
            costs: costs.with_data_type(COST),
        }
    }

    fn batch(self) -> RecordBatch {
        let ints = [
            self.starts,
            self.last_starts,
            self.durations,
            self.spans,
            self.errors,
            self.calls,
            self.unpriced_calls,
            self.input_tokens,
            self.output_tokens,
        ];
        let mut columns: Vec<ArrayRef> = ints.into_iter().map(|array| Arc::new(array) as ArrayRef).collect();
        columns.push(Arc::new(self.costs));
        RecordBatch::try_new(schema(), columns).expect("the columns are those of the schema, one row for each sum")
    }

    fn from_batch(batch: &RecordBatch) -> Option<Self> {
        let int = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>().cloned();
        Some(Self {
            starts: int("start_ns")?,
            last_starts: int("last_start_offset_ns")?,
            durations: int("duration_ns")?,
            spans: int("spans")?,
            errors: int("failed")?,
            calls: int("calls")?,
            unpriced_calls: int("unpriced_calls")?,
            input_tokens: int("input_tokens")?,
            output_tokens: int("output_tokens")?,
            costs: batch.column_by_name("cost")?.as_primitive_opt::<Decimal128Type>().cloned()?,
        })
    }
}

const COST: DataType = DataType::Decimal128(38, 15);

fn schema() -> SchemaRef {
    let int = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
    let mut fields: Vec<Field> =
        // Other names than those of an older version say that the numbers mean something else: its files are added up anew.
        ["start_ns", "last_start_offset_ns", "duration_ns", "spans", "failed", "calls", "unpriced_calls"]
            .map(|name| int(name, false))
            .into();
    fields.extend([int("input_tokens", true), int("output_tokens", true), Field::new("cost", COST, true)]);
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests;
