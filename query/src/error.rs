//! Why a query was not answered, in words that help: what was found, what was expected, where, and what was probably meant.

use assay_storage::ClickHouseError;
use datafusion::{common::SchemaError, error::DataFusionError};
use serde::Serialize;

/// What the caller should do about it; the HTTP status follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryErrorKind {
    /// The request must be changed: it cannot be understood.
    Invalid,
    /// The request asks for something that is never allowed.
    ReadOnly,
    /// What was asked for is not there.
    NotFound,
    /// It does not fit what is there now: look again, then ask anew.
    Conflict,
    /// It took longer than allowed: ask for less or allow more.
    Timeout,
    /// It needs more memory, rows or bytes than one query may use: ask for less.
    TooLarge,
    /// Too many queries at once: try again.
    Overloaded,
    /// Where the rows are does not answer: try again.
    Unavailable,
    /// Somebody stopped it.
    Cancelled,
    /// Our fault.
    Internal,
}

/// Where in the query text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// A query was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct QueryError {
    /// What to do about it.
    pub kind: QueryErrorKind,
    /// What happened; lower case, no final stop.
    pub detail: String,
    /// What was found.
    pub found: Option<String>,
    /// What was expected.
    pub expected: Option<String>,
    /// What was probably meant, or how to go on.
    pub hint: Option<String>,
    /// Where.
    pub position: Option<Position>,
}

impl QueryError {
    /// An error of `kind` without further detail.
    #[must_use]
    pub fn new(kind: QueryErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), found: None, expected: None, hint: None, position: None }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(QueryErrorKind::Invalid, detail)
    }

    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn at(mut self, position: Option<Position>) -> Self {
        self.position = position;
        self
    }
}

/// What DataFusion says, in our words. `sql` is the text it speaks of, `functions` the names that could have been meant.
pub(crate) fn explain(error: &DataFusionError, sql: &str, functions: &dyn Fn() -> Vec<String>) -> QueryError {
    let mut explained = explain_root(error.find_root(), sql, functions);
    if explained.position.is_none() {
        explained.position =
            error.diagnostic().and_then(|d| d.span).map(|s| Position { line: s.start.line, column: s.start.column });
    }
    if explained.position.is_none()
        && let Some(found) = &explained.found
    {
        explained.position = position_of(sql, found);
    }
    explained
}

fn explain_root(error: &DataFusionError, sql: &str, functions: &dyn Fn() -> Vec<String>) -> QueryError {
    match error {
        DataFusionError::SQL(error, _) => syntax(&error.to_string(), sql),
        DataFusionError::SchemaError(error, _) => schema(error),
        DataFusionError::ResourcesExhausted(text) => QueryError::new(
            QueryErrorKind::TooLarge,
            format!("the query needs more memory than one query may use: {}", first_line(text)),
        )
        .hint("select fewer columns or a shorter time range, or aggregate by fewer groups"),
        DataFusionError::Plan(text) => plan(text, functions),
        DataFusionError::NotImplemented(text) => QueryError::invalid(format!("not supported: {}", lower_first(first_line(text)))),
        DataFusionError::Execution(text) | DataFusionError::Configuration(text) => {
            QueryError::invalid(lower_first(first_line(text)))
        }
        DataFusionError::ArrowError(error, _) => QueryError::invalid(lower_first(first_line(&error.to_string()))),
        other if clickhouse_error(other).is_some() => clickhouse_error(other).map(of_clickhouse).expect("there is one"),
        other if crate::distributed::node_failed(other) => {
            tracing::error!(error = %other, "a node did not do its part of a query");
            QueryError::new(QueryErrorKind::Unavailable, "a node that had a part of the query failed or cannot be reached")
                .hint("ask again: nodes that do not answer are left out")
        }
        other if store_failed(other) => {
            tracing::error!(error = %other, "the store of the lake did not answer a query");
            QueryError::new(QueryErrorKind::Unavailable, "the store of the lake does not answer").hint("try again in a moment")
        }
        other => {
            tracing::error!(error = %other, "query failed");
            QueryError::new(QueryErrorKind::Internal, first_line(&other.to_string()).to_owned())
        }
    }
}

fn clickhouse_error(error: &DataFusionError) -> Option<&ClickHouseError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ClickHouseError>() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// What an error of ClickHouse means for whoever asked: its limits are those of the query, which it was told.
fn of_clickhouse(error: &ClickHouseError) -> QueryError {
    let out_of_time = || {
        QueryError::new(QueryErrorKind::Timeout, "the query did not finish in ClickHouse within its time")
            .hint("ask for a shorter time range, or allow more with `timeout_ms`")
    };
    match error {
        // TIMEOUT_EXCEEDED, TOO_SLOW
        ClickHouseError::Refused { code: Some(159 | 160), .. } => out_of_time(),
        // An answer is waited for as long as the query has time.
        ClickHouseError::Request { source, .. } if source.is_timeout() && !source.is_connect() => out_of_time(),
        // MEMORY_LIMIT_EXCEEDED, TOO_MANY_ROWS, TOO_MANY_BYTES
        ClickHouseError::Refused { code: Some(241 | 158 | 307), .. } => {
            QueryError::new(QueryErrorKind::TooLarge, "the query needs more memory in ClickHouse than one query may use")
                .hint("select fewer columns or a shorter time range, or aggregate by fewer groups")
        }
        error => {
            tracing::error!(error = %error, transient = error.is_transient(), "ClickHouse did not answer a query");
            let kind = if error.is_transient() { QueryErrorKind::Unavailable } else { QueryErrorKind::Internal };
            QueryError::new(kind, "ClickHouse does not answer").hint("try again in a moment")
        }
    }
}

/// Whether a request to the bucket failed. An object that is not there is not that: it is our fault.
fn store_failed(error: &DataFusionError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<object_store::Error>() {
            return matches!(error, object_store::Error::Generic { .. });
        }
        cause = error.source();
    }
    // The reader of Parquet gives some errors as text alone.
    error.to_string().contains("Object Store error: Generic ")
}

fn plan(text: &str, functions: &dyn Fn() -> Vec<String>) -> QueryError {
    if let Some(name) = text.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        let error = QueryError::invalid(format!("no function `{name}`")).found(name).expected("a function of `/api/v1/schema`");
        let candidates = functions();
        return match nearest(name, candidates.iter().map(String::as_str)) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None => error,
        };
    }
    QueryError::invalid(lower_first(first_line(text)))
}

fn schema(error: &SchemaError) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            let error = QueryError::invalid(format!("no column `{}`", field.name)).found(&field.name);
            match nearest(&field.name, names.iter().copied()) {
                Some(meant) => error.hint(format!("did you mean `{meant}`?")),
                None if names.is_empty() => error,
                None => error.expected(format!(
                    "one of {}",
                    names.iter().take(40).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
                )),
            }
        }
        SchemaError::AmbiguousReference { field } => {
            QueryError::invalid(format!("column `{}` is in more than one table", field.name))
                .found(&field.name)
                .hint("write the table before it: `table.column`")
        }
        other => QueryError::invalid(lower_first(first_line(&other.to_string()))),
    }
}

/// `sql parser error: Expected: …, found: … at Line: 1, Column: 8`
pub(crate) fn syntax(text: &str, sql: &str) -> QueryError {
    let text = text.trim_start_matches("sql parser error: ").trim_start_matches("ParserError(\"").trim_end_matches("\")");
    let (message, position) = match text.rsplit_once(" at Line: ") {
        Some((message, place)) => {
            let mut numbers = place.split(", Column: ").map(|n| n.trim().trim_end_matches('.').parse::<u64>());
            let position = match (numbers.next(), numbers.next()) {
                (Some(Ok(line)), Some(Ok(column))) if line > 0 => Some(Position { line, column }),
                _ => None,
            };
            (message, position)
        }
        None => (text, None),
    };
    let error = match message.trim_start_matches("Expected: ").split_once(", found: ") {
        Some((expected, found)) => {
            let found = if found == "EOF" { "the end of the query" } else { found };
            QueryError::invalid(format!("syntax error: expected {expected}, found `{found}`")).found(found).expected(expected)
        }
        None => QueryError::invalid(format!("syntax error: {}", lower_first(message))),
    };
    let end = || Position {
        line: sql.lines().count().max(1) as u64,
        column: sql.lines().last().map_or(1, |line| line.chars().count() as u64 + 1),
    };
    error.at(Some(position.unwrap_or_else(end)))
}

/// The name closest to `wanted`, if one is close enough to have been meant.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let far = wanted.chars().count() / 3 + 1;
    let distance = |name: &str| {
        let name = name.to_lowercase();
        // Half of a compound name is often what people remember: `model` for `request_model`.
        let part = name.split('_').filter(|_| wanted.len() >= 4).map(|part| edits(&wanted, part) + 1).min();
        edits(&wanted, &name).min(part.unwrap_or(usize::MAX))
    };
    names
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(edits, _)| *edits <= far)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Levenshtein distance, a transposition counting as one edit (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// The first whole word `name` of `sql`.
pub(crate) fn position_of(sql: &str, name: &str) -> Option<Position> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start = sql
        .match_indices(name)
        .map(|(at, _)| at)
        .find(|at| !sql[..*at].ends_with(is_word) && !sql[at + name.len()..].starts_with(is_word))?;
    let before = &sql[..start];
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u64 + 1;
    Some(Position { line, column })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("").trim_end_matches('.')
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.as_str().chars().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_is_away_is_not_our_fault_and_a_missing_file_is() {
        let kind = |error: object_store::Error| explain(&DataFusionError::ObjectStore(Box::new(error)), "", &Vec::new).kind;
        let away = object_store::Error::Generic { store: "S3", source: "503 slow down".into() };
        let missing = object_store::Error::NotFound { path: "lake/x".to_owned(), source: "404".into() };
        assert_eq!(kind(away), QueryErrorKind::Unavailable);
        assert_eq!(kind(missing), QueryErrorKind::Internal);
    }

    #[test]
    fn what_clickhouse_refuses_says_what_to_do() {
        let kind = |code, status| {
            let error = ClickHouseError::Refused { url: String::new(), status, code, message: String::new() };
            explain(&DataFusionError::External(Box::new(error)), "", &Vec::new).kind
        };
        assert_eq!(kind(Some(159), 500), QueryErrorKind::Timeout);
        assert_eq!(kind(Some(241), 500), QueryErrorKind::TooLarge);
        assert_eq!(kind(Some(202), 503), QueryErrorKind::Unavailable);
        assert_eq!(kind(None, 502), QueryErrorKind::Unavailable);
        assert_eq!(kind(Some(47), 404), QueryErrorKind::Internal);
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let names = ["input_tokens", "output_tokens", "request_model", "status_code"];
        assert_eq!(nearest("inptu_tokens", names), Some("input_tokens"));
        assert_eq!(nearest("model", names), Some("request_model"));
        assert_eq!(nearest("Status_Code", names), Some("status_code"));
        assert_eq!(nearest("zzz", names), None);
    }

    #[test]
    fn a_syntax_error_keeps_its_place() {
        let error = syntax("sql parser error: Expected: an expression, found: FROM at Line: 2, Column: 1", "SELECT\nFROM x");
        assert_eq!(error.detail, "syntax error: expected an expression, found `FROM`");
        assert_eq!(error.position, Some(Position { line: 2, column: 1 }));
    }

    #[test]
    fn only_a_whole_word_is_a_place() {
        assert_eq!(position_of("select modelx,\n  model from t", "model"), Some(Position { line: 2, column: 3 }));
    }
}
