//! A small recorder of traces: spans nest as the closures that make them, and its clock moves only when told. The scenes write with
//! it. Times count from the start of the session; [`Recorder::finish`] moves them to the moment when it took place.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value},
    trace::v1::{
        Span, Status,
        span::{Event, SpanKind},
        status::StatusCode,
    },
};
use serde_json::Value;

use super::{
    company::{Service, Weather},
    dice::Dice,
};

/// Nanoseconds.
pub(crate) type Nanos = u64;

/// A finished span with where it came from.
pub(crate) struct Recorded {
    pub(crate) service: &'static Service,
    pub(crate) scope: &'static str,
    pub(crate) span: Span,
}

/// Records one session: one or several traces by one user, one after another.
pub(crate) struct Recorder {
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    pub(crate) user: String,
    pub(crate) conversation: String,
    /// Service that the next spans come from.
    pub(crate) service: &'static Service,
    ids: Dice,
    now: Nanos,
    trace_id: Vec<u8>,
    open: Vec<usize>,
    spans: Vec<Recorded>,
}

impl Recorder {
    /// A recorder that draws its content from `dice` and its identifiers from `ids`.
    pub(crate) fn new(dice: Dice, mut ids: Dice, service: &'static Service, user: String, weather: Weather) -> Self {
        let conversation = format!("conv_{}", ids.token(16));
        Self { dice, weather, user, conversation, service, ids, now: 0, trace_id: vec![], open: vec![], spans: vec![] }
    }

    /// Does `work` inside a new span; outside of any other, the span is the root of a new trace.
    pub(crate) fn span<R>(
        &mut self,
        scope: &'static str,
        kind: SpanKind,
        name: impl Into<String>,
        work: impl FnOnce(&mut Self) -> R,
    ) -> R {
        if self.open.is_empty() {
            self.trace_id = self.ids.bytes(16);
        }
        let parent_span_id = self.open.last().map(|idx| self.spans[*idx].span.span_id.clone()).unwrap_or_default();
        let span = Span {
            trace_id: self.trace_id.clone(),
            span_id: self.ids.bytes(8),
            parent_span_id,
            name: name.into(),
            kind: kind.into(),
            flags: 0x101, // sampled, and the parent is known to be local
            start_time_unix_nano: self.now,
            ..Span::default()
        };
        self.open.push(self.spans.len());
        self.spans.push(Recorded { service: self.service, scope, span });
        self.wait_us(30.0);
        let result = work(self);
        self.wait_us(40.0);
        let now = self.now;
        self.current().end_time_unix_nano = now;
        self.open.pop();
        result
    }

    /// Does `work` for each of `items` at the same time: all start now, and the clock stops at the last end.
    pub(crate) fn parallel<T>(&mut self, items: impl IntoIterator<Item = T>, mut work: impl FnMut(&mut Self, T)) {
        let start = self.now;
        let mut end = start;
        for item in items {
            self.now = start;
            work(self, item);
            end = end.max(self.now);
        }
        self.now = end;
    }

    /// Lets about `median_ms` milliseconds pass.
    pub(crate) fn wait_ms(&mut self, median_ms: f64) {
        self.wait_us(median_ms * 1e3);
    }

    /// Lets exactly `nanos` pass.
    pub(crate) fn wait(&mut self, nanos: Nanos) {
        self.now += nanos;
    }

    /// An identifier that no other run repeats, such as `chatcmpl-…`.
    pub(crate) fn id(&mut self, prefix: &str, n: usize) -> String {
        format!("{prefix}{}", self.ids.token(n))
    }

    /// Puts an attribute on the current span.
    pub(crate) fn set(&mut self, key: impl Into<String>, value: impl Attribute) {
        let attribute = attribute(key, value);
        self.current().attributes.push(attribute);
    }

    /// Puts an event on the current span, now.
    pub(crate) fn event(&mut self, name: &str, attributes: Vec<KeyValue>) {
        let event = Event { time_unix_nano: self.now, name: name.to_owned(), attributes, dropped_attributes_count: 0 };
        self.current().events.push(event);
    }

    /// Marks the current span as failed, with the exception as its only sign: no `error.type`.
    pub(crate) fn broken(&mut self, class: &str, message: &str) {
        self.current().status = Some(Status { code: StatusCode::Error.into(), message: format!("{class}: {message}") });
        self.event("exception", vec![attribute("exception.type", class), attribute("exception.message", message)]);
    }

    /// Marks the current span as failed.
    pub(crate) fn fail(&mut self, error_type: &str, message: &str) {
        self.set("error.type", error_type);
        self.current().status = Some(Status { code: StatusCode::Error.into(), message: message.to_owned() });
    }

    /// Marks the current span as failed and records the exception that it raised.
    pub(crate) fn raise(&mut self, error_type: &str, message: &str, stacktrace: &str) {
        self.fail(error_type, message);
        let attributes = vec![
            attribute("exception.type", error_type),
            attribute("exception.message", message),
            attribute("exception.stacktrace", stacktrace),
            attribute("exception.escaped", "False"),
        ];
        self.event("exception", attributes);
    }

    /// How long the session has taken so far.
    pub(crate) fn elapsed(&self) -> Nanos {
        self.now
    }

    /// The spans of the session, moved so that it begins at `start` (Unix time).
    pub(crate) fn finish(mut self, start: Nanos) -> Vec<Recorded> {
        for Recorded { span, .. } in &mut self.spans {
            span.start_time_unix_nano += start;
            span.end_time_unix_nano += start;
            for event in &mut span.events {
                event.time_unix_nano += start;
            }
        }
        self.spans
    }

    fn wait_us(&mut self, median_us: f64) {
        self.now += (self.dice.log_normal(median_us, 0.3) * 1e3) as Nanos;
    }

    fn current(&mut self) -> &mut Span {
        let idx = *self.open.last().expect("attributes and events are written inside a span");
        &mut self.spans[idx].span
    }
}

/// A key with its value.
pub(crate) fn attribute(key: impl Into<String>, value: impl Attribute) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value.any()) }), ..KeyValue::default() }
}

/// What can be the value of an attribute. JSON is written as text, as the GenAI conventions have it on spans.
pub(crate) trait Attribute {
    fn any(self) -> any_value::Value;
}

macro_rules! attribute {
    ($($type:ty => |$value:ident| $any:expr;)*) => {
        $(impl Attribute for $type { fn any(self) -> any_value::Value { let $value = self; $any } })*
    };
}

attribute! {
    &str => |value| any_value::Value::StringValue(value.to_owned());
    &String => |value| any_value::Value::StringValue(value.clone());
    String => |value| any_value::Value::StringValue(value);
    bool => |value| any_value::Value::BoolValue(value);
    u64 => |value| any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX));
    f64 => |value| any_value::Value::DoubleValue(value);
    &Value => |value| any_value::Value::StringValue(value.to_string());
    Value => |value| any_value::Value::StringValue(value.to_string());
    Vec<String> => |value| {
        let values = value.into_iter().map(|text| AnyValue { value: Some(text.any()) }).collect();
        any_value::Value::ArrayValue(ArrayValue { values })
    };
    &[&str] => |value| value.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>().any();
}
