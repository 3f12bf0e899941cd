//! The dialect mapping files: which attributes of which SDK fill which canonical column. Data, reviewed like code.
//!
//! A file describes one dialect's conventions. [`embedded`] are those that ship; a user can add files or replace one by its name.
//! This module knows the form of a file; what a rule does to a record is in the collector's `normalise`.
//! `schemas/dialects/README.md` explains how to write one.

use indexmap::IndexMap;
use serde::Deserialize;

/// One mapping file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// Name, as in the column `dialect` and before the dot of rule names.
    pub dialect: String,
    /// What it is, for people.
    pub title: String,
    /// Dialects with a lower number are asked first for each column.
    pub precedence: u16,
    /// Applies to every record but does not make it a generative AI record (`error.type`, `session.id`).
    #[serde(default)]
    pub always: bool,
    /// Spans are written by the provider's own SDK, beneath or beside an instrumentation.
    #[serde(default)]
    pub native: bool,
    /// Signs of the dialect; any one suffices.
    #[serde(default)]
    pub detect: Detect,
    /// Tables of words: found → canonical. The empty text means "says nothing, ask the next rule". Rules name one in `alias`.
    #[serde(default)]
    pub aliases: IndexMap<String, IndexMap<String, String>>,
    /// Rules per canonical column; the first that finds a value fills it.
    #[serde(default)]
    pub columns: IndexMap<String, Vec<Rule>>,
    /// Rules per request parameter, named as in OpenTelemetry.
    #[serde(default)]
    pub parameters: IndexMap<String, Vec<Rule>>,
    /// Values of request parameters that the SDK writes when nobody set them: unknown, not set.
    #[serde(default)]
    pub invented: IndexMap<String, serde_json::Value>,
    /// Whether token counts hold their parts, where neither the rule nor the numbers say.
    #[serde(default)]
    pub tokens: Vec<TokenConvention>,
    /// Events (log records or span events) that carry messages.
    #[serde(default)]
    pub events: Events,
    /// Further attributes that hold LLM payload; a `*` at either end stands for anything.
    #[serde(default)]
    pub payload: Vec<String>,
}

/// Signs of a dialect. Any one suffices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detect {
    /// Attribute keys.
    pub keys: Vec<String>,
    /// Beginnings of attribute keys.
    pub prefixes: Vec<String>,
    /// Scope names; a `*` at either end stands for anything.
    pub scopes: Vec<String>,
    /// Names of span events.
    pub span_events: Vec<String>,
    /// Names of log events; a `*` at either end stands for anything.
    pub log_events: Vec<String>,
    /// Resource attributes with their value.
    pub resource: IndexMap<String, String>,
}

/// Events that carry messages, by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// One input message each: event name → role.
    pub messages: IndexMap<String, String>,
    /// One choice of the answer each.
    pub choices: Vec<String>,
    /// The whole operation: what its span says, perhaps with the messages.
    pub details: Vec<String>,
    /// Evaluation results.
    pub evaluations: Vec<String>,
    /// Evaluation results that the SDK writes on the span and as a log record: the log record is passed over.
    pub repeated: Vec<String>,
}

/// Whether counts hold their parts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConvention {
    /// Only for these canonical providers; empty means any.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Whether the input count includes cache reads and writes.
    pub cache: Option<Part>,
    /// Whether the output count includes reasoning.
    pub reasoning: Option<Part>,
}

/// Where the tokens of a part are counted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// In the whole.
    Inside,
    /// Beside it.
    Outside,
}

/// One way to fill a column: where to look, what to do with what is found, when it applies. A bare text is the key of an attribute.
#[derive(Clone, Debug)]
pub struct Rule(pub RuleTable);

/// A rule written out. Exactly one source must be given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleTable {
    /// Name of the rule; the source itself if not given.
    pub rule: Option<String>,
    /// Source: the attribute with this key.
    pub key: Option<String>,
    /// Source: all attributes that begin so, put back together (`a.0.b`, `a.1.b` → `[{"b"},{"b"}]`).
    pub prefix: Option<String>,
    /// Source: all attributes that begin so, as one flat object.
    pub flat_prefix: Option<String>,
    /// Source: a resource attribute.
    pub resource: Option<String>,
    /// Source: the span's name.
    pub span_name: bool,
    /// Source: the name of the instrumentation scope.
    pub scope_name: bool,
    /// Source: the message of the span's status.
    pub status_message: bool,
    /// Source: the body of the log record.
    pub body: bool,
    /// Source: attribute `key` of the first span event of this name (with `key`), or the event's time since the start (without).
    pub event: Option<String>,
    /// Source: the messages in the dialect's message events on the span: `input`, `output`, or `system`.
    pub message_events: Option<String>,
    /// Source: this value.
    pub value: Option<serde_json::Value>,
    /// Where in the JSON found: keys and indices joined by dots, `*` for the first that leads on, `[]` for all that do.
    pub path: Option<String>,
    /// Unit or form of what is found, where the column does not say: `seconds`, `milliseconds`, `nanoseconds`, `time` (ISO 8601,
    /// counted from the start), `json_scalar` (a JSON scalar with its quotes), `commas` (a list in one text), `events` (a list of message
    /// events: answers for the output, the others for the input), `distinct` (a list in which neighbours repeat).
    pub form: Option<String>,
    /// Table of words to translate with.
    pub alias: Option<String>,
    /// Drop what the table does not know (otherwise it is kept as it is).
    pub alias_only: bool,
    /// Zero means unknown.
    pub zero_is_unknown: bool,
    /// For an operation: the span is around the call, not the call.
    pub around: bool,
    /// For a token count: whether it holds its cache parts.
    pub cache: Option<Part>,
    /// For a token count: whether it holds its reasoning part.
    pub reasoning: Option<Part>,
    /// Only the part of the text before the first of this.
    pub before: Option<String>,
    /// Only the part of the text after the first of this.
    pub after: Option<String>,
    /// Keys to leave out of an object; a `*` at either end stands for anything.
    pub without: Vec<String>,
    /// When the rule applies.
    pub when: When,
}

/// Conditions; all given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Canonical operation is one of these.
    pub operation: Vec<String>,
    /// Canonical operation is none of these.
    pub operation_not: Vec<String>,
    /// Canonical provider is one of these.
    pub provider: Vec<String>,
    /// All these attributes are there.
    pub present: Vec<String>,
    /// None of these attributes is there.
    pub absent: Vec<String>,
    /// The attribute with this key …
    pub key: Option<String>,
    /// … has one of these values (quotes of a JSON scalar do not matter); a `*` at either end stands for anything.
    pub is: Vec<String>,
    /// … has none of these values.
    pub is_not: Vec<String>,
    /// Span name is one of these; a `*` at either end stands for anything.
    pub span_name: Vec<String>,
    /// The span has an event of one of these names.
    pub span_event: Vec<String>,
    /// Event name of the log record is one of these; a `*` at either end stands for anything.
    pub event: Vec<String>,
    /// Scope name is one of these; a `*` at either end stands for anything.
    pub scope: Vec<String>,
    /// Scope name is none of these.
    pub scope_not: Vec<String>,
    /// The record reports an error.
    pub error: Option<bool>,
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyOrTable;

        impl<'de> serde::de::Visitor<'de> for KeyOrTable {
            type Value = RuleTable;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an attribute key or a rule table")
            }
            fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<RuleTable, E> {
                Ok(RuleTable { key: Some(key.to_owned()), ..RuleTable::default() })
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<RuleTable, A::Error> {
                RuleTable::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(KeyOrTable).map(Rule)
    }
}

/// A mapping file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("mapping file `{file}`{}: found {found}, expected {expected}", place.as_ref().map(|p| format!(", {p}")).unwrap_or_default())]
pub struct DialectError {
    /// File, as named by the caller.
    pub file: String,
    /// Table and key, or the line.
    pub place: Option<String>,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

impl Dialect {
    /// Reads one mapping file; `file` names it in errors.
    ///
    /// # Errors
    /// [`DialectError`] if the text is not TOML or not a mapping file: it says where, what was found and what was expected.
    /// Names of columns, tables and forms are checked by the collector, which gives them their meaning.
    pub fn parse(file: &str, text: &str) -> Result<Self, DialectError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let excerpt = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or_default().trim();
            DialectError {
                file: file.to_owned(),
                place: line.map(|line| format!("line {line}")),
                found: format!("`{}`", excerpt.chars().take(120).collect::<String>()),
                expected: error.message().to_owned(),
            }
        })
    }
}

macro_rules! embedded {
    ($($file:literal,)*) => {
        /// The mapping files that ship, as (file name, text).
        pub const EMBEDDED: &[(&str, &str)] = &[$(($file, include_str!(concat!("../dialects/", $file))),)*];
    };
}

embedded! {
    "anthropic-sdk.toml",
    "claude-code.toml",
    "codex.toml",
    "gemini-cli.toml",
    "general.toml",
    "genkit.toml",
    "google-adk.toml",
    "haystack.toml",
    "laminar.toml",
    "langfuse.toml",
    "langsmith.toml",
    "litellm.toml",
    "mastra.toml",
    "mistral-sdk.toml",
    "mlflow.toml",
    "openinference.toml",
    "openlit.toml",
    "openllmetry.toml",
    "otel.toml",
    "pydantic-ai.toml",
    "semantic-kernel.toml",
    "strands.toml",
    "vercel-ai.toml",
}

/// The dialects that ship.
///
/// # Panics
/// Never: a test reads every file.
#[must_use]
pub fn embedded() -> Vec<Dialect> {
    EMBEDDED.iter().map(|(file, text)| Dialect::parse(file, text).expect("a test reads every embedded file")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_file_is_a_mapping_file_of_its_own_name() {
        for (file, text) in EMBEDDED {
            let dialect = Dialect::parse(file, text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(format!("{}.toml", dialect.dialect), *file);
        }
    }

    #[test]
    fn every_file_in_the_folder_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/dialects");
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let name = entry.expect("readable").file_name().into_string().expect("ascii");
            if name.ends_with(".toml") {
                assert!(EMBEDDED.iter().any(|(file, _)| *file == name), "`{name}` is not embedded");
            }
        }
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line() {
        let error = Dialect::parse("mine.toml", "dialect = \"mine\"\ntitle = \"Mine\"\nprecedence = 1\n[detekt]\nkeys = []\n")
            .expect_err("typo");
        let message = error.to_string();
        assert!(message.contains("mine.toml") && message.contains("line 4") && message.contains("detekt"), "{message}");
    }
}
