//! `dead-letters list | show | redrive | purge`: what was set aside is looked at, put back, or thrown away.

use std::{io::Write, ops::ControlFlow, time::Duration};

use serde_json::{Value, json};

use super::{Failure, Output, addresses, complain, house, moment, say};
use crate::{
    alert::{EventTime, Position},
    kafka::{
        KafkaError,
        dead_letter::{DeadLetter, Origin},
        forget,
        producer::Producer,
    },
    pipeline::written::{parse_span, show_span},
    replay::{
        letters,
        redrive::{Ground, Redriven},
    },
};

/// How long a record may wait for its acknowledgement.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

/// What may be done with dead letters.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum DeadLetters {
    /// Lists them: where each lies, its age, stage, reason, attempts, where it came from and what is wrong
    List {
        #[command(flatten)]
        which: Which,
        /// Form of the list
        #[arg(long, value_name = "FORM", default_value = "table")]
        output: Output,
        #[command(flatten)]
        place: Place,
    },
    /// Shows the value of one, or of each, byte for byte; what else is known of it goes to standard error
    Show {
        /// Which one, as the list calls it; without it, each that the filters take
        #[arg(value_name = "PARTITION/OFFSET")]
        letter: Option<String>,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
    },
    /// Puts them back through the normal way, each once, however often this is run; ends with 1 if one came back
    Redrive {
        /// Which one, as the list calls it; without it, each that the filters take
        #[arg(value_name = "PARTITION/OFFSET")]
        letter: Option<String>,
        #[command(flatten)]
        which: Which,
        /// How long to wait for what becomes of them
        #[arg(long, value_name = "SPAN", default_value = "60s")]
        wait: String,
        #[command(flatten)]
        place: Place,
    },
    /// Throws away the oldest for as long as the filters take them; says what it would do, unless --yes is given
    Purge {
        #[command(flatten)]
        which: Which,
        /// Does it: what is thrown away is gone
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Which of them; all that is given must hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Of this reason: malformed, invalid, too_large, refused …
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Set aside by this stage
    #[arg(long, value_name = "STAGE", value_parser = ["ingest", "work", "sink"])]
    stage: Option<String>,
    /// Set aside at or after this moment: RFC 3339, or back from now, like -2h
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    from: Option<String>,
    /// Set aside before this moment
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    to: Option<String>,
}

/// Where they lie.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    #[command(flatten)]
    kafka: addresses::Kafka,
    #[command(flatten)]
    pipeline: addresses::PipelineFile,
}

impl Which {
    fn check(&self, letter: Option<&str>) -> Result<letters::Filter, Failure> {
        let now = moment::now();
        let read =
            |flag: &str, text: &Option<String>| text.as_deref().map(|text| moment::parse(flag, text, now)).transpose();
        let (from, to) = (read("--from", &self.from)?, read("--to", &self.to)?);
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            return Err(Failure::Asked("--from must lie before --to".to_owned()));
        }
        let position = letter.map(position).transpose()?;
        Ok(letters::Filter { reason: self.reason.clone(), stage: self.stage.clone(), from, to, position })
    }
}

fn position(text: &str) -> Result<Position, Failure> {
    let parts = text.split_once('/').and_then(|(partition, offset)| {
        Some(Position { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    });
    parts.filter(|one| one.partition >= 0 && one.offset >= 0).ok_or_else(|| {
        Failure::Asked(format!("{text:?} is no dead letter; write PARTITION/OFFSET, as `dead-letters list` shows it"))
    })
}

impl DeadLetters {
    /// Does what is asked.
    pub(crate) async fn start(self) -> Result<(), Failure> {
        house::arm();
        match self {
            Self::List { which, output, place } => list(&which.check(None)?, output, &place).await,
            Self::Show { letter, which, place } => show(&which.check(letter.as_deref())?, &place).await,
            Self::Redrive { letter, which, wait, place } => {
                let wait = parse_span(&wait).ok_or_else(|| {
                    Failure::Asked(format!("--wait: {wait:?} is no span of time; write it with its unit, like 60s"))
                })?;
                redrive(&which.check(letter.as_deref())?, wait, &place).await
            }
            Self::Purge { which, yes, place } => purge(&which.check(None)?, yes, &place).await,
        }
    }
}

async fn list(filter: &letters::Filter, output: Output, place: &Place) -> Result<(), Failure> {
    let (pipeline, settings) = (place.pipeline.read()?, place.kafka.check()?);
    let topic = &pipeline.topics.dead_letters;
    let (now, mut rows) = (moment::now(), Vec::new());
    let stretches = letters::all(&settings, topic).await?;
    letters::visit(&settings, topic, (stretches, filter), async |record, letter| {
        rows.push(row(record.position, record.at, &letter, now));
        Ok::<_, KafkaError>(ControlFlow::Continue(()))
    })
    .await?;
    match output {
        Output::Json => say(format!("{:#}\n", Value::Array(rows))),
        Output::Table => say(table(&rows)),
    }
}

/// One letter without its value.
fn row(position: Position, recorded: EventTime, letter: &Result<DeadLetter, String>, now: EventTime) -> Value {
    let age = |at: EventTime| {
        let seconds = u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0) / 1000;
        show_span(Duration::from_secs(seconds))
    };
    match letter {
        Ok(letter) => json!({
            "letter": position.to_string(), "at": letter.at.rfc3339(), "age": age(letter.at), "stage": letter.stage,
            "reason": letter.reason, "attempts": letter.attempts, "origin": origin(&letter.origin),
            "detail": letter.detail, "bytes": letter.value.len(),
        }),
        Err(lacks) => json!({
            "letter": position.to_string(), "at": recorded.rfc3339(), "age": age(recorded), "stage": "?",
            "reason": "unreadable", "attempts": 0, "origin": "?", "detail": lacks, "bytes": 0,
        }),
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Record { topic, position, .. } => format!("{topic}/{position}"),
        Origin::Door(route) => route.clone(),
    }
}

fn table(rows: &[Value]) -> String {
    const COLUMNS: [&str; 7] = ["letter", "age", "stage", "reason", "attempts", "origin", "detail"];
    let text = |row: &Value, column: &str| match row[column].as_str() {
        Some(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        None => row[column].to_string(),
    };
    let mut lines: Vec<Vec<String>> = vec![COLUMNS.iter().map(|column| column.to_uppercase()).collect()];
    lines.extend(rows.iter().map(|row| COLUMNS.iter().map(|column| text(row, column)).collect()));
    super::columns(&lines)
}

async fn show(filter: &letters::Filter, place: &Place) -> Result<(), Failure> {
    let (pipeline, settings) = (place.pipeline.read()?, place.kafka.check()?);
    let topic = &pipeline.topics.dead_letters;
    let stretches = letters::all(&settings, topic).await?;
    let mut shown = 0;
    letters::visit(&settings, topic, (stretches, filter), async |record, letter| {
        let told = row(record.position, record.at, &letter, moment::now());
        complain(format!("{told:#}"));
        shown += 1;
        if shown > 1 {
            bytes(b"\n")?;
        }
        bytes(&record.value)?;
        Ok::<_, Failure>(ControlFlow::Continue(()))
    })
    .await?;
    match (shown, filter.position) {
        (0, Some(position)) => Err(anyhow::anyhow!("there is no dead letter {topic}/{position} that fits").into()),
        _ => Ok(()),
    }
}

/// Writes to standard output as it is.
fn bytes(value: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(value).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

async fn redrive(filter: &letters::Filter, wait: Duration, place: &Place) -> Result<(), Failure> {
    let (pipeline, settings) = (place.pipeline.read()?, place.kafka.check()?);
    let producer = Producer::new(&settings, ACKNOWLEDGED_WITHIN)?;
    let ground = Ground { settings: &settings, producer: &producer, pipeline: &pipeline };
    let done = ground.redrive(filter, wait).await?;
    say(told(&done))?;
    match done.again.len() {
        0 => Ok(()),
        back => {
            let next = "mend the cause, then redrive again: `breakwater dead-letters list` shows why";
            Err(anyhow::anyhow!("{back} came back; {next}").into())
        }
    }
}

fn told(done: &Redriven) -> String {
    let mut text = format!("redriven: {}\nput back before: {}\n", done.back.len(), done.before);
    text += &format!("came back: {}\n", done.again.len());
    for ((topic, position), reason, attempts) in &done.again {
        text += &format!("  {topic}/{position}: {reason}, attempts {attempts}\n");
    }
    if done.under_way > 0 {
        text += &format!("not handled yet: {}\n", done.under_way);
    }
    for (position, why) in &done.left {
        text += &format!("left where it is: {position}: {why}\n");
    }
    text
}

async fn purge(filter: &letters::Filter, yes: bool, place: &Place) -> Result<(), Failure> {
    let (pipeline, settings) = (place.pipeline.read()?, place.kafka.check()?);
    let topic = &pipeline.topics.dead_letters;
    let front = letters::front(&settings, topic, filter).await?;
    let mut text = match (yes, front.letters) {
        (_, 0) => "nothing to purge at the front of the topic\n".to_owned(),
        (true, letters) => {
            forget::before(&settings, topic, &front.ends).await?;
            format!("purged: {letters}\n")
        }
        (false, letters) => format!("would purge: {letters}; say --yes to do it, what is purged is gone\n"),
    };
    if front.behind > 0 {
        let why = "a log can only be cut at its front, and they lie behind one that the filters do not take";
        text += &format!("stay: {}; {why}\n", front.behind);
    }
    say(text)
}
