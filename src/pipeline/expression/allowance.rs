//! How much text the conditions of one judgement may look at.

use std::sync::atomic::{AtomicUsize, Ordering};

use cel::ExecutionError;

/// All conditions together, in bytes: a hundred of them may each look at 10 KB.
const MOST: usize = 1024 * 1024;

/// A byte that a condition with a pattern looks at counts as so many: matching takes that much longer than comparing.
pub(super) const PATTERN: usize = 16;

/// What is left of the text that the conditions of one judgement may look at. Conditions are short, but an alert may be
/// long, and each of them may look at all of it. What goes beyond fails, whatever the machine: no clock is asked.
#[derive(Debug)]
pub struct Allowance(AtomicUsize);

impl Default for Allowance {
    fn default() -> Self {
        Self(AtomicUsize::new(MOST))
    }
}

impl Allowance {
    /// Takes so many bytes from what is left.
    ///
    /// # Errors
    /// As little is not left; then nothing is.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), ExecutionError> {
        let left = self.0.load(Ordering::Relaxed).checked_sub(bytes);
        self.0.store(left.unwrap_or(0), Ordering::Relaxed);
        let beyond = || {
            ExecutionError::function_error(
                "alert",
                format!("the conditions look at more than {MOST} bytes of one alert"),
            )
        };
        left.map(drop).ok_or_else(beyond)
    }
}
