//! OTLP in → prepared → settled → record batches → rows → OTLP out is equal, on every captured request, nanoseconds included.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use arrow::array::RecordBatch;
use assay_collector::{
    calls::CallIndex,
    export::{self, PointRow},
    normalise::Normaliser,
    otlp::{
        attributes::BlobSink,
        json,
        wire::{self, Request},
    },
    prepare::prepare,
};
use assay_schemas::{
    genai::GenAi,
    ids::{Encoding, ProjectId, Signal},
    prices::PriceTable,
    table::Row,
    tables::{ExponentialHistogramRow, GaugeRow, HistogramRow, LogRow, SpanRow, SumRow, SummaryRow, TableId},
};
use assay_storage::{BlobError, WalRecord};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    metrics::v1::{Metric, metric},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

#[derive(Default)]
struct MemoryBlobs(Mutex<HashMap<String, Bytes>>);

impl BlobSink for MemoryBlobs {
    fn put(&self, content: &[u8]) -> Result<String, BlobError> {
        let name = hex::encode(Sha256::digest(content));
        self.0.lock().expect("no test panics with the lock held").insert(name.clone(), Bytes::copy_from_slice(content));
        Ok(name)
    }
}

/// One record with all that surrounds it, in a form that compares bit by bit.
type Flat = (Vec<u8>, Vec<u8>, Vec<u8>);

struct Pipeline<'a> {
    normaliser: &'a Normaliser,
    prices: &'a PriceTable,
    calls: CallIndex,
    blobs: MemoryBlobs,
    position: u64,
    /// Spans that went in before: resent ones are not stored twice.
    seen: HashSet<Flat>,
    /// Canonical columns of the last request.
    written: Vec<GenAi>,
}

impl Pipeline<'_> {
    /// The records of a request, and those that come out of its rows.
    fn in_and_out(&mut self, signal: Signal, encoding: Encoding, body: Vec<u8>) -> (Vec<Flat>, Vec<Flat>) {
        self.position += 1;
        let (request, defects) = wire::decode(signal, encoding, &body).expect("a captured request");
        assert!(defects.is_empty(), "{defects:?}");
        let record = WalRecord {
            project: ProjectId::default_project(),
            signal,
            encoding,
            received_at_unix_nano: 1_763_700_000_000_000_000,
            body: body.into(),
        };
        let mut prepared = prepare(self.normaliser, &self.blobs, &record).expect("decoded before");
        assert!(prepared.quarantine.is_empty(), "{:?}", prepared.quarantine);
        prepared.set_position(self.position);
        let batches = self.calls.settle(prepared, self.prices);
        self.written = rows::<SpanRow>(&batches)
            .map(|row| row.genai.into_inner())
            .chain(rows::<LogRow>(&batches).map(|row| row.genai.into_inner()))
            .collect();
        let out = self.export(signal, &batches);
        let (mut found, mut expected) = (flat(out), flat(request));
        if signal == Signal::Traces {
            expected.retain(|span| self.seen.insert(span.clone()));
        }
        found.sort();
        expected.sort();
        (expected, found)
    }

    fn export(&self, signal: Signal, batches: &[(TableId, RecordBatch)]) -> Request {
        let blobs = self.blobs.0.lock().expect("no test panics with the lock held");
        match signal {
            Signal::Traces => Request::Traces(export::spans(rows::<SpanRow>(batches), &*blobs).expect("own rows")),
            Signal::Logs => Request::Logs(export::logs(rows::<LogRow>(batches), &*blobs).expect("own rows")),
            Signal::Metrics => {
                let points = rows::<GaugeRow>(batches).map(PointRow::Gauge);
                let points = points.chain(rows::<SumRow>(batches).map(PointRow::Sum));
                let points = points.chain(rows::<HistogramRow>(batches).map(PointRow::Histogram));
                let points = points.chain(rows::<ExponentialHistogramRow>(batches).map(PointRow::ExponentialHistogram));
                let points = points.chain(rows::<SummaryRow>(batches).map(PointRow::Summary));
                Request::Metrics(export::metrics(points).expect("own rows"))
            }
        }
    }
}

fn rows<R: Row>(batches: &[(TableId, RecordBatch)]) -> impl Iterator<Item = R> {
    let mine = batches.iter().filter(|(table, _)| *table == R::TABLE);
    mine.flat_map(|(_, batch)| (0..batch.num_rows()).map(move |row| R::read(batch, row)))
}

macro_rules! flatten {
    ($request:ident, $resources:ident, $scopes:ident, $records:ident, $out:ident, $record:ident => $each:expr) => {
        for mut resource in $request.$resources {
            for mut scope in std::mem::take(&mut resource.$scopes) {
                for $record in std::mem::take(&mut scope.$records) {
                    for record in $each {
                        $out.push((resource.encode_to_vec(), scope.encode_to_vec(), record));
                    }
                }
            }
        }
    };
}

fn flat(request: Request) -> Vec<Flat> {
    let mut out = Vec::new();
    match request {
        Request::Traces(request) => {
            flatten!(request, resource_spans, scope_spans, spans, out, span => [span.encode_to_vec()]);
        }
        Request::Logs(request) => {
            flatten!(request, resource_logs, scope_logs, log_records, out, log => [log.encode_to_vec()]);
        }
        Request::Metrics(request) => {
            flatten!(request, resource_metrics, scope_metrics, metrics, out, metric => points(metric));
        }
    }
    out
}

/// The metric once per point, each with that point only.
fn points(metric: Metric) -> Vec<Vec<u8>> {
    macro_rules! split {
        ($($Kind:ident)*) => {
            match &metric.data {
                $(Some(metric::Data::$Kind(data)) => data.data_points.iter().map(|point| {
                    let mut data = data.clone();
                    data.data_points = vec![point.clone()];
                    Metric { data: Some(metric::Data::$Kind(data)), ..metric.clone() }.encode_to_vec()
                }).collect(),)*
                None => Vec::new(),
            }
        };
    }
    split!(Gauge Sum Histogram ExponentialHistogram Summary)
}

fn captured(folder: &Path) -> Vec<(PathBuf, Signal, Encoding)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a capture folder")
        .filter_map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name()?.to_str()?.to_owned();
            let encoding = match path.extension()?.to_str()? {
                "pb" => Encoding::Protobuf,
                "json" if !name.ends_with(".meta.json") && name != "expected.json" => Encoding::Json,
                _ => return None,
            };
            let signal = match name.rsplit('.').nth(1)? {
                "traces" => Signal::Traces,
                "logs" => Signal::Logs,
                "metrics" => Signal::Metrics,
                other => panic!("unknown signal `{other}`"),
            };
            Some((path, signal, encoding))
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

#[test]
fn every_capture_comes_out_as_it_went_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    let (normaliser, prices) = (Normaliser::embedded(), PriceTable::embedded());
    let (mut requests, mut records) = (0, 0);
    for folder in fs::read_dir(root).expect("the captures").map(|entry| entry.expect("an entry").path()).filter(|p| p.is_dir()) {
        let files = captured(&folder);
        // In both orders: a log record can come before or after the span that its messages belong to.
        for reversed in [false, true] {
            let (calls, blobs) = (CallIndex::default(), MemoryBlobs::default());
            let mut path = Pipeline {
                normaliser: &normaliser,
                prices: &prices,
                calls,
                blobs,
                position: 0,
                seen: HashSet::new(),
                written: Vec::new(),
            };
            let ordered: Vec<_> = if reversed { files.iter().rev().collect() } else { files.iter().collect() };
            for (file, signal, encoding) in ordered {
                let (expected, found) = path.in_and_out(*signal, *encoding, fs::read(file).expect("a capture"));
                assert_eq!(found.len(), expected.len(), "{}", file.display());
                for (expected, found) in expected.iter().zip(&found) {
                    if expected != found && *signal == Signal::Traces {
                        let [expected, found] = [expected, found].map(|flat| json::encode(&Span::decode(&*flat.2).expect("own")));
                        assert_eq!(found, expected, "{}", file.display());
                    }
                    assert!(expected == found, "{}: a record differs", file.display());
                }
                requests += 1;
                records += found.len();
            }
        }
    }
    assert!(requests > 1000 && records > 4000, "{requests} requests, {records} records");
}

/// The picture in the captures is one pixel: here it is a large one.
#[test]
fn a_large_image_in_any_dialect_is_stored_once_and_comes_out_as_it_went_in() {
    const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let pixel = BASE64_STANDARD.decode(PIXEL).expect("base64");
    let image: Vec<u8> =
        pixel.iter().copied().chain((0_u32..9_000).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])).collect();
    let (name, large) = (hex::encode(Sha256::digest(&image)), BASE64_STANDARD.encode(&image));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    let (normaliser, prices) = (Normaliser::embedded(), PriceTable::embedded());
    let (mut requests, mut in_columns) = (0, BTreeSet::new());
    for folder in fs::read_dir(root).expect("the captures").map(|entry| entry.expect("an entry").path()).filter(|p| p.is_dir()) {
        let (calls, blobs) = (CallIndex::default(), MemoryBlobs::default());
        let mut path = Pipeline {
            normaliser: &normaliser,
            prices: &prices,
            calls,
            blobs,
            position: 0,
            seen: HashSet::new(),
            written: Vec::new(),
        };
        for (file, signal, encoding) in captured(&folder) {
            let (request, _) = wire::decode(signal, encoding, &fs::read(&file).expect("a capture")).expect("a captured request");
            let text = match request {
                Request::Traces(request) => json::encode(&request),
                Request::Logs(request) => json::encode(&request),
                Request::Metrics(_) => continue,
            };
            if !text.contains(PIXEL) {
                continue;
            }
            let (expected, found) = path.in_and_out(signal, Encoding::Json, text.replace(PIXEL, &large).into_bytes());
            assert!(expected == found, "{}: a record differs", file.display());
            requests += 1;
            for genai in &path.written {
                for column in [&genai.input_messages, &genai.output_messages, &genai.tool_result].into_iter().flatten() {
                    assert!(!column.contains(&large), "{}: {}", file.display(), &column[..300]);
                    serde_json::from_str::<serde_json::Value>(column).expect("JSON");
                    if column.contains(&format!("{{\"$blob\":\"{name}\",\"bytes\":{}}}", image.len())) {
                        in_columns.insert(folder.file_name().expect("a name").to_owned());
                    }
                }
            }
        }
        let blobs = path.blobs.0.into_inner().expect("no test panics with the lock held");
        assert!(blobs.values().all(|content| !content.windows(100).any(|part| part == &large.as_bytes()[..100])), "not twice");
    }
    assert!(requests > 5 && in_columns.len() > 3, "{requests} requests, in columns of {in_columns:?}");
}

#[test]
fn every_capture_survives_json_in_both_directions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    for folder in fs::read_dir(root).expect("the captures").map(|entry| entry.expect("an entry").path()).filter(|p| p.is_dir()) {
        for (file, signal, encoding) in captured(&folder) {
            let body = fs::read(&file).expect("a capture");
            let (request, _) = wire::decode(signal, encoding, &body).expect("a captured request");
            let text = match &request {
                Request::Traces(request) => json::encode(request),
                Request::Logs(request) => json::encode(request),
                Request::Metrics(request) => json::encode(request),
            };
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON by another reader");
            let (again, defects) = wire::decode(signal, Encoding::Json, text.as_bytes()).expect("own JSON");
            assert!(defects.is_empty());
            assert!(flat(again) == flat(request), "{}", file.display());
        }
    }
}

fn any(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn text(text: impl Into<String>) -> Option<AnyValue> {
    any(Value::StringValue(text.into()))
}

fn kv(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value, key_strindex: 0 }
}

fn check_span(span: Span) {
    check(ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource::default()),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope::default()),
                spans: vec![span],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    });
}

fn check(request: ExportTraceServiceRequest) {
    let (normaliser, prices) = (Normaliser::embedded(), PriceTable::embedded());
    let (calls, blobs) = (CallIndex::default(), MemoryBlobs::default());
    let mut path = Pipeline {
        normaliser: &normaliser,
        prices: &prices,
        calls,
        blobs,
        position: 0,
        seen: HashSet::new(),
        written: Vec::new(),
    };
    let (expected, found) = path.in_and_out(Signal::Traces, Encoding::Protobuf, request.encode_to_vec());
    assert_eq!(found, expected);
}

fn plain_span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "s".into(),
        start_time_unix_nano: 1_763_700_000_123_456_789,
        ..Span::default()
    }
}

#[test]
fn what_a_json_object_cannot_say_is_kept() {
    let deep = any(Value::KvlistValue(KeyValueList { values: vec![kv("a", text("1")), kv("a", text("2"))] }));
    for attributes in [
        vec![kv("nan", any(Value::DoubleValue(f64::NAN))), kv("inf", any(Value::DoubleValue(f64::NEG_INFINITY)))],
        vec![kv("bytes", any(Value::BytesValue(vec![0, 255])))],
        vec![kv("twice", text("1")), kv("other", text("x")), kv("twice", any(Value::IntValue(2)))],
        vec![kv("nested twice", deep)],
        vec![kv("no value", None), kv("empty value", Some(AnyValue { value: None }))],
        vec![kv("ours", any(Value::KvlistValue(KeyValueList { values: vec![kv("$payload", any(Value::IntValue(7)))] })))],
        vec![kv("ours", any(Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: None }, text("x").unwrap()] })))],
        vec![
            kv("int", any(Value::IntValue(1))),
            kv("double", any(Value::DoubleValue(1.0))),
            kv("-0", any(Value::DoubleValue(-0.0))),
        ],
        vec![
            kv("limits", any(Value::IntValue(i64::MIN))),
            kv("tiny", any(Value::DoubleValue(5e-324))),
            kv("", text("\u{0}\u{7f}\"\\\u{2028}")),
        ],
        vec![
            kv("empty", any(Value::ArrayValue(ArrayValue::default()))),
            kv("map", any(Value::KvlistValue(KeyValueList::default()))),
        ],
    ] {
        check_span(Span { attributes, ..plain_span() });
    }
}

#[test]
fn large_values_come_back_from_payload_and_blobs() {
    let list =
        Value::ArrayValue(ArrayValue { values: (0..20_000).map(|n| AnyValue { value: Some(Value::IntValue(n)) }).collect() });
    check_span(Span {
        attributes: vec![
            kv("payload", text("p".repeat(5000))),
            kv("blob", text(format!("data:image/png;base64,{}", "QUJD".repeat(60_000)))),
            kv("list", any(list)),
            kv(
                "gen_ai.input.messages",
                text(format!("[{{\"role\":\"user\",\"parts\":[{{\"type\":\"text\",\"content\":\"{}\"}}]}}]", "é".repeat(90_000))),
            ),
        ],
        ..plain_span()
    });
}

#[test]
fn odd_but_legal_spans_come_back() {
    check_span(Span { end_time_unix_nano: 0, status: Some(Status::default()), ..plain_span() });
    check_span(Span { kind: 77, flags: u32::MAX, status: Some(Status { code: 9, message: String::new() }), ..plain_span() });
    check_span(Span {
        trace_state: "a=b".into(),
        parent_span_id: vec![3; 8],
        dropped_attributes_count: u32::MAX,
        dropped_events_count: 1,
        dropped_links_count: 2,
        end_time_unix_nano: i64::MAX as u64,
        start_time_unix_nano: 0,
        events: vec![span::Event {
            name: "e".into(),
            attributes: vec![kv("nan", any(Value::DoubleValue(f64::NAN)))],
            ..Default::default()
        }],
        links: vec![span::Link { trace_id: vec![9; 16], span_id: vec![], flags: 1, ..Default::default() }],
        ..plain_span()
    });
    for resource in [None, Some(Resource { dropped_attributes_count: 3, ..Resource::default() })] {
        for scope in
            [None, Some(InstrumentationScope { name: "n".into(), attributes: vec![kv("k", text("v"))], ..Default::default() })]
        {
            let spans = vec![plain_span()];
            let scope_spans = vec![ScopeSpans { scope, spans, schema_url: "https://example.org/scope".into() }];
            let schema_url = "https://example.org/resource".into();
            check(ExportTraceServiceRequest {
                resource_spans: vec![ResourceSpans { resource: resource.clone(), scope_spans, schema_url }],
            });
        }
    }
}

#[test]
fn requests_without_records_are_fine() {
    for body in [
        ExportTraceServiceRequest::default().encode_to_vec(),
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans::default()] }.encode_to_vec(),
    ] {
        assert!(wire::decode(Signal::Traces, Encoding::Protobuf, &body).is_ok());
    }
    assert_eq!(wire::decode(Signal::Logs, Encoding::Json, b"{}").unwrap().0, Request::Logs(ExportLogsServiceRequest::default()));
    assert_eq!(
        wire::decode(Signal::Metrics, Encoding::Json, b"{}").unwrap().0,
        Request::Metrics(ExportMetricsServiceRequest::default())
    );
}
