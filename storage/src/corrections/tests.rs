//! Tests of `corrections`.
