//! Memory of queries: each has a pool of its own, and all of them together have one that they share.
//!
//! A query is told "no more" when either is used up. Sorts, joins and aggregates then spill to disk; what cannot spill fails with an
//! error that says so. What they leave is there for the cache of columns, which gives way to them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    common::{DataFusionError, resources_datafusion_err},
    execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};

use crate::scan::ColumnCache;

/// What the queries running now use together.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    used: AtomicUsize,
    bytes_max: usize,
    columns: Arc<ColumnCache>,
}

impl SharedMemory {
    /// At most `bytes_max`, of which `columns` may use what is left.
    pub(crate) fn new(bytes_max: usize, columns: Arc<ColumnCache>) -> Self {
        columns.leave(bytes_max);
        Self { used: AtomicUsize::new(0), bytes_max, columns }
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok();
        self.leave();
        taken
    }

    /// Tells the cache what is left.
    fn leave(&self) {
        self.columns.leave(self.bytes_max.saturating_sub(self.used.load(Ordering::Acquire)));
    }
}

/// The pool of one query.
#[derive(Debug)]
pub(crate) struct QueryPool {
    own: FairSpillPool,
    all: Arc<SharedMemory>,
}

impl QueryPool {
    /// At most `bytes_max`, and at most what is left of `all`.
    pub(crate) fn new(bytes_max: usize, all: Arc<SharedMemory>) -> Self {
        Self { own: FairSpillPool::new(bytes_max), all }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.used.fetch_add(additional, Ordering::AcqRel);
        self.all.leave();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.used.fetch_sub(shrink, Ordering::AcqRel);
        self.all.leave();
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<(), DataFusionError> {
        self.own.try_grow(reservation, additional)?;
        if self.all.take(additional) {
            return Ok(());
        }
        self.own.shrink(reservation, additional);
        Err(resources_datafusion_err!(
            "the queries running now use all of the `{}` bytes that they may use together; `{additional}` more were needed",
            self.all.bytes_max
        ))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ColumnMetrics;

    #[test]
    fn two_queries_share_what_neither_may_use_alone() {
        let all = Arc::new(SharedMemory::new(1000, Arc::new(ColumnCache::new(0, ColumnMetrics::default()))));
        let pool = || Arc::new(QueryPool::new(800, Arc::clone(&all))) as Arc<dyn MemoryPool>;
        let (first, second) = (pool(), pool());
        let one = MemoryConsumer::new("sort").with_can_spill(true).register(&first);
        let two = MemoryConsumer::new("sort").with_can_spill(true).register(&second);
        one.try_grow(700).unwrap();
        assert!(one.try_grow(200).is_err(), "its own limit");
        let error = two.try_grow(400).unwrap_err().to_string();
        assert!(error.contains("use together"), "{error}");
        two.try_grow(300).unwrap();
        drop(one);
        two.try_grow(400).unwrap();
        drop(two);
        assert_eq!(all.used.load(Ordering::Acquire), 0);
    }
}
