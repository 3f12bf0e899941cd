//! Calls of models and tools, written as the OpenTelemetry GenAI conventions (latest) have them. Token counts follow from the texts:
//! about four characters a token, plus what every message and definition costs.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use super::{
    company::{Cache, Fault, Model},
    trace::{Nanos, Recorder, attribute},
};

/// A tool that a model may call.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// Its arguments, by name, with what they mean.
    pub(crate) arguments: &'static [(&'static str, &'static str)],
}

/// One call of a tool by a model.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) tool: &'static Tool,
    pub(crate) arguments: Value,
}

/// What the model says next.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) thought: String,
    pub(crate) calls: Vec<Call>,
}

impl Answer {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub(crate) fn calls(calls: &[Call]) -> Self {
        Self { calls: calls.to_vec(), ..Self::default() }
    }
}

/// A conversation with one model: what is sent along with each call.
pub(crate) struct Conversation {
    pub(crate) model: &'static Model,
    pub(crate) system: String,
    pub(crate) messages: Vec<Value>,
    pub(crate) tools: &'static [Tool],
    pub(crate) prompt: Option<(&'static str, &'static str)>,
    pub(crate) stream: bool,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: u64,
    /// Answers are JSON by a schema of this name.
    pub(crate) schema: Option<&'static str>,
    /// Tokens of the prompt that the provider's cache holds from the previous call.
    warm: u64,
}

impl Conversation {
    pub(crate) fn new(model: &'static Model, system: impl Into<String>) -> Self {
        Self {
            model,
            system: system.into(),
            messages: vec![],
            tools: &[],
            prompt: None,
            stream: false,
            temperature: None,
            max_tokens: 1024,
            schema: None,
            warm: 0,
        }
    }

    pub(crate) fn user(&mut self, text: impl Into<String>) {
        self.messages.push(message("user", vec![text_part(text)]));
    }

    /// Adds what the tools returned, for the model's next call.
    pub(crate) fn results(&mut self, results: Vec<(Call, Value)>) {
        for (call, result) in results {
            self.messages.push(message("tool", vec![json!({"type": "tool_call_response", "id": call.id, "response": result})]));
        }
    }

    /// The model answers `answer`; retries what is worth retrying, as SDKs do.
    ///
    /// # Errors
    /// The last fault, if the model did not answer in the end.
    pub(crate) fn ask(&mut self, rec: &mut Recorder, answer: Answer) -> Result<(), Fault> {
        let mut result = self.ask_once(rec, &answer);
        for attempt in 0..2 {
            match result {
                Err(Fault::RateLimited | Fault::Overloaded) => rec.wait_ms(900.0 * f64::from(1 << attempt)),
                _ => break,
            }
            result = self.ask_once(rec, &answer);
        }
        result
    }

    fn ask_once(&mut self, rec: &mut Recorder, answer: &Answer) -> Result<(), Fault> {
        let model = self.model;
        let fault = rec.weather.fault(&mut rec.dice, model);
        rec.span(model.scope, SpanKind::Client, format!("chat {}", model.name), |rec| {
            self.request(rec);
            match fault {
                Some(Fault::Filtered) => {
                    let answer = Answer::text("I'm sorry, but I can't help with that.");
                    self.respond(rec, &answer, Some("content_filter"));
                    Err(Fault::Filtered)
                }
                Some(fault) => {
                    refuse(rec, model, fault);
                    Err(fault)
                }
                None => {
                    self.respond(rec, answer, None);
                    Ok(())
                }
            }
        })
    }

    fn request(&self, rec: &mut Recorder) {
        identify(rec, "chat");
        rec.set("gen_ai.provider.name", self.model.provider);
        rec.set("gen_ai.request.model", self.model.name);
        rec.set("server.address", self.model.server);
        rec.set("server.port", 443_u64);
        rec.set("gen_ai.request.max_tokens", self.max_tokens);
        if let Some(temperature) = self.temperature {
            rec.set("gen_ai.request.temperature", temperature);
        }
        if self.stream {
            rec.set("gen_ai.request.stream", true);
        }
        if self.schema.is_some() {
            rec.set("gen_ai.output.type", "json");
        }
        if let Some((name, version)) = self.prompt {
            rec.set("gen_ai.prompt.name", name);
            rec.set("gen_ai.prompt.version", version);
        }
        rec.set("gen_ai.system_instructions", json!([text_part(&self.system)]));
        rec.set("gen_ai.input.messages", Value::from(self.messages.clone()));
        if !self.tools.is_empty() {
            rec.set("gen_ai.tool.definitions", self.definitions());
        }
    }

    fn respond(&mut self, rec: &mut Recorder, answer: &Answer, reason: Option<&str>) {
        let usage = self.usage(rec, answer);
        let speed = self.model.tokens_per_second * rec.dice.log_normal(1.0, 0.18);
        let slowdown = rec.weather.slowdown(self.model);
        let thinking_s = usage.reasoning as f64 / speed;
        let first_s =
            slowdown * rec.dice.log_normal(self.model.first_chunk_ms, 0.35) / 1e3 + usage.uncached as f64 * 2e-5 + thinking_s;
        rec.wait(nanos(first_s + slowdown * (usage.output - usage.reasoning) as f64 / speed));

        let reason = reason.unwrap_or_else(|| finish_reason(self.model, !answer.calls.is_empty()));
        let prefix = match self.model.provider {
            "anthropic" => "msg_",
            "gcp.gemini" => "",
            _ => "chatcmpl-",
        };
        let id = rec.id(prefix, 24);
        rec.set("gen_ai.response.id", id);
        rec.set("gen_ai.response.model", self.model.response_name);
        rec.set("gen_ai.response.finish_reasons", &[reason][..]);
        rec.set("gen_ai.usage.input_tokens", usage.input);
        rec.set("gen_ai.usage.output_tokens", usage.output);
        if self.model.cache != Cache::None {
            rec.set("gen_ai.usage.cache_read.input_tokens", usage.cache_read);
        }
        if self.model.cache == Cache::Marked {
            rec.set("gen_ai.usage.cache_creation.input_tokens", usage.cache_write);
        }
        if usage.reasoning > 0 {
            rec.set("gen_ai.usage.reasoning.output_tokens", usage.reasoning);
        }
        if self.stream {
            rec.set("gen_ai.response.time_to_first_chunk", first_s);
        }
        let mut parts = vec![];
        if !answer.thought.is_empty() {
            parts.push(json!({"type": "reasoning", "content": answer.thought}));
        }
        if !answer.text.is_empty() {
            parts.push(text_part(&answer.text));
        }
        for call in &answer.calls {
            parts.push(json!({"type": "tool_call", "id": call.id, "name": call.tool.name, "arguments": call.arguments}));
        }
        let mut output = message("assistant", parts);
        self.messages.push(output.clone());
        output["finish_reason"] = reason.into();
        rec.set("gen_ai.output.messages", json!([output]));
    }

    /// Counts the tokens of this call and moves the cache on.
    fn usage(&mut self, rec: &mut Recorder, answer: &Answer) -> Usage {
        let mut input = tokens(&self.system) + self.messages.iter().map(message_tokens).sum::<u64>() + 3;
        if !self.tools.is_empty() {
            input += tokens(&self.definitions().to_string());
        }
        let (cache_read, cache_write) = match self.model.cache {
            Cache::None => (0, 0),
            Cache::Automatic if self.warm >= 1024 && rec.dice.chance(0.85) => (self.warm / 128 * 128, 0),
            Cache::Automatic => (0, 0),
            Cache::Marked if input < 1024 => (0, 0),
            Cache::Marked => (self.warm, input - self.warm - 3),
        };
        self.warm = if self.model.cache == Cache::Marked { cache_read + cache_write } else { input };
        let hidden = self.model.hidden_reasoning;
        let reasoning = if hidden > 0.0 { rec.dice.log_normal(hidden, 0.6) as u64 } else { tokens(&answer.thought) };
        let calls: u64 = answer.calls.iter().map(|call| 8 + tokens(&call.arguments.to_string())).sum();
        let output = reasoning + tokens(&answer.text) + calls + 1;
        Usage { input, output, cache_read, cache_write, reasoning, uncached: input - cache_read }
    }

    fn definitions(&self) -> Value {
        self.tools.iter().map(definition).collect()
    }
}

/// Runs the tool of `call`, which takes about `median_ms` and returns `result`, or fails with (class, message).
pub(crate) fn run_tool(rec: &mut Recorder, call: &Call, median_ms: f64, result: Result<Value, (&str, &str)>) -> (Call, Value) {
    run_tool_by(rec, call, |rec| {
        let took_ms = rec.dice.log_normal(median_ms, 0.5);
        rec.wait(nanos(took_ms / 1e3));
        result
    })
}

/// Runs the tool of `call`, which does `work` and returns its result, or fails with (class, message).
pub(crate) fn run_tool_by<'a>(
    rec: &mut Recorder,
    call: &Call,
    work: impl FnOnce(&mut Recorder) -> Result<Value, (&'a str, &'a str)>,
) -> (Call, Value) {
    let name = call.tool.name;
    rec.span("larkspur.tools", SpanKind::Internal, format!("execute_tool {name}"), |rec| {
        identify(rec, "execute_tool");
        rec.set("gen_ai.tool.name", name);
        rec.set("gen_ai.tool.type", "function");
        rec.set("gen_ai.tool.description", call.tool.description);
        rec.set("gen_ai.tool.call.id", &call.id);
        rec.set("gen_ai.tool.call.arguments", &call.arguments);
        let result = work(rec).unwrap_or_else(|(class, text)| {
            let file = format!("  File \"/app/tools/{name}.py\", line 48, in {name}");
            let trace = format!(
                "Traceback (most recent call last):\n{file}\n    response = await client.request(payload)\n{class}: {text}"
            );
            rec.raise(class, text, &trace);
            json!({"error": text})
        });
        rec.set("gen_ai.tool.call.result", &result);
        (call.clone(), result)
    })
}

/// Puts the operation, the user and the conversation on the current span.
pub(crate) fn identify(rec: &mut Recorder, operation: &str) {
    let (conversation, user) = (rec.conversation.clone(), rec.user.clone());
    rec.set("gen_ai.operation.name", operation);
    if !conversation.is_empty() {
        rec.set("gen_ai.conversation.id", conversation);
    }
    if !user.is_empty() {
        rec.set("user.id", user);
    }
}

/// Records an evaluation of the current span.
pub(crate) fn evaluate(rec: &mut Recorder, name: &str, score: f64, label: &str, explanation: &str) {
    let mut attributes = vec![
        attribute("gen_ai.evaluation.name", name),
        attribute("gen_ai.evaluation.score.value", score),
        attribute("gen_ai.evaluation.score.label", label),
    ];
    if !explanation.is_empty() {
        attributes.push(attribute("gen_ai.evaluation.explanation", explanation));
    }
    rec.event("gen_ai.evaluation.result", attributes);
}

/// About how many tokens `text` is.
pub(crate) fn tokens(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

/// `seconds` in nanoseconds.
pub(crate) fn nanos(seconds: f64) -> Nanos {
    (seconds * 1e9) as Nanos
}

struct Usage {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    reasoning: u64,
    uncached: u64,
}

/// Why a model stops, in its provider's words.
fn finish_reason(model: &Model, calls: bool) -> &'static str {
    match (model.provider, calls) {
        ("anthropic", true) => "tool_use",
        ("anthropic", false) => "end_turn",
        ("gcp.gemini", _) => "STOP",
        (_, true) => "tool_calls",
        (_, false) => "stop",
    }
}

fn refuse(rec: &mut Recorder, model: &Model, fault: Fault) {
    let (class, text, after_ms) = match fault {
        Fault::RateLimited => (
            "RateLimitError",
            format!(
                "Error code: 429 - Rate limit reached for {} on tokens per min (TPM): Limit 450000, Used 448812. Please try again in 1.9s.",
                model.name
            ),
            160.0,
        ),
        Fault::Overloaded => ("OverloadedError", "Error code: 529 - Overloaded".to_owned(), 400.0),
        Fault::TimedOut | Fault::Filtered => ("APITimeoutError", "Request timed out.".to_owned(), 30_000.0),
    };
    let spread = if fault == Fault::TimedOut { 0.0 } else { 0.4 };
    let after_ms = rec.dice.log_normal(after_ms, spread);
    rec.wait(nanos(after_ms / 1e3));
    let class = format!("{}.{class}", model.provider);
    rec.raise(
        &class,
        &text,
        &format!("Traceback (most recent call last):\n  File \"/app/llm.py\", line 112, in complete\n{class}: {text}"),
    );
}

fn message(role: &str, parts: Vec<Value>) -> Value {
    json!({"role": role, "parts": parts})
}

fn text_part(text: impl Into<String>) -> Value {
    json!({"type": "text", "content": text.into()})
}

fn message_tokens(message: &Value) -> u64 {
    let parts = message["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
    4 + parts.iter().map(|part| part["content"].as_str().map_or_else(|| tokens(&part.to_string()), tokens)).sum::<u64>()
}

fn definition(tool: &Tool) -> Value {
    let properties: serde_json::Map<String, Value> = tool
        .arguments
        .iter()
        .map(|(name, meaning)| ((*name).to_owned(), json!({"type": "string", "description": meaning})))
        .collect();
    let required: Vec<&str> = tool.arguments.iter().map(|(name, _)| *name).collect();
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    json!({"type": "function", "name": tool.name, "description": tool.description, "parameters": parameters})
}
