//! A replay of files, or of standard input, at their own times.

use std::{io::Read as _, path::Path};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Checked, log::endings};
use crate::{
    alert::EventTime,
    cli::{Failure, complain, progress::Progress},
    replay::{
        course::Asked,
        input::Input,
        report::Report,
        standing::{Endings, Standing},
    },
};

impl Checked {
    pub(super) async fn files(
        &self,
        standing: &Standing,
        stop: &CancellationToken,
        notes: &mut Vec<String>,
    ) -> Result<Report, Failure> {
        let mut input = Input::default();
        for file in &self.input {
            let (name, bytes) = bytes(file);
            input.read(&name, bytes.with_context(|| format!("{name} cannot be read"))?);
        }
        let input = input.finish();
        input.faults.iter().for_each(complain);
        let unreadable = input.faults.len() as u64;
        match input.skipped {
            0 => {}
            1 => notes.push("1 event is of type Normal and tells of no trouble".to_owned()),
            more => notes.push(format!("{more} events are of type Normal and tell of no trouble")),
        }
        let (first, last) = input.span().unwrap_or_default();
        let (from, to) = self.range.unwrap_or((first, EventTime(last.0 + 1)));
        let asked = Asked { from, to, filter: self.filter.clone() };
        let endings = match &self.kafka {
            Some(settings) => endings(settings, &self.pipeline, from, stop).await?,
            None => Endings::default(),
        };
        let mut course = self.course(asked, standing, endings)?;
        let mut progress = Progress::begin(input.records.len() as u64, "deciding");
        for some in input.records.chunks(1000) {
            if stop.is_cancelled() {
                return Ok(course.report);
            }
            progress.advance(some.len() as u64);
            stop.run_until_cancelled(course.take(some.to_vec())).await.unwrap_or(Ok(()))?;
        }
        let end = last.plus(self.pipeline.horizon());
        stop.run_until_cancelled(course.finish(end)).await.unwrap_or(Ok(()))?;
        let mut report = course.report;
        progress.end();
        report.unreadable += unreadable;
        Ok(report)
    }
}

/// What a file is called, and all that it holds; `-` is standard input.
fn bytes(file: &Path) -> (String, std::io::Result<Vec<u8>>) {
    if file.as_os_str() != "-" {
        return (file.display().to_string(), std::fs::read(file));
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes);
    ("standard input".to_owned(), read)
}
