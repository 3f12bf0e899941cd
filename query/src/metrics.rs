//! What the engine counts about itself, for `/metrics`.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::error::QueryErrorKind;

/// Counters of the engine.
#[derive(Clone, Debug)]
pub struct Metrics {
    duration: Histogram,
    rows: IntCounter,
    failures: IntCounterVec,
    pub(crate) columns: ColumnMetrics,
    /// If there are other nodes.
    pub(crate) nodes: Option<NodeMetrics>,
}

/// Counters of queries over several nodes.
#[derive(Clone, Debug)]
pub(crate) struct NodeMetrics {
    queries: IntCounter,
    bytes: IntCounter,
    pub(crate) visits: IntGauge,
}

/// Counters of the cache of decoded columns.
#[derive(Clone, Debug)]
pub(crate) struct ColumnMetrics {
    pub(crate) bytes: IntGauge,
    pub(crate) hits: IntCounter,
    pub(crate) misses: IntCounter,
}

impl Default for ColumnMetrics {
    fn default() -> Self {
        let counter = |name: &str, help: &str| IntCounter::new(name, help).expect("the name is a constant");
        Self {
            bytes: IntGauge::new("assay_query_column_cache_bytes", "Memory of decoded columns that are kept between questions.")
                .expect("the name is a constant"),
            hits: counter("assay_query_column_cache_hits_total", "Columns of row groups that a question found decoded."),
            misses: counter("assay_query_column_cache_misses_total", "Columns of row groups that a question had to decode."),
        }
    }
}

impl Default for NodeMetrics {
    fn default() -> Self {
        let counter = |name: &str, help: &str| IntCounter::new(name, help).expect("the name is a constant");
        Self {
            queries: counter("assay_query_nodes_queries_total", "Questions asked here that several nodes answered."),
            bytes: counter("assay_query_nodes_bytes_total", "Bytes that nodes gave each other for questions asked here."),
            visits: IntGauge::new("assay_query_nodes_visits", "Questions of other nodes that have a part here now.")
                .expect("the name is a constant"),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let duration = HistogramOpts::new("assay_query_duration_seconds", "Time from a question to its last row.")
            .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);
        let failures = Opts::new("assay_query_failures_total", "Questions that were not answered, by reason.");
        Self {
            duration: Histogram::with_opts(duration).expect("name and buckets are constants"),
            rows: IntCounter::new("assay_query_rows_total", "Rows given in answers.").expect("the name is a constant"),
            failures: IntCounterVec::new(failures, &["reason"]).expect("name and label are constants"),
            columns: ColumnMetrics::default(),
            nodes: None,
        }
    }
}

impl Metrics {
    /// Shows the counters in `registry`.
    ///
    /// # Errors
    /// If `registry` has metrics of these names already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.duration.clone()))?;
        registry.register(Box::new(self.rows.clone()))?;
        registry.register(Box::new(self.failures.clone()))?;
        if let Some(nodes) = &self.nodes {
            registry.register(Box::new(nodes.queries.clone()))?;
            registry.register(Box::new(nodes.bytes.clone()))?;
            registry.register(Box::new(nodes.visits.clone()))?;
        }
        registry.register(Box::new(self.columns.bytes.clone()))?;
        registry.register(Box::new(self.columns.hits.clone()))?;
        registry.register(Box::new(self.columns.misses.clone()))
    }

    pub(crate) fn answered(&self, took: Duration, rows: usize) {
        self.duration.observe(took.as_secs_f64());
        self.rows.inc_by(rows as u64);
    }

    /// A question was answered by several nodes, which gave each other so many bytes.
    pub(crate) fn exchanged(&self, bytes: usize) {
        if let Some(nodes) = &self.nodes {
            nodes.queries.inc();
            nodes.bytes.inc_by(bytes as u64);
        }
    }

    pub(crate) fn failed(&self, kind: QueryErrorKind) {
        let reason = match kind {
            QueryErrorKind::Invalid => "invalid",
            QueryErrorKind::ReadOnly => "read_only",
            QueryErrorKind::NotFound => "not_found",
            QueryErrorKind::Conflict => "conflict",
            QueryErrorKind::Timeout => "timeout",
            QueryErrorKind::TooLarge => "too_large",
            QueryErrorKind::Overloaded => "overloaded",
            QueryErrorKind::Unavailable => "unavailable",
            QueryErrorKind::Cancelled => "cancelled",
            QueryErrorKind::Internal => "internal",
        };
        self.failures.with_label_values(&[reason]).inc();
    }
}
