//! The query engine and its HTTP API over a real storage in a temporary folder.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod api;
mod columns;
mod depth;
mod lake;
mod lists;
mod read_only;
mod running;
mod scan;
mod sql;
mod support;
mod system;
mod traces;
