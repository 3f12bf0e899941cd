//! A span whose texts are lent by the request: read from protobuf without copying, or a view of one that prost or JSON made.
//!
//! [`SpanRef::read`] knows what SDKs write. Whatever else the protocol allows (fields of another version, one given twice, groups) and
//! whatever is broken it leaves to prost, so that there is one authority on both. Rare values (events, links, arrays, maps) are prost's own.

use std::borrow::Cow;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value},
    trace::v1::{
        Span, Status,
        span::{Event, Link},
    },
};
use prost::{
    Message as _,
    encoding::{WireType, decode_key, decode_varint},
};

/// A [`Span`].
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields of `Span`")]
pub struct SpanRef<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub trace_state: &'a str,
    pub parent_span_id: &'a [u8],
    pub flags: u32,
    pub name: &'a str,
    pub kind: i32,
    pub start_time_unix_nano: u64,
    pub end_time_unix_nano: u64,
    pub attributes: Vec<KeyValueRef<'a>>,
    pub dropped_attributes_count: u32,
    pub events: Cow<'a, [Event]>,
    pub dropped_events_count: u32,
    pub links: Cow<'a, [Link]>,
    pub dropped_links_count: u32,
    pub status: Option<StatusRef<'a>>,
}

/// A [`Status`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of `Status`")]
pub struct StatusRef<'a> {
    pub message: &'a str,
    pub code: i32,
}

/// A [`KeyValue`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyValueRef<'a> {
    /// The key.
    pub key: &'a str,
    /// The value, if the field is there.
    pub value: Option<ValueRef<'a>>,
    /// The key's place in a dictionary, in profiles.
    pub key_strindex: i32,
}

/// An [`AnyValue`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants of `any_value::Value`")]
pub enum ValueRef<'a> {
    /// Present, but without a variant.
    Empty,
    Text(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(Cow<'a, [AnyValue]>),
    Map(Cow<'a, [KeyValue]>),
    Bytes(&'a [u8]),
    TextIndex(i32),
}

impl<'a> SpanRef<'a> {
    /// A view of `span`.
    #[must_use]
    pub fn of(span: &'a Span) -> Self {
        Self {
            trace_id: &span.trace_id,
            span_id: &span.span_id,
            trace_state: &span.trace_state,
            parent_span_id: &span.parent_span_id,
            flags: span.flags,
            name: &span.name,
            kind: span.kind,
            start_time_unix_nano: span.start_time_unix_nano,
            end_time_unix_nano: span.end_time_unix_nano,
            attributes: KeyValueRef::list(&span.attributes),
            dropped_attributes_count: span.dropped_attributes_count,
            events: Cow::Borrowed(&span.events),
            dropped_events_count: span.dropped_events_count,
            links: Cow::Borrowed(&span.links),
            dropped_links_count: span.dropped_links_count,
            status: span.status.as_ref().map(|status| StatusRef { message: &status.message, code: status.code }),
        }
    }

    /// The span that `body` is in protobuf; `None` if it has to be left to prost.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut span = Self { attributes: Vec::with_capacity(16), ..Self::default() };
        fields(body, |tag, field| {
            match (tag, field) {
                (1, Field::Bytes(id)) => span.trace_id = id,
                (2, Field::Bytes(id)) => span.span_id = id,
                (3, Field::Bytes(state)) => span.trace_state = text(state)?,
                (4, Field::Bytes(id)) => span.parent_span_id = id,
                (5, Field::Bytes(name)) => span.name = text(name)?,
                (6, Field::Varint(kind)) => span.kind = int32(kind),
                (7, Field::Fixed64(nanos)) => span.start_time_unix_nano = nanos,
                (8, Field::Fixed64(nanos)) => span.end_time_unix_nano = nanos,
                (9, Field::Bytes(attribute)) => span.attributes.push(KeyValueRef::read(attribute)?),
                (10, Field::Varint(count)) => span.dropped_attributes_count = uint32(count),
                (11, Field::Bytes(event)) => span.events.to_mut().push(Event::decode(event).ok()?),
                (12, Field::Varint(count)) => span.dropped_events_count = uint32(count),
                (13, Field::Bytes(link)) => span.links.to_mut().push(Link::decode(link).ok()?),
                (14, Field::Varint(count)) => span.dropped_links_count = uint32(count),
                (15, Field::Bytes(status)) if span.status.is_none() => span.status = Some(StatusRef::read(status)?),
                (16, Field::Fixed32(flags)) => span.flags = flags,
                _ => return None,
            }
            Some(())
        })?;
        Some(span)
    }

    /// The span with texts of its own.
    #[must_use]
    pub fn to_span(&self) -> Span {
        Span {
            trace_id: self.trace_id.to_vec(),
            span_id: self.span_id.to_vec(),
            trace_state: self.trace_state.to_owned(),
            parent_span_id: self.parent_span_id.to_vec(),
            flags: self.flags,
            name: self.name.to_owned(),
            kind: self.kind,
            start_time_unix_nano: self.start_time_unix_nano,
            end_time_unix_nano: self.end_time_unix_nano,
            attributes: self.attributes.iter().map(KeyValueRef::to_key_value).collect(),
            dropped_attributes_count: self.dropped_attributes_count,
            events: self.events.to_vec(),
            dropped_events_count: self.dropped_events_count,
            links: self.links.to_vec(),
            dropped_links_count: self.dropped_links_count,
            status: self.status.map(|status| Status { message: status.message.to_owned(), code: status.code }),
        }
    }
}

impl<'a> StatusRef<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut status = Self::default();
        fields(body, |tag, field| {
            match (tag, field) {
                (2, Field::Bytes(message)) => status.message = text(message)?,
                (3, Field::Varint(code)) => status.code = int32(code),
                _ => return None,
            }
            Some(())
        })?;
        Some(status)
    }
}

impl<'a> KeyValueRef<'a> {
    /// A view of `attribute`.
    #[must_use]
    pub fn of(attribute: &'a KeyValue) -> Self {
        let value = attribute.value.as_ref().map(ValueRef::of);
        Self { key: &attribute.key, value, key_strindex: attribute.key_strindex }
    }

    /// Views of `attributes`.
    #[must_use]
    pub fn list(attributes: &'a [KeyValue]) -> Vec<Self> {
        attributes.iter().map(Self::of).collect()
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut attribute = Self::default();
        fields(body, |tag, field| {
            match (tag, field) {
                (1, Field::Bytes(key)) => attribute.key = text(key)?,
                (2, Field::Bytes(value)) if attribute.value.is_none() => attribute.value = Some(ValueRef::read(value)?),
                (3, Field::Varint(index)) => attribute.key_strindex = int32(index),
                _ => return None,
            }
            Some(())
        })?;
        Some(attribute)
    }

    /// The attribute with texts of its own.
    #[must_use]
    pub fn to_key_value(&self) -> KeyValue {
        let value = self.value.as_ref().map(ValueRef::to_any_value);
        KeyValue { key: self.key.to_owned(), value, key_strindex: self.key_strindex }
    }

    /// The value, if it is text.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        match self.value {
            Some(ValueRef::Text(text)) => Some(text),
            _ => None,
        }
    }
}

impl<'a> ValueRef<'a> {
    /// A view of `any`.
    #[must_use]
    pub fn of(any: &'a AnyValue) -> Self {
        use any_value::Value;
        match &any.value {
            None => Self::Empty,
            Some(Value::StringValue(text)) => Self::Text(text),
            Some(Value::BoolValue(flag)) => Self::Bool(*flag),
            Some(Value::IntValue(int)) => Self::Int(*int),
            Some(Value::DoubleValue(double)) => Self::Double(*double),
            Some(Value::ArrayValue(array)) => Self::Array(Cow::Borrowed(&array.values)),
            Some(Value::KvlistValue(list)) => Self::Map(Cow::Borrowed(&list.values)),
            Some(Value::BytesValue(bytes)) => Self::Bytes(bytes),
            Some(Value::StringValueStrindex(index)) => Self::TextIndex(*index),
        }
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut value = Self::Empty;
        fields(body, |tag, field| {
            if value != Self::Empty {
                return None;
            }
            value = match (tag, field) {
                (1, Field::Bytes(bytes)) => Self::Text(text(bytes)?),
                (2, Field::Varint(flag)) => Self::Bool(flag != 0),
                (3, Field::Varint(int)) => Self::Int(int.cast_signed()),
                (4, Field::Fixed64(bits)) => Self::Double(f64::from_bits(bits)),
                (5, Field::Bytes(array)) => Self::Array(Cow::Owned(ArrayValue::decode(array).ok()?.values)),
                (6, Field::Bytes(list)) => Self::Map(Cow::Owned(KeyValueList::decode(list).ok()?.values)),
                (7, Field::Bytes(bytes)) => Self::Bytes(bytes),
                (8, Field::Varint(index)) => Self::TextIndex(int32(index)),
                _ => return None,
            };
            Some(())
        })?;
        Some(value)
    }

    fn to_any_value(&self) -> AnyValue {
        use any_value::Value;
        let value = match self {
            Self::Empty => return AnyValue { value: None },
            Self::Text(text) => Value::StringValue((*text).to_owned()),
            Self::Bool(flag) => Value::BoolValue(*flag),
            Self::Int(int) => Value::IntValue(*int),
            Self::Double(double) => Value::DoubleValue(*double),
            Self::Array(values) => Value::ArrayValue(ArrayValue { values: values.to_vec() }),
            Self::Map(values) => Value::KvlistValue(KeyValueList { values: values.to_vec() }),
            Self::Bytes(bytes) => Value::BytesValue(bytes.to_vec()),
            Self::TextIndex(index) => Value::StringValueStrindex(*index),
        };
        AnyValue { value: Some(value) }
    }
}

/// One field of a message. Fields of groups, which no version of OTLP has, are not read.
enum Field<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// Gives `each` the fields of the message `body` with their tags; `None` as soon as it does, or the message is broken.
fn fields<'a>(mut body: &'a [u8], mut each: impl FnMut(u32, Field<'a>) -> Option<()>) -> Option<()> {
    while !body.is_empty() {
        let (tag, wire_type) = decode_key(&mut body).ok()?;
        let field = match wire_type {
            WireType::Varint => Field::Varint(decode_varint(&mut body).ok()?),
            WireType::ThirtyTwoBit => {
                let (bytes, rest) = body.split_first_chunk()?;
                body = rest;
                Field::Fixed32(u32::from_le_bytes(*bytes))
            }
            WireType::SixtyFourBit => {
                let (bytes, rest) = body.split_first_chunk()?;
                body = rest;
                Field::Fixed64(u64::from_le_bytes(*bytes))
            }
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut body).ok()?).ok()?;
                let (bytes, rest) = body.split_at_checked(len)?;
                body = rest;
                Field::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        each(tag, field)?;
    }
    Some(())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A varint of 32 bits: protobuf cuts what is longer.
#[expect(clippy::cast_possible_truncation, reason = "protobuf cuts it")]
fn uint32(varint: u64) -> u32 {
    varint as u32
}

fn int32(varint: u64) -> i32 {
    uint32(varint).cast_signed()
}
