//! Brings the tables of a Postgres database to the form that this version needs.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::store::MIGRATIONS;

/// Held while a node looks at the version and changes it, so that nodes which start together do so one after the other. Any fixed number.
const LOCK: i64 = 0x6173_7361_795f_6462;

/// The database cannot be used as it is.
#[derive(Debug)]
pub(super) enum MigrateError {
    /// A newer Assay wrote it.
    Newer { found: i64, expected: i64 },
    /// It keeps no UTF-8.
    Encoding(String),
    /// A statement failed.
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// Applies what the database lacks; all of it or nothing, as tables are part of the transaction here.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateError> {
    let expected = i64::try_from(MIGRATIONS.len()).expect("migrations are few");
    let encoding: String = sqlx::query_scalar("SHOW server_encoding").persistent(false).fetch_one(&mut *connection).await?;
    if encoding != "UTF8" {
        return Err(MigrateError::Encoding(encoding));
    }
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).persistent(false).execute(&mut *transaction).await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS assay_schema (version BIGINT NOT NULL PRIMARY KEY)")
        .execute(&mut *transaction)
        .await?;
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM assay_schema")
        .persistent(false)
        .fetch_one(&mut *transaction)
        .await?;
    if found > expected {
        return Err(MigrateError::Newer { found, expected });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let sql = sql.replace("TEXT", "TEXT COLLATE \"C\"");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO assay_schema (version) VALUES ($1)")
            .bind(version)
            .persistent(false)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
