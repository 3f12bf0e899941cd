//! One Kafka record on its way into the log: accepted as any request, for as long as it takes; what no patience helps goes to `quarantine`.

use std::{sync::Arc, time::Duration};

use assay_schemas::{
    ids::{Encoding, ProjectId, Signal},
    table::Row as _,
    tables::{LedgerRow, QuarantineRow, TableId},
};
use assay_storage::{AppendErrorKind, WalRecord};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::metrics::{KafkaMetrics, Outcome};
use crate::{
    ingest::{Ingest, IngestError, StoreRowsError, now_unix_nano},
    prepared::{Prepared, Receipt},
};

/// After a failure of the disk a record is tried again so much later, for ever: an operator mends the disk, or restarts.
const RETRY_FAILED: Duration = Duration::from_secs(30);

/// A record as it came.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) signal: Signal,
    pub(super) body: Bytes,
}

/// Brings records into the log.
pub(super) struct Acceptor {
    pub(super) ingest: Arc<Ingest>,
    pub(super) project: ProjectId,
    pub(super) record_bytes_max: usize,
    pub(super) metrics: KafkaMetrics,
}

/// Not now.
struct RetryAfter(Duration);

impl Acceptor {
    /// Returns `true` when `record` is in the log, or `false` if `stop` came while it waited for room; then it is not. It is tried once in any case:
    /// those that came after it may be in the log, and would all be handed out again with it.
    pub(super) async fn accept(&self, record: &Record, stop: &CancellationToken) -> bool {
        loop {
            match self.attempt(record).await {
                Ok(outcome) => {
                    self.metrics.record(record.signal, outcome, record.body.len());
                    return true;
                }
                Err(RetryAfter(delay)) => {
                    self.metrics.waits.inc();
                    tokio::select! {
                        () = stop.cancelled() => return false,
                        () = tokio::time::sleep(delay) => {}
                    }
                }
            }
        }
    }

    async fn attempt(&self, record: &Record) -> Result<Outcome, RetryAfter> {
        let found = record.body.len();
        if found > self.record_bytes_max {
            let detail =
                format!("found `{found}` bytes, expected at most `{}` (`ingest.request_bytes_max`)", self.record_bytes_max);
            return self.quarantine(record, "too_large", &detail).await;
        }
        let accepted = self.ingest.accept(WalRecord {
            project: self.project.clone(),
            signal: record.signal,
            encoding: Encoding::Protobuf,
            received_at_unix_nano: now_unix_nano(),
            body: record.body.clone(),
        });
        match accepted.await {
            Ok(outcome) if outcome.rejected == 0 => Ok(Outcome::Accepted),
            Ok(_) => Ok(Outcome::Partial),
            Err(IngestError::Malformed { detail }) => self.quarantine(record, "undecodable", &detail).await,
            Err(IngestError::TooLarge { source }) => self.quarantine(record, "too_large", &source.to_string()).await,
            Err(IngestError::Overloaded { retry_after, .. }) => Err(RetryAfter(retry_after)),
            Err(IngestError::Failed { source }) => Err(self.failed(record, &*source)),
        }
    }

    /// A sender would be told; here the record itself has to say it.
    async fn quarantine(&self, record: &Record, reason: &str, detail: &str) -> Result<Outcome, RetryAfter> {
        let Record { topic, partition, offset, signal, body } = record;
        let receipt = Receipt {
            project: self.project.clone(),
            signal: *signal,
            received_at_unix_nano: now_unix_nano(),
            request_bytes: body.len() as u64,
            wal_position: 0,
        };
        let row = QuarantineRow {
            origin: receipt.origin(),
            signal: signal.as_str().to_owned(),
            reason: reason.to_owned(),
            detail: format!("Kafka topic `{topic}`, partition {partition}, offset {offset}: {detail}"),
            record_bytes: i64::try_from(body.len()).expect("the length of a buffer"),
            ..QuarantineRow::default()
        };
        let ledger = Prepared { quarantine: vec![row.clone()], ..Prepared::new(receipt) }.ledger_row(0);
        let rows = vec![(TableId::Quarantine, QuarantineRow::batch([row])), (TableId::IngestLedger, LedgerRow::batch([ledger]))];
        match self.ingest.store(self.project.clone(), rows).await {
            Ok(()) => {
                tracing::warn!(%topic, partition, offset, reason, "a Kafka record is in quarantine");
                Ok(Outcome::Quarantined)
            }
            Err(StoreRowsError::Append(error)) => match error.kind() {
                AppendErrorKind::Overloaded { retry_after } => Err(RetryAfter(retry_after)),
                AppendErrorKind::Failed | AppendErrorKind::TooLarge => Err(self.failed(record, &error)),
            },
            Err(error @ StoreRowsError::Encode(_)) => Err(self.failed(record, &error)),
        }
    }

    fn failed(&self, record: &Record, error: &(dyn std::error::Error + 'static)) -> RetryAfter {
        // Storage says once what is wrong; hundreds of records that wait for it need not repeat it.
        let Record { topic, partition, offset, .. } = record;
        tracing::debug!(%topic, partition, offset, error, "a Kafka record could not be stored, it waits");
        RetryAfter(RETRY_FAILED)
    }
}
