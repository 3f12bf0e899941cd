//! Metrics of the Kafka source. Labels are closed sets: signals, outcomes, and the partitions of the topics in the configuration.

use assay_schemas::ids::Signal;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector};

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is stored.
    Accepted,
    /// Some of it is in `quarantine`.
    Partial,
    /// It could not be read at all.
    Quarantined,
    /// It had been accepted before.
    Redelivered,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Accepted, Self::Partial, Self::Quarantined, Self::Redelivered];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Partial => "partial",
            Self::Quarantined => "quarantined",
            Self::Redelivered => "redelivered",
        }
    }
}

/// Counters and gauges of the source.
#[derive(Clone, Debug)]
pub(super) struct KafkaMetrics {
    records: IntCounterVec,
    record_bytes: IntCounterVec,
    /// Attempts that storage answered with "not now".
    pub(super) waits: IntCounter,
    /// 1 while nothing is fetched because storage takes no more.
    pub(super) paused: IntGauge,
    /// By topic and partition.
    pub(super) lag_records: IntGaugeVec,
    /// Commits that brokers took.
    pub(super) commits: IntCounter,
    /// Commits that they did not.
    pub(super) commit_failures: IntCounter,
    rebalances: IntCounterVec,
    /// Brokers with a connection.
    pub(super) brokers_up: IntGauge,
    /// What the client reports.
    pub(super) errors: IntCounter,
}

impl KafkaMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        fn registered<M: Collector + Clone + 'static>(
            registry: &Registry,
            metric: prometheus::Result<M>,
        ) -> prometheus::Result<M> {
            let metric = metric?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let counter = |name, help| registered(registry, IntCounter::new(name, help));
        let gauge = |name, help| registered(registry, IntGauge::new(name, help));
        let counters = |name, help, labels: &[&str]| registered(registry, IntCounterVec::new(Opts::new(name, help), labels));
        let metrics = Self {
            records: counters("assay_kafka_records_total", "Kafka records by signal and outcome.", &["signal", "outcome"])?,
            record_bytes: counters("assay_kafka_record_bytes_total", "Bytes of the values of these records.", &["signal"])?,
            waits: counter("assay_kafka_waits_total", "How often storage told a Kafka record to wait.")?,
            paused: gauge("assay_kafka_paused", "1 while nothing is fetched from Kafka because storage takes no more.")?,
            lag_records: registered(
                registry,
                IntGaugeVec::new(
                    Opts::new("assay_kafka_lag_records", "Records of a partition behind the last committed offset."),
                    &["topic", "partition"],
                ),
            )?,
            commits: counter("assay_kafka_commits_total", "Commits of offsets.")?,
            commit_failures: counter("assay_kafka_commit_failures_total", "Commits of offsets that failed; they are repeated.")?,
            rebalances: counters("assay_kafka_rebalances_total", "Partitions assigned, revoked or lost, by kind.", &["kind"])?,
            brokers_up: gauge("assay_kafka_brokers_up", "Kafka brokers with a connection.")?,
            errors: counter("assay_kafka_errors_total", "Errors that the Kafka client reported.")?,
        };
        // A series that is there from the start can be told from one that never came.
        for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
            metrics.record_bytes.with_label_values(&[signal.as_str()]);
            for outcome in Outcome::ALL {
                metrics.records.with_label_values(&[signal.as_str(), outcome.as_str()]);
            }
        }
        for kind in ["assigned", "revoked", "lost"] {
            metrics.rebalances.with_label_values(&[kind]);
        }
        Ok(metrics)
    }

    pub(super) fn record(&self, signal: Signal, outcome: Outcome, bytes: usize) {
        self.records.with_label_values(&[signal.as_str(), outcome.as_str()]).inc();
        self.record_bytes.with_label_values(&[signal.as_str()]).inc_by(bytes as u64);
    }

    pub(super) fn rebalance(&self, kind: &str) {
        self.rebalances.with_label_values(&[kind]).inc();
    }

    #[cfg(test)]
    pub(super) fn records(&self, signal: Signal, outcome: Outcome) -> u64 {
        self.records.with_label_values(&[signal.as_str(), outcome.as_str()]).get()
    }
}
