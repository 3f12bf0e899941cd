//! What is known about one Parquet file of the lake without opening it.

use std::sync::Arc;

use arrow::datatypes::DataType;
use assay_schemas::{
    ids::ProjectId,
    table::{Column, Layout},
    tables::TableId,
};
use chrono::{DateTime, NaiveDate, SecondsFormat};
use object_store::path::Path;
use serde_json::{Map, Value, json};

use super::LAKE;
use crate::trace_index::TraceIndex;

/// Columns whose smallest and largest value are kept per file, where a table has them. Few, because every open file costs their memory.
const STATS_COLUMNS: &[&str] = &[
    "received_at",
    "wal_position",
    "start_time",
    "time",
    "minute",
    "duration_ns",
    "service_name",
    "metric_name",
    "operation",
    "provider",
    "request_model",
    "status_code",
    "severity_number",
    "event_name",
];

/// A committed Parquet file. Its columns are those of the table without `project_id` and `date`, which are the same in all rows.
#[derive(Debug)]
pub struct DataFile {
    /// Path in [`crate::Storage::object_store`].
    pub path: Path,
    /// Bytes on disk.
    pub size: u64,
    /// Rows in it.
    pub rows: u64,
    /// Value of `project_id` in every row.
    pub project: ProjectId,
    /// Value of `date` in every row.
    pub date: NaiveDate,
    /// Smallest `start_time` or `time`, microseconds since 1970; NULLs left out.
    pub time_min: Option<i64>,
    /// Largest of the same column.
    pub time_max: Option<i64>,
    /// Smallest and largest values of some short columns.
    pub stats: Vec<ColumnStats>,
    /// Which rows belong to which trace, for `spans`, `logs` and `cost_lines`.
    pub traces: Option<Arc<TraceIndex>>,
    /// Bytes of its rows in memory, roughly.
    pub(crate) raw_bytes: u64,
    /// Corrections up to this position are folded in.
    pub(crate) corrected_to: u64,
}

impl DataFile {
    /// The file at `path`, of which another node says this much; its statistics and indexes are not known. `None` if `path` is not one of
    /// `table`, the project and the day.
    #[must_use]
    pub fn named(table: TableId, project: ProjectId, date: NaiveDate, path: &str, size: u64, rows: u64) -> Option<Self> {
        let folder = format!("{LAKE}/{}/project_id={project}/date={date}/", table.name());
        path.strip_prefix(&folder).filter(|name| !name.is_empty() && !name.contains('/'))?;
        Some(Self {
            path: Path::parse(path).ok()?,
            size,
            rows,
            project,
            date,
            time_min: None,
            time_max: None,
            stats: Vec::new(),
            traces: None,
            raw_bytes: 0,
            corrected_to: 0,
        })
    }

    /// The largest write-ahead log position of its rows, if known.
    #[must_use]
    pub fn last_position(&self) -> Option<u64> {
        match self.stats.iter().find(|s| s.column == "wal_position")?.max.as_ref()? {
            StatValue::Int(position) => u64::try_from(*position).ok(),
            StatValue::Text(_) => None,
        }
    }
}

/// The range of one column in one file.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnStats {
    /// The column.
    pub column: &'static str,
    /// Smallest value; `None` if unknown or all are NULL.
    pub min: Option<StatValue>,
    /// Largest value; `None` if unknown or all are NULL.
    pub max: Option<StatValue>,
    /// How many are NULL.
    pub null_count: u64,
}

/// A value of a statistic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatValue {
    /// Of an integer column; of a time, microseconds since 1970.
    Int(i64),
    /// Of a text column, whole.
    Text(Box<str>),
}

/// The columns of `table` that have statistics.
pub(crate) fn stats_columns(table: TableId) -> impl Iterator<Item = &'static Column> {
    table.columns().iter().filter(|c| STATS_COLUMNS.contains(&c.name) && c.layout != Layout::Payload)
}

/// The column by whose range files are pruned: `start_time` or `time`.
pub(crate) fn time_column(table: TableId) -> Option<&'static str> {
    ["start_time", "time"].into_iter().find(|name| {
        table.columns().iter().any(|c| c.name == *name && !c.nullable && matches!(c.data_type, DataType::Timestamp(..)))
    })
}

/// The `stats` text of a Delta add action.
pub(crate) fn stats_to_delta(rows: u64, stats: &[ColumnStats], table: TableId) -> String {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    for stat in stats {
        let is_time = table.columns().iter().any(|c| c.name == stat.column && matches!(c.data_type, DataType::Timestamp(..)));
        if let Some(value) = &stat.min {
            min.insert(stat.column.into(), to_json(value, is_time));
        }
        if let Some(value) = &stat.max {
            max.insert(stat.column.into(), to_json(value, is_time));
        }
        nulls.insert(stat.column.into(), stat.null_count.into());
    }
    json!({"numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls}).to_string()
}

/// The inverse of [`stats_to_delta`]; what cannot be read is unknown.
pub(crate) fn stats_from_delta(text: Option<&str>, table: TableId) -> (u64, Vec<ColumnStats>) {
    let Some(stats) = text.and_then(|t| serde_json::from_str::<Value>(t).ok()) else { return (0, Vec::new()) };
    let rows = stats["numRecords"].as_u64().unwrap_or(0);
    let columns = stats_columns(table)
        .filter_map(|column| {
            let null_count = stats["nullCount"][column.name].as_u64()?;
            let read = |side: &str| from_json(&stats[side][column.name], &column.data_type);
            Some(ColumnStats { column: column.name, min: read("minValues"), max: read("maxValues"), null_count })
        })
        .collect();
    (rows, columns)
}

/// The range of the column by which files are pruned.
pub(crate) fn time_range(table: TableId, stats: &[ColumnStats]) -> (Option<i64>, Option<i64>) {
    let int = |value: &Option<StatValue>| match value {
        Some(StatValue::Int(micros)) => Some(*micros),
        _ => None,
    };
    let name = time_column(table);
    let stat = stats.iter().find(|s| Some(s.column) == name);
    (stat.and_then(|s| int(&s.min)), stat.and_then(|s| int(&s.max)))
}

fn to_json(value: &StatValue, is_time: bool) -> Value {
    match value {
        StatValue::Int(micros) if is_time => DateTime::from_timestamp_micros(*micros)
            .map_or(Value::Null, |t| t.to_rfc3339_opts(SecondsFormat::Micros, true).into()),
        StatValue::Int(number) => (*number).into(),
        StatValue::Text(text) => (&**text).into(),
    }
}

fn from_json(value: &Value, data_type: &DataType) -> Option<StatValue> {
    match (value, data_type) {
        (Value::String(text), DataType::Timestamp(..)) => {
            DateTime::parse_from_rfc3339(text).ok().map(|t| StatValue::Int(t.timestamp_micros()))
        }
        (Value::String(text), _) => Some(StatValue::Text(text.as_str().into())),
        (Value::Number(number), _) => number.as_i64().map(StatValue::Int),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_the_project_can_be_named() {
        let date = NaiveDate::from_ymd_opt(2026, 11, 21).unwrap();
        let named = |path: &str| DataFile::named(TableId::Spans, ProjectId::new("a").unwrap(), date, path, 10, 2);
        assert!(named("lake/spans/project_id=a/date=2026-11-21/part-1.parquet").is_some());
        for path in [
            "lake/spans/project_id=b/date=2026-11-21/part-1.parquet",
            "lake/logs/project_id=a/date=2026-11-21/part-1.parquet",
            "lake/spans/project_id=a/date=2026-11-20/part-1.parquet",
            "lake/spans/project_id=a/date=2026-11-21/../../project_id=b/part-1.parquet",
            "lake/spans/project_id=a/date=2026-11-21/",
        ] {
            assert!(named(path).is_none(), "{path}");
        }
    }
}
