//! Points at which a test may end the process, between every two steps of a record's way.
//!
//! Compiled only with the feature `crash-points`, which no release has; without it a point is nothing at all.

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    static ARMED: OnceLock<(String, AtomicU32)> = OnceLock::new();

    /// Arms a point: the process dies at its `nth` passing, counted from 1.
    pub fn arm(point: &str, nth: u32) {
        ARMED.get_or_init(|| (point.to_owned(), AtomicU32::new(nth)));
    }

    /// Dies here, as by SIGKILL, if this is the point that was armed.
    pub fn point(name: &str) {
        let Some((armed, left)) = ARMED.get() else { return };
        if armed == name && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort(); // nothing is flushed, nothing is dropped
        }
    }
}

#[cfg(feature = "crash-points")]
pub use armed::{arm, point};

/// Nothing: the feature is off.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_name: &str) {}
