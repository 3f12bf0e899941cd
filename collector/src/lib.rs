//! Ingest: OTLP receivers, decoding, normalisation, pricing.

pub mod normalise;
pub mod normalised;
pub mod prepared;
