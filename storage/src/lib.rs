//! Durable storage of telemetry: write-ahead log, hot buffer, Delta lake or ClickHouse. What is appended is durable, what is published is visible,
//! what is flushed is in open tables; exactly once across crashes.
//!
//! Reading order: `storage` (the whole), `wal`, `hot`, `view`, `admission`, `flush`, `lake`, `clickhouse` (in its place), `trace_index`, `trace_directory`, `trace_sums`, `text_index`,
//! `corrections`, `blobs`, `bucket`, `follow`, `maintenance`, `jobs`; `outside` is what all of them ask of the world, `simulation` a world in which that fails.

mod admission;
mod blobs;
mod bucket;
mod clickhouse;
mod config;
mod corrections;
mod flush;
mod follow;
mod hot;
mod jobs;
mod lake;
mod maintenance;
mod metrics;
mod outside;
#[cfg(test)]
mod simulation;
mod status;
mod storage;
mod store;
mod tasks;
mod text_index;
mod trace_directory;
mod trace_index;
mod trace_sums;
mod view;
mod wal;

#[doc(hidden)]
pub use self::wal::read_wal;
pub use self::{
    admission::{Overload, Overloaded, Reservation},
    blobs::{BlobError, BlobStore, ProjectBlobs},
    bucket::{AzureAccess, BucketConfig, BucketError, GcsAccess, S3Access, Secret},
    clickhouse::{ClickHouseClient, ClickHouseConfig, ClickHouseError, Day, RolledUp, Settings, StoredRows, migrate},
    config::{Role, StorageConfig},
    corrections::{CorrectionSet, PATCHABLE, patchable, row_key_columns},
    flush::FlushError,
    follow::FollowError,
    hot::memory_of,
    jobs::JobRun,
    lake::{ColumnStats, DataFile, DeltaError, EncodeError, LakeError, StatValue, file_schema},
    maintenance::MaintenanceError,
    status::{JobStatus, StorageStatus, TableStatus},
    storage::{OpenStorageError, Storage},
    text_index::{FileText, TextGrams},
    trace_directory::TraceDirectoryError,
    trace_index::{TraceIndex, TraceIndexError},
    trace_sums::{FileSums, SpanSums, TraceKey, TraceSum, trace_key_of},
    view::ReadView,
    wal::{AppendError, AppendErrorKind, LaterSegment, OpenWalError, ReplayError, WalPosition, WalRecord, WalStatus},
};
