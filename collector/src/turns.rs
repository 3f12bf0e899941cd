//! Turns: requests are decided in the order of their positions in the write-ahead log, as a replay would.
//!
//! Appends end in order, but the tasks that wait for them wake in any. Were the later of two requests decided first, a correction that
//! the earlier one makes then would carry the lower position, and lose against one that was made with less knowledge.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Longest wait for those before. Deciding takes milliseconds; a position whose request is gone (its task was torn down with the
/// runtime) must not hold up the others for good.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Who is next.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
    wait_max: Duration,
}

#[derive(Debug)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The turn of one position; the next one's begins when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    position: u64,
}

impl Turns {
    /// Turns of the positions after `last`.
    pub(crate) fn after(last: u64) -> Self {
        Self { state: Mutex::new(State { next: last + 1, waiting: BTreeMap::new() }), wait_max: WAIT_MAX }
    }

    /// Waits until every position before `position` had its turn.
    pub(crate) async fn wait(&self, position: u64) -> Turn<'_> {
        let turn = Turn { turns: self, position };
        let called = {
            let mut state = self.state.lock();
            if position <= state.next {
                return turn;
            }
            let (call, called) = oneshot::channel();
            state.waiting.insert(position, call);
            called
        };
        if tokio::time::timeout(self.wait_max, called).await.is_err() {
            let next = self.state.lock().next;
            tracing::warn!(position, missing = next, "a request before this one was never decided; going on without it");
        }
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        state.waiting.remove(&self.position);
        state.next = state.next.max(self.position + 1);
        let next = state.next;
        // Whoever waited for a position that was passed over is called too.
        let later = state.waiting.split_off(&(next + 1));
        let called = std::mem::replace(&mut state.waiting, later);
        for call in called.into_values() {
            // One that has given up waiting goes on by itself.
            let _gone = call.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_however_they_are_asked_for() {
        let turns = Arc::new(Turns::after(4));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for position in [8, 6, 9, 7, 5] {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _turn = turns.wait(position).await;
                order.lock().push(position);
                tokio::task::yield_now().await;
            }));
            tokio::task::yield_now().await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), [5, 6, 7, 8, 9]);
    }

    #[tokio::test]
    async fn a_position_that_never_comes_holds_up_the_others_only_for_a_while() {
        let turns = Turns { wait_max: Duration::from_millis(20), ..Turns::after(0) };
        let started = std::time::Instant::now();
        drop(turns.wait(2).await);
        assert!(started.elapsed() >= turns.wait_max);
        // The next one does not wait: nobody before it is missed again.
        tokio::time::timeout(Duration::from_secs(4), turns.wait(3)).await.unwrap();
        // Nor does the one that was missed, should it come.
        tokio::time::timeout(Duration::from_secs(4), turns.wait(1)).await.unwrap();
    }
}
