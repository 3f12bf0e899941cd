//! Mapping files made ready: names resolved, attribute keys numbered, so that a span costs one hash look-up per attribute.

use std::{collections::HashMap, sync::Arc};

use assay_schemas::dialects::{Dialect, DialectError, Part, Rule, RuleTable, TokenConvention, When};
use serde_json::Value;

use super::{
    columns::{Column, Kind},
    describe,
};

/// A set of dialects, one bit each, in the order of [`Mapping::dialects`].
pub(super) type DialectSet = u64;

/// Forms that a rule can name; see `RuleTable::form`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Seconds,
    Milliseconds,
    Nanoseconds,
    Time,
    JsonScalar,
    Commas,
    Events,
    Distinct,
}

impl Form {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("seconds", Self::Seconds),
        ("milliseconds", Self::Milliseconds),
        ("nanoseconds", Self::Nanoseconds),
        ("time", Self::Time),
        ("json_scalar", Self::JsonScalar),
        ("commas", Self::Commas),
        ("events", Self::Events),
        ("distinct", Self::Distinct),
    ];
}

/// Which messages of a span's message events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventMessages {
    Input,
    Output,
    System,
}

/// Where a rule looks.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Key(u16),
    Prefix(u16),
    FlatPrefix(u16),
    Resource(String),
    SpanName,
    ScopeName,
    StatusMessage,
    Body,
    Event { name: String, key: Option<String> },
    MessageEvents(EventMessages),
    Value(Value),
}

/// Text with an optional `*` at either end.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    text: String,
    open_start: bool,
    open_end: bool,
}

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        let (open_start, text) = text.strip_prefix('*').map_or((false, text), |rest| (true, rest));
        let (open_end, text) = text.strip_suffix('*').map_or((false, text), |rest| (true, rest));
        Self { text: text.to_owned(), open_start, open_end }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match (self.open_start, self.open_end) {
            (false, false) => text == self.text,
            (false, true) => text.starts_with(&self.text),
            (true, false) => text.ends_with(&self.text),
            (true, true) => text.contains(&self.text),
        }
    }
}

fn globs(texts: &[String]) -> Vec<Glob> {
    texts.iter().map(|text| Glob::new(text)).collect()
}

#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) operation: Vec<String>,
    pub(super) operation_not: Vec<String>,
    pub(super) provider: Vec<String>,
    pub(super) present: Vec<u16>,
    pub(super) absent: Vec<u16>,
    pub(super) key: Option<u16>,
    pub(super) is: Vec<Glob>,
    pub(super) is_not: Vec<Glob>,
    pub(super) span_name: Vec<Glob>,
    pub(super) span_event: Vec<String>,
    pub(super) event: Vec<Glob>,
    pub(super) scope: Vec<Glob>,
    pub(super) scope_not: Vec<Glob>,
    pub(super) error: Option<bool>,
}

/// A rule, ready.
#[derive(Debug)]
pub(super) struct Ready {
    /// `dialect.rule`.
    pub(super) name: Arc<str>,
    /// Where it looks, in words.
    pub(super) label: String,
    /// What it does and when, in words.
    pub(super) doc: Option<String>,
    pub(super) source: Source,
    pub(super) path: Vec<String>,
    pub(super) form: Option<Form>,
    pub(super) alias: Option<Arc<HashMap<String, String>>>,
    pub(super) alias_only: bool,
    pub(super) zero_is_unknown: bool,
    pub(super) around: bool,
    pub(super) cache: Option<Part>,
    pub(super) reasoning: Option<Part>,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) without: Vec<Glob>,
    pub(super) when: Option<Condition>,
}

/// A dialect, ready.
#[derive(Debug)]
pub(super) struct ReadyDialect {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) always: bool,
    pub(super) native: bool,
    /// By [`Column`], in its order.
    pub(super) columns: Vec<Vec<Ready>>,
    pub(super) parameters: Vec<(String, Vec<Ready>)>,
    pub(super) invented: HashMap<String, Value>,
    pub(super) tokens: Vec<TokenConvention>,
    pub(super) message_events: HashMap<String, String>,
    pub(super) choice_events: Vec<String>,
    pub(super) details_events: Vec<String>,
    pub(super) evaluation_events: Vec<String>,
    pub(super) repeated_events: Vec<String>,
}

/// Hashes attribute keys: FNV-1a, eight bytes at a time. The keys in the table come from mapping files, so nobody can crowd it.
pub(super) type KeyHasher = std::hash::BuildHasherDefault<Fnv>;

/// See [`KeyHasher`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.0 = mix(self.0, u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        for byte in chunks.remainder() {
            self.0 = mix(self.0, u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        // The table takes the upper and the lower bits.
        self.0 ^ (self.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// What is known about an attribute key or prefix.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyInfo {
    pub(super) id: u16,
    pub(super) detects: DialectSet,
    pub(super) payload: bool,
}

/// A prefix of attribute keys.
#[derive(Debug)]
pub(super) struct Prefix {
    pub(super) text: String,
    pub(super) info: KeyInfo,
}

/// All dialects, ready for records.
#[derive(Debug)]
pub(super) struct Mapping {
    /// In order of precedence.
    pub(super) dialects: Vec<ReadyDialect>,
    pub(super) keys: HashMap<String, KeyInfo, KeyHasher>,
    pub(super) prefixes: Vec<Prefix>,
    /// By first byte: the prefixes that begin with it.
    pub(super) prefixes_by_byte: Vec<Vec<u16>>,
    pub(super) scopes: Vec<(Glob, DialectSet)>,
    pub(super) span_events: HashMap<String, DialectSet>,
    pub(super) log_events: Vec<(Glob, DialectSet)>,
    pub(super) resource: Vec<(String, String, DialectSet)>,
    pub(super) always: DialectSet,
    /// Canonical words that every rule for these columns goes through.
    pub(super) operations: Arc<HashMap<String, String>>,
    pub(super) providers: Arc<HashMap<String, String>>,
    pub(super) finish_reasons: Arc<HashMap<String, String>>,
    pub(super) parameter_names: Arc<HashMap<String, String>>,
    /// Beginnings of model names that only one provider uses → provider.
    pub(super) model_families: Vec<(String, String)>,
}

/// Makes `dialects` ready. `file_of` names the file of a dialect in errors.
///
/// # Errors
/// The first name that means nothing: column, form, alias table, event kind; or a rule without exactly one source.
pub(super) fn compile(mut dialects: Vec<(String, Dialect)>) -> Result<Mapping, DialectError> {
    dialects.sort_by_key(|(_, dialect)| (dialect.always, dialect.precedence));
    if let Some((file, dialect)) = dialects.get(DialectSet::BITS as usize) {
        return Err(DialectError {
            file: file.clone(),
            place: None,
            found: format!("`{}` as one dialect too many", dialect.dialect),
            expected: format!("at most {} dialects", DialectSet::BITS),
        });
    }
    let shared: HashMap<String, Arc<HashMap<String, String>>> =
        dialects.iter().filter(|(_, dialect)| dialect.always).flat_map(|(_, dialect)| alias_tables(dialect)).collect();
    let mut names = Names::default();
    let mut mapping = Mapping {
        dialects: Vec::new(),
        keys: HashMap::default(),
        prefixes: Vec::new(),
        prefixes_by_byte: vec![Vec::new(); 256],
        scopes: Vec::new(),
        span_events: HashMap::new(),
        log_events: Vec::new(),
        resource: Vec::new(),
        always: 0,
        operations: shared.get("operations").cloned().unwrap_or_default(),
        providers: shared.get("providers").cloned().unwrap_or_default(),
        finish_reasons: shared.get("finish_reasons").cloned().unwrap_or_default(),
        parameter_names: shared.get("parameter_names").cloned().unwrap_or_default(),
        model_families: Vec::new(),
    };
    for (index, (file, dialect)) in dialects.iter().enumerate() {
        let bit: DialectSet = 1 << index;
        if dialect.always {
            mapping.always |= bit;
            if let Some(families) = dialect.aliases.get("model_families") {
                mapping.model_families.extend(families.iter().map(|(start, provider)| (start.clone(), provider.clone())));
            }
        }
        let detect = &dialect.detect;
        for key in &detect.keys {
            names.key(key).detects |= bit;
        }
        for prefix in &detect.prefixes {
            names.prefix(prefix).detects |= bit;
        }
        for key in &dialect.payload {
            match key.strip_suffix('*') {
                Some(prefix) => names.prefix(prefix).payload = true,
                None => names.key(key).payload = true,
            }
        }
        mapping.scopes.extend(globs(&detect.scopes).into_iter().map(|glob| (glob, bit)));
        for event in &detect.span_events {
            *mapping.span_events.entry(event.clone()).or_default() |= bit;
        }
        mapping.log_events.extend(globs(&detect.log_events).into_iter().map(|glob| (glob, bit)));
        mapping.resource.extend(detect.resource.iter().map(|(key, value)| (key.clone(), value.clone(), bit)));

        let compiler = Compiler { file, dialect, aliases: alias_tables(dialect).collect(), shared: &shared };
        mapping.dialects.push(compiler.dialect(&mut names)?);
    }
    (mapping.keys, mapping.prefixes) = (names.keys, names.prefixes);
    // The longest prefix that fits is the one meant.
    mapping.prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.text.len()));
    for (index, prefix) in (0_u16..).zip(&mapping.prefixes) {
        if let Some(byte) = prefix.text.bytes().next() {
            mapping.prefixes_by_byte[usize::from(byte)].push(index);
        }
    }
    Ok(mapping)
}

fn alias_tables(dialect: &Dialect) -> impl Iterator<Item = (String, Arc<HashMap<String, String>>)> {
    dialect.aliases.iter().map(|(name, table)| {
        let table = table.iter().map(|(found, canonical)| (found.to_ascii_lowercase(), canonical.clone())).collect();
        (name.clone(), Arc::new(table))
    })
}

/// Numbers keys and prefixes as rules mention them. Keys and prefixes are numbered apart.
#[derive(Default)]
struct Names {
    keys: HashMap<String, KeyInfo, KeyHasher>,
    prefixes: Vec<Prefix>,
}

impl Names {
    fn key(&mut self, key: &str) -> &mut KeyInfo {
        let id = u16::try_from(self.keys.len()).expect("mapping files name far fewer than 65536 keys");
        self.keys.entry(key.to_owned()).or_insert(KeyInfo { id, ..KeyInfo::default() })
    }

    fn prefix(&mut self, text: &str) -> &mut KeyInfo {
        let found = self.prefixes.iter().position(|prefix| prefix.text == text);
        let index = found.unwrap_or_else(|| {
            let id = u16::try_from(self.prefixes.len()).expect("mapping files name far fewer than 65536 prefixes");
            self.prefixes.push(Prefix { text: text.to_owned(), info: KeyInfo { id, ..KeyInfo::default() } });
            self.prefixes.len() - 1
        });
        &mut self.prefixes[index].info
    }
}

struct Compiler<'a> {
    file: &'a str,
    dialect: &'a Dialect,
    aliases: HashMap<String, Arc<HashMap<String, String>>>,
    shared: &'a HashMap<String, Arc<HashMap<String, String>>>,
}

impl Compiler<'_> {
    fn error(&self, place: String, found: &str, expected: impl Into<String>) -> DialectError {
        DialectError { file: self.file.to_owned(), place: Some(place), found: format!("`{found}`"), expected: expected.into() }
    }

    fn dialect(&self, names: &mut Names) -> Result<ReadyDialect, DialectError> {
        let dialect = self.dialect;
        let mut columns: Vec<Vec<Ready>> = Column::ALL.iter().map(|_| Vec::new()).collect();
        for (name, rules) in &dialect.columns {
            let Some(column) = Column::from_name(name) else {
                let known: Vec<&str> = Column::ALL.iter().map(|column| column.name()).collect();
                return Err(self.error("table `columns`".to_owned(), name, format!("one of `{}`", known.join("`, `"))));
            };
            for (index, rule) in rules.iter().enumerate() {
                let place = format!("table `columns`, key `{name}`, rule {}", index + 1);
                columns[column as usize].push(self.rule(rule, &place, column.is_payload(), Some(column), names)?);
            }
        }
        let mut parameters = Vec::new();
        for (name, rules) in &dialect.parameters {
            let mut ready = Vec::new();
            for (index, rule) in rules.iter().enumerate() {
                let place = format!("table `parameters`, key `{name}`, rule {}", index + 1);
                ready.push(self.rule(rule, &place, false, None, names)?);
            }
            parameters.push((name.clone(), ready));
        }
        let invented = dialect.invented.clone().into_iter().collect();
        let events = &dialect.events;
        Ok(ReadyDialect {
            name: dialect.dialect.clone(),
            title: dialect.title.clone(),
            always: dialect.always,
            native: dialect.native,
            columns,
            parameters,
            invented,
            tokens: dialect.tokens.clone(),
            message_events: events.messages.clone().into_iter().collect(),
            choice_events: events.choices.clone(),
            details_events: events.details.clone(),
            evaluation_events: events.evaluations.clone(),
            repeated_events: events.repeated.clone(),
        })
    }

    fn rule(
        &self,
        Rule(rule): &Rule,
        place: &str,
        payload: bool,
        column: Option<Column>,
        names: &mut Names,
    ) -> Result<Ready, DialectError> {
        let (source, label) = self.source(rule, place, payload, names)?;
        let form = match &rule.form {
            None => None,
            Some(name) => match Form::NAMES.iter().find(|(known, _)| known == name) {
                Some((_, form)) => Some(*form),
                None => {
                    let known: Vec<&str> = Form::NAMES.iter().map(|(known, _)| *known).collect();
                    return Err(self.error(format!("{place}, key `form`"), name, format!("one of `{}`", known.join("`, `"))));
                }
            },
        };
        if column.is_some_and(|column| column.kind() == Kind::Nanoseconds)
            && !matches!(form, Some(Form::Seconds | Form::Milliseconds | Form::Nanoseconds | Form::Time))
            && !matches!(source, Source::Event { key: None, .. })
        {
            let expected = "`seconds`, `milliseconds`, `nanoseconds` or `time`";
            return Err(self.error(format!("{place}, key `form`"), rule.form.as_deref().unwrap_or("nothing"), expected));
        }
        let alias = match &rule.alias {
            None => None,
            Some(name) => match self.aliases.get(name).or_else(|| self.shared.get(name)) {
                Some(table) => Some(Arc::clone(table)),
                None => {
                    let known: Vec<&str> = self.aliases.keys().chain(self.shared.keys()).map(String::as_str).collect();
                    let expected = format!("a table of `aliases`: one of `{}`", known.join("`, `"));
                    return Err(self.error(format!("{place}, key `alias`"), name, expected));
                }
            },
        };
        let label = match &rule.path {
            Some(path) => format!("{label}#{path}"),
            None => label,
        };
        Ok(Ready {
            name: format!("{}.{}", self.dialect.dialect, rule.rule.as_deref().unwrap_or(&label)).into(),
            label,
            doc: describe::doc(rule),
            source,
            path: rule.path.as_deref().map(|path| path.split('.').map(str::to_owned).collect()).unwrap_or_default(),
            form,
            alias,
            alias_only: rule.alias_only,
            zero_is_unknown: rule.zero_is_unknown,
            around: rule.around,
            cache: rule.cache,
            reasoning: rule.reasoning,
            before: rule.before.clone(),
            after: rule.after.clone(),
            without: globs(&rule.without),
            when: self.condition(&rule.when, names),
        })
    }

    fn source(&self, rule: &RuleTable, place: &str, payload: bool, names: &mut Names) -> Result<(Source, String), DialectError> {
        let mut found: Vec<(Source, String)> = Vec::new();
        if let Some(event) = &rule.event {
            let label = rule.key.as_ref().map_or_else(|| event.clone(), |key| format!("{event}/{key}"));
            found.push((Source::Event { name: event.clone(), key: rule.key.clone() }, label));
        } else if let Some(key) = &rule.key {
            let info = names.key(key);
            info.payload |= payload;
            found.push((Source::Key(info.id), key.clone()));
        }
        if let Some(prefix) = &rule.prefix {
            let info = names.prefix(prefix);
            info.payload |= payload;
            found.push((Source::Prefix(info.id), format!("{prefix}*")));
        }
        if let Some(prefix) = &rule.flat_prefix {
            found.push((Source::FlatPrefix(names.prefix(prefix).id), format!("{prefix}*")));
        }
        if let Some(key) = &rule.resource {
            found.push((Source::Resource(key.clone()), format!("resource/{key}")));
        }
        if rule.span_name {
            found.push((Source::SpanName, "span_name".to_owned()));
        }
        if rule.scope_name {
            found.push((Source::ScopeName, "scope_name".to_owned()));
        }
        if rule.status_message {
            found.push((Source::StatusMessage, "status_message".to_owned()));
        }
        if rule.body {
            found.push((Source::Body, "body".to_owned()));
        }
        if let Some(which) = &rule.message_events {
            let messages = match which.as_str() {
                "input" => EventMessages::Input,
                "output" => EventMessages::Output,
                "system" => EventMessages::System,
                other => {
                    return Err(self.error(format!("{place}, key `message_events`"), other, "`input`, `output` or `system`"));
                }
            };
            found.push((Source::MessageEvents(messages), format!("events/{which}")));
        }
        if let Some(value) = &rule.value {
            found.push((Source::Value(value.clone()), "value".to_owned()));
        }
        if found.len() == 1
            && let Some(one) = found.pop()
        {
            return Ok(one);
        }
        let sources: Vec<&str> = found.iter().map(|(_, label)| label.as_str()).collect();
        Err(self.error(
            place.to_owned(),
            &if sources.is_empty() { "no source".to_owned() } else { sources.join("` and `") },
            "exactly one of `key`, `prefix`, `flat_prefix`, `resource`, `span_name`, `scope_name`, `status_message`, `body`, `event`, `message_events`, `value`",
        ))
    }

    fn condition(&self, when: &When, names: &mut Names) -> Option<Condition> {
        let condition = Condition {
            operation: when.operation.clone(),
            operation_not: when.operation_not.clone(),
            provider: when.provider.clone(),
            present: when.present.iter().map(|key| names.key(key).id).collect(),
            absent: when.absent.iter().map(|key| names.key(key).id).collect(),
            key: when.key.as_ref().map(|key| names.key(key).id),
            is: globs(&when.is),
            is_not: globs(&when.is_not),
            span_name: globs(&when.span_name),
            span_event: when.span_event.clone(),
            event: globs(&when.event),
            scope: globs(&when.scope),
            scope_not: globs(&when.scope_not),
            error: when.error,
        };
        let Condition {
            operation,
            operation_not,
            provider,
            present,
            absent,
            key,
            is: _,
            is_not: _,
            span_name,
            span_event,
            event,
            scope,
            scope_not,
            error,
        } = &condition;
        let empty = operation.is_empty()
            && operation_not.is_empty()
            && provider.is_empty()
            && present.is_empty()
            && absent.is_empty()
            && key.is_none()
            && span_name.is_empty()
            && span_event.is_empty()
            && event.is_empty()
            && scope.is_empty()
            && scope_not.is_empty()
            && error.is_none();
        (!empty).then_some(condition)
    }
}
