//! `policy diff OLD NEW`: two pipelines over a range of the real topic.

use std::path::PathBuf;

use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Failure, Output, addresses, files, moment, progress::Progress, replay, say, stages};
use crate::{
    kafka::{
        merge,
        range::{self, Stretch},
    },
    pipeline::Pipeline,
    replay::{
        difference::{Difference, Sides},
        standing::Standing,
    },
    work::namespaces::Namespaces,
};

/// Batches of records that lie ready.
const AHEAD: usize = 4;
/// Kinds of change that a table shows.
const SHOWN: usize = 50;

/// What may be done with policies.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Policy {
    /// Tells which alerts of a range would get another fingerprint, group, severity, environment or priority
    Diff(Box<Diff>),
}

/// Two pipelines, and the traffic between them.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The pipeline as it is; its topic is read
    old: PathBuf,
    /// The pipeline as it shall be
    new: PathBuf,
    /// Alerts at or after this moment: RFC 3339, or back from now, like -2h
    #[arg(long, value_name = "MOMENT", default_value = "-1h", allow_hyphen_values = true)]
    from: String,
    /// and before this one
    #[arg(long, value_name = "MOMENT", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Only alerts that fit: CEL on `alert`, as in a storm rule's match
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,
    /// Leaves the API server alone: namespaces have no labels then, and patterns tell their environment
    #[arg(long)]
    without_labels: bool,
    /// Form of the report
    #[arg(long, value_name = "FORM", default_value = "table")]
    output: Output,
    #[command(flatten)]
    kafka: addresses::Kafka,
    #[command(flatten)]
    kubernetes: addresses::Kubernetes,
}

impl Policy {
    /// Does what is asked.
    pub(crate) async fn start(self) -> Result<(), Failure> {
        let Self::Diff(asked) = self;
        asked.start().await
    }
}

impl Diff {
    async fn start(self) -> Result<(), Failure> {
        let now = moment::now();
        let range = (moment::parse("--from", &self.from, now)?, moment::parse("--to", &self.to, now)?);
        if range.0 >= range.1 {
            return Err(Failure::Asked("--from must lie before --to".to_owned()));
        }
        let filter = self.filter.as_deref().map(replay::compile).transpose()?;
        let read = |file: &PathBuf| -> Result<Pipeline, Failure> {
            files::pipeline(file).map(|(pipeline, _)| pipeline).map_err(|faults| files::told(&faults))
        };
        let (old, new) = (read(&self.old)?, read(&self.new)?);
        let settings = self.kafka.check()?;
        let labels = self.labels().await?;
        let topic = old.topics.alerts.clone();
        let found = range::between(&settings, &topic, range).await?;
        let stretches: Vec<Stretch> = found.into_iter().map(|(stretch, _)| stretch).collect();
        let total: i64 = stretches.iter().map(|one| one.to - one.from).sum();
        let mut progress = Progress::begin(u64::try_from(total).unwrap_or(0), "reading");
        let mut sides = Sides::new(old, new, &labels, filter);
        let (into, mut records) = mpsc::channel(AHEAD);
        let reading = merge::read(&settings, &topic, &stretches, into, CancellationToken::new());
        let looking = async {
            while let Some(some) = records.recv().await {
                progress.advance(some.len() as u64);
                some.iter().for_each(|one| sides.look(one));
            }
        };
        let (read, ()) = tokio::join!(reading, looking);
        progress.end();
        read?;
        match self.output {
            Output::Json => say(json(&topic, &sides.found)?),
            Output::Table => say(table(&topic, &sides.found)),
        }
    }
}

impl Diff {
    async fn labels(&self) -> Result<Namespaces, Failure> {
        if self.without_labels {
            return Ok(Namespaces::default());
        }
        let client = kube::Client::try_from(stages::config(&self.kubernetes.check()?).await?)?;
        Ok(Standing::labels(&client).await?)
    }
}

fn json(topic: &str, found: &Difference) -> Result<String, Failure> {
    let mut told = serde_json::to_value(found)?;
    let one = |(change, (count, example)): (&crate::replay::difference::Change, &(u64, crate::alert::Position))| {
        json!({ "alert": change.alert, "namespace": change.namespace, "changes": change.changes, "count": count,
                "example": format!("{topic}/{example}") })
    };
    told["changes"] = found.kinds.iter().map(one).collect();
    Ok(format!("{told:#}\n"))
}

fn table(topic: &str, found: &Difference) -> String {
    let mut text = format!("alerts: {}\ndiffer: {}\n", found.alerts, found.differ);
    for (field, count) in &found.fields {
        text += &format!("  {field}: {count}\n");
    }
    let mut kinds: Vec<_> = found.kinds.iter().collect();
    kinds.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (change, (count, example)) in kinds.iter().take(SHOWN) {
        let what = change.changes.join(", ");
        text += &format!("\n{count} × {} in {}: {what}\n  such as {topic}/{example}\n", change.alert, change.namespace);
    }
    if kinds.len() > SHOWN {
        text += &format!("\nand {} other kinds of change; --output json lists them\n", kinds.len() - SHOWN);
    }
    text
}
