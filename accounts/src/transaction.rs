//! What the rules on saved items and notes ask of a store: statements of one transaction, the same on SQLite and Postgres.
//!
//! SQL here is what both understand, with parameters written `?1`, `?2`; a transaction does in it what it must, blocking its thread.

use std::error::Error;

/// A transaction that is open. It is the store that ends it: it is committed if the work in it succeeds.
pub(crate) trait Transaction {
    /// The rows of `sql`.
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, SqlError>;

    /// How many rows `sql` changed.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, SqlError>;

    /// The first row of `sql`, if it has one.
    fn row(&mut self, sql: &str, values: &[Value]) -> Result<Option<Row>, SqlError> {
        Ok(self.rows(sql, values)?.into_iter().next())
    }

    /// The one number that `sql` answers.
    fn number(&mut self, sql: &str, values: &[Value]) -> Result<i64, SqlError> {
        let row = self.row(sql, values)?.ok_or_else(|| wrong_column(&"no row", "one"))?;
        let [number] = row.columns()?;
        number.int()
    }
}

/// A value of a parameter or a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text that is missing.
    Null,
    /// SQLite gives it back as 0 or 1.
    Bool(bool),
    /// `BIGINT`.
    Int(i64),
    /// `TEXT`.
    Text(String),
}

/// The values of a row, in the order of the columns.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) Vec<Value>);

/// A statement was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqlError {
    /// There is a row of that key.
    #[error("a unique index has the key already")]
    Duplicate,
    /// The store cannot be used now: away, failing over, or too slow.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else; it is not for the caller to mend.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl SqlError {
    pub(crate) fn other(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }
}

impl Row {
    /// The values, if there are `N`.
    pub(crate) fn columns<const N: usize>(self) -> Result<[Value; N], SqlError> {
        <[Value; N]>::try_from(self.0).map_err(|found| wrong_column(&found, "another number of columns"))
    }
}

impl Value {
    pub(crate) fn text(self) -> Result<String, SqlError> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(wrong_column(&other, "text")),
        }
    }

    pub(crate) fn optional_text(self) -> Result<Option<String>, SqlError> {
        if self == Self::Null { Ok(None) } else { self.text().map(Some) }
    }

    pub(crate) fn int(self) -> Result<i64, SqlError> {
        match self {
            Self::Int(int) => Ok(int),
            other => Err(wrong_column(&other, "a number")),
        }
    }

    pub(crate) fn bool(self) -> Result<bool, SqlError> {
        match self {
            Self::Bool(bool) => Ok(bool),
            Self::Int(int @ (0 | 1)) => Ok(int == 1),
            other => Err(wrong_column(&other, "a truth value")),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::from)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

fn wrong_column(found: &impl std::fmt::Debug, expected: &str) -> SqlError {
    SqlError::Other(format!("found {found:?} in a column, expected {expected}").into())
}
