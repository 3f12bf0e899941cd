//! `assay migrate`: makes the tables in ClickHouse that `assay serve` expects there.

use anyhow::Context as _;
use assay_schemas::clickhouse::VERSION;

use crate::{cli::MigrateArgs, config::Config};

/// # Errors
/// If no ClickHouse is configured, it does not answer, refuses, or a newer version of Assay made its tables.
pub(crate) async fn run(args: &MigrateArgs) -> anyhow::Result<()> {
    let config = Config::read(args.config.as_deref())?;
    config.validate()?;
    let storage = &config.storage;
    let clickhouse =
        storage.clickhouse.store()?.context("found no `storage.clickhouse.url`, expected the address of ClickHouse")?;
    let database = clickhouse.database.clone();
    let found = assay_storage::migrate(clickhouse, storage.retention).await.context("could not migrate ClickHouse")?;
    match found {
        Some(VERSION) => println!("the database `{database}` has version {VERSION}"),
        Some(found) => println!("the database `{database}` went from version {found} to version {VERSION}"),
        None => println!("the database `{database}` was made, version {VERSION}"),
    }
    Ok(())
}
