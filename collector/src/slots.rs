//! Slots: how much is prepared at the same time, and whose turn it is.
//!
//! A request takes several times its size while it is prepared, and preparing takes a core. So as many are prepared at once as there are
//! cores, and only so many bytes of them. Those that wait are called project by project, so that a request of one project waits for a
//! few of another, however many that one has sent.

use std::{collections::VecDeque, sync::Arc};

use assay_schemas::ids::ProjectId;
use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A bound on what is prepared at once. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    state: Arc<Mutex<State>>,
    slots: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    bytes: usize,
    /// Projects that wait, in the order of their turns.
    waiting: IndexMap<ProjectId, VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    call: oneshot::Sender<Slot>,
}

/// One taken slot; given to the next when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    /// `None` once it was given back.
    bytes: Option<usize>,
}

impl Slots {
    /// `slots` at once, of together at most `bytes_max` bytes. What is larger than that is prepared alone.
    pub(crate) fn new(slots: usize, bytes_max: usize) -> Self {
        Self { state: Arc::default(), slots, bytes_max }
    }

    /// Waits for the turn of a request of `project` of `bytes` bytes.
    pub(crate) async fn take(&self, project: &ProjectId, bytes: usize) -> Slot {
        let called = {
            let mut state = self.state.lock();
            if state.waiting.is_empty() && self.fits(&state, bytes) {
                return self.taken(&mut state, bytes);
            }
            let (call, called) = oneshot::channel();
            state.waiting.entry(project.clone()).or_default().push_back(Waiter { bytes, call });
            called
        };
        called.await.expect("slots call every waiter")
    }

    fn taken(&self, state: &mut State, bytes: usize) -> Slot {
        state.taken += 1;
        state.bytes += bytes;
        Slot { slots: self.clone(), bytes: Some(bytes) }
    }

    fn fits(&self, state: &State, bytes: usize) -> bool {
        state.taken == 0 || (state.taken < self.slots && state.bytes + bytes <= self.bytes_max)
    }

    /// Calls those who fit now, each time one of the project whose turn it is.
    fn call_next(&self, state: &mut State) {
        while let Some((_, queue)) = state.waiting.first() {
            let Some(bytes) = queue.front().map(|waiter| waiter.bytes) else {
                state.waiting.shift_remove_index(0);
                continue;
            };
            if !self.fits(state, bytes) {
                return;
            }
            let Some((project, mut queue)) = state.waiting.shift_remove_index(0) else { return };
            if let Some(waiter) = queue.pop_front()
                && let Err(mut unwanted) = waiter.call.send(self.taken(state, bytes))
            {
                unwanted.give_back(state);
            }
            if !queue.is_empty() {
                state.waiting.insert(project, queue);
            }
        }
    }
}

impl Slot {
    fn give_back(&mut self, state: &mut State) {
        if let Some(bytes) = self.bytes.take() {
            state.taken -= 1;
            state.bytes -= bytes;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.bytes.is_some() {
            let slots = self.slots.clone();
            let mut state = slots.state.lock();
            self.give_back(&mut state);
            slots.call_next(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str) -> ProjectId {
        ProjectId::new(name).unwrap()
    }

    #[tokio::test]
    async fn projects_take_turns_however_much_one_has_sent() {
        let slots = Slots::new(1, 1000);
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = slots.take(&project("flood"), 10).await;
        let mut tasks = Vec::new();
        for name in ["flood", "flood", "flood", "flood", "quiet", "other", "quiet"] {
            let (slots, order) = (slots.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _slot = slots.take(&project(name), 10).await;
                order.lock().push(name);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), ["flood", "quiet", "other", "flood", "quiet", "flood", "flood"]);
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_what_is_too_large_goes_alone() {
        let slots = Slots::new(4, 100);
        let whose = project("a");
        let small = slots.take(&whose, 60).await;
        let second = slots.take(&whose, 40).await;
        let mut huge = Box::pin(slots.take(&whose, 5000));
        assert!(futures::poll!(&mut huge).is_pending());
        drop(small);
        assert!(futures::poll!(&mut huge).is_pending());
        drop(second);
        let huge = huge.await;
        let mut next = Box::pin(slots.take(&whose, 1));
        assert!(futures::poll!(&mut next).is_pending());
        drop(huge);
        next.await;
    }

    #[tokio::test]
    async fn one_that_goes_away_does_not_keep_the_slot() {
        let slots = Slots::new(1, 100);
        let whose = project("a");
        let held = slots.take(&whose, 1).await;
        let mut gone_before = Box::pin(slots.take(&whose, 1));
        let mut gone_after = Box::pin(slots.take(&whose, 1));
        assert!(futures::poll!(&mut gone_before).is_pending());
        assert!(futures::poll!(&mut gone_after).is_pending());
        drop(gone_before);
        drop(held);
        drop(gone_after);
        slots.take(&whose, 1).await;
    }
}
