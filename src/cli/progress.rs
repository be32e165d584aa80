//! How far a reading of the log is.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::complain;

/// How often a line tells how far it is, where there is no terminal.
const TELL: Duration = Duration::from_secs(5);

/// How far it is: a bar on a terminal, else a line now and then; both on standard error.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    read: u64,
    told: Instant,
}

impl Progress {
    pub(crate) fn begin(total: u64, what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let form = "{msg} {bar:40} {percent}% {human_pos}/{human_len} records, {per_sec}, {eta} left";
            let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(what)
        });
        Self { bar, what, total, read: 0, told: Instant::now() }
    }

    pub(crate) fn advance(&mut self, records: u64) {
        self.read += records;
        match &self.bar {
            Some(bar) => bar.inc(records),
            None if self.told.elapsed() >= TELL => {
                self.told = Instant::now();
                let share = (self.read * 100).checked_div(self.total).unwrap_or(100).min(100);
                complain(format!("{}: {share}%, {} of {} records", self.what, self.read, self.total));
            }
            None => {}
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
