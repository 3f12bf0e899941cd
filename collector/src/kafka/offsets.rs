//! How far a partition is accepted. Records are begun in order and end in any; the offset to commit is behind the last one of which, and of
//! all before it, it is known that the log has them.

use std::collections::{BTreeMap, BTreeSet};

/// What tells a record from another one at the same offset, should its topic have been made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Milliseconds since 1970, as the record says.
    pub(super) timestamp: Option<i64>,
    /// Bytes of its value.
    pub(super) bytes: usize,
}

/// The offsets of one partition, from its assignment to its revocation.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// Begun, and not known to be in the log.
    pending: BTreeSet<i64>,
    /// Behind the last one begun.
    next: Option<i64>,
    /// What [`Offsets::advanced`] said last.
    told: Option<i64>,
    /// In the log, and not known to be committed.
    accepted: BTreeMap<i64, Identity>,
}

impl Offsets {
    /// As of a partition that is assigned; `accepted` is what [`Offsets::into_accepted`] gave when it was revoked.
    pub(super) fn new(accepted: BTreeMap<i64, Identity>) -> Self {
        Self { accepted, ..Self::default() }
    }

    /// Begins the record at `offset`. `false` if it is in the log already and nothing is to be done about it.
    pub(super) fn begin(&mut self, offset: i64, identity: Identity) -> bool {
        self.next = Some(offset + 1);
        if self.accepted.get(&offset) == Some(&identity) {
            return false;
        }
        self.accepted.remove(&offset);
        self.pending.insert(offset);
        true
    }

    /// The record at `offset` is in the log.
    pub(super) fn accepted(&mut self, offset: i64, identity: Identity) {
        self.pending.remove(&offset);
        self.accepted.insert(offset, identity);
    }

    /// The offset to commit, if something is accepted that is not known to be committed.
    pub(super) fn to_commit(&self) -> Option<i64> {
        let upto = self.pending.first().copied().or(self.next)?;
        // Otherwise what is pending is where the assignment began.
        self.accepted.range(..upto).next().map(|_| upto)
    }

    /// The same, if it is another than the last time.
    pub(super) fn advanced(&mut self) -> Option<i64> {
        let upto = self.to_commit().filter(|upto| self.told != Some(*upto))?;
        self.told = Some(upto);
        Some(upto)
    }

    /// The brokers committed `upto`.
    pub(super) fn committed(&mut self, upto: i64) {
        self.accepted = self.accepted.split_off(&upto);
    }

    /// What is in the log and may be handed out again.
    pub(super) fn into_accepted(self) -> BTreeMap<i64, Identity> {
        self.accepted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAME: Identity = Identity { timestamp: Some(1), bytes: 7 };

    #[test]
    fn what_ends_early_waits_for_those_before_it() {
        let mut offsets = Offsets::default();
        // Offsets may have gaps: transactions and compaction leave them.
        for offset in [10, 11, 15] {
            assert!(offsets.begin(offset, SAME));
        }
        assert_eq!(offsets.to_commit(), None);
        offsets.accepted(15, SAME);
        offsets.accepted(11, SAME);
        assert_eq!(offsets.to_commit(), None, "10 is not in the log");
        offsets.accepted(10, SAME);
        assert_eq!(offsets.advanced(), Some(16));
        assert_eq!((offsets.advanced(), offsets.to_commit()), (None, Some(16)));
        offsets.committed(16);
        assert_eq!(offsets.to_commit(), None);
    }

    #[test]
    fn what_was_accepted_before_is_known_when_it_comes_again() {
        let mut before = Offsets::default();
        for offset in 0..4 {
            before.begin(offset, SAME);
            before.accepted(offset, SAME);
        }
        assert_eq!(before.to_commit(), Some(4));
        before.committed(2);
        let mut offsets = Offsets::new(before.into_accepted());
        assert!(!offsets.begin(2, SAME));
        assert!(offsets.begin(3, Identity { timestamp: Some(2), ..SAME }), "another record: the topic was made anew");
        assert_eq!(offsets.to_commit(), Some(3));
        offsets.accepted(3, SAME);
        assert!(offsets.begin(4, SAME));
        assert_eq!(offsets.to_commit(), Some(4));
    }

    proptest! {
        #[test]
        fn no_offset_is_committed_before_all_up_to_it_are_in_the_log(ends in Just((0..20_i64).collect::<Vec<_>>()).prop_shuffle(), begun in 1..=20_i64) {
            let mut offsets = Offsets::default();
            for offset in 0..begun {
                offsets.begin(offset, SAME);
            }
            let mut ended = BTreeSet::new();
            for offset in ends.into_iter().filter(|offset| *offset < begun) {
                offsets.accepted(offset, SAME);
                ended.insert(offset);
                if let Some(upto) = offsets.to_commit() {
                    prop_assert!((0..upto).all(|offset| ended.contains(&offset)));
                    offsets.committed(upto);
                }
            }
            prop_assert!(offsets.into_accepted().is_empty(), "all is committed in the end");
        }
    }
}
