//! The recent traces of a project, by their identifiers.
//!
//! A service whose traces have one span each has hundreds of thousands of them here, and each look at memory that the processor does not
//! have at hand costs as much as a good part of the span's way. So what is searched are numbers of four bytes, and the traces themselves lie
//! in the order they came, which is about the order in which they are forgotten.

use std::ops::{Index, IndexMut};

use hashbrown::{HashTable, hash_table::Entry};
use slab::Slab;

use super::trace::Trace;

/// Where a trace lies, as long as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot(u32);

impl Slot {
    fn new(idx: usize) -> Self {
        Self(u32::try_from(idx).expect("the index holds far fewer traces"))
    }

    fn idx(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Default)]
pub(super) struct Traces {
    slots: HashTable<Slot>,
    /// Seeded anew in every process, so that nobody can choose what collides.
    hasher: ahash::RandomState,
    traces: Slab<(u128, Trace)>,
}

impl Traces {
    pub(super) fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Where the trace `key` lies, if it is remembered.
    pub(super) fn slot(&self, key: u128) -> Option<Slot> {
        self.slots.find(self.hasher.hash_one(key), |slot| self.key(*slot) == key).copied()
    }

    /// Where the trace `key` lies, and whether it is new, in which case it is what `make` makes.
    pub(super) fn slot_or_insert(&mut self, key: u128, make: impl FnOnce() -> Trace) -> (Slot, bool) {
        let Self { slots, hasher, traces } = self;
        let key_of = |slot: &Slot| traces[slot.idx()].0;
        match slots.entry(hasher.hash_one(key), |slot| key_of(slot) == key, |slot| hasher.hash_one(key_of(slot))) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(vacant) => {
                let slot = Slot::new(traces.vacant_key());
                vacant.insert(slot);
                traces.insert((key, make()));
                (slot, true)
            }
        }
    }

    /// The identifier of the trace at `slot`.
    pub(super) fn key(&self, slot: Slot) -> u128 {
        self.traces[slot.idx()].0
    }

    /// Forgets the trace at `slot`.
    pub(super) fn remove(&mut self, slot: Slot) -> Trace {
        let (key, trace) = self.traces.remove(slot.idx());
        let known = self.slots.find_entry(self.hasher.hash_one(key), |other| *other == slot);
        known.expect("each trace has a slot").remove();
        trace
    }

    /// All of them.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Trace> {
        self.traces.iter().map(|(_, (_, trace))| trace)
    }
}

impl Index<Slot> for Traces {
    type Output = Trace;

    fn index(&self, slot: Slot) -> &Trace {
        &self.traces[slot.idx()].1
    }
}

impl IndexMut<Slot> for Traces {
    fn index_mut(&mut self, slot: Slot) -> &mut Trace {
        &mut self.traces[slot.idx()].1
    }
}
