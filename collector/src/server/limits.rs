//! Limits of the OTLP servers: per request, and for all requests in flight together, shared fairly between projects.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc, time::Duration};

use assay_schemas::ids::ProjectId;
use parking_lot::Mutex;

/// What one request and all of them together may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one request, before and after inflating. OTLP 1.11 recommends 64 MiB.
    pub request_bytes_max: usize,
    /// Bytes of all requests in flight, as received and inflated; above it requests are answered "try again".
    pub in_flight_bytes_max: NonZeroUsize,
    /// Time for the whole of a request: a client that sends more slowly is cut off.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 64 << 20,
            in_flight_bytes_max: NonZeroUsize::new(256 << 20).expect("256 MiB is not 0"),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Charges grow in steps of so many bytes, so that not every packet takes the lock.
const STEP_BYTES: usize = 4096;
/// A project may hold this many times what is free. So one alone can take three quarters, two can take three sevenths each, and
/// however many flood the server, something stays free for one that comes with its first request ("dynamic thresholds" of switches
/// with shared memory: Choudhury and Hahne, 1998).
const SHARE_OF_FREE: usize = 3;

/// Bytes that all requests in flight share. Charged as bytes arrive and again as they are inflated, because neither
/// `Content-Length` nor the compressed size says what a request will take.
#[derive(Clone, Debug)]
pub(super) struct ByteBudget {
    bytes_max: usize,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    /// Without those that hold nothing.
    by_project: HashMap<ProjectId, usize>,
}

impl ByteBudget {
    pub(super) fn new(bytes: NonZeroUsize) -> Self {
        Self { bytes_max: bytes.get().next_multiple_of(STEP_BYTES), used: Arc::default() }
    }

    /// A charge of zero bytes to `project`, to be extended.
    pub(super) fn charge(&self, project: &ProjectId) -> Charge {
        Charge { budget: self.clone(), project: project.clone(), held_bytes: 0, used_bytes: 0 }
    }
}

/// Bytes that one request holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: ByteBudget,
    project: ProjectId,
    held_bytes: usize,
    used_bytes: usize,
}

/// The budget, or this project's share of it, is used up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the requests in flight use all the memory they may")]
pub(super) struct BudgetExhausted;

impl Charge {
    /// Adds `bytes` to the charge.
    ///
    /// # Errors
    /// [`BudgetExhausted`]: nothing was added.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let missing = (self.used_bytes + bytes).saturating_sub(self.held_bytes).next_multiple_of(STEP_BYTES);
        if missing > 0 {
            let mut used = self.budget.used.lock();
            let free = self.budget.bytes_max.checked_sub(used.bytes + missing).ok_or(BudgetExhausted)?;
            let own = used.by_project.get(&self.project).copied().unwrap_or(0) + missing;
            if own > free.saturating_mul(SHARE_OF_FREE) {
                return Err(BudgetExhausted);
            }
            used.bytes += missing;
            used.by_project.insert(self.project.clone(), own);
            self.held_bytes += missing;
        }
        self.used_bytes += bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.held_bytes == 0 {
            return;
        }
        let mut used = self.budget.used.lock();
        used.bytes -= self.held_bytes;
        let own = used.by_project.get_mut(&self.project).expect("what is held was charged");
        *own -= self.held_bytes;
        if *own == 0 {
            used.by_project.remove(&self.project);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str) -> ProjectId {
        ProjectId::new(name).unwrap()
    }

    fn budget(steps: usize) -> ByteBudget {
        ByteBudget::new(NonZeroUsize::new(steps * STEP_BYTES).unwrap())
    }

    #[test]
    fn a_charge_is_given_back_whole() {
        let budget = budget(4);
        let mut first = budget.charge(&project("a"));
        for _ in 0..STEP_BYTES {
            first.add(2).unwrap();
        }
        let mut second = budget.charge(&project("a"));
        assert!(second.add(STEP_BYTES + 1).is_err());
        second.add(STEP_BYTES).unwrap();
        drop(first);
        second.add(2 * STEP_BYTES).unwrap();
        drop(second);
        let used = budget.used.lock();
        assert_eq!((used.bytes, used.by_project.len()), (0, 0));
    }

    #[test]
    fn however_many_flood_one_more_finds_room() {
        let budget = budget(1000);
        let flooding: Vec<ProjectId> = (0..10).map(|n| project(&format!("flood-{n}"))).collect();
        let mut held: Vec<Vec<Charge>> = flooding.iter().map(|_| Vec::new()).collect();
        // Requests end and others take their place, as much as may be.
        for round in 0..200 {
            for (project, held) in flooding.iter().zip(&mut held) {
                held.drain(..held.len().min(50));
                loop {
                    let mut charge = budget.charge(project);
                    if charge.add(STEP_BYTES).is_err() {
                        break;
                    }
                    held.push(charge);
                }
                assert!(round > 0 || held.len() <= 750, "three quarters at most");
            }
        }
        let mut newcomer = budget.charge(&project("newcomer"));
        newcomer.add(8 * STEP_BYTES).unwrap();
        let held: Vec<usize> = held.iter().map(Vec::len).collect();
        assert!(held.iter().all(|steps| (80..=110).contains(steps)), "equal shares: {held:?}");
    }
}
