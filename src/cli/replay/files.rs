//! A replay of files, or of standard input, at their own times.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

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

/// What files may weigh together: they are held whole, as the last line may be the first in time.
const MOST: u64 = 256 << 20;

impl Checked {
    pub(super) async fn files(
        &self,
        standing: &Standing,
        stop: &CancellationToken,
        notes: &mut Vec<String>,
    ) -> Result<Report, Failure> {
        let input = gather(&self.input)?;
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

/// All that the files hold, if that is not too much.
fn gather(files: &[PathBuf]) -> Result<Input, Failure> {
    let (mut input, mut room) = (Input::default(), MOST);
    for file in files {
        let name = name(file);
        let bytes = bytes(file, room).with_context(|| format!("{name} cannot be read"))?;
        room = room.checked_sub(bytes.len() as u64).ok_or_else(|| too_much(&name))?;
        input.read(&name, bytes);
    }
    Ok(input.finish())
}

fn too_much(name: &str) -> Failure {
    Failure::Asked(format!(
        "--input: with {name} it is more than {} MiB, and files are held whole, to be put in order of time; nothing was \
         published; give them in parts, the earliest first: what came of one part, the next finds there",
        MOST >> 20
    ))
}

/// What a file is called; `-` is standard input.
fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() }
}

/// All that a file holds, and of too much as much as shows that it is.
fn bytes(file: &Path, room: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut from: Box<dyn Read> =
        if file.as_os_str() == "-" { Box::new(io::stdin().lock()) } else { Box::new(File::open(file)?) };
    from.by_ref().take(room + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
