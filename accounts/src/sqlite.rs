//! The store of a node by itself: a SQLite file.
//!
//! One process uses the file (the data folder is locked by `storage`), and people click: one connection serves them, on a thread where
//! it may block.

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior, params_from_iter, types::ValueRef};

use crate::{
    error::{AccountsError, NewerDatabase, OpenAccountsError, failed},
    store::MIGRATIONS,
    transaction::{Row, SqlError, Transaction, Value},
};

/// A database file.
#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    connection: Arc<Mutex<Connection>>,
}

impl Sqlite {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenAccountsError> {
        let failed = |source| OpenAccountsError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        // What was answered must survive a power cut; writes are few.
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        migrate(&mut connection, path)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` in a transaction, which is committed if it succeeds. No two run at the same time.
    pub(crate) async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Transaction) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            let mut transaction = transaction.map_err(|error| failed("begin")(sql_error(error)))?;
            let done = work(&mut transaction)?;
            transaction.commit().map_err(|error| failed("commit")(sql_error(error)))?;
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
        let database = path.display().to_string();
        return Err(OpenAccountsError::Newer(NewerDatabase { database, found, expected: known }));
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

impl Transaction for rusqlite::Transaction<'_> {
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        let list = || {
            let mut statement = self.prepare(sql)?;
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| read(row, column)).collect::<Result<_, _>>().map(Row);
            statement.query_map(params_from_iter(values), row)?.collect::<Result<_, _>>()
        };
        list().map_err(sql_error)
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, SqlError> {
        rusqlite::Connection::execute(self, sql, params_from_iter(values)).map(|rows| rows as u64).map_err(sql_error)
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Null => rusqlite::types::Null.to_sql(),
            Self::Bool(bool) => bool.to_sql(),
            Self::Int(int) => int.to_sql(),
            Self::Text(text) => text.to_sql(),
        }
    }
}

fn read(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Value> {
    let found = row.get_ref(column)?;
    match found {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(int) => Ok(Value::Int(int)),
        ValueRef::Text(text) => Ok(Value::Text(std::str::from_utf8(text)?.to_owned())),
        other => Err(rusqlite::Error::InvalidColumnType(column, "a column".to_owned(), other.data_type())),
    }
}

fn sql_error(error: rusqlite::Error) -> SqlError {
    if error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE) {
        return SqlError::Duplicate;
    }
    SqlError::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assay.db");
        drop(Sqlite::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9999).unwrap();
        assert!(matches!(Sqlite::open(&path), Err(OpenAccountsError::Newer(NewerDatabase { found: 9999, .. }))));
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assay.db");
        std::fs::write(&path, "this is a text file, not a database, and long enough to tell".repeat(20)).unwrap();
        assert!(matches!(Sqlite::open(&path), Err(OpenAccountsError::Open { .. })));
    }
}
