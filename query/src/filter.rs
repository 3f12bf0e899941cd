//! The filter language of the trace list: `service:api model:gpt-4o|claude* cost:>0.01 -status:error "refund policy"`.
//!
//! Terms are joined by AND; a span matches if all its terms do, a trace is listed if one of its spans matches.
//! ```text
//! filter  = term*                        separated by spaces
//! term    = ["-"] ( key ":" values | "has:" thing | text )
//! values  = [">" | ">=" | "<" | "<="] value { "|" value }      a comparison takes one value
//! value   = bare word, where * stands for any text | "quoted", where nothing does; \" and \\ inside
//! key     = service name model provider operation op status error session user tool agent tag cost tokens input_tokens
//!           output_tokens duration trace span env attr.<attribute key>
//! ```
//! [`Filter::sql`] is a predicate over columns that `spans` has; values are quoted, never spliced. [`Filter`] prints as it is read.

mod parse;

use std::fmt;

/// What the trace list is limited to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

/// The text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseFilterError {
    /// What is wrong.
    pub message: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: Option<String>,
    /// What was probably meant.
    pub hint: Option<String>,
    /// Where, in characters from 1.
    pub column: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    negated: bool,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Name or preview contains it, whatever its case.
    Text(String),
    /// The span has a value there.
    Has(&'static Key),
    HasError,
    /// One of the values.
    Any(Target, Vec<Value>),
    /// A comparison, or equality of a number.
    Compare(Target, Op, Number),
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Key(&'static Key),
    Attribute(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    text: String,
    /// Whether `*` stands for any text.
    wildcard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

/// A number as written, and in the unit of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Number {
    written: String,
    sql: String,
}

/// A key of the language.
#[derive(Debug, PartialEq)]
struct Key {
    name: &'static str,
    aliases: &'static [&'static str],
    kind: KeyKind,
    /// Columns, any of which may match; of a number, the expression.
    columns: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Text,
    /// Text that is stored in capitals.
    Upper,
    /// An element of a JSON array of text.
    Tag,
    Number,
    /// Nanoseconds, written with a unit.
    Duration,
}

const KEYS: &[Key] = &[
    key("service", &["service_name"], KeyKind::Text, &["service_name"]),
    key("name", &[], KeyKind::Text, &["name"]),
    key("model", &[], KeyKind::Text, &["request_model", "response_model"]),
    key("provider", &[], KeyKind::Text, &["provider"]),
    key("operation", &["op"], KeyKind::Text, &["operation"]),
    key("status", &["status_code"], KeyKind::Upper, &["status_code"]),
    key("error", &["error_type"], KeyKind::Text, &["error_type"]),
    key("session", &["session_id"], KeyKind::Text, &["session_id"]),
    key("user", &["user_id"], KeyKind::Text, &["user_id"]),
    key("tool", &["tool_name"], KeyKind::Text, &["tool_name"]),
    key("agent", &["agent_name"], KeyKind::Text, &["agent_name"]),
    key("tag", &["tags"], KeyKind::Tag, &["tags"]),
    key("cost", &["cost_usd"], KeyKind::Number, &["cost_usd"]),
    key("tokens", &[], KeyKind::Number, &["coalesce(input_tokens, 0) + coalesce(output_tokens, 0)"]),
    key("input_tokens", &[], KeyKind::Number, &["input_tokens"]),
    key("output_tokens", &[], KeyKind::Number, &["output_tokens"]),
    key("duration", &[], KeyKind::Duration, &["duration_ns"]),
    key("trace", &["trace_id"], KeyKind::Text, &["trace_id"]),
    key("span", &["span_id"], KeyKind::Text, &["span_id"]),
    key("env", &["environment", "deployment_environment"], KeyKind::Text, &["deployment_environment"]),
];

const fn key(name: &'static str, aliases: &'static [&'static str], kind: KeyKind, columns: &'static [&'static str]) -> Key {
    Key { name, aliases, kind, columns }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`ParseFilterError`] with the place and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, ParseFilterError> {
        parse::parse(text)
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The predicate, to be put behind `WHERE`; `None` if everything passes.
    #[must_use]
    pub fn sql(&self) -> Option<String> {
        let terms: Vec<String> = self.terms.iter().map(Term::sql).collect();
        (!terms.is_empty()).then(|| terms.join(" AND "))
    }
}

impl Term {
    fn sql(&self) -> String {
        let sql = match &self.kind {
            Kind::Text(text) => {
                let pattern = quoted(&format!("%{}%", like_escaped(text)));
                any(["name", "input_preview", "output_preview"].map(|column| format!("{column} ILIKE {pattern}")))
            }
            Kind::HasError => "status_code = 'ERROR'".to_owned(),
            Kind::Has(key) => any(key.columns.iter().map(|column| format!("{column} IS NOT NULL"))),
            Kind::Any(Target::Attribute(name), values) => any(values.iter().map(|v| v.compare(&attribute(name)))),
            Kind::Any(Target::Key(key), values) => {
                any(key.columns.iter().flat_map(|column| values.iter().map(move |value| value.of_column(key.kind, column))))
            }
            Kind::Compare(Target::Attribute(name), op, number) => {
                format!("TRY_CAST({} AS DOUBLE) {} {}", attribute(name), op.sql(), number.sql)
            }
            Kind::Compare(Target::Key(key), op, number) => format!("{} {} {}", key.columns[0], op.sql(), number.sql),
        };
        // NULL is "does not match", so its negation is "matches".
        if self.negated { format!("({sql}) IS NOT TRUE") } else { format!("({sql})") }
    }
}

impl Value {
    fn of_column(&self, kind: KeyKind, column: &str) -> String {
        match kind {
            KeyKind::Upper => Self { text: self.text.to_uppercase(), wildcard: self.wildcard }.compare(column),
            KeyKind::Tag => {
                let json = serde_json::Value::from(self.text.as_str()).to_string();
                let pattern = if self.wildcard { like_pattern(&json) } else { like_escaped(&json) };
                format!("{column} LIKE {}", quoted(&format!("%{pattern}%")))
            }
            KeyKind::Text | KeyKind::Number | KeyKind::Duration => self.compare(column),
        }
    }

    fn compare(&self, column: &str) -> String {
        if self.wildcard {
            format!("{column} LIKE {}", quoted(&like_pattern(&self.text)))
        } else {
            format!("{column} = {}", quoted(&self.text))
        }
    }
}

impl Op {
    fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
        }
    }

    fn written(self) -> &'static str {
        if self == Self::Equal { "" } else { self.sql() }
    }
}

fn attribute(name: &str) -> String {
    let name = quoted(name);
    format!("coalesce(json_as_text(attributes, {name}), json_as_text(resource_attributes, {name}))")
}

fn any(alternatives: impl IntoIterator<Item = String>) -> String {
    alternatives.into_iter().collect::<Vec<_>>().join(" OR ")
}

/// A SQL text literal.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn like_escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn like_pattern(text: &str) -> String {
    like_escaped(text).replace('*', "%")
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, term) in self.terms.iter().enumerate() {
            if idx > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{term}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negated {
            f.write_str("-")?;
        }
        match &self.kind {
            Kind::Text(text) => write_quoted(f, text),
            Kind::HasError => f.write_str("has:error"),
            Kind::Has(key) => write!(f, "has:{}", key.name),
            Kind::Any(target, values) => {
                write!(f, "{target}:")?;
                for (idx, value) in values.iter().enumerate() {
                    if idx > 0 {
                        f.write_str("|")?;
                    }
                    write!(f, "{value}")?;
                }
                Ok(())
            }
            Kind::Compare(target, op, number) => write!(f, "{target}:{}{}", op.written(), number.written),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key.name),
            Self::Attribute(name) if name.contains(|c: char| c.is_whitespace() || c == ':' || c == '"') => {
                f.write_str("attr.")?;
                write_quoted(f, name)
            }
            Self::Attribute(name) => write!(f, "attr.{name}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard || parse::is_bare(&self.text) { f.write_str(&self.text) } else { write_quoted(f, &self.text) }
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
