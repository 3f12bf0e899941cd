//! What the prober sent and knows to be stored. Its size does not grow: rounds of the window, a few that are uncertain, and sums.
//! With a file it outlives the prober; a round is on file before it is sent, so none is forgotten and none is sent twice as another.

use std::{
    collections::VecDeque,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::content::{ROUND_NANOS, Round, SPAN_NANOS_MAX, Sums};

/// Latest rounds that are checked together.
const WINDOW_ROUNDS: usize = 100;
/// Uncertain rounds at once; with more, every request is repeated until it is answered.
const UNCERTAIN_MAX: usize = 32;
/// Rounds known not to be stored, of one run; with more, every request is repeated until it is answered.
const ABSENT_MAX: usize = 1000;
/// Form of the file.
const VERSION: u32 = 1;

/// One run of the prober: the rounds sent under one run id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    version: u32,
    /// Project that it writes to.
    project: String,
    seed: u64,
    run: String,
    /// Nanoseconds since 1970.
    run_started_unix_nano: u64,
    /// Number of the next new round.
    next: u64,
    last_base_unix_nano: u64,
    /// Sent, perhaps, and not yet acknowledged.
    in_flight: Option<Sent>,
    /// The latest rounds that are stored.
    window: VecDeque<Sent>,
    /// Sent once without an answer: stored whole, or not at all.
    uncertain: Vec<Uncertain>,
    /// Rounds that turned out not to be stored.
    absent: Vec<u64>,
    /// All rounds that are stored.
    total: Sums,
}

/// A round that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) base_unix_nano: u64,
}

/// A round of which nobody knows whether it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Uncertain {
    pub(crate) sent: Sent,
    /// When it became so, nanoseconds since 1970.
    pub(crate) since_unix_nano: u64,
}

impl Ledger {
    /// A run that begins now.
    pub(crate) fn new(project: &str, seed: u64, now_unix_nano: u64) -> Self {
        Self {
            version: VERSION,
            project: project.to_owned(),
            seed,
            run: format!("probe-{seed:x}-{:x}", now_unix_nano / 1_000_000),
            run_started_unix_nano: now_unix_nano,
            next: 0,
            last_base_unix_nano: 0,
            in_flight: None,
            window: VecDeque::new(),
            uncertain: vec![],
            absent: vec![],
            total: Sums::default(),
        }
    }

    /// Reads the ledger that an earlier prober left at `path`; `None` if there is none.
    ///
    /// # Errors
    /// If the file cannot be read, is no ledger, or is of another project or seed.
    pub(crate) fn read(path: &Path, project: &str, seed: Option<u64>) -> anyhow::Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("could not read `{}`", path.display())),
        };
        let ledger: Self =
            serde_json::from_slice(&bytes).with_context(|| format!("`{}` is not the state of a prober", path.display()))?;
        let (found, expected) = (&ledger.project, project);
        ensure!(ledger.version == VERSION, "`{}` has version `{}`: expected `{VERSION}`", path.display(), ledger.version);
        ensure!(found == expected, "`{}` is of project `{found}`: expected `{expected}`", path.display());
        ensure!(seed.is_none_or(|seed| seed == ledger.seed), "`{}` is of seed `{}`", path.display(), ledger.seed);
        Ok(Some(ledger))
    }

    /// Writes the ledger to `path`, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let beside = PathBuf::from(format!("{}.new", path.display()));
        let write = || {
            let mut file = fs::File::create(&beside)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        write().with_context(|| format!("could not write `{}`", path.display()))
    }

    /// Takes the next round: what was in flight when the prober ended, else a new one at `now_unix_nano`.
    pub(crate) fn begin_round(&mut self, now_unix_nano: u64) -> Round {
        let sent = *self.in_flight.get_or_insert_with(|| {
            // In the past, so that no span ends in the future; after every other round, so that a time range is a range of rounds.
            let base = now_unix_nano.saturating_sub(SPAN_NANOS_MAX).max(self.last_base_unix_nano + ROUND_NANOS);
            Sent { number: self.next, base_unix_nano: base.next_multiple_of(1000) }
        });
        self.next = sent.number + 1;
        self.last_base_unix_nano = sent.base_unix_nano;
        self.round(sent)
    }

    /// Whether a round was sent, perhaps, and not acknowledged.
    pub(crate) fn has_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The round in flight is stored and adds up to `sums`.
    pub(crate) fn acknowledged(&mut self, sums: &Sums) {
        if let Some(sent) = self.in_flight.take() {
            self.stored(sent, sums);
        }
    }

    /// Nobody knows whether the round in flight is stored.
    pub(crate) fn unanswered(&mut self, now_unix_nano: u64) {
        self.uncertain.extend(self.in_flight.take().map(|sent| Uncertain { sent, since_unix_nano: now_unix_nano }));
    }

    /// The uncertain round `sent` turned out to be stored, or not to be.
    pub(crate) fn settle(&mut self, sent: Sent, stored: Option<&Sums>) {
        self.uncertain.retain(|uncertain| uncertain.sent != sent);
        match stored {
            Some(sums) => self.stored(sent, sums),
            None => self.absent.push(sent.number),
        }
    }

    fn stored(&mut self, sent: Sent, sums: &Sums) {
        self.total += sums;
        self.window.push_back(sent);
        // In order before the first goes: one that was uncertain for long may come before all others.
        self.window.make_contiguous().sort_by_key(|sent| sent.number);
        if self.window.len() > WINDOW_ROUNDS {
            self.window.pop_front();
        }
    }

    /// Whether one more request may stay without an answer.
    pub(crate) fn may_be_uncertain(&self) -> bool {
        self.uncertain.len() < UNCERTAIN_MAX && self.absent.len() < ABSENT_MAX
    }

    /// The round that `sent` names.
    pub(crate) fn round(&self, sent: Sent) -> Round {
        Round { run: self.run.clone(), seed: self.seed, number: sent.number, base_unix_nano: sent.base_unix_nano }
    }

    /// The latest rounds that are stored, in order.
    pub(crate) fn window(&self) -> impl Iterator<Item = Round> {
        self.window.iter().map(|sent| self.round(*sent))
    }

    /// Rounds of which nobody knows whether they are stored.
    pub(crate) fn uncertain(&self) -> &[Uncertain] {
        &self.uncertain
    }

    /// A number below those of the window whose round is stored, near `wanted`; `None` if there is none.
    pub(crate) fn older(&self, wanted: u64) -> Option<u64> {
        let end = self.window.front()?.number;
        let unknown = |number: &u64| self.absent.contains(number) || self.uncertain.iter().any(|u| u.sent.number == *number);
        let start = wanted % end.max(1);
        (start..end).chain(0..start).find(|number| !unknown(number))
    }

    /// What all stored rounds add up to.
    pub(crate) fn total(&self) -> &Sums {
        &self.total
    }

    /// Run id.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// Seed of the run.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// When the run began, nanoseconds since 1970.
    pub(crate) fn run_started_unix_nano(&self) -> u64 {
        self.run_started_unix_nano
    }

    /// Project that it writes to.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }
}
