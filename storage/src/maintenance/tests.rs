//! Tests of `maintenance`.
