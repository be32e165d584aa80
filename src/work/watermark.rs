//! How far all partitions are read. Pure: clocks and marks come in.

use std::{collections::BTreeMap, time::Duration};

use crate::alert::EventTime;

/// What is known of the marks of all partitions.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    seen: BTreeMap<i32, Mark>,
    /// The time that somebody waits for.
    wanted: Option<EventTime>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    read: EventTime,
    progress: u64,
    /// Since when it stands still behind what somebody waits for.
    behind: Option<Duration>,
}

/// How far all partitions are read, and how many of them are left out because nobody reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Everything at or before this time is read.
    pub read: EventTime,
    /// Partitions that stood still for longer than `hold_max` and no longer hold the others back.
    pub left_out: usize,
}

impl Marks {
    /// Takes in the marks as memory has them now, each with what moves while it is read again; one that is missing
    /// stands at the beginning of time. `wanted` is the time that somebody waits for, `now` the time since some
    /// beginning.
    pub fn note(&mut self, marks: impl IntoIterator<Item = (i32, EventTime, u64)>, wanted: EventTime, now: Duration) {
        for (partition, read, progress) in marks {
            let mark = self.seen.entry(partition).or_insert(Mark { read, progress, behind: None });
            if read > mark.read || progress != mark.progress {
                *mark = Mark { read: read.max(mark.read), progress, behind: None };
            }
            let behind = mark.read < wanted;
            mark.behind = behind.then(|| mark.behind.unwrap_or(now));
        }
        self.wanted = Some(wanted);
    }

    /// The watermark: the least of the marks, those apart that stood still behind for longer than `hold_max`.
    #[must_use]
    pub fn watermark(&self, now: Duration, hold_max: Duration) -> Watermark {
        let stalled = |mark: &Mark| mark.behind.is_some_and(|since| now.saturating_sub(since) > hold_max);
        let left_out = self.seen.values().filter(|mark| stalled(mark)).count();
        let least = self.seen.values().filter(|mark| !stalled(mark)).map(|mark| mark.read).min();
        Watermark { read: least.or(self.wanted).or(self.latest()).unwrap_or(EventTime(i64::MIN)), left_out }
    }

    /// The latest mark of all: the brokers' clock has passed it.
    #[must_use]
    pub fn latest(&self) -> Option<EventTime> {
        self.seen.values().map(|mark| mark.read).max().filter(|read| read.0 > i64::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD_MAX: Duration = Duration::from_secs(30);

    /// Marks at second 0 and again at `later`; the watermark then, while somebody wants `wanted`.
    fn check(first: &[i64], then: &[i64], later: u64, wanted: i64, expected: (i64, usize)) {
        let mut marks = Marks::default();
        let all = |marks: &[i64]| {
            (0..).zip(marks.to_vec()).map(|(partition, at)| (partition, EventTime(at), 0)).collect::<Vec<_>>()
        };
        marks.note(all(first), EventTime(wanted), Duration::ZERO);
        marks.note(all(then), EventTime(wanted), Duration::from_secs(later));
        let Watermark { read, left_out } = marks.watermark(Duration::from_secs(later), HOLD_MAX);
        assert_eq!((read.0, left_out), expected);
    }

    #[test]
    fn it_is_the_least_of_all_marks() {
        check(&[5, 3, 9], &[7, 4, 9], 1, 8, (4, 0));
    }

    #[test]
    fn a_mark_never_falls() {
        check(&[5], &[3], 1, 8, (5, 0));
    }

    #[test]
    fn k14_a_partition_that_nobody_reads_is_left_out_after_hold_max() {
        check(&[5, 3], &[90, 3], 30, 8, (3, 0));
        check(&[5, 3], &[90, 3], 31, 8, (90, 1));
    }

    #[test]
    fn a_partition_that_stands_still_while_nobody_waits_is_not_left_out() {
        check(&[5, 8], &[90, 8], 31, 8, (8, 0));
    }

    #[test]
    fn one_that_stood_still_by_right_is_given_its_time_once_somebody_waits() {
        let mut marks = Marks::default();
        marks.note([(0, EventTime(3), 0), (1, EventTime(3), 0)], EventTime(3), Duration::ZERO);
        let hour = Duration::from_secs(3600);
        marks.note([(0, EventTime(3), 0), (1, EventTime(90), 0)], EventTime(80), hour);
        assert_eq!(marks.watermark(hour + HOLD_MAX, HOLD_MAX), Watermark { read: EventTime(3), left_out: 0 });
    }

    #[test]
    fn one_that_is_read_again_holds_the_others_back_as_long_as_it_gets_on() {
        let mut marks = Marks::default();
        let minute = Duration::from_mins(1);
        marks.note([(0, EventTime(3), 0), (1, EventTime(90), 0)], EventTime(80), Duration::ZERO);
        marks.note([(0, EventTime(3), 7), (1, EventTime(90), 0)], EventTime(80), minute);
        assert_eq!(marks.watermark(minute + HOLD_MAX, HOLD_MAX), Watermark { read: EventTime(3), left_out: 0 });
        let later = minute + HOLD_MAX + Duration::from_secs(1);
        assert_eq!(marks.watermark(later, HOLD_MAX), Watermark { read: EventTime(90), left_out: 1 });
    }

    #[test]
    fn all_of_them_left_out_leaves_what_is_wanted() {
        check(&[5, 3], &[5, 3], 31, 8, (8, 2));
    }
}
