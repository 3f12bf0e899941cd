//! The write path: a request becomes durable, then visible, then acknowledged, in this order.
//!
//! ```text
//! prepare (stateless) ─> append (WAL, fsync) ─> settle (call index, in the order of the log) ─> publish (hot buffer) ─> outcome
//! ```
//! It runs in a task of its own: a client that goes away cannot stop it between append and publish. Replay after a crash takes the
//! same path without the append.

use std::{sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use assay_schemas::prices::PriceTable;
use assay_schemas::{
    ids::{Encoding, ProjectId, Signal},
    tables::TableId,
};
use assay_storage::{AppendError, AppendErrorKind, Overload, Overloaded, ReplayError, Storage, WalPosition, WalRecord};
use futures::{TryStreamExt as _, stream};

use crate::{
    calls::{CallIndex, Decided},
    normalise::Normaliser,
    own_rows::{self, OwnRowsError},
    prepare::{PrepareError, prepare},
    prepared::{Prepared, with_position},
    slots::Slots,
    turns::Turns,
};

/// Requests below this size are prepared where they are; above it, off the async threads.
const INLINE_BYTES_MAX: usize = 32 << 10;
/// How long a request waits for memory before its body is read, and again before it is worked on: together well below the 10 s after which
/// exporters give up.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of so many bytes of requests at once, larger ones alone: prepared, they take up to ten times that.
const PREPARED_BYTES_MAX: usize = 32 << 20;
/// At most this many kinds of refusal are named in the message of a partial success.
const REASONS_MAX: usize = 3;

/// Accepts OTLP requests into a store.
pub struct Ingest {
    storage: Storage,
    normaliser: Normaliser,
    calls: CallIndex,
    turns: Turns,
    slots: Slots,
    prices: Arc<PriceTable>,
}

/// What became of a request that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records refused; they are in `quarantine`.
    pub rejected: u64,
    /// Why, for the partial success.
    pub message: Option<String>,
}

/// Why a request was not accepted; nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// It can never be understood.
    #[error("{detail}")]
    Malformed {
        /// What was found, what was expected, where.
        detail: String,
    },
    /// Not now.
    #[error("overloaded: {reason}")]
    Overloaded {
        /// What is used up.
        reason: Overload,
        /// When to try again.
        retry_after: Duration,
    },
    /// It can never fit.
    #[error("the request is too large")]
    TooLarge {
        /// What found no room.
        source: AppendError,
    },
    /// The disk failed.
    #[error("the request could not be made durable")]
    Failed {
        /// How.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<Overloaded> for IngestError {
    fn from(Overloaded { reason, retry_after }: Overloaded) -> Self {
        Self::Overloaded { reason, retry_after }
    }
}

/// What a crash left could not be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The write-ahead log cannot be read.
    #[error("could not read the write-ahead log")]
    Replay(#[from] ReplayError),
    /// A request that was accepted once is not understood now.
    #[error("could not prepare the request at position `{position}` of the write-ahead log again")]
    Prepare {
        /// Which.
        position: WalPosition,
        /// Why.
        source: PrepareError,
    },
    /// Rows of Assay's own are not what was written.
    #[error("could not read the rows at position `{position}` of the write-ahead log")]
    Rows {
        /// Which.
        position: WalPosition,
        /// Why.
        source: OwnRowsError,
    },
}

/// Rows of Assay's own could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreRowsError {
    /// They cannot be written down.
    #[error("could not encode the rows")]
    Encode(#[from] OwnRowsError),
    /// They could not be made durable.
    #[error("could not make the rows durable")]
    Append(#[from] AppendError),
}

/// What a record of the write-ahead log became.
enum Ready {
    Request(Prepared),
    Rows(Vec<(TableId, RecordBatch)>),
}

/// The same, decided.
enum DecidedRecord {
    Request(Decided),
    Rows(Vec<(TableId, RecordBatch)>),
}

impl Ingest {
    /// Ingest into `storage`. Call [`Ingest::recover`] before the first [`Ingest::accept`].
    #[must_use]
    pub fn new(storage: Storage, normaliser: Normaliser, prices: Arc<PriceTable>) -> Self {
        // What a crash left comes in a replay, one after the other; turns are for what is appended afterwards.
        let turns = Turns::after(storage.status().wal.last.get());
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let slots = Slots::new(cores, PREPARED_BYTES_MAX);
        Self { storage, normaliser, calls: CallIndex::default(), turns, slots, prices }
    }

    /// Whether there is room for another request of `project`, asked before its body is read. Waits a moment for it: rows that are being
    /// written soon make room, and to send again costs more.
    ///
    /// # Errors
    /// [`Overloaded`] if there is still none.
    pub async fn admit(&self, project: &ProjectId) -> Result<(), Overloaded> {
        self.storage.admit(project, PATIENCE).await
    }

    /// The index of recent calls, to be seeded at start.
    #[must_use]
    pub fn calls(&self) -> &CallIndex {
        &self.calls
    }

    /// The mapping in use.
    #[must_use]
    pub fn normaliser(&self) -> &Normaliser {
        &self.normaliser
    }

    /// The prices in use.
    #[must_use]
    pub fn prices(&self) -> &PriceTable {
        &self.prices
    }

    /// Accepts `record`: when this returns, its records are durable and visible.
    ///
    /// # Errors
    /// [`IngestError`]: nothing was stored.
    pub async fn accept(self: &Arc<Self>, record: WalRecord) -> Result<Outcome, IngestError> {
        let ingest = Arc::clone(self);
        tokio::spawn(async move { ingest.run(record).await }).await.expect("accepting a request does not panic")
    }

    async fn run(self: &Arc<Self>, record: WalRecord) -> Result<Outcome, IngestError> {
        // Asked again: since its headers came, others may have used up what was free.
        let _reserved = self.storage.reserve(&record.project, record.body.len(), PATIENCE).await?;
        let large = record.body.len() > INLINE_BYTES_MAX;
        let slot = if large { Some(self.slots.take(&record.project, record.body.len()).await) } else { None };
        let prepared = self.prepare(&record).await;
        drop(slot);
        let prepared = prepared.map_err(|error| match error {
            PrepareError::Decode(error) => IngestError::Malformed { detail: error.to_string() },
            PrepareError::Blob(source) => IngestError::Failed { source: source.into() },
        })?;
        if prepared.n_storable() == 0 && prepared.quarantine.is_empty() {
            return Ok(Outcome::default());
        }
        let position = self.storage.append(record).await.map_err(|source| match source.kind() {
            AppendErrorKind::Overloaded { retry_after } => IngestError::Overloaded { reason: Overload::Log, retry_after },
            AppendErrorKind::TooLarge => IngestError::TooLarge { source },
            AppendErrorKind::Failed => IngestError::Failed { source: source.into() },
        })?;
        let outcome = outcome(&prepared);
        self.take_turn(position, Ready::Request(prepared)).await;
        Ok(outcome)
    }

    /// Stores `rows` of `project` that Assay made itself: when this returns, they are durable and visible.
    ///
    /// # Errors
    /// [`StoreRowsError`]: nothing was stored.
    pub async fn store(self: &Arc<Self>, project: ProjectId, rows: Vec<(TableId, RecordBatch)>) -> Result<(), StoreRowsError> {
        let ingest = Arc::clone(self);
        let stored = tokio::spawn(async move {
            let body = own_rows::encode(&rows)?.into();
            let received_at_unix_nano = now_unix_nano();
            // The signal of such a record means nothing.
            let record = WalRecord { project, signal: Signal::Traces, encoding: Encoding::Rows, received_at_unix_nano, body };
            let position = ingest.storage.append(record).await?;
            ingest.take_turn(position, Ready::Rows(rows)).await;
            Ok(())
        });
        stored.await.expect("storing rows does not panic")
    }

    /// Publishes what a crash left in the write-ahead log. Returns the number of requests.
    ///
    /// # Errors
    /// [`RecoverError`] if the log cannot be read or holds what is not understood; nothing is lost, and the server must not start.
    pub async fn recover(self: &Arc<Self>) -> Result<u64, RecoverError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut requests = 0;
        let mut ready = stream::iter(self.storage.replay())
            .map_err(RecoverError::from)
            .map_ok(|(position, record)| {
                let ingest = Arc::clone(self);
                async move {
                    let ready = match record.encoding {
                        Encoding::Rows => own_rows::decode(&record.body)
                            .map(Ready::Rows)
                            .map_err(|source| RecoverError::Rows { position, source })?,
                        Encoding::Protobuf | Encoding::Json => ingest
                            .prepare(&record)
                            .await
                            .map(Ready::Request)
                            .map_err(|source| RecoverError::Prepare { position, source })?,
                    };
                    Ok((position, ready))
                }
            })
            .try_buffered(threads);
        while let Some((position, ready)) = ready.try_next().await? {
            let decided = self.decide(position, ready);
            self.publish(position, decided);
            requests += 1;
            if self.storage.overload().is_some()
                && let Err(error) = self.storage.flush().await
            {
                tracing::warn!(%error, "could not flush while replaying; the rows stay in memory");
            }
        }
        Ok(requests)
    }

    async fn prepare(self: &Arc<Self>, record: &WalRecord) -> Result<Prepared, PrepareError> {
        if record.body.len() <= INLINE_BYTES_MAX {
            return prepare(&self.normaliser, &self.storage.blobs().of(&record.project), record);
        }
        self.prepare_aside(record.clone()).await
    }

    /// Prepares off the async threads, which also makes several run at once.
    async fn prepare_aside(self: &Arc<Self>, record: WalRecord) -> Result<Prepared, PrepareError> {
        let ingest = Arc::clone(self);
        let prepared = tokio::task::spawn_blocking(move || {
            prepare(&ingest.normaliser, &ingest.storage.blobs().of(&record.project), &record)
        });
        prepared.await.expect("preparing a request does not panic")
    }

    /// Decides when all earlier requests are, then publishes.
    async fn take_turn(&self, position: WalPosition, ready: Ready) {
        let turn = self.turns.wait(position.get()).await;
        let decided = self.decide(position, ready);
        // Pricing and making batches takes longer than deciding; no order matters there.
        drop(turn);
        self.publish(position, decided);
    }

    fn decide(&self, position: WalPosition, ready: Ready) -> DecidedRecord {
        match ready {
            Ready::Request(mut prepared) => {
                prepared.set_position(position.get());
                DecidedRecord::Request(self.calls.decide(prepared))
            }
            Ready::Rows(mut rows) => {
                let number = i64::try_from(position.get()).expect("positions count requests");
                rows.iter_mut().for_each(|(_, batch)| *batch = with_position(batch, number));
                DecidedRecord::Rows(rows)
            }
        }
    }

    fn publish(&self, position: WalPosition, decided: DecidedRecord) {
        let rows = match decided {
            DecidedRecord::Request(decided) => decided.rows(&self.prices),
            DecidedRecord::Rows(rows) => rows,
        };
        self.storage.publish(position, rows);
    }
}

/// The time of receipt of what is received now.
pub(crate) fn now_unix_nano() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().expect("the clock is before the year 2262")
}

/// The outcome of `prepared`, with the reasons of its refusals in the order they came.
fn outcome(prepared: &Prepared) -> Outcome {
    let mut reasons: Vec<&str> = Vec::new();
    for row in &prepared.quarantine {
        if reasons.len() < REASONS_MAX && !reasons.contains(&row.detail.as_str()) {
            reasons.push(&row.detail);
        }
    }
    let message = (!reasons.is_empty()).then(|| format!("refused, see the table `quarantine`: {}", reasons.join("; ")));
    Outcome { rejected: prepared.quarantine.len() as u64, message }
}
