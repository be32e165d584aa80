//! How many calls may be under way at once: fewer after a throttled answer, and slowly more again while calls pass. Pure.

/// Calls that pass at one width, for each of it, before one more is tried.
const ROUNDS: usize = 32;

/// A server that is asked to do too much at once says so with a pause for everybody. Asked by fewer, it gets on.
#[derive(Debug)]
pub struct Width {
    now: usize,
    most: usize,
    passed: usize,
}

impl Width {
    /// As wide as the pipeline lets it be, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { now: most.max(1), most: most.max(1), passed: 0 }
    }

    /// Calls that may be under way at once.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.now
    }

    /// The server asked for patience: half as many.
    pub fn throttled(&mut self) {
        (self.now, self.passed) = ((self.now / 2).max(1), 0);
    }

    /// A call passed: after enough of them, one more at once.
    pub fn passed(&mut self) {
        self.passed += 1;
        if self.passed >= ROUNDS * self.now {
            (self.now, self.passed) = (self.most.min(self.now + 1), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i06_a_throttled_server_is_asked_by_half_as_many_and_by_one_at_last() {
        let mut width = Width::new(16);
        for expected in [8, 4, 2, 1, 1] {
            width.throttled();
            assert_eq!(width.calls(), expected);
        }
    }

    #[test]
    fn i06_calls_that_pass_widen_it_again_slowly_and_never_beyond_the_bound() {
        let mut width = Width::new(3);
        (0..5).for_each(|_| width.throttled());
        let mut widths = Vec::new();
        for _ in 0..5 {
            (0..ROUNDS).for_each(|_| width.passed());
            widths.push(width.calls());
        }
        assert_eq!(widths, [2, 2, 3, 3, 3]);
        assert_eq!(Width::new(0).calls(), 1);
    }
}
