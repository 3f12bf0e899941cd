//! Several nodes in one simulated world: two that write and one that only reads, over one bucket, with nothing else in common.
//!
//! Each may be killed at any moment, alone, while the others go on and what it had sent is still under way; or the power of all is cut. In some
//! worlds all clocks are one, in others each is set as it pleases; there, what is promised by clocks is not asked for. Properties:
//!
//! - a node shows what it acknowledged itself at once, whole and once, and of the others' requests no row twice;
//! - a view of a node that follows never lacks a row that one before it had, and has, whole, whatever was acknowledged before the moment up to which
//!   it says it is complete;
//! - the correction received last wins, wherever it was made, before and after it is folded in;
//! - of all live processes one at most believes at any time to hold the lease; who takes files out of a table or deletes them was told so;
//! - when nothing fails any more, all that was acknowledged is there once, for everyone, and the ledger balances.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use super::{
    bucket::{Place, SimulatedStore},
    model::{self, Batch, Files, Outcome, ROWS_MAX, Rows, Seen},
    random::Random,
    world::{Crash, Faults, Image, Mistake, Node, World},
};
use crate::{
    AppendErrorKind, BucketConfig, OpenStorageError, ReadView, Storage, StorageConfig, WalRecord, config::Role, flush::chain,
};

const READER: Node = 2;
/// In the future of every machine that runs this: entries of logs are younger than a day, also for the library that looks at the real clock.
const START_SECONDS: i64 = 4_200_000_000;
/// A job that waits makes rows old enough to fold corrections into.
const SETTLED: Duration = Duration::from_secs(6 * 60);

/// What one seed does.
#[derive(Clone, Debug)]
struct Plan {
    lives: u64,
    /// Kills, changes of the weather, in each life.
    events: u64,
    clients: u64,
    batches: u64,
    projects: u64,
    bucket_faults: u64,
    read_faults: u64,
    /// Each machine has a clock of its own, which is set now and then.
    own_clocks: bool,
    retention_days: Option<u64>,
    roles: [Role; 3],
    config: StorageConfig,
}

impl Plan {
    fn new(random: &mut Random) -> Self {
        let millis = |random: &mut Random, least: u64, most: u64| Duration::from_millis(least + random.below(most - least));
        let retention_days = random.one_in(3).then(|| 1 + random.below(3));
        let config = StorageConfig {
            flush_interval: millis(random, 500, 6000),
            flush_bytes: 1 << (14 + random.below(10)),
            wal_bytes_max: 1 << (14 + random.below(8)),
            wal_segment_bytes: 200 + random.below(6000),
            compaction_interval: millis(random, 2000, 60_000),
            follow_interval: millis(random, 500, 4000),
            group_commit_window: Duration::ZERO,
            // Longer than a node is cut off.
            vacuum_grace: Duration::from_secs(900),
            retention: retention_days.map(|days| Duration::from_secs(days * 86_400)),
            bucket: Some(BucketConfig { cache_bytes_max: 1 << 20, ..BucketConfig::at("s3://simulated") }),
            ..StorageConfig::default()
        };
        let first = if random.one_in(2) { Role::Member } else { Role::Collector };
        Self {
            lives: 1 + random.below(2),
            events: random.below(6),
            clients: 1 + random.below(2),
            batches: 2 + random.below(5),
            projects: 1 + random.below(2),
            bucket_faults: if random.one_in(3) { 0 } else { random.below(1500) },
            read_faults: if random.one_in(2) { 0 } else { random.below(200) },
            own_clocks: random.one_in(3),
            retention_days,
            roles: [first, Role::Collector, Role::Query],
            config,
        }
    }

    fn config(&self, node: Node) -> StorageConfig {
        let data_dir = format!("/data/node-{node}").into();
        StorageConfig { data_dir, role: self.role(node), ..self.config.clone() }
    }

    fn role(&self, node: Node) -> Role {
        self.roles[node as usize]
    }
}

/// Runs the whole of one seed.
///
/// # Panics
/// If a property does not hold.
pub(super) fn run(seed: u64, mistake: Option<Mistake>) -> Outcome {
    let mut random = Random::new(seed ^ 0x5aa5);
    let plan = Plan::new(&mut random);
    let start = DateTime::from_timestamp(START_SECONDS + random.below(200_000).cast_signed(), 0).expect("a time");
    let world = World::new(seed, prepared(), Place::Bucket, start, mistake);
    world.tell(format_args!("{plan:?}"));
    let actor = Actor { world: Arc::clone(&world), model: Arc::default(), plan: Arc::new(plan) };
    let lives = actor.plan.lives;
    let mut crashes = 0;
    for life in 0..lives {
        if random.one_in(3) {
            world.crash_at(1 + random.below(1500));
        }
        let ended = world.run(actor.clone().live());
        crashes += u64::from(ended.is_none()) + actor.model.lock().kills;
        world.note("life ends", &life.to_le_bytes());
        world.restart(if random.one_in(2) { Crash::Kill } else { Crash::PowerCut });
        actor.model.lock().kills = 0;
    }
    world.bucket.lock().lose_outlived();
    world.run(actor.clone().settle()).expect("nothing crashes any more");
    let acknowledged = actor.model.lock().sent.values().filter(|sent| sent.acknowledged.is_some()).count() as u64;
    Outcome { history: world.history(), acknowledged, crashes }
}

/// A lake that nodes share, without rows.
fn prepared() -> Image {
    static IMAGE: std::sync::OnceLock<Image> = std::sync::OnceLock::new();
    let prepare = || {
        let start = DateTime::from_timestamp(START_SECONDS - 1000, 0).expect("a time");
        let world = World::new(0, Image::default(), Place::Bucket, start, None);
        let config = Plan::new(&mut Random::new(0)).config(1);
        let opened = world.run(async { Storage::open(config).await.expect("a new lake").close().await });
        opened.expect("nothing crashes").expect("nothing to flush");
        world.restart(Crash::PowerCut);
        world.image()
    };
    IMAGE.get_or_init(prepare).clone()
}

/// What senders know, and what readers saw.
#[derive(Default)]
struct Model {
    next_attempt: u64,
    sent: BTreeMap<u64, Sent>,
    /// Who was given which position in the log of which node.
    positions: BTreeMap<(Node, u64), u64>,
    /// Rows of days before this may be gone.
    first_kept: i32,
    /// Requests with rows that a view of the node that follows had.
    followed: BTreeMap<u64, Rows>,
    files: Files,
    kills: u64,
}

#[derive(Debug)]
struct Sent {
    batch: Batch,
    by: Node,
    /// Where in the log, and when by the clock of the node.
    acknowledged: Option<(u64, DateTime<Utc>)>,
}

/// What a view must have whole.
#[derive(Clone, Copy)]
enum Complete {
    /// What this node acknowledged.
    Of(Node),
    /// What anyone acknowledged before.
    Until(DateTime<Utc>),
    /// What was acknowledged.
    All,
}

impl Model {
    fn check(&self, seen: &Seen, complete: Complete) {
        for (attempt, rows) in &seen.by_attempt {
            assert!(self.sent.contains_key(attempt), "rows of request {attempt}, which nobody sent: {rows:?}");
        }
        for (attempt, sent) in self.kept() {
            let rows = seen.by_attempt.get(attempt).copied().unwrap_or_default();
            let Batch { spans, logs, .. } = sent.batch;
            let most = rows.spans <= spans && rows.logs <= logs && rows.ledger <= 1;
            assert!(most, "request {attempt} has more rows than were sent: {rows:?} of {sent:?}");
            let is_asked_for = sent.acknowledged.is_some_and(|(_, at)| match complete {
                Complete::Of(node) => sent.by == node,
                Complete::Until(until) => at < until,
                Complete::All => true,
            });
            let whole = rows.spans == spans && rows.logs == logs && rows.ledger == 1;
            let what = match complete {
                Complete::Until(until) => format!("and the view says that it is complete until {until}"),
                _ => "and is not there".to_owned(),
            };
            assert!(whole || !is_asked_for, "request {attempt} was acknowledged, {what}: {rows:?} of {sent:?}");
            let none = rows == Rows::default();
            assert!(
                whole || none || !matches!(complete, Complete::All),
                "request {attempt} is there in part: {rows:?} of {sent:?}"
            );
        }
        if matches!(complete, Complete::All) {
            let stored: i64 = seen.ledger.iter().filter(|line| line.0 >= self.first_kept).map(|line| line.1).sum();
            let kept = |attempt: &u64| self.sent[attempt].batch.date >= self.first_kept;
            let counted: u64 = seen.by_attempt.iter().filter(|(a, _)| kept(a)).map(|(_, rows)| rows.spans + rows.logs).sum();
            assert_eq!(stored, counted.cast_signed(), "the ledger does not balance");
        }
    }

    /// Of the corrections of a span that are in the view for sure, the last one shows, or one that came after it.
    fn check_corrections(&self, seen: &Seen, complete: Complete) {
        let mut newest: BTreeMap<u64, i64> = BTreeMap::new();
        for (_, sent) in self.kept() {
            let is_there = sent.acknowledged.is_some_and(|(_, at)| match complete {
                Complete::Until(until) => at < until,
                _ => true,
            });
            if let (Some((_, span)), true) = (sent.batch.corrects, is_there)
                && self.sent.get(&(span / ROWS_MAX)).is_some_and(|of| of.batch.is_with(&sent.batch))
            {
                let known = newest.entry(span).or_default();
                *known = sent.batch.received_at.unwrap_or(0).max(*known);
            }
        }
        for (span, session) in &seen.sessions {
            let needed = newest.get(span).copied().unwrap_or(0);
            let by = session.map(|attempt| &self.sent[&attempt].batch);
            if let Some(by) = by {
                assert_eq!(by.corrects.map(|c| c.1), Some(*span), "span {span:x} has the correction of another");
            }
            let shown = by.and_then(|by| by.received_at).unwrap_or(0);
            assert!(
                shown >= needed,
                "span {span:x} shows {session:?}, received at {shown}, in the place of a correction received at {needed}"
            );
        }
    }

    /// Nothing that was seen is gone.
    fn check_followed(&mut self, seen: &Seen) {
        let before = std::mem::take(&mut self.followed);
        for (attempt, rows) in before.iter().filter(|(attempt, _)| self.sent[attempt].batch.date >= self.first_kept) {
            let now = seen.by_attempt.get(attempt).copied().unwrap_or_default();
            let has_all = now.spans >= rows.spans && now.logs >= rows.logs && now.ledger >= rows.ledger;
            assert!(has_all, "of request {attempt} a view had {rows:?}, and a later one has {now:?}");
        }
        self.followed.clone_from(&seen.by_attempt);
    }

    fn kept(&self) -> impl Iterator<Item = (&u64, &Sent)> {
        self.sent.iter().filter(|(_, sent)| sent.batch.date >= self.first_kept)
    }
}

/// Whoever does something in a world.
#[derive(Clone)]
struct Actor {
    world: Arc<World>,
    model: Arc<Mutex<Model>>,
    plan: Arc<Plan>,
}

impl Actor {
    /// All nodes at work, and what happens to them, to an end or a crash of all.
    async fn live(self) {
        let mut running: Vec<_> = (0..=READER).map(|node| self.begin(node)).collect();
        for _ in 0..self.plan.events {
            let (pause, kind, node) = self.world.with_random(|random| (random.below(6000), random.below(4), random.below(3)));
            self.world.sleep(Duration::from_millis(pause)).await;
            let node = Node::try_from(node).expect("small");
            match kind {
                0 | 1 => {
                    self.world.note("kill", &node.to_le_bytes());
                    self.world.kill(node);
                    self.model.lock().kills += 1;
                    let pause = self.world.with_random(|random| random.below(3000));
                    self.world.sleep(Duration::from_millis(pause)).await;
                    running.push(self.begin(node));
                }
                2 => self.world.set_faults(Faults {
                    bucket: self.plan.bucket_faults,
                    read: self.plan.read_faults,
                    ..Faults::default()
                }),
                _ => self.world.set_faults(Faults::default()),
            }
        }
        self.world.set_faults(Faults::default());
        for node in running {
            node.ended().await;
        }
    }

    fn begin(&self, node: Node) -> super::world::TaskHandle {
        let actor = self.clone();
        self.world.spawn_on(Some(node), async move {
            let storage = actor.start(node).await;
            match actor.plan.role(node) {
                Role::Query => actor.read(&storage).await,
                _ => actor.work(node, storage).await,
            }
        })
    }

    /// Opens and replays, as often as it takes.
    async fn start(&self, node: Node) -> Storage {
        loop {
            let error: Box<dyn std::error::Error + Send + Sync> = match Storage::open(self.plan.config(node)).await {
                Ok(storage) => match self.replay(node, &storage).await {
                    Ok(()) => return storage,
                    Err(error) => error.into(),
                },
                Err(error) => {
                    self.end_if_crashed().await;
                    assert!(is_of_the_bucket(&error), "node {node} does not start: {}", chain(&error));
                    error.into()
                }
            };
            self.world.tell(format_args!("node {node} does not start: {}", chain(&*error)));
            self.world.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn replay(&self, node: Node, storage: &Storage) -> Result<(), crate::ReplayError> {
        for item in storage.replay() {
            self.world.pause().await;
            match item {
                Ok((position, record)) => {
                    let batch: Batch = serde_json::from_slice(&record.body).expect("as it was sent");
                    storage.publish(position, batch.rows(position));
                }
                Err(_) if self.world.has_crashed() => std::future::pending().await,
                Err(error) => return Err(error),
            }
        }
        self.look(node, storage);
        Ok(())
    }

    /// Clients and jobs side by side.
    async fn work(&self, node: Node, storage: Storage) {
        let mut tasks = Vec::new();
        for _ in 0..self.plan.clients {
            let (actor, storage) = (self.clone(), storage.clone());
            tasks.push(self.world.spawn(async move {
                for _ in 0..actor.plan.batches {
                    let pause = actor.world.with_random(|random| random.below(2000));
                    actor.world.sleep(Duration::from_millis(pause)).await;
                    actor.send(node, &storage).await;
                }
            }));
        }
        let (actor, jobs) = (self.clone(), storage.clone());
        tasks.push(self.world.spawn(async move {
            for _ in 0..4 {
                let pause = actor.world.with_random(|random| random.below(3000));
                actor.world.sleep(Duration::from_millis(pause)).await;
                actor.job(node, &jobs).await;
                actor.look(node, &jobs);
            }
        }));
        for task in tasks {
            task.ended().await;
        }
        self.look(node, &storage);
        if self.world.with_random(|random| random.one_in(2)) {
            // What cannot be flushed is replayed.
            drop(storage.close().await);
        }
    }

    async fn send(&self, node: Node, storage: &Storage) {
        let (batch, record) = self.new_batch(node);
        for _ in 0..8 {
            match storage.append(record.clone()).await {
                Ok(position) => {
                    self.world.pause().await;
                    storage.publish(position, batch.rows(position));
                    if self.world.has_crashed() {
                        return;
                    }
                    self.world.note("acknowledge", &position.get().to_le_bytes());
                    let at = self.world.wall_clock();
                    let mut model = self.model.lock();
                    let before = model.positions.insert((node, position.get()), batch.attempt);
                    assert_eq!(before, None, "position {position} of node {node} is given twice");
                    model.sent.get_mut(&batch.attempt).expect("it was sent").acknowledged = Some((position.get(), at));
                    return;
                }
                Err(error) => match error.kind() {
                    AppendErrorKind::Overloaded { .. } => self.world.sleep(Duration::from_millis(500)).await,
                    AppendErrorKind::Failed => {
                        self.end_if_crashed().await;
                        panic!("the log of node {node} has failed: {error}");
                    }
                    AppendErrorKind::TooLarge => return,
                },
            }
        }
    }

    fn new_batch(&self, node: Node) -> (Batch, WalRecord) {
        let now = self.world.wall_clock();
        let date = i32::try_from(now.timestamp().div_euclid(86_400)).expect("a day");
        let mut model = self.model.lock();
        let attempt = model.next_attempt;
        model.next_attempt += 1;
        let batch = self.world.with_random(|random| {
            let of = random.below(attempt);
            let mut batch = Batch {
                attempt,
                project: random.below(self.plan.projects),
                date,
                spans: random.below(4),
                logs: random.below(2),
                filling: "x".repeat(usize::try_from(random.below(500)).expect("small")),
                received_at: Some(now.timestamp_micros()),
                ..Batch::default()
            };
            if random.one_in(2) {
                // A span of the same project and day that this node can know: its own, or one that is committed.
                let is_committed = || model.followed.get(&of).is_some_and(|rows| rows.spans > 0);
                let is_known = |sent: &Sent| sent.batch.is_with(&batch) && (sent.by == node || is_committed());
                batch.corrects = model.sent.get(&of).is_some_and(is_known).then_some((of / 3 + 1, of * ROWS_MAX));
            }
            batch
        });
        model.sent.insert(attempt, Sent { batch: batch.clone(), by: node, acknowledged: None });
        self.world.note("send", &attempt.to_le_bytes());
        let record = batch.record(now);
        (batch, record)
    }

    /// One of the things that background jobs and operators do. Their failures are theirs to repeat.
    async fn job(&self, node: Node, storage: &Storage) {
        let kind = self.world.with_random(|random| random.below(14));
        self.world.note("job", &kind.to_le_bytes());
        let now = self.world.wall_clock();
        match kind {
            0..3 => drop(storage.flush().await),
            3 => drop(storage.follow().await),
            4 => drop(storage.compact().await),
            5 | 6 => drop(storage.inner.compact((now + TimeDelta::days(2)).date_naive(), true).await),
            7 => drop(storage.inner.compact((now + TimeDelta::days(2)).date_naive(), false).await),
            8 => drop(storage.inner.apply_retention(now).await),
            9 => drop(storage.vacuum().await),
            10 => drop(storage.inner.checkpoint(1).await),
            11 => self.world.sleep(SETTLED).await,
            _ if self.plan.own_clocks => {
                let hours = self.world.with_random(|random| random.below(60).cast_signed() - 30);
                self.expect_retention();
                self.world.step_wall_clock_of(node, TimeDelta::hours(hours));
            }
            _ => {}
        }
    }

    /// Jobs go by the clock of their node, so by now they may have dropped this much.
    fn expect_retention(&self) {
        let Some(days) = self.plan.retention_days else { return };
        let first = self.world.latest_wall_clock().timestamp() - (days * 86_400).cast_signed();
        let mut model = self.model.lock();
        model.first_kept = model.first_kept.max(i32::try_from(first.div_euclid(86_400)).expect("a day"));
    }

    /// Follows and looks, again and again.
    async fn read(&self, storage: &Storage) {
        for _ in 0..8 {
            let pause = self.world.with_random(|random| random.below(3000));
            self.world.sleep(Duration::from_millis(pause)).await;
            if self.world.with_random(|random| random.one_in(2)) {
                drop(storage.follow().await);
            }
            self.look(READER, storage);
        }
    }

    // ------------------------------------------------------------------------------------------------------ properties

    /// Looks at what `node` shows.
    fn look(&self, node: Node, storage: &Storage) {
        if self.world.has_crashed() {
            return;
        }
        self.expect_retention();
        let view = storage.view();
        let seen = self.seen(&view);
        let mut model = self.model.lock();
        let until = view.complete_until.expect("others write");
        let complete = match self.plan.role(node) {
            // It looks now and then at what others do; its own rows it shows at once.
            Role::Query if !self.plan.own_clocks => Complete::Until(until),
            Role::Query => Complete::Until(DateTime::UNIX_EPOCH),
            _ => Complete::Of(node),
        };
        model.check(&seen, complete);
        if node == READER {
            model.check_followed(&seen);
        }
        if !self.plan.own_clocks {
            model.check_corrections(&seen, Complete::Until(until));
        }
    }

    fn seen(&self, view: &ReadView) -> Seen {
        let store = SimulatedStore::new(Arc::clone(&self.world), Place::Bucket);
        // Files of a lake in a bucket outlive every crash.
        model::seen(view, self.plan.projects, &store, &mut self.model.lock().files)
    }

    /// Starts everyone once more, brings everything into the lake, and looks at all there is.
    async fn settle(self) {
        for node in 0..READER {
            let actor = self.clone();
            let work = self.world.spawn_on(Some(node), async move {
                let storage = actor.start(node).await;
                storage.flush().await.unwrap_or_else(|error| panic!("does not flush although nothing fails: {}", chain(&error)));
                storage.close().await.unwrap_or_else(|error| panic!("does not close although nothing fails: {}", chain(&error)));
            });
            work.ended().await;
        }
        let actor = self.clone();
        let fold = self.world.spawn_on(Some(0), async move {
            let storage = actor.start(0).await;
            actor.world.sleep(SETTLED).await;
            let later = (actor.world.wall_clock() + TimeDelta::days(40)).date_naive();
            for _ in 0..2 {
                let compacted = storage.inner.compact(later, true).await;
                compacted.unwrap_or_else(|error| panic!("does not compact although nothing fails: {}", chain(&error)));
            }
            actor.look_at_all(&storage);
            storage.close().await.unwrap_or_else(|error| panic!("does not close although nothing fails: {}", chain(&error)));
        });
        fold.ended().await;
        let actor = self.clone();
        let read = self.world.spawn_on(Some(READER), async move {
            let storage = actor.start(READER).await;
            actor.look_at_all(&storage);
            let until = storage.view().complete_until.expect("others write");
            let last = actor.model.lock().sent.values().filter_map(|sent| Some(sent.acknowledged?.1)).max();
            assert!(actor.plan.own_clocks || Some(until) >= last, "all have ended, and {until} is before {last:?}");
        });
        read.ended().await;
    }

    fn look_at_all(&self, storage: &Storage) {
        self.expect_retention();
        let seen = self.seen(&storage.view());
        let model = self.model.lock();
        model.check(&seen, Complete::All);
        if !self.plan.own_clocks {
            model.check_corrections(&seen, Complete::All);
        }
    }

    /// After a crash nothing more happens: this does not return.
    async fn end_if_crashed(&self) {
        if self.world.has_crashed() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether a start failed because the bucket did, as it may.
fn is_of_the_bucket(error: &OpenStorageError) -> bool {
    chain(error).contains("simulated")
}
