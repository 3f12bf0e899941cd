//! Many seeds, and proof that the seeds find something.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use parking_lot::Mutex;

use super::{
    model::{self, Outcome},
    nodes,
    world::Mistake,
};

/// What a seed decides about.
struct Simulation {
    run: fn(u64, Option<Mistake>) -> Outcome,
    /// File with the seeds that failed once, each with what they found.
    kept: &'static str,
    /// Seeds of one `make test`.
    seeds: u64,
}

const ONE_NODE: Simulation =
    Simulation { run: model::run, kept: concat!(env!("CARGO_MANIFEST_DIR"), "/src/simulation/seeds.txt"), seeds: 100 };
/// Nodes that share a bucket.
const NODES: Simulation =
    Simulation { run: nodes::run, kept: concat!(env!("CARGO_MANIFEST_DIR"), "/src/simulation/seeds_of_nodes.txt"), seeds: 16 };

#[test]
fn many_seeds_lose_nothing_and_double_nothing() {
    many_seeds_hold(&ONE_NODE);
}

#[test]
fn many_seeds_of_nodes_lose_nothing_and_double_nothing() {
    many_seeds_hold(&NODES);
}

fn many_seeds_hold(simulation: &Simulation) {
    let wish = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = wish("ASSAY_SIMULATE_SEED") {
        eprintln!("{:?}", (simulation.run)(seed, None));
        return;
    }
    let first = wish("ASSAY_SIMULATE_FIRST").unwrap_or(0);
    let seeds = first..first + wish("ASSAY_SIMULATE_SEEDS").unwrap_or(simulation.seeds);
    let began = Instant::now();
    let (failed, total) = try_all(simulation, kept(simulation).into_iter().chain(seeds.clone()));
    eprintln!(
        "{} seeds in {:.0} s: {} requests acknowledged, {} crashes, {} seeds failed",
        seeds.end - seeds.start,
        began.elapsed().as_secs_f64(),
        total.acknowledged,
        total.crashes,
        failed.len()
    );
    keep(simulation, &failed);
    assert!(failed.is_empty(), "seeds that failed: {:?}", failed.iter().map(|(seed, _)| seed).collect::<Vec<_>>());
    assert!(total.acknowledged > seeds.end - seeds.start, "hardly anything was acknowledged");
}

#[test]
fn a_seed_has_one_history() {
    for (simulation, seeds) in [(&ONE_NODE, 0..6), (&NODES, 0..3)] {
        for seed in seeds {
            assert_eq!((simulation.run)(seed, None), (simulation.run)(seed, None), "seed {seed}");
        }
    }
}

#[test]
fn mistakes_are_found() {
    const TWO_HOLDERS: &str = "believe to hold the lease";
    for (simulation, mistake, by) in [
        (&ONE_NODE, Mistake::NoFsync, ""),
        (&ONE_NODE, Mistake::NoFolderFsync, ""),
        (&ONE_NODE, Mistake::NoFolderFsyncAnywhere, ""),
        (&ONE_NODE, Mistake::EarlyAcknowledgement, ""),
        (&ONE_NODE, Mistake::BlindRetry, ""),
        (&NODES, Mistake::CommitOverCommit, ""),
        (&NODES, Mistake::NobodyElse, ""),
        (&NODES, Mistake::LeaseOverLease, TWO_HOLDERS),
        (&NODES, Mistake::LeaseOverAtOnce, TWO_HOLDERS),
    ] {
        let found = (0..300).find_map(|seed| Some((seed, silently(|| (simulation.run)(seed, Some(mistake))).err()?)));
        let (seed, why) = found.unwrap_or_else(|| panic!("300 seeds did not find {mistake:?}"));
        assert!(why.contains(by), "{mistake:?} was found by something else: {why}");
        eprintln!("{mistake:?}: found by seed {seed}: {}", why.lines().next().unwrap_or_default());
    }
}

/// Runs every seed, on as many threads as there are cores; the seeds that failed, and why.
fn try_all(simulation: &Simulation, seeds: impl Iterator<Item = u64> + Send) -> (Vec<(u64, String)>, Outcome) {
    let seeds = Mutex::new(seeds.fuse());
    let failed = Mutex::new(Vec::new());
    let (acknowledged, crashes) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let next = || seeds.lock().next();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    match silently(|| (simulation.run)(seed, None)) {
                        Ok(outcome) => {
                            acknowledged.fetch_add(outcome.acknowledged, Ordering::Relaxed);
                            crashes.fetch_add(outcome.crashes, Ordering::Relaxed);
                        }
                        Err(why) => {
                            eprintln!("seed {seed} failed: {why}");
                            failed.lock().push((seed, why));
                        }
                    }
                }
            });
        }
    });
    let total = Outcome { history: 0, acknowledged: acknowledged.into_inner(), crashes: crashes.into_inner() };
    (failed.into_inner(), total)
}

/// What `run` gives, or what it panicked with.
fn silently<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".into())
    })
}

/// The seeds in the file, a line each; after a blank, what they found.
fn kept(simulation: &Simulation) -> Vec<u64> {
    let text = std::fs::read_to_string(simulation.kept).expect("the file is part of the repository");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a seed at the start of a line"))
        .collect()
}

fn keep(simulation: &Simulation, failed: &[(u64, String)]) {
    let known: BTreeSet<u64> = kept(simulation).into_iter().collect();
    if failed.iter().all(|(seed, _)| known.contains(seed)) {
        return;
    }
    let mut text = std::fs::read_to_string(simulation.kept).expect("the file is part of the repository");
    for (seed, why) in failed.iter().filter(|(seed, _)| !known.contains(seed)) {
        let line: String = why.lines().next().unwrap_or_default().chars().take(140).collect();
        text.push_str(&format!("{seed} {line}\n"));
    }
    std::fs::write(simulation.kept, text).expect("the file can be written");
}
