//! Corrections become values of their rows: mutations that set the corrected columns, then the corrections are removed.
//!
//! Until the second step is done, reads apply the corrections as before, to old values and to new ones alike: applying one twice changes
//! nothing, and so does a fold that is cut off and begun anew.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use arrow::datatypes::DataType;
use assay_schemas::{
    clickhouse::{identifier, text},
    ids::ProjectId,
    table::{Column, Money},
    tables::TableId,
};
use serde_json::Value;

use super::{ClickHouse, ClickHouseError, Settings, Turn};
use crate::corrections::{Correction, RowKey, RowKeys, money_of, patchable, row_key_columns, text_of};

/// Rows corrected by one mutation, which rewrites the columns of every part that has one of them.
const ROWS_AT_ONCE: usize = 2000;
/// A mutation of large parts takes its time.
const MUTATION_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// A statement names all rows that it corrects, and their new values.
const STATEMENT_BYTES_MAX: &str = "1000000000";

/// The corrections of one row, the oldest first.
type RowCorrections<'a> = (RowKey, Vec<&'a Correction>);

impl ClickHouse {
    /// Sets the values that `corrections` of `project` say in rows that are `visible`, and removes them; as long as this node has its `turn`, if it is one
    /// of several. Returns of which rows this is done: others wait for theirs.
    pub(crate) async fn fold(
        &self,
        project: &ProjectId,
        corrections: &[Arc<Correction>],
        visible: &str,
        turn: Option<&Turn>,
    ) -> Result<HashSet<RowKey>, ClickHouseError> {
        let mut by_row: HashMap<RowKey, Vec<&Correction>> = HashMap::new();
        for correction in corrections {
            by_row.entry(RowKey::of(correction)).or_default().push(correction);
        }
        let mut rows: Vec<RowCorrections<'_>> = by_row.into_iter().collect();
        rows.iter_mut().for_each(|(_, corrections)| corrections.sort_by_key(|c| c.order(self.role.is_shared())));
        let mut done = HashSet::new();
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let found = self.found(project, rows, visible).await?;
            let rows: Vec<&RowCorrections<'_>> = rows.iter().filter(|(key, _)| found.contains(key)).collect();
            if rows.is_empty() {
                continue;
            }
            for table in [TableId::Spans, TableId::CostLines, TableId::Logs] {
                let assignments = assignments(table, &rows);
                if !assignments.is_empty() {
                    let condition = condition(table, project, rows.iter().map(|(key, _)| key), visible);
                    let update = format!("UPDATE {} WHERE {condition}", assignments.join(", "));
                    if !self.mutate(table, &update, turn).await? {
                        return Ok(done);
                    }
                }
            }
            for delete in deletions(project, &rows) {
                if !self.mutate(TableId::SpanCorrections, &delete, turn).await? {
                    return Ok(done);
                }
            }
            done.extend(rows.iter().map(|(key, _)| key.clone()));
        }
        Ok(done)
    }

    /// Which of `rows` are there.
    async fn found(
        &self,
        project: &ProjectId,
        rows: &[RowCorrections<'_>],
        visible: &str,
    ) -> Result<HashSet<RowKey>, ClickHouseError> {
        let mut found = HashSet::new();
        for table in [TableId::Spans, TableId::Logs] {
            let keys: Vec<&RowKey> = rows.iter().map(|(key, _)| key).filter(|key| key.is_of(table)).collect();
            if keys.is_empty() {
                continue;
            }
            let columns: Vec<_> = row_key_columns(table).iter().map(|name| identifier(name)).collect();
            let condition = condition(table, project, keys.into_iter(), visible);
            let sql = format!("SELECT DISTINCT {} FROM {} WHERE {condition}", columns.join(", "), self.name(table));
            for batch in self.client.rows_with(&sql, statement_settings()).await? {
                found.extend(RowKeys::of(table, &batch).expect("the columns asked for").iter());
            }
        }
        Ok(found)
    }

    /// `false` if it is not this `turn` any more: nothing is done, another node may know of later corrections.
    async fn mutate(&self, table: TableId, change: &str, turn: Option<&Turn>) -> Result<bool, ClickHouseError> {
        if turn.is_some() && self.turn().await?.as_ref() != turn {
            tracing::info!(table = table.name(), "another node may fold corrections by now; this one leaves the rest to it");
            return Ok(false);
        }
        let sql = format!("ALTER TABLE {}{} {change}", self.ddl.local(table.name()), self.ddl.on_cluster());
        let mut settings = statement_settings();
        // The answer comes when all rows are changed, on all replicas.
        settings.push(("mutations_sync", if self.ddl.cluster.is_some() { "2" } else { "1" }.to_owned()));
        self.client.execute_once(&sql, settings, MUTATION_TIMEOUT).await?;
        Ok(true)
    }
}

fn statement_settings() -> Settings {
    vec![("max_query_size", STATEMENT_BYTES_MAX.to_owned()), ("max_ast_elements", "1000000".to_owned())]
}

/// What removes the corrections of `rows`. Of one row the oldest comes first, in a statement before that of the next: a node that reads them between two
/// must not find an old one without the newer one that takes its place.
fn deletions(project: &ProjectId, rows: &[&RowCorrections<'_>]) -> Vec<String> {
    let most = rows.iter().map(|(_, corrections)| corrections.len()).max().unwrap_or(0);
    let name = |key: &RowKey, c: &Correction| format!("({}, {}, {})", text(&key.text()), c.position, c.received_at_us());
    let nth = |nth: usize| {
        let names = rows.iter().filter_map(|(key, corrections)| Some(name(key, corrections.get(nth)?)));
        format!(
            "DELETE WHERE project_id = {} AND (concat(trace_id, ifNull(log_id, span_id)), wal_position, toUnixTimestamp64Micro(received_at)) IN ({})",
            text(project.as_str()),
            names.collect::<Vec<_>>().join(", ")
        )
    };
    (0..most).map(nth).collect()
}

/// Of `keys`, what can be in `table`.
fn condition<'a>(table: TableId, project: &ProjectId, keys: impl Iterator<Item = &'a RowKey>, visible: &str) -> String {
    let keys: Vec<&RowKey> = keys.filter(|key| key.is_of(table)).collect();
    let list = |value: &dyn Fn(&RowKey) -> String| {
        let mut values: Vec<_> = keys.iter().map(|key| text(&value(key))).collect();
        values.sort_unstable();
        values.dedup();
        values.join(", ")
    };
    // Both columns have an index of their own; together they are looked at as one text.
    let [_, id] = row_key_columns(table) else { unreachable!("a row has a trace and an identifier") };
    format!(
        "project_id = {} AND {visible} AND {} IN ({}) AND {} IN ({})",
        text(project.as_str()),
        identifier(id),
        list(&|key| key.id().to_owned()),
        key_text(table),
        list(&RowKey::text)
    )
}

/// What [`RowKey::text`] is in SQL; never NULL.
fn key_text(table: TableId) -> String {
    let [trace_id, id] = row_key_columns(table) else { unreachable!("a row has a trace and an identifier") };
    format!("concat(ifNull({}, ''), ifNull({}, ''))", identifier(trace_id), identifier(id))
}

/// `column = value` for each column of `table` that `rows` correct.
fn assignments(table: TableId, rows: &[&RowCorrections<'_>]) -> Vec<String> {
    let mut values: BTreeMap<&str, Vec<(&RowKey, &Value)>> = BTreeMap::new();
    for (key, corrections) in rows.iter().filter(|(key, _)| key.is_of(table)) {
        for column in patchable(table) {
            if let Some(value) = corrections.iter().rev().find_map(|correction| correction.value(column)) {
                values.entry(column).or_default().push((key, value));
            }
        }
    }
    let of_table = |name: &str| table.columns().iter().find(|column| column.name == name).expect("a correctable column");
    values.into_iter().map(|(name, values)| assignment(table, of_table(name), &values)).collect()
}

fn assignment(table: TableId, column: &Column, values: &[(&RowKey, &Value)]) -> String {
    let name = identifier(column.name);
    let keys: Vec<_> = values.iter().map(|(key, _)| text(&key.text())).collect();
    let numbers: Vec<_> = (1..=values.len()).map(|nth| nth.to_string()).collect();
    let literals: Vec<_> = values.iter().map(|(_, value)| literal(&column.data_type, value)).collect();
    let plain = match &column.data_type {
        DataType::Boolean => "Bool".to_owned(),
        DataType::Decimal128(precision, scale) => format!("Decimal({precision}, {scale})"),
        _ => "String".to_owned(),
    };
    let element = if column.nullable { format!("Nullable({plain})") } else { plain };
    // Which of the values is this row's; 0 if it has none.
    let nth = format!("transform({}, [{}], [{}], 0)", key_text(table), keys.join(", "), numbers.join(", "));
    let value = format!("CAST([{}], 'Array({element})')[greatest({nth}, 1)]", literals.join(", "));
    format!("{name} = if({nth} = 0, {name}, {value})")
}

/// As the corrections that reads apply have it.
fn literal(data_type: &DataType, value: &Value) -> String {
    let known = match data_type {
        DataType::Boolean => return if value.as_bool().unwrap_or(false) { "1" } else { "0" }.to_owned(),
        DataType::Decimal128(..) => money_of(value).map(|money| Money::from_stored(Money::to_stored(money)).to_string()),
        _ => text_of(value),
    };
    known.map_or_else(|| "NULL".to_owned(), |known| text(&known))
}

#[cfg(test)]
mod tests {
    use assay_schemas::{table::Row as _, tables::CorrectionRow};

    use super::*;

    fn correction(position: i64, span: &str, patch: &str) -> Arc<Correction> {
        let mut row = CorrectionRow {
            trace_id: "t".to_owned(),
            span_id: span.to_owned(),
            patch: patch.to_owned(),
            ..CorrectionRow::default()
        };
        row.origin.project_id = "p".into();
        row.origin.wal_position = position;
        Correction::read(&CorrectionRow::batch([row]), 0).remove(0)
    }

    #[test]
    fn the_last_value_of_each_column_is_set() {
        let corrections = [
            correction(1, "a", r#"{"counted": true, "session_id": "it's"}"#),
            correction(2, "a", r#"{"counted": false, "cost_usd": "0.10"}"#),
            correction(3, "b", r#"{"cost_usd": null}"#),
        ];
        let rows = [
            (RowKey::of(&corrections[0]), vec![corrections[0].as_ref(), corrections[1].as_ref()]),
            (RowKey::of(&corrections[2]), vec![corrections[2].as_ref()]),
        ];
        let rows: Vec<_> = rows.iter().collect();
        insta::assert_snapshot!(assignments(TableId::Spans, &rows).join("\n"), @r#"
        `cost_usd` = if(transform(concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')), ['ta', 'tb'], [1, 2], 0) = 0, `cost_usd`, CAST(['0.1', NULL], 'Array(Nullable(Decimal(28, 15)))')[greatest(transform(concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')), ['ta', 'tb'], [1, 2], 0), 1)])
        `counted` = if(transform(concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')), ['ta'], [1], 0) = 0, `counted`, CAST([0], 'Array(Bool)')[greatest(transform(concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')), ['ta'], [1], 0), 1)])
        `session_id` = if(transform(concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')), ['ta'], [1], 0) = 0, `session_id`, CAST(['it\'s'], 'Array(Nullable(String))')[greatest(transform(concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')), ['ta'], [1], 0), 1)])
        "#);
        insta::assert_snapshot!(assignments(TableId::CostLines, &rows).join("\n"), @"`counted` = if(transform(concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')), ['ta'], [1], 0) = 0, `counted`, CAST([0], 'Array(Bool)')[greatest(transform(concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')), ['ta'], [1], 0), 1)])");
        assert!(assignments(TableId::Logs, &rows).is_empty());
        insta::assert_snapshot!(deletions(&ProjectId::new("p").unwrap(), &rows).join("\n"), @r"
        DELETE WHERE project_id = 'p' AND (concat(trace_id, ifNull(log_id, span_id)), wal_position, toUnixTimestamp64Micro(received_at)) IN (('ta', 1, 0), ('tb', 3, 0))
        DELETE WHERE project_id = 'p' AND (concat(trace_id, ifNull(log_id, span_id)), wal_position, toUnixTimestamp64Micro(received_at)) IN (('ta', 2, 0))
        ");
        let project = ProjectId::new("p").unwrap();
        insta::assert_snapshot!(condition(TableId::Spans, &project, rows.iter().map(|(key, _)| key), "wal_position <= 9"), @"project_id = 'p' AND wal_position <= 9 AND `span_id` IN ('a', 'b') AND concat(ifNull(`trace_id`, ''), ifNull(`span_id`, '')) IN ('ta', 'tb')");
    }
}
