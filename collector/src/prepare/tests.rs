//! Which records are refused, why, and that it costs only themselves.

use assay_schemas::ids::{Encoding, ProjectId, Signal};
use opentelemetry_proto::tonic::{
    common::v1::{ArrayValue, any_value::Value},
    logs::v1::{ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, NumberDataPoint, ResourceMetrics, ScopeMetrics},
    trace::v1::{ResourceSpans, ScopeSpans, span},
};
use prost::Message as _;

use super::*;

/// Blobs that are counted, not kept.
struct NoBlobs;

impl BlobSink for NoBlobs {
    fn put(&self, _: &[u8]) -> Result<String, BlobError> {
        Ok("0".repeat(64))
    }
}

fn prepared(signal: Signal, encoding: Encoding, body: Vec<u8>) -> Result<Prepared, PrepareError> {
    let record = WalRecord {
        project: ProjectId::default_project(),
        signal,
        encoding,
        received_at_unix_nano: 1_763_700_000_000_000_001,
        body: body.into(),
    };
    prepare(&Normaliser::embedded(), &NoBlobs, &record)
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn span() -> Span {
    Span { trace_id: vec![1; 16], span_id: vec![2; 8], name: "good".into(), start_time_unix_nano: 5, ..Span::default() }
}

/// Sends `bad` between two good spans; the reason it is refused for, or none.
fn check(bad: Span) -> Option<String> {
    let body = request(vec![span(), bad, span()]).encode_to_vec();
    let prepared = prepared(Signal::Traces, Encoding::Protobuf, body).expect("a request");
    assert_eq!(prepared.spans.len() + prepared.quarantine.len(), 3, "accepted = stored + quarantined");
    let ledger = prepared.ledger_row(0);
    assert_eq!((ledger.accepted, ledger.stored), (3, prepared.spans.len() as i64));
    prepared.quarantine.first().map(|row| row.reason.clone())
}

fn nested(levels: usize) -> AnyValue {
    let leaf = AnyValue { value: Some(Value::BoolValue(true)) };
    (0..levels).fold(leaf, |inner, _| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![inner] })) })
}

fn attribute(value: AnyValue) -> KeyValue {
    KeyValue { key: "k".into(), value: Some(value), key_strindex: 0 }
}

#[test]
fn a_bad_span_is_refused_by_name_and_alone() {
    let attributes = |n: usize| vec![attribute(AnyValue { value: None }); n];
    for (reason, bad) in [
        ("zero_trace_id", Span { trace_id: vec![0; 16], ..span() }),
        ("bad_trace_id", Span { trace_id: vec![1; 8], ..span() }),
        ("bad_trace_id", Span { trace_id: vec![], ..span() }),
        ("zero_span_id", Span { span_id: vec![0; 8], ..span() }),
        ("bad_span_id", Span { span_id: vec![1; 16], ..span() }),
        ("bad_parent_span_id", Span { parent_span_id: vec![1; 7], ..span() }),
        ("time_out_of_range", Span { end_time_unix_nano: u64::MAX, ..span() }),
        ("too_many_attributes", Span { attributes: attributes(ATTRIBUTES_MAX + 1), ..span() }),
        ("too_many_events", Span { events: vec![span::Event::default(); EVENTS_MAX + 1], ..span() }),
        ("too_many_links", Span { links: vec![span::Link::default(); LINKS_MAX + 1], ..span() }),
        ("too_deep", Span { attributes: vec![attribute(nested(NESTING_MAX + 1))], ..span() }),
    ] {
        assert_eq!(check(bad).as_deref(), Some(reason));
    }
}

#[test]
fn what_is_odd_but_legal_is_kept() {
    for odd in [
        Span { name: String::new(), ..span() },
        Span { end_time_unix_nano: 0, start_time_unix_nano: 10, ..span() },
        Span { start_time_unix_nano: i64::MAX as u64, ..span() },
        Span { parent_span_id: vec![0; 8], kind: 99, ..span() },
        Span { attributes: vec![attribute(nested(NESTING_MAX))], ..span() },
    ] {
        assert_eq!(check(odd), None);
    }
}

#[test]
fn a_span_that_is_not_protobuf_costs_only_itself() {
    let name = "not UTF-8 soon";
    let mut body = request(vec![span(), Span { name: name.into(), ..span() }, span()]).encode_to_vec();
    let at = body.windows(name.len()).position(|window| window == name.as_bytes()).expect("the name");
    body[at] = 0xFF;
    let mut prepared = prepared(Signal::Traces, Encoding::Protobuf, body.clone()).expect("the envelope is whole");
    assert_eq!((prepared.spans.len(), prepared.quarantine.len()), (2, 1));
    assert_eq!(prepared.quarantine[0].reason, "undecodable");
    prepared.set_position(7);
    assert_eq!((prepared.quarantine[0].origin.wal_position, prepared.spans[1].row.origin.wal_position), (7, 7));
    let cut = super::tests::prepared(Signal::Traces, Encoding::Protobuf, body[..body.len() - 3].to_vec());
    assert!(matches!(cut, Err(PrepareError::Decode(_))), "an envelope that is cut is bad data");
}

#[test]
fn a_refused_record_is_kept_with_its_size() {
    let bad = Span { trace_id: vec![], name: "é".repeat(QUARANTINE_RECORD_BYTES), ..span() };
    let prepared = prepared(Signal::Traces, Encoding::Protobuf, request(vec![bad.clone()]).encode_to_vec()).expect("a request");
    let row = &prepared.quarantine[0];
    assert_eq!(row.record_bytes, bad.encoded_len() as i64);
    let kept = row.record.as_ref().expect("the record").len();
    assert!((QUARANTINE_RECORD_BYTES - 3..=QUARANTINE_RECORD_BYTES).contains(&kept), "{kept}");
    assert_eq!(row.detail, "`trace_id`: found `0` bytes, expected `16`");
}

#[test]
fn a_senders_clock_never_chooses_the_day() {
    let far = Span { start_time_unix_nano: 4_000_000_000_000_000_000, ..span() };
    let prepared = prepared(Signal::Traces, Encoding::Protobuf, request(vec![far, span()]).encode_to_vec()).expect("a request");
    assert!(prepared.spans.iter().all(|draft| draft.row.origin.date == 1_763_700_000 / 86_400));
}

#[test]
fn logs_may_lack_ids_and_keep_one_name_for_ever() {
    let log = |trace_id: Vec<u8>| LogRecord { trace_id, ..LogRecord::default() };
    let log_records = vec![log(vec![]), log(vec![0; 16]), log(vec![3; 5]), log(vec![4; 16])];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let request = ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] };
    let once = prepared(Signal::Logs, Encoding::Protobuf, request.encode_to_vec()).expect("a request");
    assert_eq!(once.quarantine[0].reason, "bad_trace_id");
    let ids: Vec<_> = once.logs.iter().map(|draft| draft.row.log_id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    let again = prepared(Signal::Logs, Encoding::Protobuf, request.encode_to_vec()).expect("a request");
    assert_eq!(again.logs.iter().map(|draft| draft.row.log_id.clone()).collect::<Vec<_>>(), ids, "replay gives the same rows");
    assert_eq!(once.logs[0].row.time, 1_763_700_000_000_000, "without a time, that of receipt");
}

#[test]
fn a_bad_data_point_is_refused_alone() {
    let point = |time_unix_nano| NumberDataPoint { time_unix_nano, ..NumberDataPoint::default() };
    let gauge = Gauge { data_points: vec![point(1), point(u64::MAX), point(3)] };
    let metrics =
        vec![Metric { name: "m".into(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() }, Metric::default()];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let request =
        ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }] };
    let prepared = prepared(Signal::Metrics, Encoding::Protobuf, request.encode_to_vec()).expect("a request");
    assert_eq!((prepared.n_storable(), prepared.quarantine.len()), (2, 1));
    assert_eq!(prepared.quarantine[0].reason, "time_out_of_range");
}
