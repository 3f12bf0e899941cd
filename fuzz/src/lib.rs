//! Fuzz targets: every decoder of bytes that come from outside. A target is a function of bytes that must return whatever it is given,
//! within its memory; where something can be compared (decode and encode, print and parse, in and out), it is.
//!
//! `make fuzz MINUTES=n` runs each under libFuzzer with coverage feedback (`main.rs`, `run.py`). `make test` runs each over its seeds and
//! seeded mutations of them (`tests/short.rs`), so that none of them rots. Reading order: [`targets`], [`corpus`], [`memory`].

pub mod corpus;
pub mod memory;
pub mod mutate;
pub mod targets;

pub use self::targets::{TARGETS, Target};
