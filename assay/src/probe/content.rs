//! What the prober writes: a round of traces, made from a seed and a number alone, with what Assay must say about them. Nothing has to be
//! remembered of a round but its number and its time, so a prober that starts again knows all that should be there.

use std::ops::AddAssign;

use assay_schemas::prices::{PriceRequest, PriceTable, Usage};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList, any_value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link, SpanKind},
        status::StatusCode,
    },
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::demo::{
    dice::{Dice, mixed},
    trace::attribute,
};

/// Service that the prober's spans say they come from.
pub(crate) const SERVICE: &str = "assay-probe";
/// Traces of one round, which are one request.
pub(crate) const TRACES_PER_ROUND: u64 = 2;
/// All spans of a round begin within this time after the round's; nanoseconds.
pub(crate) const ROUND_NANOS: u64 = 1_000_000;
/// Spans end at most so long after the round's time; nanoseconds.
pub(crate) const SPAN_NANOS_MAX: u64 = 2_000_000_000;

/// What is called: provider and model. All have a price, which a test checks.
pub(crate) const MODELS: [(&str, &str); 4] =
    [("openai", "gpt-4o-mini"), ("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("gcp.gemini", "gemini-2.5-flash")];
const WORDS: [&str; 8] = ["refund", "größte", "naïve", "ответ", "東京", "\u{1F680}", "back\\slash", "\"quoted\""];

/// One round: a request of some traces that belong to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Run that it belongs to; the user id of its spans.
    pub(crate) run: String,
    /// Seed of the run.
    pub(crate) seed: u64,
    /// Number within the run, from 0.
    pub(crate) number: u64,
    /// When its first span began, nanoseconds since 1970; whole microseconds.
    pub(crate) base_unix_nano: u64,
}

/// A trace as it was sent, and what its calls cost.
#[derive(Clone, Debug)]
pub(crate) struct KnownTrace {
    /// 32 hex digits.
    pub(crate) trace_id: String,
    /// A word that is in no other trace; it stands in the messages of the first call, or in the name of the root.
    pub(crate) word: String,
    /// In order of start, the root first.
    pub(crate) spans: Vec<KnownSpan>,
}

/// A span as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct KnownSpan {
    pub(crate) span: Span,
    /// What it says of a call, if it does.
    pub(crate) call: Option<KnownCall>,
}

/// A call of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownCall {
    pub(crate) provider: &'static str,
    pub(crate) model: &'static str,
    pub(crate) usage: Usage,
    /// What it costs, US dollars.
    pub(crate) cost_usd: Decimal,
}

/// What a number of spans adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) traces: i64,
    pub(crate) spans: i64,
    pub(crate) calls: i64,
    pub(crate) errors: i64,
    pub(crate) input_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) cache_read_tokens: i64,
    /// US dollars.
    pub(crate) cost_usd: Decimal,
}

impl AddAssign<&Sums> for Sums {
    fn add_assign(&mut self, other: &Sums) {
        self.traces += other.traces;
        self.spans += other.spans;
        self.calls += other.calls;
        self.errors += other.errors;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cost_usd += other.cost_usd;
    }
}

impl Round {
    /// Session id of its spans.
    pub(crate) fn session(&self) -> String {
        format!("{}-{}", self.run, self.number)
    }

    /// Its traces. `prices` decide what their calls cost.
    pub(crate) fn traces(&self, prices: &PriceTable) -> Vec<KnownTrace> {
        (0..TRACES_PER_ROUND).map(|idx| Writer::new(self, idx, prices).trace()).collect()
    }

    /// The request that carries `traces`.
    pub(crate) fn request(&self, traces: &[KnownTrace]) -> ExportTraceServiceRequest {
        let spans = traces.iter().flat_map(|trace| trace.spans.iter().map(|known| known.span.clone())).collect();
        let scope_spans = ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() };
        let resource_spans =
            ResourceSpans { resource: Some(self.resource()), scope_spans: vec![scope_spans], schema_url: String::new() };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
    }

    /// What its spans are sent under.
    pub(crate) fn resource(&self) -> Resource {
        let attributes = vec![attribute("service.name", SERVICE), attribute("service.instance.id", &self.run)];
        Resource { attributes, ..Resource::default() }
    }

    /// The number that decides the content of trace `idx`.
    fn stream(&self, idx: u64) -> u64 {
        self.number * TRACES_PER_ROUND + idx
    }
}

/// The instrumentation scope of all spans.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "assay.probe".to_owned(), version: "1".to_owned(), ..InstrumentationScope::default() }
}

impl Sums {
    /// What `traces` add up to.
    pub(crate) fn of(traces: &[KnownTrace]) -> Self {
        let mut sums = Self { traces: traces.len() as i64, ..Self::default() };
        for known in traces.iter().flat_map(|trace| &trace.spans) {
            sums.spans += 1;
            sums.errors += i64::from(known.failed());
            if let Some(call) = &known.call {
                sums.calls += 1;
                sums.input_tokens += call.usage.input.unwrap_or(0);
                sums.output_tokens += call.usage.output.unwrap_or(0);
                sums.cache_read_tokens += call.usage.cache_read;
                sums.cost_usd += call.cost_usd;
            }
        }
        sums
    }
}

impl KnownSpan {
    /// Whether it ended in an error.
    pub(crate) fn failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code == i32::from(StatusCode::Error))
    }

    /// 16 hex digits.
    pub(crate) fn span_id(&self) -> String {
        hex::encode(&self.span.span_id)
    }
}

/// Writes one trace.
struct Writer<'a> {
    round: &'a Round,
    idx: u64,
    prices: &'a PriceTable,
    dice: Dice,
    trace_id: Vec<u8>,
    word: String,
    spans: Vec<KnownSpan>,
}

impl<'a> Writer<'a> {
    fn new(round: &'a Round, idx: u64, prices: &'a PriceTable) -> Self {
        let seed = round.run.bytes().fold(round.seed, |seed, byte| mixed(seed ^ u64::from(byte)));
        let mut dice = Dice::new(seed, round.stream(idx));
        let trace_id = dice.bytes(16);
        let word = format!("w{}", dice.token(14));
        Self { round, idx, prices, dice, trace_id, word, spans: vec![] }
    }

    fn trace(mut self) -> KnownTrace {
        let calls = self.dice.between(0, 4);
        let tools = self.dice.between(0, 2);
        let name = if calls == 0 { format!("probe {}", self.word) } else { "probe".to_owned() };
        self.span(name, SpanKind::Server, |writer, span| {
            span.attributes.push(attribute("assay.probe.base_unix_nano", writer.round.base_unix_nano));
            span.attributes.push(attribute("gen_ai.operation.name", "invoke_agent"));
            span.attributes.push(attribute("gen_ai.agent.name", "prober"));
        });
        for call in 0..calls {
            self.call(call);
        }
        for _ in 0..tools {
            self.tool();
        }
        KnownTrace { trace_id: hex::encode(&self.trace_id), word: self.word, spans: self.spans }
    }

    fn call(&mut self, nth: u64) {
        let (provider, model) = *self.dice.pick(&MODELS);
        let input = self.dice.between(1, 4000) as i64;
        let cache_read = if self.dice.chance(0.3) { self.dice.between(0, input as u64) as i64 } else { 0 };
        let usage = Usage { input: Some(input), output: Some(self.dice.between(1, 900) as i64), cache_read, ..Usage::default() };
        let response = format!("resp-{}", self.dice.token(20));
        let word = if nth == 0 { self.word.clone() } else { String::new() };
        let mut parts = vec![json!({"type": "text", "content": format!("{word} {}", self.words(12))})];
        if self.dice.chance(0.06) {
            // Large enough to be kept apart from its row, and to come back to the letter.
            let content = self.dice.token(8 * 1024);
            parts.push(json!({"type": "blob", "mime_type": "application/octet-stream", "modality": "image", "content": content}));
        }
        let answer = self.words(20);
        let started = self.span(format!("chat {model}"), SpanKind::Client, |writer, span| {
            span.attributes.extend([
                attribute("gen_ai.operation.name", "chat"),
                attribute("gen_ai.provider.name", provider),
                attribute("gen_ai.request.model", model),
                attribute("gen_ai.response.model", model),
                attribute("gen_ai.response.id", response),
                attribute("gen_ai.usage.input_tokens", input as u64),
                attribute("gen_ai.usage.output_tokens", usage.output.unwrap_or(0) as u64),
                attribute("gen_ai.input.messages", json!([{"role": "user", "parts": parts}])),
                attribute(
                    "gen_ai.output.messages",
                    json!([{"role": "assistant", "parts": [{"type": "text", "content": answer}], "finish_reason": "stop"}]),
                ),
            ]);
            span.attributes.push(attribute("gen_ai.usage.cache_read.input_tokens", cache_read as u64));
            writer.dice.chance(0.1).then(|| fail(span, "RateLimitError", "429: slow down"));
        });
        let moments = (self.spans[started].span.start_time_unix_nano, self.spans[started].span.end_time_unix_nano);
        let micros = |nanos: u64| (nanos / 1000) as i64;
        let request = PriceRequest {
            provider: Some(provider),
            response_model: Some(model),
            request_model: Some(model),
            started_at: micros(moments.0),
            completed_at: micros(moments.1),
            ..PriceRequest::default()
        };
        let cost_usd = self.prices.price(&request, &usage).cost_usd.expect("a test prices every model of the list");
        self.spans[started].call = Some(KnownCall { provider, model, usage, cost_usd });
    }

    fn tool(&mut self) {
        let said = self.words(6);
        self.span("execute_tool lookup".to_owned(), SpanKind::Internal, |writer, span| {
            span.attributes.push(attribute("gen_ai.operation.name", "execute_tool"));
            span.attributes.push(attribute("gen_ai.tool.name", "lookup"));
            span.attributes.push(attribute("gen_ai.tool.call.result", said));
            span.attributes.extend(every_type(&mut writer.dice));
            let time_unix_nano = span.start_time_unix_nano + 10;
            let attributes = vec![attribute("step", writer.dice.between(0, 9))];
            span.events.push(Event { time_unix_nano, name: "looked up".to_owned(), attributes, dropped_attributes_count: 1 });
            let link = Link { trace_id: writer.dice.bytes(16), span_id: writer.dice.bytes(8), ..Link::default() };
            span.links.push(Link { attributes: vec![attribute("why", "because")], ..link });
            writer.dice.chance(0.2).then(|| fail(span, "LookupError", "not found"));
        });
    }

    /// Adds a span that begins after the last one; gives its index.
    fn span(&mut self, name: String, kind: SpanKind, fill: impl FnOnce(&mut Self, &mut Span)) -> usize {
        let nth = self.spans.len() as u64;
        // At most 7 spans of a trace, 10 µs apart, so all are within `ROUND_NANOS`.
        let start =
            self.round.base_unix_nano + self.idx * (ROUND_NANOS / TRACES_PER_ROUND) + nth * 10_000 + self.dice.between(0, 9_999);
        let long = if nth == 0 { SPAN_NANOS_MAX - ROUND_NANOS } else { self.dice.between(1_000, SPAN_NANOS_MAX / 2) };
        let mut span = Span {
            trace_id: self.trace_id.clone(),
            span_id: self.dice.bytes(8),
            parent_span_id: self.spans.first().map(|root| root.span.span_id.clone()).unwrap_or_default(),
            name,
            kind: kind.into(),
            flags: 0x101, // sampled, and the parent is known to be local
            start_time_unix_nano: start,
            end_time_unix_nano: start + long,
            attributes: vec![
                attribute("session.id", self.round.session()),
                attribute("user.id", &self.round.run),
                attribute("assay.probe.trace", self.round.stream(self.idx)),
            ],
            ..Span::default()
        };
        fill(self, &mut span);
        self.spans.push(KnownSpan { span, call: None });
        self.spans.len() - 1
    }

    fn words(&mut self, n: usize) -> String {
        (0..n).map(|_| *self.dice.pick(&WORDS)).collect::<Vec<_>>().join(" ")
    }
}

fn fail(span: &mut Span, class: &str, message: &str) {
    span.attributes.push(attribute("error.type", class));
    span.status = Some(Status { code: StatusCode::Error.into(), message: message.to_owned() });
}

/// One attribute of each type that OTLP has.
fn every_type(dice: &mut Dice) -> Vec<KeyValue> {
    let any = |value| AnyValue { value: Some(value) };
    let other = |key: &str, value| KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() };
    let bytes = dice.bytes(12);
    let nested = KeyValueList { values: vec![attribute("inner", dice.between(0, 9)), attribute("größe", "東京")] };
    vec![
        attribute("probe.text", "\u{1F680} \u{0} tab\t\"quote\""),
        attribute("probe.flag", dice.chance(0.5)),
        attribute("probe.number", dice.unit()),
        other("probe.least", any_value::Value::IntValue(i64::MIN)),
        other("probe.bytes", any_value::Value::BytesValue(bytes)),
        other("probe.map", any_value::Value::KvlistValue(nested)),
        attribute("probe.list", &["a", "", "c"][..]),
    ]
}
