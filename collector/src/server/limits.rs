//! Limits of the OTLP servers: per request, and for all requests in flight together.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// A permit is this many bytes, so that small requests do not queue on the semaphore's counter for every packet.
const PERMIT_BYTES: usize = 4096;

/// Bytes that all requests in flight share. Charged as bytes arrive and again as they are inflated, because neither
/// `Content-Length` nor the compressed size says what a request will take.
#[derive(Clone, Debug)]
pub(super) struct ByteBudget {
    permits: Arc<Semaphore>,
}

impl ByteBudget {
    pub(super) fn new(bytes: NonZeroUsize) -> Self {
        Self { permits: Arc::new(Semaphore::new(bytes.get().div_ceil(PERMIT_BYTES))) }
    }

    /// A charge of zero bytes, to be extended.
    pub(super) fn charge(&self) -> Charge {
        Charge { budget: self.clone(), held: None, held_bytes: 0, used_bytes: 0 }
    }
}

/// Bytes that one request holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: ByteBudget,
    held: Option<OwnedSemaphorePermit>,
    held_bytes: usize,
    used_bytes: usize,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the requests in flight use all the memory they may")]
pub(super) struct BudgetExhausted;

impl Charge {
    /// Adds `bytes` to the charge.
    ///
    /// # Errors
    /// [`BudgetExhausted`]: nothing was added.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let needed = (self.used_bytes + bytes).saturating_sub(self.held_bytes).div_ceil(PERMIT_BYTES);
        if needed > 0 {
            let permits = u32::try_from(needed).map_err(|_| BudgetExhausted)?;
            let more = Arc::clone(&self.budget.permits).try_acquire_many_owned(permits).map_err(|_| BudgetExhausted)?;
            match &mut self.held {
                Some(held) => held.merge(more),
                None => self.held = Some(more),
            }
            self.held_bytes += needed * PERMIT_BYTES;
        }
        self.used_bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_given_back_whole() {
        let budget = ByteBudget::new(NonZeroUsize::new(3 * PERMIT_BYTES).unwrap());
        let mut first = budget.charge();
        for _ in 0..PERMIT_BYTES {
            first.add(2).unwrap();
        }
        let mut second = budget.charge();
        assert!(second.add(PERMIT_BYTES + 1).is_err());
        second.add(PERMIT_BYTES).unwrap();
        drop(first);
        second.add(2 * PERMIT_BYTES).unwrap();
        drop(second);
        assert_eq!(budget.permits.available_permits(), 3);
    }
}
