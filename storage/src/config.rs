//! What an operator can choose about storage, and nothing that has one right answer.

use std::{path::PathBuf, time::Duration};

use crate::{bucket::BucketConfig, clickhouse::ClickHouseConfig};

/// How much [`crate::Storage`] may use and how often it writes.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Folder of this node: `wal/`, `lake/`, `lake-index/`, `blobs/`. Made if missing; one process at a time.
    pub data_dir: PathBuf,
    /// Where `lake/`, `lake-index/` and `blobs/` are, if not in `data_dir`. Default `None`.
    pub bucket: Option<BucketConfig>,
    /// Which part of the work on the lake this node does; all but [`Role::Alone`] need a `bucket`. Default [`Role::Alone`].
    pub role: Role,
    /// How often a node that shares a lake and answers questions looks for what others committed. Default 2 s.
    pub follow_interval: Duration,
    /// Where rows are kept in the place of a lake; not together with `bucket`. Default `None`.
    pub clickhouse: Option<ClickHouseConfig>,
    /// Flush at least this often while there is something to flush. Default 10 s.
    pub flush_interval: Duration,
    /// Flush as soon as so many bytes of rows are in memory. Default 64 MiB.
    pub flush_bytes: u64,
    /// Bytes of the write-ahead log on disk above which appends are refused. Default 4 GiB.
    pub wal_bytes_max: u64,
    /// Size at which a segment of the write-ahead log is closed. Default 64 MiB.
    pub wal_segment_bytes: u64,
    /// Bytes of rows in memory above which [`crate::Storage::admit`] refuses. Default 160 MiB.
    pub hot_bytes_max: u64,
    /// Bytes that must be free on the disk of `data_dir`; with less, requests are refused until there is half as much again. Rows that
    /// were acknowledged are written in any case. Default 256 MiB.
    pub disk_free_min: u64,
    /// Corrections held in memory above which [`crate::Storage::admit`] refuses: they wait for a flush and for compaction to fold
    /// them into files. Default 100 000.
    pub corrections_max: usize,
    /// Whole days older than this are dropped. `None` (the default) keeps everything.
    pub retention: Option<Duration>,
    /// How often compaction, retention and vacuum look for work. Default 5 min.
    pub compaction_interval: Duration,
    /// Longest that an append waits for others to share its fsync with, under load only. Default 2 ms.
    pub group_commit_window: Duration,
    /// How long a replaced file stays on disk for readers outside this process. Default 1 h.
    pub vacuum_grace: Duration,
}

/// Which part of the work on a lake a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// All of it: no other node writes this lake.
    #[default]
    Alone,
    /// All of it, beside other nodes that write the same lake.
    Member,
    /// Takes rows, beside other nodes; sees theirs only as far as its background jobs need.
    Collector,
    /// Reads what others committed. Has no write-ahead log and writes nothing.
    Query,
}

impl Role {
    /// Whether others may write the same lake.
    pub(crate) fn is_shared(self) -> bool {
        self != Self::Alone
    }

    /// Whether it writes.
    pub(crate) fn writes(self) -> bool {
        self != Self::Query
    }

    /// Whether its views must soon show what others committed.
    pub(crate) fn follows(self) -> bool {
        matches!(self, Self::Member | Self::Query)
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("assay-data"),
            bucket: None,
            role: Role::Alone,
            follow_interval: Duration::from_secs(2),
            clickhouse: None,
            flush_interval: Duration::from_secs(10),
            flush_bytes: 64 << 20,
            wal_bytes_max: 4 << 30,
            wal_segment_bytes: 64 << 20,
            hot_bytes_max: 160 << 20,
            disk_free_min: 256 << 20,
            corrections_max: 100_000,
            retention: None,
            compaction_interval: Duration::from_secs(300),
            group_commit_window: Duration::from_millis(2),
            vacuum_grace: Duration::from_secs(3600),
        }
    }
}
