//! What a start demands of the server and of its tables, before a row is trusted to them.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use assay_schemas::{
    clickhouse::{Ddl, ENGINE_MIN, PROBES, text, type_of},
    tables::TableId,
};

use super::{ClickHouseClient, ClickHouseError, number};
use crate::outside;

/// Checks that the server is not too old.
pub(super) async fn engine(client: &ClickHouseClient) -> Result<(), ClickHouseError> {
    let rows = client.rows("SELECT toString(version())").await?;
    let found =
        rows.iter().find(|batch| batch.num_rows() > 0).map(|batch| batch.column(0).as_string::<i32>().value(0).to_owned());
    let found = found.unwrap_or_default();
    match is_new_enough(&found) {
        true => Ok(()),
        false => Err(ClickHouseError::Engine { url: client.config().url.clone(), found }),
    }
}

/// Of a version that does not begin with two numbers nothing is known: it is a build of one's own.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= ENGINE_MIN,
        _ => true,
    }
}

/// Checks that each table remembers insertions. One that is replicated does by default.
pub(super) async fn memory_of_insertions(client: &ClickHouseClient, ddl: &Ddl) -> Result<(), ClickHouseError> {
    let sql = format!("SELECT name, engine, engine_full FROM system.tables WHERE database = {}", text(&ddl.database));
    let mut found: HashMap<String, String> = HashMap::new();
    for batch in client.rows(&sql).await? {
        let value = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row);
        let window = |row: usize| window(value(2, row), value(1, row).starts_with("Replicated")).to_owned();
        found.extend((0..batch.num_rows()).map(|row| (value(0, row).to_owned(), window(row))));
    }
    for table in ddl.deduplicated() {
        let table = ddl.local_plain(table);
        let found = found.get(&table).map_or("0", String::as_str);
        if found == "0" {
            return Err(ClickHouseError::Forgetful { table, found: found.to_owned() });
        }
    }
    Ok(())
}

/// How many insertions a table remembers, by its engine with settings.
fn window(engine: &str, is_replicated: bool) -> &str {
    const SETTING: &str = "deduplication_window = ";
    let default = if is_replicated { "10000" } else { "0" };
    engine
        .find(SETTING)
        .map_or(default, |at| engine[at + SETTING.len()..].split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
}

/// Proves that an insertion which is sent twice is there once: with the settings and on the way that rows take.
pub(super) async fn an_insertion_sent_twice(client: &ClickHouseClient, ddl: &Ddl) -> Result<(), ClickHouseError> {
    let probe = outside::unique_id().to_string();
    let table = ddl.name(PROBES);
    let schema = Schema::new(vec![Field::new("probe", DataType::Utf8, false)]);
    let rows =
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(StringArray::from_iter_values([probe.as_str()])) as ArrayRef]);
    let rows = rows.expect("one column of one row");
    for _ in 0..2 {
        client.insert(&table, &probe, vec![rows.clone()]).await?;
    }
    let count = format!("SELECT count() FROM {table} WHERE probe = {}", text(&probe));
    // A replica that is asked may not have it yet.
    match number(&client.rows(&count).await?) {
        Some(found) if found > 1 || found == 0 && ddl.cluster.is_none() => Err(ClickHouseError::Doubled { found }),
        _ => Ok(()),
    }
}

/// The indexes that tables have: table, name, type.
pub(super) async fn indexes(client: &ClickHouseClient, ddl: &Ddl) -> Result<Vec<(String, String, String)>, ClickHouseError> {
    let database = text(&ddl.database);
    let sql = format!("SELECT table, name, type_full FROM system.data_skipping_indices WHERE database = {database}");
    let mut found = Vec::new();
    for batch in client.rows(&sql).await? {
        let value = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
        found.extend((0..batch.num_rows()).map(|row| (value(0, row), value(1, row), value(2, row))));
    }
    Ok(found)
}

/// The statement that would make `table` of each node as it is, as the server says it; empty if there is none.
pub(super) async fn made_by(client: &ClickHouseClient, ddl: &Ddl, table: TableId) -> Result<String, ClickHouseError> {
    let sql = format!(
        "SELECT create_table_query FROM system.tables WHERE database = {} AND name = {}",
        text(&ddl.database),
        text(&ddl.local_plain(table.name()))
    );
    let rows = client.rows(&sql).await?;
    let made_by = rows.iter().find(|batch| batch.num_rows() > 0);
    Ok(made_by.map_or_else(String::new, |batch| batch.column(0).as_string::<i32>().value(0).to_owned()))
}

/// Checks that each table has the columns of this version. What it has beside them may be.
pub(super) async fn columns(client: &ClickHouseClient, ddl: &Ddl) -> Result<(), ClickHouseError> {
    let sql = format!("SELECT table, name, type FROM system.columns WHERE database = {}", text(&ddl.database));
    let mut found: HashMap<(String, String), String> = HashMap::new();
    for batch in client.rows(&sql).await? {
        let value = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
        found.extend((0..batch.num_rows()).map(|row| ((value(0, row), value(1, row)), value(2, row))));
    }
    for table in TableId::ALL {
        for column in table.columns() {
            let expected = type_of(column);
            let found = found.get(&(table.name().to_owned(), column.name.to_owned()));
            if found != Some(&expected) {
                let found = found.map_or_else(|| "is missing".to_owned(), |found| format!("has type `{found}`"));
                return Err(ClickHouseError::Column { table: table.name(), column: column.name, found, expected });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_known_by_their_version() {
        for (version, expected) in
            [("24.8.1.2684", true), ("26.9.2.1", true), ("24.7.9.1", false), ("23.12.1.1", false), ("own", true)]
        {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }

    #[test]
    fn what_a_table_remembers_stands_in_its_settings() {
        let engine = "MergeTree ORDER BY a SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192";
        assert_eq!(window(engine, false), "10000");
        assert_eq!(window("MergeTree ORDER BY a SETTINGS index_granularity = 8192", false), "0");
        assert_eq!(window("ReplicatedMergeTree('a', 'b') ORDER BY a", true), "10000");
        assert_eq!(window("ReplicatedMergeTree('a', 'b') ORDER BY a SETTINGS replicated_deduplication_window = 0", true), "0");
    }
}
