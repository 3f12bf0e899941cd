//! Each encoding of messages that SDKs use, as the one form.

use serde_json::{Value, json};

use super::*;

fn check(given: Value, role: &str, expected: Value) {
    let found = conversation(&given, role).map(|found| Value::Array(found.messages));
    assert_eq!(found, Some(expected), "{given}");
}

fn call() -> Value {
    json!({"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": {"city": "Paris"}})
}

#[test]
fn openai_chat_messages() {
    check(
        json!([
            {"role": "system", "content": "S"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "{\"t\": 21.5}"},
        ]),
        "user",
        json!([
            {"role": "system", "parts": [{"type": "text", "content": "S"}]},
            {"role": "assistant", "parts": [call()]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "{\"t\": 21.5}"}]},
        ]),
    );
}

#[test]
fn openai_choices_keep_their_reasons() {
    check(
        json!({"choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "A"}}, {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "B"}}]}),
        "assistant",
        json!([
            {"role": "assistant", "parts": [{"type": "text", "content": "A"}], "finish_reason": "length"},
            {"role": "assistant", "parts": [{"type": "text", "content": "B"}], "finish_reason": "stop"},
        ]),
    );
}

#[test]
fn openai_responses_items_are_one_answer() {
    check(
        json!({"id": "resp_1", "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "R"}]},
            {"type": "function_call", "call_id": "c1", "id": "fc_1", "name": "get_weather", "arguments": "{\"city\": \"Paris\"}"},
        ]}),
        "assistant",
        json!([{"role": "assistant", "parts": [{"type": "reasoning", "content": "R"}, call()]}]),
    );
    check(
        json!({"input": [{"role": "user", "content": "Q"}, {"type": "function_call_output", "call_id": "c1", "output": "21"}], "model": "m"}),
        "user",
        json!([
            {"role": "user", "parts": [{"type": "text", "content": "Q"}]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "21"}]},
        ]),
    );
}

#[test]
fn anthropic_requests_and_responses() {
    let request = json!({"system": "S", "messages": [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "21"}]}]},
    ]});
    let found = conversation(&request, "user").expect("messages");
    assert_eq!(found.system, [json!({"type": "text", "content": "S"})]);
    assert_eq!(
        found.messages,
        [json!({"role": "user", "parts": [{"type": "tool_call_response", "id": "c1", "response": "21"}]})]
    );
    check(
        json!({"id": "msg_1", "role": "assistant", "stop_reason": "tool_use", "content": [{"type": "thinking", "thinking": "R"}, {"type": "text", "text": "T"}, {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Paris"}}]}),
        "assistant",
        json!([{"role": "assistant", "parts": [{"type": "reasoning", "content": "R"}, {"type": "text", "content": "T"}, call()], "finish_reason": "tool_use"}]),
    );
}

#[test]
fn bedrock_and_gemini_name_parts_by_key() {
    check(
        json!([{"role": "user", "content": [{"text": "Q"}, {"toolResult": {"toolUseId": "c1", "content": [{"json": {"t": 21}}]}}]}, {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": {"city": "Paris"}}}]}]),
        "user",
        json!([
            {"role": "user", "parts": [{"type": "text", "content": "Q"}, {"type": "tool_call_response", "id": "c1", "response": {"t": 21}}]},
            {"role": "assistant", "parts": [call()]},
        ]),
    );
    check(
        json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "T", "thought": true}, {"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Paris"}}}]}, "finishReason": "STOP"}]}),
        "assistant",
        json!([{"role": "assistant", "parts": [{"type": "reasoning", "content": "T"}, call()], "finish_reason": "STOP"}]),
    );
}

#[test]
fn chunks_of_a_stream_are_one_answer() {
    let chunk =
        |text: &str| json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}]});
    check(
        json!([chunk("The capital"), chunk(" is Paris.")]),
        "assistant",
        json!([{"role": "assistant", "parts": [{"type": "text", "content": "The capital is Paris."}], "finish_reason": "STOP"}]),
    );
}

#[test]
fn genkit_requests_and_answers_of_tools() {
    check(
        json!([
            {"role": "model", "content": [{"toolRequest": {"ref": "c1", "name": "get_weather", "input": {"city": "Paris"}}}]},
            {"role": "tool", "content": [{"toolResponse": {"ref": "c1", "name": "get_weather", "output": {"t": 21}}}]},
        ]),
        "user",
        json!([
            {"role": "assistant", "parts": [call()]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "name": "get_weather", "response": {"t": 21}}]},
        ]),
    );
}

#[test]
fn langchain_messages_plain_and_serialised() {
    let expected =
        json!([{"role": "user", "parts": [{"type": "text", "content": "Q"}]}, {"role": "assistant", "parts": [call()]}]);
    check(
        json!({"messages": [[
            {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": {"content": "Q", "type": "human"}},
            {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {"content": "", "type": "ai", "tool_calls": [{"name": "get_weather", "args": {"city": "Paris"}, "id": "c1", "type": "tool_call"}]}},
        ]]}),
        "user",
        expected.clone(),
    );
    check(
        json!({"messages": [{"type": "human", "content": "Q"}, {"type": "ai", "content": "", "tool_calls": [{"name": "get_weather", "args": {"city": "Paris"}, "id": "c1"}]}]}),
        "user",
        expected,
    );
}

#[test]
fn openinference_wrappers_and_a_call_given_twice() {
    check(
        json!([{"message": {"role": "assistant",
            "contents": [{"message_content": {"type": "text", "text": "T"}}, {"message_content": {"type": "tool_use"}, "tool_call": {"id": "c1", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}}],
            "tool_calls": [{"tool_call": {"id": "c1", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}}]}}]),
        "assistant",
        json!([{"role": "assistant", "parts": [{"type": "text", "content": "T"}, call()]}]),
    );
}

#[test]
fn vercel_prompts_and_parts() {
    let found = conversation(&json!({"system": "S", "prompt": "Q"}), "user").expect("messages");
    assert_eq!((found.system.len(), text_in(&found.messages[0]).as_str()), (1, "Q"));
    check(
        json!([
            {"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "get_weather", "input": {"city": "Paris"}}]},
            {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "c1", "toolName": "get_weather", "output": {"type": "json", "value": {"t": 21}}}]},
        ]),
        "user",
        json!([
            {"role": "assistant", "parts": [call()]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "name": "get_weather", "response": {"t": 21}}]},
        ]),
    );
}

#[test]
fn images_become_blobs_and_addresses() {
    check(
        json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "BBBB"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ]}]),
        "user",
        json!([{"role": "user", "parts": [
            {"type": "blob", "mime_type": "image/png", "modality": "image", "content": "AAAA"},
            {"type": "blob", "mime_type": "image/jpeg", "modality": "image", "content": "BBBB"},
            {"type": "uri", "mime_type": null, "modality": "image", "uri": "https://example.com/a.png"},
        ]}]),
    );
}

#[test]
fn text_that_looks_like_json_stays_text() {
    check(
        json!([{"role": "user", "content": "[1, 2]"}]),
        "user",
        json!([{"role": "user", "parts": [{"type": "text", "content": "[1, 2]"}]}]),
    );
    check(json!("plain"), "user", json!([{"role": "user", "parts": [{"type": "text", "content": "plain"}]}]));
}

#[test]
fn what_is_no_conversation_is_none() {
    for given in [json!({"score": 0.85}), json!(3), json!(null), json!([]), json!({}), json!("")] {
        assert_eq!(conversation(&given, "user"), None, "{given}");
    }
}

#[test]
fn a_request_is_not_a_message_whatever_it_is_made_of() {
    check(
        json!({"messages": [{"role": "user", "content": "Q"}], "function_call": "<Omit object>", "model": "m"}),
        "user",
        json!([{"role": "user", "parts": [{"type": "text", "content": "Q"}]}]),
    );
}

#[test]
fn one_call_may_come_without_its_list_and_encoded_twice() {
    let arguments = Value::String(json!({"city": "Paris"}).to_string()).to_string();
    check(
        json!([{"role": "assistant", "content": "", "tool_calls": {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}}]),
        "assistant",
        json!([{"role": "assistant", "parts": [call()]}]),
    );
    // A call without a name is none.
    check(
        json!([{"role": "assistant", "content": "A", "tool_calls": {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}}]),
        "assistant",
        json!([{"role": "assistant", "parts": [{"type": "text", "content": "A"}]}]),
    );
}

#[test]
fn what_the_assistant_says_last_is_the_answer_where_no_event_is_a_choice() {
    let user = json!({"event.name": "gen_ai.user.message", "role": "user", "content": "Q"});
    let assistant = json!({"event.name": "gen_ai.assistant.message", "role": "assistant", "content": "A"});
    let choice = json!({"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "B"}});
    let texts = |events: &[&Value], answers| -> Vec<String> { of_events(&json!(events), answers).iter().map(text_in).collect() };
    assert_eq!(texts(&[&assistant, &user, &assistant], true), ["A"]);
    assert_eq!(texts(&[&assistant, &user, &assistant], false), ["A", "Q"]);
    assert_eq!(texts(&[&user, &assistant, &choice], true), ["B"]);
    assert_eq!(texts(&[&user, &assistant, &choice], false), ["Q", "A"]);
    assert!(texts(&[&user], true).is_empty());
}
