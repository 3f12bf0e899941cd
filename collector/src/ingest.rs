//! The write path: a request becomes durable, then visible, then acknowledged, in this order.
//!
//! ```text
//! prepare (stateless) ─> append (WAL, fsync) ─> settle (call index) ─> publish (hot buffer) ─> outcome
//! ```
//! It runs in a task of its own: a client that goes away cannot stop it between append and publish. Replay after a crash takes the
//! same path without the append.

use std::{sync::Arc, time::Duration};

use assay_schemas::prices::PriceTable;
use assay_storage::{Admission, AppendError, AppendErrorKind, ReplayError, Storage, WalPosition, WalRecord};
use futures::{TryStreamExt as _, stream};

use crate::{
    calls::CallIndex,
    normalise::Normaliser,
    prepare::{PrepareError, prepare},
    prepared::Prepared,
};

/// Requests below this size are prepared where they are; above it, off the async threads.
const INLINE_BYTES_MAX: usize = 32 << 10;
/// At most this many kinds of refusal are named in the message of a partial success.
const REASONS_MAX: usize = 3;

/// Accepts OTLP requests into a store.
pub struct Ingest {
    storage: Storage,
    normaliser: Normaliser,
    calls: CallIndex,
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
    #[error("overloaded")]
    Overloaded {
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
}

impl Ingest {
    /// Ingest into `storage`. Call [`Ingest::recover`] before the first [`Ingest::accept`].
    #[must_use]
    pub fn new(storage: Storage, normaliser: Normaliser, prices: Arc<PriceTable>) -> Self {
        Self { storage, normaliser, calls: CallIndex::default(), prices }
    }

    /// Whether there is room for another request.
    #[must_use]
    pub fn admission(&self) -> Admission {
        self.storage.admission()
    }

    /// The index of recent calls, to be seeded at start.
    #[must_use]
    pub fn calls(&self) -> &CallIndex {
        &self.calls
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
        let prepared = self.prepare(&record).await.map_err(|error| match error {
            PrepareError::Decode(error) => IngestError::Malformed { detail: error.to_string() },
            PrepareError::Blob(source) => IngestError::Failed { source: source.into() },
        })?;
        if prepared.n_storable() == 0 && prepared.quarantine.is_empty() {
            return Ok(Outcome::default());
        }
        let position = self.storage.append(record).await.map_err(|source| match source.kind() {
            AppendErrorKind::Overloaded { retry_after } => IngestError::Overloaded { retry_after },
            AppendErrorKind::TooLarge => IngestError::TooLarge { source },
            AppendErrorKind::Failed => IngestError::Failed { source: source.into() },
        })?;
        let outcome = outcome(&prepared);
        self.publish(position, prepared);
        Ok(outcome)
    }

    /// Publishes what a crash left in the write-ahead log. Returns the number of requests.
    ///
    /// # Errors
    /// [`RecoverError`] if the log cannot be read or holds what is not understood; nothing is lost, and the server must not start.
    pub async fn recover(self: &Arc<Self>) -> Result<u64, RecoverError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut requests = 0;
        let mut prepared = stream::iter(self.storage.replay())
            .map_err(RecoverError::from)
            .map_ok(|(position, record)| {
                let ingest = Arc::clone(self);
                async move {
                    let prepared = ingest.prepare(&record).await.map_err(|source| RecoverError::Prepare { position, source })?;
                    Ok((position, prepared))
                }
            })
            .try_buffered(threads);
        while let Some((position, prepared)) = prepared.try_next().await? {
            self.publish(position, prepared);
            requests += 1;
            if let Admission::Overloaded { .. } = self.storage.admission()
                && let Err(error) = self.storage.flush().await
            {
                tracing::warn!(%error, "could not flush while replaying; the rows stay in memory");
            }
        }
        Ok(requests)
    }

    async fn prepare(self: &Arc<Self>, record: &WalRecord) -> Result<Prepared, PrepareError> {
        if record.body.len() <= INLINE_BYTES_MAX {
            return prepare(&self.normaliser, self.storage.blobs(), record);
        }
        let (ingest, record) = (Arc::clone(self), record.clone());
        let prepared = tokio::task::spawn_blocking(move || prepare(&ingest.normaliser, ingest.storage.blobs(), &record));
        prepared.await.expect("preparing a request does not panic")
    }

    fn publish(&self, position: WalPosition, mut prepared: Prepared) {
        prepared.set_position(position.get());
        let rows = self.calls.settle(prepared, &self.prices);
        self.storage.publish(position, rows);
    }
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
