//! Rows that Assay makes itself (re-pricing, for one) take the same path as requests: through the write-ahead log, into the hot buffer.
//! This is how they lie in the log.
//!
//! For each batch: length of the table name `u8`, the name, length of the stream `u64` little endian, an Arrow IPC stream.

use std::{io::Cursor, sync::Arc};

use arrow::{
    array::{Array as _, RecordBatch, new_null_array},
    datatypes::Field,
    error::ArrowError,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use assay_schemas::tables::TableId;

/// Rows cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OwnRowsError {
    /// Arrow's side of it.
    #[error("the rows are not an Arrow stream")]
    Arrow(#[from] ArrowError),
    /// A later version of Assay wrote them, and there is no place for all they say.
    #[error(
        "found values in the column `{column}` of `{table}`, which only a later version of Assay knows (nothing is lost: start the version that \
         wrote it; when that is stopped in order, the log is empty)"
    )]
    Later {
        /// The column.
        column: String,
        /// Its table.
        table: &'static str,
    },
    /// Not what [`encode`] wrote.
    #[error("found {found}, expected a table's name and rows")]
    Format {
        /// What is there.
        found: String,
    },
}

/// `rows` as the body of a write-ahead log record.
pub(crate) fn encode(rows: &[(TableId, RecordBatch)]) -> Result<Vec<u8>, OwnRowsError> {
    let mut body = Vec::new();
    for (table, batch) in rows {
        let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
        writer.write(batch)?;
        let stream = writer.into_inner()?;
        body.push(u8::try_from(table.name().len()).expect("table names are short"));
        body.extend_from_slice(table.name().as_bytes());
        body.extend_from_slice(&(stream.len() as u64).to_le_bytes());
        body.extend_from_slice(&stream);
    }
    Ok(body)
}

/// The inverse of [`encode`].
pub(crate) fn decode(mut body: &[u8]) -> Result<Vec<(TableId, RecordBatch)>, OwnRowsError> {
    let mut rows = Vec::new();
    while let Some((&name_len, rest)) = body.split_first() {
        let (name, rest) = split(rest, usize::from(name_len))?;
        let (length, rest) = split(rest, size_of::<u64>())?;
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let (stream, rest) = split(rest, usize::try_from(length).unwrap_or(usize::MAX))?;
        let name = String::from_utf8_lossy(name);
        let table =
            TableId::from_name(&name).ok_or_else(|| OwnRowsError::Format { found: format!("the table name `{name}`") })?;
        for batch in StreamReader::try_new(Cursor::new(stream), None)? {
            rows.push((table, as_current(table, &batch?)?));
        }
        body = rest;
    }
    Ok(rows)
}

/// `batch` with the columns that `table` has today: those it got since the rows were written are NULL. One that only a later version knows must be
/// empty, or its values would be lost.
fn as_current(table: TableId, batch: &RecordBatch) -> Result<RecordBatch, OwnRowsError> {
    let schema = table.schema();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if schema.index_of(field.name()).is_err() && column.null_count() < column.len() {
            return Err(OwnRowsError::Later { column: field.name().clone(), table: table.name() });
        }
    }
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), batch.num_rows()),
    };
    let columns = schema.fields().iter().map(column).collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), OwnRowsError> {
    bytes
        .split_at_checked(at)
        .ok_or_else(|| OwnRowsError::Format { found: format!("the end of the record in the middle, `{at}` bytes short") })
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::Int64Array,
        datatypes::{DataType, Schema},
    };
    use assay_schemas::{
        table::Row as _,
        tables::{CorrectionRow, CostLineRow},
    };

    use super::*;

    #[test]
    fn rows_come_out_as_they_went_in() {
        let rows = vec![
            (TableId::SpanCorrections, CorrectionRow::batch([CorrectionRow { patch: "{}".into(), ..Default::default() }])),
            (TableId::CostLines, CostLineRow::batch([CostLineRow { units: -7, ..Default::default() }, CostLineRow::default()])),
        ];
        let body = encode(&rows).unwrap();
        assert_eq!(decode(&body).unwrap(), rows);
        assert!(decode(&body[..body.len() - 1]).is_err());
        assert!(decode(b"\x03abc").is_err());
    }

    #[test]
    fn rows_of_an_older_version_get_the_columns_they_lack() {
        let row = CorrectionRow { span_id: "0a".into(), patch: "{}".into(), ..Default::default() };
        let batch = CorrectionRow::batch([row]);
        let without_log_id: Vec<usize> =
            (0..batch.num_columns()).filter(|idx| batch.schema_ref().field(*idx).name() != "log_id").collect();
        let older = batch.project(&without_log_id).unwrap();
        assert_eq!(decode(&encode(&[(TableId::SpanCorrections, older)]).unwrap()).unwrap(), [(TableId::SpanCorrections, batch)]);
    }

    #[test]
    fn rows_of_a_later_version_are_taken_if_nothing_of_them_is_lost() {
        let batch = CorrectionRow::batch([CorrectionRow { span_id: "0a".into(), patch: "{}".into(), ..Default::default() }]);
        let with = |values: Vec<Option<i64>>| {
            let fields = batch.schema_ref().fields().iter().cloned();
            let fields: Vec<_> = fields.chain([Arc::new(Field::new("approved_by", DataType::Int64, true))]).collect();
            let columns = batch.columns().iter().cloned().chain([Arc::new(Int64Array::from(values)) as _]).collect();
            let later = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
            decode(&encode(&[(TableId::SpanCorrections, later)]).unwrap())
        };
        assert_eq!(with(vec![None]).unwrap(), [(TableId::SpanCorrections, batch.clone())]);
        let refused = with(vec![Some(7)]).unwrap_err().to_string();
        assert!(refused.contains("found values in the column `approved_by` of `span_corrections`"), "{refused}");
    }
}
