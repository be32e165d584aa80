//! What one partition has handed us, and what of it is unfinished. Pure.
//!
//! **Invariant:** what may be committed never passes an unfinished record: a fast one never overtakes a slow one.

use std::collections::BTreeSet;

/// Begun and finished offsets of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    unfinished: BTreeSet<i64>,
    next: Option<i64>,
}

impl Ledger {
    /// A record is in hand.
    pub fn begin(&mut self, offset: i64) {
        self.unfinished.insert(offset);
        self.next = self.next.max(Some(offset.saturating_add(1)));
    }

    /// Everything that it causes is acknowledged. True if it was unfinished until now.
    pub fn finish(&mut self, offset: i64) -> bool {
        self.unfinished.remove(&offset)
    }

    /// Where a restart begins to read: the oldest unfinished record, else the next unread one. This is what
    /// `store_offsets` wants.
    #[must_use]
    pub fn committable(&self) -> Option<i64> {
        self.low_water().or(self.next)
    }

    /// The oldest unfinished record.
    #[must_use]
    pub fn low_water(&self) -> Option<i64> {
        self.unfinished.first().copied()
    }

    /// How many are unfinished.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.unfinished.len()
    }

    /// Whether this one is.
    #[must_use]
    pub fn is_unfinished(&self, offset: i64) -> bool {
        self.unfinished.contains(&offset)
    }

    /// All that are, in order.
    pub fn unfinished(&self) -> impl Iterator<Item = i64> + '_ {
        self.unfinished.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Begins 0..n, finishes as told; the mark afterwards.
    fn check(begun: i64, finished: &[i64], committable: Option<i64>) {
        let mut ledger = Ledger::default();
        (0..begun).for_each(|offset| ledger.begin(offset));
        for offset in finished {
            ledger.finish(*offset);
        }
        assert_eq!(ledger.committable(), committable);
    }

    #[test]
    fn nothing_read_is_nothing_to_commit() {
        check(0, &[], None);
    }

    #[test]
    fn k03_a_fast_record_never_overtakes_a_slow_one() {
        check(3, &[1, 2], Some(0));
    }

    #[test]
    fn what_is_all_done_commits_the_next_unread() {
        check(3, &[2, 0, 1], Some(3));
    }

    proptest! {
        #[test]
        fn the_mark_is_the_end_of_the_finished_prefix(ends in proptest::collection::vec(any::<bool>(), 0..60)) {
            let mut ledger = Ledger::default();
            for (offset, done) in (0..).zip(&ends) {
                ledger.begin(offset);
                if *done { prop_assert!(ledger.finish(offset)); prop_assert!(!ledger.finish(offset)); }
            }
            let prefix = ends.iter().take_while(|done| **done).count();
            let expected = (!ends.is_empty()).then(|| i64::try_from(prefix).unwrap());
            prop_assert_eq!(ledger.committable(), expected);
            prop_assert_eq!(ledger.in_flight(), ends.iter().filter(|done| !**done).count());
        }

        #[test]
        fn the_mark_never_falls_while_offsets_grow(story in proptest::collection::vec((any::<bool>(), 0..40_i64), 0..200)) {
            let (mut ledger, mut next, mut mark) = (Ledger::default(), 0, None);
            for (begin, pick) in story {
                if begin { ledger.begin(next); next += 1; } else { ledger.finish(pick); }
                prop_assert!(ledger.committable() >= mark);
                mark = ledger.committable();
            }
        }

        #[test]
        fn a_record_given_twice_is_in_flight_once(offset in 0..1000_i64) {
            let mut ledger = Ledger::default();
            ledger.begin(offset);
            ledger.begin(offset);
            prop_assert_eq!(ledger.in_flight(), 1);
            prop_assert!(ledger.is_unfinished(offset));
        }
    }
}
