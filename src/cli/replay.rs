//! `replay`: what a range of the log, or files, would have led to, held against the objects that exist.

use std::{
    io::IsTerminal as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Failure, Output, addresses, addresses::Cluster, complain, moment, say, stages};
use crate::{
    alert::{EventTime, Kind, Signal, headers, record},
    kafka::{
        Settings, merge,
        producer::Producer,
        range::{self, Stretch},
    },
    lifecycle,
    pipeline::{Pipeline, expression::Expression},
    replay::{
        course::{Asked, Course, Halted, Line, Report, Way},
        input::Input,
        standing::{Endings, Standing},
    },
};

/// How long a record may wait for its acknowledgement.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);
/// Batches of records that lie ready.
const AHEAD: usize = 4;
/// How often a line tells how far it is, where there is no terminal.
const TELL: Duration = Duration::from_secs(5);
/// Lines of one kind that a table shows.
const SHOWN: usize = 20;

/// What of what is found is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Nothing: it is reported.
    Shadow,
    /// Drafts without an object are published, and nothing else.
    MissingOnly,
}

/// What is replayed.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// Incidents that fired at or after this moment: RFC 3339, or back from now, like -2h
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    from: Option<String>,
    /// and before this one
    #[arg(long, value_name = "MOMENT", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Only incidents whose first alert fits: CEL on `alert`, as in a storm rule's match
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,
    /// What is done with what is found
    #[arg(long, value_name = "MODE", default_value = "shadow")]
    mode: Mode,
    /// Drafts a second that are published at most, beside live traffic
    #[arg(long, value_name = "N/s", default_value = "20/s")]
    rate: String,
    /// Form of the report on standard output
    #[arg(long, value_name = "FORM", default_value = "table")]
    output: Output,
    /// Reads webhook bodies, lists of events or JSON lines from here, at their own times, and not the topic; - = standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    input: Vec<PathBuf>,
    /// Goes on where a part of the range is no longer in the log
    #[arg(long)]
    allow_partial: bool,
    #[command(flatten)]
    kafka: addresses::Kafka,
    #[command(flatten)]
    kubernetes: addresses::Kubernetes,
    #[command(flatten)]
    pipeline: addresses::PipelineFile,
}

/// The same, checked.
struct Checked {
    range: Option<(EventTime, EventTime)>,
    filter: Option<Expression>,
    mode: Mode,
    rate: u32,
    output: Output,
    input: Vec<PathBuf>,
    allow_partial: bool,
    kafka: Option<Settings>,
    cluster: Cluster,
    pipeline: Arc<Pipeline>,
}

impl Replay {
    fn check(self) -> Result<Checked, Failure> {
        let now = moment::now();
        let from = self.from.as_deref().map(|text| moment::parse("--from", text, now)).transpose()?;
        let to = moment::parse("--to", &self.to, now)?;
        let range = match from {
            Some(from) if from >= to => return Err(Failure::Asked("--from must lie before --to".to_owned())),
            Some(from) => Some((from, to)),
            None if self.input.is_empty() => {
                return Err(Failure::Asked(
                    "--from is not given; write a moment, like -2h, or --input FILE".to_owned(),
                ));
            }
            None => None,
        };
        let filter = self.filter.as_deref().map(compile).transpose()?;
        let topic = self.input.is_empty() || self.mode == Mode::MissingOnly;
        Ok(Checked {
            range,
            filter,
            mode: self.mode,
            rate: rate(&self.rate)?,
            output: self.output,
            input: self.input,
            allow_partial: self.allow_partial,
            kafka: topic.then(|| self.kafka.check()).transpose()?,
            cluster: self.kubernetes.check()?,
            pipeline: Arc::new(self.pipeline.read()?),
        })
    }

    /// Replays, and reports.
    pub(crate) async fn start(self) -> Result<(), Failure> {
        self.check()?.run().await
    }
}

/// A filter's fault is told with its column.
pub(crate) fn compile(source: &str) -> Result<Expression, Failure> {
    Expression::compile(source).map_err(|refused| {
        let before = source.get(..refused.offset).unwrap_or_default();
        Failure::Asked(format!("--filter:1:{}: {refused}", before.chars().count() + 1))
    })
}

fn rate(text: &str) -> Result<u32, Failure> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok().filter(|rate| (1..=100_000).contains(rate));
    number.ok_or_else(|| Failure::Asked(format!("--rate: {text:?} is no rate; write it like 50/s, at least 1/s")))
}

/// What of the log is read.
struct Plan {
    stretches: Vec<Stretch>,
    /// The moment up to which everything was read, once it was.
    until: EventTime,
}

impl Checked {
    async fn run(self) -> Result<(), Failure> {
        let stop = CancellationToken::new();
        lifecycle::signals(stop.clone()).context("signals cannot be listened for")?;
        let client = kube::Client::try_from(stages::config(&self.cluster).await?)?;
        let standing = Standing::list(client, &self.pipeline).await.context("the objects cannot be listed")?;
        let (mut failure, mut notes) = (None, Vec::new());
        let report = if self.input.is_empty() {
            self.topic(&standing, &stop, &mut notes, &mut failure).await?
        } else {
            self.files(&standing, &stop, &mut notes).await?
        };
        notes.extend(exceptions());
        match self.output {
            Output::Json => say(json(&report, &notes, stop.is_cancelled())?)?,
            Output::Table => say(table(&report, &notes))?,
        }
        match failure {
            _ if stop.is_cancelled() => {
                let next = "what was published stays; run it again to go on";
                Err(anyhow::anyhow!("told to stop before the end: {next}").into())
            }
            Some(why) => Err(anyhow::Error::msg(why).into()),
            None => Ok(()),
        }
    }

    async fn topic(
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
            notes.push(format!("the log holds nothing of the range before {}", expired.rfc3339()));
            if !self.allow_partial {
                *failure = Some("a part of the range has expired; say --allow-partial if the rest will do".to_owned());
            }
        }
        let stretches: Vec<Stretch> = found.into_iter().map(|(stretch, _)| stretch).collect();
        let endings = endings(settings, &self.pipeline, from, stop).await?;
        let asked = Asked { from, to, filter: self.filter.clone() };
        // of the present nobody knows what comes in the next moment: what is in its hold is left to the live run
        let until = end.min(moment::now());
        let course = self.course(asked, standing, endings)?;
        self.read(course, Plan { stretches, until }, settings, stop).await
    }

    fn course<'a>(&self, asked: Asked, standing: &'a Standing, endings: Endings) -> Result<Course<'a>, Failure> {
        let way = match (&self.kafka, self.mode) {
            (Some(settings), Mode::MissingOnly) => Some(Way {
                producer: Producer::new(settings, ACKNOWLEDGED_WITHIN)?,
                topic: self.pipeline.topics.remediations.clone(),
                rate: self.rate,
            }),
            _ => None,
        };
        let fallback = &self.cluster.fallback_namespace;
        Ok(Course::new(&self.pipeline, fallback, asked, (Some(standing), endings), way))
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

    async fn files(
        &self,
        standing: &Standing,
        stop: &CancellationToken,
        notes: &mut Vec<String>,
    ) -> Result<Report, Failure> {
        let mut input = Input::default();
        for file in &self.input {
            let bytes = bytes(file).with_context(|| format!("{} cannot be read", file.display()))?;
            input.read(&file.display().to_string(), bytes);
        }
        let input = input.finish();
        input.faults.iter().for_each(complain);
        let unreadable = input.faults.len() as u64;
        if input.skipped > 0 {
            notes.push(format!("{} events are of type Normal and tell of no trouble", input.skipped));
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

fn bytes(file: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    match file.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut bytes)?,
        false => std::fs::File::open(file)?.read_to_end(&mut bytes)?,
    };
    Ok(bytes)
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
async fn endings(
    settings: &Settings,
    pipeline: &Pipeline,
    from: EventTime,
    stop: &CancellationToken,
) -> Result<Endings, Failure> {
    let topic = &pipeline.topics.alerts;
    let stretches = range::since(settings, topic, Some(from)).await?;
    let total: i64 = stretches.iter().map(|one| one.to - one.from).sum();
    let mut progress = Progress::begin(u64::try_from(total).unwrap_or(0), "looking for ends");
    let (into, mut records) = mpsc::channel(1000);
    let reading = range::read(settings, topic, stretches, into, stop.clone());
    let looking = async {
        let mut endings = Endings::default();
        while let Some(one) = records.recv().await {
            progress.advance(1);
            if one.headers.last(headers::KIND) == Some(Kind::Closed.as_str().as_bytes())
                && let Ok(Signal::Closed(closed)) = record::parse(&one.value, &one.headers, one.at, &pipeline.identity)
            {
                endings.note(&closed, one.at);
            }
        }
        endings
    };
    let (read, endings) = tokio::join!(reading, looking);
    progress.end();
    read?;
    Ok(endings)
}

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

/// What a replay cannot know.
fn exceptions() -> [String; 1] {
    ["namespaces' labels are those of now, the pipeline is this one, and no partition is taken for unread: where that was \
      otherwise, the live run may have decided otherwise"
        .to_owned()]
}

fn json(report: &Report, notes: &[String], interrupted: bool) -> Result<String, Failure> {
    let mut told = serde_json::to_value(report)?;
    told["notes"] = serde_json::json!(notes);
    told["interrupted"] = serde_json::json!(interrupted);
    Ok(format!("{told:#}\n"))
}

fn table(report: &Report, notes: &[String]) -> String {
    let mut text = format!(
        "would create: {}\nexist: {}\ndiffer: {}\nover: {}\npublished: {}\nunreadable: {}\nrecords read: {}\n",
        report.would_create,
        report.exist,
        report.differ,
        report.over,
        report.published,
        report.unreadable,
        report.records,
    );
    let outcomes: Vec<String> = report.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    text += &format!("records of the range: {}\n", outcomes.join(", "));
    for (what, lines) in
        [("would create", &report.missing), ("differ", &report.differing), ("over", &report.suppressed)]
    {
        if !lines.is_empty() {
            text += &format!("\n{what}:\n{}", rows(lines));
        }
    }
    for note in notes {
        text += &format!("\nnote: {note}\n");
    }
    text
}

fn rows(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines.iter().take(SHOWN) {
        let storm = if line.storm { " storm" } else { "" };
        let phase = line.phase.as_ref().map(|phase| format!(" {phase}")).unwrap_or_default();
        text +=
            &format!("  {} {} {}{storm}{phase} since {}\n", line.object, line.priority, line.alert, line.first_seen);
        for field in &line.fields {
            text += &format!("    {}: {} then, {} now\n", field.field, short(&field.then), short(&field.now));
        }
    }
    if lines.len() > SHOWN {
        text += &format!("  and {} more; --output json lists them\n", lines.len() - SHOWN);
    }
    text
}

fn short(value: &serde_json::Value) -> String {
    let text = value.to_string();
    match text.chars().count() > 120 {
        true => format!("{}…", text.chars().take(120).collect::<String>()),
        false => text,
    }
}
