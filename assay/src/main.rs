//! The `assay` binary: configuration, composition, signals.
fn main() {}
