//! Spans as OpenInference writes them: flattened messages and documents, kinds of its own, errors as exception events only.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use super::{
    calls::{nanos, tokens},
    company::{Fault, Model},
    trace::Recorder,
};

const SCOPE: &str = "openinference.instrumentation.llama_index";
const OPENAI_SCOPE: &str = "openinference.instrumentation.openai";

/// A document with its relevance.
pub(crate) struct Found<'a> {
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) content: &'a str,
    pub(crate) score: f64,
}

/// Does `work` inside a span of `kind`, of the session and user of `rec`.
pub(crate) fn step<R>(rec: &mut Recorder, kind: &str, name: &str, input: &str, work: impl FnOnce(&mut Recorder) -> R) -> R {
    let scope = if matches!(kind, "LLM" | "EMBEDDING") { OPENAI_SCOPE } else { SCOPE };
    rec.span(scope, SpanKind::Internal, name, |rec| {
        let (conversation, user) = (rec.conversation.clone(), rec.user.clone());
        rec.set("openinference.span.kind", kind);
        rec.set("session.id", conversation);
        rec.set("user.id", user);
        rec.set("input.value", input);
        rec.set("input.mime_type", "text/plain");
        work(rec)
    })
}

/// Turns `text` into a vector (which is not sent along).
pub(crate) fn embed(rec: &mut Recorder, text: &str) {
    step(rec, "EMBEDDING", "CreateEmbeddings", text, |rec| {
        rec.set("embedding.model_name", "text-embedding-3-small");
        rec.set("llm.provider", "openai");
        rec.set("llm.system", "openai");
        rec.set("embedding.embeddings.0.embedding.text", text);
        rec.set("llm.token_count.prompt", tokens(text) + 1);
        rec.set("llm.token_count.total", tokens(text) + 1);
        rec.wait_ms(140.0);
    });
}

/// Looks `query` up in the vector store.
pub(crate) fn retrieve(rec: &mut Recorder, query: &str, found: &[Found<'_>]) {
    step(rec, "RETRIEVER", "VectorIndexRetriever.retrieve", query, |rec| {
        embed(rec, query);
        rec.wait_ms(22.0);
        documents(rec, "retrieval.documents", found);
    });
}

/// Puts `found` in a better order and keeps the first `best.len()`.
pub(crate) fn rerank(rec: &mut Recorder, query: &str, found: &[Found<'_>], best: &[Found<'_>]) {
    step(rec, "RERANKER", "CohereRerank.postprocess_nodes", query, |rec| {
        rec.set("reranker.query", query);
        rec.set("reranker.model_name", "rerank-v3.5");
        rec.set("reranker.top_k", best.len() as u64);
        documents(rec, "reranker.input_documents", found);
        rec.wait_ms(190.0);
        documents(rec, "reranker.output_documents", best);
    });
}

/// A question with its system prompt, for [`chat`].
pub(crate) struct Question<'a> {
    pub(crate) system: &'a str,
    pub(crate) text: &'a str,
    pub(crate) prompt_version: &'a str,
    /// Variables of the prompt template.
    pub(crate) variables: Value,
}

/// The model answers `answer` in a stream.
///
/// # Errors
/// The fault, if it does not.
pub(crate) fn chat(rec: &mut Recorder, model: &Model, question: &Question<'_>, answer: &str) -> Result<(), Fault> {
    let fault = rec.weather.fault(&mut rec.dice, model).filter(|fault| *fault != Fault::Filtered);
    step(rec, "LLM", "ChatCompletion", question.text, |rec| {
        rec.set("llm.system", model.provider);
        rec.set("llm.provider", model.provider);
        rec.set("llm.model_name", model.response_name);
        rec.set("llm.invocation_parameters", json!({"model": model.name, "temperature": 0.1, "max_tokens": 800, "stream": true}));
        rec.set("llm.prompt_template.version", question.prompt_version);
        rec.set("llm.prompt_template.variables", &question.variables);
        rec.set("prompt.id", "docs-answer");
        for (idx, (role, content)) in [("system", question.system), ("user", question.text)].into_iter().enumerate() {
            rec.set(format!("llm.input_messages.{idx}.message.role"), role);
            rec.set(format!("llm.input_messages.{idx}.message.content"), content);
        }
        if let Some(fault) = fault {
            let (wait_ms, class, text) = match fault {
                Fault::TimedOut => (20_000.0, "openai.APITimeoutError", "Request timed out."),
                _ => (170.0, "openai.RateLimitError", "Error code: 429 - Rate limit reached for requests"),
            };
            rec.wait_ms(wait_ms);
            rec.broken(class, text);
            return Err(fault);
        }
        let (input, output) = (tokens(question.system) + tokens(question.text) + 11, tokens(answer) + 1);
        let slowdown = rec.weather.slowdown(model);
        let first_s = slowdown * rec.dice.log_normal(model.first_chunk_ms, 0.35) / 1e3;
        rec.wait(nanos(first_s));
        rec.event("First Token Stream Event", vec![]);
        let speed = model.tokens_per_second * rec.dice.log_normal(1.0, 0.18);
        rec.wait(nanos(slowdown * output as f64 / speed));
        rec.set("llm.output_messages.0.message.role", "assistant");
        rec.set("llm.output_messages.0.message.content", answer);
        rec.set("llm.finish_reason", "stop");
        rec.set("llm.token_count.prompt", input);
        rec.set("llm.token_count.completion", output);
        rec.set("llm.token_count.total", input + output);
        rec.set("llm.token_count.prompt_details.cache_read", 0_u64);
        rec.set("output.value", answer);
        rec.set("output.mime_type", "text/plain");
        Ok(())
    })
}

fn documents(rec: &mut Recorder, prefix: &str, documents: &[Found<'_>]) {
    for (idx, Found { id, title, content, score }) in documents.iter().enumerate() {
        let key = |name: &str| format!("{prefix}.{idx}.document.{name}");
        rec.set(key("id"), *id);
        rec.set(key("content"), *content);
        rec.set(key("score"), *score);
        rec.set(key("metadata"), json!({"title": title, "source": format!("docs.larkspur.example/partners/{id}")}));
    }
}
