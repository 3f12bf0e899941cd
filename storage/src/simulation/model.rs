//! Clients of a simulated store, what they were promised, and whether it was kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::Int64Type,
};
use assay_schemas::{
    ids::{Encoding, ProjectId, Signal},
    table::Row as _,
    tables::{CorrectionRow, LedgerRow, LogRow, Origin, SpanRow, TableId},
};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde::{Deserialize, Serialize};

use super::{
    bucket::{Place, SimulatedStore},
    random::Random,
    world::{Crash, Faults, Image, Mistake, World},
};
use crate::{
    AppendError, AppendErrorKind, OpenStorageError, OpenWalError, ReadView, ReplayError, Storage, StorageConfig, WalPosition,
    WalRecord,
};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Rows of one table that a request has at most.
pub(super) const ROWS_MAX: u64 = 16;
/// A start that fails is tried again; after so many times nothing fails any more.
const STARTS_WITH_FAULTS: u32 = 4;

/// One request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Batch {
    /// Of all requests, also those that carry the same again.
    pub(super) attempt: u64,
    pub(super) project: u64,
    pub(super) date: i32,
    pub(super) spans: u64,
    pub(super) logs: u64,
    /// The span corrected: its trace and number.
    pub(super) corrects: Option<(u64, u64)>,
    /// Content and name of a blob its first span refers to.
    pub(super) blob: Option<(String, String)>,
    pub(super) filling: String,
    /// Microseconds since 1970; at midnight if it does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) received_at: Option<i64>,
}

impl Batch {
    fn trace(&self) -> u64 {
        // Some traces come in several requests.
        self.attempt / 3 + 1
    }

    /// Whether both are of one project and day.
    pub(super) fn is_with(&self, other: &Self) -> bool {
        (self.project, self.date) == (other.project, other.date)
    }

    /// The request that brings it.
    pub(super) fn record(&self, received_at: DateTime<Utc>) -> WalRecord {
        WalRecord {
            project: project(self.project),
            signal: Signal::Traces,
            encoding: Encoding::Json,
            received_at_unix_nano: received_at.timestamp_nanos_opt().unwrap_or(0),
            body: Bytes::from(serde_json::to_vec(self).expect("a value")),
        }
    }

    pub(super) fn rows(&self, position: WalPosition) -> Vec<(TableId, RecordBatch)> {
        let origin = || Origin {
            project_id: project(self.project).as_str().into(),
            date: self.date,
            received_at: self.received_at.unwrap_or(i64::from(self.date) * MICROS_PER_DAY),
            wal_position: position.get().cast_signed(),
        };
        let number = |nth: u64| self.attempt * ROWS_MAX + nth;
        let time = |nth: u64| i64::from(self.date) * MICROS_PER_DAY + number(nth).cast_signed();
        let mut tables = Vec::new();
        if self.spans > 0 {
            let span = |nth| {
                let mut row = SpanRow {
                    origin: origin(),
                    trace_id: format!("{:032x}", self.trace()),
                    span_id: format!("{:016x}", number(nth)),
                    start_time: time(nth),
                    duration_ns: 7,
                    ..SpanRow::default()
                };
                row.genai.counted = true;
                row.genai.input_tokens = Some(number(nth).cast_signed());
                row.genai.input_messages = Some(self.filling.clone());
                row
            };
            tables.push((TableId::Spans, SpanRow::batch((0..self.spans).map(span))));
        }
        if self.logs > 0 {
            let log =
                |nth| LogRow { origin: origin(), log_id: format!("{:024x}", number(nth)), time: time(nth), ..LogRow::default() };
            tables.push((TableId::Logs, LogRow::batch((0..self.logs).map(log))));
        }
        let line = LedgerRow {
            origin: origin(),
            stored: (self.spans + self.logs).cast_signed(),
            request_bytes: self.attempt.cast_signed(),
            ..LedgerRow::default()
        };
        tables.push((TableId::IngestLedger, LedgerRow::batch([line])));
        if let Some((trace, span)) = self.corrects {
            let row = CorrectionRow {
                origin: origin(),
                trace_id: format!("{trace:032x}"),
                span_id: format!("{span:016x}"),
                patch: format!(r#"{{"session_id": "{}"}}"#, self.attempt),
                ..CorrectionRow::default()
            };
            tables.push((TableId::SpanCorrections, CorrectionRow::batch([row])));
        }
        tables
    }
}

pub(super) fn project(n: u64) -> ProjectId {
    ProjectId::new(&format!("team-{n}")).expect("a name")
}

/// What one seed does.
#[derive(Clone, Debug)]
struct Plan {
    lives: u64,
    clients: u64,
    batches: u64,
    projects: u64,
    faults: Faults,
    retention_days: Option<u64>,
    clock_steps: bool,
    config: StorageConfig,
}

impl Plan {
    fn new(random: &mut Random, place: &Place) -> Self {
        let per_10_000 = |random: &mut Random, most: u64| if random.one_in(2) { 0 } else { random.below(most) };
        let faults = Faults {
            read: per_10_000(random, 100),
            change: per_10_000(random, 60),
            fsync: per_10_000(random, 100),
            full: per_10_000(random, 100),
            bucket: if matches!(place, Place::Bucket) { per_10_000(random, 2000) } else { 0 },
        };
        let retention_days = random.one_in(2).then(|| 1 + random.below(3));
        let seconds = |random: &mut Random, most: u64| Duration::from_millis(1 + random.below(most * 1000));
        let config = StorageConfig {
            data_dir: "/data/assay".into(),
            flush_interval: seconds(random, 20),
            flush_bytes: 1 << (14 + random.below(10)),
            wal_bytes_max: 1 << (13 + random.below(8)),
            wal_segment_bytes: 200 + random.below(6000),
            compaction_interval: seconds(random, 60),
            group_commit_window: Duration::ZERO,
            vacuum_grace: seconds(random, 4),
            retention: retention_days.map(|days| Duration::from_secs(days * 86_400)),
            ..StorageConfig::default()
        };
        Self {
            lives: 1 + random.below(3),
            clients: 1 + random.below(4),
            batches: 2 + random.below(6),
            projects: 1 + random.below(2),
            faults,
            retention_days,
            clock_steps: random.one_in(2),
            config,
        }
    }
}

/// What happened in one seed, when all was as promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Hash of everything that happened, in order.
    pub(crate) history: u64,
    pub(crate) acknowledged: u64,
    pub(crate) crashes: u64,
}

/// Runs the whole of one seed.
///
/// # Panics
/// If a property does not hold.
pub(crate) fn run(seed: u64, mistake: Option<Mistake>) -> Outcome {
    let mut random = Random::new(seed ^ 0xa55a);
    let place = match mistake {
        Some(Mistake::BlindRetry) => Place::Bucket,
        Some(_) => Place::Folder("/data/assay".into()),
        None if random.one_in(2) => Place::Bucket,
        None => Place::Folder("/data/assay".into()),
    };
    let mut plan = Plan::new(&mut random, &place);
    if mistake == Some(Mistake::BlindRetry) {
        plan.faults.bucket = 1000;
    }
    let image = if random.one_in(8) { Image::default() } else { prepared(&place) };
    let start = DateTime::from_timestamp(1_760_000_000 + random.below(200_000).cast_signed(), 0).expect("a time");
    let world = World::new(seed, image, place.clone(), start, mistake);
    world.tell(format_args!("{place:?} {plan:?}"));
    let model = Arc::new(Mutex::new(Model::default()));
    let lives = plan.lives;
    for life in 0..lives {
        let faults = if random.one_in(4) { Faults::default() } else { plan.faults };
        world.set_faults(faults);
        if !random.one_in(5) {
            let most = if random.one_in(2) { 150 } else { 1500 };
            world.crash_at(1 + random.below(most));
        }
        let actor = Actor { world: Arc::clone(&world), model: Arc::clone(&model), plan: Arc::new(plan.clone()) };
        let ended = world.run(actor.live(false));
        let crash = if random.one_in(3) { Crash::Kill } else { Crash::PowerCut };
        let crash = if ended.is_some() && random.one_in(2) { Crash::Kill } else { crash };
        world.note("life ends", &life.to_le_bytes());
        world.restart(crash);
        model.lock().crashed();
    }
    world.bucket.lock().lose_outlived();
    let actor = Actor { world: Arc::clone(&world), model: Arc::clone(&model), plan: Arc::new(plan.clone()) };
    world.run(actor.clone().live(true)).expect("nothing crashes any more");
    world.restart(Crash::PowerCut);
    model.lock().crashed();
    world.run(actor.look_once_more()).expect("nothing crashes any more");
    let acknowledged = model.lock().attempts.values().filter(|attempt| attempt.acknowledged.is_some()).count() as u64;
    Outcome { history: world.history(), acknowledged, crashes: lives }
}

/// A folder in which a store was opened and closed.
fn prepared(place: &Place) -> Image {
    static FOLDER: std::sync::OnceLock<Image> = std::sync::OnceLock::new();
    static BUCKET: std::sync::OnceLock<Image> = std::sync::OnceLock::new();
    let prepare = || {
        let start = DateTime::from_timestamp(1_759_000_000, 0).expect("a time");
        let world = World::new(0, Image::default(), place.clone(), start, None);
        let config = Plan::new(&mut Random::new(0), place).config;
        let opened = world.run(async { Storage::open(config).await.expect("a new folder").close().await });
        opened.expect("nothing crashes").expect("nothing to flush");
        world.restart(Crash::PowerCut);
        world.image()
    };
    match place {
        Place::Folder(_) => FOLDER.get_or_init(prepare).clone(),
        Place::Bucket => BUCKET.get_or_init(prepare).clone(),
    }
}

/// What clients know, and what they may expect.
#[derive(Debug, Default)]
struct Model {
    next_attempt: u64,
    attempts: BTreeMap<u64, Attempt>,
    /// Who was given which position.
    positions: BTreeMap<u64, u64>,
    /// The largest position acknowledged before this life.
    highest_before: u64,
    /// Rows of days before this may be gone.
    first_kept: i32,
    /// The log said so: everything up to here is in the lake.
    released: u64,
    /// By table.
    committed: BTreeMap<&'static str, u64>,
    /// Decoded files, which never change; forgotten at a crash, which may damage them.
    files: Files,
}

#[derive(Debug)]
struct Attempt {
    batch: Batch,
    acknowledged: Option<u64>,
}

impl Model {
    fn crashed(&mut self) {
        self.highest_before = self.positions.keys().last().copied().unwrap_or(0);
        self.files.clear();
    }

    fn acknowledge(&mut self, attempt: u64, position: WalPosition) {
        let position = position.get();
        assert!(position > self.highest_before, "position {position} was given before the crash: up to {}", self.highest_before);
        let before = self.positions.insert(position, attempt);
        assert_eq!(before, None, "position {position} is given twice");
        self.attempts.get_mut(&attempt).expect("an attempt").acknowledged = Some(position);
    }

    /// Looks at `seen`, all rows of one view.
    fn check(&self, seen: &Seen) {
        for (attempt, rows) in &seen.by_attempt {
            assert!(self.attempts.contains_key(attempt), "rows of request {attempt}, which nobody sent: {rows:?}");
        }
        for (number, attempt) in &self.attempts {
            let Batch { date, spans, logs, .. } = attempt.batch;
            let rows = seen.by_attempt.get(number).copied().unwrap_or_default();
            let whole = rows.spans == spans && rows.logs == logs && rows.ledger == 1;
            if date < self.first_kept {
                continue;
            }
            let none = rows == Rows::default();
            assert!(whole || none, "request {number} {attempt:?} is there in part: {rows:?}");
            assert!(whole || attempt.acknowledged.is_none(), "request {number} was acknowledged and is not there: {attempt:?}");
        }
        let stored: i64 = seen.ledger.iter().filter(|line| line.0 >= self.first_kept).map(|line| line.1).sum();
        let rows = |attempt: &u64| self.attempts[attempt].batch.date >= self.first_kept;
        let counted: u64 = seen.by_attempt.iter().filter(|(a, _)| rows(a)).map(|(_, rows)| rows.spans + rows.logs).sum();
        assert_eq!(stored, counted.cast_signed(), "the ledger does not balance");
        self.check_corrections(seen);
    }

    fn check_corrections(&self, seen: &Seen) {
        let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
        for attempt in self.attempts.values().filter(|a| a.batch.date >= self.first_kept) {
            if let (Some((_, span)), Some(position)) = (attempt.batch.corrects, attempt.acknowledged)
                // A span to come may turn out to be of another project or day.
                && self.attempts.get(&(span / ROWS_MAX)).is_some_and(|of| of.batch.is_with(&attempt.batch))
            {
                let known = newest.entry(span).or_default();
                *known = position.max(*known);
            }
        }
        for (span, session) in &seen.sessions {
            let needed = newest.get(span).copied().unwrap_or(0);
            let by = session.map(|attempt| &self.attempts[&attempt]);
            if let Some(by) = by {
                assert_eq!(by.batch.corrects.map(|c| c.1), Some(*span), "span {span:x} has the correction of another");
            }
            let position = by.map_or(0, |by| by.acknowledged.unwrap_or(u64::MAX));
            assert!(position >= needed, "span {span:x} has lost its correction of position {needed}: it shows {session:?}");
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) spans: u64,
    pub(super) logs: u64,
    pub(super) ledger: u64,
}

/// All rows of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) by_attempt: BTreeMap<u64, Rows>,
    /// Who corrected which span, by number.
    pub(super) sessions: BTreeMap<u64, Option<u64>>,
    pub(super) numbers: BTreeSet<(TableId, u64)>,
    /// Day and rows stored.
    pub(super) ledger: Vec<(i32, i64)>,
}

/// Decoded files, which never change.
pub(super) type Files = HashMap<Path, Arc<Vec<RecordBatch>>>;

/// All rows of `view`, of which those of `files` were read before.
pub(super) fn seen(view: &ReadView, n_projects: u64, store: &SimulatedStore, files: &mut Files) -> Seen {
    let mut seen = Seen::default();
    for n in 0..n_projects {
        let project = project(n);
        let corrections = view.corrections(&project);
        for (table, columns) in TABLES {
            let mut add = |date: i32, batch: &RecordBatch| {
                let batch = corrections.as_ref().map_or_else(|| batch.clone(), |set| set.apply(table, batch));
                seen.add(table, date, &batch);
            };
            for batch in view.hot(table, &project) {
                for (_, date, batch) in crate::hot::split_by_partition(&batch) {
                    add(date, &batch);
                }
            }
            for file in view.files(table, &project) {
                let decoded = || Arc::new(decode(store, &file.path, columns));
                let batches = Arc::clone(files.entry(file.path.clone()).or_insert_with(decoded));
                batches.iter().for_each(|batch| add(file.date.to_epoch_days(), batch));
            }
        }
    }
    seen
}

impl Seen {
    fn add(&mut self, table: TableId, date: i32, batch: &RecordBatch) {
        let column = |name: &str| batch.column_by_name(name).expect("a column that was asked for");
        let hex = |text: &str| u64::from_str_radix(text, 16).expect("a number");
        for row in 0..batch.num_rows() {
            let number = match table {
                TableId::Spans => {
                    let span = hex(column("span_id").as_string::<i32>().value(row));
                    let sessions = column("session_id").as_string::<i32>();
                    let session = sessions.is_valid(row).then(|| sessions.value(row).parse().expect("a number"));
                    self.sessions.insert(span, session);
                    span
                }
                TableId::Logs => hex(column("log_id").as_string::<i32>().value(row)),
                _ => {
                    self.ledger.push((date, column("stored").as_primitive::<Int64Type>().value(row)));
                    column("request_bytes").as_primitive::<Int64Type>().value(row).cast_unsigned() * ROWS_MAX
                }
            };
            assert!(self.numbers.insert((table, number)), "row {number:x} of `{}` is there twice", table.name());
            let rows = self.by_attempt.entry(number / ROWS_MAX).or_default();
            match table {
                TableId::Spans => rows.spans += 1,
                TableId::Logs => rows.logs += 1,
                _ => rows.ledger += 1,
            }
        }
    }
}

const TABLES: [(TableId, &[&str]); 3] = [
    (TableId::Spans, &["trace_id", "span_id", "session_id"]),
    (TableId::Logs, &["trace_id", "log_id"]),
    (TableId::IngestLedger, &["stored", "request_bytes"]),
];

/// Whoever does something in a world.
#[derive(Clone)]
struct Actor {
    world: Arc<World>,
    model: Arc<Mutex<Model>>,
    plan: Arc<Plan>,
}

/// Why a life ends before its time.
#[derive(Debug)]
struct Unwell;

impl Actor {
    /// From a start to an end or a crash.
    async fn live(self, last: bool) {
        let mut starts = 0;
        loop {
            starts += 1;
            if starts > STARTS_WITH_FAULTS {
                self.world.set_faults(Faults::default());
            }
            let may_fail = !last && starts <= STARTS_WITH_FAULTS;
            match self.start(may_fail).await {
                Ok(storage) if last => return self.settle(storage).await,
                Ok(storage) => match self.work(storage).await {
                    Ok(()) => return,
                    // The log has failed: an operator restarts it, on the same machine.
                    Err(Unwell) => self.world.note("unwell", &[]),
                },
                Err(Unwell) => self.world.sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// After everything was closed and the power was cut: all of it is there.
    async fn look_once_more(self) {
        let storage = self.start(false).await.expect("nothing fails");
        let again = storage.replay().count();
        assert_eq!(again, 0, "records are replayed after a store was closed");
        self.check_leftovers(&storage).await;
    }

    /// Opens, replays, and looks at what is there.
    async fn start(&self, may_fail: bool) -> Result<Storage, Unwell> {
        let storage = match Storage::open(self.plan.config.clone()).await {
            Ok(storage) => storage,
            Err(error) => {
                self.end_if_crashed().await;
                assert!(may_fail, "does not start although nothing fails: {}", chain(&error));
                assert!(is_of_the_disk(&error), "does not start, and says the data are wrong: {}", chain(&error));
                return Err(Unwell);
            }
        };
        let released = self.model.lock().released;
        self.check_status(&storage);
        let mut next = storage.status().wal.committed.get() + 1;
        for item in storage.replay() {
            self.world.pause().await;
            match item {
                Ok((position, record)) => {
                    assert!(position.get() > released, "record {position} is replayed, {released} was released");
                    assert!(position.get() >= next, "record {position} is replayed after {next}");
                    next = position.get() + 1;
                    let batch: Batch = serde_json::from_slice(&record.body).expect("as it was sent");
                    storage.publish(position, batch.rows(position));
                }
                Err(_) if self.world.has_crashed() => std::future::pending().await,
                Err(error @ ReplayError::Io { .. }) if may_fail => {
                    self.world.tell(format_args!("{}", chain(&error)));
                    return Err(Unwell);
                }
                Err(error) => panic!("the log cannot be read: {}", chain(&error)),
            }
        }
        self.check_view(&storage.view());
        self.check_blobs(&storage).await;
        Ok(storage)
    }

    /// After a crash nothing more happens: this does not return.
    async fn end_if_crashed(&self) {
        if self.world.has_crashed() {
            std::future::pending::<()>().await;
        }
    }

    /// Clients, jobs and readers side by side.
    async fn work(&self, storage: Storage) -> Result<(), Unwell> {
        let mut tasks = Vec::new();
        let failed = Arc::new(Mutex::new(false));
        for _ in 0..self.plan.clients {
            let (actor, storage, failed) = (self.clone(), storage.clone(), Arc::clone(&failed));
            tasks.push(self.world.spawn(async move {
                for _ in 0..actor.plan.batches {
                    let pause = actor.world.with_random(|random| Duration::from_millis(random.below(2000)));
                    actor.world.sleep(pause).await;
                    if actor.send(&storage).await.is_err() {
                        *failed.lock() = true;
                        return;
                    }
                }
            }));
        }
        for _ in 0..2 {
            let (actor, storage) = (self.clone(), storage.clone());
            let jobs = actor.world.with_random(|random| 2 + random.below(6));
            tasks.push(self.world.spawn(async move {
                for _ in 0..jobs {
                    let pause = actor.world.with_random(|random| Duration::from_millis(random.below(3000)));
                    actor.world.sleep(pause).await;
                    actor.job(&storage).await;
                    actor.check_status(&storage);
                }
            }));
        }
        let (actor, held) = (self.clone(), storage.clone());
        tasks.push(self.world.spawn(async move { actor.read(&held).await }));
        for task in tasks {
            task.ended().await;
        }
        self.check_view(&storage.view());
        if *failed.lock() {
            drop(storage);
            return Err(Unwell);
        }
        if self.world.with_random(|random| random.one_in(2)) {
            // What cannot be flushed is replayed.
            drop(storage.close().await);
        }
        Ok(())
    }

    /// Sends one request until it is acknowledged, or the log fails.
    async fn send(&self, storage: &Storage) -> Result<(), Unwell> {
        for _ in 0..8 {
            let (batch, record) = self.new_batch(storage);
            match storage.append(record).await {
                Ok(position) => {
                    self.world.pause().await;
                    storage.publish(position, batch.rows(position));
                    let lost = self.world.with_random(|random| random.one_in(10));
                    if self.world.has_crashed() {
                        return Ok(());
                    }
                    self.world.note("acknowledge", &position.get().to_le_bytes());
                    // A client that does not hear of it sends the same again.
                    self.model.lock().acknowledge(batch.attempt, position);
                    if !lost {
                        return Ok(());
                    }
                }
                Err(error) => match error.kind() {
                    AppendErrorKind::Overloaded { .. } => self.world.sleep(Duration::from_millis(500)).await,
                    AppendErrorKind::Failed => return Err(self.failed(&error)),
                    AppendErrorKind::TooLarge => return Ok(()),
                },
            }
        }
        Ok(())
    }

    fn failed(&self, error: &AppendError) -> Unwell {
        self.world.tell(format_args!("{error}"));
        Unwell
    }

    fn new_batch(&self, storage: &Storage) -> (Batch, WalRecord) {
        let now = self.world.wall_clock();
        let date = i32::try_from(now.timestamp().div_euclid(86_400)).expect("a day");
        let mut model = self.model.lock();
        let attempt = model.next_attempt;
        model.next_attempt += 1;
        let batch = self.world.with_random(|random| {
            let mut batch = Batch {
                attempt,
                project: random.below(self.plan.projects),
                date,
                spans: random.below(4),
                logs: random.below(2),
                corrects: None,
                blob: None,
                received_at: None,
                filling: "x".repeat(usize::try_from(random.below(500)).expect("small")),
            };
            if random.one_in(3) {
                // A span that came before, or one that will perhaps: of the same project and day.
                let of = if random.one_in(4) { attempt + random.below(3) } else { random.below(attempt + 1) };
                let same = model.attempts.get(&of).is_none_or(|a| a.batch.is_with(&batch));
                batch.corrects = same.then_some((of / 3 + 1, of * ROWS_MAX));
            }
            if random.one_in(4) {
                batch.blob = Some((format!("blob {}", random.below(6)), String::new()));
            }
            batch
        });
        let mut batch = batch;
        if let Some((content, _)) = batch.blob.take() {
            // A blob that cannot be stored stays in the row.
            batch.blob = storage.blobs().of(&project(batch.project)).put(content.as_bytes()).ok().map(|name| (content, name));
        }
        model.attempts.insert(attempt, Attempt { batch: batch.clone(), acknowledged: None });
        self.world.note("send", &attempt.to_le_bytes());
        let record = batch.record(now);
        (batch, record)
    }

    /// One of the things that background jobs and operators do. Their failures are theirs to repeat.
    async fn job(&self, storage: &Storage) {
        let kind = self.world.with_random(|random| random.below(12));
        self.world.note("job", &kind.to_le_bytes());
        let now = self.world.wall_clock();
        match kind {
            0..4 => drop(storage.flush().await),
            4 => drop(storage.compact().await),
            5 => drop(storage.inner.compact((now + TimeDelta::days(2)).date_naive(), true).await),
            6 => drop(storage.inner.compact((now + TimeDelta::days(2)).date_naive(), false).await),
            7 => {
                drop(storage.inner.apply_retention(now).await);
            }
            8 => drop(storage.vacuum().await),
            9 => drop(storage.inner.checkpoint(1).await),
            _ if self.plan.clock_steps => {
                let hours = self.world.with_random(|random| random.below(60).cast_signed() - 30);
                self.expect_retention();
                self.world.step_wall_clock(TimeDelta::hours(hours));
                self.expect_retention();
            }
            _ => {}
        }
    }

    /// The jobs in the background go by the clock, so by now they may have dropped this much.
    fn expect_retention(&self) {
        let now = self.world.wall_clock();
        let Some(days) = self.plan.retention_days else { return };
        let first = i32::try_from((now.timestamp() - (days * 86_400).cast_signed()).div_euclid(86_400)).expect("a day");
        let mut model = self.model.lock();
        model.first_kept = model.first_kept.max(first);
    }

    /// Takes views, holds them while others work, and looks at them again.
    async fn read(&self, storage: &Storage) {
        for _ in 0..3 {
            let (before, held) = self.world.with_random(|random| (random.below(2000), random.below(8000)));
            self.world.sleep(Duration::from_millis(before)).await;
            let view = storage.view();
            let first = self.seen(&view);
            self.check_view(&view);
            self.world.sleep(Duration::from_millis(held)).await;
            self.check_files_are_there(&view);
            assert_eq!(self.seen(&view), first, "a view that is held shows other rows");
            drop(view);
            self.check_view(&storage.view());
        }
    }

    /// Brings everything into the lake and looks at all there is.
    async fn settle(&self, storage: Storage) {
        storage.flush().await.unwrap_or_else(|error| panic!("does not flush although nothing fails: {}", chain(&error)));
        let later = (self.world.wall_clock() + TimeDelta::days(40)).date_naive();
        for _ in 0..2 {
            let compacted = storage.inner.compact(later, true).await;
            compacted.unwrap_or_else(|error| panic!("does not compact although nothing fails: {}", chain(&error)));
        }
        assert_eq!(storage.status().hot_rows, 0, "rows stay in memory after a flush");
        assert!(storage.status().wal.segments <= 1, "segments stay after a flush: {:?}", storage.status().wal);
        self.check_view(&storage.view());
        self.check_indexes(&storage).await;
        storage.close().await.unwrap_or_else(|error| panic!("does not close although nothing fails: {}", chain(&error)));
    }

    // ------------------------------------------------------------------------------------------------------ properties

    fn check_status(&self, storage: &Storage) {
        if self.world.has_crashed() {
            return;
        }
        let status = storage.status();
        let mut model = self.model.lock();
        let released = status.wal.committed.get();
        assert!(released >= model.released, "the log has released up to {}, now {released}", model.released);
        model.released = released;
        for (table, status) in &status.tables {
            let known = model.committed.entry(table).or_default();
            assert!(status.committed >= *known, "`{table}` had committed {known}, now {}", status.committed);
            *known = status.committed;
        }
    }

    fn check_view(&self, view: &ReadView) {
        if self.world.has_crashed() {
            return;
        }
        self.expect_retention();
        let seen = self.seen(view);
        self.model.lock().check(&seen);
    }

    fn store(&self) -> SimulatedStore {
        SimulatedStore::new(Arc::clone(&self.world), self.world.place.clone())
    }

    fn seen(&self, view: &ReadView) -> Seen {
        seen(view, self.plan.projects, &self.store(), &mut self.model.lock().files)
    }

    fn check_files_are_there(&self, view: &ReadView) {
        let store = self.store();
        for n in 0..self.plan.projects {
            for (table, _) in TABLES {
                for file in view.files(table, &project(n)) {
                    assert!(store.peek(&file.path).is_some(), "`{}` is gone, and a view lists it", file.path);
                }
            }
        }
    }

    async fn check_blobs(&self, storage: &Storage) {
        let wanted: Vec<_> = {
            let model = self.model.lock();
            let kept = model.attempts.values().filter(|a| a.acknowledged.is_some() && a.batch.date >= model.first_kept);
            kept.filter_map(|a| Some((a.batch.project, a.batch.blob.clone()?))).collect()
        };
        let wanted: BTreeSet<_> = wanted.into_iter().collect();
        for (n, (content, name)) in wanted {
            let folder = self.plan.config.data_dir.join("blobs").join(project(n).as_str()).join(&name[..2]);
            let there = self.world.disk().content(&folder.join(format!("{name}.zst"))).is_ok();
            assert!(there, "the blob `{content}` of an acknowledged row is gone");
            if self.world.faults().read == 0 {
                let stored = storage.blobs().of(&project(n)).get(&name).await;
                let stored = stored.unwrap_or_else(|error| panic!("the blob `{content}`: {}", chain(&error)));
                assert_eq!(stored.as_deref(), Some(content.as_bytes()), "another blob than was put");
            }
        }
    }

    /// Side files say what the rows say.
    async fn check_indexes(&self, storage: &Storage) {
        let view = storage.view();
        for n in 0..self.plan.projects {
            for file in view.files(TableId::Spans, &project(n)) {
                let index = file.traces.as_ref().expect("spans have an index");
                let sums = index.sums().await.expect("nothing fails").expect("spans have sums");
                let spans: i64 = (0..sums.len()).map(|idx| sums.sum(idx).spans).sum();
                assert_eq!(spans.cast_unsigned(), file.rows, "the sums of `{}` are of other rows", file.path);
                for batch in decode(&self.store(), &file.path, &["trace_id"]) {
                    for trace in batch.column(0).as_string::<i32>().iter().flatten() {
                        assert!(index.rows(trace).await.expect("nothing fails").is_some(), "trace {trace} is not in the index");
                    }
                }
            }
        }
    }

    /// After a restart and a few vacuums, what is on disk is what the tables refer to, and every file was added once.
    async fn check_leftovers(&self, storage: &Storage) {
        // The first sees what nothing refers to, the second deletes it. Meanwhile the retention may have dropped a day more.
        for may_be_left in [true, true, true, false] {
            self.world.sleep(self.plan.config.vacuum_grace * 2).await;
            storage.vacuum().await.unwrap_or_else(|error| panic!("does not vacuum although nothing fails: {}", chain(&error)));
            if self.has_no_leftovers(storage, may_be_left) {
                break;
            }
        }
        self.check_view(&storage.view());
        let store = self.store();
        for table in super::TABLES {
            let mut added = BTreeSet::new();
            let log = Self::peek_table(&store, *table).0;
            // Below a checkpoint names are free again: a put that arrives very late can take one, which nobody reads.
            let version = |path: &Path| path.filename()?.get(..20)?.parse::<u64>().ok();
            let checkpoint =
                log.iter().filter(|path| path.as_ref().contains(".checkpoint")).filter_map(version).max().unwrap_or(0);
            let is_read = |path: &&Path| path.as_ref().ends_with(".json") && version(path) >= Some(checkpoint);
            for path in log.iter().filter(is_read) {
                let commit = store.peek(path).expect("it was listed");
                let actions =
                    commit.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
                for path in actions.filter_map(|action| Some(action["add"]["path"].as_str()?.to_owned())) {
                    assert!(added.insert(path.clone()), "`{path}` was added twice");
                }
            }
        }
    }

    /// Whether the files on disk are those of the tables. All those of the tables are there; more only if there `may_be` some left.
    fn has_no_leftovers(&self, storage: &Storage, may_be: bool) -> bool {
        let (view, store) = (storage.view(), self.store());
        super::TABLES.iter().all(|table| {
            let live: BTreeSet<Path> = view.lake.of_table(*table).map(|file| file.path.clone()).collect();
            let files = Self::peek_table(&store, *table).1;
            assert!(files.is_superset(&live), "on disk {files:?}, and in the table `{}` {live:?}", table.name());
            assert!(may_be || files == live, "left on disk {files:?}, and in the table `{}` {live:?}", table.name());
            files == live
        })
    }

    /// The names in the log and in the folders of a table.
    fn peek_table(store: &SimulatedStore, table: TableId) -> (Vec<Path>, BTreeSet<Path>) {
        let names = store.peek_names(&format!("lake/{}", table.name())).into_iter();
        let (log, files): (Vec<_>, Vec<_>) = names.partition(|path| path.parts().any(|part| part.as_ref() == "_delta_log"));
        (log, files.into_iter().collect())
    }
}

fn decode(store: &SimulatedStore, path: &Path, columns: &[&str]) -> Vec<RecordBatch> {
    let content = store.peek(path).unwrap_or_else(|| panic!("`{path}` is in a view and not in the store"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(content).unwrap_or_else(|error| panic!("`{path}`: {error}"));
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).build().unwrap_or_else(|error| panic!("`{path}`: {error}"));
    reader.map(|batch| batch.unwrap_or_else(|error| panic!("`{path}`: {error}"))).collect()
}

/// Whether a start failed because the disk or the store did, as it may.
fn is_of_the_disk(error: &OpenStorageError) -> bool {
    matches!(error, OpenStorageError::Wal(OpenWalError::Io { .. }))
        || chain(error).contains("simulated")
        || chain(error).contains("no storage space")
}

fn chain(error: &(impl std::error::Error + ?Sized)) -> String {
    crate::flush::chain(error)
}
