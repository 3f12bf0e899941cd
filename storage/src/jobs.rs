//! What the background work did lately: flushes and maintenance, table by table, with what failed and why. In memory, for
//! `system.jobs`; it begins anew with the process.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use assay_schemas::tables::TableId;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use crate::outside;

/// Runs kept of each kind: flushes, which are many, must not push out the rare ones.
const RUNS_MAX: usize = 256;

/// One piece of work on one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRun {
    /// `flush`, `compaction`, `retention`, `vacuum` or `checkpoint`.
    pub kind: &'static str,
    /// The table; `None` for what failed before a table's turn came.
    pub table: Option<&'static str>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub took: Duration,
    /// Rows written; of a retention, rows removed.
    pub rows: u64,
    /// Their bytes of Parquet; of a vacuum, 0.
    pub bytes: u64,
    /// Files written; of retention and vacuum, files removed.
    pub files: u64,
    /// Why it failed, with the causes; it is tried again.
    pub error: Option<String>,
}

/// The last runs of each kind.
#[derive(Debug, Default)]
pub(crate) struct JobHistory(Mutex<History>);

#[derive(Debug, Default)]
struct History {
    runs: BTreeMap<&'static str, VecDeque<JobRun>>,
    /// When a table was last done without an error, by kind and table.
    last: HashMap<(&'static str, &'static str), DateTime<Utc>>,
}

impl JobHistory {
    pub(crate) fn add(&self, run: JobRun) {
        let mut history = self.0.lock();
        if let (Some(table), None) = (run.table, &run.error) {
            history.last.insert((run.kind, table), run.started_at + run.took);
        }
        let runs = history.runs.entry(run.kind).or_default();
        if runs.len() == RUNS_MAX {
            runs.pop_front();
        }
        runs.push_back(run);
    }

    /// The runs that are kept, in the order they began.
    pub(crate) fn runs(&self) -> Vec<JobRun> {
        let mut runs: Vec<_> = self.0.lock().runs.values().flatten().cloned().collect();
        runs.sort_by_key(|run| run.started_at);
        runs
    }

    /// When `kind` last did something to `table`.
    pub(crate) fn last(&self, kind: &'static str, table: TableId) -> Option<DateTime<Utc>> {
        self.0.lock().last.get(&(kind, table.name())).copied()
    }
}

/// The clock of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunClock {
    started_at: DateTime<Utc>,
    started: Instant,
}

impl RunClock {
    pub(crate) fn start() -> Self {
        Self { started_at: outside::wall_clock(), started: outside::monotonic() }
    }

    /// The run that ends now.
    pub(crate) fn end(self, kind: &'static str, table: Option<TableId>, done: Done, error: Option<String>) -> JobRun {
        let Done { rows, bytes, files } = done;
        let table = table.map(TableId::name);
        JobRun { kind, table, started_at: self.started_at, took: outside::monotonic() - self.started, rows, bytes, files, error }
    }
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl Done {
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a std::sync::Arc<crate::DataFile>>) -> Self {
        files.into_iter().fold(Self::default(), |sum, file| Self {
            rows: sum.rows + file.rows,
            bytes: sum.bytes + file.size,
            files: sum.files + 1,
        })
    }

    pub(crate) fn add(&mut self, other: Self) {
        *self = Self { rows: self.rows + other.rows, bytes: self.bytes + other.bytes, files: self.files + other.files };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_flushes_do_not_push_out_a_compaction() {
        let history = JobHistory::default();
        let run = |kind, error: Option<&str>| {
            let done = Done { rows: 1, bytes: 2, files: 1 };
            RunClock::start().end(kind, Some(TableId::Spans), done, error.map(str::to_owned))
        };
        history.add(run("compaction", Some("disk full")));
        for _ in 0..=RUNS_MAX {
            history.add(run("flush", None));
        }
        let runs = history.runs();
        assert_eq!(runs.len(), RUNS_MAX + 1);
        assert_eq!((runs[0].kind, runs[0].error.as_deref()), ("compaction", Some("disk full")));
        assert!(history.last("flush", TableId::Spans).is_some() && history.last("flush", TableId::Logs).is_none());
        // What failed has not been done.
        assert_eq!(history.last("compaction", TableId::Spans), None);
    }
}
