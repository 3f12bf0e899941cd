//! What storage says about itself: the status document.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    admission::Overload,
    wal::{WalPosition, WalStatus},
};

/// Everything an operator may ask about storage. Sizes in bytes, times in milliseconds since 1970.
#[derive(Clone, Debug, Serialize)]
pub struct StorageStatus {
    /// The write-ahead log.
    pub wal: WalStatus,
    /// Rows in memory.
    pub hot_rows: u64,
    /// Bytes of rows in memory.
    pub hot_bytes: u64,
    /// Everything up to here is published.
    pub watermark: WalPosition,
    /// Positions that are published but wait for an earlier one.
    pub beyond_watermark: usize,
    /// Corrections not yet folded into files.
    pub pending_corrections: usize,
    /// Why requests of every project are refused now, if they are.
    pub overload: Option<Overload>,
    /// Whatever other nodes acknowledged before is in view; absent where no other node writes, and where no questions are answered.
    pub complete_until_unix_ms: Option<i64>,
    /// Why what other nodes committed could not be read lately, if so.
    pub follow_error: Option<String>,
    /// When the last flush was committed.
    pub last_flush_unix_ms: Option<i64>,
    /// How long it took.
    pub last_flush_ms: Option<u64>,
    /// Why the last flush failed, if it did.
    pub flush_error: Option<String>,
    /// Tables by name.
    pub tables: BTreeMap<&'static str, TableStatus>,
    /// Background jobs by name.
    pub jobs: BTreeMap<&'static str, JobStatus>,
}

/// One table of the lake.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableStatus {
    /// Files that are read.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Delta version.
    pub version: u64,
    /// Largest write-ahead log position committed to this table.
    pub committed: u64,
    /// Replaced files that wait to be deleted.
    pub unreferenced_files: u64,
}

/// A background job.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JobStatus {
    /// Whether it runs now.
    pub running: bool,
    /// When it last ended.
    pub last_unix_ms: Option<i64>,
    /// How long it took.
    pub last_ms: Option<u64>,
    /// What it did in total, in its own unit (files merged, deleted, …).
    pub done: u64,
    /// Why it last failed, if it did.
    pub error: Option<String>,
}
