//! OTLP on the wire and as rows: decoding and encoding requests ([`json`], [`wire`], [`borrowed`]), and the exact translation between
//! records and rows ([`rows`], [`export`]).
//!
//! Invariant: a record that was stored comes out equal to what came in, nanoseconds and attribute types included.

pub mod attributes;
pub(crate) mod binary;
pub mod borrowed;
pub mod export;
pub mod json;
pub mod rows;
pub mod wire;
