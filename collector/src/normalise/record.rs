//! One span or log record under the eyes of the rules: attributes by number, prefixes, events, parsed JSON kept for the next rule.

use std::{cell::RefCell, rc::Rc};

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, any_value::Value as Any},
    logs::v1::LogRecord,
    resource::v1::Resource,
    trace::v1::{span::Event, status::StatusCode},
};
use serde_json::{Map, Value, json};

use super::{
    compile::{Condition, DialectSet, EventMessages, Glob, Mapping, ReadyDialect, Source},
    messages,
    search::search,
    values::{self, json_of, json_of_ref, parse_structure, unflatten, unquoted},
};
use crate::otlp::borrowed::{KeyValueRef, SpanRef, ValueRef};

/// What a rule found.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Text of an attribute, as received.
    Text(&'a str),
    /// Any other value, or text made from several.
    Value(Rc<Value>),
    /// Nanoseconds from the start of the span.
    SinceStart(i64),
}

/// A span or log record.
pub(super) struct Record<'a> {
    mapping: &'a Mapping,
    resource: &'a Resource,
    scope: &'a str,
    pub(super) span: Option<&'a SpanRef<'a>>,
    log: Option<&'a LogRecord>,
    pub(super) attributes: &'a [KeyValueRef<'a>],
    pub(super) event_name: Option<&'a str>,
    /// By key number: index of the attribute plus one, 0 for none.
    slots: Vec<u16>,
    /// (prefix number, index of the attribute), for attributes that fit a prefix.
    prefixed: Vec<(u16, u16)>,
    payload: Vec<usize>,
    /// The dialects seen, always those included.
    pub(super) dialects: DialectSet,
    parsed: RefCell<Vec<(u16, Option<Rc<Value>>)>>,
}

impl<'a> Record<'a> {
    /// A span.
    pub(super) fn of_span(
        mapping: &'a Mapping,
        resource: &'a Resource,
        scope: &'a InstrumentationScope,
        span: &'a SpanRef<'a>,
    ) -> Self {
        let mut record = Self::new(mapping, resource, &scope.name, &span.attributes);
        record.span = Some(span);
        for event in &*span.events {
            if let Some(bits) = mapping.span_events.get(&event.name) {
                record.dialects |= bits;
            }
        }
        record
    }

    /// A log record and its attributes.
    pub(super) fn of_log(
        mapping: &'a Mapping,
        resource: &'a Resource,
        scope: &'a InstrumentationScope,
        log: &'a LogRecord,
        attributes: &'a [KeyValueRef<'a>],
    ) -> Self {
        let mut record = Self::new(mapping, resource, &scope.name, attributes);
        record.log = Some(log);
        let named = |key: &str| attributes.iter().find(|attribute| attribute.key == key)?.text();
        // Codex fills the field with the place in its source code: the attribute is the name.
        record.event_name =
            named("event.name").or_else(|| named("event_name")).or(Some(log.event_name.as_str()).filter(|name| !name.is_empty()));
        if let Some(name) = record.event_name {
            for (glob, bits) in &mapping.log_events {
                if glob.matches(name) {
                    record.dialects |= bits;
                }
            }
        }
        record
    }

    fn new(mapping: &'a Mapping, resource: &'a Resource, scope: &'a str, attributes: &'a [KeyValueRef<'a>]) -> Self {
        let mut record = Self {
            mapping,
            resource,
            scope,
            span: None,
            log: None,
            attributes,
            event_name: None,
            slots: Vec::new(),
            prefixed: Vec::new(),
            payload: Vec::new(),
            dialects: mapping.always,
            parsed: RefCell::default(),
        };
        for (index, attribute) in attributes.iter().enumerate().take(usize::from(u16::MAX)) {
            #[expect(clippy::cast_possible_truncation, reason = "taken at most u16::MAX")]
            record.note(index as u16, attribute.key);
        }
        for (glob, bits) in &mapping.scopes {
            if glob.matches(scope) {
                record.dialects |= bits;
            }
        }
        for (key, value, bits) in &mapping.resource {
            if resource
                .attributes
                .iter()
                .any(|attribute| attribute.key == *key && KeyValueRef::of(attribute).text() == Some(value))
            {
                record.dialects |= bits;
            }
        }
        record
    }

    fn note(&mut self, index: u16, key: &str) {
        if let Some(info) = self.mapping.keys.get(key) {
            if self.slots.is_empty() {
                self.slots.resize(self.mapping.keys.len(), 0);
            }
            let slot = &mut self.slots[usize::from(info.id)];
            if *slot == 0 {
                *slot = index + 1;
            }
            self.dialects |= info.detects;
            if info.payload {
                self.payload.push(usize::from(index));
            }
        }
        let Some(first) = key.bytes().next() else { return };
        for prefix in &self.mapping.prefixes_by_byte[usize::from(first)] {
            let prefix = &self.mapping.prefixes[usize::from(*prefix)];
            if key.starts_with(&prefix.text) {
                self.prefixed.push((prefix.info.id, index));
                self.dialects |= prefix.info.detects;
                if prefix.info.payload && self.payload.last() != Some(&usize::from(index)) {
                    self.payload.push(usize::from(index));
                }
            }
        }
    }

    /// Whether no rule can find anything: no known attribute, no event.
    pub(super) fn says_nothing(&self) -> bool {
        self.dialects == self.mapping.always && self.slots.is_empty() && self.prefixed.is_empty()
    }

    /// Position of the choice in the body of a log record.
    pub(super) fn choice_index(&self) -> Option<i64> {
        match self.log?.body.as_ref().map(json_of)? {
            Value::Object(object) => object.get("index").and_then(Value::as_i64),
            _ => None,
        }
    }

    /// Indices of the payload attributes.
    pub(super) fn take_payload(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.payload)
    }

    /// Whether the record reports an error.
    pub(super) fn is_error(&self) -> bool {
        self.span.is_some_and(|span| span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32))
    }

    /// The attribute with key number `key`.
    fn attribute(&self, key: u16) -> Option<(u16, &'a KeyValueRef<'a>)> {
        let index = self.slots.get(usize::from(key))?.checked_sub(1)?;
        let attribute = &self.attributes[usize::from(index)];
        (!matches!(attribute.value, None | Some(ValueRef::Empty))).then_some((index, attribute))
    }

    /// Whether `source` may hold something: the cheap part of [`Record::find`].
    pub(super) fn has(&self, source: &Source) -> bool {
        match source {
            Source::Key(key) => self.slots.get(usize::from(*key)).is_some_and(|slot| *slot != 0),
            Source::Prefix(prefix) | Source::FlatPrefix(prefix) => self.prefixed.iter().any(|(found, _)| found == prefix),
            Source::Event { .. } | Source::MessageEvents(_) => self.span.is_some_and(|span| !span.events.is_empty()),
            Source::Body => self.log.is_some(),
            Source::SpanName | Source::StatusMessage => self.span.is_some(),
            Source::Resource(_) | Source::ScopeName | Source::Value(_) => true,
        }
    }

    /// What `source` holds in this record; `dialect` says which events are its messages.
    pub(super) fn find(&self, source: &Source, dialect: &ReadyDialect) -> Option<Found<'a>> {
        match source {
            Source::Key(key) => {
                let (index, attribute) = self.attribute(*key)?;
                match readable(attribute) {
                    Some(text) => Some(Found::Text(text)),
                    None => Some(Found::Value(self.json_at(index)?)),
                }
            }
            Source::Prefix(prefix) => self.entries(*prefix).map(|entries| Found::Value(Rc::new(unflatten(entries.into_iter())))),
            Source::FlatPrefix(prefix) => {
                let object: Map<String, Value> =
                    self.entries(*prefix)?.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                Some(Found::Value(Rc::new(Value::Object(object))))
            }
            Source::Resource(key) => {
                let attribute = self.resource.attributes.iter().find(|attribute| attribute.key == *key)?;
                Some(match KeyValueRef::of(attribute).text() {
                    Some(text) => Found::Text(text),
                    None => Found::Value(Rc::new(json_of(attribute.value.as_ref()?))),
                })
            }
            Source::SpanName => self.span.map(|span| Found::Text(span.name)),
            Source::ScopeName => Some(Found::Text(self.scope)),
            Source::StatusMessage => {
                let status = self.span?.status.as_ref()?;
                (!status.message.is_empty()).then_some(Found::Text(status.message))
            }
            Source::Body => {
                let body = self.log?.body.as_ref()?;
                match &body.value {
                    Some(Any::StringValue(text)) => Some(Found::Text(text)),
                    Some(_) => Some(Found::Value(Rc::new(json_of(body)))),
                    None => None,
                }
            }
            Source::Event { name, key: None } => {
                let span = self.span?;
                let event = span.events.iter().find(|event| event.name == *name)?;
                let nanos = event.time_unix_nano.checked_sub(span.start_time_unix_nano)?;
                Some(Found::SinceStart(i64::try_from(nanos).ok()?))
            }
            Source::Event { name, key: Some(key) } => {
                // Strands writes several events of one name, each with another key.
                let mut events = self.span?.events.iter().filter(|event| event.name == *name);
                let attribute = events.find_map(|event| event.attributes.iter().find(|attribute| attribute.key == *key))?;
                Some(match KeyValueRef::of(attribute).text() {
                    Some(text) => Found::Text(text),
                    None => Found::Value(Rc::new(json_of(attribute.value.as_ref()?))),
                })
            }
            Source::MessageEvents(which) => {
                let found: Vec<Value> =
                    self.span?.events.iter().filter_map(|event| event_message(event, *which, dialect)).collect();
                (!found.is_empty()).then(|| Found::Value(Rc::new(Value::Array(found))))
            }
            Source::Value(value) => Some(Found::Value(Rc::new(value.clone()))),
        }
    }

    /// The message that a log record of `dialect`'s message events holds: (messages, choices, system parts).
    pub(super) fn log_message(&self, dialect: &ReadyDialect) -> Option<(Vec<Value>, Vec<Value>, Vec<Value>)> {
        let name = self.event_name?;
        let body = self.log?.body.as_ref();
        let mut object = match body.map(json_of) {
            Some(Value::Object(object)) => object,
            // Bedrock bodies may be the content blocks themselves, other SDKs send the text alone.
            Some(Value::Null) | None => Map::new(),
            Some(content) => Map::from_iter([("content".to_owned(), content)]),
        };
        if object.is_empty() {
            // Gemini CLI and some frameworks put the fields into attributes.
            for attribute in self.attributes {
                if matches!(attribute.key, "content" | "message" | "role" | "id" | "index" | "finish_reason" | "tool_calls") {
                    let value = attribute.value.as_ref().map_or(Value::Null, json_of_ref);
                    object.insert(attribute.key.to_owned(), structure_of(value));
                }
            }
        }
        place(name, object, dialect)
    }

    fn entries(&self, prefix: u16) -> Option<Vec<(&'a str, Value)>> {
        let mut entries = Vec::new();
        for (found, index) in &self.prefixed {
            if *found == prefix {
                let attribute = &self.attributes[usize::from(*index)];
                let text = self.mapping.prefixes.iter().find(|known| known.info.id == prefix)?.text.as_str();
                let rest = &attribute.key[text.len()..];
                let value = attribute.value.as_ref().map_or(Value::Null, json_of_ref);
                if !rest.is_empty() && !value.is_null() {
                    entries.push((rest, value));
                }
            }
        }
        (!entries.is_empty()).then_some(entries)
    }

    /// What stands at `path` in the structure that the text of attribute `key` holds.
    ///
    /// Long texts (whole requests and answers) are searched without building what is not asked for; short ones are parsed once
    /// and kept, since many rules look into them.
    pub(super) fn at_path(&self, key: u16, path: &[String]) -> Option<Value> {
        const LONG: usize = 1024;
        let (index, attribute) = self.attribute(key)?;
        let is_parsed = || self.parsed.borrow().iter().any(|(known, _)| *known == index);
        if let Some(text) = readable(attribute).filter(|_| !is_parsed()) {
            // A key that is not in the text cannot lead anywhere.
            let steps = || {
                path.iter()
                    .filter(|step| step.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && step.parse::<u64>().is_err())
            };
            if steps().any(|step| memchr::memmem::find(text.as_bytes(), step.as_bytes()).is_none()) {
                return None;
            }
            if text.len() >= LONG
                && let Ok(found) = search(text, path)
            {
                return found;
            }
        }
        values::at_path(&*self.structure(key)?, path)
    }

    /// The structure that the text of attribute `key` holds, parsed once.
    fn structure(&self, key: u16) -> Option<Rc<Value>> {
        let (index, attribute) = self.attribute(key)?;
        match readable(attribute) {
            None => self.json_at(index),
            Some(text) => self.remembered(index, || parse_structure(text)),
        }
    }

    fn json_at(&self, index: u16) -> Option<Rc<Value>> {
        self.remembered(index, || self.attributes[usize::from(index)].value.as_ref().map(json_of_ref))
    }

    fn remembered(&self, index: u16, parse: impl FnOnce() -> Option<Value>) -> Option<Rc<Value>> {
        if let Some((_, value)) = self.parsed.borrow().iter().find(|(known, _)| *known == index) {
            return value.clone();
        }
        let value = parse().map(Rc::new);
        self.parsed.borrow_mut().push((index, value.clone()));
        value
    }

    /// Whether `condition` holds, given the canonical values found so far.
    pub(super) fn holds(&self, condition: &Condition, operation: Option<&str>, provider: Option<&str>) -> bool {
        let among = |list: &[String], word: Option<&str>| word.is_some_and(|word| list.iter().any(|known| known == word));
        let fits = |list: &[Glob], word: Option<&str>| {
            list.is_empty() || word.is_some_and(|word| list.iter().any(|glob| glob.matches(word)))
        };
        (condition.operation.is_empty() || among(&condition.operation, operation))
            && !among(&condition.operation_not, operation)
            && (condition.provider.is_empty() || among(&condition.provider, provider))
            && condition.present.iter().all(|key| self.attribute(*key).is_some())
            && condition.absent.iter().all(|key| self.attribute(*key).is_none())
            && self.key_holds(condition)
            && fits(&condition.span_name, self.span.map(|span| span.name))
            && (condition.span_event.is_empty()
                || self.span.is_some_and(|span| span.events.iter().any(|event| condition.span_event.contains(&event.name))))
            && fits(&condition.event, self.event_name)
            && fits(&condition.scope, Some(self.scope))
            && !condition.scope_not.iter().any(|glob| glob.matches(self.scope))
            && condition.error.is_none_or(|error| error == self.is_error())
    }

    fn key_holds(&self, condition: &Condition) -> bool {
        let Some(key) = condition.key else { return true };
        let value = self.attribute(key).and_then(|(_, attribute)| attribute.value.as_ref()).map(word);
        let value = value.as_deref();
        let among = |list: &[Glob]| value.is_some_and(|value| list.iter().any(|glob| glob.matches(value)));
        (condition.is.is_empty() || among(&condition.is))
            && !among(&condition.is_not)
            && (value.is_some() || condition.is.is_empty())
    }
}

/// The text of `attribute`, if it is text or bytes that hold text: LangSmith's older releases encode what they send.
fn readable<'a>(attribute: &KeyValueRef<'a>) -> Option<&'a str> {
    match attribute.value {
        Some(ValueRef::Text(text)) => Some(text),
        Some(ValueRef::Bytes(bytes)) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// `value` as a word to compare: without the quotes of a JSON scalar.
fn word(value: &ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(text) => unquoted(text),
        _ => match json_of_ref(value) {
            Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

fn structure_of(value: Value) -> Value {
    match &value {
        Value::String(text) => parse_structure(text).unwrap_or(value),
        _ => value,
    }
}

/// The message in a span event, if it is one of those asked for.
fn event_message(event: &Event, which: EventMessages, dialect: &ReadyDialect) -> Option<Value> {
    let mut object = Map::new();
    for attribute in &event.attributes {
        let value = attribute.value.as_ref().map_or(Value::Null, json_of);
        object.insert(attribute.key.clone(), structure_of(value));
    }
    let (input, output, system) = place(&event.name, object, dialect)?;
    let found = match which {
        EventMessages::Input => input,
        EventMessages::Output => output,
        EventMessages::System => system,
    };
    found.into_iter().next()
}

/// A message event's fields as a message of its place: (input, output, system parts). System messages stay among the input.
fn place(name: &str, mut object: Map<String, Value>, dialect: &ReadyDialect) -> Option<(Vec<Value>, Vec<Value>, Vec<Value>)> {
    if let Some(role) = dialect.message_events.get(name) {
        if role == "tool" && !object.contains_key("tool_call_id") {
            if let Some(id) = object.shift_remove("id") {
                object.insert("tool_call_id".to_owned(), id);
            }
        } else {
            object.shift_remove("id");
        }
        // Strands gives a tool result under `message`-less roles of its own; the event name says what it is.
        let said = object.get("role").and_then(Value::as_str);
        if said.is_none() {
            object.insert("role".to_owned(), Value::String(role.clone()));
        }
        if !object.contains_key("content") && !object.contains_key("tool_calls") {
            return Some(Default::default());
        }
        let message = messages::message(&Value::Object(object), role)?;
        return Some(if parts_are_empty(&message) { Default::default() } else { (vec![message], Vec::new(), Vec::new()) });
    }
    if dialect.choice_events.iter().any(|event| event == name) {
        let reason = object.get("finish_reason").or_else(|| object.get("stop_reason")).cloned();
        let message = match object.shift_remove("message") {
            Some(Value::Object(mut inner)) => {
                inner.entry("role").or_insert_with(|| json!("assistant"));
                if !inner.contains_key("content") && !inner.contains_key("tool_calls") {
                    return Some(Default::default());
                }
                messages::message(&Value::Object(inner), "assistant")
            }
            Some(other) => messages::conversation(&other, "assistant").and_then(|found| found.messages.into_iter().next()),
            None if object.contains_key("content") || object.contains_key("tool_calls") => {
                object.entry("role").or_insert_with(|| json!("assistant"));
                messages::message(&Value::Object(object), "assistant")
            }
            None => None,
        };
        let Some(Value::Object(mut message)) = message else { return Some(Default::default()) };
        if let Some(Value::String(reason)) = reason {
            message.entry("finish_reason").or_insert(Value::String(reason));
        }
        let message = Value::Object(message);
        return Some(if parts_are_empty(&message) { Default::default() } else { (Vec::new(), vec![message], Vec::new()) });
    }
    None
}

fn parts_are_empty(message: &Value) -> bool {
    message.get("parts").and_then(Value::as_array).is_none_or(Vec::is_empty)
}
