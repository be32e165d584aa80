//! How long to rest before the next attempt. Chance is an argument.

use std::time::Duration;

/// A rest that doubles, between a floor and a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest rest after the first failure.
    pub floor: Duration,
    /// The longest rest of all.
    pub ceiling: Duration,
}

impl Backoff {
    /// How long to rest before the given attempt: anything from nothing to the doubled floor, at most the
    /// ceiling ("full jitter", AWS Architecture Blog, 2015). `chance` in 0..=1 is drawn by the caller.
    #[must_use]
    pub fn rest(&self, attempt: u32, chance: f64) -> Duration {
        let doubled = self.floor.saturating_mul(2_u32.saturating_pow(attempt));
        doubled.min(self.ceiling).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { floor: Duration::from_millis(100), ceiling: Duration::from_secs(1) };

    fn check(chance: f64, expected: [u64; 6]) {
        let rests = [0, 1, 2, 3, 4, 5].map(|attempt| BACKOFF.rest(attempt, chance).as_millis());
        assert_eq!(rests, expected.map(u128::from), "chance {chance}");
    }

    #[test]
    fn i05_rests_double_from_the_floor_to_the_ceiling_times_chance() {
        check(1.0, [100, 200, 400, 800, 1000, 1000]);
        check(0.5, [50, 100, 200, 400, 500, 500]);
        check(0.0, [0; 6]);
    }

    #[test]
    fn i30_the_ceiling_holds_for_as_long_as_an_outage_lasts() {
        assert_eq!(BACKOFF.rest(u32::MAX, 1.0), BACKOFF.ceiling);
        assert_eq!(BACKOFF.rest(3, f64::INFINITY), BACKOFF.rest(3, 1.0), "chance is never more than certain");
    }
}
