//! Claims about corrections: the last one wins, only what it names changes, applying twice changes nothing.

use assay_schemas::{
    table::Row as _,
    tables::{CorrectionRow, CostLineRow, LogRow, Origin, SpanRow},
};

use super::*;

fn set(patches: &[(i64, &str, &str)]) -> CorrectionSet {
    let row = |(position, span_id, patch): &(i64, &str, &str)| CorrectionRow {
        origin: Origin { project_id: "default".into(), wal_position: *position, ..Origin::default() },
        trace_id: "t".into(),
        span_id: (*span_id).into(),
        patch: (*patch).into(),
        reason: "late_child".into(),
        log_id: None,
    };
    CorrectionSet::new(Correction::read(&CorrectionRow::batch(patches.iter().map(row)), 0))
}

fn span(span_id: &str) -> SpanRow {
    let mut row = SpanRow { trace_id: "t".into(), span_id: span_id.into(), ..SpanRow::default() };
    row.genai.counted = true;
    row.genai.session_id = Some("s".into());
    row
}

fn corrected(set: &CorrectionSet, rows: Vec<SpanRow>) -> Vec<SpanRow> {
    let once = set.apply(TableId::Spans, &SpanRow::batch(rows));
    let twice = set.apply(TableId::Spans, &once);
    assert_eq!(once, twice, "applying twice changes nothing");
    (0..once.num_rows()).map(|row| SpanRow::read(&once, row)).collect()
}

#[test]
fn only_the_named_columns_of_the_named_span_change() {
    let set = set(&[(
        1,
        "0a",
        r#"{"counted": false, "uncounted_reason": "wrapper", "cost_usd": "0.000000000000123", "trace_state": "x"}"#,
    )]);
    let found = corrected(&set, vec![span("0a"), span("0b")]);
    let mut expected = span("0a");
    expected.genai.counted = false;
    expected.genai.uncounted_reason = Some("wrapper".into());
    expected.genai.cost_usd = Some("0.000000000000123".parse().unwrap());
    assert_eq!(found, [expected, span("0b")]);
}

#[test]
fn later_positions_win_column_by_column_and_null_is_a_value() {
    let set = set(&[
        (9, "0a", r#"{"session_id": null}"#),
        (5, "0a", r#"{"session_id": "old", "user_id": "u", "input_messages": [{"role": "user"}]}"#),
    ]);
    let found = corrected(&set, vec![span("0a")]);
    assert_eq!(found[0].genai.session_id, None);
    assert_eq!(found[0].genai.user_id.as_deref(), Some("u"));
    assert_eq!(found[0].genai.input_messages.as_deref(), Some(r#"[{"role":"user"}]"#));
}

#[test]
fn the_cost_of_a_span_is_not_the_cost_of_its_lines() {
    let set = set(&[(1, "0a", r#"{"counted": false, "cost_usd": "1"}"#)]);
    let line = CostLineRow {
        trace_id: Some("t".into()),
        span_id: Some("0a".into()),
        cost_usd: Some("0.5".parse().unwrap()),
        counted: true,
        ..CostLineRow::default()
    };
    let found = set.apply(TableId::CostLines, &CostLineRow::batch([line.clone()]));
    assert_eq!(CostLineRow::read(&found, 0), CostLineRow { counted: false, ..line });
}

#[test]
fn a_projection_is_corrected_as_far_as_it_goes() {
    let set = set(&[(1, "0a", r#"{"counted": false, "session_id": "new"}"#)]);
    let whole = SpanRow::batch([span("0a")]);
    let index = |name: &str| whole.schema().index_of(name).unwrap();
    let some = whole.project(&[index("span_id"), index("session_id"), index("trace_id")]).unwrap();
    let found = set.apply(TableId::Spans, &some);
    assert_eq!(found.column(1).as_string::<i32>().value(0), "new");
    let without_keys = whole.project(&[index("session_id")]).unwrap();
    assert_eq!(set.apply(TableId::Spans, &without_keys), without_keys);
}

#[test]
fn a_patch_that_is_no_object_corrects_nothing() {
    assert!(set(&[(1, "0a", "[1]")]).is_empty());
}

#[test]
fn a_log_record_is_corrected_by_its_own_identity_and_only_its_price() {
    let patch = r#"{"cost_usd": "0.5", "cost_source": "computed", "counted": false}"#;
    let correction = |trace_id: &str| CorrectionRow {
        origin: Origin { project_id: "default".into(), wal_position: 1, ..Origin::default() },
        trace_id: trace_id.into(),
        patch: patch.into(),
        log_id: Some("0123456789abcdef00000001".into()),
        ..CorrectionRow::default()
    };
    let log = |trace_id: Option<&str>| {
        let mut row =
            LogRow { trace_id: trace_id.map(Into::into), log_id: "0123456789abcdef00000001".into(), ..LogRow::default() };
        row.genai.counted = true;
        row
    };
    for trace_id in [None, Some("t")] {
        let set = CorrectionSet::new(Correction::read(&CorrectionRow::batch([correction(trace_id.unwrap_or_default())]), 0));
        let found = LogRow::read(&set.apply(TableId::Logs, &LogRow::batch([log(trace_id)])), 0);
        assert_eq!((found.genai.cost_usd, found.genai.counted), (Some("0.5".parse().unwrap()), true));
        // The span it was written in is another row.
        assert!(set.concerns(TableId::Logs) && !set.concerns(TableId::Spans) && !set.concerns(TableId::CostLines));
        let other = LogRow { log_id: "0123456789abcdef00000002".into(), ..log(trace_id) };
        assert_eq!(LogRow::read(&set.apply(TableId::Logs, &LogRow::batch([other.clone()])), 0), other);
    }
}

#[test]
fn a_set_that_was_text_corrects_the_same() {
    let set = set(&[
        (9, "0a", r#"{"session_id": null}"#),
        (5, "0a", r#"{"session_id": "old", "counted": false, "cost_usd": "0.000000000000123"}"#),
        (7, "0b", r#"{"input_messages": [{"role": "user"}]}"#),
    ]);
    let read = CorrectionSet::from_text(&set.to_text().unwrap()).unwrap();
    assert_eq!(read.len(), 3);
    let rows = || vec![span("0a"), span("0b"), span("0c")];
    assert_eq!(corrected(&read, rows()), corrected(&set, rows()));
    assert!(CorrectionSet::from_text("[{}]").is_err());
}
