//! Every rule of the index, in every order of arrival that matters.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use assay_schemas::{
    ids::{ProjectId, Signal},
    table::Row,
    tables::{CorrectionRow, CostLineRow, LedgerRow, LogRow, ScoreRow, SpanRow, TableId},
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::*;
use crate::{
    normalised::{CallFacts, LogMessage},
    prepared::{LogDraft, Receipt, SpanDraft},
};

const SECOND: i64 = 1_000_000_000;
const NOON: i64 = 1_795_262_400 * SECOND;

/// A span in a test's words; times are seconds after noon.
#[derive(Clone, Debug)]
struct S {
    trace: u128,
    id: u64,
    parent: u64,
    at: i64,
    is_call: bool,
    tokens: Option<(i64, i64)>,
    response: Option<&'static str>,
    messages: bool,
    native: bool,
    repeats_parent: bool,
    failed: bool,
    session: Option<&'static str>,
}

fn span(id: u64, parent: u64) -> S {
    S {
        trace: 1,
        id,
        parent,
        at: 0,
        is_call: false,
        tokens: None,
        response: None,
        messages: false,
        native: false,
        repeats_parent: false,
        failed: false,
        session: None,
    }
}

fn call(id: u64, parent: u64, tokens: (i64, i64)) -> S {
    S { is_call: true, tokens: Some(tokens), messages: true, ..span(id, parent) }
}

impl S {
    fn draft(&self) -> SpanDraft {
        let mut row = SpanRow {
            trace_id: format!("{:032x}", self.trace),
            span_id: format!("{:016x}", self.id),
            parent_span_id: (self.parent != 0).then(|| format!("{:016x}", self.parent)),
            start_time: (NOON + self.at * SECOND) / 1000,
            duration_ns: 2 * SECOND,
            status_code: if self.failed { "ERROR" } else { "UNSET" }.into(),
            ..SpanRow::default()
        };
        row.genai.input_tokens = self.tokens.map(|(input, _)| input);
        row.genai.output_tokens = self.tokens.map(|(_, output)| output);
        row.genai.response_id = self.response.map(str::to_owned);
        row.genai.session_id = self.session.map(str::to_owned);
        if self.is_call {
            row.genai.operation = Some("chat".to_owned());
            row.genai.provider = Some("openai".to_owned());
            row.genai.request_model = Some("gpt-4o".to_owned());
        }
        let facts = CallFacts {
            is_call: self.is_call,
            has_usage: self.tokens.is_some(),
            response_id: self.response.map(str::to_owned),
            has_messages: self.messages,
            native: self.native,
            repeats_parent: self.repeats_parent,
            log_message: None,
        };
        SpanDraft::new(row, facts, Vec::new())
    }
}

fn log(id: &str, span: u64, at: i64, facts: CallFacts) -> LogDraft {
    let time = NOON + at * SECOND;
    let mut row = LogRow { log_id: id.to_owned(), time: time / 1000, time_unix_nano: time, ..LogRow::default() };
    row.trace_id = Some(format!("{:032x}", 1));
    row.span_id = Some(format!("{span:016x}"));
    LogDraft { row, facts, scores: Vec::new() }
}

fn log_call(id: &str, span: u64, at: i64, (input, output): (i64, i64)) -> LogDraft {
    let mut draft = log(id, span, at, CallFacts { is_call: true, has_usage: true, ..CallFacts::default() });
    draft.row.genai.input_tokens = Some(input);
    draft.row.genai.output_tokens = Some(output);
    draft.row.genai.provider = Some("anthropic".to_owned());
    draft.row.genai.request_model = Some("claude-haiku-4-5".to_owned());
    draft
}

/// A server that forgets nothing: the rows it wrote, with corrections applied.
#[derive(Default)]
struct World {
    index: CallIndex,
    requests: i64,
    spans: BTreeMap<(String, String), SpanRow>,
    logs: Vec<LogRow>,
    lines: Vec<CostLineRow>,
    scores: Vec<ScoreRow>,
    ledger: Vec<LedgerRow>,
    corrections: Vec<CorrectionRow>,
}

fn rows<R: Row>(batches: &[(TableId, RecordBatch)]) -> Vec<R> {
    let of_table = batches.iter().filter(|(table, _)| *table == R::TABLE);
    of_table.flat_map(|(_, batch)| (0..batch.num_rows()).map(|row| R::read(batch, row))).collect()
}

fn prices() -> &'static PriceTable {
    static PRICES: std::sync::OnceLock<PriceTable> = std::sync::OnceLock::new();
    PRICES.get_or_init(PriceTable::embedded)
}

impl World {
    fn send(&mut self, spans: &[S]) -> &mut Self {
        self.settle(spans.iter().map(S::draft).collect(), Vec::new())
    }

    fn send_logs(&mut self, logs: Vec<LogDraft>) -> &mut Self {
        self.settle(Vec::new(), logs)
    }

    fn settle(&mut self, spans: Vec<SpanDraft>, logs: Vec<LogDraft>) -> &mut Self {
        self.requests += 1;
        let receipt = Receipt {
            project: ProjectId::default_project(),
            signal: if logs.is_empty() { Signal::Traces } else { Signal::Logs },
            received_at_unix_nano: NOON + self.requests * SECOND,
            request_bytes: 1,
            wal_position: 0,
        };
        let mut prepared = Prepared { spans, logs, ..Prepared::new(receipt) };
        prepared.set_position(u64::try_from(self.requests).expect("few requests"));
        let batches = self.index.settle(prepared, prices());
        for row in rows::<SpanRow>(&batches) {
            let known = self.spans.insert((row.trace_id.clone(), row.span_id.clone()), row);
            assert!(known.is_none(), "a span was written twice");
        }
        self.logs.extend(rows::<LogRow>(&batches));
        self.lines.extend(rows::<CostLineRow>(&batches));
        self.scores.extend(rows::<ScoreRow>(&batches));
        self.ledger.extend(rows::<LedgerRow>(&batches));
        for correction in rows::<CorrectionRow>(&batches) {
            self.correct(&correction);
            self.corrections.push(correction);
        }
        self
    }

    fn correct(&mut self, correction: &CorrectionRow) {
        let patch: Value = serde_json::from_str(&correction.patch).expect("a JSON patch");
        let key = (correction.trace_id.clone(), correction.span_id.clone());
        let row = self.spans.get_mut(&key).expect("only written spans are corrected");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        for (column, value) in patch.as_object().expect("an object") {
            match column.as_str() {
                "counted" => {
                    row.genai.counted = value.as_bool().expect("a boolean");
                    let of_span =
                        |line: &&mut CostLineRow| line.span_id.as_ref() == Some(&key.1) && line.trace_id.as_ref() == Some(&key.0);
                    self.lines.iter_mut().filter(of_span).for_each(|line| line.counted = row.genai.counted);
                }
                "uncounted_reason" => row.genai.uncounted_reason = text(value),
                "session_id" => row.genai.session_id = text(value),
                "user_id" => row.genai.user_id = text(value),
                "input_messages" => row.genai.input_messages = text(value),
                "output_messages" => row.genai.output_messages = text(value),
                "input_preview" => row.genai.input_preview = text(value),
                "output_preview" => row.genai.output_preview = text(value),
                "finish_reasons" => row.genai.finish_reasons = text(value),
                "system_instructions" => row.genai.system_instructions = text(value),
                other => panic!("`{other}` corrected"),
            }
        }
    }

    fn span(&self, id: u64) -> &SpanRow {
        self.spans.values().find(|row| row.span_id == format!("{id:016x}")).expect("a span")
    }

    /// Ids of the spans that count, then what the others say.
    fn verdicts(&self) -> String {
        let name = |row: &SpanRow| row.span_id.trim_start_matches('0').to_owned();
        let counted = self.spans.values().filter(|row| row.genai.counted).map(name).collect::<Vec<_>>().join(" ");
        let not =
            self.spans.values().filter_map(|row| Some(format!(" {}={}", name(row), row.genai.uncounted_reason.as_deref()?)));
        format!("{counted} |{}", not.collect::<String>())
    }

    fn usage(&self) -> (i64, i64) {
        let spans = self.spans.values().map(|row| &row.genai).chain(self.logs.iter().map(|row| &row.genai));
        let counted = spans.filter(|genai| genai.counted);
        counted.fold((0, 0), |sum, genai| (sum.0 + genai.input_tokens.unwrap_or(0), sum.1 + genai.output_tokens.unwrap_or(0)))
    }
}

/// The outcome must be `expected` for every order of arrival, each span in a request of its own, and for all in one request.
fn check(spans: &[S], expected: &str) {
    let mut together = World::default();
    assert_eq!(together.send(spans).verdicts(), expected, "together");
    assert!(together.corrections.is_empty(), "one request needs no corrections");
    for order in permutations(spans.len()) {
        let mut world = World::default();
        for idx in &order {
            world.send(&spans[*idx..=*idx]);
        }
        assert_eq!(world.verdicts(), expected, "in the order {order:?}");
        let counted = world.spans.values().filter(|row| row.genai.counted);
        let costs: Decimal = counted.filter_map(|row| row.genai.cost_usd).sum();
        let lines: Decimal = world.lines.iter().filter(|line| line.counted).filter_map(|line| line.cost_usd).sum();
        assert_eq!(costs, lines, "in the order {order:?}");
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for at in 0..n {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            all.push(longer);
        }
    }
    all
}

#[test]
fn the_leaf_most_call_counts_and_wrappers_do_not() {
    let agent = S { tokens: Some((30, 3)), ..span(1, 0) };
    check(&[agent.clone(), call(2, 1, (10, 1)), call(3, 1, (20, 2))], "2 3 | 1=wrapper");
    // A wrapper that calls itself a call, with a plain span between.
    check(&[call(1, 0, (30, 3)), span(2, 1), call(3, 2, (30, 3))], "3 | 1=wrapper");
    // The last step's usage on the parent is no better.
    check(
        &[
            S { response: Some("b"), ..agent },
            S { response: Some("a"), ..call(2, 1, (10, 1)) },
            S { response: Some("b"), ..call(3, 1, (30, 3)) },
        ],
        "2 3 | 1=wrapper",
    );
}

#[test]
fn usage_that_no_call_reports_counts_once() {
    let usage = |id, parent| S { tokens: Some((10, 1)), ..span(id, parent) };
    check(&[usage(1, 0), usage(2, 1), span(3, 2)], "2 | 1=wrapper");
    // A part of a call that repeats its usage is no call.
    check(&[call(1, 0, (10, 1)), usage(2, 1)], "1 | 2=duplicate");
}

#[test]
fn failed_calls_and_retries_are_calls() {
    let failed = S { failed: true, tokens: None, ..call(2, 1, (0, 0)) };
    check(&[call(1, 0, (10, 1)), failed.clone(), call(3, 1, (10, 1))], "2 3 | 1=wrapper");
    check(&[failed], "2 |");
}

#[test]
fn an_echo_below_its_call_is_a_duplicate() {
    let native = |id, parent| S { native: true, messages: false, ..call(id, parent, (10, 1)) };
    check(&[call(1, 0, (10, 1)), native(2, 1)], "1 | 2=duplicate");
    check(&[S { response: Some("m"), ..call(1, 0, (10, 1)) }, S { response: Some("m"), ..native(2, 1) }], "1 | 2=duplicate");
    // The wrapper knows no usage: the echo does.
    check(&[S { tokens: None, ..call(1, 0, (0, 0)) }, native(2, 1)], "2 | 1=wrapper");
    // Under a wrapper with other calls too, it is a call.
    check(&[call(1, 0, (20, 2)), native(2, 1), call(3, 1, (10, 1))], "2 3 | 1=wrapper");
    check(&[call(1, 0, (10, 1)), S { repeats_parent: true, tokens: None, ..call(2, 1, (0, 0)) }], "1 | 2=duplicate");
    // A report without usage below one with usage.
    check(&[call(1, 0, (10, 1)), S { tokens: None, ..call(2, 1, (0, 0)) }], "1 | 2=duplicate");
}

#[test]
fn one_response_is_one_call_across_traces() {
    let reported = |trace, id, parent| S { trace, response: Some("resp-1"), ..call(id, parent, (10, 1)) };
    // Two instrumentations: the framework's span is inside a trace, the client's span is a root.
    check(&[span(1, 0), reported(1, 2, 1), reported(2, 3, 0)], "2 | 3=duplicate");
    // The provider's SDK in a trace of its own, with a parent even.
    check(&[reported(1, 1, 0), S { native: true, ..reported(2, 3, 2) }], "1 | 3=duplicate");
    // An agent above the report that does not count repeats its usage: a wrapper all the same.
    let agent = S { trace: 2, tokens: Some((10, 1)), ..span(4, 0) };
    check(&[span(1, 0), reported(1, 2, 1), agent, S { native: true, ..reported(2, 3, 4) }], "2 | 3=duplicate 4=wrapper");
    // Without usage it is the poorer report.
    check(&[S { tokens: None, ..reported(1, 2, 1) }, reported(2, 3, 0)], "3 | 2=duplicate");
    // Hours apart it is another call.
    check(&[reported(1, 2, 0), S { at: 7200, ..reported(2, 3, 0) }], "2 3 |");
}

#[test]
fn a_constant_response_id_does_not_swallow_calls() {
    let mut world = World::default();
    for id in 1..=100 {
        world.send(&[S { trace: u128::from(id), response: Some("chatcmpl-mock"), ..call(id, 0, (10, 1)) }]);
    }
    let counted = world.spans.values().filter(|row| row.genai.counted).count();
    assert!(counted >= 88, "{counted}");
}

#[test]
fn parent_and_child_with_one_response_keep_the_richer() {
    let outer = S { response: Some("r"), session: Some("s"), ..call(1, 0, (10, 1)) };
    let inner = S { response: Some("r"), session: None, messages: false, ..call(2, 1, (10, 1)) };
    check(&[outer.clone(), inner.clone()], "1 | 2=duplicate");
    check(&[S { messages: false, ..outer }, S { messages: true, ..inner }], "2 | 1=duplicate");
}

#[test]
fn a_resent_span_is_not_written_again() {
    let mut world = World::default();
    world.send(&[call(1, 0, (10, 1)), span(2, 1)]).send(&[call(1, 0, (10, 1)), span(3, 1), span(3, 1)]);
    assert_eq!(world.spans.len(), 3);
    assert_eq!(world.usage(), (10, 1));
    let counts = world.ledger.iter().map(|row| (row.accepted, row.stored, row.resent)).collect::<Vec<_>>();
    assert_eq!(counts, [(2, 2, 0), (1, 1, 2)]);
}

#[test]
fn coding_agent_logs_and_spans_are_one_call() {
    let interaction = span(1, 0);
    let (one, two) = (call(2, 1, (7123, 29)), S { at: 5, ..call(3, 1, (7154, 17)) });
    let logs = || vec![log_call("l1", 1, 2, (7123, 29)), log_call("l2", 1, 7, (7154, 17))];
    // Spans first.
    let mut world = World::default();
    world.send(&[interaction.clone(), one.clone(), two.clone()]).send_logs(logs());
    assert_eq!(world.verdicts(), "2 3 |");
    assert!(world.logs.iter().all(|log| log.genai.uncounted_reason.as_deref() == Some("duplicate")));
    // Logs first: they are written as counting and stay so.
    let mut world = World::default();
    world.send_logs(logs()).send(&[interaction, one, two]);
    assert_eq!(world.verdicts(), " | 2=duplicate 3=duplicate");
    assert_eq!(world.usage(), (7123 + 7154, 29 + 17));
    assert!(world.lines.iter().filter(|line| line.counted).all(|line| line.log_id.is_some() && line.span_id.is_none()));
    // Logs alone, and resent.
    let mut world = World::default();
    world.send_logs(logs()).send_logs(logs());
    assert_eq!(world.usage(), (7123 + 7154, 29 + 17));
    // Two calls with equal usage are two.
    let mut world = World::default();
    world
        .send_logs(vec![log_call("l1", 1, 2, (5, 5)), log_call("l2", 1, 3, (5, 5))])
        .send(&[call(2, 1, (5, 5)), call(3, 1, (5, 5))]);
    assert_eq!(world.usage(), (10, 10));
}

#[test]
fn a_log_call_beats_a_span_that_only_carries_its_usage() {
    let carrier = S { trace: 9, tokens: Some((4312, 113)), ..span(2, 0) };
    let record = || {
        let mut record = log_call("l", 0, 1, (4312, 113));
        (record.row.trace_id, record.row.span_id) = (None, None);
        record.row.genai.session_id = Some("conversation".to_owned());
        vec![record]
    };
    for spans_first in [true, false] {
        let mut world = World::default();
        if spans_first {
            world.send(std::slice::from_ref(&carrier)).send_logs(record());
        } else {
            world.send_logs(record()).send(std::slice::from_ref(&carrier));
        }
        assert_eq!(world.verdicts(), " | 2=duplicate");
        assert_eq!(world.usage(), (4312, 113));
    }
}

#[test]
fn one_failure_in_two_traces_is_one_call() {
    let failed = |trace, id, at| S { trace, at, failed: true, tokens: None, ..call(id, 0, (0, 0)) };
    let native = |trace, id, at| S { native: true, ..failed(trace, id, at) };
    check(&[failed(1, 1, 0), native(2, 2, 0)], "1 | 2=duplicate");
    check(&[failed(1, 1, 0), native(2, 2, 60)], "1 2 |");
    check(&[failed(1, 1, 0), failed(2, 2, 0)], "1 2 |");
}

#[test]
fn session_and_user_are_inherited_in_any_order() {
    let named = S { session: Some("s-1"), ..span(2, 1) };
    for order in permutations(3) {
        let spans = [span(1, 0), named.clone(), call(3, 2, (1, 1))];
        let mut world = World::default();
        for idx in &order {
            world.send(&spans[*idx..=*idx]);
        }
        for id in 1..=3 {
            assert_eq!(world.span(id).genai.session_id.as_deref(), Some("s-1"), "span {id} in the order {order:?}");
        }
    }
    // A branch with a session of its own hands that down.
    let mut world = World::default();
    world.send(&[S { session: Some("a"), ..span(1, 0) }, S { session: Some("b"), ..span(2, 1) }, span(3, 2), span(4, 1)]);
    assert_eq!(world.span(3).genai.session_id.as_deref(), Some("b"));
    assert_eq!(world.span(4).genai.session_id.as_deref(), Some("a"));
}

fn message(at: i64, input: &[&str], output: &[&str]) -> LogDraft {
    let text = |role: &str, text: &&str| json!({"role": role, "parts": [{"type": "text", "content": text}]});
    let answer =
        |content: &&str| json!({"role": "assistant", "parts": [{"type": "text", "content": content}], "finish_reason": "stop"});
    let message = LogMessage {
        input: input.iter().map(|content| text("user", content)).collect(),
        output: output.iter().map(answer).collect(),
        ..LogMessage::default()
    };
    log(&format!("m{at}"), 2, at, CallFacts { log_message: Some(message), ..CallFacts::default() })
}

#[test]
fn log_messages_join_their_span_once_and_in_order() {
    let bare = S { messages: false, ..call(2, 1, (10, 1)) };
    let records = || vec![message(0, &["first"], &[]), message(1, &["second"], &[]), message(2, &[], &["answer"])];
    let expect = |world: &World| {
        let genai = &world.span(2).genai;
        let input: Value = serde_json::from_str(genai.input_messages.as_deref().expect("input")).expect("JSON");
        assert_eq!(input.as_array().map(Vec::len), Some(2));
        assert_eq!(input[1]["parts"][0]["content"], "second");
        assert_eq!(genai.input_preview.as_deref(), Some("second"));
        assert_eq!(genai.output_preview.as_deref(), Some("answer"));
        assert_eq!(genai.finish_reasons.as_deref(), Some(r#"["stop"]"#));
    };
    // Logs first, span first, in pieces, resent.
    let mut world = World::default();
    expect(world.send_logs(records()).send(std::slice::from_ref(&bare)));
    assert!(world.corrections.is_empty());
    let mut world = World::default();
    expect(world.send(std::slice::from_ref(&bare)).send_logs(records()));
    let mut world = World::default();
    world.send_logs(records().split_off(2)).send(std::slice::from_ref(&bare));
    world.send_logs(records()[..1].to_vec()).send_logs(records()[1..2].to_vec()).send_logs(records());
    expect(&world);
}

#[test]
fn a_span_with_messages_of_its_own_keeps_them() {
    let mut draft = call(2, 1, (10, 1)).draft();
    draft.row.genai.input_messages = Some("[1]".to_owned());
    let mut world = World::default();
    world.settle(vec![draft], Vec::new()).send_logs(vec![message(0, &["again"], &["answer"])]);
    assert_eq!(world.span(2).genai.input_messages.as_deref(), Some("[1]"));
    assert!(world.span(2).genai.output_messages.is_some());
}

#[test]
fn an_evaluation_result_told_twice_is_one_score() {
    let score = ScoreDraft { name: "relevance".to_owned(), value: Some(0.5), ..ScoreDraft::default() };
    let mut draft = call(2, 1, (10, 1)).draft();
    draft.scores.push(score.clone());
    let mut event = log("e", 2, 1, CallFacts::default());
    event.scores.push(score.clone());
    let mut world = World::default();
    world.settle(vec![draft], Vec::new()).send_logs(vec![event]);
    assert_eq!(world.scores.len(), 1);
    assert_eq!(world.scores[0].span_id.as_deref(), Some("0000000000000002"));
    // By the response alone.
    let mut draft = S { response: Some("r"), ..call(7, 0, (1, 1)) }.draft();
    draft.row.trace_id = format!("{:032x}", 9);
    let mut event = log("f", 2, 1, CallFacts::default());
    (event.row.trace_id, event.row.span_id) = (None, None);
    event.scores.push(ScoreDraft { response_id: Some("r".to_owned()), ..score });
    world.settle(vec![draft], Vec::new()).send_logs(vec![event]);
    assert_eq!(world.scores[1].span_id.as_deref(), Some("0000000000000007"));
}

#[test]
fn a_seeded_index_decides_as_if_it_had_never_stopped() {
    let seed = |row: &SpanRow| SeedRow {
        project: ProjectId::default_project(),
        received_at_unix_nano: NOON,
        is_log: false,
        trace_id: Some(row.trace_id.clone()),
        span_id: Some(row.span_id.clone()),
        parent_span_id: row.parent_span_id.clone(),
        start_time_unix_nano: row.start_time * 1000 + row.start_time_ns_part,
        duration_ns: row.duration_ns,
        failed: row.status_code == "ERROR",
        operation: row.genai.operation.clone(),
        counted: row.genai.counted,
        uncounted_reason: row.genai.uncounted_reason.clone(),
        response_id: row.genai.response_id.clone(),
        input_tokens: row.genai.input_tokens,
        output_tokens: row.genai.output_tokens,
        session_id: row.genai.session_id.clone(),
        user_id: row.genai.user_id.clone(),
        has_messages: true,
    };
    let mut before = World::default();
    before.send(&[call(2, 1, (10, 1)), S { trace: 5, response: Some("r"), ..call(9, 8, (4, 4)) }]);
    let mut after = World { spans: before.spans.clone(), requests: 1, ..World::default() };
    after.index.seed(before.spans.values().map(seed));
    after.send(&[
        call(2, 1, (10, 1)),
        S { tokens: Some((10, 1)), session: Some("s"), ..span(1, 0) },
        S { trace: 6, response: Some("r"), ..call(10, 0, (4, 4)) },
    ]);
    assert_eq!(after.verdicts(), "2 9 | 1=wrapper a=duplicate");
    assert_eq!(after.span(2).genai.session_id.as_deref(), Some("s"));
}

#[test]
fn memory_is_bounded_by_age_spans_and_bytes() {
    let index = CallIndex::new(Limits { spans_max: 100, ..Limits::default() });
    let mut world = World { index, ..World::default() };
    for id in 1..=500 {
        world.send(&[S { trace: u128::from(id), response: Some("r"), ..call(id, 0, (1, 1)) }]);
        assert!(world.index.spans() <= 100);
    }
    world.requests += 3600;
    world.send(&[S { trace: 9999, ..span(9999, 0) }]);
    assert_eq!(world.index.spans(), 1);
    assert!(world.index.projects.lock().by_id.values().all(Project::is_tidy));
}

#[test]
fn a_project_that_fell_silent_is_forgotten() {
    let mut world = World::default();
    world.send(&[call(1, 0, (1, 1))]);
    let other = Receipt {
        project: ProjectId::new("other").expect("a name"),
        signal: Signal::Traces,
        received_at_unix_nano: NOON + 3600 * SECOND,
        request_bytes: 1,
        wal_position: 9,
    };
    let prepared = Prepared { spans: vec![span(2, 0).draft()], ..Prepared::new(other) };
    let _ = world.index.settle(prepared, prices());
    assert_eq!(world.index.projects.lock().by_id.len(), 1);
    assert_eq!(world.index.spans(), 1);
}

#[test]
fn an_unpriced_call_has_lines_without_cost() {
    let mut draft = call(1, 0, (10, 1)).draft();
    draft.row.genai.request_model = Some("in-house".to_owned());
    let mut world = World::default();
    world.settle(vec![draft], Vec::new());
    assert_eq!(world.span(1).genai.cost_source.as_deref(), Some("unpriced"));
    assert_eq!(world.span(1).genai.cost_usd, None);
    assert_eq!(
        world.lines.iter().map(|line| (line.usage_kind.as_str(), line.units, line.cost_usd)).collect::<Vec<_>>(),
        [("input", 10, None), ("output", 1, None)]
    );
}

/// Up to eight spans in two traces: agents, calls, echoes, shared responses.
fn any_spans() -> impl Strategy<Value = Vec<S>> {
    let any_span = (0..4_u64, 0..5_u8, 0..4_u8, any::<bool>(), any::<bool>());
    prop::collection::vec(any_span, 1..8).prop_map(|spans| {
        let mut traces: HashMap<u64, u128> = HashMap::new();
        spans
            .into_iter()
            .enumerate()
            .map(|(idx, (parent, kind, response, native, messages))| {
                let id = idx as u64 + 1;
                let parent = if parent < id { id - parent - 1 } else { 0 };
                let trace = traces.get(&parent).copied().unwrap_or(1 + u128::from(native));
                traces.insert(id, trace);
                let response = ["a", "b"].get(usize::from(response)).copied();
                let tokens = Some((i64::from(1_u8 << idx), 1));
                let span = S { trace, ..span(id, parent) };
                match kind {
                    0 | 1 => span,
                    2 => S { tokens, ..span },
                    3 => S { is_call: true, tokens, response, messages, ..span },
                    _ => S { is_call: true, tokens, response, native, messages, ..span },
                }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn what_counts_does_not_depend_on_the_order_of_arrival(spans in any_spans(), keys in prop::collection::vec(any::<u64>(), 8), pieces in 1..4_usize) {
        let mut together = World::default();
        together.send(&spans);
        let mut shuffled: Vec<_> = spans.iter().zip(&keys).collect();
        shuffled.sort_by_key(|(_, key)| **key);
        let shuffled: Vec<S> = shuffled.into_iter().map(|(span, _)| span.clone()).collect();
        let mut apart = World::default();
        for request in shuffled.chunks(pieces) {
            apart.send(request);
        }
        prop_assert_eq!(together.verdicts(), apart.verdicts());
        prop_assert_eq!(together.usage(), apart.usage());
        prop_assert!(!spans.iter().any(|span| span.tokens.is_some()) || together.usage() != (0, 0), "usage was lost");
    }
}
