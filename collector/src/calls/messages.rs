//! Messages that travel in log records and belong to a span: collected per span, merged in the order of the records, told to the row.

use assay_schemas::genai::GenAi;
use serde_json::Value;

use crate::normalised::LogMessage;

/// Messages of one span beyond this are not kept waiting.
const BYTES_MAX: usize = 8 << 20;
/// Length of a preview, in characters.
const PREVIEW_CHARS: usize = 240;

/// What log records said about one span so far.
#[derive(Debug, Default)]
pub(super) struct SpanMessages {
    records: Vec<Record>,
    bytes: usize,
    /// What the row of the span has of its own; `None` until the span came.
    own: Option<Own>,
    /// Told to the row already. Most calls are told without log records, and nothing is kept of them here.
    told: Option<Box<Columns>>,
    /// Records came since.
    fresh: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Own {
    input: bool,
    output: bool,
    system: bool,
    tools: bool,
    finish_reasons: bool,
    input_preview: bool,
    output_preview: bool,
}

#[derive(Debug)]
struct Record {
    time: i64,
    hash: u64,
    message: LogMessage,
}

/// The columns that messages fill.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Columns {
    pub(super) input_messages: Option<String>,
    pub(super) output_messages: Option<String>,
    pub(super) system_instructions: Option<String>,
    pub(super) tool_definitions: Option<String>,
    pub(super) finish_reasons: Option<String>,
    pub(super) input_preview: Option<String>,
    pub(super) output_preview: Option<String>,
}

impl SpanMessages {
    /// Adds a record of time `time` (nanoseconds). One that came before (a client resent it) is not added again.
    pub(super) fn add(&mut self, time: i64, message: LogMessage) {
        let text = format!("{time} {message:?}");
        let hash = super::hash(&text);
        if message.is_empty() || self.bytes + text.len() > BYTES_MAX || self.records.iter().any(|record| record.hash == hash) {
            return;
        }
        self.bytes += text.len();
        self.fresh = true;
        // Records of one span come in order within a request; requests may overtake each other.
        let at = self.records.partition_point(|record| record.time <= time);
        self.records.insert(at, Record { time, hash, message });
    }

    /// The row of the span is here: fills what it lacks.
    pub(super) fn fill(&mut self, genai: &mut GenAi) {
        self.own = Some(Own {
            input: genai.input_messages.is_some(),
            output: genai.output_messages.is_some(),
            system: genai.system_instructions.is_some(),
            tools: genai.tool_definitions.is_some(),
            finish_reasons: genai.finish_reasons.is_some(),
            input_preview: genai.input_preview.is_some(),
            output_preview: genai.output_preview.is_some(),
        });
        let columns = self.news();
        let fill = |column: &mut Option<String>, value: Option<String>| {
            if value.is_some() {
                *column = value;
            }
        };
        fill(&mut genai.input_messages, columns.input_messages);
        fill(&mut genai.output_messages, columns.output_messages);
        fill(&mut genai.system_instructions, columns.system_instructions);
        fill(&mut genai.tool_definitions, columns.tool_definitions);
        fill(&mut genai.finish_reasons, columns.finish_reasons);
        fill(&mut genai.input_preview, columns.input_preview);
        fill(&mut genai.output_preview, columns.output_preview);
    }

    /// Whether records came since the row was told.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// What the stored row lacks, as a correction; `None` if the span has not come, or nothing is new.
    pub(super) fn patch(&mut self) -> Option<serde_json::Map<String, Value>> {
        self.own?;
        let Columns {
            input_messages,
            output_messages,
            system_instructions,
            tool_definitions,
            finish_reasons,
            input_preview,
            output_preview,
        } = self.news();
        let columns = [
            ("input_messages", input_messages),
            ("output_messages", output_messages),
            ("system_instructions", system_instructions),
            ("tool_definitions", tool_definitions),
            ("finish_reasons", finish_reasons),
            ("input_preview", input_preview),
            ("output_preview", output_preview),
        ];
        let patch: serde_json::Map<_, _> =
            columns.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))).collect();
        (!patch.is_empty()).then_some(patch)
    }

    /// The columns as they are now, where they differ from what was told.
    fn news(&mut self) -> Columns {
        self.fresh = false;
        if self.records.is_empty() {
            return Columns::default();
        }
        let now = self.columns(self.own.unwrap_or_default());
        let told = self.told.get_or_insert_default();
        let news = |now: &Option<String>, told: &Option<String>| now.clone().filter(|_| now != told);
        let news = Columns {
            input_messages: news(&now.input_messages, &told.input_messages),
            output_messages: news(&now.output_messages, &told.output_messages),
            system_instructions: news(&now.system_instructions, &told.system_instructions),
            tool_definitions: news(&now.tool_definitions, &told.tool_definitions),
            finish_reasons: news(&now.finish_reasons, &told.finish_reasons),
            input_preview: news(&now.input_preview, &told.input_preview),
            output_preview: news(&now.output_preview, &told.output_preview),
        };
        **told = now;
        news
    }

    /// A record of the whole conversation stands for all that hold one message.
    fn columns(&self, own: Own) -> Columns {
        let part = |get: fn(&LogMessage) -> &Vec<Value>, sort: fn(&LogMessage) -> Option<i64>| -> Vec<Value> {
            let whole = self.records.iter().rev().find(|record| record.message.complete && !get(&record.message).is_empty());
            if let Some(whole) = whole {
                return get(&whole.message).clone();
            }
            let mut messages: Vec<_> =
                self.records.iter().map(|record| &record.message).filter(|message| !get(message).is_empty()).collect();
            messages.sort_by_key(|message| sort(message));
            messages.into_iter().flat_map(|message| get(message).clone()).collect()
        };
        let input = part(|message| &message.input, |message| message.index);
        let output = part(|message| &message.output, |message| message.choice_index);
        let system = part(|message| &message.system, |message| message.index);
        let tools = part(|message| &message.tools, |_| None);
        let json = |values: &[Value], own: bool| (!own && !values.is_empty()).then(|| Value::Array(values.to_vec()).to_string());
        let finish_reasons: Vec<Value> = output
            .iter()
            .filter_map(|message| message.get("finish_reason"))
            .filter(|reason| reason.is_string())
            .cloned()
            .collect();
        let last_question = input.iter().rev().find(|message| message["role"] == "user").or(input.last());
        Columns {
            input_preview: last_question.filter(|_| !own.input && !own.input_preview).and_then(preview),
            output_preview: output.first().filter(|_| !own.output && !own.output_preview).and_then(preview),
            input_messages: json(&input, own.input),
            output_messages: json(&output, own.output),
            system_instructions: json(&system, own.system),
            tool_definitions: json(&tools, own.tools),
            finish_reasons: json(&finish_reasons, own.finish_reasons),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let told = self.told.as_deref().map_or(0, |told| {
            let columns = [&told.input_messages, &told.output_messages, &told.system_instructions, &told.tool_definitions];
            columns.into_iter().flatten().map(String::len).sum()
        });
        300 + self.bytes * 2 + told
    }
}

/// The beginning of the text of a message in the GenAI format.
fn preview(message: &Value) -> Option<String> {
    let parts = message.get("parts")?.as_array()?;
    let text = |part: &Value| part.get("content").and_then(Value::as_str).map(str::to_owned);
    let text: Vec<String> = parts.iter().filter(|part| part["type"] == "text").filter_map(text).collect();
    let text: String = text.join("\n").chars().take(PREVIEW_CHARS).collect();
    (!text.trim().is_empty()).then_some(text)
}
