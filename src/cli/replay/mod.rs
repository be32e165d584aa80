//! `replay`: what a range of the log, or files, would have led to, held against the objects that exist.

mod files;
mod log;
mod told;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Failure, Output, addresses, addresses::Cluster, moment, say, stages};
use crate::{
    alert::EventTime,
    kafka::{Settings, producer::Producer},
    lifecycle,
    pipeline::{Pipeline, expression::Expression},
    replay::{
        course::{Asked, Course, Way},
        standing::{Endings, Standing},
    },
};

/// How long a record may wait for its acknowledgement.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

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

/// The objects that exist; a cluster that knows nothing of us yet is told apart from one that does not answer.
pub(crate) async fn standing(cluster: &Cluster, pipeline: &Pipeline) -> Result<Standing, Failure> {
    let client = kube::Client::try_from(stages::config(cluster).await?)?;
    Standing::list(client, pipeline).await.map_err(|error| {
        if let kube::Error::Api(told) = &error
            && told.code == 404
        {
            let why =
                "the API server serves no RemediationRequests: apply what `breakwater print crd` prints, and ask again";
            return anyhow::anyhow!(why).into();
        }
        anyhow::Error::new(error).context("the objects cannot be listed").into()
    })
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

impl Checked {
    async fn run(self) -> Result<(), Failure> {
        let stop = CancellationToken::new();
        lifecycle::signals(stop.clone()).context("signals cannot be listened for")?;
        let standing = standing(&self.cluster, &self.pipeline).await?;
        let (mut failure, mut notes) = (None, Vec::new());
        let report = if self.input.is_empty() {
            self.topic(&standing, &stop, &mut notes, &mut failure).await?
        } else {
            self.files(&standing, &stop, &mut notes).await?
        };
        notes.extend(told::exceptions());
        match self.output {
            Output::Json => say(told::json(&report, &notes, stop.is_cancelled())?)?,
            Output::Table => say(told::table(&report, &notes))?,
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
}
