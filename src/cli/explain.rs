//! `explain FINGERPRINT | TOPIC/PARTITION/OFFSET | NAMESPACE/OBJECT`: the decision is taken again from the log, and told.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Failure, Output, addresses, files, moment, progress::Progress, replay, say};
use crate::{
    alert::{Brief, EventTime, Fingerprint, Position, record},
    kafka::{
        KafkaError, Record, Settings, merge,
        range::{self, Stretch},
    },
    memory::MemoryError,
    pipeline::{Pipeline, Setting},
    replay::{
        explain::{Follow, Incident, Story, Told},
        lab::Lab,
        standing::Standing,
        trail::Trail,
    },
};

/// Batches of records that lie ready.
const AHEAD: usize = 4;
/// How far around a record its story may reach, beyond the horizon.
const AFTERWARDS: Duration = Duration::from_hours(1);

/// A draft is written after its alert, by another clock.
const SKEW: Duration = Duration::from_mins(5);

/// What is explained.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// An alert by its fingerprint, a record by its place in `alerts`, or an incident by its object
    #[arg(value_name = "FINGERPRINT|TOPIC/PARTITION/OFFSET|NAMESPACE/OBJECT")]
    target: String,
    /// Where the search begins: RFC 3339, or back from now, like -2h; a record or an object tells its own time
    #[arg(long, value_name = "MOMENT", default_value = "-24h", allow_hyphen_values = true)]
    from: String,
    /// Where it ends
    #[arg(long, value_name = "MOMENT", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Form of the story
    #[arg(long, value_name = "FORM", default_value = "table")]
    output: Output,
    #[command(flatten)]
    kafka: addresses::Kafka,
    #[command(flatten)]
    kubernetes: addresses::Kubernetes,
    #[command(flatten)]
    pipeline: addresses::PipelineFile,
}

/// Whom a story is about.
#[derive(Debug)]
enum Target {
    Fingerprint(Fingerprint),
    Record(Position),
    Object(String),
}

impl Target {
    fn parse(text: &str, topic: &str) -> Result<Self, Failure> {
        if let Ok(fingerprint) = text.parse() {
            return Ok(Self::Fingerprint(fingerprint));
        }
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [of, partition, offset] if *of == topic => {
                if let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) {
                    return Ok(Self::Record(Position { partition, offset }));
                }
            }
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                return Ok(Self::Object(text.to_owned()));
            }
            _ => {}
        }
        let forms = format!("64 hex digits, {topic}/PARTITION/OFFSET, or NAMESPACE/OBJECT");
        Err(Failure::Asked(format!("{text:?} is nothing that can be explained; write {forms}")))
    }
}

/// Where the story is looked for.
struct Ground {
    settings: Settings,
    pipeline: Arc<Pipeline>,
    written: Vec<Setting>,
    fallback: String,
    standing: Standing,
}

impl Explain {
    /// Tells the story.
    pub(crate) async fn start(self) -> Result<(), Failure> {
        let now = moment::now();
        let range = (moment::parse("--from", &self.from, now)?, moment::parse("--to", &self.to, now)?);
        let (pipeline, written) = files::pipeline(&self.pipeline.pipeline).map_err(|faults| files::told(&faults))?;
        let target = Target::parse(&self.target, &pipeline.topics.alerts)?;
        let (settings, cluster) = (self.kafka.check()?, self.kubernetes.check()?);
        let standing = replay::standing(&cluster, &pipeline).await?;
        let fallback = cluster.fallback_namespace;
        let ground = Ground { settings, pipeline: Arc::new(pipeline), written, fallback, standing };
        let story = ground.story(target, range).await?;
        match self.output {
            Output::Json => say(format!("{:#}\n", serde_json::to_value(&story)?)),
            Output::Table => say(told(&story)),
        }
    }
}

impl Ground {
    async fn story(&self, target: Target, range: (EventTime, EventTime)) -> Result<Story, Failure> {
        let topic = &self.pipeline.topics.alerts;
        let (fingerprint, (from, to)) = match target {
            Target::Fingerprint(fingerprint) => (fingerprint.brief(), range),
            Target::Record(position) => match self.record(position).await? {
                Ok(found) => found,
                Err(story) => return Ok(*story),
            },
            Target::Object(object) => {
                let Some(begun) = self.standing.find(&object).map(|found| found.begun) else {
                    let why = "there is no such object of ours; its alert's fingerprint, or a record's place, will do as well";
                    return Err(anyhow::anyhow!("{object}: {why}").into());
                };
                match self.record(begun.position).await? {
                    Ok(found) => found,
                    Err(story) => return Ok(*story),
                }
            }
        };
        let warm = from.minus(self.pipeline.horizon());
        let found = range::between(&self.settings, topic, (warm, to)).await?;
        let stretches: Vec<Stretch> = found.into_iter().map(|(stretch, _)| stretch).collect();
        let story = self.follow(fingerprint, &stretches, to).await?;
        if story.records.is_empty() {
            let (from, to) = (warm.rfc3339(), to.rfc3339());
            return Err(anyhow::anyhow!("{fingerprint} is in no record of {topic} from {from} to {to}").into());
        }
        Ok(story)
    }

    async fn follow(&self, fingerprint: Brief, stretches: &[Stretch], to: EventTime) -> Result<Story, Failure> {
        let topic = &self.pipeline.topics.alerts;
        let lab = Lab::new(Arc::clone(&self.pipeline), self.standing.namespaces.clone(), &self.fallback);
        let mut follow = Follow::new(fingerprint, topic, lab);
        let total: i64 = stretches.iter().map(|one| one.to - one.from).sum();
        let mut progress = Progress::begin(u64::try_from(total).unwrap_or(0), "reading");
        let (into, mut records) = mpsc::channel(AHEAD);
        let reading = merge::read(&self.settings, topic, stretches, into, CancellationToken::new());
        let following = async {
            while let Some(some) = records.recv().await {
                progress.advance(some.len() as u64);
                follow.take(some).await?;
            }
            follow.reach(to).await?;
            Ok::<_, MemoryError>(follow)
        };
        let (read, followed) = tokio::join!(reading, following);
        progress.end();
        read?;
        let followed = followed?;
        let wanted = followed.which();
        let since = wanted.iter().map(|(generation, _)| generation.at).min().unwrap_or(to).minus(SKEW);
        let trail = Trail::of(&self.settings, &self.pipeline.topics, (since, &wanted)).await?;
        Ok(followed.tell(&self.written, &trail, |object| self.standing.stands(object)))
    }

    /// Whose record it is, and the time around it; or all that is to be told, if it cannot be read.
    async fn record(&self, position: Position) -> Result<Result<(Brief, (EventTime, EventTime)), Box<Story>>, Failure> {
        let topic = &self.pipeline.topics.alerts;
        let Some(one) = self.fetch(position).await? else {
            let why = "it is not, or no longer, in the log";
            return Err(anyhow::anyhow!("{topic}/{position}: {why}").into());
        };
        match record::parse(&one.value, &one.headers, one.at, &self.pipeline.identity) {
            Ok(signal) => {
                let around = self.pipeline.horizon() + AFTERWARDS;
                let to = one.at.plus(around).min(moment::now());
                Ok(Ok((signal.brief(), (one.at, to))))
            }
            Err(error) => {
                let told = Told {
                    record: format!("{topic}/{position}"),
                    at: one.at.rfc3339(),
                    kind: "unreadable".to_owned(),
                    outcome: format!("dead_lettered: {}: {}", error.reason, error.text),
                };
                Ok(Err(Box::new(Story { records: vec![told], ..Story::default() })))
            }
        }
    }

    async fn fetch(&self, position: Position) -> Result<Option<Record>, KafkaError> {
        let topic = &self.pipeline.topics.alerts;
        let all = range::since(&self.settings, topic, None).await?;
        let Position { partition, offset } = position;
        if !all.iter().any(|one| one.partition == partition && (one.from..one.to).contains(&offset)) {
            return Ok(None);
        }
        let (into, mut records) = mpsc::channel(1);
        let stretch = [Stretch { partition, from: offset, to: offset + 1 }];
        let reading = merge::read(&self.settings, topic, &stretch, into, CancellationToken::new());
        let looking = async { records.recv().await.and_then(|mut some| some.pop()) };
        let (read, found) = tokio::join!(reading, looking);
        read?;
        Ok(found)
    }
}

/// What was published of an incident, and what was set aside.
fn drafted(one: &Incident) -> String {
    let mut text = match one.drafts.as_slice() {
        [] => "  no draft of it lies in the log\n".to_owned(),
        [only] => format!("  drafted as {only}\n"),
        all => format!(
            "  drafted {} times, as {}: read again before it was finished, or replayed\n",
            all.len(),
            all.join(", ")
        ),
    };
    for refusal in &one.refusals {
        text += &format!("  set aside as {refusal}\n");
    }
    text
}

fn told(story: &Story) -> String {
    let mut text = String::new();
    if !story.fingerprint.is_empty() {
        text += &format!("fingerprint: {}\n  {}\n", story.fingerprint, story.identity.join(" "));
    }
    text += "\nrecords:\n";
    let line = |one: &Told| vec![format!("  {}", one.record), one.at.clone(), one.kind.clone(), one.outcome.clone()];
    text += &super::columns(&story.records.iter().map(line).collect::<Vec<_>>());
    if !story.rules.is_empty() {
        text += "\ndecided by:\n";
    }
    for rule in &story.rules {
        text += &format!("  {} ({}): {}\n", rule.what, rule.place, rule.said);
    }
    for one in &story.incidents {
        let what = if one.storm { format!("storm of {} members", one.members) } else { "incident".to_owned() };
        text += &format!("\n{what} {}: {}\n", one.object, one.stands);
        text += &format!(
            "  opened by {}, from {} to {}, count {}\n",
            one.opened_by, one.first_seen, one.last_seen, one.count
        );
        text += &format!("  severity {}, environment {}, priority {}\n", one.severity, one.environment, one.priority);
        text += &drafted(one);
        if let Some(at) = &one.resolved_at {
            text += &format!("  resolved at {at}\n");
        }
        if let Some(storm) = &one.superseded_by {
            text += &format!("  listed by the storm {storm}\n");
        }
    }
    if story.incidents.is_empty() {
        text += "\nno incident began in what was read\n";
    }
    text
}
