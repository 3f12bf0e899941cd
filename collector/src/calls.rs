//! The call index: what must be known of recent traces to decide, when a row is written, whether it counts.
//!
//! A call is often told several times: by a wrapper and the span inside it, by two instrumentations, by the provider's own SDK, by a
//! span and a log record, by a client that resends. [`CallIndex::settle`] lets one row count for each call:
//!
//! * of nested reports the leaf-most call counts; agents and wrappers above it do not (`wrapper`); usage that no call below reports
//!   counts where it stands lowest;
//! * an echo (the provider SDK's native span, LiteLLM's raw request) below the call it repeats does not count (`duplicate`);
//! * reports of the same response, wherever in the project, are one call: the best of them counts (`duplicate`);
//! * a log record and a span that report the same usage of the same trace or session at the same time are one call.
//!
//! All rows of a request are registered before any is decided, so that the usual case is right at once. Rows written earlier are
//! corrected by `span_corrections`. The outcome depends on the rows, their order and their times of receipt alone, never on the clock:
//! replaying the write-ahead log gives the same. Memory is bounded by age, spans and bytes ([`Limits`]); what was forgotten can no
//! longer be corrected.

mod messages;
mod project;
mod seed;
#[cfg(test)]
mod tests;
mod trace;
mod traces;

use std::{
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
};

use arrow::array::RecordBatch;
use assay_schemas::{
    ids::ProjectId,
    prices::PriceTable,
    table::Row,
    tables::{CorrectionRow, CostLineRow, LedgerRow, LogRow, Origin, QuarantineRow, ScoreRow, SpanRow, TableId},
};
use parking_lot::Mutex;

pub use self::seed::SeedRow;
use self::{project::Project, traces::Slot};
use crate::{
    cost,
    normalised::{ScoreDraft, ScoreScope},
    prepared::Prepared,
};

/// How much the index remembers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A trace not written to for so long is forgotten, in nanoseconds of time of receipt.
    pub idle_ns: i64,
    /// Spans remembered.
    pub spans_max: usize,
    /// Bytes remembered, roughly.
    pub bytes_max: usize,
}

impl Default for Limits {
    /// A quarter of an hour, a million spans, 96 MiB.
    fn default() -> Self {
        Self { idle_ns: 15 * 60 * 1_000_000_000, spans_max: 1_000_000, bytes_max: 96 << 20 }
    }
}

/// The index of recent calls. One per server; shared by all requests.
#[derive(Debug, Default)]
pub struct CallIndex {
    limits: Limits,
    projects: Mutex<Projects>,
}

#[derive(Debug, Default)]
struct Projects {
    by_id: HashMap<ProjectId, Project>,
    /// When all of them were last looked through, in time of receipt.
    swept_at: i64,
}

/// Projects that nobody writes to are looked through this often.
const SWEEP_NS: i64 = 60 * 1_000_000_000;

impl CallIndex {
    /// An empty index.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, projects: Mutex::default() }
    }

    /// Decides what counts in `prepared`, prices it and turns it into rows, corrections of earlier rows included.
    /// [`Prepared::set_position`] has been called.
    #[must_use]
    pub fn settle(&self, prepared: Prepared, prices: &PriceTable) -> Vec<(TableId, RecordBatch)> {
        self.decide(prepared).rows(prices)
    }

    /// The first half of [`CallIndex::settle`]: the decisions, which depend on the order of requests.
    pub(crate) fn decide(&self, mut prepared: Prepared) -> Decided {
        let now = prepared.receipt.received_at_unix_nano;
        let mut projects = self.projects.lock();
        projects.sweep(now, &self.limits);
        // Each project has its share: one that is flooded forgets its own traces, not those of others.
        let share = projects.by_id.len().max(1);
        let project = projects.by_id.entry(prepared.receipt.project.clone()).or_default();
        let settled = project.settle(&mut prepared);
        project.forget(now, &self.limits, share);
        Decided { prepared, settled }
    }

    /// Fills the index at start from rows committed not long ago, a batch at a time, the oldest batch first. Nothing is decided anew.
    pub fn seed(&self, rows: impl IntoIterator<Item = SeedRow>) {
        let mut projects = self.projects.lock();
        let mut seeded: HashMap<ProjectId, (i64, HashSet<Slot>)> = HashMap::new();
        for row in rows {
            let (received_at, traces) = seeded.entry(row.project.clone()).or_default();
            *received_at = row.received_at_unix_nano.max(*received_at);
            traces.insert(projects.by_id.entry(row.project.clone()).or_default().seed(row));
        }
        for (id, (received_at, traces)) in seeded {
            let project = projects.by_id.entry(id).or_default();
            project.seeded(&traces);
            project.forget(received_at, &self.limits, 1);
        }
    }

    /// Spans remembered, for `/metrics`.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.projects.lock().by_id.values().map(Project::spans).sum()
    }
}

/// A request whose rows are decided and need no index any more.
#[derive(Debug)]
pub(crate) struct Decided {
    prepared: Prepared,
    settled: Settled,
}

impl Decided {
    /// Prices the rows and makes batches of them, corrections of earlier rows included.
    pub(crate) fn rows(self, prices: &PriceTable) -> Vec<(TableId, RecordBatch)> {
        let Self { mut prepared, settled } = self;
        let origin = prepared.receipt.origin();
        // What was resent is no longer among the rows.
        let ledger =
            LedgerRow { resent: i64::try_from(settled.n_resent).expect("records of one request"), ..prepared.ledger_row(0) };
        let corrections = settled.corrections.into_iter().map(|correction| correction.row(&origin));
        let mut cost_lines: Vec<CostLineRow> = Vec::new();
        for draft in &mut prepared.spans {
            cost_lines.extend(cost::price_span(&mut draft.row, prices));
        }
        for draft in prepared.logs.iter_mut().filter(|draft| draft.facts.is_call) {
            cost_lines.extend(cost::price_log(&mut draft.row, prices));
        }

        let mut batches = Batches(prepared.metrics);
        batches.add::<CorrectionRow>(corrections);
        batches.add::<ScoreRow>(settled.scores);
        batches.add::<CostLineRow>(cost_lines);
        batches.add::<SpanRow>(prepared.spans.into_iter().map(|draft| draft.row));
        batches.add::<LogRow>(prepared.logs.into_iter().map(|draft| draft.row));
        batches.add::<QuarantineRow>(prepared.quarantine);
        batches.add::<LedgerRow>([ledger]);
        batches.0
    }
}

impl Projects {
    fn sweep(&mut self, now: i64, limits: &Limits) {
        if now - self.swept_at < SWEEP_NS {
            return;
        }
        self.swept_at = now;
        let share = self.by_id.len().max(1);
        self.by_id.values_mut().for_each(|project| project.forget(now, limits, share));
        self.by_id.retain(|_, project| !project.is_empty());
    }
}

/// What the index decided about a request, beyond the rows of the request itself.
#[derive(Debug, Default)]
struct Settled {
    n_resent: usize,
    corrections: Vec<Correction>,
    scores: Vec<ScoreRow>,
}

/// New values for a span written earlier.
#[derive(Debug)]
struct Correction {
    trace: u128,
    span_id: u64,
    patch: serde_json::Map<String, serde_json::Value>,
    reason: &'static str,
}

impl Correction {
    fn row(self, origin: &Origin) -> CorrectionRow {
        CorrectionRow {
            origin: origin.clone(),
            trace_id: format!("{:032x}", self.trace),
            span_id: format!("{:016x}", self.span_id),
            patch: serde_json::Value::Object(self.patch).to_string(),
            reason: self.reason.to_owned(),
            log_id: None,
        }
    }
}

struct Batches(Vec<(TableId, RecordBatch)>);

impl Batches {
    fn add<R: Row>(&mut self, rows: impl IntoIterator<Item = R>) {
        let batch = R::batch(rows);
        if batch.num_rows() > 0 {
            self.0.push((R::TABLE, batch));
        }
    }
}

/// Where an evaluation result was found.
struct FoundScore<'a> {
    origin: &'a Origin,
    time: i64,
    trace_id: Option<&'a str>,
    span_id: Option<&'a str>,
    session_id: Option<&'a str>,
}

impl FoundScore<'_> {
    fn row(&self, draft: ScoreDraft) -> ScoreRow {
        let trace_id = (draft.scope != ScoreScope::Session).then(|| self.trace_id.map(str::to_owned)).flatten();
        let span_id = (draft.scope == ScoreScope::Span).then(|| self.span_id.map(str::to_owned)).flatten();
        ScoreRow {
            origin: self.origin.clone(),
            time: draft.time_unix_nano.and_then(|nanos| i64::try_from(nanos / 1000).ok()).unwrap_or(self.time),
            trace_id,
            span_id,
            session_id: self.session_id.map(str::to_owned),
            name: draft.name,
            value: draft.value,
            label: draft.label,
            explanation: draft.explanation,
            annotator_kind: draft.annotator_kind,
            metadata: draft.metadata,
        }
    }
}

/// The same for the same value in every run, unlike the standard library's random state.
fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Traces to look at, in the order they came up.
#[derive(Default)]
struct Dirty {
    seen: HashSet<Slot, ahash::RandomState>,
    order: Vec<Slot>,
}

impl Dirty {
    fn add(&mut self, slot: Slot) {
        // Spans of a trace come together.
        if self.order.last() != Some(&slot) && self.seen.insert(slot) {
            self.order.push(slot);
        }
    }
}
