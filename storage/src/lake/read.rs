//! Reading a data file back, as this version's columns: what an older file lacks is NULL.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, new_null_array},
    datatypes::SchemaRef,
};
use assay_schemas::{ids::ProjectId, tables::TableId};
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, errors::ParquetError};

use super::{DataFile, Lake, LakeError, file_schema};
use crate::{corrections::Correction, view::LakeFiles};

const BATCH_ROWS: usize = 4096;

impl Lake {
    /// All rows of `file`, with the columns of [`file_schema`].
    pub(crate) async fn read_file(&self, table: TableId, file: &DataFile) -> Result<Vec<RecordBatch>, LakeError> {
        let path = file.path.clone();
        let store = |source| LakeError::Store { action: "read", path: path.clone(), source };
        let content = self.store().get(&file.path).await.map_err(store)?.bytes().await.map_err(store)?;
        let decoded = tokio::task::spawn_blocking(move || decode(content, &file_schema(table)));
        decoded.await.expect("decoding does not panic").map_err(|source| LakeError::Parquet { path, source })
    }

    /// The corrections in `files`, by project.
    pub(crate) async fn read_corrections(
        &self,
        files: &LakeFiles,
    ) -> Result<HashMap<ProjectId, Vec<Arc<Correction>>>, LakeError> {
        let mut corrections: HashMap<ProjectId, Vec<Arc<Correction>>> = HashMap::new();
        for file in files.of_table(TableId::SpanCorrections) {
            for batch in self.read_file(TableId::SpanCorrections, file).await? {
                corrections.entry(file.project.clone()).or_default().extend(Correction::read(&batch));
            }
        }
        Ok(corrections)
    }
}

fn decode(content: Bytes, schema: &SchemaRef) -> Result<Vec<RecordBatch>, ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(content)?.with_batch_size(BATCH_ROWS).build()?;
    reader.map(|batch| Ok(with_schema(&batch?, schema))).collect()
}

fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Arc::clone(column),
            None => new_null_array(field.data_type(), batch.num_rows()),
        })
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns).expect("opening the table has checked the types of its columns")
}
