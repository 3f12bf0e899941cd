//! [`Accounts`]: the database file, its settings and its migrations.
//!
//! One process uses the file (the data folder is locked by `storage`), and people click: one connection serves them, on a thread where
//! it may block. SQL is kept to what Postgres understands too, and the connection never leaves the crate.

use std::{path::Path, sync::Arc};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::{AccountsError, OpenAccountsError, failed};

/// Forward only: a migration that was released is never edited, the next one mends it. The version of the file counts them.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_saved_and_notes.sql")];

/// The relational store of a node. Cheap to clone; all clones are the same store.
#[derive(Clone, Debug)]
pub struct Accounts {
    connection: Arc<Mutex<Connection>>,
}

impl Accounts {
    /// Opens the database at `path`, making it and its tables where they are missing. Blocks for a moment: for the start of a server.
    ///
    /// # Errors
    /// [`OpenAccountsError`] if the file is no database, cannot be written, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, OpenAccountsError> {
        let failed = |source| OpenAccountsError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        // What was answered must survive a power cut; writes are few.
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        migrate(&mut connection, path)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` in a transaction, which is committed if it succeeds.
    pub(crate) async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed("begin"))?;
            let done = work(&transaction)?;
            transaction.commit().map_err(failed("commit"))?;
            Ok(done)
        });
        match done.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is being shut down: nobody waits for the answer.
            Err(_) => std::future::pending().await,
        }
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenAccountsError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("migrations are few");
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| OpenAccountsError::Open { path: path.to_owned(), source })?;
    if found > known {
        return Err(OpenAccountsError::Newer { path: path.to_owned(), found, expected: known });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let failed = |source| OpenAccountsError::Migrate { path: path.to_owned(), version, source };
        // The version changes with the tables, or not at all.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        transaction.execute_batch(sql).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

/// A time as it is stored.
pub(crate) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewNote, notes::tests::TRACE};

    #[tokio::test]
    async fn what_was_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assay.db");
        let project = assay_schemas::ids::ProjectId::default_project();
        let accounts = Accounts::open(&path).unwrap();
        let note = NewNote { trace_id: TRACE.to_owned(), span_id: None, text: "slow".to_owned() };
        let note = accounts.add_note(&project, note, Utc::now()).await.unwrap();
        drop(accounts);
        let again = Accounts::open(&path).unwrap();
        assert_eq!(again.notes(&project, TRACE).await.unwrap(), [note]);
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assay.db");
        drop(Accounts::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9999).unwrap();
        assert!(matches!(Accounts::open(&path), Err(OpenAccountsError::Newer { found: 9999, .. })));
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assay.db");
        std::fs::write(&path, "this is a text file, not a database, and long enough to tell".repeat(20)).unwrap();
        assert!(matches!(Accounts::open(&path), Err(OpenAccountsError::Open { .. })));
    }
}
