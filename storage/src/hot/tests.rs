//! Tests of `hot`.
