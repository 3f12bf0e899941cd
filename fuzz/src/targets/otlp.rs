//! OTLP requests, protobuf and JSON: decoded, encoded again, prepared as rows, and exported from them. What comes out is what went in.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock},
};

use assay_collector::{
    export,
    normalise::Normaliser,
    otlp::{
        attributes::BlobSink,
        borrowed::SpanRef,
        json,
        wire::{self, Request},
    },
    prepare::prepare,
};
use assay_schemas::ids::{Encoding, ProjectId, Signal};
use assay_storage::{BlobError, WalRecord};
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{split, text};
use crate::corpus;

/// Protobuf; the first byte chooses the signal.
pub(super) fn protobuf(input: &[u8]) {
    let (first, body) = split(input);
    let signal = signal(first);
    let decoded = wire::decode(signal, Encoding::Protobuf, body);
    if let Some(expected) = by_prost(signal, body) {
        let (request, defects) = decoded.as_ref().expect("prost takes it");
        assert!(defects.is_empty() && encoded(request) == expected, "prost reads something else");
    }
    let Ok((request, defects)) = decoded else { return };
    if defects.is_empty() {
        let again = wire::decode(signal, Encoding::Protobuf, &encoded(&request)).expect("what was encoded here");
        // Compared as bytes: a NaN is not equal to itself.
        assert_eq!(encoded(&again.0), encoded(&request), "protobuf that is decoded and encoded");
        in_json(signal, &request);
    }
    in_and_out(signal, Encoding::Protobuf, body, &request, defects.is_empty());
}

/// A span in protobuf: what is borrowed from it is what prost reads.
pub(super) fn span(input: &[u8]) {
    let Some(borrowed) = SpanRef::read(input) else { return };
    match Span::decode(input) {
        // Compared as bytes: a NaN is not equal to itself.
        Ok(span) => {
            assert!(borrowed.to_span().encode_to_vec() == span.encode_to_vec(), "prost reads something else");
            assert!(SpanRef::of(&span).to_span().encode_to_vec() == span.encode_to_vec(), "a view of a span is another");
        }
        // Prost counts the levels around a value as well.
        Err(error) => assert!(error.to_string().contains("recursion limit"), "prost does not take it: {error}"),
    }
}

/// JSON; the first byte chooses the signal.
pub(super) fn json(input: &[u8]) {
    let (first, body) = split(input);
    let signal = signal(first);
    let Ok((request, defects)) = wire::decode(signal, Encoding::Json, body) else { return };
    in_json(signal, &request);
    in_and_out(signal, Encoding::Json, body, &request, defects.is_empty());
}

/// A span whose messages or attributes are the input: JSON that the normaliser reads, base64 that becomes blobs.
pub(super) fn messages(input: &[u8]) {
    const KEYS: [&str; 12] = [
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.definitions",
        "input.value",
        "output.value",
        "llm.input_messages.0.message.content",
        "gen_ai.prompt",
        "traceloop.entity.input",
        "ai.prompt.messages",
        "langfuse.observation.input",
        "gen_ai.tool.call.result",
        "mlflow.spanInputs",
    ];
    let (first, value) = split(input);
    let attribute = |key: &str, text: String| {
        let value = Some(AnyValue { value: Some(Value::StringValue(text)) });
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    };
    let mut attributes =
        vec![attribute("gen_ai.operation.name", "chat".to_owned()), attribute("input.mime_type", "application/json".to_owned())];
    attributes.push(attribute(KEYS[usize::from(first) % KEYS.len()], text(value)));
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let request = ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let body = request.encode_to_vec();
    in_and_out(Signal::Traces, Encoding::Protobuf, &body, &Request::Traces(request), true);
}

pub(super) fn protobuf_seeds() -> Vec<Vec<u8>> {
    seeds(false)
}

pub(super) fn span_seeds() -> Vec<Vec<u8>> {
    let captured = corpus::captures().into_iter().filter(|captured| captured.signal == Signal::Traces && !captured.json);
    let requests = captured.filter_map(|captured| ExportTraceServiceRequest::decode(captured.body.as_slice()).ok());
    let spans = requests.flat_map(|request| request.resource_spans).flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
    spans.map(|span| span.encode_to_vec()).collect()
}

pub(super) fn json_seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds(true);
    // As JSON, what the other SDKs sent as protobuf.
    for captured in corpus::captures().into_iter().filter(|captured| !captured.json && captured.body.len() < 4096) {
        if let Ok((request, _)) = wire::decode(captured.signal, Encoding::Protobuf, &captured.body) {
            seeds.push([&[code(captured.signal)], as_json(&request).as_bytes()].concat());
        }
    }
    seeds
}

pub(super) fn message_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![];
    let blob = "A".repeat(6000);
    for (n, text) in [
        format!(
            r#"[{{"role":"user","parts":[{{"type":"blob","mime_type":"image/png","modality":"image","content":"{blob}"}}]}}]"#
        ),
        format!(r#"[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{blob}"}}}}]}}]"#),
        r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"c1","name":"search","arguments":{"q":"x"}}]}]"#.to_owned(),
        r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#.to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        seeds.push([&[n as u8], text.as_bytes()].concat());
    }
    let spans = corpus::captures().into_iter().filter(|captured| captured.signal == Signal::Traces && !captured.json);
    for captured in spans.step_by(3) {
        let Ok(request) = ExportTraceServiceRequest::decode(captured.body.as_slice()) else { continue };
        let spans = request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        for attribute in spans.flat_map(|span| span.attributes) {
            if let Some(Value::StringValue(text)) = attribute.value.and_then(|value| value.value)
                && text.starts_with(['[', '{'])
            {
                seeds.push([&[seeds.len() as u8], text.as_bytes()].concat());
            }
        }
    }
    seeds
}

fn seeds(json: bool) -> Vec<Vec<u8>> {
    let captures = corpus::captures().into_iter().filter(|captured| captured.json == json);
    captures.map(|captured| [&[code(captured.signal)], captured.body.as_slice()].concat()).collect()
}

fn signal(byte: u8) -> Signal {
    [Signal::Traces, Signal::Logs, Signal::Metrics][usize::from(byte % 3)]
}

fn code(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 0,
        Signal::Logs => 1,
        Signal::Metrics => 2,
    }
}

/// What prost alone reads from `body`, encoded again: whichever way the collector goes, it must come to the same.
fn by_prost(signal: Signal, body: &[u8]) -> Option<Vec<u8>> {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(body).map(|request| request.encode_to_vec()).ok(),
        Signal::Logs => ExportLogsServiceRequest::decode(body).map(|request| request.encode_to_vec()).ok(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(body).map(|request| request.encode_to_vec()).ok(),
    }
}

fn encoded(request: &Request) -> Vec<u8> {
    match request {
        Request::Traces(request) => request.encode_to_vec(),
        Request::Logs(request) => request.encode_to_vec(),
        Request::Metrics(request) => request.encode_to_vec(),
    }
}

fn as_json(request: &Request) -> String {
    match request {
        Request::Traces(request) => json::encode::<ExportTraceServiceRequest>(request),
        Request::Logs(request) => json::encode::<ExportLogsServiceRequest>(request),
        Request::Metrics(request) => json::encode::<ExportMetricsServiceRequest>(request),
    }
}

/// A request written as JSON reads back as the same.
fn in_json(signal: Signal, request: &Request) {
    let text = as_json(request);
    let Ok((again, defects)) = wire::decode(signal, Encoding::Json, text.as_bytes()) else {
        // The JSON reader has a limit on nesting that protobuf's is beyond.
        assert!(
            wire::decode(signal, Encoding::Json, text.as_bytes()).is_err_and(|error| error.to_string().contains("nest")),
            "{text}"
        );
        return;
    };
    if defects.is_empty() {
        assert_eq!(as_json(&again), text, "JSON that is encoded, decoded and encoded");
        let nan = text.contains("NaN");
        assert!(nan || encoded(&again) == encoded(request), "a request in JSON and back: {text}");
    }
}

/// The records that are kept come out of their rows as they went in.
fn in_and_out(signal: Signal, encoding: Encoding, body: &[u8], request: &Request, whole: bool) {
    static NORMALISER: OnceLock<Normaliser> = OnceLock::new();
    let normaliser = NORMALISER.get_or_init(Normaliser::embedded);
    let record = WalRecord {
        project: ProjectId::default_project(),
        signal,
        encoding,
        received_at_unix_nano: 1_763_700_000_000_000_000,
        body: Bytes::copy_from_slice(body),
    };
    let blobs = MemoryBlobs::default();
    let prepared = prepare(normaliser, &blobs, &record).expect("it was decoded before");
    let all_kept = whole && prepared.quarantine.is_empty();
    let blobs = blobs.0.into_inner().expect("nobody panics with the lock held");
    let (found, expected) = match request {
        Request::Traces(request) => {
            let out = export::spans(prepared.spans.into_iter().map(|draft| draft.row), &blobs).expect("own rows");
            (flat_spans(out), flat_spans(request.clone()))
        }
        Request::Logs(request) => {
            let out = export::logs(prepared.logs.into_iter().map(|draft| draft.row), &blobs).expect("own rows");
            (flat_logs(out), flat_logs(request.clone()))
        }
        // Points are regrouped on their way: `collector/tests/roundtrip.rs` compares them.
        Request::Metrics(_) => return,
    };
    if all_kept {
        assert!(found == expected, "records that come out are not those that went in: {}", as_json(request));
    }
}

type Flat = Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>;

fn flat_spans(request: ExportTraceServiceRequest) -> Flat {
    let mut flat = vec![];
    for mut resource in request.resource_spans {
        for mut scope in std::mem::take(&mut resource.scope_spans) {
            for span in std::mem::take(&mut scope.spans) {
                flat.push((resource.encode_to_vec(), scope.encode_to_vec(), span.encode_to_vec()));
            }
        }
    }
    flat.sort();
    flat
}

fn flat_logs(request: ExportLogsServiceRequest) -> Flat {
    let mut flat = vec![];
    for mut resource in request.resource_logs {
        for mut scope in std::mem::take(&mut resource.scope_logs) {
            for log in std::mem::take(&mut scope.log_records) {
                flat.push((resource.encode_to_vec(), scope.encode_to_vec(), log.encode_to_vec()));
            }
        }
    }
    flat.sort();
    flat
}

#[derive(Default)]
struct MemoryBlobs(Mutex<HashMap<String, Bytes>>);

impl BlobSink for MemoryBlobs {
    fn put(&self, content: &[u8]) -> Result<String, BlobError> {
        let name = hex::encode(Sha256::digest(content));
        self.0.lock().expect("nobody panics with the lock held").insert(name.clone(), Bytes::copy_from_slice(content));
        Ok(name)
    }
}
