//! What a run of the prober came to: counted while it runs, said at its end, and served as Prometheus metrics meanwhile.

use std::{collections::BTreeMap, time::Duration};

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use serde::Serialize;

use super::{
    check::{Check, Inequality},
    content::Sums,
};

/// Inequalities that are kept to be said at the end; all are counted.
const QUOTED_MAX: usize = 20;
/// Bounds of durations, seconds.
const SECONDS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// How it ended, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Something was not as it was sent.
    Unequal,
    /// The server could not be reached for longer than was allowed.
    Unreachable,
    /// Everything was as it was sent.
    Equal,
}

impl Outcome {
    /// Exit status of the process.
    pub(crate) fn exit_status(self) -> u8 {
        match self {
            Self::Equal => 0,
            Self::Unequal => 1,
            Self::Unreachable => 2,
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) outcome: Outcome,
    /// Run id, the user id of all its spans.
    pub(crate) run: String,
    pub(crate) seed: u64,
    /// Rounds that were acknowledged by this process.
    pub(crate) rounds: u64,
    /// Requests that were sent a second time although they had been acknowledged.
    pub(crate) repeated: u64,
    /// Requests sent once whose answer never came: all, and those of them that are stored.
    pub(crate) unanswered: u64,
    pub(crate) unanswered_stored: u64,
    /// Times that a request or a question got no answer and was put again.
    pub(crate) retries: u64,
    /// What is stored of the run, earlier processes included.
    pub(crate) stored: Sums,
    /// Checks that were answered, by name.
    pub(crate) checks: BTreeMap<Check, u64>,
    /// Times that something was not as it was sent.
    pub(crate) unequal: u64,
    /// The first of them.
    pub(crate) inequalities: Vec<Inequality>,
    /// From request to acknowledgement, milliseconds.
    pub(crate) ack_ms: Spread,
    /// From acknowledgement to the answer of the first query that shows the round, milliseconds.
    pub(crate) visible_ms: Spread,
    /// Why the server could not be reached, at last.
    pub(crate) unreachable: Option<String>,
}

/// A distribution in short; the median is the upper bound of its bucket.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) p50_max: f64,
    pub(crate) p99_max: f64,
    pub(crate) max: f64,
}

/// Counts what happens.
pub(crate) struct Report {
    checks: BTreeMap<Check, u64>,
    inequalities: Vec<Inequality>,
    unequal_total: u64,
    max: [Duration; 2],
    rounds: IntCounter,
    repeated: IntCounter,
    unanswered: IntCounter,
    unanswered_stored: IntCounter,
    retries: IntCounter,
    checked: IntCounterVec,
    unequal: IntCounterVec,
    up: IntGauge,
    last_equal: Gauge,
    ack: Histogram,
    visible: Histogram,
}

impl Report {
    /// A report that counts in `registry`.
    ///
    /// # Errors
    /// If `registry` has metrics of these names.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| registered(registry, IntCounter::new(name, help)?);
        let by_check = |name: &str, help: &str| registered(registry, IntCounterVec::new(Opts::new(name, help), &["check"])?);
        let seconds = |name: &str, help: &str| {
            registered(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?)
        };
        Ok(Self {
            checks: BTreeMap::new(),
            inequalities: vec![],
            unequal_total: 0,
            max: [Duration::ZERO; 2],
            rounds: counter("assay_probe_rounds_total", "Requests acknowledged")?,
            repeated: counter("assay_probe_repeated_total", "Acknowledged requests that were sent again")?,
            unanswered: counter("assay_probe_unanswered_total", "Requests sent once whose answer never came")?,
            unanswered_stored: counter("assay_probe_unanswered_stored_total", "Those of them that turned out to be stored")?,
            retries: counter("assay_probe_retries_total", "Requests and questions put again for want of an answer")?,
            checked: by_check("assay_probe_checks_total", "Checks answered")?,
            unequal: by_check("assay_probe_unequal_total", "Things that are not as they were sent")?,
            up: registered(registry, IntGauge::new("assay_probe_up", "1 if the last request or question was answered")?)?,
            last_equal: registered(
                registry,
                Gauge::new("assay_probe_last_equal_timestamp_seconds", "When a round was last checked and equal, Unix time")?,
            )?,
            ack: seconds("assay_probe_ack_seconds", "From request to acknowledgement")?,
            visible: seconds(
                "assay_probe_visible_seconds",
                "From acknowledgement to the answer of a query that shows the request",
            )?,
        })
    }

    /// A check was answered.
    pub(crate) fn checked(&mut self, check: Check, unequal: Vec<Inequality>) {
        *self.checks.entry(check).or_default() += 1;
        self.checked.with_label_values(&[&check.to_string()]).inc();
        for inequality in unequal {
            eprintln!("assay: unequal: {inequality}");
            self.unequal_total += 1;
            self.unequal.with_label_values(&[&inequality.check.to_string()]).inc();
            if self.inequalities.len() < QUOTED_MAX {
                self.inequalities.push(inequality);
            }
        }
    }

    /// Times that something was not as it was sent.
    pub(crate) fn unequal_so_far(&self) -> u64 {
        self.unequal_total
    }

    /// Times that something was put again for want of an answer.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.get()
    }

    /// A round was acknowledged after `ack`.
    pub(crate) fn acknowledged(&mut self, ack: Duration) {
        self.rounds.inc();
        self.ack.observe(ack.as_secs_f64());
        self.max[0] = self.max[0].max(ack);
    }

    /// A round was seen `visible` after its acknowledgement.
    pub(crate) fn visible(&mut self, visible: Duration) {
        self.visible.observe(visible.as_secs_f64());
        self.max[1] = self.max[1].max(visible);
    }

    /// An acknowledged request was sent again.
    pub(crate) fn repeated(&self) {
        self.repeated.inc();
    }

    /// A request got no answer and is not sent again.
    pub(crate) fn unanswered(&self) {
        self.unanswered.inc();
    }

    /// One of those turned out to be stored.
    pub(crate) fn unanswered_stored(&self) {
        self.unanswered_stored.inc();
    }

    /// There was an answer, or none.
    pub(crate) fn answered(&self, answered: bool) {
        self.up.set(answered.into());
        if !answered {
            self.retries.inc();
        }
    }

    /// A round was looked at from all sides at `unix_seconds`, and nothing was unequal.
    pub(crate) fn round_was_equal(&self, unix_seconds: f64) {
        self.last_equal.set(unix_seconds);
    }

    /// What it came to.
    pub(crate) fn summary(&self, run: &str, seed: u64, stored: &Sums, unreachable: Option<String>) -> Summary {
        let outcome = match &unreachable {
            _ if self.unequal_total > 0 => Outcome::Unequal,
            Some(_) => Outcome::Unreachable,
            None => Outcome::Equal,
        };
        Summary {
            outcome,
            run: run.to_owned(),
            seed,
            rounds: self.rounds.get(),
            repeated: self.repeated.get(),
            unanswered: self.unanswered.get(),
            unanswered_stored: self.unanswered_stored.get(),
            retries: self.retries.get(),
            stored: stored.clone(),
            checks: self.checks.clone(),
            unequal: self.unequal_total,
            inequalities: self.inequalities.clone(),
            ack_ms: spread(&self.ack, self.max[0]),
            visible_ms: spread(&self.visible, self.max[1]),
            unreachable,
        }
    }
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn spread(histogram: &Histogram, max: Duration) -> Spread {
    use prometheus::core::Metric as _;
    let metric = histogram.metric();
    let buckets = metric.get_histogram();
    let count = buckets.get_sample_count();
    let max = max.as_secs_f64() * 1e3;
    let quantile = |q: f64| {
        let wanted = (count as f64 * q).ceil() as u64;
        let bound = buckets.get_bucket().iter().find(|bucket| bucket.cumulative_count() >= wanted);
        bound.map_or(max, |bucket| (bucket.upper_bound() * 1e3).min(max))
    };
    Spread { count, p50_max: quantile(0.5), p99_max: quantile(0.99), max }
}
