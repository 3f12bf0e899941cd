//! An answer as bytes, batch by batch: JSON, NDJSON, CSV, Arrow IPC stream, Parquet. Memory is bounded by a batch (Parquet: a row group).
//!
//! In the text formats: times are RFC 3339 in UTC; decimals are text without trailing zeros, so that no reader rounds them; 64-bit
//! integers are numbers, whole (a reader that keeps numbers as doubles loses digits beyond 2^53: cast such columns to text); NaN and
//! infinities are the text `NaN`, `Infinity`, `-Infinity`; bytes are lower-case hex.

mod cell;

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError, ipc::writer::StreamWriter};
use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use serde_json::json;

pub(crate) use self::cell::{Cell, decimal_text, write_json};
use crate::{engine::AnswerStats, information_schema::sql_type};

/// A Parquet row group is closed when it holds so many bytes.
const PARQUET_GROUP_BYTES: usize = 16 << 20;

/// A moment as answers write it.
pub(crate) fn time_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"columns":[…],"rows":[[…]],"stats":{…}}`
    Json,
    /// One JSON object per row.
    NdJson,
    /// RFC 4180 with a header line.
    Csv,
    /// Arrow IPC stream.
    Arrow,
    /// Parquet.
    Parquet,
}

impl Format {
    /// All formats, the default first.
    pub const ALL: [Self; 5] = [Self::Json, Self::NdJson, Self::Csv, Self::Arrow, Self::Parquet];

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The format that an `Accept` header prefers; `None` if it allows none of ours. No header means JSON.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else { return Some(Self::Json) };
        let mut best: Option<(f32, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|p| p.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
            let named = Self::ALL.into_iter().find(|f| {
                f.media_type() == media_type
                    || matches!(
                        (f, media_type.as_str()),
                        (Self::NdJson, "application/ndjson" | "application/jsonl" | "application/x-jsonlines")
                    )
                    || (media_type.ends_with("/*") && f.media_type().starts_with(media_type.trim_end_matches('*')))
                    || media_type == "*/*"
            });
            if let Some(format) = named
                && quality > 0.0
                && best.is_none_or(|(q, _)| quality > q)
            {
                best = Some((quality, format));
            }
        }
        best.map(|(_, format)| format)
    }
}

/// A value cannot be written in the format.
#[derive(Debug, thiserror::Error)]
pub enum EncodeAnswerError {
    /// Arrow IPC.
    #[error("could not write the answer as Arrow")]
    Arrow(#[from] ArrowError),
    /// Parquet.
    #[error("could not write the answer as Parquet")]
    Parquet(#[from] ParquetError),
}

/// Writes one answer.
pub(crate) enum Encoder {
    Json { first: bool },
    NdJson { keys: Vec<Vec<u8>> },
    Csv,
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet { writer: Box<ArrowWriter<Shared>>, out: Shared },
}

impl Encoder {
    /// The writer and the first bytes.
    pub(crate) fn begin(format: Format, schema: &SchemaRef) -> Result<(Self, Vec<u8>), EncodeAnswerError> {
        Ok(match format {
            Format::Json => {
                let columns: Vec<_> =
                    schema.fields().iter().map(|f| json!({"name": f.name(), "type": sql_type(f.data_type())})).collect();
                let head = format!("{{\"columns\":{},\"rows\":[", serde_json::Value::from(columns));
                (Self::Json { first: true }, head.into_bytes())
            }
            Format::NdJson => {
                let key = |name: &String| format!("{}:", serde_json::Value::from(name.as_str())).into_bytes();
                (Self::NdJson { keys: schema.fields().iter().map(|f| key(f.name())).collect() }, Vec::new())
            }
            Format::Csv => {
                let mut head = Vec::new();
                for (idx, field) in schema.fields().iter().enumerate() {
                    if idx > 0 {
                        head.push(b',');
                    }
                    cell::write_csv_text(&mut head, field.name());
                }
                head.extend_from_slice(b"\r\n");
                (Self::Csv, head)
            }
            Format::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
                let head = std::mem::take(writer.get_mut());
                (Self::Arrow(Box::new(writer)), head)
            }
            Format::Parquet => {
                let zstd = ZstdLevel::try_new(3)?;
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(zstd)).build();
                let out = Shared::default();
                let writer = Box::new(ArrowWriter::try_new(out.clone(), Arc::clone(schema), Some(properties))?);
                let head = out.take();
                (Self::Parquet { writer, out }, head)
            }
        })
    }

    /// The bytes of `batch`, or of an earlier one.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, EncodeAnswerError> {
        let columns: Vec<Cell<'_>> = batch.columns().iter().map(|c| Cell::of(c.as_ref())).collect();
        let mut out = Vec::with_capacity(batch.num_rows() * columns.len() * 8);
        match self {
            Self::Json { first } => {
                for row in 0..batch.num_rows() {
                    if !std::mem::take(first) {
                        out.push(b',');
                    }
                    write_list(&mut out, (b'[', b']'), &columns, |out, column| write_json(out, column, row));
                }
            }
            Self::NdJson { keys } => {
                for row in 0..batch.num_rows() {
                    write_list(&mut out, (b'{', b'}'), keys.iter().zip(&columns), |out, (key, column)| {
                        out.extend_from_slice(key);
                        write_json(out, column, row);
                    });
                    out.push(b'\n');
                }
            }
            Self::Csv => {
                for row in 0..batch.num_rows() {
                    for (idx, column) in columns.iter().enumerate() {
                        if idx > 0 {
                            out.push(b',');
                        }
                        cell::write_csv(&mut out, column, row);
                    }
                    out.extend_from_slice(b"\r\n");
                }
            }
            Self::Arrow(writer) => {
                writer.write(batch)?;
                out = std::mem::take(writer.get_mut());
            }
            Self::Parquet { writer, out: shared } => {
                writer.write(batch)?;
                if writer.in_progress_size() >= PARQUET_GROUP_BYTES {
                    writer.flush()?;
                }
                out = shared.take();
            }
        }
        Ok(out)
    }

    /// The last bytes.
    pub(crate) fn finish(self, stats: &AnswerStats) -> Result<Vec<u8>, EncodeAnswerError> {
        Ok(match self {
            Self::Json { .. } => {
                let stats = json!({
                    "rows": stats.rows,
                    "elapsed_ms": stats.elapsed.as_secs_f64() * 1e3,
                    "truncated": stats.truncated,
                    "bytes_scanned": stats.bytes_scanned,
                    "complete_until": stats.complete_until.map(time_text),
                });
                format!("],\"stats\":{stats}}}").into_bytes()
            }
            Self::NdJson { .. } | Self::Csv => Vec::new(),
            Self::Arrow(mut writer) => {
                writer.finish()?;
                std::mem::take(writer.get_mut())
            }
            Self::Parquet { writer, out } => {
                writer.close()?;
                out.take()
            }
        })
    }
}

fn write_list<T>(
    out: &mut Vec<u8>,
    (open, close): (u8, u8),
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(open);
    for (idx, item) in items.into_iter().enumerate() {
        if idx > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(close);
}

/// Bytes that a writer has written and a reader has not yet taken.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock())
    }
}

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
