//! Ingest: OTLP receivers, decoding, normalisation, pricing.
//!
//! ```text
//! server (limits, inflating, answers) ─> ingest ─> prepare (otlp::wire ─> normalise ─> otlp::rows) ─> WAL ─> calls (settle, cost) ─> publish
//! ```

pub mod calls;
pub(crate) mod cost;
pub mod ingest;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod normalise;
pub mod normalised;
pub mod otlp;
mod own_rows;
pub mod prepare;
pub mod prepared;
pub mod reprice;
pub mod server;
mod slots;
pub mod trial;
mod turns;

pub use self::{
    ingest::{Ingest, IngestError, Outcome, RecoverError, StoreRowsError},
    otlp::export,
    server::{Limits, Receiver, grpc_router, http_router},
};
