//! The canonical columns of generative AI telemetry, shared by `spans` and `logs`. Names follow the OpenTelemetry GenAI conventions.
//!
//! NULL is "unknown", 0 is "none". Which mapping rule filled a column is in `rules`.

use std::sync::OnceLock;

use crate::table::{Blank, Bool, Double, Int, Json, JsonLabel, JsonPayload, Label, Money, Opt, Text, TextPayload};

crate::columns! {
    /// What a span or a log record says about a generative AI operation, in one form for all dialects.
    GenAi {
        /// Dialect whose mapping file was the main source of the canonical values: `otel`, `openinference`, `openllmetry`, `langfuse`, …
        dialect: Opt<Label>,
        /// What was done: `chat`, `text_completion`, `embeddings`, `execute_tool`, `invoke_agent`, `invoke_workflow`, `retrieval`, `rerank`, `guardrail`, `evaluation`, `create_agent`, `prompt`, `task`. NULL for other spans.
        operation: Opt<Label>,
        /// Who answered, as OpenTelemetry names providers: `openai`, `anthropic`, `aws.bedrock`, `gcp.gemini`, `azure.ai.openai`, …
        provider: Opt<Label>,
        /// Model asked for.
        request_model: Opt<Label>,
        /// Model that answered.
        response_model: Opt<Label>,
        /// The provider's identifier of the answer.
        response_id: Opt<Text>,
        /// Tokens of the whole prompt, cache reads and writes included.
        input_tokens: Opt<Int>,
        /// Tokens of the whole answer, reasoning included.
        output_tokens: Opt<Int>,
        /// Part of `input_tokens` read from the provider's prompt cache.
        cache_read_tokens: Opt<Int>,
        /// Part of `input_tokens` written to the provider's prompt cache.
        cache_write_tokens: Opt<Int>,
        /// Part of `cache_write_tokens` written with a lifetime of one hour.
        cache_write_1h_tokens: Opt<Int>,
        /// Part of `output_tokens` spent on reasoning.
        reasoning_tokens: Opt<Int>,
        /// Part of `input_tokens` that is audio.
        audio_input_tokens: Opt<Int>,
        /// Part of `output_tokens` that is audio.
        audio_output_tokens: Opt<Int>,
        /// Whether this row is the one that counts for a call: its usage is not repeated by another row. Sums over `spans` and `logs` filter on it; the view `llm_calls` does so already.
        counted: Bool,
        /// Why a row with usage does not count: `wrapper` (a descendant reports the call), `duplicate` (another row reports the same response).
        uncounted_reason: Opt<Label>,
        /// Cost in US dollars, computed from the price table; NULL if the model or its usage is unknown.
        cost_usd: Opt<Money>,
        /// Where `cost_usd` comes from: `computed`, `configured` (own price) or NULL; `unpriced` if no price row was found.
        cost_source: Opt<Label>,
        /// Cost in US dollars as the sender reported it, from its own price list.
        reported_cost_usd: Opt<Money>,
        /// Whether the answer was streamed.
        streaming: Opt<Bool>,
        /// Nanoseconds from the start to the first token or chunk of the answer.
        time_to_first_token_ns: Opt<Int>,
        /// Sampling temperature asked for.
        temperature: Opt<Double>,
        /// Nucleus sampling threshold asked for.
        top_p: Opt<Double>,
        /// Limit on output tokens asked for.
        max_tokens: Opt<Int>,
        /// All request parameters known, as a JSON object named as in OpenTelemetry (`temperature`, `seed`, `stop_sequences`, …).
        request_parameters: Opt<JsonLabel>,
        /// Why generation stopped, one per choice, as a JSON array of `stop`, `length`, `tool_calls`, `content_filter`, …
        finish_reasons: Opt<JsonLabel>,
        /// Service tier that answered (`default`, `flex`, `priority`, `batch`).
        service_tier: Opt<Label>,
        /// Conversation or session; inherited from the trace where the row itself does not say.
        session_id: Opt<Text>,
        /// End user; inherited from the trace where the row itself does not say.
        user_id: Opt<Text>,
        /// Tags, as a JSON array of text.
        tags: Opt<JsonLabel>,
        /// Metadata that the application attached, as a JSON object.
        metadata: Opt<Json>,
        /// Agent that ran.
        agent_name: Opt<Label>,
        /// Identifier of that agent.
        agent_id: Opt<Label>,
        /// Workflow or chain that ran.
        workflow_name: Opt<Label>,
        /// Tool that ran.
        tool_name: Opt<Label>,
        /// Identifier of the tool call, as the model gave it.
        tool_call_id: Opt<Text>,
        /// Arguments of the tool call, as JSON.
        tool_arguments: Opt<JsonPayload>,
        /// What the tool returned, as JSON.
        tool_result: Opt<JsonPayload>,
        /// Tools offered to the model, as a JSON array in the GenAI format.
        tool_definitions: Opt<JsonPayload>,
        /// Name of the prompt template.
        prompt_name: Opt<Label>,
        /// Version of the prompt template.
        prompt_version: Opt<Label>,
        /// Variables filled into the prompt template, as a JSON object.
        prompt_variables: Opt<Json>,
        /// System instructions given apart from the messages, as a JSON array of parts.
        system_instructions: Opt<JsonPayload>,
        /// Messages sent to the model, as a JSON array in the GenAI format: `[{"role","parts":[{"type":"text","content"},…]}]`. Images, audio and files of 4 KiB or more are in blob storage: `{"type":"blob","mime_type","modality","content":{"$blob":sha256,"bytes":n}}`, see `GET /api/v1/blobs/{sha256}`.
        input_messages: Opt<JsonPayload>,
        /// Messages the model answered, one per choice, in the same format, with `finish_reason`.
        output_messages: Opt<JsonPayload>,
        /// What a step that is not a model call was given (agents, chains, workflows), as text or JSON.
        input_value: Opt<TextPayload>,
        /// What such a step returned.
        output_value: Opt<TextPayload>,
        /// First 240 characters of the last user message or other input.
        input_preview: Opt<Text>,
        /// First 240 characters of the answer or other output.
        output_preview: Opt<Text>,
        /// Question put to a retriever.
        retrieval_query: Opt<TextPayload>,
        /// Documents a retriever or reranker returned, as a JSON array of `{"id","content","score","metadata"}`.
        retrieval_documents: Opt<JsonPayload>,
        /// Length of the embedding vectors.
        embedding_dimensions: Opt<Int>,
        /// Class of the error, e.g. `RateLimitError`; as the sender named it, or from its exception event.
        error_type: Opt<Label>,
        /// Message of the error.
        error_message: Opt<Text>,
        /// The rule that filled each canonical column, as a JSON object of column → rule.
        rules: Opt<JsonLabel>,
    }
}

impl Blank for GenAi {
    fn blank() -> &'static Self {
        static BLANK: OnceLock<GenAi> = OnceLock::new();
        BLANK.get_or_init(Self::default)
    }
}
