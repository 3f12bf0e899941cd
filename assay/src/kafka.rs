//! Kafka beside the listeners: a source of telemetry that is started and stopped with them. Without the feature `kafka` there is none;
//! `config` refuses brokers then.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "kafka")]
use anyhow::Context as _;
use assay_collector::Ingest;
#[cfg(feature = "kafka")]
use assay_collector::kafka::{KafkaConfig, KafkaSource, Redelivery};
use assay_storage::Storage;
use prometheus::Registry;

use crate::config::Config;

/// Kafka as a source, if brokers are configured.
#[cfg(feature = "kafka")]
pub(crate) struct Kafka {
    ready: Option<(KafkaConfig, Redelivery)>,
    source: Option<KafkaSource>,
}

#[cfg(feature = "kafka")]
impl Kafka {
    /// Nothing to read.
    pub(crate) fn none() -> Self {
        Self { ready: None, source: None }
    }

    /// Looks into the log for what brokers may hand out again. To be called before the log is replayed, which empties it.
    ///
    /// # Errors
    /// If the file of the password cannot be read.
    pub(crate) fn before_recovery(config: &Config, storage: &Storage) -> anyhow::Result<Self> {
        let Some(config) = config.kafka_source()? else { return Ok(Self::none()) };
        let redelivery = Redelivery::from_log(storage.replay(), &config.project);
        Ok(Self { ready: Some((config, redelivery)), source: None })
    }

    /// Begins to hand records to `ingest`.
    ///
    /// # Errors
    /// If the configuration is not what the client library takes. A broker that is away is no error.
    pub(crate) fn start(&mut self, ingest: &Arc<Ingest>, registry: &Registry) -> anyhow::Result<()> {
        let Some((config, redelivery)) = self.ready.take() else { return Ok(()) };
        let source = KafkaSource::start(config, Arc::clone(ingest), redelivery, registry);
        self.source = Some(source.context("could not start reading from Kafka (`kafka` in the configuration)")?);
        Ok(())
    }

    /// Commits what is in the log and leaves the group, within `grace`.
    pub(crate) async fn stop(self, grace: Duration) {
        if let Some(source) = self.source {
            source.stop(grace).await;
        }
    }
}

/// No Kafka in this binary.
#[cfg(not(feature = "kafka"))]
pub(crate) struct Kafka;

#[cfg(not(feature = "kafka"))]
impl Kafka {
    pub(crate) fn none() -> Self {
        Self
    }

    pub(crate) fn before_recovery(_: &Config, _: &Storage) -> anyhow::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn start(&mut self, _: &Arc<Ingest>, _: &Registry) -> anyhow::Result<()> {
        Ok(())
    }

    pub(crate) async fn stop(self, _: Duration) {}
}
