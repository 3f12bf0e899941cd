//! A request after the stateless part of the write path: rows that lack only what needs the call index.
//!
//! `prepare` makes it from the request alone; [`crate::calls`] settles it (drops resent spans, decides what counts, inherits session
//! and user, attaches log messages, prices) and turns it into record batches. Replaying the same request gives the same value.

use arrow::array::RecordBatch;
use assay_schemas::{
    ids::{ProjectId, Signal},
    tables::{LedgerRow, LogRow, Origin, QuarantineRow, SpanRow, TableId},
};

use crate::normalised::{CallFacts, ScoreDraft};

/// What the rows of one request have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Tenant.
    pub project: ProjectId,
    /// What the request carried.
    pub signal: Signal,
    /// When it was received, nanoseconds since 1970.
    pub received_at_unix_nano: i64,
    /// Its size after inflating.
    pub request_bytes: u64,
    /// Its position in the write-ahead log; 0 until [`Prepared::set_position`].
    pub wal_position: u64,
}

/// One request, prepared.
#[derive(Debug)]
pub struct Prepared {
    /// What the rows have in common.
    pub receipt: Receipt,
    /// Spans, in the order received.
    pub spans: Vec<SpanDraft>,
    /// Log records, in the order received.
    pub logs: Vec<LogDraft>,
    /// Metric data points: ready, but for the position in the write-ahead log, which [`Prepared::set_position`] fills in.
    pub metrics: Vec<(TableId, RecordBatch)>,
    /// Refused records.
    pub quarantine: Vec<QuarantineRow>,
}

/// A span, before the call index saw it.
#[derive(Clone, Debug)]
pub struct SpanDraft {
    /// The row. `genai.counted` is false and the computed cost columns are NULL.
    pub row: SpanRow,
    /// What the call index needs to know.
    pub facts: CallFacts,
    /// Evaluation results found on it.
    pub scores: Vec<ScoreDraft>,
    /// The row's identifiers.
    pub(crate) key: SpanKey,
}

/// Identifiers of a span as numbers: text is read before the call index is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanKey {
    pub(crate) trace: u128,
    pub(crate) span_id: u64,
    /// Zero for a root.
    pub(crate) parent: u64,
    pub(crate) start_ns: i64,
}

/// A log record, before the call index saw it.
#[derive(Clone, Debug)]
pub struct LogDraft {
    /// The row. `genai.counted` is false and the computed cost columns are NULL.
    pub row: LogRow,
    /// What the call index needs to know.
    pub facts: CallFacts,
    /// Evaluation results found on it.
    pub scores: Vec<ScoreDraft>,
}

impl SpanDraft {
    /// The draft of `row`.
    #[must_use]
    pub fn new(row: SpanRow, facts: CallFacts, scores: Vec<ScoreDraft>) -> Self {
        let key = SpanKey {
            trace: hex128(&row.trace_id),
            span_id: hex64(&row.span_id),
            parent: row.parent_span_id.as_deref().map_or(0, hex64),
            start_ns: row.start_time.saturating_mul(1000).saturating_add(row.start_time_ns_part),
        };
        Self { row, facts, scores, key }
    }
}

impl Receipt {
    /// The first columns of every row of the request. The day is that of receipt: a sender's clock never chooses a partition.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            project_id: self.project.as_str().into(),
            date: i32::try_from(self.received_at_unix_nano.div_euclid(NANOS_PER_DAY))
                .expect("64-bit nanoseconds are 106751 days at most"),
            received_at: self.received_at_unix_nano.div_euclid(1000),
            wal_position: i64::try_from(self.wal_position).expect("positions count requests"),
        }
    }
}

impl Prepared {
    /// Nothing yet.
    #[must_use]
    pub fn new(receipt: Receipt) -> Self {
        Self { receipt, spans: Vec::new(), logs: Vec::new(), metrics: Vec::new(), quarantine: Vec::new() }
    }

    /// Records that will be stored, unless the call index knows them as resent.
    #[must_use]
    pub fn n_storable(&self) -> usize {
        self.spans.len() + self.logs.len() + self.metrics.iter().map(|(_, batch)| batch.num_rows()).sum::<usize>()
    }

    /// Fills `wal_position` into every row.
    pub fn set_position(&mut self, wal_position: u64) {
        self.receipt.wal_position = wal_position;
        let position = i64::try_from(wal_position).expect("positions count requests");
        self.spans.iter_mut().for_each(|draft| draft.row.origin.wal_position = position);
        self.logs.iter_mut().for_each(|draft| draft.row.origin.wal_position = position);
        self.quarantine.iter_mut().for_each(|row| row.origin.wal_position = position);
        for (_, batch) in &mut self.metrics {
            *batch = with_position(batch, position);
        }
    }

    /// The ledger's line of the request, `resent` of whose records were stored before.
    #[must_use]
    pub fn ledger_row(&self, resent: usize) -> LedgerRow {
        let count = |n: usize| i64::try_from(n).expect("records of one request");
        let stored = count(self.n_storable()) - count(resent);
        let quarantined = count(self.quarantine.len());
        let origin = self.receipt.origin();
        LedgerRow {
            minute: origin.received_at - origin.received_at.rem_euclid(60_000_000),
            origin,
            signal: self.receipt.signal.as_str().to_owned(),
            accepted: stored + quarantined,
            stored,
            quarantined,
            resent: count(resent),
            request_bytes: i64::try_from(self.receipt.request_bytes).expect("limited far below"),
        }
    }
}

/// The number that `text` says.
pub(crate) fn hex64(text: &str) -> u64 {
    text.bytes().fold(0, |id, byte| id << 4 | u64::from(nibble(byte)))
}

/// The number that `text` says.
pub(crate) fn hex128(text: &str) -> u128 {
    text.bytes().fold(0, |id, byte| id << 4 | u128::from(nibble(byte)))
}

/// Identifiers are lower-case hex digits: `prepare` wrote them.
fn nibble(byte: u8) -> u8 {
    if byte.is_ascii_digit() { byte - b'0' } else { byte.wrapping_sub(b'a' - 10) & 15 }
}

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// `batch` with `position` in its column `wal_position`.
pub(crate) fn with_position(batch: &RecordBatch, position: i64) -> RecordBatch {
    let idx = batch.schema_ref().index_of("wal_position").expect("every table begins with the columns of `Origin`");
    let mut columns = batch.columns().to_vec();
    columns[idx] = std::sync::Arc::new(arrow::array::Int64Array::from_value(position, batch.num_rows()));
    RecordBatch::try_new(batch.schema(), columns).expect("same type, same length")
}
