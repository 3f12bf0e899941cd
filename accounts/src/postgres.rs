//! The store that several nodes share: a Postgres database.
//!
//! Reading order: [`Postgres`] (a call is a transaction), [`connections`] (a few of them, and what happens while Postgres is away), [`statements`]
//! (what the rules ask), [`migrate`], [`url`]. Connections carry no state of a session (no prepared statements, settings per transaction), so
//! that a pooler may stand before Postgres.

mod connections;
mod migrate;
mod statements;
mod url;

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use assay_schemas::ids::ProjectId;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use self::url::{InvalidPostgresUrl, PostgresUrl};
use self::{
    connections::{Connections, keep},
    statements::{Statements, in_time},
};
use crate::{
    error::{AccountsError, OpenAccountsError, failed},
    transaction::Transaction,
};

/// A call ends within this time. Its statements, by the server, within less, so that the reason is the server's.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A lock is waited for at most 3 s: a node that was cut off with one in its hand has it until the server finds out.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '4s'; SET LOCAL lock_timeout = '3s'; \
                     SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL synchronous_commit = on";
/// Writers of a project wait for one another, as they do in SQLite: a rule may look at rows before it writes others.
const LOCK_PROJECT: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";

/// How to reach a Postgres database.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// Where it is.
    pub url: PostgresUrl,
    /// File that holds the password, read for each connection, so that it can be changed. Without it, `PGPASSWORD`, then `~/.pgpass`.
    pub password_file: Option<PathBuf>,
    /// Connections at the same time; calls wait for one.
    pub connections_max: NonZeroUsize,
}

/// A Postgres database. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    connections: Arc<Connections>,
    _keeper: Arc<AbortOnDropHandle<()>>,
}

impl Postgres {
    /// As [`crate::Accounts::connect`].
    pub(crate) async fn open(config: PostgresConfig) -> Result<Self, OpenAccountsError> {
        let connections = Arc::new(Connections::new(config));
        let keeper = AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&connections))));
        connections.first_look(CALL_TIMEOUT).await.map_err(OpenAccountsError::Newer)?;
        Ok(Self { connections, _keeper: Arc::new(keeper) })
    }

    pub(crate) fn is_available(&self) -> bool {
        self.connections.is_available()
    }

    /// Runs `work` in a transaction, which is committed if it succeeds, alone among those of `writes_of`.
    pub(crate) async fn transaction<T: Send + 'static>(
        &self,
        writes_of: Option<&ProjectId>,
        work: impl FnOnce(&mut dyn Transaction) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut lease = self.connections.begin(deadline).await.map_err(failed("begin"))?;
        if let Some(project) = writes_of {
            let lock = sqlx::query(LOCK_PROJECT).bind(project.as_str()).persistent(false).execute(&mut lease.connection);
            in_time(deadline, lock).await.map_err(failed("lock the project"))?;
        }
        let (mut statements, mut asked) = Statements::new();
        let worked = tokio::task::spawn_blocking(move || work(&mut statements));
        while let Some(ask) = asked.recv().await {
            ask.answer(&mut lease.connection, deadline).await;
        }
        let done = match worked.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is being shut down: nobody waits for the answer.
            Err(_) => std::future::pending().await,
        };
        match done {
            Ok(done) => {
                in_time(deadline, sqlx::raw_sql("COMMIT").execute(&mut lease.connection)).await.map_err(failed("commit"))?;
                self.connections.rest(lease);
                Ok(done)
            }
            // Its connection is not used again: the server may be another one by now, after a failover.
            Err(away @ AccountsError::Unavailable { .. }) => Err(away),
            Err(refused) => {
                if in_time(deadline, sqlx::raw_sql("ROLLBACK").execute(&mut lease.connection)).await.is_ok() {
                    self.connections.rest(lease);
                }
                Err(refused)
            }
        }
    }
}
