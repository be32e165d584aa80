//! A replay of the topic: the range with the horizon before it, and what ended since.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Checked, Mode};
use crate::{
    alert::{EventTime, Kind, Signal, headers, record},
    cli::{Failure, moment, progress::Progress},
    kafka::{
        Settings, merge,
        range::{self, Stretch},
    },
    pipeline::Pipeline,
    replay::{
        course::{Asked, Course, Halted},
        report::Report,
        standing::{Endings, Standing},
    },
};

/// Batches of records that lie ready.
const AHEAD: usize = 4;

/// What of the log is read.
struct Plan {
    stretches: Vec<Stretch>,
    /// The moment up to which everything was read, once it was.
    until: EventTime,
}

impl Checked {
    pub(super) async fn topic(
        &self,
        standing: &Standing,
        stop: &CancellationToken,
        notes: &mut Vec<String>,
        failure: &mut Option<String>,
    ) -> Result<Report, Failure> {
        let (Some(settings), Some((from, to))) = (&self.kafka, self.range) else {
            return Err(anyhow::anyhow!("no range to read").into()); // it was checked
        };
        let topic = &self.pipeline.topics.alerts;
        let warm = from.minus(self.pipeline.horizon());
        let tail = to.plus(self.pipeline.storm.hold).plus(self.pipeline.dedup.cooldown).plus(Duration::from_secs(1));
        let end = if self.mode == Mode::MissingOnly { EventTime(i64::MAX) } else { tail };
        let found = range::between(settings, topic, (warm, end)).await?;
        if let Some(expired) = expired(settings, topic, (&found, from)).await? {
            let whole = format!("the log holds the range whole only from {} on", expired.rfc3339());
            if !self.allow_partial {
                let why = "a part of the range has expired; say --allow-partial if the rest will do";
                if self.mode == Mode::MissingOnly {
                    return Err(anyhow::anyhow!("{whole}: {why}; nothing was published").into());
                }
                *failure = Some(why.to_owned());
            }
            notes.push(whole);
        }
        let stretches: Vec<Stretch> = found.into_iter().map(|(stretch, _)| stretch).collect();
        let endings = endings(settings, &self.pipeline, from, stop).await?;
        let asked = Asked { from, to, filter: self.filter.clone() };
        // of the present nobody knows what comes in the next moment: what is in its hold is left to the live run
        let until = end.min(moment::now());
        let course = self.course(asked, standing, endings)?;
        self.read(course, Plan { stretches, until }, settings, stop).await
    }

    async fn read(
        &self,
        mut course: Course<'_>,
        plan: Plan,
        settings: &Settings,
        stop: &CancellationToken,
    ) -> Result<Report, Failure> {
        let total: i64 = plan.stretches.iter().map(|one| one.to - one.from).sum();
        let mut progress = Progress::begin(u64::try_from(total).unwrap_or(0), "reading");
        let (into, mut records) = mpsc::channel(AHEAD);
        let done = stop.child_token();
        let reading = merge::read(settings, &self.pipeline.topics.alerts, &plan.stretches, into, done.clone());
        let deciding = async {
            let _done = done.drop_guard();
            while let Some(some) = records.recv().await {
                progress.advance(some.len() as u64);
                match stop.run_until_cancelled(course.take(some)).await {
                    Some(taken) => taken?,
                    None => return Ok(course.report),
                }
            }
            // most of what is published may be decided only here: told to stop, it stops
            stop.run_until_cancelled(course.finish(plan.until)).await.unwrap_or(Ok(()))?;
            Ok::<_, Halted>(course.report)
        };
        let (read, report) = tokio::join!(reading, deciding);
        progress.end();
        let report = report?;
        read?;
        Ok(report)
    }
}

/// From when on the log holds the range, if it no longer holds its beginning.
async fn expired(
    settings: &Settings,
    topic: &str,
    (found, from): (&[(Stretch, bool)], EventTime),
) -> Result<Option<EventTime>, Failure> {
    let cut = found.iter().filter(|(one, cut)| *cut && one.from < one.to);
    let firsts: Vec<Stretch> = cut.map(|(one, _)| Stretch { to: one.from + 1, ..*one }).collect();
    let (into, mut records) = mpsc::channel(AHEAD);
    let reading = merge::read(settings, topic, &firsts, into, CancellationToken::new());
    let looking = async {
        let mut begins: Option<EventTime> = None;
        while let Some(some) = records.recv().await {
            begins = begins.into_iter().chain(some.iter().map(|record| record.at)).max();
        }
        begins
    };
    let (read, begins) = tokio::join!(reading, looking);
    read?;
    Ok(begins.filter(|begins| *begins > from))
}

/// The ends that the log tells, from the range to the log's present end.
pub(super) async fn endings(
    settings: &Settings,
    pipeline: &Pipeline,
    from: EventTime,
    stop: &CancellationToken,
) -> Result<Endings, Failure> {
    let topic = &pipeline.topics.alerts;
    let stretches = range::since(settings, topic, Some(from)).await?;
    let total: i64 = stretches.iter().map(|one| one.to - one.from).sum();
    let mut progress = Progress::begin(u64::try_from(total).unwrap_or(0), "looking for ends");
    let (into, mut some) = mpsc::channel(AHEAD);
    let ends = (headers::KIND, Kind::Closed.as_str());
    let reading = range::pick(settings, topic, (stretches, ends), into, stop.clone());
    let looking = async {
        let mut endings = Endings::default();
        while let Some(range::Picked { read, wanted }) = some.recv().await {
            progress.advance(read);
            for one in wanted {
                let read = record::parse(&one.value, &one.headers, one.at, &pipeline.identity);
                if let Ok(Signal::Closed(closed)) = read {
                    endings.note(&closed, one.at);
                }
            }
        }
        endings
    };
    let (read, endings) = tokio::join!(reading, looking);
    progress.end();
    read?;
    Ok(endings)
}
