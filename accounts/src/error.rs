//! Why something was not kept, changed or found.

use std::{error::Error, path::PathBuf};

use chrono::{DateTime, Utc};

use crate::transaction::SqlError;

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenAccountsError {
    /// SQLite does not take the file.
    #[error("could not open the database `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Its tables cannot be brought to the form that this version needs.
    #[error("could not migrate the database `{}` to version `{version}`", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// The form it was to have.
        version: i64,
        /// Why.
        source: rusqlite::Error,
    },
    /// A newer Assay wrote it.
    #[error(transparent)]
    Newer(NewerDatabase),
}

/// The tables of a database are of a version that this Assay does not know.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the database `{database}` is of version `{found}`: expected at most `{expected}`, a newer Assay wrote it")]
pub struct NewerDatabase {
    /// The file, or address and name.
    pub database: String,
    /// Its version.
    pub found: i64,
    /// What this Assay knows.
    pub expected: i64,
}

/// A request to the store failed. All but the last two are for the caller to mend.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// A field is not what it must be.
    #[error("`{field}` cannot be kept: found {found}, expected {expected}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// There is no such thing in the project.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// `note`, `saved item`.
        what: &'static str,
        /// The identifier asked for.
        id: String,
    },
    /// The name is taken.
    #[error("there is a {kind} called `{name}`")]
    NameTaken {
        /// `view` or `query`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Someone else changed it since the caller read it.
    #[error("it was changed at `{}`", updated_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))]
    Changed {
        /// When.
        updated_at: DateTime<Utc>,
    },
    /// As many as may be.
    #[error("there are `{limit}` {what} already, which is the limit")]
    Full {
        /// `views of the project`, `notes on the trace`.
        what: &'static str,
        /// How many may be.
        limit: i64,
    },
    /// The store cannot be used now: try again.
    #[error("the relational store cannot be used now: {reason}")]
    Unavailable {
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed.
    #[error("could not {action}")]
    Database {
        /// What we were doing.
        action: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Maps a failure of the store to "could not `action`", or to its being away.
pub(crate) fn failed(action: &'static str) -> impl FnOnce(SqlError) -> AccountsError {
    move |error| match error {
        SqlError::Unavailable(reason) => AccountsError::Unavailable { reason },
        SqlError::Other(source) => AccountsError::Database { action, source },
        duplicate @ SqlError::Duplicate => AccountsError::Database { action, source: Box::new(duplicate) },
    }
}
