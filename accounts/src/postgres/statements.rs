//! The statements of a transaction on Postgres, and what its errors mean.
//!
//! The rules run on a thread that may block, because SQLite does; the connection stays with the task that took it, which does what that thread
//! asks for. So a call that is given up ends at once, thread and transaction too.

use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, PgConnection, Row as _, TypeInfo as _,
    postgres::{PgArguments, PgColumn, PgRow},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::CALL_TIMEOUT;
use crate::transaction::{Row, SqlError, Transaction, Value};

/// A transaction, for a thread that may block.
pub(super) struct Statements {
    asks: mpsc::Sender<Ask>,
}

/// A statement that waits for its answer.
pub(super) enum Ask {
    Rows(Statement, oneshot::Sender<Result<Vec<Row>, SqlError>>),
    Execute(Statement, oneshot::Sender<Result<u64, SqlError>>),
}

pub(super) struct Statement {
    sql: String,
    arguments: PgArguments,
}

impl Statements {
    /// The statements of a transaction, and what it asks for, until it is dropped.
    pub(super) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(1);
        (Self { asks }, asked)
    }

    fn ask<T>(
        &self,
        sql: &str,
        values: &[Value],
        ask: impl FnOnce(Statement, oneshot::Sender<Result<T, SqlError>>) -> Ask,
    ) -> Result<T, SqlError> {
        let given_up = || SqlError::Unavailable("the request was given up".to_owned());
        let statement = Statement { sql: numbered(sql), arguments: arguments(values)? };
        let (answer, answered) = oneshot::channel();
        self.asks.blocking_send(ask(statement, answer)).map_err(|_| given_up())?;
        answered.blocking_recv().map_err(|_| given_up())?
    }
}

impl Transaction for Statements {
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        self.ask(sql, values, Ask::Rows)
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, SqlError> {
        self.ask(sql, values, Ask::Execute)
    }
}

impl Ask {
    /// Does on `connection` what is asked for.
    pub(super) async fn answer(self, connection: &mut PgConnection, deadline: Instant) {
        // Who asked may be gone: then nobody waits.
        match self {
            Self::Rows(statement, answer) => {
                let rows = in_time(deadline, statement.query().fetch_all(connection)).await;
                let rows = rows.and_then(|rows| rows.iter().map(read).collect::<Result<_, _>>().map_err(SqlError::other));
                let _ = answer.send(rows);
            }
            Self::Execute(statement, answer) => {
                let done = in_time(deadline, statement.query().execute(connection)).await;
                let _ = answer.send(done.map(|done| done.rows_affected()));
            }
        }
    }
}

impl Statement {
    fn query(self) -> sqlx::query::Query<'static, sqlx::Postgres, PgArguments> {
        sqlx::query_with(AssertSqlSafe(self.sql), self.arguments).persistent(false)
    }
}

/// `sql` with its parameters as Postgres writes them. Its texts hold no question mark.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

fn arguments(values: &[Value]) -> Result<PgArguments, SqlError> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<&str>),
            Value::Bool(bool) => arguments.add(bool),
            Value::Int(int) => arguments.add(int),
            Value::Text(text) => arguments.add(text),
        };
        added.map_err(SqlError::Other)?;
    }
    Ok(arguments)
}

fn read(row: &PgRow) -> Result<Row, sqlx::Error> {
    let value = |(idx, column): (usize, &PgColumn)| {
        let value = match column.type_info().name() {
            "BOOL" => row.try_get::<Option<bool>, _>(idx)?.map(Value::Bool),
            "INT8" => row.try_get::<Option<i64>, _>(idx)?.map(Value::Int),
            _ => row.try_get::<Option<String>, _>(idx)?.map(Value::Text),
        };
        Ok(value.unwrap_or(Value::Null))
    };
    row.columns().iter().enumerate().map(value).collect::<Result<_, _>>().map(Row)
}

/// What `work` answers, or why not, in time.
pub(super) async fn in_time<T>(deadline: Instant, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, SqlError> {
    match timeout_at(deadline, work).await {
        Ok(done) => done.map_err(sql_error),
        Err(_) => Err(SqlError::Unavailable(format!("Postgres did not answer within {CALL_TIMEOUT:?}"))),
    }
}

/// What an error means to a caller.
pub(super) fn sql_error(error: sqlx::Error) -> SqlError {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("23505") => SqlError::Duplicate,
            Some(code) if is_for_the_operator(code) => SqlError::Unavailable(error.message().to_owned()),
            _ => SqlError::Other(error.into_error()),
        },
        sqlx::Error::Io(error) => SqlError::Unavailable(error.to_string()),
        sqlx::Error::Tls(error) => {
            SqlError::Unavailable(format!("the connection is not encrypted as `sslmode` wants it: {error}"))
        }
        sqlx::Error::Protocol(error) => SqlError::Unavailable(error),
        error => SqlError::other(error),
    }
}

/// Whether an error of this SQLSTATE is about the server or its settings, not about the statement: PostgreSQL documentation, appendix A.
fn is_for_the_operator(code: &str) -> bool {
    // Connection, authorisation, no such database, resources, intervention (shutdown, a timeout), the system, its own faults.
    const CLASSES: [&str; 7] = ["08", "28", "3D", "53", "57", "58", "XX"];
    // Read only (a standby), a transaction that rested for too long, no privilege, a lock not given, a deadlock, serialisation.
    const CODES: [&str; 6] = ["25006", "25P03", "42501", "55P03", "40P01", "40001"];
    CLASSES.iter().any(|class| code.starts_with(class)) || CODES.contains(&code)
}
