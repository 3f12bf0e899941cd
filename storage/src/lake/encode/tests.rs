//! Claims about a file: sorted for its readers, laid out as the schema says, summed up rightly.

use assay_schemas::{
    table::Row as _,
    tables::{LogRow, Origin, SpanRow},
};
use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    basic::Encoding,
    file::metadata::{PageIndexPolicy, ParquetMetaData},
};

use super::*;
use crate::{lake::file, trace_index::trace_key};

fn span(trace: u32, start: i64) -> SpanRow {
    let mut row = SpanRow {
        origin: Origin { project_id: "default".into(), wal_position: start + 100, ..Origin::default() },
        trace_id: format!("{trace:032x}"),
        span_id: format!("{start:016x}"),
        start_time: start,
        ..SpanRow::default()
    };
    std::sync::Arc::make_mut(&mut row.sender).service_name = (trace != 3).then(|| format!("service {trace}"));
    row.genai.input_messages = Some(format!("[\"{}\"]", "word ".repeat(start.unsigned_abs() as usize)));
    row
}

fn encoded(batches: &[RecordBatch]) -> Encoded {
    let batches: Vec<_> = batches.iter().map(without_partition_columns).collect();
    encode(TableId::Spans, &batches, Effort::Quick).unwrap()
}

fn rows(encoded: &Encoded) -> Vec<(String, i64)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(encoded.parquet.clone())).unwrap().build().unwrap();
    let of = |batch: RecordBatch| {
        let times = column(&batch, "start_time").as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let traces: Vec<_> = column(&batch, "trace_id").as_string::<i32>().iter().map(|t| t.unwrap().to_owned()).collect();
        traces.into_iter().zip(times).collect::<Vec<_>>()
    };
    reader.flat_map(|batch| of(batch.unwrap())).collect()
}

fn metadata(encoded: &Encoded) -> ParquetMetaData {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(encoded.parquet.clone()), options).unwrap();
    builder.metadata().as_ref().clone()
}

#[test]
fn a_trace_is_one_run_and_traces_come_by_their_first_start() {
    let batches = [SpanRow::batch([span(2, 30), span(1, 20)]), SpanRow::batch([span(1, 50), span(2, 10), span(3, 25)])];
    let encoded = encoded(&batches);
    let t = |trace: u32| format!("{trace:032x}");
    assert_eq!(rows(&encoded), [(t(2), 10), (t(2), 30), (t(1), 20), (t(1), 50), (t(3), 25)]);
    let runs = encoded.runs.unwrap();
    let found: Vec<_> = runs.iter().map(|r| (r.key, r.first_row, r.rows)).collect();
    assert_eq!(found, [(trace_key(&t(2)), 0, 2), (trace_key(&t(1)), 2, 2), (trace_key(&t(3)), 4, 1)]);
}

#[test]
fn traces_of_a_conversation_lie_together_for_an_hour() {
    const MINUTE: i64 = 60_000_000;
    let said = |session: Option<&str>, trace: u32, start: i64| {
        let mut row = span(trace, 0);
        row.start_time = start;
        row.genai.session_id = session.map(Into::into);
        row.genai.input_messages = None;
        row
    };
    let (a, b) = (Some("a"), Some("b"));
    let rows_of_talks = [
        said(a, 1, 0),
        said(b, 2, MINUTE),
        said(None, 3, 2 * MINUTE),
        said(a, 4, 3 * MINUTE),
        // Not every row of a trace says which conversation it is of.
        said(None, 5, 4 * MINUTE),
        said(b, 5, 5 * MINUTE),
        said(a, 6, 61 * MINUTE),
        said(b, 7, 60 * MINUTE),
    ];
    let order: Vec<String> = rows(&encoded(&[SpanRow::batch(rows_of_talks)])).into_iter().map(|(trace, _)| trace).collect();
    assert_eq!(order, [1, 4, 2, 5, 5, 3, 7, 6].map(|trace: u32| format!("{trace:032x}")));
}

#[test]
fn records_of_no_trace_stand_at_their_own_time() {
    let log = |trace: Option<u32>, time| LogRow { trace_id: trace.map(|t| format!("{t:032x}")), time, ..LogRow::default() };
    let batch = LogRow::batch([log(None, 30), log(Some(1), 40), log(None, 10), log(Some(1), 20)]);
    let encoded = encode(TableId::Logs, &[without_partition_columns(&batch)], Effort::Quick).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(encoded.parquet)).unwrap().build().unwrap();
    let times: Vec<i64> =
        reader.flat_map(|b| column(&b.unwrap(), "time").as_primitive::<TimestampMicrosecondType>().values().to_vec()).collect();
    assert_eq!(times, [10, 20, 40, 30]);
    assert_eq!(encoded.runs.unwrap().len(), 1);
}

#[test]
fn statistics_cover_all_rows_and_survive_the_delta_log() {
    let encoded = encoded(&[SpanRow::batch([span(2, 30), span(1, -20), span(3, 25)])]);
    let of = |name: &str| encoded.stats.iter().find(|s| s.column == name).unwrap().clone();
    let (min, max) = (Some(StatValue::Int(-20)), Some(StatValue::Int(30)));
    assert_eq!(of("start_time"), ColumnStats { column: "start_time", min, max, null_count: 0 });
    let (min, max) = (Some(StatValue::Text("service 1".into())), Some(StatValue::Text("service 2".into())));
    assert_eq!(of("service_name"), ColumnStats { column: "service_name", min, max, null_count: 1 });
    let text = file::stats_to_delta(encoded.rows, &encoded.stats, TableId::Spans);
    assert_eq!(file::stats_from_delta(Some(&text), TableId::Spans), (3, encoded.stats));
    assert_eq!(file::stats_from_delta(Some("not JSON"), TableId::Spans), (0, vec![]));
}

#[test]
fn columns_lie_as_the_schema_says() {
    let encoded = encoded(&[SpanRow::batch((0..2000).map(|n| span(n % 50, i64::from(n % 20))))]);
    let metadata = metadata(&encoded);
    let group = metadata.row_group(0);
    let of = |name: &str| group.columns().iter().find(|c| c.column_path().string() == name).unwrap();
    let payload = of("input_messages");
    assert!(payload.dictionary_page_offset().is_none() && payload.statistics().is_none());
    assert!(of("service_name").dictionary_page_offset().is_some());
    assert!(of("span_id").dictionary_page_offset().is_none());
    assert!(of("start_time").encodings().any(|e| e == Encoding::DELTA_BINARY_PACKED));
    assert!(of("trace_id").bloom_filter_length().is_some() && of("span_id").bloom_filter_length().is_none());
    assert!(metadata.column_index().is_some() && metadata.offset_index().is_some());
    assert!(group.columns().iter().all(|c| !PARTITION_COLUMNS.contains(&c.column_path().string().as_str())));
}

/// Pages of the prompts of 300 rows of 64 KiB, 19 MiB in all.
fn pages_of_prompts(prompt: impl Fn(usize) -> String) -> usize {
    let row = |nth: usize| {
        let mut large = span(1, 1);
        large.genai.input_messages = Some(prompt(nth));
        large
    };
    let encoded = encoded(&[SpanRow::batch((0..300).map(row))]);
    let metadata = metadata(&encoded);
    let group = metadata.row_group(0);
    let nth = group.columns().iter().position(|c| c.column_path().string() == "input_messages").unwrap();
    metadata.offset_index().unwrap()[0][nth].page_locations().len()
}

#[test]
fn pages_of_large_rows_hold_few_rows() {
    let pages = pages_of_prompts(|nth| format!("{nth}{}", "x".repeat(64 << 10)));
    assert!((15..=25).contains(&pages), "{pages} pages of 1 MiB");
}

#[test]
fn pages_of_a_conversation_hold_many_of_its_calls() {
    let pages = pages_of_prompts(|nth| format!("{}{nth}", "x".repeat(64 << 10)));
    assert!((3..=6).contains(&pages), "{pages} pages of 4 MiB, one slice of rows more at most");
}
