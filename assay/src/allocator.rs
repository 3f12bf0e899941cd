//! The allocator of the process.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// glibc's allocator keeps what ingest threads free; mimalloc gives it back and is faster under threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, in milliseconds; the crate names only some options.
const PURGE_DELAY: mi_option_t = 15;
/// How long freed pages are kept for what is allocated next, in the place of mimalloc's second. Under full load that second holds hundreds of
/// megabytes; no delay at all makes every request fault its pages in again: [measured](../../docs/performance.md).
const KEPT_MS: c_long = 100;

/// Gives freed memory back soon, unless `MIMALLOC_PURGE_DELAY` in the environment says when.
pub(crate) fn give_back_soon() {
    #[expect(unsafe_code, reason = "the options of mimalloc have no safe interface")]
    // SAFETY: it writes one of mimalloc's own integers, and checks the index.
    unsafe {
        mi_option_set_default(PURGE_DELAY, KEPT_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_the_option_it_is_taken_for() {
        #[expect(unsafe_code, reason = "the options of mimalloc have no safe interface")]
        // SAFETY: it reads one of mimalloc's own integers, and checks the index.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // No other option has this value by default.
        assert_eq!(delay(), 1000, "mimalloc has moved its options, or another default");
        give_back_soon();
        assert_eq!(delay(), KEPT_MS);
    }
}
