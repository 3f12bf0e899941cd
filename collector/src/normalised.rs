//! What normalisation says about one span or log record. Made by `normalise`, read by `prepared` (which builds the rows) and by
//! `calls` (which decides what counts). Plain data: nothing here knows a dialect.

use assay_schemas::{genai::GenAi, table::Sparse};
use serde_json::Value;

/// The canonical reading of one span or log record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Normalised {
    /// Canonical columns. `counted` is left false and the cost columns NULL, but for the reported cost: the call index and pricing
    /// fill them.
    pub genai: Sparse<GenAi>,
    /// What the call index needs to know.
    pub facts: CallFacts,
    /// Indices of the attributes that hold LLM payload (messages, tool arguments, documents), in rising order.
    pub payload_keys: Vec<usize>,
    /// Attributes whose text is identical to that of a canonical payload column: index of the attribute, name of the column.
    pub same_as_column: Vec<(usize, &'static str)>,
    /// Evaluation results found on the record or its events.
    pub scores: Vec<ScoreDraft>,
}

/// What the call index needs to know about a span or log record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFacts {
    /// Whether it reports one call that a provider answered or failed (chat, text completion, embeddings, rerank): a model call by
    /// its meaning, not a wrapper that repeats the usage of one.
    pub is_call: bool,
    /// Whether input or output tokens are known.
    pub has_usage: bool,
    /// The provider's identifier of the answer: `genai.response_id`, or found in the recorded answer.
    pub response_id: Option<String>,
    /// Whether input or output messages are known.
    pub has_messages: bool,
    /// Reported by the provider's own SDK (e.g. the Anthropic SDK's native spans), beneath or beside an instrumentation.
    pub native: bool,
    /// A child of another call-like span that describes the same request once more (LiteLLM's `raw_gen_ai_request`).
    pub repeats_parent: bool,
    /// The record describes the span it was written in and is not a call of its own: its messages belong to that span.
    pub log_message: Option<LogMessage>,
}

/// Messages that a log record carries for the span with its trace id and span id.
///
/// Old events hold one message each, in record order; `gen_ai.client.inference.operation.details` holds all at once and then
/// `complete` is true. Merge into what the span itself has, never append to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogMessage {
    /// Messages sent to the model, in the GenAI format.
    pub input: Vec<Value>,
    /// Messages the model answered, in the GenAI format.
    pub output: Vec<Value>,
    /// System instructions, as parts.
    pub system: Vec<Value>,
    /// Tool definitions.
    pub tools: Vec<Value>,
    /// Position among the messages of the span, where the sender says.
    pub index: Option<i64>,
    /// Position of the choice, for an answer.
    pub choice_index: Option<i64>,
    /// Whether the record holds the whole conversation rather than one message of it.
    pub complete: bool,
}

impl LogMessage {
    /// Whether there is nothing to attach: without content capture the events still come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && self.system.is_empty() && self.tools.is_empty()
    }
}

/// An evaluation result, before it has a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreDraft {
    /// What was measured.
    pub name: String,
    /// Number given.
    pub value: Option<f64>,
    /// Word given.
    pub label: Option<String>,
    /// Why.
    pub explanation: Option<String>,
    /// Who gave it: `HUMAN`, `LLM`, `CODE`, or as the sender said.
    pub annotator_kind: Option<String>,
    /// Anything else said about it, as a JSON object.
    pub metadata: Option<String>,
    /// What it is about.
    pub scope: ScoreScope,
    /// When it was given, nanoseconds since 1970; `None` means when the record was written.
    pub time_unix_nano: Option<u64>,
    /// The response it is about, where the sender says.
    pub response_id: Option<String>,
}

/// What a score is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScoreScope {
    /// The span it was found on.
    #[default]
    Span,
    /// The whole trace.
    Trace,
    /// The session.
    Session,
}
