//! Sums of traces: how rows add up, and what is not believed.

use std::collections::HashMap;

use assay_schemas::{table::Row as _, tables::SpanRow};

use super::*;

fn span(trace: u64, at_us: i64) -> SpanRow {
    let mut row = SpanRow {
        trace_id: format!("{trace:032x}"),
        start_time: at_us,
        start_time_ns_part: 7,
        duration_ns: 500,
        ..SpanRow::default()
    };
    row.status_code = "UNSET".into();
    row
}

fn call(trace: u64, at_us: i64, cost: Option<&str>) -> SpanRow {
    let mut row = span(trace, at_us);
    row.genai.counted = true;
    row.genai.input_tokens = Some(10);
    row.genai.cost_usd = cost.map(|c| c.parse().unwrap());
    row.genai.cost_source = Some(if cost.is_some() { "computed" } else { "unpriced" }.into());
    row
}

fn sums_of(rows: Vec<SpanRow>) -> HashMap<TraceKey, TraceSum> {
    let mut collector = SumCollector::default();
    collector.add(&SpanRow::batch(rows));
    let n_traces = collector.sums.iter().map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>().len();
    let keys: Vec<TraceKey> = {
        let mut keys: Vec<_> = collector.sums.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    };
    let sums = decode(collector.encode().unwrap(), n_traces).expect("what was just written");
    keys.into_iter().enumerate().map(|(idx, key)| (key, sums.get(idx))).collect()
}

#[test]
fn a_trace_adds_up_over_its_rows() {
    let mut failed = span(1, 30);
    failed.status_code = "ERROR".into();
    let mut named = span(1, 30);
    named.genai.error_type = Some("Timeout".into());
    let mut announced = span(1, 30);
    announced.pending = Some(true);
    let mut wrapper = call(1, 5, Some("9"));
    wrapper.genai.counted = false;
    let sums = sums_of(vec![call(1, 20, Some("0.5")), call(1, 10, None), failed, named, announced, wrapper, span(2, 1)]);
    let expected = TraceSum {
        start_ns: 5_007,
        last_start_ns: 30_007,
        end_ns: 30_507,
        spans: 5,
        errors: 2,
        calls: 2,
        unpriced_calls: 1,
        input_tokens: Some(20),
        output_tokens: None,
        cost: Some(500_000_000_000_000),
    };
    assert_eq!(sums[&trace_key(&format!("{:032x}", 1))], expected);
    assert_eq!(sums[&trace_key(&format!("{:032x}", 2))].cost, None);
}

#[test]
fn a_trace_in_several_runs_is_one_row() {
    let sums = sums_of(vec![span(1, 10), span(2, 20), span(1, 30)]);
    assert_eq!(sums.len(), 2);
    assert_eq!(sums[&trace_key(&format!("{:032x}", 1))].spans, 2);
}

#[test]
fn parts_of_a_trace_add_up_in_any_order() {
    let rows = vec![call(1, 20, Some("0.5")), call(1, 10, None), span(1, 7)];
    let whole = sums_of(rows.clone());
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut parts = order.iter().flat_map(|idx| sums_of(vec![rows[*idx].clone()]).into_values());
        let mut sum = parts.next().unwrap();
        parts.for_each(|part| sum.add(&part));
        assert_eq!(Some(&sum), whole.values().next());
    }
}

#[test]
fn damaged_sums_are_not_believed() {
    let mut collector = SumCollector::default();
    collector.add(&SpanRow::batch([span(1, 1), span(2, 2)]));
    let content = collector.encode().unwrap();
    assert!(decode(content.clone(), 3).is_none(), "of another file");
    assert!(decode(content.slice(..content.len() - 9), 2).is_none());
}
