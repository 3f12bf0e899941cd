//! [`Accounts`]: one store of two kinds, and the migrations of both.
//!
//! The rules (`saved`, `notes`) are written once, over [`Transaction`]; what differs is here and in `sqlite` and `postgres`. SQLite lets one
//! transaction at a time in; on Postgres writers of a project wait for one another, so that a rule which looks before it writes holds there too.

use std::path::Path;

use assay_schemas::ids::ProjectId;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::{
    error::{AccountsError, OpenAccountsError},
    metrics::Counters,
    postgres::{Postgres, PostgresConfig},
    sqlite::Sqlite,
    transaction::Transaction,
};

/// Forward only: a migration that was released is never edited, the next one mends it; their number is the version of a database.
///
/// They are for both stores, and add only: while nodes over one Postgres are replaced one by one, those of before work on over the tables of
/// those of after. On Postgres each `TEXT` compares by bytes, as it does in SQLite, whatever the database's collation.
pub(crate) const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_saved_and_notes.sql")];

/// The relational store of a node. Cheap to clone; all clones are the same store.
#[derive(Clone, Debug)]
pub struct Accounts {
    store: Store,
    pub(crate) counters: Counters,
}

#[derive(Clone, Debug)]
enum Store {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Accounts {
    /// Opens the SQLite database at `path`, making it and its tables where they are missing. Blocks for a moment: for the start of a server.
    ///
    /// # Errors
    /// [`OpenAccountsError`] if the file is no database, cannot be written, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, OpenAccountsError> {
        Ok(Self { store: Store::Sqlite(Sqlite::open(path)?), counters: Counters::default() })
    }

    /// Opens a Postgres database, making its tables where they are missing. One that does not answer is no error: it is tried again in the
    /// background, and until it is there, calls end at once with [`AccountsError::Unavailable`]. Takes some seconds if it does not answer.
    ///
    /// # Errors
    /// [`OpenAccountsError::Newer`] if a newer version wrote it.
    pub async fn connect(config: PostgresConfig) -> Result<Self, OpenAccountsError> {
        Ok(Self { store: Store::Postgres(Postgres::open(config).await?), counters: Counters::default() })
    }

    /// Whether calls can be served now, as far as is known.
    pub(crate) fn is_available(&self) -> bool {
        match &self.store {
            Store::Sqlite(_) => true,
            Store::Postgres(postgres) => postgres.is_available(),
        }
    }

    /// Runs `work`, which changes nothing.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Transaction) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        let done = match &self.store {
            Store::Sqlite(sqlite) => sqlite.transaction(work).await,
            Store::Postgres(postgres) => postgres.transaction(None, work).await,
        };
        self.counters.counted(done)
    }

    /// Runs `work`, which changes rows of `project` and is alone in that.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        project: &ProjectId,
        work: impl FnOnce(&mut dyn Transaction) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        let done = match &self.store {
            Store::Sqlite(sqlite) => sqlite.transaction(work).await,
            Store::Postgres(postgres) => postgres.transaction(Some(project), work).await,
        };
        self.counters.counted(done)
    }
}

/// A time as it is stored.
pub(crate) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// `now`, but always later than `before`.
pub(crate) fn later_than(before: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    time(now.timestamp_micros()).max(before + TimeDelta::microseconds(1))
}

/// `id`, if anything can be called so: identifiers are UUIDs, and not every other text is one that a store can look for.
pub(crate) fn checked_id(id: &str, not_found: impl FnOnce(&str) -> AccountsError) -> Result<String, AccountsError> {
    if Uuid::try_parse(id).is_ok() { Ok(id.to_owned()) } else { Err(not_found(id)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewNote, notes::tests::TRACE};

    #[tokio::test]
    async fn what_was_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assay.db");
        let project = ProjectId::default_project();
        let accounts = Accounts::open(&path).unwrap();
        let note = NewNote { trace_id: TRACE.to_owned(), span_id: None, text: "slow".to_owned() };
        let note = accounts.add_note(&project, note, Utc::now()).await.unwrap();
        drop(accounts);
        let again = Accounts::open(&path).unwrap();
        assert_eq!(again.notes(&project, TRACE).await.unwrap(), [note]);
    }
}
