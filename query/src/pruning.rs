//! What is known about lake files without opening them, in DataFusion's words: which files a filter leaves out, how many rows there are.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, UInt64Array},
    datatypes::{DataType, Schema, SchemaRef, TimeUnit},
};
use assay_schemas::tables::TableId;
use assay_storage::{ColumnStats, DataFile, StatValue, file_schema};
use chrono::NaiveDate;
use datafusion::{
    common::{Column, ColumnStatistics, Result, ScalarValue, Statistics, pruning::PruningStatistics, stats::Precision},
    physical_expr::PhysicalExpr,
    physical_optimizer::pruning::PruningPredicateBuilder,
};

/// The files that can hold a row for which `predicate` (over `schema`: columns of the table) is true.
pub(crate) fn prune(
    schema: &SchemaRef,
    predicate: &Arc<dyn PhysicalExpr>,
    files: Vec<Arc<DataFile>>,
) -> Result<Vec<Arc<DataFile>>> {
    if files.is_empty() {
        return Ok(files);
    }
    let Ok(pruning) = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(Arc::clone(predicate)) else {
        return Ok(files);
    };
    if pruning.always_true() {
        return Ok(files);
    }
    let keep = pruning.prune(&FileStatistics { schema, files: &files })?;
    Ok(files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect())
}

/// Statistics of one file over the columns of the file and the partition columns, in this order.
pub(crate) fn file_statistics(table: TableId, file: &DataFile) -> Statistics {
    let schema = file_schema(table);
    let mut statistics = Statistics::new_unknown(&schema);
    statistics.num_rows = Precision::Exact(usize::try_from(file.rows).unwrap_or(usize::MAX));
    for stat in &file.stats {
        let Ok(idx) = schema.index_of(stat.column) else { continue };
        statistics.column_statistics[idx] = column_statistics(stat, schema.field(idx).data_type());
    }
    statistics
}

/// Statistics of all `files` together, over the columns of a file and the partition columns.
pub(crate) fn statistics<'a>(table: TableId, files: impl Iterator<Item = &'a Arc<DataFile>>) -> Statistics {
    let files: Vec<_> = files.collect();
    let schema = file_schema(table);
    let mut all = Statistics::new_unknown(&schema);
    all.num_rows = Precision::Exact(files.iter().map(|f| usize::try_from(f.rows).unwrap_or(usize::MAX)).sum());
    all.total_byte_size = Precision::Inexact(files.iter().map(|f| usize::try_from(f.size).unwrap_or(usize::MAX)).sum());
    for (idx, field) in schema.fields().iter().enumerate() {
        let per_file: Option<Vec<&ColumnStats>> =
            files.iter().map(|f| f.stats.iter().find(|s| s.column == field.name().as_str())).collect();
        let Some(per_file) = per_file.filter(|s| !s.is_empty()) else { continue };
        let mut merged = ColumnStats { column: per_file[0].column, min: None, max: None, null_count: 0 };
        merged.null_count = per_file.iter().map(|s| s.null_count).sum();
        // A file without a range says nothing, unless it has only NULLs.
        let unknown = per_file.iter().zip(&files).any(|(s, f)| s.min.is_none() && s.null_count < f.rows);
        if !unknown {
            merged.min = per_file.iter().filter_map(|s| s.min.clone()).min();
            merged.max = per_file.iter().filter_map(|s| s.max.clone()).max();
        }
        all.column_statistics[idx] = column_statistics(&merged, field.data_type());
    }
    let partition_columns = [ColumnStatistics::new_unknown(), ColumnStatistics::new_unknown()];
    all.column_statistics.extend(partition_columns);
    all
}

/// Days since 1970.
pub(crate) fn days(date: NaiveDate) -> i32 {
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).expect("dates of the calendar fit into 32 bits")
}

fn column_statistics(stat: &ColumnStats, data_type: &DataType) -> ColumnStatistics {
    let value = |value: &Option<StatValue>| match value.as_ref().and_then(|v| scalar(v, data_type)) {
        Some(value) => Precision::Exact(value),
        None => Precision::Absent,
    };
    let mut statistics = ColumnStatistics::new_unknown();
    statistics.null_count = Precision::Exact(usize::try_from(stat.null_count).unwrap_or(usize::MAX));
    statistics.min_value = value(&stat.min);
    statistics.max_value = value(&stat.max);
    statistics
}

fn scalar(value: &StatValue, data_type: &DataType) -> Option<ScalarValue> {
    Some(match (value, data_type) {
        (StatValue::Int(number), DataType::Int64) => ScalarValue::Int64(Some(*number)),
        (StatValue::Int(micros), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(*micros), zone.clone())
        }
        (StatValue::Text(text), DataType::Utf8) => ScalarValue::Utf8(Some(text.to_string())),
        _ => return None,
    })
}

struct FileStatistics<'a> {
    schema: &'a Schema,
    files: &'a [Arc<DataFile>],
}

impl FileStatistics<'_> {
    fn values(&self, column: &Column, side: impl Fn(&ColumnStats) -> Option<&StatValue>) -> Option<ArrayRef> {
        let data_type = self.schema.field_with_name(&column.name).ok()?.data_type();
        let of_file = |file: &Arc<DataFile>| match column.name.as_str() {
            "date" => ScalarValue::Date32(Some(days(file.date))),
            "project_id" => ScalarValue::Utf8(Some(file.project.to_string())),
            name => {
                let stat = file.stats.iter().find(|s| s.column == name).and_then(&side);
                stat.and_then(|v| scalar(v, data_type)).unwrap_or_else(|| null(data_type))
            }
        };
        ScalarValue::iter_to_array(self.files.iter().map(of_file)).ok()
    }
}

fn null(data_type: &DataType) -> ScalarValue {
    ScalarValue::try_from(data_type).unwrap_or(ScalarValue::Null)
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |s| s.min.as_ref())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |s| s.max.as_ref())
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let of_file = |file: &Arc<DataFile>| file.stats.iter().find(|s| s.column == column.name).map(|s| s.null_count);
        Some(Arc::new(self.files.iter().map(of_file).collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|f| Some(f.rows)).collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
