//! Normalisation: fills the canonical columns of a span or log record from whatever its SDK wrote.
//!
//! Nothing in here knows an SDK. The mapping files in `schemas/dialects/` say which attributes mean what; this module reads them:
//!
//! ```text
//! attributes ─ record ─► dialects seen ─► for each column, in order of precedence: the first rule that finds a value
//!                                         └► refine (path, alias, form) ► convert (messages, documents, tokens) ► GenAi + rule name
//! ```
//!
//! `compile` makes the files ready, `record` is one span under the eyes of the rules, `columns` are what can be filled, `messages`,
//! `documents` and `usage` convert, `values` reads what SDKs write. Invariants: one rule fills one column (values of two dialects are
//! never added), and what no rule finds stays unknown.

mod columns;
mod compile;
mod describe;
mod documents;
mod messages;
mod record;
mod search;
mod usage;
mod values;

use std::{borrow::Cow, collections::HashMap, rc::Rc, sync::Arc};

use assay_schemas::dialects::{Dialect, DialectError, EMBEDDED, Part};
use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, logs::v1::LogRecord, resource::v1::Resource};
use rust_decimal::Decimal;
use serde_json::{Map, Value};

pub use self::describe::{DialectDoc, RuleDoc};
use self::{
    columns::{Column, Kind},
    compile::{Form, Mapping, Ready, ReadyDialect, Source},
    messages::{Gist, Side},
    record::{Found, Record},
    usage::UsageFacts,
};
use crate::{
    normalised::{CallFacts, LogMessage, Normalised, ScoreDraft, ScoreScope},
    otlp::borrowed::{KeyValueRef, SpanRef},
};

/// Characters of a preview column.
const PREVIEW_CHARS: usize = 240;

/// Reads spans and log records of every dialect it has a mapping file for.
#[derive(Debug)]
pub struct Normaliser {
    mapping: Mapping,
}

impl Normaliser {
    /// With the mapping files that ship.
    ///
    /// # Panics
    /// Never: a test compiles them.
    #[must_use]
    pub fn embedded() -> Self {
        Self::with_files(std::iter::empty::<(String, String)>()).expect("a test compiles the embedded files")
    }

    /// With the mapping files that ship and `files` (name, text): a file replaces the one of the same dialect.
    ///
    /// # Errors
    /// The first file that cannot be used: where in it, what was found, what was expected.
    pub fn with_files(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, DialectError> {
        let shipped = EMBEDDED.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
        let mut dialects: Vec<(String, Dialect)> = Vec::new();
        for (file, text) in shipped.chain(files) {
            let dialect = Dialect::parse(&file, &text)?;
            match dialects.iter_mut().find(|(_, known)| known.dialect == dialect.dialect) {
                Some(known) => *known = (file, dialect),
                None => dialects.push((file, dialect)),
            }
        }
        Ok(Self { mapping: compile::compile(dialects)? })
    }

    /// The canonical reading of `span`. A span without a sign of any dialect costs a look-up per attribute.
    #[must_use]
    pub fn span(&self, resource: &Resource, scope: &InstrumentationScope, span: &SpanRef<'_>) -> Normalised {
        let record = Record::of_span(&self.mapping, resource, scope, span);
        if record.says_nothing() && !record.is_error() {
            return Normalised::default();
        }
        let mut reading = Reading::new(&self.mapping, record);
        reading.fill();
        for event in &*span.events {
            if reading.is_evaluation(&event.name) {
                let score = documents::evaluation_event(&values::object_of(&event.attributes));
                reading.out.scores.extend(score.map(|score| ScoreDraft { time_unix_nano: Some(event.time_unix_nano), ..score }));
            }
        }
        reading.finish()
    }

    /// The canonical reading of `log`.
    #[must_use]
    pub fn log(&self, resource: &Resource, scope: &InstrumentationScope, log: &LogRecord) -> Normalised {
        let attributes = KeyValueRef::list(&log.attributes);
        let record = Record::of_log(&self.mapping, resource, scope, log, &attributes);
        if record.says_nothing() {
            return Normalised::default();
        }
        let mut reading = Reading::new(&self.mapping, record);
        reading.fill();
        if reading.record.event_name.is_some_and(|name| reading.is_evaluation(name) && !reading.is_repeated(name)) {
            reading.out.scores.extend(documents::evaluation_event(&values::object_of(&log.attributes)));
        }
        reading.finish()
    }
}

/// A rule's find after its path, alias and form.
enum Refined<'a> {
    /// Text of an attribute, as received.
    Text(Cow<'a, str>),
    /// Anything else.
    Value(Rc<Value>),
    /// Nanoseconds from the start.
    Nanoseconds(i64),
}

impl Refined<'_> {
    fn into_value(self) -> Rc<Value> {
        match self {
            Self::Text(text) => Rc::new(Value::String(text.into_owned())),
            Self::Value(value) => value,
            Self::Nanoseconds(nanos) => Rc::new(Value::from(nanos)),
        }
    }

    /// As a scalar: text, number or flag; a list of one is its element.
    fn into_scalar(self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(Value::String(text.into_owned())),
            Self::Nanoseconds(nanos) => Some(Value::from(nanos)),
            Self::Value(value) => match &*value {
                Value::Array(items) if items.len() == 1 => Some(items[0].clone()),
                Value::Array(_) | Value::Object(_) | Value::Null => None,
                scalar => Some(scalar.clone()),
            },
        }
    }
}

/// The work on one record.
struct Reading<'a> {
    mapping: &'a Mapping,
    record: Record<'a>,
    /// The dialects seen, in order of precedence.
    dialects: Vec<&'a ReadyDialect>,
    out: Normalised,
    rules: Vec<(&'static str, Arc<str>)>,
    total: Option<i64>,
    input_cache: Option<Part>,
    output_reasoning: Option<Part>,
    /// The dialect that gave the input count.
    usage_dialect: Option<&'a ReadyDialect>,
    around: bool,
    /// The operation came from the name of a log event: the record reports the operation itself.
    by_event: bool,
    parameters: Map<String, Value>,
    /// What the messages given and answered say in short.
    gists: [Gist; 2],
    /// Messages, system instructions and tools as values, for a log record only: they may belong to a span.
    messages: [Vec<Value>; 2],
    system: Vec<Value>,
    tools: Vec<Value>,
}

impl<'a> Reading<'a> {
    fn new(mapping: &'a Mapping, record: Record<'a>) -> Self {
        let dialects: Vec<&ReadyDialect> = mapping
            .dialects
            .iter()
            .enumerate()
            .filter(|(index, _)| record.dialects & (1 << index) != 0)
            .map(|(_, found)| found)
            .collect();
        Self {
            mapping,
            record,
            dialects,
            out: Normalised::default(),
            rules: Vec::new(),
            total: None,
            input_cache: None,
            output_reasoning: None,
            usage_dialect: None,
            around: false,
            by_event: false,
            parameters: Map::new(),
            gists: [Gist::default(), Gist::default()],
            messages: [Vec::new(), Vec::new()],
            system: Vec::new(),
            tools: Vec::new(),
        }
    }

    fn is_evaluation(&self, event: &str) -> bool {
        self.dialects.iter().any(|dialect| dialect.evaluation_events.iter().any(|known| known == event))
    }

    fn is_repeated(&self, event: &str) -> bool {
        self.dialects.iter().any(|dialect| dialect.repeated_events.iter().any(|known| known == event))
    }

    fn fill(&mut self) {
        for column in Column::ALL {
            self.fill_column(*column);
            match column {
                Column::ResponseModel => {
                    self.provider_by_model();
                    self.models_without_provider();
                }
                Column::ReasoningTokens => self.make_usage_inclusive(),
                Column::Parameters => self.fill_parameters(),
                _ => {}
            }
        }
    }

    fn fill_column(&mut self, column: Column) {
        for index in 0..self.dialects.len() {
            let dialect = self.dialects[index];
            for rule in &dialect.columns[column as usize] {
                if let Some(refined) = self.apply(rule, dialect)
                    && self.store(column, rule, refined)
                {
                    if self.out.genai.dialect.is_none() && !dialect.always {
                        self.out.genai.dialect = Some(dialect.name.clone());
                    }
                    if matches!(column, Column::InputTokens) {
                        self.usage_dialect = Some(dialect);
                    }
                    if column != Column::Scores && column != Column::Parameters && column != Column::TotalTokens {
                        self.rules.push((column.name(), Arc::clone(&rule.name)));
                    }
                    // Scores on several places are several scores; everything else is filled once.
                    if column != Column::Scores {
                        return;
                    }
                }
            }
        }
    }

    /// What `rule` finds in the record, if it applies.
    fn apply(&self, rule: &'a Ready, dialect: &'a ReadyDialect) -> Option<Refined<'a>> {
        if !self.record.has(&rule.source) {
            return None;
        }
        if let Some(condition) = &rule.when
            && !self.record.holds(condition, self.out.genai.operation.as_deref(), self.out.genai.provider.as_deref())
        {
            return None;
        }
        let mut refined = if rule.path.is_empty() {
            match self.record.find(&rule.source, dialect)? {
                Found::Text(text) => Refined::Text(Cow::Borrowed(text)),
                Found::Value(value) => Refined::Value(value),
                Found::SinceStart(nanos) => Refined::Nanoseconds(nanos),
            }
        } else {
            let found = match &rule.source {
                Source::Key(key) => self.record.at_path(*key, &rule.path),
                source => match self.record.find(source, dialect)? {
                    Found::Text(text) => values::at_path(&values::parse_structure(text)?, &rule.path),
                    Found::Value(value) => values::at_path(&value, &rule.path),
                    Found::SinceStart(_) => None,
                },
            };
            match found? {
                Value::String(text) => Refined::Text(Cow::Owned(text)),
                value => Refined::Value(Rc::new(value)),
            }
        };
        if rule.form == Some(Form::JsonScalar) {
            refined = match refined {
                Refined::Text(text) if text == "null" => return None,
                Refined::Text(text) => Refined::Text(Cow::Owned(values::unquoted(&text))),
                Refined::Value(value) => Refined::Value(Rc::new(without_quotes(&value))),
                nanos @ Refined::Nanoseconds(_) => nanos,
            };
        }
        self.translated(rule, refined)
    }

    /// Cuts and translates a word.
    fn translated(&self, rule: &Ready, refined: Refined<'a>) -> Option<Refined<'a>> {
        let mut refined = refined;
        if (rule.before.is_some() || rule.after.is_some() || rule.alias.is_some())
            && let Refined::Value(value) = &refined
            && !value.is_array()
            && !value.is_object()
        {
            refined = Refined::Text(Cow::Owned(values::text_of(value)?));
        }
        let Refined::Text(text) = refined else { return Some(refined) };
        let mut word: &str = &text;
        if let Some(mark) = &rule.after {
            word = word.split_once(mark.as_str())?.1;
        }
        if let Some(mark) = &rule.before {
            word = word.split_once(mark.as_str()).map_or(word, |(head, _)| head);
        }
        if let Some(table) = &rule.alias {
            match table.get(&word.trim().to_ascii_lowercase()) {
                Some(canonical) if canonical.is_empty() => return None,
                Some(canonical) => return Some(Refined::Text(Cow::Owned(canonical.clone()))),
                None if rule.alias_only => return None,
                None => {}
            }
        }
        Some(Refined::Text(if word.len() == text.len() { text } else { Cow::Owned(word.to_owned()) }))
    }

    /// Puts a find into its column; false if it is not a value of the column's kind.
    fn store(&mut self, column: Column, rule: &Ready, refined: Refined<'_>) -> bool {
        match column.kind() {
            Kind::Text => self.store_text(column, rule, refined),
            Kind::Int => self.store_int(column, rule, refined),
            Kind::Nanoseconds => {
                let nanos = self.nanoseconds(rule.form, refined).filter(|nanos| *nanos >= 0);
                if let Some(place) = column.int(&mut self.out.genai) {
                    *place = nanos;
                }
                nanos.is_some()
            }
            Kind::Bool => {
                let Some(flag) = refined.into_scalar().as_ref().and_then(values::bool_of) else { return false };
                match column {
                    Column::RepeatsParent => self.out.facts.repeats_parent = flag,
                    _ => self.out.genai.streaming = Some(flag),
                }
                true
            }
            Kind::Money => {
                let money =
                    refined.into_scalar().as_ref().and_then(money_of).filter(|money| !(rule.zero_is_unknown && money.is_zero()));
                self.out.genai.reported_cost_usd = money;
                money.is_some()
            }
            Kind::Labels => {
                let words = labels(&refined.into_value(), rule.form == Some(Form::Commas));
                let mut words = if column == Column::FinishReasons { self.canonical_reasons(words) } else { words };
                if rule.form == Some(Form::Distinct) {
                    words.dedup();
                }
                self.put_json(column, words.into_iter().map(Value::String).collect())
            }
            Kind::Object => {
                let value = refined.into_value();
                let object = match &*value {
                    Value::String(text) => values::parse_structure(text),
                    other => Some(other.clone()),
                };
                let Some(Value::Object(mut object)) = object else { return false };
                object.retain(|key, found| !found.is_null() && !rule.without.iter().any(|glob| glob.matches(key)));
                !object.is_empty() && self.put_text(column, Value::Object(object).to_string())
            }
            Kind::Document => match document_text(column, &refined.into_value()) {
                Some(text) => self.put_text(column, text),
                None => false,
            },
            Kind::Free => {
                let text = match refined {
                    Refined::Text(text) => Some(values::unquoted(&text)),
                    Refined::Value(value) => values::text_of(&value),
                    Refined::Nanoseconds(_) => None,
                };
                text.is_some_and(|text| !text.is_empty() && text != "null" && self.put_text(column, text))
            }
            Kind::Messages(role) => self.store_messages(column, rule, role, refined),
            Kind::Parts => {
                let value = structured(&refined.into_value());
                let parts = messages::system_parts(&value);
                self.system.clone_from(&parts);
                self.put_json(column, parts)
            }
            Kind::Tools => {
                let value = refined.into_value();
                let tools = documents::tools(&value);
                self.tools.clone_from(&tools);
                self.put_json(column, tools)
            }
            Kind::Documents => {
                let documents = documents::documents(&refined.into_value());
                self.put_json(column, documents)
            }
            Kind::Scores => {
                let scope = match rule.source {
                    Source::Prefix(_) if rule.name.contains(".trace.") => ScoreScope::Trace,
                    Source::Prefix(_) if rule.name.contains(".session.") => ScoreScope::Session,
                    _ => ScoreScope::Span,
                };
                let scores = documents::scores(&refined.into_value(), scope);
                let found = !scores.is_empty();
                self.out.scores.extend(scores);
                found
            }
            Kind::Parameters => {
                let Value::Object(object) = structured(&refined.into_value()) else { return false };
                let mut parameters = std::mem::take(&mut self.parameters);
                for (name, value) in object {
                    self.put_parameter(&mut parameters, &name, value, rule);
                }
                self.parameters = parameters;
                !self.parameters.is_empty()
            }
        }
    }

    fn put_text(&mut self, column: Column, text: String) -> bool {
        match column.text(&mut self.out.genai) {
            Some(place) => {
                *place = Some(text);
                true
            }
            None => false,
        }
    }

    fn put_json(&mut self, column: Column, items: Vec<Value>) -> bool {
        !items.is_empty() && self.put_text(column, Value::Array(items).to_string())
    }

    fn store_text(&mut self, column: Column, rule: &Ready, refined: Refined<'_>) -> bool {
        let Some(text) = refined.into_scalar().as_ref().and_then(values::text_of) else { return false };
        let text = text.trim();
        if text.is_empty() {
            return false;
        }
        let canonical = match column {
            Column::Operation => lookup(&self.mapping.operations, text),
            Column::Provider => lookup(&self.mapping.providers, text),
            _ => None,
        };
        let text = match canonical {
            // Known to say nothing: a framework posing as provider.
            Some("") => return false,
            Some(word) => word.to_owned(),
            None => text.to_owned(),
        };
        if column == Column::Operation {
            self.around = rule.around;
            self.by_event = rule.when.as_ref().is_some_and(|when| !when.event.is_empty());
        }
        self.put_text(column, text)
    }

    fn store_int(&mut self, column: Column, rule: &Ready, refined: Refined<'_>) -> bool {
        let value = match refined {
            // The length of a list where its length is asked for: an embedding vector.
            Refined::Value(value) if column == Column::EmbeddingDimensions && value.is_array() => {
                let length = value.as_array().map_or(0, Vec::len);
                Some(Value::from(length)).filter(|_| length > 1)
            }
            other => other.into_scalar(),
        };
        let Some(int) = value.as_ref().and_then(values::int_of).filter(|int| !(rule.zero_is_unknown && *int == 0)) else {
            return false;
        };
        match column {
            Column::TotalTokens => self.total = Some(int),
            Column::InputTokens => self.input_cache = rule.cache,
            Column::OutputTokens => self.output_reasoning = rule.reasoning,
            _ => {}
        }
        if let Some(place) = column.int(&mut self.out.genai) {
            *place = Some(int);
        }
        true
    }

    fn nanoseconds(&self, form: Option<Form>, refined: Refined<'_>) -> Option<i64> {
        if let Refined::Nanoseconds(nanos) = refined {
            return Some(nanos);
        }
        let value = refined.into_scalar()?;
        let scaled = |factor: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
            values::float_of(&value)
                .map(|float| (float * factor).round())
                .filter(|nanos| nanos.abs() < 9e18)
                .map(|nanos| nanos as i64)
        };
        match form? {
            Form::Seconds => scaled(1e9),
            Form::Milliseconds => scaled(1e6),
            Form::Nanoseconds => scaled(1.0),
            Form::Time => {
                let start = i64::try_from(self.record.span?.start_time_unix_nano).ok()?;
                values::unix_nano_of(value.as_str()?)?.checked_sub(start)
            }
            Form::JsonScalar | Form::Commas | Form::Events | Form::Distinct => None,
        }
    }

    fn store_messages(&mut self, column: Column, rule: &Ready, role: &str, refined: Refined<'_>) -> bool {
        let side = if column == Column::OutputMessages { Side::Output } else { Side::Input };
        // Text that is in GenAI form already is kept to the letter: it need not be stored twice.
        if rule.form != Some(Form::Events)
            && let Refined::Text(text) = &refined
            && let Some(gist) = Gist::of_text(text, side)
        {
            self.gists[side as usize] = gist;
            if self.record.span.is_none()
                && let Some(Value::Array(found)) = values::parse_json(text)
            {
                self.messages[side as usize] = found;
            }
            return self.put_text(column, text.to_string());
        }
        let value = refined.into_value();
        if rule.form == Some(Form::Events) {
            return self.put_messages(column, side, messages::of_events(&structured(&value), side == Side::Output));
        }
        if let Value::Array(found) = &*value
            && messages::is_genai(&value)
        {
            return self.put_messages(column, side, found.clone());
        }
        let conversation = messages::conversation(&value, role).or_else(|| {
            // Flattened attributes are messages or nothing: a role alone is one whose content was not sent.
            if matches!(rule.source, Source::Prefix(_)) {
                return None;
            }
            // Not a conversation, but what the model was given or said: one message of text.
            let text =
                values::text_of(&value).filter(|text| !text.is_empty() && !matches!(text.as_str(), "null" | "[]" | "{}"))?;
            Some(messages::Conversation { messages: vec![messages::text_message(role, &text)], system: Vec::new() })
        });
        let Some(conversation) = conversation else { return false };
        if self.system.is_empty() && !conversation.system.is_empty() && column == Column::InputMessages {
            self.system.clone_from(&conversation.system);
            self.put_json(Column::SystemInstructions, conversation.system);
        }
        self.put_messages(column, side, conversation.messages)
    }

    fn put_messages(&mut self, column: Column, side: Side, found: Vec<Value>) -> bool {
        self.gists[side as usize] = Gist::of(&found, side);
        if self.record.span.is_none() {
            self.messages[side as usize].clone_from(&found);
        }
        self.put_json(column, found)
    }

    fn canonical_reasons(&self, words: Vec<String>) -> Vec<String> {
        let mut reasons: Vec<String> = Vec::new();
        for word in words {
            let word = word.rsplit("FinishReason.").next().unwrap_or(&word).to_owned();
            match lookup(&self.mapping.finish_reasons, &word) {
                Some("") => {}
                Some(canonical) => reasons.push(canonical.to_owned()),
                None => reasons.push(word),
            }
        }
        reasons
    }

    /// LiteLLM and its kin put the provider before the model (`openai/gpt-4o`): it is in a column of its own. Other prefixes are
    /// part of the name.
    fn models_without_provider(&mut self) {
        let genai = &mut *self.out.genai;
        for model in [&mut genai.request_model, &mut genai.response_model].into_iter().flatten() {
            let bare = model.split_once('/').filter(|(head, _)| {
                lookup(&self.mapping.providers, head).is_some_and(|provider| genai.provider.as_deref() == Some(provider))
            });
            if let Some((_, bare)) = bare {
                *model = bare.to_owned();
            }
        }
    }

    /// Where no attribute names a provider, the model's family does, if only one provider has it.
    fn provider_by_model(&mut self) {
        let genai = &mut self.out.genai;
        if genai.provider.is_some() || !is_model_operation(genai.operation.as_deref()) {
            return;
        }
        let Some(model) = genai.response_model.as_deref().or(genai.request_model.as_deref()) else { return };
        let model = model.to_ascii_lowercase();
        let by_prefix =
            model.split_once('/').and_then(|(head, _)| lookup(&self.mapping.providers, head)).filter(|found| !found.is_empty());
        let by_family = || {
            self.mapping
                .model_families
                .iter()
                .find(|(start, _)| model.starts_with(start.as_str()))
                .map(|(_, found)| found.as_str())
        };
        if let Some(provider) = by_prefix.or_else(by_family) {
            genai.provider = Some(provider.to_owned());
            self.rules.push(("provider", "general.model_family".into()));
        }
    }

    fn make_usage_inclusive(&mut self) {
        // A failed call billed nothing that anyone counted.
        let nothing = |tokens: Option<i64>| tokens.is_none_or(|tokens| tokens == 0);
        if self.record.is_error() && nothing(self.out.genai.input_tokens) && nothing(self.out.genai.output_tokens) {
            (self.out.genai.input_tokens, self.out.genai.output_tokens) = (None, None);
            self.rules.retain(|(column, _)| !matches!(*column, "input_tokens" | "output_tokens"));
        }
        let facts = UsageFacts {
            total: self.total,
            input_cache: self.input_cache,
            output_reasoning: self.output_reasoning,
            conventions: self.usage_dialect.map_or(&[], |dialect| &dialect.tokens),
        };
        usage::make_inclusive(&mut self.out.genai, &facts);
    }

    /// Adds a parameter under its canonical name, unless it says nothing or was invented by the SDK.
    fn put_parameter(&self, parameters: &mut Map<String, Value>, name: &str, value: Value, rule: &Ready) {
        let name = match lookup(&self.mapping.parameter_names, name) {
            Some("") => return,
            Some(canonical) => canonical,
            None => name,
        };
        let value = match value {
            Value::String(text) => parameter_of_text(text),
            other => other,
        };
        let is_nothing = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty() || matches!(text.as_str(), "Infinity" | "NaN" | "None" | "NOT_GIVEN"),
            Value::Array(items) => items.is_empty(),
            Value::Object(object) => object.is_empty(),
            _ => false,
        };
        let dialect = rule.name.split('.').next();
        let invented = self
            .dialects
            .iter()
            .filter(|found| dialect == Some(found.name.as_str()) || !found.invented.is_empty())
            .any(|found| found.invented.get(name).is_some_and(|known| same_number(known, &value)));
        if !is_nothing && !invented && !parameters.contains_key(name) {
            parameters.insert(name.to_owned(), value);
        }
    }

    /// Single parameters, which are sharper than an object of all, then the columns taken from them.
    fn fill_parameters(&mut self) {
        let mut all = Map::new();
        let mut filled: Vec<(&'static str, Arc<str>)> = Vec::new();
        for index in 0..self.dialects.len() {
            let dialect = self.dialects[index];
            for (name, rules) in &dialect.parameters {
                if all.contains_key(name) {
                    continue;
                }
                for rule in rules {
                    let Some(refined) = self.apply(rule, dialect) else { continue };
                    self.put_parameter(&mut all, name, (*refined.into_value()).clone(), rule);
                    if all.contains_key(name) {
                        let column = ["temperature", "top_p", "max_tokens"].into_iter().find(|column| column == name);
                        filled.extend(column.map(|column| (column, Arc::clone(&rule.name))));
                        break;
                    }
                }
            }
        }
        for (name, value) in std::mem::take(&mut self.parameters) {
            all.entry(name).or_insert(value);
        }
        let genai = &mut self.out.genai;
        genai.temperature = all.get("temperature").and_then(values::float_of);
        genai.top_p = all.get("top_p").and_then(values::float_of);
        genai.max_tokens = all.get("max_tokens").and_then(values::int_of);
        if !all.is_empty() {
            self.out.genai.request_parameters = Some(Value::Object(all).to_string());
            self.rules.extend(filled);
        }
    }

    fn finish(mut self) -> Normalised {
        self.finish_reasons_from_messages();
        self.completed_reasons();
        self.previews();
        self.out.payload_keys = self.record.take_payload();
        self.identical_columns();
        self.facts();
        if !self.rules.is_empty() {
            self.out.genai.rules = Some(rules_json(&self.rules));
        }
        self.out
    }

    fn finish_reasons_from_messages(&mut self) {
        if self.out.genai.finish_reasons.is_some() || !is_model_operation(self.out.genai.operation.as_deref()) {
            return;
        }
        let words = std::mem::take(&mut self.gists[Side::Output as usize].finish_reasons);
        let reasons = self.canonical_reasons(words);
        if self.put_json(Column::FinishReasons, reasons.into_iter().map(Value::String).collect()) {
            self.rules.push(("finish_reasons", "general.output_messages".into()));
        }
    }

    /// The Responses API says `completed` whether the model ended its answer or asked for tools: the answer tells.
    fn completed_reasons(&mut self) {
        let Some(reasons) = self.out.genai.finish_reasons.as_mut().filter(|reasons| reasons.contains("\"completed\"")) else {
            return;
        };
        let meant = if self.gists[Side::Output as usize].calls_tool { "\"tool_calls\"" } else { "\"stop\"" };
        // One answer can have several items, each completed.
        *reasons = format!("[{meant}]");
    }

    fn previews(&mut self) {
        let [input, output] = &mut self.gists;
        let genai = &mut self.out.genai;
        let clipped = |text: &Option<String>| text.as_deref().map(|text| messages::clip(text).to_owned());
        genai.input_preview = (input.preview.take())
            .or_else(|| clipped(&genai.retrieval_query))
            .or_else(|| clipped(&genai.input_value))
            .or_else(|| clipped(&genai.tool_arguments));
        genai.output_preview =
            (output.preview.take()).or_else(|| clipped(&genai.output_value)).or_else(|| clipped(&genai.tool_result));
    }

    /// Which payload attributes are, to the letter, the text of a canonical column.
    fn identical_columns(&mut self) {
        let genai = &self.out.genai;
        let columns: [(&'static str, &Option<String>); 10] = [
            ("input_messages", &genai.input_messages),
            ("output_messages", &genai.output_messages),
            ("system_instructions", &genai.system_instructions),
            ("tool_definitions", &genai.tool_definitions),
            ("tool_arguments", &genai.tool_arguments),
            ("tool_result", &genai.tool_result),
            ("input_value", &genai.input_value),
            ("output_value", &genai.output_value),
            ("retrieval_query", &genai.retrieval_query),
            ("retrieval_documents", &genai.retrieval_documents),
        ];
        for index in &self.out.payload_keys {
            let Some(text) = self.record.attributes[*index].text() else { continue };
            let same = columns.iter().find(|(_, column)| column.as_deref() == Some(text));
            self.out.same_as_column.extend(same.map(|(name, _)| (*index, *name)));
        }
    }

    fn facts(&mut self) {
        let log_message = self.log_message();
        let is_log = self.record.span.is_none();
        let genai = &self.out.genai;
        let has_usage = genai.input_tokens.is_some() || genai.output_tokens.is_some();
        let is_model_call = match genai.operation.as_deref() {
            // Rerankers and text completions also run in process: only what a provider answered is a call.
            Some("rerank") => has_usage || genai.response_id.is_some() || genai.provider.is_some(),
            operation => is_model_operation(operation),
        };
        // A call is what a provider answered or failed: the wish alone is not one.
        let was_answered = has_usage
            || genai.response_id.is_some()
            || genai.response_model.is_some()
            || genai.finish_reasons.is_some()
            || genai.output_messages.is_some()
            || genai.time_to_first_token_ns.is_some()
            || (genai.operation.as_deref() == Some("embeddings") && genai.embedding_dimensions.is_some())
            || genai.error_type.is_some()
            || self.record.is_error();
        self.out.facts = CallFacts {
            is_call: is_model_call
                && was_answered
                && !self.around
                && !self.out.facts.repeats_parent
                && log_message.is_none()
                && (!is_log || self.by_event),
            has_usage,
            response_id: genai.response_id.clone(),
            has_messages: self.gists.iter().any(|gist| gist.any),
            native: self.dialects.iter().any(|dialect| dialect.native),
            repeats_parent: self.out.facts.repeats_parent,
            log_message,
        };
    }

    /// What a log record says about the span it was written in.
    fn log_message(&mut self) -> Option<LogMessage> {
        let name = self.record.event_name?;
        if self.record.span.is_some() {
            return None;
        }
        if self.dialects.iter().any(|dialect| dialect.details_events.iter().any(|known| known == name)) {
            let [input, output] = std::mem::take(&mut self.messages);
            let (system, tools) = (std::mem::take(&mut self.system), std::mem::take(&mut self.tools));
            return Some(LogMessage { input, output, system, tools, complete: true, ..LogMessage::default() });
        }
        let number = |key: &str| {
            let attribute = self.record.attributes.iter().find(|attribute| attribute.key == key)?;
            values::int_of(&values::json_of_ref(attribute.value.as_ref()?))
        };
        self.dialects.iter().find_map(|dialect| self.record.log_message(dialect)).map(|(input, output, system)| LogMessage {
            input,
            output,
            system,
            index: number("gen_ai.message.index"),
            choice_index: self.record.choice_index(),
            ..LogMessage::default()
        })
    }
}

/// Column → rule as a JSON object; of a column filled twice the last rule stands.
fn rules_json(rules: &[(&'static str, Arc<str>)]) -> String {
    let mut out = String::with_capacity(64 * rules.len());
    out.push('{');
    for (index, (column, rule)) in rules.iter().enumerate() {
        if rules[index + 1..].iter().any(|(later, _)| later == column) {
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        out.push('"');
        out.push_str(column);
        out.push_str("\":");
        if rule.bytes().any(|b| b == b'"' || b == b'\\' || b < b' ') {
            out.push_str(&Value::String(rule.to_string()).to_string());
        } else {
            out.push('"');
            out.push_str(rule);
            out.push('"');
        }
    }
    out.push('}');
    out
}

/// Whether a model does this.
fn is_model_operation(operation: Option<&str>) -> bool {
    matches!(operation, Some("chat" | "text_completion" | "embeddings" | "rerank"))
}

/// The canonical word for `word`, of which only the letters count.
fn lookup<'t>(table: &'t HashMap<String, String>, word: &str) -> Option<&'t str> {
    table.get(&word.to_ascii_lowercase()).map(String::as_str)
}

/// `value`, or what its text holds.
fn structured(value: &Value) -> Value {
    match value {
        Value::String(text) => values::parse_structure(text).unwrap_or_else(|| value.clone()),
        other => other.clone(),
    }
}

/// Values of an object of JSON scalars, each without its quotes.
fn without_quotes(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object
                .iter()
                .map(|(key, found)| {
                    let inner = match found {
                        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| found.clone()),
                        other => other.clone(),
                    };
                    (key.clone(), inner)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.clone(), |text| Value::String(values::unquoted(text))))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn labels(value: &Value, commas: bool) -> Vec<String> {
    let of_list = |items: &[Value]| items.iter().filter_map(values::text_of).filter(|word| !word.is_empty()).collect();
    match value {
        Value::Array(items) => of_list(items),
        Value::String(text) if commas => {
            text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
        Value::String(text) => match values::parse_structure(text) {
            Some(Value::Array(items)) => of_list(&items),
            Some(Value::String(word)) => vec![word],
            _ if text.is_empty() => Vec::new(),
            _ => vec![text.clone()],
        },
        Value::Null | Value::Object(_) => Vec::new(),
        other => vec![other.to_string()],
    }
}

/// Tool arguments and results as JSON: structures to the letter, text as a JSON string. A quoted text that holds a structure is
/// taken out of its quotes.
fn document_text(column: Column, value: &Value) -> Option<String> {
    let unwrapped = match value {
        Value::String(text) => match values::parse_json(text) {
            Some(Value::String(inner)) => {
                return document_text(column, &Value::String(inner));
            }
            Some(structure) => {
                let inner = unwrapped_document(column, &structure);
                return match inner {
                    Some(inner) => document_text(column, &inner),
                    None => Some(text.clone()),
                };
            }
            None if text.is_empty() => return None,
            None => return Some(Value::String(text.clone()).to_string()),
        },
        Value::Null => return None,
        other => unwrapped_document(column, other),
    };
    match unwrapped {
        Some(inner) => document_text(column, &inner),
        None => Some(value.to_string()),
    }
}

/// What stands inside the wrappings that frameworks put around arguments and results.
fn unwrapped_document(column: Column, value: &Value) -> Option<Value> {
    let object = value.as_object()?;
    if column == Column::ToolArguments {
        // A Python call recorded as `{"args": [], "kwargs": {}}`.
        if let (Some(Value::Array(args)), Some(Value::Object(kwargs))) = (object.get("args"), object.get("kwargs"))
            && object.len() == 2
        {
            return match (args.as_slice(), kwargs.is_empty()) {
                ([], _) => Some(Value::Object(kwargs.clone())),
                ([only @ Value::Object(_)], true) => Some(only.clone()),
                _ => None,
            };
        }
        return None;
    }
    // A LangChain tool message, plain or serialised.
    let message = object.get("kwargs").and_then(Value::as_object).unwrap_or(object);
    let is_tool_message = message.get("type").and_then(Value::as_str) == Some("tool") || message.contains_key("tool_call_id");
    if is_tool_message && let Some(content) = message.get("content") {
        return Some(content.clone());
    }
    None
}

fn money_of(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    text.parse().ok().or_else(|| Decimal::from_scientific(&text).ok()).filter(|money: &Decimal| !money.is_sign_negative())
}

/// Numbers and flags that an SDK wrote as text.
fn parameter_of_text(text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(inner @ (Value::Number(_) | Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) | Value::String(_))) => {
            inner
        }
        Err(_) => Value::String(text),
    }
}

fn same_number(known: &Value, value: &Value) -> bool {
    match (values::float_of(known), values::float_of(value)) {
        #[expect(clippy::float_cmp, reason = "defaults are written as they are")]
        (Some(known), Some(value)) => known == value,
        _ => known == value,
    }
}

#[cfg(test)]
mod tests;
