//! Kafka as a source of OTLP: records of `otlp_proto` topics, as the OpenTelemetry Collector's Kafka exporter writes them, take the way of
//! every request. Only with the feature `kafka`.
//!
//! ```text
//! thread: poll ─> begin (offsets) ─┐                                            ┌─> end (offsets) ─> commit, every 200 ms
//!                                  └─> task: Ingest::accept (WAL, fsync) ─> ack ─┘
//! ```
//! Invariant: an offset is committed only when that record and all before it in its partition are in the write-ahead log, as rows or in
//! `quarantine`. Records are worked on side by side, so that they share fsyncs; [`offsets`] keeps their order. What storage refuses for now
//! waits in its task; then no more is fetched, and the thread goes on polling, so that the group does not take it for dead.
//!
//! Kafka hands a record out again if its offset was not committed. [`redelivery`] knows those that this node's log had at its start, and
//! [`offsets`] those that were accepted since. `docs/ingest.md` says what holds beyond one node.

mod config;
mod consumer;
mod metrics;
mod offsets;
mod record;
mod redelivery;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use prometheus::Registry;
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::sync::CancellationToken;

pub use self::{
    config::{KafkaConfig, KafkaConfigError, Sasl, Start, Tls, Topics},
    redelivery::Redelivery,
};
use self::{consumer::Consumer, metrics::KafkaMetrics};
use crate::ingest::Ingest;

/// After an error that ends a consumer, such as an instance that another process took over, the next one begins so much later.
const RESTART_AFTER: Duration = Duration::from_secs(10);

/// A member of a consumer group, on a thread of its own.
pub struct KafkaSource {
    stop: CancellationToken,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

/// The source could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartKafkaError {
    /// The configuration does not fit together.
    #[error("the configuration of Kafka is not valid")]
    Config(#[from] KafkaConfigError),
    /// The metrics exist already.
    #[error("could not register the metrics of Kafka")]
    Metrics(#[from] prometheus::Error),
    /// The client does not take a setting.
    #[error("the Kafka client does not take its settings")]
    Client {
        /// Which, and why.
        source: rdkafka::error::KafkaError,
    },
    /// No thread.
    #[error("could not start a thread")]
    Thread(#[from] std::io::Error),
}

impl KafkaSource {
    /// Joins the group and hands what comes to `ingest`, until [`KafkaSource::stop`]. Brokers may be away: it goes on trying. `redelivery` is
    /// made from the log before [`Ingest::recover`]. Called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartKafkaError`]; an unreachable broker is none.
    pub fn start(
        config: KafkaConfig,
        ingest: Arc<Ingest>,
        redelivery: Redelivery,
        registry: &Registry,
    ) -> Result<Self, StartKafkaError> {
        Self::with_metrics(config, ingest, redelivery, KafkaMetrics::new(registry)?)
    }

    fn with_metrics(
        config: KafkaConfig,
        ingest: Arc<Ingest>,
        redelivery: Redelivery,
        metrics: KafkaMetrics,
    ) -> Result<Self, StartKafkaError> {
        config.validate()?;
        let stop = CancellationToken::new();
        let consumer = Consumer::new(config, ingest, redelivery, metrics, stop.clone());
        let mut session = Ok(consumer.session().map_err(|source| StartKafkaError::Client { source })?);
        let (stopped, runtime) = (stop.clone(), Handle::current());
        let (running, ended) = oneshot::channel();
        let run = move || {
            let _running: oneshot::Sender<()> = running;
            loop {
                match session {
                    Ok(session) => session.run(),
                    Err(error) => tracing::error!(%error, "could not make a Kafka consumer again"),
                }
                let pause = async { tokio::time::timeout(RESTART_AFTER, stopped.cancelled()).await };
                if runtime.block_on(pause).is_ok() {
                    return;
                }
                session = consumer.session();
            }
        };
        // Nobody joins it: if brokers keep it from ending in time, the process ends without it.
        std::thread::Builder::new().name("assay-kafka".to_owned()).spawn(run)?;
        Ok(Self { stop, ended })
    }

    /// Fetches nothing more, waits for what is on its way into the log, commits its offsets and leaves the group; for at most `grace`.
    /// What is not committed by then will be handed out again.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(grace, self.ended).await.is_ok() {
            tracing::info!("left the Kafka group");
        } else {
            tracing::warn!(?grace, "could not leave the Kafka group in time; what is not committed is handed out again");
        }
    }
}
