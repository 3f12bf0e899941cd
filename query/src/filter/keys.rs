//! The keys of the filter language: what they are called, what they mean in SQL, and how their values are written.

use serde::Serialize;

/// A key of the language.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) kind: KeyKind,
    /// Columns of `spans`. A text key matches if any of them does, and `has:` asks whether any of them has a value.
    pub(crate) columns: &'static [&'static str],
    /// What is compared, where it is more than the one column.
    pub(crate) expression: Option<&'static str>,
    pub(crate) facet: bool,
    pub(crate) doc: &'static str,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Key {}

/// How the values of a key are written and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Text,
    /// Text that is stored in capitals.
    Upper,
    /// Text that is stored in lower case: identifiers in hex.
    Lower,
    /// An element of a JSON array of text.
    Element,
    Number,
    /// US dollars; a `$` may stand before them.
    Money,
    /// Nanoseconds, written with a unit.
    Duration,
    /// `true` or `false`.
    Flag,
}

/// Type of the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// Text: any-of with `|`, `*` for any text, quotation marks for exactly this.
    Text,
    /// A number: `>`, `>=`, `<`, `<=`, ranges with `..`, any-of; `k` and `M` may follow it.
    Number,
    /// A number with a unit: `ns`, `us`, `ms`, `s`, `m`, `h`.
    Duration,
    /// US dollars, as a number.
    Money,
    /// `true` or `false`; of `has`, the name of a key.
    Flag,
}

impl KeyKind {
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Number | Self::Money | Self::Duration)
    }

    pub(crate) fn value_type(self) -> KeyType {
        match self {
            Self::Text | Self::Upper | Self::Lower | Self::Element => KeyType::Text,
            Self::Number => KeyType::Number,
            Self::Money => KeyType::Money,
            Self::Duration => KeyType::Duration,
            Self::Flag => KeyType::Flag,
        }
    }
}

/// Prompt and answer tokens together, an unknown part counting as none.
const TOKENS: &str = "coalesce(input_tokens, 0) + coalesce(output_tokens, 0)";

/// Every key, the ones people reach for first.
pub(crate) const KEYS: &[Key] = &[
    text("service", &["service_name"], &["service_name"], "Service that sent the span."),
    text("name", &[], &["name"], "Name of the span."),
    text("model", &[], &["request_model", "response_model"], "Model asked for, or model that answered."),
    text("provider", &[], &["provider"], "Who answered: `openai`, `anthropic`, …"),
    text("operation", &["op"], &["operation"], "What was done: `chat`, `execute_tool`, `invoke_agent`, …"),
    Key { kind: KeyKind::Upper, ..text("status", &["status_code"], &["status_code"], "`UNSET`, `OK` or `ERROR`.") },
    text("error_type", &["error"], &["error_type"], "Class of the error."),
    text("session", &["session_id"], &["session_id"], "Conversation or session."),
    text("user", &["user_id"], &["user_id"], "End user."),
    text("tool", &["tool_name"], &["tool_name"], "Tool that ran."),
    text("agent", &["agent_name"], &["agent_name"], "Agent that ran."),
    Key { kind: KeyKind::Element, ..text("tag", &["tags"], &["tags"], "A tag.") },
    number("cost", &["cost_usd"], KeyKind::Money, &["cost_usd"], "Cost of the call in US dollars."),
    Key {
        expression: Some(TOKENS),
        ..number("tokens", &[], KeyKind::Number, &["input_tokens", "output_tokens"], "Prompt and answer tokens together.")
    },
    number("input_tokens", &[], KeyKind::Number, &["input_tokens"], "Tokens of the prompt."),
    number("output_tokens", &[], KeyKind::Number, &["output_tokens"], "Tokens of the answer."),
    number("cache_read_tokens", &["cached_tokens"], KeyKind::Number, &["cache_read_tokens"], "Prompt tokens read from a cache."),
    number("reasoning_tokens", &[], KeyKind::Number, &["reasoning_tokens"], "Answer tokens spent on reasoning."),
    number("duration", &["duration_ns"], KeyKind::Duration, &["duration_ns"], "How long the span took, e.g. `>1.5s`."),
    number("ttft", &["time_to_first_token"], KeyKind::Duration, &["time_to_first_token_ns"], "Time to the first token."),
    text("env", &["environment", "deployment_environment"], &["deployment_environment"], "Deployment environment."),
    text("version", &["service_version"], &["service_version"], "Version of the service."),
    text("workflow", &["workflow_name"], &["workflow_name"], "Workflow or chain that ran."),
    text("prompt", &["prompt_name"], &["prompt_name"], "Name of the prompt template."),
    text("request_model", &[], &["request_model"], "Model asked for."),
    text("response_model", &[], &["response_model"], "Model that answered."),
    Key { kind: KeyKind::Element, ..text("finish", &["finish_reasons"], &["finish_reasons"], "Why generation stopped.") },
    Key { facet: false, ..text("error_message", &[], &["error_message"], "Message of the error.") },
    text("cost_source", &[], &["cost_source"], "Where the cost comes from; `unpriced` if the model has no price."),
    text("dialect", &[], &["dialect"], "Convention in which the span was sent."),
    Key { kind: KeyKind::Upper, ..text("kind", &["span_kind"], &["span_kind"], "`CLIENT`, `SERVER`, `INTERNAL`, …") },
    text("scope", &["scope_name"], &["scope_name"], "Instrumentation scope."),
    identifier("trace", &["trace_id"], &["trace_id"], "Trace, 32 hex digits."),
    identifier("span", &["span_id"], &["span_id"], "Span, 16 hex digits."),
    identifier("parent", &["parent_span_id"], &["parent_span_id"], "Parent of the span, 16 hex digits."),
    flag("root", &[], &["parent_span_id"], "Whether the span is the root of its trace."),
    flag("call", &["counted"], &["counted"], "Whether the span counts as a call of a model."),
    flag("streaming", &[], &["streaming"], "Whether the answer was streamed."),
];

const fn text(name: &'static str, aliases: &'static [&'static str], columns: &'static [&'static str], doc: &'static str) -> Key {
    Key { name, aliases, kind: KeyKind::Text, columns, expression: None, facet: true, doc }
}

const fn identifier(
    name: &'static str,
    aliases: &'static [&'static str],
    columns: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, aliases, kind: KeyKind::Lower, columns, expression: None, facet: false, doc }
}

const fn number(
    name: &'static str,
    aliases: &'static [&'static str],
    kind: KeyKind,
    columns: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, aliases, kind, columns, expression: None, facet: false, doc }
}

const fn flag(name: &'static str, aliases: &'static [&'static str], columns: &'static [&'static str], doc: &'static str) -> Key {
    Key { name, aliases, kind: KeyKind::Flag, columns, expression: None, facet: false, doc }
}

/// The key of this name or alias.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name || key.aliases.contains(&name))
}

/// The key that stands for this column alone. `parent_span_id` is `parent`, not `root`.
pub(crate) fn of_column(column: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.columns == [column])
}

/// Names and aliases of all keys.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()))
}
