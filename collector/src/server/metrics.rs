//! Metrics of the OTLP servers. Labels are closed sets: no project, no path, no client.

use assay_schemas::ids::Signal;
use prometheus::{IntCounterVec, Opts, Registry};

/// Counters of the receivers.
#[derive(Clone, Debug)]
pub(super) struct ServerMetrics {
    requests: IntCounterVec,
    request_bytes: IntCounterVec,
}

impl ServerMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("assay_otlp_requests_total", "OTLP requests by signal and outcome: accepted, partial, refused."),
            &["signal", "outcome"],
        )?;
        let request_bytes = IntCounterVec::new(
            Opts::new("assay_otlp_request_bytes_total", "Bytes of OTLP requests after inflating, by signal."),
            &["signal"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(request_bytes.clone()))?;
        Ok(Self { requests, request_bytes })
    }

    pub(super) fn count(&self, signal: Signal, outcome: &str, bytes: usize) {
        self.requests.with_label_values(&[signal.as_str(), outcome]).inc();
        self.request_bytes.with_label_values(&[signal.as_str()]).inc_by(bytes as u64);
    }

    pub(super) fn refused(&self, signal: Signal) {
        self.requests.with_label_values(&[signal.as_str(), "refused"]).inc();
    }
}
