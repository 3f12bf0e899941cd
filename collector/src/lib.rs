//! Ingest: OTLP receivers, decoding, normalisation, pricing.

pub mod normalised;
pub mod prepared;
