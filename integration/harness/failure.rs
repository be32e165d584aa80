//! Failures are told when they happen: the runner itself keeps what a test says until all have ended.

use std::io::Write;
use std::panic;
use std::sync::Once;

/// Characters of a failure that are told at once; all of it follows at the end.
const MOST: usize = 1_200;

/// From now on each panic is told on standard error too, past the runner, which catches what `eprintln` prints.
pub fn tell_at_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let keep = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let why = info.payload_as_str().unwrap_or("no words");
            let why: String = why.chars().take(MOST).collect();
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let line = format!("==> {} fails at {place}: {why}\n", thread.name().unwrap_or("a task"));
            let _nobody_reads = std::io::stderr().write_all(line.as_bytes());
            keep(info);
        }));
    });
}
