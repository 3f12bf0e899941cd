//! Pure readers of the values that SDKs write: OTLP values, JSON in text, JSON scalars with their quotes, Python literals, times.
//! They are tolerant: what cannot be read is `None`, never an error, and never fails a span.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use serde_json::{Map, Number, Value};

use crate::otlp::borrowed::ValueRef;

/// The attribute value `any` as JSON; bytes as base64, NaN and infinities as text.
pub(super) fn json_of(any: &AnyValue) -> Value {
    json_of_ref(&ValueRef::of(any))
}

/// See [`json_of`].
pub(super) fn json_of_ref(value: &ValueRef<'_>) -> Value {
    match value {
        ValueRef::Empty | ValueRef::TextIndex(_) => Value::Null,
        ValueRef::Text(text) => Value::String((*text).to_owned()),
        ValueRef::Bool(flag) => Value::Bool(*flag),
        ValueRef::Int(int) => Value::from(*int),
        ValueRef::Double(double) => Number::from_f64(*double).map_or_else(|| Value::String(double.to_string()), Value::Number),
        ValueRef::Array(values) => Value::Array(values.iter().map(json_of).collect()),
        ValueRef::Map(values) => object_of(values),
        ValueRef::Bytes(bytes) => {
            use base64::Engine as _;
            Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
    }
}

/// `attributes` as a JSON object; the first of repeated keys stays.
pub(super) fn object_of(attributes: &[KeyValue]) -> Value {
    let mut object = Map::new();
    for attribute in attributes {
        let value = attribute.value.as_ref().map_or(Value::Null, json_of);
        object.entry(attribute.key.clone()).or_insert(value);
    }
    Value::Object(object)
}

/// The JSON document in `text`, if it is an object, an array or a quoted text.
pub(super) fn parse_json(text: &str) -> Option<Value> {
    match text.trim_start().as_bytes().first() {
        Some(b'{' | b'[' | b'"') => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// The structure in `text`: JSON, else a Python literal.
pub(super) fn parse_structure(text: &str) -> Option<Value> {
    parse_json(text).or_else(|| parse_python(text))
}

/// `text` without the quotes of a JSON scalar; anything else as it is.
pub(super) fn unquoted(text: &str) -> String {
    if text.len() >= 2
        && text.starts_with('"')
        && text.ends_with('"')
        && let Ok(inner) = serde_json::from_str::<String>(text)
    {
        return inner;
    }
    text.to_owned()
}

/// `value` as text: text as it is, scalars printed, structures as JSON; nothing for null.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// `value` as a whole number that is not negative; text and whole doubles are read too.
pub(super) fn int_of(value: &Value) -> Option<i64> {
    let int = match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole))?,
        Value::String(text) => {
            let text = text.trim().trim_matches('"');
            text.parse().ok().or_else(|| text.parse().ok().and_then(whole))?
        }
        _ => return None,
    };
    (int >= 0).then_some(int)
}

/// `value` as a finite number; text is read too.
pub(super) fn float_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().trim_matches('"').parse().ok(),
        _ => None,
    }
    .filter(|float: &f64| float.is_finite())
}

/// `value` as true or false; `True`, `"false"` and the like are read too.
pub(super) fn bool_of(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => match text.trim().trim_matches('"').to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn whole(float: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
    (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
}

/// Nanoseconds since 1970 of the ISO 8601 time in `text`; without an offset it is UTC.
pub(super) fn unix_nano_of(text: &str) -> Option<i64> {
    let text = unquoted(text.trim());
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(&text) {
        return time.timestamp_nanos_opt();
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    naive.iter().find_map(|format| chrono::NaiveDateTime::parse_from_str(&text, format).ok())?.and_utc().timestamp_nanos_opt()
}

/// The value at `path` in `root`: object keys and array indices; `*` tries every child and takes the first that leads on, `[]`
/// takes what all elements lead to. Text that
/// holds JSON is entered too.
pub(super) fn at_path(root: &Value, path: &[String]) -> Option<Value> {
    let Some((step, rest)) = path.split_first() else { return (!root.is_null()).then(|| root.clone()) };
    match root {
        Value::Object(object) if step == "*" => object.values().find_map(|child| at_path(child, rest)),
        Value::Object(object) => at_path(object.get(step)?, rest),
        Value::Array(array) if step == "*" => array.iter().find_map(|child| at_path(child, rest)),
        Value::Array(array) if step == "[]" => {
            let found: Vec<Value> = array.iter().filter_map(|child| at_path(child, rest)).collect();
            (!found.is_empty()).then_some(Value::Array(found))
        }
        Value::Array(array) => at_path(array.get(step.parse::<usize>().ok()?)?, rest),
        Value::String(text) => at_path(&parse_structure(text)?, path),
        _ => None,
    }
}

/// Puts flattened attributes back together: `0.role`, `0.content`, `1.role` → `[{"role","content"},{"role"}]`. Levels whose keys are
/// all decimal become arrays, ordered by number; gaps close.
pub(super) fn unflatten<'a>(entries: impl Iterator<Item = (&'a str, Value)>) -> Value {
    let mut root = Map::new();
    for (key, value) in entries {
        insert(&mut root, key, value, 0);
    }
    arrays(Value::Object(root))
}

fn insert(object: &mut Map<String, Value>, key: &str, value: Value, depth: usize) {
    // Deeper than any convention goes: a key made of dots must not exhaust the stack.
    const DEPTH_MAX: usize = 24;
    match key.split_once('.').filter(|_| depth < DEPTH_MAX) {
        None => {
            object.entry(key.to_owned()).or_insert(value);
        }
        Some((head, rest)) => {
            let child = object.entry(head.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !child.is_object() {
                // `a` and `a.b` both given: the deeper one says more.
                *child = Value::Object(Map::new());
            }
            if let Value::Object(child) = child {
                insert(child, rest, value, depth + 1);
            }
        }
    }
}

fn arrays(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            if !object.is_empty() && object.keys().all(|key| !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit())) {
                let mut items: Vec<(u64, Value)> =
                    object.into_iter().map(|(key, child)| (key.parse().unwrap_or(u64::MAX), arrays(child))).collect();
                items.sort_by_key(|(index, _)| *index);
                Value::Array(items.into_iter().map(|(_, child)| child).collect())
            } else {
                Value::Object(object.into_iter().map(|(key, child)| (key, arrays(child))).collect())
            }
        }
        other => other,
    }
}

/// The Python literal in `text` (dict, list, tuple, str, number, `True`, `False`, `None`), if all of it is one and it is a dict, list
/// or tuple. Calls like `ChatMessage(...)` are not literals.
pub(super) fn parse_python(text: &str) -> Option<Value> {
    let text = text.trim();
    if !matches!(text.as_bytes().first(), Some(b'{' | b'[' | b'(')) {
        return None;
    }
    let mut parser = Python { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    (parser.at == text.len()).then_some(value)
}

struct Python<'a> {
    text: &'a str,
    at: usize,
}

impl Python<'_> {
    const DEPTH_MAX: usize = 64;

    fn space(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > Self::DEPTH_MAX {
            return None;
        }
        self.space();
        match self.peek()? {
            b'{' => self.dict(depth),
            b'[' => self.list(b']', depth),
            b'(' => self.list(b')', depth),
            b'\'' | b'"' => self.string().map(Value::String),
            _ => self.word(),
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut object = Map::new();
        while !self.eat(b'}') {
            let key = text_of(&self.value(depth + 1)?)?;
            if !self.eat(b':') {
                return None;
            }
            object.insert(key, self.value(depth + 1)?);
            if !self.eat(b',') && self.peek() != Some(b'}') {
                return None;
            }
        }
        Some(Value::Object(object))
    }

    fn list(&mut self, close: u8, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.value(depth + 1)?);
            if !self.eat(b',') && self.peek() != Some(close) {
                return None;
            }
        }
        Some(Value::Array(items))
    }

    fn string(&mut self) -> Option<String> {
        let quote = char::from(self.peek()?);
        self.at += 1;
        let mut out = String::new();
        let mut chars = self.text[self.at..].char_indices();
        while let Some((offset, c)) = chars.next() {
            if c == quote {
                self.at += offset + 1;
                return Some(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            let (_, escaped) = chars.next()?;
            match escaped {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'x' => out.push(hex_char(&mut chars, 2)?),
                'u' => out.push(hex_char(&mut chars, 4)?),
                'U' => out.push(hex_char(&mut chars, 8)?),
                other => out.push(other),
            }
        }
        None
    }

    fn word(&mut self) -> Option<Value> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '+' | '_')).unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        match word {
            "None" | "null" => Some(Value::Null),
            "True" | "true" => Some(Value::Bool(true)),
            "False" | "false" => Some(Value::Bool(false)),
            _ => {
                if let Ok(int) = word.parse::<i64>() {
                    return Some(Value::from(int));
                }
                Number::from_f64(word.parse().ok()?).map(Value::Number)
            }
        }
    }
}

fn hex_char(chars: &mut std::str::CharIndices<'_>, digits: usize) -> Option<char> {
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + chars.next()?.1.to_digit(16)?;
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_python_literal_is_read_and_a_call_is_not() {
        let text = r#"{'audio': 0, 'cache_read': 36, 'x': (1, None, True), "it's": 'a\'b\n\u00e9', 'f': 1.5}"#;
        assert_eq!(
            parse_python(text),
            Some(json!({"audio": 0, "cache_read": 36, "x": [1, null, true], "it's": "a'b\né", "f": 1.5}))
        );
        assert_eq!(parse_python("[ChatMessage(role='user')]"), None);
        assert_eq!(parse_python("{'a': 1"), None);
        assert_eq!(parse_python(&"[".repeat(100_000)), None);
    }

    #[test]
    fn indices_are_ordered_by_number_and_gaps_close() {
        let entries = [("10.a", json!("k")), ("2.a", json!("j")), ("2.b.0.c", json!(1))];
        assert_eq!(unflatten(entries.into_iter()), json!([{"a": "j", "b": [{"c": 1}]}, {"a": "k"}]));
    }

    #[test]
    fn numbers_come_as_text_and_doubles() {
        assert_eq!(int_of(&json!("1200")), Some(1200));
        assert_eq!(int_of(&json!(12.0)), Some(12));
        assert_eq!(int_of(&json!(12.5)), None);
        assert_eq!(int_of(&json!(-1)), None);
        assert_eq!(int_of(&json!("Infinity")), None);
    }

    #[test]
    fn times_with_quotes_and_without_offset_are_read() {
        assert_eq!(unix_nano_of("\"2026-11-21T03:09:41.748743Z\""), Some(1_795_230_581_748_743_000));
        assert_eq!(unix_nano_of("2026-11-21 03:09:41.748743"), Some(1_795_230_581_748_743_000));
        assert_eq!(unix_nano_of("soon"), None);
    }

    #[test]
    fn a_path_enters_json_in_text_and_tries_children() {
        let root = json!({"openai": {"cachedPromptTokens": 3}, "raw": "{\"usage\": {\"n\": [1, 2]}}"});
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(at_path(&root, &path("*.cachedPromptTokens")), Some(json!(3)));
        assert_eq!(at_path(&root, &path("raw.usage.n.1")), Some(json!(2)));
        assert_eq!(at_path(&root, &path("raw.nothing")), None);
    }
}
