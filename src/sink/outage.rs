//! Whether the API server is away, or one object stubborn. Pure.
//!
//! An outage is: nothing passes, and more than one object fails. A single object that fails while others pass is
//! stubborn, and only such a one is ever given up.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::object::ObjectId;
use crate::alert::EventTime;

/// Now, by the clock that rests are counted by and by the one that records carry.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For rests.
    pub instant: Instant,
    /// For ages.
    pub wall: EventTime,
}

/// What has failed since something last passed.
#[derive(Debug)]
pub struct Outage {
    /// A failure of several objects that is over sooner is a flutter: it puts off no giving up.
    flutter: std::time::Duration,
    failing: BTreeSet<ObjectId>,
    since: Option<Instant>,
    named: bool,
    throttled: bool,
    attempt: u32,
    passed: Option<Instant>,
    ended: Option<EventTime>,
}

impl Outage {
    /// All is well, as far as anyone knows.
    #[must_use]
    pub fn new(flutter: std::time::Duration) -> Self {
        Self {
            flutter,
            failing: BTreeSet::new(),
            since: None,
            named: false,
            throttled: false,
            attempt: 0,
            passed: None,
            ended: None,
        }
    }

    /// An object failed by no fault that its answer names; returns how often anything failed since something passed.
    pub fn failed(&mut self, id: &ObjectId, now: Now) -> u32 {
        self.since.get_or_insert(now.instant);
        if self.failing.len() < 2 {
            self.failing.insert(id.clone());
        }
        self.attempt = self.attempt.saturating_add(1);
        self.attempt - 1
    }

    /// The answer itself says that nothing can pass.
    pub fn named(&mut self, id: &ObjectId, now: Now) -> u32 {
        self.named = true;
        self.failed(id, now)
    }

    /// The API server asks for patience. If that lasts, it was an outage for who waited.
    pub fn throttled(&mut self, now: Now) {
        self.since.get_or_insert(now.instant);
        self.throttled = true;
    }

    /// Something passed. True if that ended an outage.
    pub fn passed(&mut self, now: Now) -> bool {
        let was = self.is_on();
        let long = self.since.is_some_and(|since| now.instant.duration_since(since) >= self.flutter);
        if self.named || long && (was || self.throttled) {
            self.ended = Some(now.wall);
        }
        self.failing.clear();
        self.since = None;
        (self.named, self.throttled) = (false, false);
        self.attempt = 0;
        self.passed = Some(now.instant);
        was
    }

    /// Whether nothing passes.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.named || self.failing.len() > 1
    }

    /// Whether something passed after that moment.
    #[must_use]
    pub fn passed_since(&self, moment: Instant) -> bool {
        self.passed.is_some_and(|passed| passed >= moment)
    }

    /// When the last outage ended, if there was one.
    #[must_use]
    pub fn ended(&self) -> Option<EventTime> {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FLUTTER: Duration = Duration::from_secs(30);

    /// Letters fail, `.` passes; each takes so many seconds. What the log of them amounts to: on, and when ended.
    fn check(story: &str, step: u64, on: bool, ended: Option<i64>) {
        let begin = Instant::now();
        let mut outage = Outage::new(FLUTTER);
        for (turn, letter) in story.chars().enumerate() {
            let seconds = turn as u64 * step;
            let now = Now { instant: begin + Duration::from_secs(seconds), wall: EventTime(seconds as i64) };
            match letter {
                '.' => drop(outage.passed(now)),
                '~' => outage.throttled(now),
                '!' => drop(outage.named(&ObjectId::new("n", "x"), now)),
                _ => drop(outage.failed(&ObjectId::new("n", &letter.to_string()), now)),
            }
        }
        assert_eq!((outage.is_on(), outage.ended()), (on, ended.map(EventTime)), "{story}");
    }

    #[test]
    fn i29_one_object_that_fails_is_no_outage() {
        check("a.a.aaa", 10, false, None);
        check("aaaaaaaaa.", 10, false, None);
    }

    #[test]
    fn i30_several_objects_that_fail_while_nothing_passes_are_one() {
        check(".abab", 10, true, None);
        check(".ababab.", 10, false, Some(70));
    }

    #[test]
    fn two_stubborn_objects_between_quick_neighbours_put_off_nothing() {
        check("ab.ab.ab.", 1, false, None);
    }

    #[test]
    fn i14_an_answer_that_names_the_outage_is_enough() {
        check("!", 1, true, None);
        check("!.", 1, false, Some(1));
    }

    #[test]
    fn i04_throttling_that_lasts_counts_as_an_outage_that_ended() {
        check("~~~~.", 10, false, Some(40));
        check("~~.", 1, false, None);
    }
}
