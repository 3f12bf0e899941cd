//! Reading a data file back, as this version's columns: what an older file lacks is NULL. Who writes the rows again also keeps what a later version
//! has added.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Field, Schema, SchemaRef},
};
use assay_schemas::{ids::ProjectId, table::nulls, tables::TableId};
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    errors::ParquetError,
};

use super::{DataFile, Effort, FileRows, Lake, LakeError, file_schema};
use crate::{
    corrections::{Correction, RowKey, RowKeys, row_key_columns},
    tasks::blocking,
    view::LakeFiles,
};

/// At most [`assay_schemas::table::NULLS_SHARED_MAX`].
const BATCH_ROWS: usize = 4096;

impl Lake {
    /// All rows of `file`, with the columns of [`file_schema`].
    pub(crate) async fn read_file(&self, table: TableId, file: &DataFile) -> Result<Vec<RecordBatch>, LakeError> {
        let path = file.path.clone();
        let content = self.content(file).await?;
        blocking(move || decode(content, &file_schema(table))).await.map_err(|source| LakeError::Parquet { path, source })
    }

    /// As [`Lake::read_file`], with the columns that this version does not know behind them.
    async fn read_all_of(&self, table: TableId, file: &DataFile) -> Result<Vec<RecordBatch>, LakeError> {
        let path = file.path.clone();
        let content = self.content(file).await?;
        let read = move || decode(content.clone(), &schema_of(table, [&content])?);
        blocking(read).await.map_err(|source| LakeError::Parquet { path, source })
    }

    /// The corrections in `files`, by project.
    pub(crate) async fn read_corrections(
        &self,
        files: &LakeFiles,
    ) -> Result<HashMap<ProjectId, Vec<Arc<Correction>>>, LakeError> {
        let mut corrections: HashMap<ProjectId, Vec<Arc<Correction>>> = HashMap::new();
        for file in files.of_table(TableId::SpanCorrections) {
            for batch in self.read_file(TableId::SpanCorrections, file).await? {
                let read = Correction::read(&batch, file.date.to_epoch_days());
                corrections.entry(file.project.clone()).or_default().extend(read);
            }
        }
        Ok(corrections)
    }

    /// Those of `wanted` that are in `file` of `table`.
    pub(crate) async fn rows_of(
        &self,
        table: TableId,
        file: &DataFile,
        wanted: HashSet<RowKey>,
    ) -> Result<Vec<RowKey>, LakeError> {
        let content = self.content(file).await?;
        let path = file.path.clone();
        blocking(move || search(table, content, &wanted)).await.map_err(|source| LakeError::Parquet { path, source })
    }

    /// Writes the corrections of `files` that are not `done` to new files, one for each that has some left.
    pub(crate) async fn rewrite_corrections(
        &self,
        files: &[Arc<DataFile>],
        done: &(impl Fn(&Correction) -> bool + Sync),
    ) -> Result<Vec<Arc<DataFile>>, LakeError> {
        let mut parts = Vec::new();
        for file in files {
            let date = file.date.to_epoch_days();
            let mut batches = Vec::new();
            for batch in self.read_all_of(TableId::SpanCorrections, file).await? {
                let keep: BooleanArray = (0..batch.num_rows())
                    .map(|row| Some(!Correction::read(&batch.slice(row, 1), date).iter().any(|c| done(c))))
                    .collect();
                let left = filter_record_batch(&batch, &keep).expect("the mask has the length of the batch");
                if left.num_rows() > 0 {
                    batches.push(left);
                }
            }
            if !batches.is_empty() {
                parts.push(FileRows { project: file.project.clone(), date, batches, corrected_to: 0 });
            }
        }
        let position = files.iter().filter_map(|f| f.last_position()).max().unwrap_or(0);
        self.write_files(TableId::SpanCorrections, &parts, position, Effort::Thorough).await
    }

    pub(super) async fn content(&self, file: &DataFile) -> Result<Bytes, LakeError> {
        let failed = |source| LakeError::Store { action: "read", path: file.path.clone(), source };
        self.store().get(&file.path).await.map_err(failed)?.bytes().await.map_err(failed)
    }
}

/// [`file_schema`], and behind it the columns of the files with these `contents` that only a later version knows.
pub(super) fn schema_of<'a>(table: TableId, contents: impl IntoIterator<Item = &'a Bytes>) -> Result<SchemaRef, ParquetError> {
    let known = file_schema(table);
    let mut fields: Vec<Arc<Field>> = known.fields().iter().cloned().collect();
    for content in contents {
        let builder = ParquetRecordBatchReaderBuilder::try_new(content.clone())?;
        for field in builder.schema().fields() {
            match fields.iter().find(|known| known.name() == field.name()) {
                None => fields.push(Arc::new(field.as_ref().clone().with_nullable(true))),
                Some(known) if known.data_type() != field.data_type() => {
                    let (name, found, expected) = (field.name(), field.data_type(), known.data_type());
                    let why = format!("column `{name}` has type `{found}`, expected `{expected}`");
                    return Err(ParquetError::ArrowError(why));
                }
                Some(_) => {}
            }
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

pub(super) fn decode(content: Bytes, schema: &SchemaRef) -> Result<Vec<RecordBatch>, ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(content)?.with_batch_size(BATCH_ROWS).build()?;
    reader.map(|batch| Ok(with_schema(&batch?, schema))).collect()
}

fn search(table: TableId, content: Bytes, wanted: &HashSet<RowKey>) -> Result<Vec<RowKey>, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(content)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), row_key_columns(table).iter().copied());
    let mut found = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let keys = RowKeys::of(table, &batch).expect("the columns asked for");
        found.extend(keys.iter().filter(|key| wanted.contains(key)));
    }
    Ok(found)
}

/// `batch` as rows of `schema`. Columns without a value, which are most, share their memory: a merge holds all rows of its files.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let has_values = |column: &&ArrayRef| column.null_count() < column.len();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()).filter(has_values) {
            Some(column) => Arc::clone(column),
            None => nulls(field.data_type(), batch.num_rows()),
        })
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns).expect("opening the table has checked the types of its columns")
}
