//! The comparisons find what they are for: an answer that is right passes, and any change of it does not.

use assay_schemas::prices::PriceTable;
use serde_json::json;

use super::*;

fn round() -> Round {
    Round { run: "probe-1-2".to_owned(), seed: 7, number: 12, base_unix_nano: 1_763_692_800_000_000_000 }
}

/// The page that a right server shows.
fn page(round: &Round, trace: &KnownTrace) -> Value {
    let sums = Sums::of(std::slice::from_ref(trace));
    let some = |value: i64| if sums.calls > 0 { json!(value) } else { Value::Null };
    let start = trace.spans[0].span.start_time_unix_nano;
    let spans: Vec<Value> = trace
        .spans
        .iter()
        .map(|known| {
            let (span, call) = (&known.span, known.call.as_ref());
            let parent = (!span.parent_span_id.is_empty()).then(|| hex::encode(&span.parent_span_id));
            json!({
                "span_id": known.span_id(), "parent_span_id": parent, "name": span.name, "service_name": SERVICE,
                "start_ns": span.start_time_unix_nano - start, "duration_ns": span.end_time_unix_nano - span.start_time_unix_nano,
                "status_code": if known.failed() { "ERROR" } else { "UNSET" }, "session_id": round.session(), "user_id": round.run,
                "provider": call.map(|c| c.provider), "request_model": call.map(|c| c.model), "counted": call.is_some(),
                "input_tokens": call.and_then(|c| c.usage.input), "output_tokens": call.and_then(|c| c.usage.output),
                "cache_read_tokens": call.map(|c| c.usage.cache_read), "event_count": span.events.len(),
                "cost_usd": call.map(|c| c.cost_usd.to_string()),
            })
        })
        .collect();
    json!({
        "trace": {
            "span_count": sums.spans, "llm_call_count": sums.calls, "error_count": sums.errors,
            "input_tokens": some(sums.input_tokens), "output_tokens": some(sums.output_tokens),
            "cache_read_tokens": some(sums.cache_read_tokens),
            "cost_usd": if sums.calls > 0 { json!(format!("{:.15}", sums.cost_usd)) } else { Value::Null },
        },
        "spans": spans,
    })
}

fn unequal_page(round: &Round, trace: &KnownTrace, page: &Value) -> Vec<String> {
    let mut compare = Comparison::new(Check::Trace, "trace".to_owned());
    compare_page(&mut compare, round, trace, page);
    compare.unequal.iter().map(ToString::to_string).collect()
}

#[test]
fn any_other_value_on_the_trace_page_is_unequal() {
    let (round, prices) = (round(), PriceTable::embedded());
    for trace in round.traces(&prices) {
        let right = page(&round, &trace);
        assert_eq!(unequal_page(&round, &trace, &right), Vec::<String>::new());
        for field in right["trace"].as_object().expect("an object").keys() {
            let mut wrong = right.clone();
            wrong["trace"][field] = if field == "cost_usd" { json!("0.000000000000001") } else { json!(-1) };
            assert_eq!(unequal_page(&round, &trace, &wrong).len(), 1, "{field}");
        }
        for idx in 0..trace.spans.len() {
            for field in right["spans"][idx].as_object().expect("an object").keys() {
                let mut wrong = right.clone();
                wrong["spans"][idx][field] = json!("1000000.5");
                assert_ne!(unequal_page(&round, &trace, &wrong), Vec::<String>::new(), "span {idx}, {field}");
            }
            let mut missing = right.clone();
            missing["spans"].as_array_mut().expect("a list").remove(idx);
            assert_eq!(unequal_page(&round, &trace, &missing).len(), 2, "its id and the number of spans");
            let mut twice = right.clone();
            let span = twice["spans"][idx].clone();
            twice["spans"].as_array_mut().expect("a list").push(span);
            assert_eq!(unequal_page(&round, &trace, &twice).len(), 1, "the number of spans");
        }
    }
}

#[test]
fn any_other_attribute_in_otlp_is_unequal() {
    let (round, prices) = (round(), PriceTable::embedded());
    let traces = round.traces(&prices);
    let unequal = |trace: &KnownTrace, found| {
        let mut compare = Comparison::new(Check::Otlp, "trace".to_owned());
        compare_otlp(&mut compare, &round, trace, found);
        compare.unequal.len()
    };
    for trace in &traces {
        let right = round.request(std::slice::from_ref(trace));
        assert_eq!(unequal(trace, right.clone()), 0);
        for idx in 0..trace.spans.len() {
            let span = |request: &mut ExportTraceServiceRequest, change: &dyn Fn(&mut Span)| {
                change(&mut request.resource_spans[0].scope_spans[0].spans[idx]);
            };
            let changes: [&dyn Fn(&mut Span); 4] = [
                &|span| span.attributes.swap(0, 1),
                &|span| span.start_time_unix_nano += 1,
                &|span| span.attributes.truncate(1),
                &|span| span.flags = 1,
            ];
            for change in changes {
                let mut wrong = right.clone();
                span(&mut wrong, change);
                assert_eq!(unequal(trace, wrong), 1);
            }
            let mut twice = right.clone();
            let spans = &mut twice.resource_spans[0].scope_spans[0].spans;
            spans.push(spans[idx].clone());
            assert_ne!(unequal(trace, twice), 0);
        }
        let mut other = right.clone();
        other.resource_spans[0].resource = None;
        assert_eq!(unequal(trace, other), 1);
    }
}

#[test]
fn what_nobody_knows_is_left_out_of_sums() {
    assert_eq!(of_run("r", &[]), "user_id = 'r'");
    assert_eq!(of_run("r", &["r-1".to_owned(), "r-2".to_owned()]), "user_id = 'r' AND session_id NOT IN ('r-1', 'r-2')");
}
