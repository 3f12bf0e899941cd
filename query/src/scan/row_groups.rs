//! Row groups of files of the lake: which can hold a row that is asked for, and their columns, from the cache or decoded.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, UInt64Array},
    compute::{CastOptions, cast_with_options, concat},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use assay_schemas::{table::Layout, tables::TableId};
use assay_storage::DataFile;
use datafusion::{
    common::{Column, Result, ScalarValue, internal_datafusion_err, pruning::PruningStatistics},
    datasource::{
        listing::PartitionedFile,
        physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetFileReaderFactory as _},
    },
    physical_expr::PhysicalExpr,
    physical_optimizer::pruning::PruningPredicateBuilder,
    physical_plan::metrics::ExecutionPlanMetricsSet,
};
use futures::TryStreamExt as _;
use object_store::ObjectMeta;
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, statistics::StatisticsConverter},
        async_reader::AsyncFileReader,
    },
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};

use super::{
    cache::{ColumnCache, ScanNumber},
    chunk::Chunk,
};

/// Reads row groups for one partition of a scan.
pub(super) struct RowGroups {
    pub(super) table: TableId,
    pub(super) cache: Arc<ColumnCache>,
    pub(super) readers: Arc<CachedParquetFileReaderFactory>,
    pub(super) scan: ScanNumber,
    pub(super) partition: usize,
    pub(super) metrics: ExecutionPlanMetricsSet,
}

/// A file that is open.
pub(super) struct OpenFile {
    pub(super) file: Arc<DataFile>,
    pub(super) footer: Arc<ParquetMetaData>,
    /// What a reader needs beside the footer; made when the first column is decoded.
    arrow: Option<ArrowReaderMetadata>,
}

impl OpenFile {
    pub(super) fn row_group(&self, row_group: usize) -> &RowGroupMetaData {
        self.footer.row_group(row_group)
    }

    pub(super) fn rows(&self, row_group: usize) -> Result<usize> {
        usize::try_from(self.row_group(row_group).num_rows())
            .map_err(|_| internal_datafusion_err!("a row group of negative length"))
    }
}

impl RowGroups {
    /// Opens `file`; its footer is usually in memory.
    pub(super) async fn open(&self, file: &Arc<DataFile>) -> Result<OpenFile> {
        let footer = self.reader(file)?.get_metadata(None).await?;
        Ok(OpenFile { file: Arc::clone(file), footer, arrow: None })
    }

    fn reader(&self, file: &DataFile) -> Result<Box<dyn AsyncFileReader>> {
        let file = PartitionedFile::new_from_meta(object_meta(file));
        Ok(self.readers.create_reader(self.partition, file, None, &self.metrics)?)
    }

    /// The columns `columns` (places in the table) of a row group, from the cache or the file, and their bytes in memory.
    pub(super) async fn columns(
        &self,
        open: &mut OpenFile,
        row_group: usize,
        columns: &[usize],
    ) -> Result<(HashMap<usize, Chunk>, usize)> {
        let rows = open.rows(row_group)?;
        let mut found = HashMap::with_capacity(columns.len());
        let mut missing = Vec::new();
        for column in columns {
            let chunk = constant(self.table, &open.file, *column, rows)
                .or_else(|| self.cache.get(self.scan, &open.file, row_group, *column));
            match chunk {
                Some(chunk) => drop(found.insert(*column, chunk)),
                None => missing.push(*column),
            }
        }
        if !missing.is_empty() {
            for (column, array) in self.decode(open, row_group, &missing, None).await? {
                let chunk = self.encoded(&open.file, column, array)?;
                self.cache.put(self.scan, &open.file, row_group, column, &chunk);
                found.insert(column, chunk);
            }
        }
        let bytes = found.values().map(Chunk::bytes).sum();
        Ok((found, bytes))
    }

    /// The columns `columns` of the rows of a row group for which `keep` is true; nothing is kept.
    pub(super) async fn columns_of_rows(
        &self,
        open: &mut OpenFile,
        row_group: usize,
        columns: &[usize],
        keep: &BooleanArray,
    ) -> Result<HashMap<usize, Chunk>> {
        let mut found = HashMap::with_capacity(columns.len());
        let mut missing = Vec::new();
        for column in columns {
            let chunk = constant(self.table, &open.file, *column, keep.len())
                .or_else(|| self.cache.get(self.scan, &open.file, row_group, *column));
            match chunk {
                Some(chunk) => drop(found.insert(*column, chunk.filter(keep)?)),
                None => missing.push(*column),
            }
        }
        if !missing.is_empty() {
            let selection = RowSelection::from_filters(std::slice::from_ref(keep));
            let decoded = self.decode(open, row_group, &missing, Some(selection)).await?;
            found.extend(decoded.into_iter().map(|(column, array)| (column, Chunk::Plain(array))));
        }
        Ok(found)
    }

    fn encoded(&self, file: &DataFile, column: usize, array: ArrayRef) -> Result<Chunk> {
        let description = &self.table.columns()[column];
        if array.null_count() == array.len() {
            // As most columns about model calls are where no model is called.
            return Ok(Chunk::nulls(&description.data_type, array.len()));
        }
        if !is_text(array.data_type()) || description.layout == Layout::Payload {
            return Ok(Chunk::Plain(array));
        }
        match self.cache.encode((self.table, &file.project, column), &array) {
            Some((codes, dictionary)) => Ok(Chunk::Coded { codes, dictionary }),
            None => Ok(Chunk::Plain(as_in_table(array, &description.data_type)?)),
        }
    }

    /// Decodes columns of a row group; text with few different values comes as a dictionary if all rows are asked for.
    async fn decode(
        &self,
        open: &mut OpenFile,
        row_group: usize,
        columns: &[usize],
        selection: Option<RowSelection>,
    ) -> Result<Vec<(usize, ArrayRef)>> {
        let whole = selection.is_none();
        let names: Vec<&str> = columns.iter().map(|column| self.table.columns()[*column].name).collect();
        let rows = match &selection {
            Some(selection) => selection.row_count(),
            None => open.rows(row_group)?,
        };
        if open.arrow.is_none() {
            open.arrow = Some(reader_metadata(self.table, &open.footer)?);
        }
        let Some(metadata) = open.arrow.clone() else { return Ok(Vec::new()) };
        let mask = ProjectionMask::columns(metadata.parquet_schema(), names.iter().copied());
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader(&open.file)?, metadata)
            .with_projection(mask)
            .with_row_groups(vec![row_group])
            .with_batch_size(rows.max(1));
        let builder = match selection {
            Some(selection) => builder.with_row_selection(selection),
            None => builder,
        };
        let batches: Vec<_> = builder.build()?.try_collect().await?;
        let column = |(idx, name): (&usize, &&str)| {
            let parts: Vec<&dyn Array> =
                batches.iter().filter_map(|batch| batch.column_by_name(name)).map(AsRef::as_ref).collect();
            let array = match parts[..] {
                // An older file lacks the column.
                [] => Chunk::nulls(&self.table.columns()[*idx].data_type, rows).array()?,
                [_] => Arc::clone(batches[0].column_by_name(name).ok_or_else(|| internal_datafusion_err!("a column is gone"))?),
                _ => concat(&parts)?,
            };
            let data_type = &self.table.columns()[*idx].data_type;
            let numbered = whole && *array.data_type() == keyed_text();
            Ok((*idx, if numbered { array } else { as_in_table(array, data_type)? }))
        };
        columns.iter().zip(&names).map(column).collect()
    }
}

/// The row groups of `open` that can hold a row for which `predicate` (over `schema`) is true.
pub(super) fn row_groups_to_read(
    open: &OpenFile,
    row_groups: &[usize],
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
) -> Vec<bool> {
    let all = vec![true; row_groups.len()];
    let Ok(pruning) = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(Arc::clone(predicate)) else {
        return all;
    };
    if pruning.always_true() {
        return all;
    }
    let statistics = RowGroupStatistics { open, row_groups, schema };
    pruning.prune(&statistics).unwrap_or(all)
}

struct RowGroupStatistics<'a> {
    open: &'a OpenFile,
    row_groups: &'a [usize],
    schema: &'a SchemaRef,
}

impl RowGroupStatistics<'_> {
    fn converter(&self, column: &Column) -> Option<StatisticsConverter<'_>> {
        let parquet = self.open.footer.file_metadata().schema_descr();
        // All columns are flat: a leaf is a column. Older files lack some.
        let leaf = parquet.columns().iter().position(|leaf| leaf.name() == column.name)?;
        StatisticsConverter::from_column_index(leaf, self.schema.field_with_name(&column.name).ok()?, parquet).ok()
    }

    fn footers(&self) -> impl Iterator<Item = &RowGroupMetaData> {
        self.row_groups.iter().map(|row_group| self.open.row_group(*row_group))
    }
}

impl PruningStatistics for RowGroupStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.converter(column)?.row_group_mins(self.footers()).ok()
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.converter(column)?.row_group_maxes(self.footers()).ok()
    }

    fn num_containers(&self) -> usize {
        self.row_groups.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        Some(Arc::new(self.converter(column)?.row_group_null_counts(self.footers()).ok()?))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.footers().map(|footer| u64::try_from(footer.num_rows()).ok()).collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// How a file is named to the readers. Files of the lake never change: the path alone is the identity.
pub(crate) fn object_meta(file: &DataFile) -> ObjectMeta {
    ObjectMeta {
        location: file.path.clone(),
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: file.size,
        e_tag: None,
        version: None,
    }
}

/// What the folder of a file says about all of its rows.
fn constant(table: TableId, file: &DataFile, column: usize, rows: usize) -> Option<Chunk> {
    let value = match table.columns()[column].name {
        "project_id" => ScalarValue::Utf8(Some(file.project.to_string())),
        "date" => ScalarValue::Date32(Some(crate::pruning::days(file.date))),
        _ => return None,
    };
    Some(Chunk::Constant { value, rows })
}

/// How the columns of a file are decoded: text that is written with a dictionary keeps it.
fn reader_metadata(table: TableId, footer: &Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata> {
    let as_written = ArrowReaderMetadata::try_new(Arc::clone(footer), ArrowReaderOptions::new())?;
    let with_dictionary = |name: &str| table.columns().iter().any(|c| c.name == name && c.layout == Layout::Dictionary);
    let fields = as_written.schema().fields().iter().map(|field| {
        if *field.data_type() == DataType::Utf8 && with_dictionary(field.name()) {
            Arc::new(Field::new(field.name(), keyed_text(), field.is_nullable()))
        } else {
            Arc::clone(field)
        }
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(ArrowReaderMetadata::try_new(Arc::clone(footer), ArrowReaderOptions::new().with_schema(schema))?)
}

/// Text with few different values, as it is decoded.
fn keyed_text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn is_text(data_type: &DataType) -> bool {
    *data_type == DataType::Utf8 || *data_type == keyed_text()
}

/// `array` with the type that the table gives its column: text without a dictionary, and what an older file holds as another type.
fn as_in_table(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    let or_fail = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(&array, data_type, &or_fail)?)
}
