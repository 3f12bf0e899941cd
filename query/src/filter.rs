//! The filter language: `service:api model:gpt-4o|claude* (cost:>0.01 OR has:error) -tool:search "refund policy"`.
//!
//! A filter is a condition on one span; a trace, session or user is listed if one of its spans matches. `docs/search.md` is for its users.
//! ```text
//! filter  = any                            nothing at all lets everything through
//! any     = all { "OR" all }
//! all     = term { ["AND"] term }          side by side: all of them
//! term    = ("-" | "NOT ") term | "(" any ")" | "has:" thing {"|" thing} | key ":" value {"|" value} | text
//! value   = [">" | ">=" | "<" | "<=" | "="] number | number ".." number | pattern
//! pattern = bare text, where * stands for any text, and "quoted" text, where nothing does; \" and \\ inside
//! key     = one of `keys::KEYS` | ("attr." | "span." | "resource." | "metadata.") attribute key
//! ```
//! Reading brings every filter into one normal form, so that filters which are written differently and mean the same by the rules of
//! [`normal`] print the same. [`Filter::sql`] is a predicate over columns of `spans` (and of the views `steps` and `llm_calls`); values are
//! quoted, never spliced. [`from_sql`] is its inverse: `from_sql(filter.sql()) == filter` for every filter, which a test checks.

mod from_sql;
mod keys;
mod normal;
mod parse;
mod print;
mod sql;

use rust_decimal::Decimal;

pub use self::{
    from_sql::{NoTokenError, Search, from_sql},
    keys::KeyType,
};
pub(crate) use self::{
    keys::{KEYS, Key, KeyKind},
    sql::{attribute, quoted},
};

/// What a list is limited to, in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    root: Node,
}

impl Default for Filter {
    fn default() -> Self {
        Self { root: Node::All(Vec::new()) }
    }
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

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`ParseFilterError`] with the place and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, ParseFilterError> {
        parse::parse(text).map(Self::new)
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root == Node::All(Vec::new())
    }

    /// The predicate, to be put behind `WHERE` or between `AND`s; `None` if everything passes.
    #[must_use]
    pub fn sql(&self) -> Option<String> {
        (!self.is_empty()).then(|| sql::predicate(&self.root))
    }

    /// The filter without its conditions on `target` that everything else does not depend on: for the values that could stand there.
    pub(crate) fn without(&self, target: &Target) -> Self {
        let speaks_of = |node: &Node| match node {
            Node::Not(inner) => matches!(inner.as_ref(), Node::Term(term) if term.target() == Some(target)),
            Node::Term(term) => term.target() == Some(target),
            Node::All(_) | Node::Any(_) => false,
        };
        match &self.root {
            Node::All(terms) => Self::new(Node::All(terms.iter().filter(|node| !speaks_of(node)).cloned().collect())),
            other if speaks_of(other) => Self::default(),
            _ => self.clone(),
        }
    }

    fn new(node: Node) -> Self {
        Self { root: normal::normal(node) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    /// Matches where the inner one does not; "unknown" is "does not match".
    Not(Box<Node>),
    Term(Term),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    /// Name, preview or error message contains it, whatever its case.
    Text(Pattern),
    /// The span has a value there.
    Has(Target),
    /// One of the tests holds.
    Tests(Target, Vec<Test>),
    /// One column contains it, whatever its case. Only SQL can say so; four of them are a [`Term::Text`].
    Contains(&'static str, Pattern),
}

impl Term {
    fn target(&self) -> Option<&Target> {
        match self {
            Self::Has(target) | Self::Tests(target, _) => Some(target),
            Self::Text(_) | Self::Contains(..) => None,
        }
    }
}

/// What a condition is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Key(&'static Key),
    Json(Place, String),
}

impl Target {
    /// The target that `name` stands for: a key, an alias, or an attribute.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if let Some(key) = keys::find(name) {
            return Some(Self::Key(key));
        }
        let (place, key) = name.split_once('.')?;
        let place = Place::ALL.into_iter().find(|p| p.name() == place)?;
        (!key.is_empty()).then(|| Self::Json(place, key.to_owned()))
    }
}

/// Where an attribute is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the span, else on its resource.
    Either,
    Span,
    Resource,
    Metadata,
}

impl Place {
    pub(crate) const ALL: [Self; 4] = [Self::Either, Self::Span, Self::Resource, Self::Metadata];

    /// What stands before the dot.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Either => "attr",
            Self::Span => "span",
            Self::Resource => "resource",
            Self::Metadata => "metadata",
        }
    }

    /// Columns, the first that has the key counts.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Either => &["attributes", "resource_attributes"],
            Self::Span => &["attributes"],
            Self::Resource => &["resource_attributes"],
            Self::Metadata => &["metadata"],
        }
    }
}

/// Columns in which free text is looked for.
const TEXT_COLUMNS: [&str; 4] = ["name", "input_preview", "output_preview", "error_message"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Matches(Pattern),
    Compare(Op, Decimal),
    /// Both ends included.
    Between(Decimal, Decimal),
    Flag(bool),
}

/// Literal texts with any text between them. One text alone is matched exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    parts: Vec<String>,
}

impl Pattern {
    fn exact(text: impl Into<String>) -> Self {
        Self { parts: vec![text.into()] }
    }

    fn as_exact(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [text] => Some(text),
            _ => None,
        }
    }

    fn map(&self, change: impl Fn(&str) -> String) -> Self {
        Self { parts: self.parts.iter().map(|part| change(part)).collect() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
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

    /// The operator with its sides exchanged.
    fn mirrored(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
        }
    }

    /// What holds when this does not, of two numbers that are known.
    fn negated(self) -> Option<Self> {
        match self {
            Self::Equal => None,
            Self::Greater => Some(Self::LessEqual),
            Self::GreaterEqual => Some(Self::Less),
            Self::Less => Some(Self::GreaterEqual),
            Self::LessEqual => Some(Self::Greater),
        }
    }
}

#[cfg(test)]
mod tests;
