//! One warning a minute for each class of trouble, with a count; the end of it is told once.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a class of trouble stays silent after it was told.
const SILENCE: Duration = Duration::from_secs(60);

/// A class of trouble that may come thousands of times a second and is told once a minute.
#[derive(Debug)]
pub struct Complaint {
    class: &'static str,
    trouble: Mutex<Trouble>,
}

impl Complaint {
    /// Of this class: lower-case words that say what fails and what is done about it.
    #[must_use]
    pub const fn new(class: &'static str) -> Self {
        Self { class, trouble: Mutex::new(Trouble { began: None, told: None, untold: 0, all: 0 }) }
    }

    /// It has happened (again): warns if the last warning is a minute old, else counts.
    pub fn raise(&self, error: &dyn fmt::Display) {
        if let Some(times) = self.lock().raised(Instant::now()) {
            tracing::warn!(class = self.class, times, error = %error, "{}", self.class);
        }
    }

    /// It works: tells so once if there was trouble. Cheap otherwise.
    pub fn settle(&self) {
        if let Some(over) = self.lock().settled(Instant::now()) {
            let Over { times, lasted } = over;
            tracing::info!(class = self.class, times, seconds = lasted.as_secs(), "over: {}", self.class);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one class of trouble; time is an argument.
#[derive(Debug)]
struct Trouble {
    began: Option<Instant>,
    told: Option<Instant>,
    untold: u64,
    all: u64,
}

/// The end of a trouble.
#[derive(Debug, PartialEq, Eq)]
struct Over {
    times: u64,
    lasted: Duration,
}

impl Trouble {
    /// How many times to tell of, this one included; `None` = keep silent.
    fn raised(&mut self, now: Instant) -> Option<u64> {
        self.began.get_or_insert(now);
        self.untold += 1;
        self.all += 1;
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < SILENCE) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// Told once. `told` stays, so that a trouble that comes and goes every second is one line a minute and not two.
    fn settled(&mut self, now: Instant) -> Option<Over> {
        let began = self.began.take()?;
        let times = std::mem::take(&mut self.all);
        self.untold = 0;
        Some(Over { times, lasted: now.saturating_duration_since(began) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x` = raised, `.` = settled, each with its second; the answer is what was told.
    fn check(story: &[(u64, char)], told: &[&str]) {
        let start = Instant::now();
        let mut trouble = Trouble { began: None, told: None, untold: 0, all: 0 };
        let mut heard = Vec::new();
        for (second, what) in story {
            let now = start + Duration::from_secs(*second);
            match what {
                'x' => heard.extend(trouble.raised(now).map(|times| format!("{second}: {times}"))),
                _ => heard.extend(
                    trouble.settled(now).map(|over| format!("{second}: over {} {}", over.times, over.lasted.as_secs())),
                ),
            }
        }
        assert_eq!(heard, told);
    }

    #[test]
    fn p10_the_first_is_told_at_once() {
        check(&[(0, 'x')], &["0: 1"]);
    }

    #[test]
    fn p10_one_warning_a_minute_with_the_count() {
        check(&[(0, 'x'), (1, 'x'), (59, 'x'), (60, 'x'), (119, 'x'), (121, 'x')], &["0: 1", "60: 3", "121: 2"]);
    }

    #[test]
    fn p10_recovery_is_told_once_with_the_sum() {
        check(&[(0, '.'), (1, 'x'), (2, 'x'), (9, '.'), (10, '.')], &["1: 1", "9: over 2 8"]);
    }

    #[test]
    fn p10_trouble_that_comes_and_goes_is_no_second_warning_within_the_minute() {
        check(&[(0, 'x'), (1, '.'), (2, 'x'), (3, '.')], &["0: 1", "1: over 1 1", "3: over 1 1"]);
    }
}
