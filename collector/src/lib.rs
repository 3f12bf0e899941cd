//! Ingest: OTLP receivers, decoding, normalisation, pricing.
