//! What is asked of messages once they have their column: a preview, why each ended, whether a tool was called.
//!
//! Most senders write the GenAI form already. Their text is kept as received, so nothing needs the tree of it: [`Gist::of_text`] reads
//! it once, element by element, and builds nothing but the gist. What it accepts is what [`super::is_genai`] accepts of the parsed
//! text; a test compares the two.

use std::{borrow::Cow, fmt};

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use serde_json::Value;

use super::super::PREVIEW_CHARS;

/// What a list of messages in GenAI form says in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Gist {
    /// Whether there is any message.
    pub(in super::super) any: bool,
    /// Why each message ended, where it says.
    pub(in super::super) finish_reasons: Vec<String>,
    /// Whether a part is a tool call.
    pub(in super::super) calls_tool: bool,
    /// The first characters of the message that tells most: the last of the user, or the first answer.
    pub(in super::super) preview: Option<String>,
}

/// Which message gives the preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Side {
    /// Given to the model: the last of the user, else the last.
    Input,
    /// Answered by it: the first.
    Output,
}

impl Gist {
    /// The gist of `text`, if it is a list of messages in GenAI form.
    pub(in super::super) fn of_text(text: &str, side: Side) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let gist = Messages { side }.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        gist.any.then_some(gist)
    }

    /// The gist of `messages`.
    pub(in super::super) fn of(messages: &[Value], side: Side) -> Self {
        let mut parts = messages.iter().filter_map(|message| message.get("parts").and_then(Value::as_array)).flatten();
        Self {
            any: !messages.is_empty(),
            finish_reasons: messages
                .iter()
                .filter_map(|message| message.get("finish_reason").and_then(Value::as_str))
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
            calls_tool: parts.any(|part| part.get("type").and_then(Value::as_str) == Some("tool_call")),
            preview: super::preview(messages, side == Side::Input).map(|text| clip(&text).to_owned()),
        }
    }
}

/// The first characters of `text`, as many as a preview has.
pub(in super::super) fn clip(text: &str) -> &str {
    if text.len() <= PREVIEW_CHARS {
        return text;
    }
    text.char_indices().nth(PREVIEW_CHARS).map_or(text, |(at, _)| &text[..at])
}

/// Reads a list of messages.
struct Messages {
    side: Side,
}

/// A message of the list.
#[derive(Default)]
struct Message {
    is_users: bool,
    finish_reason: Option<String>,
    calls_tool: bool,
    preview: Option<String>,
}

/// A part of a message.
#[derive(Default)]
struct Part {
    kind: Kind,
    /// What the part says, as text for a preview; `None` if it says nothing.
    said: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    Text,
    ToolCall,
    /// Reasoning, the answer of a tool.
    Said,
    /// An image, an address.
    #[default]
    Other,
}

impl<'de> DeserializeSeed<'de> for Messages {
    type Value = Gist;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Gist, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages {
    type Value = Gist;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Gist, A::Error> {
        let mut gist = Gist::default();
        let mut of_user = false;
        while let Some(message) = seq.next_element::<Message>()? {
            let tells_more = match self.side {
                Side::Input => message.is_users || !of_user,
                Side::Output => !gist.any,
            };
            if tells_more {
                of_user |= message.is_users;
                gist.preview = message.preview;
            }
            gist.any = true;
            gist.calls_tool |= message.calls_tool;
            gist.finish_reasons.extend(message.finish_reason);
        }
        Ok(gist)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MessageVisitor)
    }
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a message in GenAI form")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let mut message = Message::default();
        let (mut role, mut parts, mut reason) = (None::<Word<'de>>, None::<Vec<Part>>, None::<Said>);
        while let Some(key) = map.next_key::<Word<'de>>()? {
            match &*key.0 {
                "role" => once(&mut role, map.next_value()?)?,
                "parts" => once(&mut parts, map.next_value()?)?,
                "finish_reason" => once(&mut reason, map.next_value()?)?,
                // OpenAI's form beside or instead of parts.
                "content" | "tool_calls" => return Err(A::Error::custom("not in GenAI form")),
                _ => _ = map.next_value::<Skipped>()?,
            }
        }
        let (Some(role), Some(parts)) = (role, parts) else { return Err(A::Error::custom("no role or no parts")) };
        message.is_users = role.0 == "user";
        message.finish_reason =
            reason.filter(|reason| reason.is_text).and_then(|reason| reason.text).filter(|word| !word.is_empty());
        message.calls_tool = parts.iter().any(|part| part.kind == Kind::ToolCall);
        message.preview = preview(parts);
        Ok(message)
    }
}

/// See [`super::preview`].
fn preview(parts: Vec<Part>) -> Option<String> {
    let mut text: Option<String> = None;
    for part in parts.iter().filter(|part| part.kind == Kind::Text) {
        let Some(said) = &part.said else { continue };
        match &mut text {
            Some(text) if text.chars().count() >= PREVIEW_CHARS => break,
            Some(text) => {
                text.push('\n');
                text.push_str(said);
            }
            None if said.is_empty() => {}
            None => text = Some(said.clone()),
        }
    }
    let other = || parts.into_iter().filter(|part| part.kind != Kind::Text).find_map(|part| part.said);
    text.map_or_else(other, |text| Some(clip(&text).to_owned()))
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a part in GenAI form")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let mut kind = None::<Word<'de>>;
        let (mut content, mut name, mut arguments, mut response) = (None::<Said>, None::<Said>, None::<Said>, None::<Said>);
        while let Some(key) = map.next_key::<Word<'de>>()? {
            match &*key.0 {
                "type" => once(&mut kind, map.next_value()?)?,
                "content" => once(&mut content, map.next_value()?)?,
                "name" => once(&mut name, map.next_value()?)?,
                "arguments" => once(&mut arguments, map.next_value()?)?,
                "response" => once(&mut response, map.next_value()?)?,
                _ => _ = map.next_value::<Skipped>()?,
            }
        }
        let part = match (kind.as_ref().map(|kind| &*kind.0), content, name, response) {
            (Some("text"), Some(content), ..) => Part { kind: Kind::Text, said: content.text.filter(|_| content.is_text) },
            (Some("reasoning"), Some(content), ..) => Part { kind: Kind::Said, said: content.text },
            (Some("tool_call"), _, Some(name), _) if !arguments.as_ref().is_some_and(|arguments| arguments.is_text) => {
                let arguments = arguments.and_then(|arguments| arguments.text).unwrap_or_default();
                let call = name.text.filter(|_| name.is_text).map(|name| format!("{name}({arguments})"));
                Part { kind: Kind::ToolCall, said: call.map(|call| clip(&call).to_owned()) }
            }
            (Some("tool_call_response"), _, _, Some(response)) => Part { kind: Kind::Said, said: response.text },
            (Some("blob" | "uri" | "file"), ..) => Part::default(),
            _ => return Err(A::Error::custom("a part not in GenAI form")),
        };
        Ok(part)
    }
}

/// Puts `value` into `place`. A repeated key is an error: which one stands is the parser's to say.
fn once<T, E: serde::de::Error>(place: &mut Option<T>, value: T) -> Result<(), E> {
    if place.replace(value).is_some() { Err(E::custom("a key twice")) } else { Ok(()) }
}

/// A key or a short text, borrowed unless it has escapes. (`Cow` by itself is always read as owned.)
struct Word<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Word<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Word<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Word<'de>, E> {
        Ok(Word(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Word<'de>, E> {
        Ok(Word(Cow::Owned(text.to_owned())))
    }
}

/// A value as text, no longer than a preview: text as it is, structures as JSON.
#[derive(Default)]
struct Said {
    text: Option<String>,
    is_text: bool,
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SaidVisitor)
    }
}

struct SaidVisitor;

impl SaidVisitor {
    fn json(value: &Value) -> Said {
        Said { text: Some(clip(&value.to_string()).to_owned()), is_text: false }
    }
}

impl<'de> Visitor<'de> for SaidVisitor {
    type Value = Said;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Said, E> {
        Ok(Said { text: Some(clip(text).to_owned()), is_text: true })
    }
    fn visit_unit<E>(self) -> Result<Said, E> {
        Ok(Said::default())
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Said, E> {
        Ok(Self::json(&flag.into()))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Said, E> {
        Ok(Self::json(&number.into()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Said, E> {
        Ok(Self::json(&number.into()))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Said, E> {
        Ok(Self::json(&number.into()))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Said, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(map)).map(|value| Self::json(&value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Said, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(seq)).map(|value| Self::json(&value))
    }
}

/// A value that is not looked at, but read: a number out of range or half a surrogate is refused as in the parser.
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Skipped {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::is_genai, Gist, PREVIEW_CHARS, Side};

    /// Reading without a tree says what parsing says.
    fn check(text: &str) {
        let parsed = serde_json::from_str::<Value>(text).ok().filter(is_genai);
        for side in [Side::Input, Side::Output] {
            let expected = parsed.as_ref().map(|value| Gist::of(value.as_array().unwrap(), side));
            assert_eq!(Gist::of_text(text, side), expected, "{side:?} {text}");
        }
    }

    #[test]
    fn messages_in_genai_form_have_the_gist_that_their_tree_has() {
        let text = |content: &str| json!({"type": "text", "content": content});
        let call =
            json!({"type": "tool_call", "id": "c", "name": "weather", "arguments": {"city": "Paris", "days": [1, 2.5, null]}});
        for messages in [
            json!([{"role": "user", "parts": [text("Hello")]}]),
            json!([{"role": "user", "parts": [text("ä\n\"\\\u{1f600}".repeat(200).as_str())]}]),
            json!([{"role": "user", "parts": [text(""), text("a"), text(""), text("b")]}, {"role": "tool", "parts": []}]),
            json!([{"role": "system", "parts": [text("S")]}, {"role": "assistant", "parts": [text("A"), call]}]),
            json!([{"role": "user", "parts": [text("x".repeat(PREVIEW_CHARS).as_str()), text("more")]}]),
            json!([{"role": "assistant", "parts": [call], "finish_reason": "tool_calls"}, {"role": "assistant", "parts": [text("B")], "finish_reason": ""}]),
            json!([{"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": {"t": "x".repeat(999)}}]}]),
            json!([{"role": "tool", "parts": [{"type": "tool_call_response", "response": null}, {"type": "reasoning", "content": 1.5}]}]),
            json!([{"role": "user", "parts": [{"type": "blob", "content": "AAAA"}, {"type": "uri", "uri": "s3://x"}], "name": {"a": [true]}}]),
            json!([{"role": "assistant", "parts": [{"type": "tool_call", "name": 7, "arguments": null}], "finish_reason": 3}]),
            json!([{"role": "user", "parts": [{"type": "text", "content": {"a": 1}}]}]),
        ] {
            assert!(is_genai(&messages), "{messages}");
            check(&messages.to_string());
            check(&serde_json::to_string_pretty(&messages).unwrap());
        }
    }

    #[test]
    fn what_is_not_in_genai_form_has_no_gist() {
        let part = r#"{"type":"text","content":"x"}"#;
        for text in [
            "[]".to_owned(),
            "{}".to_owned(),
            "\"text\"".to_owned(),
            "[1]".to_owned(),
            format!("[{{\"role\":\"user\",\"parts\":[{part}]}}] more"),
            format!("[{{\"role\":\"user\",\"parts\":[{part}]}}"),
            format!("[{{\"role\":\"user\",\"content\":null,\"parts\":[{part}]}}]"),
            format!("[{{\"role\":\"user\",\"tool_calls\":[],\"parts\":[{part}]}}]"),
            format!("[{{\"role\":null,\"parts\":[{part}]}}]"),
            format!("[{{\"parts\":[{part}]}}]"),
            format!("[{{\"role\":\"user\",\"parts\":[{part},\"text\"]}}]"),
            format!("[{{\"role\":\"user\",\"parts\":[{part}],\"x\":1e999}}]"),
            r#"[{"role":"user","content":"x"}]"#.to_owned(),
            r#"[{"role":"user","parts":[{"type":"text","text":"x"}]}]"#.to_owned(),
            r#"[{"role":"user","parts":[{"type":"text","content":"\ud800"}]}]"#.to_owned(),
            r#"[{"role":"user","parts":[{"type":"tool_call","name":"f","arguments":"{}"}]}]"#.to_owned(),
            r#"[{"role":"user","parts":[{"type":"image_url","image_url":"x"}]}]"#.to_owned(),
            format!("[{{\"role\":\"user\",\"parts\":[{part}],\"x\":{}}}]", "[".repeat(200) + &"]".repeat(200)),
        ] {
            assert_eq!(Gist::of_text(&text, Side::Input), None, "{text}");
            check(&text);
        }
    }

    #[test]
    fn a_repeated_key_is_left_to_the_parser() {
        let text = r#"[{"role":"user","role":"tool","parts":[{"type":"text","content":"x"}]}]"#;
        assert_eq!(Gist::of_text(text, Side::Input), None);
        assert!(is_genai(&serde_json::from_str(text).unwrap()));
    }
}
