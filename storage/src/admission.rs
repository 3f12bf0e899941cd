//! Whether there is room for another request: budgets of memory, log and disk, each with a hard limit at which refusing begins and a
//! soft one below which it ends, so that a store near its limit does not flap.
//!
//! Memory is shared fairly: a project may hold [`SHARE_OF_FREE`] times what is free, so that one that floods the store is refused
//! while there is room for the others.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use assay_schemas::ids::ProjectId;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, futures::Notified};

use crate::config::StorageConfig;

/// A project is refused when it holds more than so many times the free bytes, and admitted again at half of that.
const SHARE_OF_FREE: u64 = 3;
/// Rows in memory take about so many times the bytes of the request that they came in.
const ROW_BYTES_PER_BODY_BYTE: u64 = 3;
/// When a refused client should come back: a flush has then made room.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The same where someone has to make room on the disk.
const RETRY_AFTER_DISK_FULL: Duration = Duration::from_secs(10);
/// How often the file system is asked how much is free.
const DISK_SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// A request should not be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Overloaded {
    /// What is used up.
    pub reason: Overload,
    /// When the client should try again.
    pub retry_after: Duration,
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overload {
    /// `storage.hot_bytes_max`: rows wait in memory to be written to the lake.
    Memory,
    /// The share of `storage.hot_bytes_max` that one project may hold.
    ProjectMemory,
    /// `storage.wal_bytes_max`.
    Log,
    /// Corrections wait to be folded into files.
    Corrections,
    /// `storage.disk_free_min`: less than that is free.
    Disk,
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "the memory for rows is used up",
            Self::ProjectMemory => "this project's share of the memory for rows is used up",
            Self::Log => "the write-ahead log is full",
            Self::Corrections => "too many corrections wait to be written",
            Self::Disk => "the disk is nearly full",
        })
    }
}

/// What is used now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Bytes of rows in memory, of all projects.
    pub(crate) hot_bytes: u64,
    pub(crate) wal_bytes: u64,
    pub(crate) corrections: usize,
}

/// Remembers who is being refused, between its hard and its soft limit.
pub(crate) struct Gate {
    refusing: Mutex<Refusing>,
    /// Bytes that requests on their way will take, by project.
    reserved: Mutex<HashMap<ProjectId, u64>>,
    disk: Mutex<DiskSample>,
    data_dir: PathBuf,
    /// For requests that wait to be admitted.
    room: Notify,
    waits: AtomicU64,
}

/// Memory set aside for the rows of a request that is being worked on, until dropped.
#[must_use]
pub struct Reservation {
    gate: Arc<Gate>,
    project: ProjectId,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.gate.reserved.lock();
        if let Some(own) = reserved.get_mut(&self.project) {
            *own -= self.bytes;
            if *own == 0 {
                reserved.remove(&self.project);
            }
        }
        drop(reserved);
        self.gate.room.notify_one();
    }
}

#[derive(Default)]
struct Refusing {
    memory: bool,
    log: bool,
    corrections: bool,
    disk: bool,
    projects: HashSet<ProjectId>,
}

#[derive(Default)]
struct DiskSample {
    taken: Option<Instant>,
    free_bytes: Option<u64>,
}

impl Gate {
    pub(crate) fn new(data_dir: PathBuf) -> Self {
        Self {
            refusing: Mutex::default(),
            reserved: Mutex::default(),
            disk: Mutex::default(),
            data_dir,
            room: Notify::new(),
            waits: AtomicU64::new(0),
        }
    }

    /// Returns when there may be more room than when it was called.
    pub(crate) fn room(&self) -> Notified<'_> {
        self.room.notified()
    }

    /// A request begins to wait for room.
    pub(crate) fn waits(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have begun to wait since the start.
    pub(crate) fn waited(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Rows in memory were written: everyone who waits may ask again.
    pub(crate) fn made_room(&self) {
        self.room.notify_waiters();
    }

    /// Sets aside what the rows of a request of `body_bytes` will take.
    pub(crate) fn reserve(self: &Arc<Self>, project: &ProjectId, body_bytes: u64) -> Reservation {
        let bytes = body_bytes * ROW_BYTES_PER_BODY_BYTE;
        *self.reserved.lock().entry(project.clone()).or_default() += bytes;
        Reservation { gate: Arc::clone(self), project: project.clone(), bytes }
    }

    /// Bytes set aside for `project`, and for all.
    pub(crate) fn reserved(&self, project: &ProjectId) -> (u64, u64) {
        let reserved = self.reserved.lock();
        (reserved.get(project).copied().unwrap_or(0), reserved.values().sum())
    }

    /// Whether the store as a whole refuses, whoever asks.
    pub(crate) fn overload(&self, config: &StorageConfig, usage: Usage) -> Option<Overload> {
        let disk_free = self.disk_free();
        let mut refusing = self.refusing.lock();
        let floor = config.disk_free_min;
        // An unknown amount refuses nobody: appending says itself when the disk is full.
        hysteresis(
            &mut refusing.disk,
            disk_free.is_some_and(|free| free < floor),
            disk_free.is_some_and(|free| free < floor / 2 * 3),
        );
        let corrections_max = config.corrections_max;
        hysteresis(&mut refusing.corrections, usage.corrections >= corrections_max, usage.corrections >= corrections_max / 2);
        let wal_max = config.wal_bytes_max;
        hysteresis(&mut refusing.log, usage.wal_bytes >= wal_max / 10 * 9, usage.wal_bytes >= wal_max / 4 * 3);
        let hot_max = config.hot_bytes_max;
        hysteresis(&mut refusing.memory, usage.hot_bytes >= hot_max, usage.hot_bytes >= hot_max / 4 * 3);
        let reasons = [
            (refusing.disk, Overload::Disk),
            (refusing.log, Overload::Log),
            (refusing.corrections, Overload::Corrections),
            (refusing.memory, Overload::Memory),
        ];
        reasons.into_iter().find_map(|(refused, reason)| refused.then_some(reason))
    }

    /// Whether `project`, which holds `own_bytes` of rows in memory, is beyond its share.
    pub(crate) fn beyond_share(&self, config: &StorageConfig, usage: Usage, project: &ProjectId, own_bytes: u64) -> bool {
        let share = config.hot_bytes_max.saturating_sub(usage.hot_bytes).saturating_mul(SHARE_OF_FREE);
        let mut refusing = self.refusing.lock();
        let mut refused = refusing.projects.contains(project);
        hysteresis(&mut refused, own_bytes > share, own_bytes > share / 2);
        if refused {
            refusing.projects.insert(project.clone());
        } else {
            refusing.projects.remove(project);
        }
        refused
    }

    /// Bytes free for this process on the disk of the data folder, as of a second ago. `None` where the file system does not say.
    fn disk_free(&self) -> Option<u64> {
        let mut sample = self.disk.lock();
        if sample.taken.is_none_or(|taken| taken.elapsed() >= DISK_SAMPLE_INTERVAL) {
            sample.taken = Some(Instant::now());
            sample.free_bytes = match rustix::fs::statvfs(&self.data_dir) {
                Ok(found) => Some(found.f_bavail.saturating_mul(found.f_frsize)),
                Err(error) => {
                    tracing::warn!(%error, folder = %self.data_dir.display(), "could not ask how much disk is free");
                    None
                }
            };
        }
        sample.free_bytes
    }
}

impl Overload {
    /// The answer to a request.
    pub(crate) fn refuse(self) -> Overloaded {
        let retry_after = if self == Self::Disk { RETRY_AFTER_DISK_FULL } else { RETRY_AFTER };
        Overloaded { reason: self, retry_after }
    }
}

/// Refusing begins at the hard limit and ends below the soft one: in between, it stays as it is.
fn hysteresis(refusing: &mut bool, hard: bool, soft: bool) {
    *refusing = hard || (soft && *refusing);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(hot_bytes: u64) -> Usage {
        Usage { hot_bytes, wal_bytes: 0, corrections: 0 }
    }

    fn config() -> StorageConfig {
        StorageConfig { hot_bytes_max: 1000, disk_free_min: 0, ..StorageConfig::default() }
    }

    #[test]
    fn one_project_is_refused_while_there_is_room_for_others() {
        let gate = Gate::new(std::env::temp_dir());
        let (flooding, other) = (ProjectId::new("flooding").unwrap(), ProjectId::new("other").unwrap());
        assert!(!gate.beyond_share(&config(), usage(740), &flooding, 740));
        assert!(gate.beyond_share(&config(), usage(760), &flooding, 760));
        assert!(!gate.beyond_share(&config(), usage(760), &other, 0));
        // It stays refused until it holds clearly less.
        assert!(gate.beyond_share(&config(), usage(700), &flooding, 700));
        assert!(!gate.beyond_share(&config(), usage(590), &flooding, 590));
        assert_eq!(gate.overload(&config(), usage(760)), None);
    }

    #[test]
    fn a_disk_below_its_floor_refuses_everyone_until_there_is_clearly_more() {
        let gate = Gate::new(std::env::temp_dir());
        let free = gate.disk_free().unwrap();
        let with_floor = |floor| StorageConfig { disk_free_min: floor, ..config() };
        assert_eq!(gate.overload(&with_floor(free / 2), usage(0)), None);
        assert_eq!(gate.overload(&with_floor(free + 1), usage(0)), Some(Overload::Disk));
        assert_eq!(gate.overload(&with_floor(free - free / 10), usage(0)), Some(Overload::Disk), "still near the floor");
        assert_eq!(gate.overload(&with_floor(free / 2), usage(0)), None);
    }
}
