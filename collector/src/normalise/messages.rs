//! Messages, from every encoding that SDKs use into the one of the GenAI conventions:
//! `[{"role", "parts": [{"type": "text", "content"}, {"type": "tool_call", "id", "name", "arguments"},
//! {"type": "tool_call_response", "id", "response"}, {"type": "reasoning", "content"}, {"type": "blob" | "uri" | "file", …}],
//! "finish_reason"}]`.
//!
//! The reader goes by shape, not by dialect: GenAI parts, OpenAI chat messages, choices and Responses items, Anthropic, Bedrock and
//! Gemini content, LangChain messages (plain and serialised), Vercel parts, Haystack and LlamaIndex messages, and requests or
//! responses that hold any of them. What has none of these shapes is not a conversation (`None`).

mod gist;

use serde_json::{Map, Value, json};

pub(super) use self::gist::{Gist, Side, clip};
use super::values::{parse_json, text_of};

/// What a conversation-like value holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Conversation {
    /// Messages in GenAI form.
    pub(super) messages: Vec<Value>,
    /// System instructions given apart, as parts.
    pub(super) system: Vec<Value>,
}

/// Reads `value`; messages without a role get `role`.
pub(super) fn conversation(value: &Value, role: &str) -> Option<Conversation> {
    let mut found = Conversation::default();
    let read = Reader { role }.any(value, &mut found, 0);
    (read && !(found.messages.is_empty() && found.system.is_empty())).then_some(found)
}

/// Whether `value` is a list of messages in GenAI form already, so that its text can be kept as it is.
pub(super) fn is_genai(value: &Value) -> bool {
    let Some(messages) = value.as_array().filter(|messages| !messages.is_empty()) else { return false };
    messages.iter().all(|message| {
        message.get("role").is_some_and(Value::is_string)
            && message.get("content").is_none()
            && message.get("tool_calls").is_none()
            && message.get("parts").and_then(Value::as_array).is_some_and(|parts| parts.iter().all(is_genai_part))
    })
}

fn is_genai_part(part: &Value) -> bool {
    let has = |key: &str| part.get(key).is_some();
    match part.get("type").and_then(Value::as_str) {
        Some("text" | "reasoning") => has("content"),
        Some("tool_call") => part.get("arguments").is_none_or(|arguments| !arguments.is_string()) && has("name"),
        Some("tool_call_response") => has("response"),
        Some("blob" | "uri" | "file") => true,
        _ => false,
    }
}

/// A message of one text.
pub(super) fn text_message(role: &str, text: &str) -> Value {
    json!({"role": role, "parts": [{"type": "text", "content": text}]})
}

/// System instructions in `value` as parts: parts as they are, text as one part.
pub(super) fn system_parts(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![json!({"type": "text", "content": text})],
        Value::Array(items) => items
            .iter()
            .flat_map(|item| match item.get("role").or_else(|| item.get("parts")).or_else(|| item.get("content")) {
                Some(_) if item.get("type").is_none() => message(item, "system").map_or_else(Vec::new, take_parts),
                _ => part(item).into_iter().collect(),
            })
            .collect(),
        Value::Object(_) => message(value, "system").map_or_else(Vec::new, take_parts),
        other => vec![json!({"type": "text", "content": other.to_string()})],
    }
}

fn take_parts(message: Value) -> Vec<Value> {
    match message {
        Value::Object(mut object) => match object.shift_remove("parts") {
            Some(Value::Array(parts)) => parts,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The messages in a list of message events: the answers (`gen_ai.choice`), or all others. Where nothing is called a choice, what the
/// assistant says last is the answer.
pub(super) fn of_events(value: &Value, answers: bool) -> Vec<Value> {
    let events = value.as_array().map_or(&[][..], Vec::as_slice);
    let is_choice = |event: &Value| {
        let name = event.get("event.name").or_else(|| event.get("event_name")).and_then(Value::as_str);
        name.is_some_and(|name| name.ends_with("choice"))
    };
    let is_assistant = |event: &Value| event.get("role").and_then(Value::as_str) == Some("assistant");
    let has_choice = events.iter().any(is_choice);
    let n_said = events.iter().rev().take_while(|event| !has_choice && is_assistant(event)).count();
    let role = if answers { "assistant" } else { "user" };
    let wanted =
        events.iter().enumerate().filter(|(index, event)| (is_choice(event) || index + n_said >= events.len()) == answers);
    wanted.filter_map(|(_, event)| message(event, role)).collect()
}

/// Every text in the parts of `message`, joined by newlines.
pub(super) fn text_in(message: &Value) -> String {
    let mut out = String::new();
    for part in message.get("parts").and_then(Value::as_array).into_iter().flatten() {
        if part.get("type").and_then(Value::as_str) == Some("text")
            && let Some(text) = part.get("content").and_then(Value::as_str)
        {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(text);
        }
    }
    out
}

struct Reader<'a> {
    role: &'a str,
}

impl Reader<'_> {
    const DEPTH_MAX: usize = 6;
    /// Objects that hold a conversation under one of these keys: requests, responses, states of frameworks.
    const INNER: &'static [&'static str] = &[
        "messages",
        "message",
        "input_messages",
        "chat_history",
        "contents",
        "input",
        "prompt",
        "prompts",
        "choices",
        "candidates",
        "output",
        "generations",
        "replies",
        "outputs",
        "inputs",
        "response",
        "update",
        "content",
        "text",
        "query",
    ];

    fn any(&self, value: &Value, out: &mut Conversation, depth: usize) -> bool {
        if depth > Self::DEPTH_MAX {
            return false;
        }
        match value {
            Value::String(text) => match parse_json(text) {
                Some(inner @ (Value::Object(_) | Value::Array(_))) if self.any(&inner, out, depth + 1) => true,
                Some(Value::String(inner)) => self.push_text(&inner, out),
                _ => self.push_text(text, out),
            },
            Value::Array(items) => self.list(items, out, depth),
            Value::Object(object) => self.object(value, object, out, depth),
            _ => false,
        }
    }

    fn push_text(&self, text: &str, out: &mut Conversation) -> bool {
        if text.is_empty() {
            return false;
        }
        out.messages.push(text_message(self.role, text));
        true
    }

    fn list(&self, items: &[Value], out: &mut Conversation, depth: usize) -> bool {
        if items.is_empty() {
            return false;
        }
        // LangChain batches: a list of conversations.
        if items.iter().all(Value::is_array) {
            let before = out.messages.len();
            for inner in items.iter().filter_map(Value::as_array) {
                self.list(inner, out, depth + 1);
            }
            return out.messages.len() > before;
        }
        if items.iter().all(is_block) {
            let parts: Vec<Value> = items.iter().filter_map(part).collect();
            if parts.is_empty() {
                return false;
            }
            out.messages.push(json!({"role": self.role, "parts": parts}));
            return true;
        }
        let before = out.messages.len();
        // Chunks of a stream: each holds a piece of one answer.
        if items.len() > 1 && items.iter().all(|item| item.get("candidates").is_some()) {
            let mut chunks = Conversation::default();
            for item in items {
                self.any(item, &mut chunks, depth + 1);
            }
            out.messages.extend(joined(chunks.messages));
            return out.messages.len() > before;
        }
        for item in items {
            match item {
                Value::String(text) => _ = self.push_text(text, out),
                Value::Array(pair) => _ = self.list(pair, out, depth + 1),
                Value::Object(_) => match self.item(item) {
                    Some(found) => push_message(out, found),
                    // Not a message itself: perhaps something around messages (a LangGraph command, a generation).
                    None => _ = self.any(item, out, depth + 1),
                },
                _ => {}
            }
        }
        out.messages.len() > before
    }

    fn object(&self, value: &Value, object: &Map<String, Value>, out: &mut Conversation, depth: usize) -> bool {
        if let Some(found) = self.item(value) {
            out.messages.push(found);
            return true;
        }
        for key in ["system", "system_instruction", "systemInstruction", "instructions", "system_prompt"] {
            if let Some(system) = object.get(key)
                && (depth == 0 || object.contains_key("messages") || object.contains_key("prompt"))
            {
                out.system.extend(system_parts(system));
            }
        }
        if let Some(system) = object.get("config").and_then(|config| config.get("system_instruction")) {
            out.system.extend(system_parts(system));
        }
        let reason = object.get("finish_reason").or_else(|| object.get("stop_reason")).or_else(|| object.get("stopReason"));
        for key in Self::INNER {
            let Some(inner) = object.get(*key) else { continue };
            let first = out.messages.len();
            if self.any(inner, out, depth + 1) {
                if let (Some(Value::String(reason)), Some(Value::Object(message))) = (reason, out.messages.get_mut(first)) {
                    message.entry("finish_reason").or_insert_with(|| Value::String(reason.clone()));
                }
                return true;
            }
        }
        false
    }

    /// One message, choice or Responses item.
    fn item(&self, value: &Value) -> Option<Value> {
        let object = value.as_object()?;
        match object.get("type").and_then(Value::as_str) {
            Some(
                "function_call"
                | "function_call_output"
                | "reasoning"
                | "custom_tool_call"
                | "custom_tool_call_output"
                | "mcp_call",
            ) if !object.contains_key("role") && !object.contains_key("message") => {
                let role =
                    if object["type"].as_str().is_some_and(|kind| kind.ends_with("_output")) { "tool" } else { "assistant" };
                return Some(json!({"role": role, "parts": [part(value)?]}));
            }
            // A pending LangChain tool call or a bare content block is not a message.
            Some("tool_call" | "text" | "output_text" | "input_text") if !object.contains_key("role") => return None,
            _ => {}
        }
        message(value, self.role)
    }
}

/// The pieces of a streamed answer as one message: text goes on where it stopped.
fn joined(pieces: Vec<Value>) -> Option<Value> {
    let mut parts: Vec<Value> = Vec::new();
    let mut reason = None;
    for piece in pieces {
        reason = piece.get("finish_reason").cloned().or(reason);
        for part in take_parts(piece) {
            let kind = part.get("type").cloned();
            let goes_on = matches!(kind.as_ref().and_then(Value::as_str), Some("text" | "reasoning"));
            match (parts.last_mut(), part.get("content").and_then(Value::as_str)) {
                (Some(last), Some(more)) if goes_on && last.get("type") == kind.as_ref() => {
                    if let Some(Value::String(text)) = last.get_mut("content") {
                        text.push_str(more);
                    }
                }
                _ => parts.push(part),
            }
        }
    }
    let mut out = Map::new();
    out.insert("role".to_owned(), "assistant".into());
    out.insert("parts".to_owned(), Value::Array(parts));
    out.extend(reason.map(|reason| ("finish_reason".to_owned(), reason)));
    Some(Value::Object(out))
}

/// Items of the Responses API arrive one by one though they are one answer: calls and text that follow each other are one message.
fn push_message(out: &mut Conversation, found: Value) {
    if let (Some(Value::Object(last)), Value::Object(next)) = (out.messages.last_mut(), &found)
        && last.get("role") == next.get("role")
        && last.get("role").and_then(Value::as_str) == Some("assistant")
        && !last.contains_key("finish_reason")
        && (only_calls_or_reasoning(next) || only_calls_or_reasoning(last))
        && let (Some(Value::Array(parts)), Some(Value::Array(more))) = (last.get_mut("parts"), next.get("parts"))
    {
        parts.extend(more.iter().cloned());
        if let Some(reason) = next.get("finish_reason") {
            last.insert("finish_reason".to_owned(), reason.clone());
        }
        return;
    }
    out.messages.push(found);
}

fn only_calls_or_reasoning(message: &Map<String, Value>) -> bool {
    message.get("parts").and_then(Value::as_array).is_some_and(|parts| {
        !parts.is_empty()
            && parts.iter().all(|part| matches!(part.get("type").and_then(Value::as_str), Some("tool_call" | "reasoning")))
    })
}

/// A list element that is content rather than a message.
fn is_block(item: &Value) -> bool {
    let Some(object) = item.as_object() else { return false };
    if object.contains_key("role") || object.contains_key("message") || object.contains_key("kwargs") {
        return false;
    }
    match object.get("type").and_then(Value::as_str) {
        Some(
            "text" | "tool_use" | "tool_result" | "tool_call" | "tool_call_response" | "tool-call" | "tool-result" | "image"
            | "image_url" | "thinking" | "redacted_thinking" | "input_text" | "output_text" | "input_image" | "blob" | "uri"
            | "file",
        ) => true,
        // A call as OpenAI writes it; a definition has no arguments.
        Some("function") => is_openai_call(object),
        Some(_) => false,
        None => {
            object.len() <= 2
                && [
                    "text",
                    "toolUse",
                    "toolResult",
                    "functionCall",
                    "functionResponse",
                    "function_call",
                    "inlineData",
                    "reasoningContent",
                ]
                .iter()
                .any(|key| object.contains_key(*key))
        }
    }
}

fn is_openai_call(object: &Map<String, Value>) -> bool {
    object.get("function").is_some_and(|function| function.get("arguments").is_some())
}

/// One message in GenAI form, if `value` has the shape of a message.
pub(super) fn message(value: &Value, default_role: &str) -> Option<Value> {
    let mut object = value.as_object()?;
    // A request holds messages, whatever else it is made of.
    if object.get("messages").is_some_and(Value::is_array) {
        return None;
    }
    // Serialised LangChain objects keep their fields in `kwargs`, older ones in `data`; choices and generations in `message`.
    let mut outer = object;
    let mut constructor = None;
    for _ in 0..3 {
        if object.contains_key("role") && (object.contains_key("content") || object.contains_key("parts")) {
            break;
        }
        let inner = if let Some(Value::Object(inner)) = object.get("kwargs") {
            constructor = object.get("id").and_then(Value::as_array).and_then(|id| id.last()).and_then(Value::as_str);
            // Documents and prompt values are constructors too.
            if !constructor.is_some_and(|name| name.contains("Message")) {
                return None;
            }
            inner
        } else if let Some(Value::Object(inner)) = object.get("message").or_else(|| object.get("delta")) {
            outer = object;
            inner
        } else if let (Some(Value::Object(inner)), Some(_)) = (object.get("data"), object.get("type")) {
            constructor = object.get("type").and_then(Value::as_str);
            inner
        } else {
            break;
        };
        object = inner;
    }

    let role = role_of(object, constructor);
    let has_content = ["content", "parts", "contents", "tool_calls", "toolCalls", "blocks", "function_call", "_content"]
        .iter()
        .any(|key| object.contains_key(*key))
        || (is_answer(object) && (object.contains_key("text") || object.contains_key("object")));
    // A completion choice of the old kind has its text beside the reason.
    let choice_text = outer.get("text").filter(|_| outer.contains_key("finish_reason") || outer.contains_key("index"));
    if !(has_content && (role.is_some() || outer.contains_key("message") || is_answer(object)) || choice_text.is_some()) {
        // A bare role without content: an event or message whose content was not captured.
        return None;
    }
    let role = role.unwrap_or_else(|| default_role.to_owned());
    let mut parts = parts_of(object, &role);
    if parts.is_empty()
        && let Some(Value::String(text)) = choice_text
    {
        parts.push(json!({"type": "text", "content": text}));
    }

    let mut out = Map::new();
    out.insert("role".to_owned(), Value::String(role));
    out.insert("parts".to_owned(), Value::Array(parts));
    if let Some(name @ Value::String(_)) = object.get("name") {
        out.insert("name".to_owned(), name.clone());
    }
    if let Some(reason) = finish_reason_of(outer).or_else(|| finish_reason_of(object)) {
        out.insert("finish_reason".to_owned(), Value::String(reason));
    }
    Some(Value::Object(out))
}

/// An answer that carries its content without a role (Anthropic and Gemini responses, Haystack replies).
fn is_answer(object: &Map<String, Value>) -> bool {
    object.contains_key("function_call")
        || object.contains_key("tool_calls")
        || object.contains_key("stop_reason")
        || object.contains_key("finish_reason")
        || object.contains_key("finishReason")
}

fn role_of(object: &Map<String, Value>, constructor: Option<&str>) -> Option<String> {
    let word = object
        .get("role")
        .or_else(|| object.get("_role"))
        .and_then(|role| role.as_str().or_else(|| role.get("value").and_then(Value::as_str)))
        .or_else(|| object.get("type").and_then(Value::as_str).filter(|kind| langchain_role(kind).is_some()))
        .or(constructor)?;
    // `MessageRole.USER`, `ChatRole.user`.
    let word = word.rsplit('.').next().unwrap_or(word);
    Some(match langchain_role(word) {
        Some(role) => role.to_owned(),
        None => match word.to_ascii_lowercase().as_str() {
            "model" | "bot" | "chatbot" => "assistant".to_owned(),
            "function" => "tool".to_owned(),
            other => other.to_owned(),
        },
    })
}

fn langchain_role(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "human" | "HumanMessage" | "HumanMessageChunk" => "user",
        "ai" | "AIMessage" | "AIMessageChunk" => "assistant",
        "system" | "SystemMessage" => "system",
        "tool" | "ToolMessage" | "FunctionMessage" => "tool",
        "generic" | "ChatMessage" => "user",
        _ => return None,
    })
}

fn finish_reason_of(object: &Map<String, Value>) -> Option<String> {
    ["finish_reason", "finishReason", "stop_reason", "stopReason"]
        .iter()
        .find_map(|key| object.get(*key))
        .or_else(|| {
            object.get("response_metadata").and_then(|meta| meta.get("finish_reason").or_else(|| meta.get("stop_reason")))
        })
        .or_else(|| object.get("meta").and_then(|meta| meta.get("finish_reason")))
        .or_else(|| object.get("_meta").and_then(|meta| meta.get("finish_reason")))
        .or_else(|| object.get("generation_info").and_then(|info| info.get("finish_reason")))
        .and_then(Value::as_str)
        .filter(|reason| !reason.is_empty())
        .map(str::to_owned)
}

fn parts_of(object: &Map<String, Value>, role: &str) -> Vec<Value> {
    let mut parts = Vec::new();
    for key in ["reasoning_content", "reasoning", "thinking"] {
        if let Some(Value::String(text)) = object.get(key)
            && !text.is_empty()
        {
            parts.push(json!({"type": "reasoning", "content": text}));
            break;
        }
    }
    let plain = ["parts", "contents", "content", "blocks", "_content"];
    // An answer of the Vercel SDK: the text or the object, beside the calls.
    let answer: &[&str] = if is_answer(object) { &["text", "object"] } else { &[] };
    let content = plain.iter().chain(answer).find_map(|key| object.get(*key).filter(|content| !is_void(content)));

    let call_id =
        ["tool_call_id", "toolCallId", "tool_use_id"].iter().find_map(|key| object.get(*key)).filter(|id| !id.is_null());
    let is_result = role == "tool" && !content.is_some_and(holds_tool_results);
    if is_result || (call_id.is_some() && role != "assistant" && object.get("tool_calls").is_none()) {
        let id = call_id.or_else(|| object.get("id")).cloned().unwrap_or(Value::Null);
        let mut response = Map::new();
        response.insert("type".to_owned(), "tool_call_response".into());
        response.insert("id".to_owned(), id);
        response.insert("response".to_owned(), content.map_or(Value::Null, response_of));
        return vec![Value::Object(response)];
    }

    match content {
        Some(Value::Array(blocks)) => parts.extend(blocks.iter().filter_map(part)),
        Some(Value::String(text)) => match parse_json(text).filter(is_dumped_content) {
            Some(Value::Array(blocks)) => parts.extend(blocks.iter().filter_map(part)),
            _ => parts.push(json!({"type": "text", "content": text})),
        },
        // Gemini: `content: {role, parts}`.
        Some(Value::Object(inner)) if inner.contains_key("parts") => parts.extend(parts_of(inner, role)),
        Some(inner @ Value::Object(_)) => parts.extend(part(inner)),
        Some(Value::Null) | None => {}
        Some(other) => parts.push(json!({"type": "text", "content": other.to_string()})),
    }
    if let Some(Value::String(refusal)) = object.get("refusal") {
        parts.push(json!({"type": "refusal", "content": refusal}));
    }

    let calls = ["tool_calls", "toolCalls"]
        .iter()
        .find_map(|key| object.get(*key))
        .or_else(|| object.get("additional_kwargs").and_then(|more| more.get("tool_calls")));
    let parsed;
    let calls = match calls {
        Some(Value::String(text)) => {
            parsed = parse_json(text);
            parsed.as_ref()
        }
        other => other,
    };
    match calls {
        Some(Value::Array(calls)) => calls.iter().for_each(|call| push_call(&mut parts, call)),
        // OpenLIT writes the only call without a list around it.
        Some(call @ Value::Object(_)) => push_call(&mut parts, call),
        _ => {}
    }
    if let Some(call @ Value::Object(_)) = object.get("function_call") {
        push_call(&mut parts, call);
    }
    parts
}

fn is_void(content: &Value) -> bool {
    match content {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Content that is not text is dumped as JSON by some SDKs; text that merely looks like JSON stays text.
fn is_dumped_content(value: &Value) -> bool {
    value.as_array().is_some_and(|items| {
        !items.is_empty() && items.iter().all(|item| item.get("type").and_then(Value::as_str).is_some() && is_block(item))
    })
}

fn holds_tool_results(content: &Value) -> bool {
    content.as_array().is_some_and(|items| {
        items.iter().any(|item| {
            matches!(
                item.get("type").and_then(Value::as_str),
                Some("tool_call_response" | "tool-result" | "tool_result" | "function_call_output")
            ) || ["toolResult", "functionResponse", "function_response", "tool_call_result", "toolResponse"]
                .iter()
                .any(|key| item.get(*key).is_some())
        })
    })
}

fn push_call(parts: &mut Vec<Value>, call: &Value) {
    let call = call.get("tool_call").unwrap_or(call);
    let Some(object) = call.as_object() else { return };
    let Some(found) = tool_call(object) else { return };
    let id = found.get("id").filter(|id| !id.is_null());
    // Some SDKs give a call both as a content block and as a tool call.
    if id.is_some() && parts.iter().any(|part| part.get("type") == found.get("type") && part.get("id") == id) {
        return;
    }
    parts.push(found);
}

fn tool_call(object: &Map<String, Value>) -> Option<Value> {
    let function = object.get("function").and_then(Value::as_object).unwrap_or(object);
    let name = ["name", "toolName", "tool_name"].iter().find_map(|key| function.get(*key).or_else(|| object.get(*key)))?;
    if name.as_str() == Some("") {
        return None;
    }
    let arguments = ["arguments", "args", "input", "tool_kwargs", "parameters"]
        .iter()
        .find_map(|key| function.get(*key).or_else(|| object.get(*key)));
    let id = ["id", "call_id", "toolCallId", "toolUseId", "tool_call_id", "tool_id", "ref"];
    // Responses items have an `id` of their own beside the id of the call.
    let id = object.get("call_id").or_else(|| id.iter().find_map(|key| object.get(*key)));
    let mut out = Map::new();
    out.insert("type".to_owned(), "tool_call".into());
    out.insert("id".to_owned(), id.cloned().unwrap_or(Value::Null));
    out.insert("name".to_owned(), name.clone());
    out.insert("arguments".to_owned(), arguments.map_or(Value::Null, structured));
    Some(Value::Object(out))
}

/// JSON in text as its value, where it is an object or an array.
fn structured(value: &Value) -> Value {
    match value {
        Value::String(text) => match parse_json(text) {
            Some(inner @ (Value::Object(_) | Value::Array(_))) => inner,
            // Encoded once more on the way.
            Some(quoted @ Value::String(_)) => structured(&quoted),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

/// A tool's answer: lists of text blocks become their text, Vercel's typed outputs their value.
fn response_of(value: &Value) -> Value {
    match value {
        Value::Array(blocks) if !blocks.is_empty() && blocks.iter().all(|block| block_text(block).is_some()) => {
            Value::String(blocks.iter().filter_map(block_text).collect::<Vec<_>>().join("\n"))
        }
        Value::Array(blocks) if blocks.len() == 1 && blocks[0].get("json").is_some() => blocks[0]["json"].clone(),
        Value::Object(object) if object.len() == 2 && object.contains_key("value") && object.contains_key("type") => {
            object["value"].clone()
        }
        Value::Object(object) => match block_text(value) {
            Some(text) if object.len() <= 2 => Value::String(text.to_owned()),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

fn block_text(block: &Value) -> Option<&str> {
    let block = block.get("message_content").unwrap_or(block);
    match block.get("type").and_then(Value::as_str) {
        Some("text" | "input_text" | "output_text") => block.get("text").or_else(|| block.get("content")).and_then(Value::as_str),
        Some(_) => None,
        None => block.get("text").and_then(Value::as_str),
    }
}

/// One part in GenAI form.
fn part(value: &Value) -> Option<Value> {
    let object = match value {
        Value::String(text) => return Some(json!({"type": "text", "content": text})),
        Value::Object(object) => object,
        _ => return None,
    };
    // OpenInference wraps each block; a block may hold a call beside its type.
    if let Some(Value::Object(call)) = object.get("tool_call") {
        return tool_call(call);
    }
    if let Some(inner) = object.get("message_content") {
        return part(inner);
    }
    let text = || ["content", "text", "thinking", "value"].iter().find_map(|key| object.get(*key).and_then(Value::as_str));
    match object.get("type").and_then(Value::as_str) {
        Some("text" | "input_text" | "output_text" | "summary_text") => {
            if object.len() == 2 && object.get("content").is_some_and(Value::is_string) {
                return Some(value.clone());
            }
            text().map(|text| json!({"type": "text", "content": text}))
        }
        Some("reasoning" | "thinking" | "redacted_thinking") => Some(reasoning(object, text())),
        Some(
            "tool_call" | "tool_use" | "tool-call" | "function_call" | "toolUse" | "custom_tool_call" | "mcp_call"
            | "server_tool_use",
        ) => tool_call(object),
        Some("function") if is_openai_call(object) => tool_call(object),
        Some(
            "tool_call_response"
            | "tool_result"
            | "tool-result"
            | "function_call_output"
            | "toolResult"
            | "custom_tool_call_output"
            | "web_search_tool_result",
        ) => Some(tool_response(object)),
        Some(
            "image_url" | "image" | "input_image" | "file" | "input_file" | "audio" | "input_audio" | "document" | "video"
            | "media",
        ) => Some(media(object).unwrap_or_else(|| value.clone())),
        Some(_) => Some(value.clone()),
        None => untyped_part(value, object),
    }
}

fn reasoning(object: &Map<String, Value>, text: Option<&str>) -> Value {
    let summary = || {
        let summary = object.get("summary").or_else(|| object.get("content")).and_then(Value::as_array)?;
        Some(summary.iter().filter_map(block_text_or_summary).collect::<Vec<_>>().join("\n"))
    };
    match text.map(str::to_owned).or_else(summary) {
        Some(text) => json!({"type": "reasoning", "content": text}),
        None => json!({"type": "reasoning", "content": null}),
    }
}

fn block_text_or_summary(block: &Value) -> Option<&str> {
    block.get("text").and_then(Value::as_str).or_else(|| block.as_str())
}

/// Bedrock, Gemini and Haystack name the kind of a part by its key.
fn untyped_part(value: &Value, object: &Map<String, Value>) -> Option<Value> {
    let inner = |keys: &[&str]| keys.iter().find_map(|key| object.get(*key).and_then(Value::as_object));
    if let Some(Value::String(text)) = object.get("text").or_else(|| object.get("content")) {
        let kind = if object.get("thought") == Some(&Value::Bool(true)) { "reasoning" } else { "text" };
        return Some(json!({"type": kind, "content": text}));
    }
    if let Some(call) = inner(&["toolUse", "functionCall", "function_call", "tool_call", "toolRequest"]) {
        return tool_call(call);
    }
    if let Some(answer) = inner(&["toolResult", "functionResponse", "function_response", "tool_call_result", "toolResponse"]) {
        return Some(tool_response(answer));
    }
    if let Some(text) =
        object.get("reasoningContent").and_then(|content| content.get("reasoningText")).and_then(|text| text.get("text"))
    {
        return Some(json!({"type": "reasoning", "content": text}));
    }
    if let Some(data) = inner(&["inlineData", "inline_data", "fileData", "file_data", "image", "document"]) {
        return Some(media(data).unwrap_or_else(|| value.clone()));
    }
    (!object.is_empty()).then(|| json!({"type": "text", "content": value.to_string()}))
}

fn tool_response(object: &Map<String, Value>) -> Value {
    let id = ["id", "call_id", "tool_use_id", "toolUseId", "toolCallId", "tool_call_id", "ref"];
    let id = object
        .get("call_id")
        .or_else(|| id.iter().find_map(|key| object.get(*key)))
        .or_else(|| object.get("origin").and_then(|origin| origin.get("id")));
    let response = ["response", "result", "output", "content"].iter().find_map(|key| object.get(*key));
    let mut out = Map::new();
    out.insert("type".to_owned(), "tool_call_response".into());
    out.insert("id".to_owned(), id.cloned().unwrap_or(Value::Null));
    if let Some(name) = ["name", "toolName", "tool_name"].iter().find_map(|key| object.get(*key)).filter(|name| name.is_string())
    {
        out.insert("name".to_owned(), name.clone());
    }
    out.insert("response".to_owned(), response.map_or(Value::Null, response_of));
    Value::Object(out)
}

/// Images, audio and files: data as `blob`, addresses as `uri`, uploads as `file`.
fn media(object: &Map<String, Value>) -> Option<Value> {
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let mime = ["mime_type", "mimeType", "media_type", "mediaType", "format"]
        .iter()
        .find_map(|key| object.get(*key).or_else(|| object.get("source").and_then(|source| source.get(*key))))
        .and_then(Value::as_str);
    let modality = if kind.contains("audio") || mime.is_some_and(|mime| mime.starts_with("audio")) {
        "audio"
    } else if kind.contains("video") || mime.is_some_and(|mime| mime.starts_with("video")) {
        "video"
    } else if kind.contains("image") || mime.is_some_and(|mime| mime.starts_with("image")) || object.contains_key("image_url") {
        "image"
    } else {
        "document"
    };
    if let Some(id) =
        object.get("file_id").or_else(|| object.get("file").and_then(|file| file.get("file_id"))).and_then(Value::as_str)
    {
        return Some(json!({"type": "file", "modality": modality, "file_id": id}));
    }
    let place =
        ["image_url", "image", "url", "uri", "fileUri", "file_uri", "data", "source", "input_audio", "file", "content", "bytes"]
            .iter()
            .find_map(|key| object.get(*key).and_then(address))?;
    if let Some(rest) = place.strip_prefix("data:") {
        let (head, data) = rest.split_once(',')?;
        let mime = head.split(';').next().filter(|mime| !mime.is_empty());
        return Some(json!({"type": "blob", "mime_type": mime, "modality": modality, "content": data}));
    }
    if place.contains("://") {
        return Some(json!({"type": "uri", "mime_type": mime, "modality": modality, "uri": place}));
    }
    Some(json!({"type": "blob", "mime_type": mime, "modality": modality, "content": place}))
}

/// The address or base64 data in a media field: text, or an object that holds it.
fn address(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Object(object) => ["url", "uri", "data", "bytes", "file_data", "image", "source"]
            .iter()
            .find_map(|key| object.get(*key).and_then(address)),
        _ => None,
    }
}

/// The text of a message list for a preview: the last user message for `user`, else the first message with text or a tool call.
fn preview(messages: &[Value], user: bool) -> Option<String> {
    let of_role = |role: &str| messages.iter().rev().find(|message| message.get("role").and_then(Value::as_str) == Some(role));
    let chosen = if user { of_role("user").or_else(|| messages.last()) } else { messages.first() }?;
    let text = text_in(chosen);
    if !text.is_empty() {
        return Some(text);
    }
    let parts = chosen.get("parts").and_then(Value::as_array)?;
    parts.iter().find_map(|part| match part.get("type").and_then(Value::as_str)? {
        "tool_call" => {
            let name = part.get("name").and_then(Value::as_str)?;
            Some(format!("{name}({})", part.get("arguments").and_then(text_of).unwrap_or_default()))
        }
        "tool_call_response" => part.get("response").and_then(text_of),
        "reasoning" => part.get("content").and_then(text_of),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
