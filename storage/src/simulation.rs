//! Storage in a world that fails: the code of this crate as it is, on a simulated disk, clock, scheduler and object store, all decided by
//! one seed.
//!
//! ```text
//! seed ─> world (disk, bucket, clock, tasks) ─> lives: open, replay, clients + jobs + readers, crash ─> … ─> a last life without faults
//! ```
//! `world` is what `outside` asks in these tests; `model` is the clients of one node, what they were promised, and whether it was kept; `nodes` is the
//! same of several nodes over one bucket. Properties of one, looked at after every recovery, by readers in between, and at the end:
//!
//! - what was acknowledged is visible, whole and once; what was not is there whole and once, or not at all;
//! - a view shows the same rows as long as it is held; corrections acknowledged last win; the ledger's sums are those of the rows;
//! - what is committed never goes back, no position is given twice, a replay begins where the log was released;
//! - a start succeeds once nothing fails; when all is flushed and vacuumed, no file is left that nothing refers to.
//!
//! `make simulate SEEDS=10000` runs many seeds and goes on over failures. A seed that fails is written to `simulation/seeds.txt` (or
//! `seeds_of_nodes.txt`), whose seeds are tried first ever after. `ASSAY_SIMULATE_SEED=n ASSAY_SIMULATE_TELL=1` tells what happens in one, if
//! the name of one of the two tests is given too.

pub(crate) mod bucket;
pub(crate) mod disk;
mod model;
mod nodes;
pub(crate) mod random;
pub(crate) mod world;

mod tests;

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use assay_schemas::tables::TableId;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::world::World;
use crate::wal::{Request, Writer};

/// The tables that requests of a simulation have rows in.
pub(crate) const TABLES: &[TableId] =
    &[TableId::Spans, TableId::Logs, TableId::CostLines, TableId::IngestLedger, TableId::SpanCorrections];

/// The object store of the world that this thread is in.
pub(crate) fn store(_data_dir: &Path) -> Option<Arc<dyn ObjectStore>> {
    let world = world::current()?;
    let place = world.place.clone();
    Some(Arc::new(bucket::SimulatedStore::new(world, place)))
}

/// The writer of the log, where there are no threads: it is woken, and serves what waits by then.
pub(crate) struct Turns {
    writer: Arc<Mutex<(Writer, mpsc::Receiver<Request>)>>,
    wanted: Arc<Notify>,
}

impl Turns {
    pub(crate) fn start(world: &Arc<World>, writer: Writer, queue: mpsc::Receiver<Request>) -> Self {
        let turns = Self { writer: Arc::new(Mutex::new((writer, queue))), wanted: Arc::default() };
        let (writer, wanted, world) = (Arc::clone(&turns.writer), Arc::clone(&turns.wanted), Arc::clone(world));
        let serve = {
            let world = Arc::clone(&world);
            async move {
                loop {
                    wanted.notified().await;
                    let micros = world.with_random(|random| random.below(3000));
                    world.sleep(Duration::from_micros(micros)).await;
                    while take_turn(&writer) {}
                }
            }
        };
        world.spawn(serve);
        turns
    }

    pub(crate) fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Serves all that is left.
    pub(crate) fn end(self) {
        while take_turn(&self.writer) {}
    }
}

fn take_turn(writer: &Mutex<(Writer, mpsc::Receiver<Request>)>) -> bool {
    let (writer, queue) = &mut *writer.lock();
    writer.take_turn(queue)
}
