//! [`Connections`]: a few connections to Postgres, and whether it is there at all.
//!
//! ```text
//!             keeper, every second                       a connection is lost
//!   away ───────────────────────────────► available ──────────────────────────► away
//!   (calls end at once, with the reason)  (calls take a connection, or make one)
//! ```
//!
//! Postgres may be away at any time, also at the start: telemetry does not pass here, so nothing but saved items and notes waits for it. Only the
//! keeper brings it back, so that calls never queue before a server that does not answer. Each connection that lives is either resting or
//! held by a call with a permit, so there are never more than permits.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{info, warn};

use super::{
    BEGIN, CALL_TIMEOUT, PostgresConfig,
    migrate::{MigrateError, migrate},
    statements::{in_time, sql_error},
};
use crate::{error::NewerDatabase, transaction::SqlError};

/// How long tables may take to be brought to the form of this version, other nodes that do so included.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection that has rested answers within this time, or is taken for dead.
const RESTED_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Firewalls forget connections that rest for longer than some minutes.
const REST_MAX: Duration = Duration::from_secs(60);
/// How often the keeper looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY_WHILE_AWAY: Duration = Duration::from_secs(1);
/// The SQLSTATE `too_many_connections`.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// The connections of a node to one database.
#[derive(Debug)]
pub(super) struct Connections {
    config: PostgresConfig,
    state: watch::Sender<State>,
    /// The keeper need not wait for its time: a connection was lost.
    lost: Notify,
    permits: Arc<Semaphore>,
    resting: Mutex<Vec<Resting>>,
}

#[derive(Clone, Debug)]
enum State {
    Available,
    /// Nobody knows yet.
    Unknown,
    Away(NotReady),
}

/// Why the database cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Newer(NewerDatabase),
    /// It gives no more connections; those there are work.
    #[error("{0}")]
    Full(String),
    /// It cannot be reached, or does not let us do what we must.
    #[error("{0}")]
    Away(String),
}

/// A connection that nobody uses.
#[derive(Debug)]
struct Resting {
    connection: PgConnection,
    since: Instant,
}

/// A connection in a transaction. Dropped, it is closed, and the transaction was not.
pub(super) struct Lease {
    pub(super) connection: PgConnection,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(config: PostgresConfig) -> Self {
        let permits = Arc::new(Semaphore::new(config.connections_max.get()));
        Self { config, state: watch::Sender::new(State::Unknown), lost: Notify::new(), permits, resting: Mutex::default() }
    }

    /// Waits until the keeper has looked, or for `at_most`.
    ///
    /// # Errors
    /// If a newer Assay wrote the database. That it is away is no error.
    pub(super) async fn first_look(&self, at_most: Duration) -> Result<(), NewerDatabase> {
        let mut state = self.state.subscribe();
        let found = timeout(at_most, state.wait_for(|state| !matches!(state, State::Unknown))).await;
        if let Ok(Ok(found)) = found
            && let State::Away(NotReady::Newer(newer)) = &*found
        {
            return Err(newer.clone());
        }
        Ok(())
    }

    pub(super) fn is_available(&self) -> bool {
        matches!(*self.state.borrow(), State::Available)
    }

    /// A connection in a new transaction.
    pub(super) async fn begin(&self, deadline: Instant) -> Result<Lease, SqlError> {
        match &*self.state.borrow() {
            State::Available => {}
            State::Unknown => return Err(SqlError::Unavailable(format!("`{}` did not answer yet", self.config.url))),
            State::Away(reason) => return Err(SqlError::Unavailable(reason.to_string())),
        }
        let Ok(permit) = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await else {
            let n = self.config.connections_max;
            return Err(SqlError::Unavailable(format!("all `{n}` connections to `{}` are in use", self.config.url)));
        };
        let permit = permit.expect("it is never closed");
        if let Some(connection) = self.rested().await {
            return Ok(Lease { connection, _permit: permit });
        }
        match self.connect_and_begin(deadline).await {
            Ok(connection) => Ok(Lease { connection, _permit: permit }),
            Err(not_ready) => {
                let reason = not_ready.to_string();
                if !matches!(not_ready, NotReady::Full(_)) {
                    self.set(State::Away(not_ready));
                }
                Err(SqlError::Unavailable(reason))
            }
        }
    }

    /// Keeps the connection of a transaction that has ended.
    pub(super) fn rest(&self, lease: Lease) {
        let Lease { connection, _permit } = lease;
        self.resting.lock().push(Resting { connection, since: Instant::now() });
    }

    /// A connection that rested, in a new transaction, if there is one that lives.
    async fn rested(&self) -> Option<PgConnection> {
        let Resting { mut connection, .. } = {
            let mut resting = self.resting.lock();
            resting.retain(|resting| resting.since.elapsed() < REST_MAX);
            resting.pop()?
        };
        let begun = timeout(RESTED_ANSWER_TIMEOUT, sqlx::raw_sql(BEGIN).execute(&mut connection)).await;
        if matches!(begun, Ok(Ok(_))) {
            return Some(connection);
        }
        // A server that ended or moved took the others with it.
        self.resting.lock().clear();
        None
    }

    async fn connect_and_begin(&self, deadline: Instant) -> Result<PgConnection, NotReady> {
        let mut connection = self.connect(deadline).await?;
        let begun = in_time(deadline, sqlx::raw_sql(BEGIN).execute(&mut connection)).await;
        begun.map_err(|error| NotReady::Away(self.not_connected(&error)))?;
        Ok(connection)
    }

    async fn connect(&self, deadline: Instant) -> Result<PgConnection, NotReady> {
        let password = match &self.config.password_file {
            None => None,
            Some(path) => {
                let unread = |error| NotReady::Away(format!("could not read the password in `{}`: {error}", path.display()));
                Some(tokio::fs::read_to_string(path).await.map_err(unread)?)
            }
        };
        let options = self.config.url.options(password.as_deref().map(str::trim));
        let Ok(connected) = timeout_at(deadline, options.connect()).await else {
            return Err(NotReady::Away(format!("`{}` did not answer within {CALL_TIMEOUT:?}", self.config.url)));
        };
        connected.map_err(|error| {
            let code = error.as_database_error().and_then(|error| error.code());
            let is_full = code.is_some_and(|code| code == TOO_MANY_CONNECTIONS);
            let reason = self.not_connected(&sql_error(error));
            if is_full { NotReady::Full(reason) } else { NotReady::Away(reason) }
        })
    }

    fn not_connected(&self, error: &SqlError) -> String {
        format!("could not connect to `{}`: {error}", self.config.url)
    }

    /// Changes the state, and says so if it is news.
    fn set(&self, new: State) {
        let database = &self.config.url;
        let old = self.state.send_replace(new.clone());
        match (old, new) {
            (State::Available, State::Available) | (_, State::Unknown) => {}
            (_, State::Available) => info!(%database, "the relational store is available"),
            (State::Away(before), State::Away(reason)) if before.to_string() == reason.to_string() => {}
            (_, State::Away(reason)) => {
                warn!(%database, %reason, "the relational store is away: saved items and notes are answered 503, nothing else waits for it");
                self.resting.lock().clear();
                self.lost.notify_one();
            }
        }
    }

    /// Whether the database is as it was, if it was available, and whether it is back if it was not.
    async fn look(&self) {
        if !self.is_available() {
            let found = self.make_ready().await;
            return self.set(found.map_or_else(State::Away, |()| State::Available));
        }
        let deadline = Instant::now() + CALL_TIMEOUT;
        // What it finds, it says.
        if let Ok(mut lease) = self.begin(deadline).await
            && in_time(deadline, sqlx::raw_sql("ROLLBACK").execute(&mut lease.connection)).await.is_ok()
        {
            self.rest(lease);
        }
    }

    /// Connects, and brings the tables to the form of this version.
    async fn make_ready(&self) -> Result<(), NotReady> {
        let mut connection = self.connect(Instant::now() + CALL_TIMEOUT).await?;
        let database = &self.config.url;
        let Ok(migrated) = timeout(MIGRATE_TIMEOUT, migrate(&mut connection)).await else {
            return Err(NotReady::Away(format!("could not prepare the tables of `{database}` within {MIGRATE_TIMEOUT:?}")));
        };
        match migrated {
            Ok(()) => {
                self.resting.lock().push(Resting { connection, since: Instant::now() });
                Ok(())
            }
            Err(MigrateError::Newer { found, expected }) => {
                Err(NotReady::Newer(NewerDatabase { database: database.to_string(), found, expected }))
            }
            Err(MigrateError::Encoding(found)) => {
                Err(NotReady::Away(format!("the encoding of `{database}` is `{found}`: expected `UTF8`")))
            }
            Err(MigrateError::Sql(error)) => {
                Err(NotReady::Away(format!("could not prepare the tables of `{database}`: {}", sql_error(error))))
            }
        }
    }
}

/// The keeper: looks at once, and from time to time for as long as it runs. It cannot fail: what it finds is the state.
pub(super) async fn keep(connections: Arc<Connections>) {
    loop {
        connections.look().await;
        if connections.is_available() {
            // Either way it is time to look.
            let _ = timeout(LOOK_EVERY, connections.lost.notified()).await;
        }
        if !connections.is_available() {
            sleep(LOOK_EVERY_WHILE_AWAY).await;
        }
    }
}
