//! Compares the rows of one scenario with what its driver and the mock provider say happened.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::load::Row;

/// A value that differs.
#[derive(Clone, Debug)]
pub(crate) struct Mismatch {
    /// Which fact: `calls`, `input_total`, `session_id`, …
    pub(crate) field: &'static str,
    /// What happened.
    pub(crate) expected: String,
    /// What the rows say.
    pub(crate) found: String,
}

/// All differences between `expected` (a scenario of `expected.json`) and `rows`.
pub(crate) fn compare(expected: &Value, rows: &[Row]) -> Vec<Mismatch> {
    let mut out = Vec::new();
    let calls: Vec<&Value> = expected["calls"].as_array().into_iter().flatten().collect();
    let mut found: Vec<&Row> = rows.iter().filter(|row| row.counts).collect();
    found.sort_by_key(|row| row.start);
    if calls.len() != found.len() {
        let names: Vec<&str> = found.iter().map(|row| row.name.as_str()).collect();
        out.push(Mismatch { field: "calls", expected: calls.len().to_string(), found: format!("{} {names:?}", found.len()) });
    }
    for (call, row) in pairs(&calls, &found) {
        compare_call(call, row, &mut out);
    }
    texts_of_their_own(rows, &mut out);
    compare_driver(&expected["driver_facts"], rows, &mut out);
    out
}

/// Coding agents log prompts and answers as records of their own, not on the calls: found there, they are not missing.
fn texts_of_their_own(rows: &[Row], out: &mut Vec<Mismatch>) {
    let logged = |text: &str| {
        let holds = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty() && value.starts_with(text));
        rows.iter().any(|row| row.is_log && (holds(&row.genai.input_value) || holds(&row.genai.output_value)))
    };
    out.retain(|mismatch| {
        !(matches!(mismatch.field, "prompt_text" | "completion_text") && mismatch.found.is_empty() && logged(&mismatch.expected))
    });
}

/// Pairs each call with a row: by response id where both have one, the others by how much agrees.
fn pairs<'a>(calls: &[&'a Value], rows: &[&'a Row]) -> Vec<(&'a Value, &'a Row)> {
    let mut free: Vec<&Row> = rows.to_vec();
    let mut out = Vec::new();
    let mut rest = Vec::new();
    for call in calls {
        let id = call["response_id"].as_str();
        match free.iter().position(|row| id.is_some() && row.genai.response_id.as_deref() == id) {
            Some(index) => out.push((*call, free.remove(index))),
            None => rest.push(*call),
        }
    }
    for call in rest {
        let best = free.iter().enumerate().min_by_key(|(index, row)| {
            let mut differences = Vec::new();
            compare_call(call, row, &mut differences);
            (differences.len(), *index)
        });
        if let Some((index, _)) = best {
            out.push((call, free.remove(index)));
        }
    }
    out
}

fn compare_call(call: &Value, row: &Row, out: &mut Vec<Mismatch>) {
    let genai = &row.genai;
    let mut text = |field: &'static str, expected: &Value, found: &Option<String>| {
        if let Some(expected) = expected.as_str()
            && found.as_deref() != Some(expected)
        {
            out.push(Mismatch { field, expected: expected.to_owned(), found: format!("{found:?}") });
        }
    };
    // The captures name Bedrock and Gemini by their own words.
    let provider = match call["provider"].as_str() {
        Some("bedrock" | "aws") => Value::from("aws.bedrock"),
        Some("gemini" | "google") => Value::from("gcp.gemini"),
        _ => call["provider"].clone(),
    };
    let same_vendor =
        |found: &str| provider.as_str() == Some("gcp.gemini") && (found == "gcp.gen_ai" || found == "gcp.vertex_ai");
    if !genai.provider.as_deref().is_some_and(same_vendor) {
        text("provider", &provider, &genai.provider);
    }
    let operation = match call["operation"].as_str() {
        Some("generate_content" | "responses") => Value::from("chat"),
        _ => call["operation"].clone(),
    };
    text("operation", &operation, &genai.operation);
    text("request_model", &call["request_model"], &genai.request_model);
    text("response_model", &call["response_model"], &genai.response_model);

    let is_error = call["error"].as_bool() == Some(true);
    if is_error != row.is_error {
        out.push(Mismatch { field: "error", expected: is_error.to_string(), found: row.is_error.to_string() });
    }
    let streaming = call["streaming"].as_bool() == Some(true);
    if streaming != genai.streaming.unwrap_or(false) {
        out.push(Mismatch { field: "streaming", expected: streaming.to_string(), found: format!("{:?}", genai.streaming) });
    }
    compare_tokens(call, row, out);
    compare_reasons(call, row, out);
    compare_texts(call, row, out);
}

fn compare_tokens(call: &Value, row: &Row, out: &mut Vec<Mismatch>) {
    let genai = &row.genai;
    let canonical = &call["canonical"];
    let unknown = call["usage_sent_to_client"].as_bool() == Some(false) || canonical.is_null();
    for (field, found) in [
        ("input_total", genai.input_tokens),
        ("output_total", genai.output_tokens),
        ("cache_read", genai.cache_read_tokens),
        ("cache_write", genai.cache_write_tokens),
        ("reasoning", genai.reasoning_tokens),
    ] {
        let expected = if unknown { None } else { canonical[field].as_i64() };
        // An SDK that says nothing of a part that was zero is unknown rightly; an embedding has no output.
        let is_silent_zero = expected == Some(0) && found.is_none();
        if expected != found && !is_silent_zero {
            out.push(Mismatch { field, expected: format!("{expected:?}"), found: format!("{found:?}") });
        }
    }
}

fn compare_reasons(call: &Value, row: &Row, out: &mut Vec<Mismatch>) {
    let expected: Vec<&str> =
        call["finish_reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).map(canonical_reason).collect();
    let found: Vec<String> =
        row.genai.finish_reasons.as_deref().map(|text| serde_json::from_str(text).expect("a JSON array")).unwrap_or_default();
    if expected != found {
        out.push(Mismatch { field: "finish_reasons", expected: format!("{expected:?}"), found: format!("{found:?}") });
    }
}

fn canonical_reason(reason: &str) -> &str {
    match reason {
        "end_turn" | "STOP" | "completed" | "stop" => "stop",
        "tool_use" | "tool_calls" => "tool_calls",
        "max_tokens" | "MAX_TOKENS" | "length" | "incomplete" => "length",
        other => other,
    }
}

fn compare_texts(call: &Value, row: &Row, out: &mut Vec<Mismatch>) {
    let input = texts(&row.genai.input_messages);
    let output = texts(&row.genai.output_messages);
    for prompt in call["prompt_text"]
        .as_str()
        .into_iter()
        .chain(call["embedding_inputs"].as_array().into_iter().flatten().filter_map(Value::as_str))
    {
        if !prompt.is_empty() && !input.contains(prompt) {
            out.push(Mismatch { field: "prompt_text", expected: cut(prompt), found: cut(&input) });
        }
    }
    if let Some(completion) = call["completion_text"].as_str().filter(|text| !text.is_empty())
        && !completion.split("\n\n").all(|piece| output.contains(piece))
    {
        out.push(Mismatch { field: "completion_text", expected: cut(completion), found: cut(&output) });
    }
    let requested =
        call["tool_calls"].as_array().into_iter().flatten().map(|call| (call["name"].to_string(), call["args"].clone()));
    let requested: Vec<(String, Value)> = requested.collect();
    let found = tool_calls(&row.genai.output_messages);
    if requested != found {
        out.push(Mismatch { field: "tool_calls", expected: format!("{requested:?}"), found: format!("{found:?}") });
    }
}

fn texts(messages: &Option<String>) -> String {
    fn collect(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
            Value::Object(object) => object.values().for_each(|child| collect(child, out)),
            _ => {}
        }
    }
    let mut out = String::new();
    if let Some(text) = messages {
        collect(&serde_json::from_str(text).expect("messages are JSON"), &mut out);
    }
    out
}

fn tool_calls(messages: &Option<String>) -> Vec<(String, Value)> {
    let messages: Value =
        messages.as_deref().map(|text| serde_json::from_str(text).expect("messages are JSON")).unwrap_or_default();
    let parts = messages.as_array().into_iter().flatten().flat_map(|message| message["parts"].as_array().into_iter().flatten());
    parts.filter(|part| part["type"] == "tool_call").map(|part| (part["name"].to_string(), part["arguments"].clone())).collect()
}

fn compare_driver(facts: &Value, rows: &[Row], out: &mut Vec<Mismatch>) {
    for (field, key) in [("session_id", "session_id"), ("user_id", "user_id")] {
        if let Some(expected) = facts[key].as_str() {
            let found: BTreeSet<&str> = rows
                .iter()
                .filter_map(
                    |row| if field == "session_id" { row.genai.session_id.as_deref() } else { row.genai.user_id.as_deref() },
                )
                .collect();
            if found.into_iter().collect::<Vec<_>>() != [expected] {
                let found: Vec<String> = rows
                    .iter()
                    .map(|row| {
                        format!(
                            "{}: {:?}",
                            row.name,
                            if field == "session_id" { &row.genai.session_id } else { &row.genai.user_id }
                        )
                    })
                    .collect();
                out.push(Mismatch { field, expected: expected.to_owned(), found: cut(&found.join(", ")) });
            }
        }
    }
    // A coding agent reports a tool as a span and as a log record.
    let by_spans = rows.iter().any(|row| !row.is_log && row.genai.operation.as_deref() == Some("execute_tool"));
    if let Some(expected) = facts["tools_executed"].as_array() {
        let expected: Vec<&str> = expected.iter().filter_map(Value::as_str).collect();
        let found: Vec<&str> = rows
            .iter()
            .filter(|row| row.genai.operation.as_deref() == Some("execute_tool") && row.is_log != by_spans)
            .map(|row| row.genai.tool_name.as_deref().unwrap_or("?"))
            .collect();
        if expected != found {
            out.push(Mismatch { field: "tools_executed", expected: format!("{expected:?}"), found: format!("{found:?}") });
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() > 200 { format!("{}…", text.chars().take(200).collect::<String>()) } else { text.to_owned() }
}
