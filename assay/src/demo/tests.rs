//! The traffic is the same for the same seed, whole, and adds up.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::common::v1::any_value;

use super::*;

fn window() -> Window {
    Window::up_to(DateTime::from_timestamp(1_795_000_000, 0).expect("a date"), 7)
}

fn sent(seed: u64, traces: usize) -> Vec<Span> {
    batches(seed, traces, window()).flatten().map(|recorded| recorded.span).collect()
}

fn number(span: &Span, key: &str) -> Option<i64> {
    let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        any_value::Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

fn text(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

#[test]
fn the_same_seed_and_end_give_the_same_requests() {
    let bodies = |seed| batches(seed, 120, window()).map(|batch| request(batch).encode_to_vec()).collect::<Vec<_>>();
    assert_eq!(bodies(7), bodies(7));
    assert_ne!(bodies(7), bodies(8));
}

#[test]
fn another_end_repeats_the_content_but_no_identifier() {
    let later = Window::up_to(DateTime::from_timestamp(1_795_600_000, 0).expect("a date"), 7);
    let ids: HashSet<Vec<u8>> = sent(7, 50).into_iter().map(|span| span.trace_id).collect();
    assert!(batches(7, 50, later).flatten().all(|recorded| !ids.contains(&recorded.span.trace_id)));
}

#[test]
fn exactly_as_many_traces_as_asked_for_in_requests_of_bounded_size() {
    for traces in [0, 1, 2, 333] {
        let sizes: Vec<_> = batches(3, traces, window()).map(|batch| (batch.len(), count_roots(&batch))).collect();
        assert_eq!(sizes.iter().map(|(_, roots)| roots).sum::<u64>(), traces as u64);
        assert!(sizes.iter().all(|(spans, _)| (1..=BATCH_SPANS_MAX).contains(spans)), "{sizes:?}");
    }
}

#[test]
fn spans_are_unique_have_their_parent_in_the_trace_and_lie_inside_it_and_the_window() {
    let spans = sent(11, 400);
    let by_id: HashMap<_, _> = spans.iter().map(|span| ((&span.trace_id, &span.span_id), span)).collect();
    assert_eq!(by_id.len(), spans.len());
    for span in &spans {
        assert!(span.start_time_unix_nano >= window().start && span.end_time_unix_nano <= window().end);
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
        if !span.parent_span_id.is_empty() {
            let parent = by_id[&(&span.trace_id, &span.parent_span_id)];
            assert!(parent.start_time_unix_nano <= span.start_time_unix_nano, "{}", span.name);
            assert!(parent.end_time_unix_nano >= span.end_time_unix_nano, "{}", span.name);
        }
        for event in &span.events {
            assert!((span.start_time_unix_nano..=span.end_time_unix_nano).contains(&event.time_unix_nano));
        }
    }
}

#[test]
fn token_counts_contain_their_parts_and_follow_the_texts() {
    let mut calls = 0;
    let mut cached = 0;
    for span in sent(11, 400) {
        let Some(input) = number(&span, "gen_ai.usage.input_tokens") else { continue };
        let output = number(&span, "gen_ai.usage.output_tokens").expect("both or none");
        let part = |key| number(&span, key).unwrap_or(0);
        let cache = part("gen_ai.usage.cache_read.input_tokens") + part("gen_ai.usage.cache_creation.input_tokens");
        assert!(cache <= input && part("gen_ai.usage.reasoning.output_tokens") <= output && output > 0);
        let prompt = ["gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.tool.definitions"];
        let chars: usize = prompt.iter().filter_map(|key| text(&span, key)).map(|text| text.len()).sum();
        let chars_per_token = chars as f64 / input as f64;
        assert!((2.5..8.0).contains(&chars_per_token), "{chars_per_token} in `{}`", span.name);
        calls += 1;
        cached += i32::from(cache > 0);
    }
    assert!(calls > 500 && cached > 100, "{calls} calls, {cached} with cache");
}

#[test]
fn a_run_shows_every_service_errors_and_feedback() {
    let batches: Vec<_> = batches(7, 600, window()).flatten().collect();
    let services: HashSet<_> = batches.iter().map(|recorded| recorded.service.name).collect();
    assert_eq!(services.len(), 5);
    let errors: HashSet<_> = batches.iter().filter_map(|recorded| text(&recorded.span, "error.type")).collect();
    for expected in ["openai.RateLimitError", "openai.APITimeoutError", "TimeoutError", "SyntaxError"] {
        assert!(errors.contains(expected), "{errors:?}");
    }
    let scored =
        batches.iter().filter(|recorded| recorded.span.events.iter().any(|event| event.name == "gen_ai.evaluation.result"));
    assert!(scored.count() > 20);
}
