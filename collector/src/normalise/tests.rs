//! Properties of the engine that no single capture shows.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::Span,
};
use serde_json::json;

use super::*;

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::String(text) => Any::StringValue(text),
        Value::Bool(flag) => Any::BoolValue(flag),
        Value::Number(number) => match number.as_i64() {
            Some(int) => Any::IntValue(int),
            None => Any::DoubleValue(number.as_f64().expect("a number")),
        },
        other => Any::StringValue(other.to_string()),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn span(attributes: Value) -> Span {
    let attributes =
        attributes.as_object().expect("an object").iter().map(|(key, value)| attribute(key, value.clone())).collect();
    Span { name: "s".to_owned(), attributes, start_time_unix_nano: 1_795_230_581_000_000_000, ..Span::default() }
}

fn read(attributes: Value) -> Normalised {
    Normaliser::embedded().span(&Resource::default(), &InstrumentationScope::default(), &SpanRef::of(&span(attributes)))
}

fn rules(normalised: &Normalised) -> Value {
    serde_json::from_str(normalised.genai.rules.as_deref().expect("rules")).expect("JSON")
}

#[test]
fn a_span_without_any_sign_is_left_alone() {
    let found = read(json!({"http.request.method": "GET", "user_agent.original": "x", "gen": 1}));
    assert_eq!(found, Normalised::default());
    assert!(found.genai.is_blank());
}

#[test]
fn each_value_remembers_its_rule() {
    let found = read(json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 3, "gen_ai.response.id": "r",
    }));
    assert_eq!(rules(&found)["input_tokens"], "otel.gen_ai.usage.input_tokens");
    assert_eq!(found.genai.dialect.as_deref(), Some("otel"));
    assert!(found.facts.is_call);
}

#[test]
fn two_dialects_on_one_span_are_never_added() {
    let found = read(json!({
        "openinference.span.kind": "LLM", "llm.token_count.prompt": 10, "llm.token_count.prompt_details.cache_read": 4,
        "gen_ai.usage.input_tokens": 10, "gen_ai.usage.cache_read.input_tokens": 4, "gen_ai.operation.name": "chat",
    }));
    assert_eq!((found.genai.input_tokens, found.genai.cache_read_tokens), (Some(10), Some(4)));
    assert_eq!(rules(&found)["input_tokens"], "openinference.llm.token_count.prompt");
}

#[test]
fn a_wrapper_is_not_a_call_though_it_repeats_the_usage() {
    let found = read(json!({"ai.operationId": "ai.generateText", "ai.usage.promptTokens": 126, "ai.response.text": "A"}));
    assert!(!found.facts.is_call && found.facts.has_usage);
    let found = read(json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 166}));
    assert!(!found.facts.is_call && found.facts.has_usage);
}

#[test]
fn a_failed_call_has_no_tokens_rather_than_none_of_them() {
    let mut failed =
        span(json!({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}));
    failed.status = Some(opentelemetry_proto::tonic::trace::v1::Status { code: 2, message: "429".to_owned() });
    let found = Normaliser::embedded().span(&Resource::default(), &InstrumentationScope::default(), &SpanRef::of(&failed));
    assert_eq!((found.genai.input_tokens, found.genai.output_tokens, found.facts.is_call), (None, None, true));
}

#[test]
fn bytes_that_hold_text_are_read_as_text() {
    let mut given = span(json!({"langsmith.span.kind": "llm", "gen_ai.response.id": "r"}));
    let bytes = Any::BytesValue(br#"{"messages": [{"role": "user", "content": "Q"}]}"#.to_vec());
    given.attributes.push(KeyValue {
        key: "gen_ai.prompt".to_owned(),
        value: Some(AnyValue { value: Some(bytes) }),
        ..KeyValue::default()
    });
    let found = Normaliser::embedded().span(&Resource::default(), &InstrumentationScope::default(), &SpanRef::of(&given));
    assert_eq!(found.genai.input_preview.as_deref(), Some("Q"));
    assert!(found.same_as_column.is_empty(), "bytes come back as bytes");
}

#[test]
fn a_quoted_null_and_a_role_without_content_say_nothing() {
    let found = read(json!({"logfire.msg": "m", "group_id": "null"}));
    assert_eq!(found.genai.session_id, None);
    let found = read(json!({"llm.request.type": "chat", "gen_ai.response.id": "r", "gen_ai.prompt.0.role": "user"}));
    assert_eq!(found.genai.input_messages, None);
}

#[test]
fn the_wish_alone_is_not_a_call() {
    assert!(!read(json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"})).facts.is_call);
}

#[test]
fn a_framework_that_poses_as_provider_is_looked_through() {
    let found = read(json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "strands-agents", "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.usage.input_tokens": 1,
    }));
    assert_eq!(found.genai.provider.as_deref(), Some("anthropic"));
    assert_eq!(rules(&found)["provider"], "general.model_family");
    let unknown = read(
        json!({"gen_ai.operation.name": "chat", "gen_ai.system": "autogen", "gen_ai.request.model": "acme-7b", "gen_ai.usage.input_tokens": 1}),
    );
    assert_eq!(unknown.genai.provider, None);
}

#[test]
fn messages_in_their_canonical_form_are_kept_to_the_letter() {
    let text = r#"[{"role": "user",  "parts": [{"type": "text", "content": "Q"}], "name": null}]"#;
    let found = read(json!({"gen_ai.operation.name": "chat", "gen_ai.input.messages": text}));
    assert_eq!(found.genai.input_messages.as_deref(), Some(text));
    assert_eq!(found.same_as_column, [(1, "input_messages")]);
    assert_eq!(found.payload_keys, [1]);
    assert_eq!(found.genai.input_preview.as_deref(), Some("Q"));
}

#[test]
fn invented_parameters_are_unknown_and_real_ones_are_not() {
    let resource = Resource { attributes: vec![attribute("telemetry.sdk.name", json!("openlit"))], ..Resource::default() };
    let given = span(json!({
        "gen_ai.operation.name": "chat", "gen_ai.request.temperature": 1.0, "gen_ai.request.top_p": 0.9, "gen_ai.request.seed": 0,
        "gen_ai.usage.cost": 0,
    }));
    let found = Normaliser::embedded().span(&resource, &InstrumentationScope::default(), &SpanRef::of(&given));
    assert_eq!((found.genai.temperature, found.genai.top_p, found.genai.reported_cost_usd), (None, Some(0.9), None));
    assert_eq!(found.genai.request_parameters.as_deref(), Some(r#"{"top_p":0.9}"#));
}

#[test]
fn a_provider_prefix_is_not_part_of_the_model() {
    let found =
        read(json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "openai/gpt-4o"}));
    assert_eq!(found.genai.request_model.as_deref(), Some("gpt-4o"));
    let found = read(
        json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openrouter", "gen_ai.request.model": "openai/gpt-4o"}),
    );
    assert_eq!(found.genai.request_model.as_deref(), Some("openai/gpt-4o"));
}

#[test]
fn odd_values_never_fail_a_span() {
    let found = read(json!({
        "gen_ai.operation.name": "chat", "gen_ai.input.messages": "[{", "gen_ai.usage.input_tokens": "many", "gen_ai.usage.output_tokens": -1,
        "gen_ai.response.finish_reasons": "", "gen_ai.request.temperature": "hot", "llm.input_messages.99999999999999999999.message.role": "user",
        "langfuse.observation.usage_details": "{'a': ", "gen_ai.tool.definitions": "null",
    }));
    assert_eq!((found.genai.input_tokens, found.genai.output_tokens, found.genai.temperature), (None, None, None));
    assert_eq!(found.genai.finish_reasons, None);
}

#[test]
fn a_tool_call_is_taken_out_of_its_wrappings() {
    let found = read(json!({
        "traceloop.span.kind": "tool", "traceloop.entity.name": "get_weather",
        "traceloop.entity.input": r#"{"args": [], "kwargs": {"city": "Paris"}}"#, "traceloop.entity.output": r#""{\"t\": 21.5}""#,
    }));
    assert_eq!(found.genai.tool_name.as_deref(), Some("get_weather"));
    assert_eq!(found.genai.tool_arguments.as_deref(), Some(r#"{"city":"Paris"}"#));
    assert_eq!(found.genai.tool_result.as_deref(), Some(r#"{"t": 21.5}"#));
}

#[test]
fn an_own_file_is_used_and_one_of_a_shipped_dialect_replaces_it() {
    let own = r#"
dialect = "acme"
title = "Acme"
precedence = 10
[detect]
keys = ["acme.kind"]
[columns]
operation = [{ value = "chat", rule = "always" }]
input_tokens = [{ key = "acme.usage", path = "in.0" }]
"#;
    let replaced = "dialect = \"openinference\"\ntitle = \"off\"\nprecedence = 900\n";
    let files = [("acme.toml".to_owned(), own.to_owned()), ("oi.toml".to_owned(), replaced.to_owned())];
    let normaliser = Normaliser::with_files(files).expect("good files");
    let given = span(json!({"acme.kind": "x", "acme.usage": "{'in': [7]}", "llm.token_count.prompt": 9}));
    let found = normaliser.span(&Resource::default(), &InstrumentationScope::default(), &SpanRef::of(&given));
    assert_eq!((found.genai.input_tokens, found.genai.operation.as_deref()), (Some(7), Some("chat")));
    assert_eq!(rules(&found)["input_tokens"], "acme.acme.usage#in.0");
}

#[test]
fn mistakes_in_a_file_say_where_and_what_was_expected() {
    let check = |body: &str, expected: &[&str]| {
        let text = format!("dialect = \"acme\"\ntitle = \"Acme\"\nprecedence = 10\n{body}");
        let error = Normaliser::with_files([("acme.toml".to_owned(), text)]).expect_err(body).to_string();
        for part in expected {
            assert!(error.contains(part), "{part} in {error}");
        }
    };
    check("[columns]\ninput_tokns = [\"a\"]", &["acme.toml", "table `columns`", "`input_tokns`", "`input_tokens`"]);
    check("[columns]\nprovider = [{ rule = \"x\" }]", &["key `provider`, rule 1", "no source", "exactly one of"]);
    check("[columns]\nprovider = [{ key = \"a\", span_name = true }]", &["key `provider`, rule 1", "`a` and `span_name`"]);
    check("[columns]\nprovider = [{ key = \"a\", alias = \"nope\" }]", &["key `alias`", "`nope`", "`providers`"]);
    check("[columns]\ntime_to_first_token_ns = [\"a\"]", &["key `form`", "`seconds`"]);
    check("[columns]\nprovider = [{ kee = \"a\" }]", &["line 5", "unknown field `kee`"]);
}

#[test]
fn the_span_before_its_answer_knows_how_long_the_first_token_took() {
    let found = read(json!({
        "langfuse.observation.type": "generation", "langfuse.observation.completion_start_time": "\"2026-11-21T03:09:41.748743Z\"",
        "langfuse.observation.output": "A",
    }));
    assert_eq!(found.genai.time_to_first_token_ns, Some(748_743_000));
    assert_eq!(found.genai.streaming, Some(true));
}

/// A log record of one SDK that no capture holds.
fn read_log(event: &str, attributes: Value) -> Normalised {
    let mut attributes = span(attributes).attributes;
    attributes.push(attribute("event.name", json!(event)));
    let log = LogRecord { attributes, ..LogRecord::default() };
    Normaliser::embedded().log(&Resource::default(), &InstrumentationScope::default(), &log)
}

#[test]
fn gemini_cli_counts_thoughts_beside_the_output() {
    let found = read_log(
        "gemini_cli.api_response",
        json!({
            "model": "gemini-2.5-pro", "input_token_count": 17, "output_token_count": 17, "cached_content_token_count": 0,
            "thoughts_token_count": 48, "total_token_count": 82, "session.id": "s1", "finish_reasons": "[\"STOP\",\"STOP\"]",
        }),
    );
    assert!(found.facts.is_call);
    assert_eq!(
        (found.genai.input_tokens, found.genai.output_tokens, found.genai.reasoning_tokens),
        (Some(17), Some(65), Some(48))
    );
    assert_eq!(found.genai.provider.as_deref(), Some("gcp.gemini"));
    assert_eq!(found.genai.finish_reasons.as_deref(), Some("[\"stop\"]"));
    let details = read_log(
        "gen_ai.client.inference.operation.details",
        json!({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 17}),
    );
    assert!(!details.facts.is_call && details.facts.log_message.is_some());
}

#[test]
fn qwen_code_logs_its_tools_and_calls() {
    let found = read_log(
        "qwen-code.api_response",
        json!({
            "model": "qwen3-coder", "input_token_count": 100, "output_token_count": 9, "cached_content_token_count": 40, "response_id": "r1",
        }),
    );
    assert!(found.facts.is_call);
    assert_eq!((found.genai.input_tokens, found.facts.response_id.as_deref()), (Some(100), Some("r1")));
    let tool = read_log("qwen-code.tool_call", json!({"function_name": "read_file", "function_args": "{\"path\":\"a\"}"}));
    assert_eq!((tool.genai.operation.as_deref(), tool.genai.tool_name.as_deref()), (Some("execute_tool"), Some("read_file")));
    assert!(!tool.facts.is_call);
}

#[test]
fn genkit_buries_the_call_in_json() {
    let found = read(json!({
        "genkit:type": "action", "genkit:metadata:subtype": "model", "genkit:name": "openai/gpt-4o-mini",
        "genkit:input": r#"{"messages":[{"role":"user","content":[{"text":"Q"}]}],"config":{"temperature":0.2}}"#,
        "genkit:output": r#"{"message":{"role":"model","content":[{"text":"A"}]},"finishReason":"stop","usage":{"inputTokens":3,"outputTokens":1}}"#,
    }));
    assert!(found.facts.is_call);
    assert_eq!((found.genai.provider.as_deref(), found.genai.request_model.as_deref()), (Some("openai"), Some("gpt-4o-mini")));
    assert_eq!((found.genai.input_tokens, found.genai.output_tokens, found.genai.temperature), (Some(3), Some(1), Some(0.2)));
    assert_eq!((found.genai.input_preview.as_deref(), found.genai.output_preview.as_deref()), (Some("Q"), Some("A")));
    assert_eq!(found.genai.finish_reasons.as_deref(), Some("[\"stop\"]"));
}

#[test]
fn vercel_5_counts_the_cache_of_anthropic_beside_the_input() {
    let found = read(json!({
        "ai.operationId": "ai.streamText.doStream", "ai.model.provider": "anthropic.messages", "ai.model.id": "claude-sonnet-4-5",
        "ai.usage.inputTokens": 2900, "ai.usage.outputTokens": 16, "ai.response.finishReason": "stop",
        "ai.response.providerMetadata": r#"{"anthropic":{"usage":{"cache_read_input_tokens":1536},"cacheCreationInputTokens":128}}"#,
    }));
    assert_eq!(
        (found.genai.input_tokens, found.genai.cache_read_tokens, found.genai.cache_write_tokens),
        (Some(4564), Some(1536), Some(128))
    );
    assert_eq!((found.genai.provider.as_deref(), found.genai.streaming), (Some("anthropic"), Some(true)));
}

#[test]
fn bedrock_counts_are_exclusive_where_its_instrumentation_passes_them_on() {
    let found = read(json!({
        "gen_ai.operation.name": "chat", "gen_ai.system": "aws.bedrock", "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.cache_read.input_tokens": 33, "gen_ai.usage.output_tokens": 17,
    }));
    assert_eq!(found.genai.input_tokens, Some(153));
    let openinference = read(json!({
        "openinference.span.kind": "LLM", "llm.provider": "aws", "llm.token_count.prompt": 153, "llm.token_count.prompt_details.cache_read": 33,
    }));
    assert_eq!(openinference.genai.input_tokens, Some(153));
}

#[test]
fn langfuse_js_usage_is_without_its_parts() {
    let found = read(json!({
        "langfuse.observation.type": "generation",
        "langfuse.observation.usage_details": r#"{"input":38,"output":17,"total":93,"input_cached_tokens":38}"#,
    }));
    assert_eq!((found.genai.input_tokens, found.genai.cache_read_tokens), (Some(76), Some(38)));
}

#[test]
fn mastra_agents_and_generations_are_around_the_inference() {
    let agent = read(json!({"mastra.span.type": "agent_run", "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}));
    assert!(!agent.facts.is_call);
    let inference = read(json!({
        "mastra.span.type": "model_inference", "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": 5, "gen_ai.response.finish_reasons": "[\"stop\"]", "gen_ai.system_instructions": "Be brief.",
        "gen_ai.tool.definitions": "[\"get_weather\"]",
    }));
    assert!(inference.facts.is_call);
    assert_eq!(inference.genai.system_instructions.as_deref(), Some(r#"[{"type":"text","content":"Be brief."}]"#));
    assert_eq!(inference.genai.tool_definitions.as_deref(), Some(r#"[{"type":"function","name":"get_weather"}]"#));
}

#[test]
fn evaluations_are_scores_of_what_they_are_about() {
    let found = read(json!({
        "openinference.span.kind": "CHAIN", "evaluations.0.evaluation.name": "correctness", "evaluations.0.evaluation.score": 0.85,
        "trace.annotations.0.annotation.name": "feedback", "trace.annotations.0.annotation.label": "up",
    }));
    let scores: Vec<_> = found.scores.iter().map(|score| (score.name.as_str(), score.value, score.scope)).collect();
    assert_eq!(scores, [("correctness", Some(0.85), ScoreScope::Span), ("feedback", None, ScoreScope::Trace)]);
}
