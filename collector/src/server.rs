//! The OTLP servers: what is the same for HTTP and gRPC. A request is charged, read, handed to [`Ingest`] and answered as OTLP 1.11
//! asks, so that a client resends exactly what is worth resending.
//!
//! `docs/ingest.md` lists the answers. Configuration is [`Limits`]; telemetry is [`metrics`].

mod body;
mod grpc;
mod http;
mod limits;
mod metrics;
mod status;

use std::{sync::Arc, time::Duration};

use assay_schemas::ids::{Encoding, ProjectId, Signal};
use assay_storage::WalRecord;
use bytes::Bytes;

pub use self::{grpc::grpc_router, http::http_router, limits::Limits};
use self::{limits::ByteBudget, metrics::ServerMetrics, status::Refusal};
use crate::ingest::{Ingest, IngestError, Outcome, now_unix_nano};

/// Header that names the project of a request.
pub const PROJECT_HEADER: &str = "x-assay-project";

/// What both transports share: one budget for all requests in flight, whatever way they came.
#[derive(Clone)]
pub struct Receiver {
    ingest: Arc<Ingest>,
    limits: Limits,
    budget: ByteBudget,
    metrics: ServerMetrics,
}

impl Receiver {
    /// A receiver that hands to `ingest` and counts in `registry`.
    ///
    /// # Errors
    /// If `registry` already has a receiver's metrics.
    pub fn new(ingest: Arc<Ingest>, limits: Limits, registry: &prometheus::Registry) -> prometheus::Result<Self> {
        let budget = ByteBudget::new(limits.in_flight_bytes_max);
        Ok(Self { ingest, limits, budget, metrics: ServerMetrics::new(registry)? })
    }

    /// Whether there is room for another request of `project`, asked before its body is read.
    async fn admit(&self, project: &ProjectId) -> Result<(), Refusal> {
        self.ingest.admit(project).await.map_err(|error| Refusal::overloaded(error.reason, error.retry_after))
    }

    /// Makes a request durable and visible. What is refused is counted where it is answered.
    async fn accept(&self, project: ProjectId, signal: Signal, encoding: Encoding, body: Bytes) -> Result<Outcome, Refusal> {
        let received_at_unix_nano = now_unix_nano();
        let bytes = body.len();
        let record = WalRecord { project, signal, encoding, received_at_unix_nano, body };
        let outcome = self.ingest.accept(record).await?;
        self.metrics.count(signal, if outcome.rejected == 0 { "accepted" } else { "partial" }, bytes);
        Ok(outcome)
    }
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Malformed { detail } => Self::bad_data(detail),
            IngestError::Overloaded { reason, retry_after } => Self::overloaded(reason, retry_after),
            IngestError::TooLarge { .. } => Self::too_large(error.to_string()),
            // The disk is at fault, not the data: the client keeps it and tries again, perhaps after a restart.
            IngestError::Failed { .. } => Self::unavailable(error.to_string(), Duration::from_secs(30)),
        }
    }
}

/// The project that `header` names, or the default one.
fn project_of(header: Option<&[u8]>) -> Result<ProjectId, Refusal> {
    let Some(header) = header else { return Ok(ProjectId::default_project()) };
    let text = String::from_utf8_lossy(header);
    ProjectId::new(text.trim()).map_err(|error| Refusal::bad_data(format!("header `{PROJECT_HEADER}`: {error}")))
}

/// Inflates a body that arrives in `chunks`, as a request with the `Content-Encoding` given is read. For the fuzz target `body`.
///
/// # Errors
/// What the client would be told.
#[doc(hidden)]
pub async fn inflate(encoding: &[u8], chunks: Vec<Bytes>, bytes_max: usize) -> Result<Bytes, String> {
    let encoding = body::ContentEncoding::from_header(encoding).ok_or("no such encoding")?;
    let frames = chunks.into_iter().map(|chunk| Ok::<_, std::convert::Infallible>(::http_body::Frame::data(chunk)));
    let budget = ByteBudget::new(Limits::default().in_flight_bytes_max);
    let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
    body::read(body, encoding, bytes_max, budget.charge(&ProjectId::default_project()))
        .await
        .map(|body| body.bytes)
        .map_err(|refusal| format!("{refusal:?}"))
}

#[cfg(test)]
mod tests;
