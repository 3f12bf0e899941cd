//! Ingest: OTLP receivers, decoding, normalisation, pricing.

pub mod calls;
pub(crate) mod cost;
pub mod normalise;
pub mod normalised;
pub mod prepared;
pub mod reprice;
