//! What a copy keeps and what it renews.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event, span::Link},
};
use prost::Message as _;

use super::*;

const LATEST_NS: u64 = 5_000;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// Two spans of one trace, with everything in them that is renewed.
fn request() -> ExportTraceServiceRequest {
    let root = Span {
        trace_id: vec![7; 16],
        span_id: vec![1; 8],
        start_time_unix_nano: 1_000,
        end_time_unix_nano: LATEST_NS,
        events: vec![Event { time_unix_nano: 2_000, ..Event::default() }],
        ..Span::default()
    };
    let child = Span {
        trace_id: vec![7; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![1; 8],
        name: "a name that stays".to_owned(),
        start_time_unix_nano: 3_000,
        end_time_unix_nano: 4_000,
        links: vec![Link { trace_id: vec![7; 16], span_id: vec![1; 8], ..Link::default() }],
        attributes: vec![
            text("gen_ai.response.id", "chatcmpl-d583c94dc21fab6df5ab8644"),
            text("output.value", "{\"id\": \"chatcmpl-d583c94dc21fab6df5ab8644\"}"),
            text("short", "before ~~~~~~~~~~ after"),
            text("long", &"~".repeat(300)),
            text("home", "~/data"),
            attribute("gen_ai.usage.input_tokens", Value::IntValue(9001)),
            attribute("gen_ai.usage.output_tokens", Value::IntValue(9002)),
        ],
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![root, child], ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn corpus(seed: u64) -> Corpus {
    let template = Template::new(&request().encode_to_vec()).expect("a request");
    Corpus { bodies: vec![template], pool: prose(42, 4096), seed }
}

fn copy(seed: u64, round: u64) -> Vec<Span> {
    let request = corpus(seed).request(round, 1_000_000);
    assert_eq!(request.frame[..PREFIX_BYTES], [&[0][..], &(request.frame.len() as u32 - 5).to_be_bytes()].concat());
    let message = ExportTraceServiceRequest::decode(&request.frame[PREFIX_BYTES..]).expect("still a request");
    message.resource_spans.into_iter().flat_map(|group| group.scope_spans).flat_map(|group| group.spans).collect()
}

fn value(span: &Span, idx: usize) -> String {
    match span.attributes[idx].value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(value)) => value.clone(),
        Some(Value::IntValue(value)) => value.to_string(),
        other => panic!("found {other:?}"),
    }
}

#[test]
fn a_trace_stays_whole_and_is_another_each_round() {
    let (first, second) = (copy(1, 0), copy(1, 1));
    assert_eq!(first[0].trace_id, first[1].trace_id);
    assert_eq!(first[0].span_id, first[1].parent_span_id);
    assert_eq!(first[1].links[0].span_id, first[0].span_id);
    assert_ne!(first[0].trace_id, second[0].trace_id);
    assert_ne!(first[0].trace_id, copy(2, 0)[0].trace_id);
    assert_eq!(first, copy(1, 0));
}

#[test]
fn times_move_so_that_the_latest_is_now() {
    let spans = copy(1, 0);
    assert_eq!(spans[0].end_time_unix_nano, 1_000_000);
    assert_eq!(spans[0].events[0].time_unix_nano, 1_000_000 - LATEST_NS + 2_000);
    assert_eq!(spans[1].end_time_unix_nano - spans[1].start_time_unix_nano, 1_000);
}

#[test]
fn a_response_has_the_same_new_name_wherever_it_is_named() {
    let span = &copy(1, 0)[1];
    let id = value(span, 0);
    assert_ne!(id, "chatcmpl-d583c94dc21fab6df5ab8644");
    assert!(id.starts_with("chatcmpl-") && id.ends_with("f5ab8644"));
    assert_eq!(value(span, 1), format!("{{\"id\": \"{id}\"}}"));
}

#[test]
fn marked_text_and_tokens_are_new_and_the_rest_stays() {
    let (first, second) = (copy(1, 0), copy(1, 1));
    assert_ne!(value(&first[1], 2), value(&second[1], 2));
    assert!(value(&first[1], 2).starts_with("before ") && !value(&first[1], 2).contains('~'));
    assert_ne!(value(&first[1], 3), value(&second[1], 3));
    assert_eq!(value(&first[1], 3).len(), 300);
    assert_eq!(value(&first[1], 4), "~/data");
    let tokens: Vec<u64> = (5..7).map(|idx| value(&first[1], idx).parse().expect("a number")).collect();
    assert!((200..9000).contains(&tokens[0]) && (130..900).contains(&tokens[1]), "{tokens:?}");
    assert_eq!(first[1].name, "a name that stays");
}

#[test]
fn a_budget_ends_a_run() {
    let (corpus, since) = (corpus(1), Instant::now());
    let mut taken = Taken::default();
    let budget = Budget { spans: 5, bytes: u64::MAX, time: None };
    while corpus.next(&budget, &mut taken, since).is_some() {}
    assert_eq!((taken.requests, taken.spans), (3, 6));
    let budget = Budget { spans: u64::MAX, bytes: u64::MAX, time: Some(Duration::ZERO) };
    assert!(corpus.next(&budget, &mut taken, since).is_none());
}

#[test]
fn a_body_that_is_no_request_is_refused() {
    assert!(Template::new(b"hello").is_err());
    assert_eq!(Template::new(b"").expect_err("empty").to_string(), "found no span");
}
