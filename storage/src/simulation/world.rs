//! One simulated world: a disk, perhaps a bucket, clocks, tasks, and a seed that decides everything that is left open.
//!
//! One task runs at a time, chosen by the seed among those that can go on; when none can, the clock jumps to the next timer. So a world
//! whose seed is the same has the same history. A world ends its run by finishing it or in a crash, and can then be run again:
//! what the crash left is what the next run finds.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    bucket::{Bucket, Place},
    disk::{Disk, Sync},
    random::{Random, hashed, mix},
};

/// More steps than any seed takes: who reaches them runs in a circle.
const STEPS_MAX: u64 = 5_000_000;

thread_local! {
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// The world that this thread is in; `None` on every thread but that of a simulation.
pub(crate) fn current() -> Option<Arc<World>> {
    CURRENT.with_borrow(Option::clone)
}

/// Puts this thread into `world` until the guard is dropped.
pub(crate) fn enter(world: &Arc<World>) -> impl Sized + use<> {
    struct Leave(Option<Arc<World>>);
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    Leave(CURRENT.replace(Some(Arc::clone(world))))
}

/// Runs `work` while the simulation stands still.
pub(crate) fn to_its_end_on_another_thread<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work);
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How often what fails, in 10 000 calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) read: u64,
    pub(crate) change: u64,
    pub(crate) fsync: u64,
    /// The disk becomes full, for a while.
    pub(crate) full: u64,
    /// A request to the bucket is refused, lost, answered late or not at all.
    pub(crate) bucket: u64,
}

/// A mistake that the properties must find: what a program does that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The fsync of the log's segments is forgotten.
    NoFsync,
    /// The fsync of the log's folder is forgotten.
    NoFolderFsync,
    /// No fsync of a folder is made.
    NoFolderFsyncAnywhere,
    /// What is not yet fsynced is acknowledged.
    EarlyAcknowledgement,
    /// The log is not looked at after an answer was lost: the commit is made again.
    BlindRetry,
    /// A commit takes the place of another's of the same version.
    CommitOverCommit,
    /// The other nodes are not asked up to when what they acknowledged is committed.
    NobodyElse,
    /// The lease is written without the condition that nobody else has written it meanwhile.
    LeaseOverLease,
    /// The lease of another process is taken for over, however young it is.
    LeaseOverAtOnce,
}

/// How a run ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process is gone; what it wrote is there.
    Kill,
    /// The machine went down.
    PowerCut,
}

/// What a world keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    disk: Disk,
    bucket: Bucket,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    random: Mutex<Random>,
    disk: Mutex<Disk>,
    pub(crate) bucket: Mutex<Bucket>,
    faults: Mutex<Faults>,
    /// Where the lake is.
    pub(crate) place: Place,
    pub(crate) mistake: Option<Mistake>,
    base: Instant,
    clock: Mutex<Clock>,
    tasks: Mutex<Tasks>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
    crash: Mutex<CrashPlan>,
    crashed: AtomicBool,
    /// Of everything that happened, in order.
    history: AtomicU64,
    /// How often each name was read, by hash: reads on the threads of libraries come in any order.
    reads: Mutex<BTreeMap<u64, u64>>,
    /// Until when each node knows to hold the lease; `None` if it was told that another one does.
    leases: Mutex<BTreeMap<Node, Option<Instant>>>,
    /// For a person: what happened.
    tell: bool,
}

#[derive(Debug)]
struct Clock {
    elapsed: Duration,
    /// What the wall clock shows beyond its start and `elapsed`.
    step: TimeDelta,
    /// What that of one machine shows beyond it.
    steps_of: BTreeMap<Node, TimeDelta>,
    start: DateTime<Utc>,
    timers: BTreeMap<(Duration, u64), Waker>,
    next_timer: u64,
    disk_full_until: Duration,
}

/// One of several machines in a world, by number. Whoever it has begun is part of it; what is of none is the network, or whoever looks on.
pub(crate) type Node = u32;

#[derive(Default)]
struct Tasks {
    next: u64,
    of_nodes: BTreeMap<u64, Node>,
    waiting: BTreeMap<u64, Pin<Box<dyn Future<Output = ()> + Send>>>,
    aborted: BTreeSet<u64>,
    running: Option<u64>,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct CrashPlan {
    changes: u64,
    at: Option<u64>,
    /// The crash comes when the write that runs is partly done.
    due: bool,
}

impl World {
    /// A world with `disk` in it, at `start`.
    pub(crate) fn new(seed: u64, image: Image, place: Place, start: DateTime<Utc>, mistake: Option<Mistake>) -> Arc<Self> {
        let clock = Clock {
            elapsed: Duration::ZERO,
            step: TimeDelta::zero(),
            steps_of: BTreeMap::new(),
            start,
            timers: BTreeMap::new(),
            next_timer: 0,
            disk_full_until: Duration::ZERO,
        };
        Arc::new(Self {
            seed,
            random: Mutex::new(Random::new(seed)),
            disk: Mutex::new(image.disk),
            bucket: Mutex::new(image.bucket),
            place,
            faults: Mutex::default(),
            mistake,
            base: Instant::now(),
            clock: Mutex::new(clock),
            tasks: Mutex::default(),
            ready: Arc::default(),
            crash: Mutex::default(),
            crashed: AtomicBool::new(false),
            history: AtomicU64::new(0xcbf2_9ce4_8422_2325),
            reads: Mutex::default(),
            leases: Mutex::default(),
            tell: std::env::var_os("ASSAY_SIMULATE_TELL").is_some(),
        })
    }

    /// Runs `main` and what it spawns until `main` has ended; `None` if a crash came first. Whatever is left then is dropped.
    pub(crate) fn run<T: Send + 'static>(self: &Arc<Self>, main: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let _here = enter(self);
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        self.spawn(async move {
            let done = main.await;
            *slot.lock() = Some(done);
        });
        let mut steps = 0;
        let mut done = None;
        while !self.has_crashed() {
            done = result.lock().take();
            if done.is_some() {
                break;
            }
            steps += 1;
            assert!(steps < STEPS_MAX, "the simulation runs in a circle");
            self.step();
        }
        self.drop_everything();
        done
    }

    fn step(self: &Arc<Self>) {
        let chosen = {
            let mut ready = self.ready.lock();
            let nth = usize::try_from(self.random.lock().below(ready.len() as u64)).expect("an index");
            let chosen = ready.iter().nth(nth).copied();
            if let Some(id) = chosen {
                ready.remove(&id);
            }
            chosen
        };
        let Some(id) = chosen else { return self.to_next_timer() };
        let Some(mut task) = self.tasks.lock().waiting.remove(&id) else { return };
        self.tasks.lock().running = Some(id);
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
        let ended = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut tasks = self.tasks.lock();
        tasks.running = None;
        let aborted = tasks.aborted.remove(&id);
        if ended || aborted {
            tasks.of_nodes.remove(&id);
            drop(tasks);
            drop(task);
        } else {
            tasks.waiting.insert(id, task);
        }
    }

    fn to_next_timer(&self) {
        let mut clock = self.clock.lock();
        let Some(((at, _), waker)) = clock.timers.pop_first() else {
            panic!("everything waits and nothing will come: a deadlock, or an answer that is never given");
        };
        clock.elapsed = clock.elapsed.max(at);
        drop(clock);
        waker.wake();
    }

    /// As at the end of a process, and of its requests that nobody heard of again.
    fn drop_everything(self: &Arc<Self>) {
        loop {
            let waiting = std::mem::take(&mut self.tasks.lock().waiting);
            if waiting.is_empty() {
                break;
            }
            drop(waiting);
        }
        self.tasks.lock().of_nodes.clear();
        let timers = std::mem::take(&mut self.clock.lock().timers);
        drop(timers);
        self.ready.lock().clear();
        let late = std::mem::take(&mut self.bucket.lock().late);
        for put in late.into_values() {
            let fate = self.random.lock().below(3);
            match fate {
                0 => drop(self.bucket.lock().land(put, self.wall_clock())),
                1 => self.bucket.lock().outlive(put),
                _ => {}
            }
        }
    }

    /// After a crash or a run: what is left of the disk, and no fault until the next are set.
    pub(crate) fn restart(&self, crash: Crash) {
        if crash == Crash::PowerCut {
            self.disk.lock().cut_power(&mut self.random.lock());
        }
        self.tell(format_args!("---- {crash:?}"));
        self.crashed.store(false, Ordering::Release);
        self.leases.lock().clear();
        *self.crash.lock() = CrashPlan::default();
        *self.faults.lock() = Faults::default();
        self.clock.lock().disk_full_until = Duration::ZERO;
    }

    /// From now on, calls fail as `faults` says.
    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults.lock() = faults;
        self.clock.lock().disk_full_until = Duration::ZERO;
    }

    /// Crashes at the change with this number, counted from the restart.
    pub(crate) fn crash_at(&self, change: u64) {
        self.crash.lock().at = Some(change);
    }

    /// Crashes now.
    pub(crate) fn crash(&self) {
        self.crashed.store(true, Ordering::Release);
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::Acquire)
    }

    /// A copy of what the world keeps.
    pub(crate) fn image(&self) -> Image {
        Image { disk: self.disk.lock().clone(), bucket: self.bucket.lock().clone() }
    }

    /// The hash of all that happened so far.
    pub(crate) fn history(&self) -> u64 {
        self.history.load(Ordering::Acquire)
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock()
    }

    pub(crate) fn with_random<T>(&self, use_it: impl FnOnce(&mut Random) -> T) -> T {
        use_it(&mut self.random.lock())
    }

    /// Notes that something happened.
    pub(crate) fn note(&self, what: &str, on: &[u8]) {
        let now = self.clock.lock().elapsed.as_nanos().to_le_bytes();
        let hash = hashed(hashed(hashed(self.history(), what.as_bytes()), on), &now);
        self.history.store(hash, Ordering::Release);
        self.tell(format_args!("{what} {}", String::from_utf8_lossy(on)));
    }

    /// For a person who looks at one seed.
    pub(crate) fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.tell {
            eprintln!("{:>12.6} {what}", self.clock.lock().elapsed.as_secs_f64());
        }
    }

    // ------------------------------------------------------------------------------------------------------ clocks, names, tasks

    /// The time of day, on the machine that asks.
    pub(crate) fn wall_clock(&self) -> DateTime<Utc> {
        let node = self.node();
        let clock = self.clock.lock();
        let of_node = node.and_then(|node| clock.steps_of.get(&node).copied()).unwrap_or_default();
        clock.start + clock.step + of_node + TimeDelta::from_std(clock.elapsed).expect("a simulation is short")
    }

    /// The time of day where it is latest.
    pub(crate) fn latest_wall_clock(&self) -> DateTime<Utc> {
        let clock = self.clock.lock();
        let ahead = clock.steps_of.values().copied().max().unwrap_or_default().max(TimeDelta::zero());
        clock.start + clock.step + ahead + TimeDelta::from_std(clock.elapsed).expect("a simulation is short")
    }

    /// Someone sets the wall clock of one machine.
    pub(crate) fn step_wall_clock_of(&self, node: Node, by: TimeDelta) {
        self.note("clock step of one", by.to_string().as_bytes());
        *self.clock.lock().steps_of.entry(node).or_default() += by;
    }

    /// The machine that the running task is part of.
    pub(super) fn node(&self) -> Option<Node> {
        let tasks = self.tasks.lock();
        tasks.of_nodes.get(&tasks.running?).copied()
    }

    /// Ends a machine's process as kill -9 does. Called by what is not part of it.
    pub(crate) fn kill(&self, node: Node) {
        self.leases.lock().remove(&node);
        loop {
            let gone: Vec<_> = {
                let mut tasks = self.tasks.lock();
                let ids: Vec<u64> = tasks.of_nodes.iter().filter(|(_, of)| **of == node).map(|(id, _)| *id).collect();
                ids.into_iter().map(|id| (tasks.of_nodes.remove(&id), tasks.waiting.remove(&id))).collect()
            };
            if gone.is_empty() {
                return;
            }
        }
    }

    pub(crate) fn monotonic(&self) -> Instant {
        self.base + self.clock.lock().elapsed
    }

    /// Someone sets the wall clock.
    pub(crate) fn step_wall_clock(&self, by: TimeDelta) {
        self.note("clock step", by.to_string().as_bytes());
        let mut clock = self.clock.lock();
        clock.step += by;
    }

    pub(crate) fn unique_id(&self) -> Uuid {
        let mut random = self.random.lock();
        Uuid::from_u64_pair(random.next(), random.next())
    }

    pub(crate) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let until = self.clock.lock().elapsed.saturating_add(duration);
        Sleep { world: Arc::downgrade(self), until, timer: None }
    }

    /// Lets others run, for a moment or not at all.
    pub(crate) async fn pause(self: &Arc<Self>) {
        let (kind, micros) = self.with_random(|random| (random.below(8), random.below(20_000)));
        match kind {
            0..4 => {}
            4..7 => self.sleep(Duration::ZERO).await,
            _ => self.sleep(Duration::from_micros(micros)).await,
        }
    }

    /// A task that is part of the machine that begins it.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.spawn_on(self.node(), work)
    }

    /// A task that is part of `node`.
    pub(crate) fn spawn_on(self: &Arc<Self>, node: Option<Node>, work: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        let (tx, ended) = oneshot::channel::<()>();
        let mut tasks = self.tasks.lock();
        let id = tasks.next;
        tasks.next += 1;
        tasks.of_nodes.extend(node.map(|node| (id, node)));
        tasks.waiting.insert(
            id,
            Box::pin(async move {
                work.await;
                drop(tx);
            }),
        );
        self.ready.lock().insert(id);
        TaskHandle { id, world: Arc::downgrade(self), ended }
    }

    // ------------------------------------------------------------------------------------------------------ the lease of nodes

    /// The node at work holds the lease until then, or does not.
    ///
    /// # Panics
    /// If it is over, or another one holds it too and all have one clock.
    pub(crate) fn told_of_lease(&self, until: Option<Instant>) {
        let Some(node) = self.node() else { return };
        self.tell(format_args!("node {node} is told of the lease: {:?}", until.map(|until| until - self.base)));
        let mut leases = self.leases.lock();
        leases.insert(node, until);
        let (now, has_one_clock) = (self.monotonic(), self.clock.lock().steps_of.is_empty());
        assert!(until.is_none_or(|until| until > now), "node {node} believes to hold a lease that is over");
        let holders: Vec<Node> =
            leases.iter().filter(|(_, until)| until.is_some_and(|until| until > now)).map(|(node, _)| *node).collect();
        assert!(holders.len() <= 1 || !has_one_clock, "nodes {holders:?} believe to hold the lease");
    }

    /// The node at work does to `path` what only the holder of the lease does.
    ///
    /// # Panics
    /// If it was told otherwise, or nothing. (A lease may be over by the time: what a holder has begun, it ends.)
    pub(crate) fn acts_as_holder(&self, what: &str, path: &str) {
        let Some(node) = self.node() else { return };
        let told = self.leases.lock().get(&node).copied().flatten();
        assert!(told.is_some(), "node {node} {what} `{path}` without the lease");
    }

    // ------------------------------------------------------------------------------------------------------ what a call meets

    /// Before something is read.
    pub(crate) fn reading(&self, name: &OsStr) -> io::Result<()> {
        self.alive()?;
        let per_10_000 = self.faults.lock().read;
        if per_10_000 == 0 {
            return Ok(());
        }
        let hash = hashed(self.seed, name.as_encoded_bytes());
        let mut reads = self.reads.lock();
        let nth = reads.entry(hash).or_default();
        *nth += 1;
        if mix(hash ^ mix(*nth)) % 10_000 < per_10_000 { Err(io::Error::other("simulated EIO on reading")) } else { Ok(()) }
    }

    /// Before something other than the content of a file is changed.
    pub(crate) fn changing(&self, what: &str, name: &OsStr) -> io::Result<()> {
        self.count(what, name)?;
        if self.crash.lock().due {
            self.crash();
            return self.alive();
        }
        let faults = *self.faults.lock();
        if what.starts_with("create") && self.is_full(faults) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.random.lock().chance(faults.change) {
            self.note("EIO", name.as_encoded_bytes());
            return Err(io::Error::other("simulated EIO"));
        }
        Ok(())
    }

    /// Before `len` bytes are written: how many of them will be.
    pub(crate) fn writing(&self, name: &OsStr, len: usize) -> io::Result<usize> {
        self.count("write", name)?;
        let faults = *self.faults.lock();
        let part = |random: &mut Random| usize::try_from(random.below(len as u64)).expect("less than a usize");
        if self.crash.lock().due {
            return Ok(self.with_random(part));
        }
        if self.is_full(faults) {
            let some = self.with_random(|random| if random.one_in(2) { part(random) } else { 0 });
            return if some > 0 { Ok(some) } else { Err(io::ErrorKind::StorageFull.into()) };
        }
        if self.random.lock().chance(faults.change) {
            self.note("EIO", name.as_encoded_bytes());
            return Err(io::Error::other("simulated EIO"));
        }
        let short = self.with_random(|random| if random.one_in(64) { part(random) } else { 0 });
        Ok(if short > 0 { short } else { len })
    }

    /// After a part of a write: the crash, if it is due.
    pub(crate) fn written(&self) -> io::Result<()> {
        if self.crash.lock().due {
            self.crash();
        }
        self.alive()
    }

    /// Before an fsync: what becomes of it.
    pub(crate) fn syncing(&self, name: &OsStr, is_dir: bool) -> io::Result<Sync> {
        self.count("fsync", name)?;
        if self.crash.lock().due {
            self.crash();
            self.alive()?;
        }
        let faults = *self.faults.lock();
        if self.random.lock().chance(faults.fsync) {
            self.note("EIO on fsync", name.as_encoded_bytes());
            return Ok(Sync::Fails);
        }
        let is_segment = name.as_encoded_bytes().ends_with(b".wal");
        Ok(match self.mistake {
            Some(Mistake::NoFsync) if is_segment => Sync::Lies,
            Some(Mistake::NoFolderFsync) if is_dir && name.as_encoded_bytes().ends_with(b"/wal") => Sync::Lies,
            Some(Mistake::NoFolderFsyncAnywhere) if is_dir => Sync::Lies,
            Some(Mistake::EarlyAcknowledgement) if is_segment => Sync::ComesLater(Duration::from_millis(20)),
            _ => Sync::Works,
        })
    }

    /// Before a request to the bucket that changes it. The error is a crash.
    pub(crate) fn requesting(&self, what: &str, path: &str) -> io::Result<()> {
        self.count(what, OsStr::new(path))?;
        if self.crash.lock().due {
            self.crash();
        }
        self.alive()
    }

    pub(crate) fn faults(&self) -> Faults {
        *self.faults.lock()
    }

    fn count(&self, what: &str, name: &OsStr) -> io::Result<()> {
        self.alive()?;
        self.note(what, name.as_encoded_bytes());
        let mut crash = self.crash.lock();
        crash.changes += 1;
        crash.due = crash.due || crash.at == Some(crash.changes);
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.has_crashed() { Err(io::Error::other("simulated crash")) } else { Ok(()) }
    }

    fn is_full(&self, faults: Faults) -> bool {
        let begins = self.random.lock().chance(faults.full);
        let length = Duration::from_millis(self.random.lock().below(3000));
        let mut clock = self.clock.lock();
        if begins && clock.elapsed >= clock.disk_full_until {
            clock.disk_full_until = clock.elapsed + length;
        }
        clock.elapsed < clock.disk_full_until
    }
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().insert(self.id);
    }
}

/// A task of a world.
pub(crate) struct TaskHandle {
    id: u64,
    world: Weak<World>,
    ended: oneshot::Receiver<()>,
}

impl TaskHandle {
    /// Ends it at its next await.
    pub(crate) fn abort(&self) {
        let Some(world) = self.world.upgrade() else { return };
        let task = {
            let mut tasks = world.tasks.lock();
            if tasks.running == Some(self.id) {
                tasks.aborted.insert(self.id);
            }
            tasks.waiting.remove(&self.id)
        };
        drop(task);
    }

    /// Returns when it has ended, whichever way.
    pub(crate) async fn ended(self) {
        drop(self.ended.await);
    }
}

/// Waits for a moment of the simulated clock.
pub(crate) struct Sleep {
    world: Weak<World>,
    until: Duration,
    timer: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<()> {
        let Some(world) = self.world.upgrade() else { return Poll::Pending };
        let mut clock = world.clock.lock();
        if let Some(timer) = self.timer.take() {
            clock.timers.remove(&timer);
            if clock.elapsed >= self.until {
                return Poll::Ready(());
            }
        }
        let timer = (self.until, clock.next_timer);
        clock.next_timer += 1;
        clock.timers.insert(timer, ctx.waker().clone());
        drop(clock);
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(timer), Some(world)) = (self.timer, self.world.upgrade()) {
            let waker = world.clock.lock().timers.remove(&timer);
            drop(waker);
        }
    }
}
