//! Since when the oldest unfinished record of a partition waits: some of what was handed over, with its event time. Pure.
//!
//! **Invariant:** at most [`MOST`] places are kept, however many records are in hand; what is told is never too young.

use std::collections::VecDeque;

use crate::alert::EventTime;

const MOST: usize = 256;

/// Places that were passed, in order. Between two of them lie records that are not noted.
#[derive(Debug)]
pub(super) struct Trail {
    places: VecDeque<(i64, EventTime)>,
    /// How far the next place lies behind the last one, at least: wider while very many are in hand.
    stride: i64,
}

impl Default for Trail {
    fn default() -> Self {
        Self { places: VecDeque::new(), stride: 1 }
    }
}

impl Trail {
    /// This record was handed over.
    pub(super) fn pass(&mut self, offset: i64, at: EventTime) {
        if self.places.back().is_some_and(|(last, _)| offset - last < self.stride) {
            return;
        }
        if self.places.len() == MOST {
            let mut place = 0_usize;
            self.places.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.stride *= 2;
        }
        self.places.push_back((offset, at));
    }

    /// The time of the oldest record at or after `stored`, or of one shortly before it; none if all before `next` is finished.
    pub(super) fn oldest(&mut self, stored: Option<i64>, next: Option<i64>) -> Option<EventTime> {
        if next <= stored {
            *self = Self::default();
        }
        while self.places.get(1).is_some_and(|(second, _)| Some(*second) <= stored) {
            self.places.pop_front();
        }
        if self.places.len() < MOST / 2 {
            self.stride = (self.stride / 2).max(1);
        }
        self.places.front().map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(records: i64) -> Trail {
        let mut trail = Trail::default();
        (0..records).for_each(|offset| trail.pass(offset, EventTime(offset * 10)));
        trail
    }

    #[test]
    fn p06_the_oldest_unfinished_record_is_the_one_that_a_restart_begins_with() {
        let mut trail = passed(10);
        assert_eq!(trail.oldest(None, Some(10)), Some(EventTime(0)));
        assert_eq!(trail.oldest(Some(4), Some(10)), Some(EventTime(40)));
        assert_eq!(trail.oldest(Some(10), Some(10)), None);
        trail.pass(10, EventTime(700));
        assert_eq!(trail.oldest(Some(10), Some(11)), Some(EventTime(700)));
        assert_eq!(Trail::default().oldest(None, None), None);
    }

    #[test]
    fn p06_a_long_backlog_costs_no_more_than_a_short_one_and_is_never_told_too_young() {
        let mut trail = passed(100_000);
        assert!(trail.places.len() <= MOST);
        for stored in [0, 1, 777, 50_000, 99_999] {
            let told = trail.oldest(Some(stored), Some(100_000)).unwrap();
            assert!(told.0 <= stored * 10 && told.0 > stored * 10 - 20_000, "{stored}: {told:?}");
        }
    }
}
