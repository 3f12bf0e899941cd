//! Rows to one Parquet file: sorted for its readers, laid out as the schema says, with what is known about it.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray as _, RecordBatch, new_null_array},
    compute::{interleave, max, max_string, min, min_string},
    datatypes::{DataType, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};
use assay_schemas::{
    table::{Column, Layout},
    tables::TableId,
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties, WriterVersion},
    schema::types::ColumnPath,
};

use super::{
    conversations::repeats_itself,
    file::{ColumnStats, StatValue, stats_columns},
    order::{FileOrder, sort_order},
};
use bytes::Bytes;

use crate::{
    text_index::{self, TextCollector},
    trace_index::{RunCollector, TraceRun},
    trace_sums::SumCollector,
};

/// A row group ends after so many bytes of rows, not after a number of rows: rows with prompts can be megabytes.
const ROW_GROUP_BYTES: u64 = 64 << 20;
/// Rows are gathered and handed to the writer in slices of about so many bytes.
const SLICE_BYTES: u64 = 4 << 20;
const SLICE_ROWS_MAX: usize = 8192;
/// From so many rows on, a run that came in order is written without copying it.
const RUN_ROWS: usize = 128;
/// Pages are small so that one trace can be read without its neighbours.
const PAGE_BYTES: usize = 256 << 10;
const PAGE_ROWS: usize = 4096;
/// Pages of payload: a page is compressed by itself, and prompts have much in common. Reading one row inflates one page.
const PAYLOAD_PAGE_BYTES: usize = 1 << 20;
/// Pages of payload whose rows repeat their predecessors, as the calls of a conversation do. Such a page inflates some five times as
/// fast, and each page pays for the conversation's beginning anew.
const CONVERSATION_PAGE_BYTES: usize = 4 << 20;
/// Text longer than this has no statistics.
const STAT_TEXT_MAX: usize = 64;
const BLOOM_FPP: f64 = 0.005;
/// These are the folder the file lies in, not columns of the file.
pub(crate) const PARTITION_COLUMNS: [&str; 2] = ["project_id", "date"];

/// How much work goes into the payload columns, which are most of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A flush, which ingest waits for when it is behind: zstd 1. Such a file is soon merged with others.
    Quick,
    /// A merge, off the hot path: zstd 3.
    Thorough,
}

/// A Parquet file in memory.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) parquet: Vec<u8>,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) stats: Vec<ColumnStats>,
    /// Runs of rows of one trace, for tables that are sorted by trace.
    pub(crate) runs: Option<Vec<TraceRun>>,
    /// What the traces add up to, for `spans`: the content of the file of sums.
    pub(crate) sums: Option<Bytes>,
    /// Which rows can hold a text, for `spans` that are merged: the content of the text index.
    pub(crate) text: Option<Bytes>,
}

/// Rows could not be encoded: a bug, or no memory.
#[derive(Debug, thiserror::Error)]
#[error("could not encode rows of `{table}` as Parquet")]
pub struct EncodeError {
    table: &'static str,
    source: parquet::errors::ParquetError,
}

/// Columns of the Parquet files of `table`: all but the partition columns, which a [`super::DataFile`] says.
#[must_use]
pub fn file_schema(table: TableId) -> SchemaRef {
    let fields =
        table.schema().fields().iter().filter(|f| !PARTITION_COLUMNS.contains(&f.name().as_str())).cloned().collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

/// Whether files of `table` keep the rows of a trace together.
pub(crate) fn grouped_by_trace(table: TableId) -> bool {
    matches!(table, TableId::Spans | TableId::Logs | TableId::CostLines)
}

/// Sorts the rows of `batches` (columns of [`file_schema`], others behind them; in any order of rows) and encodes them as one file. CPU-bound.
pub(crate) fn encode(table: TableId, batches: &[RecordBatch], effort: Effort) -> Result<Encoded, EncodeError> {
    let failed = |source| EncodeError { table: table.name(), source };
    let FileOrder { rows: order, traces } = sort_order(table, batches);
    let rows = order.len();
    let batch_bytes: u64 = batches.iter().map(|b| b.get_array_memory_size() as u64).sum();
    let row_bytes = (batch_bytes / rows.max(1) as u64).max(1);
    let slice_rows = usize::try_from(SLICE_BYTES / row_bytes).unwrap_or(1).clamp(16, SLICE_ROWS_MAX);

    let schema = schema_of(table, batches);
    let empty = EmptyColumns::of(&schema, batches);
    // Half, compressed, is usual. What is not written to is not memory, but growing would copy the file several times.
    let expected_bytes = usize::try_from(batch_bytes / 2).unwrap_or(0);
    let conversations = conversation_columns(table, batches, &order, &empty);
    let properties = writer_properties(table, traces, row_bytes, effort, empty.names(&schema), &conversations);
    let mut writer =
        ArrowWriter::try_new(Vec::with_capacity(expected_bytes), Arc::clone(&schema), Some(properties)).map_err(failed)?;
    let mut stats = StatsCollector::new(table);
    let mut runs = grouped_by_trace(table).then(RunCollector::default);
    let mut sums = (table == TableId::Spans).then(SumCollector::default);
    // What a flush writes is soon merged with others, and made an index for if it is searched before.
    let indexed = table == TableId::Spans && effort == Effort::Thorough && rows as u64 >= text_index::ROWS_MIN;
    let mut text = indexed.then(TextCollector::default);
    let mut raw_bytes = 0;
    let mut group_bytes = 0;
    let mut rest = &*order;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(next_part(rest, slice_rows));
        rest = after;
        let slice = gather(&schema, batches, part, &empty).map_err(|e| failed(e.into()))?;
        stats.add(&slice);
        if let Some(runs) = &mut runs {
            collect_runs(&slice, runs);
        }
        if let Some(sums) = &mut sums {
            sums.add(&slice);
        }
        if let Some(text) = &mut text {
            text.add(&slice);
        }
        let bytes = bytes_of(&slice).map_err(|e| failed(e.into()))?;
        raw_bytes += bytes;
        group_bytes += bytes;
        writer.write(&slice).map_err(failed)?;
        if group_bytes >= ROW_GROUP_BYTES {
            writer.flush().map_err(failed)?;
            group_bytes = 0;
        }
    }
    let parquet = writer.into_inner().map_err(failed)?;
    let sums = sums.map(SumCollector::encode).transpose().map_err(failed)?;
    let (runs, text) = (runs.map(RunCollector::finish), text.map(TextCollector::encode));
    Ok(Encoded { parquet, rows: rows as u64, raw_bytes, stats: stats.finish(), runs, sums, text })
}

/// `batch` without the partition columns.
pub(crate) fn without_partition_columns(batch: &RecordBatch) -> RecordBatch {
    let keep: Vec<usize> = (0..batch.num_columns())
        .filter(|idx| !PARTITION_COLUMNS.contains(&batch.schema_ref().field(*idx).name().as_str()))
        .collect();
    batch.project(&keep).expect("the indices come from the batch")
}

/// [`file_schema`], and what the batches have behind it.
fn schema_of(table: TableId, batches: &[RecordBatch]) -> SchemaRef {
    let known = file_schema(table);
    match batches.first() {
        Some(first) if first.num_columns() > known.fields().len() => {
            let later = first.schema_ref().fields().iter().skip(known.fields().len());
            Arc::new(Schema::new(known.fields().iter().chain(later).cloned().collect::<Vec<_>>()))
        }
        _ => known,
    }
}

/// Which columns of a file hold nothing but NULL: most of those that describe model calls, where no model is called. They have as
/// many pages as others, so nothing is spent on them.
struct EmptyColumns(Vec<bool>);

impl EmptyColumns {
    fn of(schema: &Schema, batches: &[RecordBatch]) -> Self {
        let is_empty = |idx: usize| batches.iter().all(|batch| batch.column(idx).null_count() == batch.num_rows());
        Self((0..schema.fields().len()).map(is_empty).collect())
    }

    fn names<'a>(&'a self, schema: &'a Schema) -> impl Iterator<Item = &'a str> {
        schema.fields().iter().zip(&self.0).filter(|(_, is_empty)| **is_empty).map(|(field, _)| field.name().as_str())
    }
}

/// How many of the rows `rest` are written at once: a run that came in order, as most do, or else the rows up to the next one.
fn next_part(rest: &[(usize, usize)], rows_max: usize) -> usize {
    let run = |rows: &[(usize, usize)]| {
        let (batch, first) = rows[0];
        rows.iter().enumerate().take(rows_max).take_while(|(nth, row)| **row == (batch, first + nth)).count()
    };
    let first = run(rest);
    if first >= RUN_ROWS {
        return first;
    }
    let mut rows = first;
    while rows < rest.len().min(rows_max) {
        match run(&rest[rows..]) {
            long if long >= RUN_ROWS => break,
            short => rows += short,
        }
    }
    rows.min(rows_max)
}

/// The rows `part` of `batches`. A run that came in order is not copied.
fn gather(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    part: &[(usize, usize)],
    empty: &EmptyColumns,
) -> Result<RecordBatch, ArrowError> {
    let (batch, first) = part[0];
    let in_order = part.iter().enumerate().all(|(nth, row)| *row == (batch, first + nth));
    let columns = schema.fields().iter().zip(&empty.0).enumerate().map(|(idx, (field, is_empty))| {
        if *is_empty {
            return Ok(new_null_array(field.data_type(), part.len()));
        }
        if in_order {
            return Ok(batches[batch].column(idx).slice(first, part.len()));
        }
        let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(idx).as_ref()).collect();
        interleave(&arrays, part)
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// Bytes of the values in `slice`, without those around it in shared buffers.
fn bytes_of(slice: &RecordBatch) -> Result<u64, ArrowError> {
    slice.columns().iter().map(|column| Ok(column.to_data().get_slice_memory_size()? as u64)).sum()
}

fn writer_properties<'a>(
    table: TableId,
    traces: Option<u64>,
    row_bytes: u64,
    effort: Effort,
    empty: impl Iterator<Item = &'a str>,
    conversations: &[&str],
) -> WriterProperties {
    let payload_level = match effort {
        Effort::Quick => 1,
        Effort::Thorough => 3,
    };
    let zstd = |level| Compression::ZSTD(ZstdLevel::try_new(level).expect("a valid level"));
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("assay ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(zstd(1))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        // The writer looks at the size of a page only so often.
        .set_write_batch_size((PAGE_BYTES / usize::try_from(row_bytes).unwrap_or(PAGE_BYTES)).clamp(32, 1024))
        .set_max_row_group_row_count(None)
        .set_statistics_truncate_length(Some(STAT_TEXT_MAX))
        .set_column_index_truncate_length(Some(STAT_TEXT_MAX))
        .set_statistics_enabled(EnabledStatistics::Page);
    for column in table.columns() {
        let path = ColumnPath::from(column.name);
        properties = match (column.layout, &column.data_type) {
            (Layout::Payload, _) => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_data_page_size_limit(
                    path.clone(),
                    if conversations.contains(&column.name) { CONVERSATION_PAGE_BYTES } else { PAYLOAD_PAGE_BYTES },
                )
                .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
                .set_column_compression(path, zstd(payload_level)),
            // The smallest JSON document says nothing about the others.
            _ if column.json => properties
                .set_column_dictionary_enabled(path.clone(), column.layout == Layout::Dictionary)
                .set_column_statistics_enabled(path, EnabledStatistics::None),
            (_, DataType::Int64 | DataType::Timestamp(..)) => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            (Layout::Plain, DataType::Utf8 | DataType::Float64) => properties.set_column_dictionary_enabled(path, false),
            _ => properties,
        };
    }
    for name in empty {
        let path = ColumnPath::from(name);
        properties =
            properties.set_column_dictionary_enabled(path.clone(), false).set_column_compression(path, Compression::UNCOMPRESSED);
    }
    if let Some(traces) = traces {
        let path = ColumnPath::from("trace_id");
        properties = properties
            .set_column_bloom_filter_enabled(path.clone(), true)
            .set_column_bloom_filter_fpp(path.clone(), BLOOM_FPP)
            .set_column_bloom_filter_max_ndv(path, traces.max(1));
    }
    properties.build()
}

/// The payload columns that hold conversations.
fn conversation_columns(
    table: TableId,
    batches: &[RecordBatch],
    order: &[(usize, usize)],
    empty: &EmptyColumns,
) -> Vec<&'static str> {
    let schema = file_schema(table);
    let payload = table.columns().iter().filter(|column| column.layout == Layout::Payload);
    let is_conversation = |column: &&Column| {
        let idx = schema.index_of(column.name).expect("payload columns are in the file");
        !empty.0[idx] && repeats_itself(batches, idx, order)
    };
    payload.filter(is_conversation).map(|column| column.name).collect()
}

fn collect_runs(slice: &RecordBatch, runs: &mut RunCollector) {
    for trace in column(slice, "trace_id").as_string::<i32>() {
        runs.push(trace);
    }
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).expect("batches have the columns of their table")
}

/// Smallest and largest values over slices.
struct StatsCollector {
    columns: Vec<(&'static Column, ColumnStats)>,
}

impl StatsCollector {
    fn new(table: TableId) -> Self {
        let empty = |column: &'static Column| (column, ColumnStats { column: column.name, min: None, max: None, null_count: 0 });
        Self { columns: stats_columns(table).map(empty).collect() }
    }

    fn add(&mut self, slice: &RecordBatch) {
        for (description, stat) in &mut self.columns {
            let array = column(slice, description.name);
            stat.null_count += array.null_count() as u64;
            let (low, high) = range(array);
            stat.min = [stat.min.take(), low].into_iter().flatten().min();
            stat.max = stat.max.take().max(high);
        }
    }

    fn finish(self) -> Vec<ColumnStats> {
        let too_long = |value: &Option<StatValue>| matches!(value, Some(StatValue::Text(t)) if t.len() > STAT_TEXT_MAX);
        self.columns
            .into_iter()
            .map(|(_, mut stat)| {
                if too_long(&stat.min) || too_long(&stat.max) {
                    (stat.min, stat.max) = (None, None);
                }
                stat
            })
            .collect()
    }
}

fn range(array: &ArrayRef) -> (Option<StatValue>, Option<StatValue>) {
    match array.data_type() {
        DataType::Int64 => {
            let array = array.as_primitive::<Int64Type>();
            (min(array).map(StatValue::Int), max(array).map(StatValue::Int))
        }
        DataType::Timestamp(..) => {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            (min(array).map(StatValue::Int), max(array).map(StatValue::Int))
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            let text = |t: &str| StatValue::Text(t.into());
            (min_string(array).map(text), max_string(array).map(text))
        }
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests;
