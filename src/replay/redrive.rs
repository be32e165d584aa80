//! Puts dead letters back into the topics that they came from, through the normal way, each once.
//!
//! A record that is put back says which letter it was. Before anything is put back, the topics are read from the oldest
//! letter on for what was put back before; so a redrive that was killed, or is run again, goes on where it ended, and
//! nothing but the log itself has to be remembered. What fails again is a new letter with one attempt more: it is told,
//! and only another redrive puts it back again.
//!
//! **Limit:** two redrives that run at once do not see each other's records.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::letters::{self, Filter};
use crate::{
    alert::{EventTime, Position, record},
    crash,
    kafka::{
        KafkaError, Outgoing, Record, Settings,
        dead_letter::{self, DeadLetter, Origin},
        group,
        producer::Producer,
        range::{self, Stretch},
    },
    pipeline::Pipeline,
};

/// Letters that are put back together.
const TOGETHER: usize = 20;
/// The clocks of two brokers may differ by this much.
const SKEW: Duration = Duration::from_mins(5);
/// How often the stages are asked how far they are.
const ASK: Duration = Duration::from_millis(250);

/// Where letters lie, and where they belong.
#[derive(Clone, Debug)]
pub struct Ground<'a> {
    /// How Kafka is reached.
    pub settings: &'a Settings,
    /// The way out.
    pub producer: &'a Producer,
    /// The topics, the groups that read them, and what makes an alert's key.
    pub pipeline: &'a Pipeline,
}

/// What became of a redrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Put back now: where each stands, and how often it had been set aside.
    pub back: BTreeMap<(String, Position), u32>,
    /// Put back before, by an earlier redrive.
    pub before: u64,
    /// Left where they are, each with the reason.
    pub left: Vec<(Position, String)>,
    /// Of those put back, set aside again: where they stood, the reason, and the new number of attempts.
    pub again: Vec<((String, Position), String, u32)>,
    /// Of those put back, not handled yet when the wait was over.
    pub under_way: u64,
}

impl Ground<'_> {
    /// Puts back what is meant, then waits for what becomes of it, for so long at most.
    ///
    /// # Errors
    /// Kafka is away, or refuses a record. What was put back until then is found by the next run.
    pub async fn redrive(&self, filter: &Filter, wait: Duration) -> Result<Redriven, KafkaError> {
        let topic = &self.pipeline.topics.dead_letters;
        let stretches = letters::all(self.settings, topic).await?; // what is set aside from now on is not put back
        let mut done = Redriven::default();
        let Some(oldest) = self.oldest(stretches.clone(), filter).await? else { return Ok(done) };
        let before = self.redriven_since(oldest.minus(SKEW)).await?;
        let mut waiting = Vec::with_capacity(TOGETHER);
        letters::visit(self.settings, topic, (stretches.clone(), filter), async |record, letter| {
            match self.judge(&record, letter, &before) {
                Verdict::Before => done.before += 1,
                Verdict::Left(why) => done.left.push((record.position, why)),
                Verdict::Back(to, outgoing, attempts) => waiting.push((to, outgoing, attempts)),
            }
            if waiting.len() == TOGETHER {
                self.put_back(std::mem::take(&mut waiting), &mut done).await?;
            }
            Ok::<_, KafkaError>(ControlFlow::Continue(()))
        })
        .await?;
        self.put_back(waiting, &mut done).await?;
        self.follow(stretches, wait, &mut done).await?;
        Ok(done)
    }

    /// The time of the oldest record that is meant.
    async fn oldest(&self, stretches: Vec<Stretch>, filter: &Filter) -> Result<Option<EventTime>, KafkaError> {
        let mut oldest: Option<EventTime> = None;
        let topic = &self.pipeline.topics.dead_letters;
        letters::visit(self.settings, topic, (stretches, filter), async |record, _| {
            oldest = Some(oldest.map_or(record.at, |oldest| oldest.min(record.at)));
            Ok::<_, KafkaError>(ControlFlow::Continue(()))
        })
        .await?;
        Ok(oldest)
    }

    /// Which letters were put back since then, by the word of the records that they became.
    async fn redriven_since(&self, time: EventTime) -> Result<BTreeSet<String>, KafkaError> {
        let topics = &self.pipeline.topics;
        let mut found = BTreeSet::new();
        for topic in [&topics.alerts, &topics.remediations] {
            let stretches = range::since(self.settings, topic, Some(time)).await?;
            let (into, mut records) = mpsc::channel(1000);
            let reading = range::read(self.settings, topic, stretches, into, CancellationToken::new());
            let looking = async {
                while let Some(record) = records.recv().await {
                    found.extend(dead_letter::redriven_from(&record.headers).map(str::to_owned));
                }
            };
            let (read, ()) = tokio::join!(reading, looking);
            read?;
        }
        Ok(found)
    }

    fn judge(&self, record: &Record, letter: Result<DeadLetter, String>, before: &BTreeSet<String>) -> Verdict {
        let topics = &self.pipeline.topics;
        let letter = match letter {
            Ok(letter) => letter,
            Err(lacks) => return Verdict::Left(format!("it is no dead letter of ours: {lacks}")),
        };
        let name = format!("{}/{}", topics.dead_letters, record.position);
        if before.contains(&name) {
            return Verdict::Before;
        }
        let to = match &letter.origin {
            Origin::Door(_) => &topics.alerts,
            Origin::Record { topic, .. } => topic,
        };
        if *to != topics.alerts && *to != topics.remediations {
            return Verdict::Left(format!("it came from topic {to}, which is none of this pipeline's"));
        }
        let mut outgoing = letter.redriven(&name);
        if outgoing.key.is_none() && *to == topics.alerts {
            outgoing.key = self.key(&outgoing);
        }
        Verdict::Back(to.clone(), outgoing, letter.attempts)
    }

    /// What the door gave no key, as it could not be read then, gets it now if it can be.
    fn key(&self, outgoing: &Outgoing) -> Option<bytes::Bytes> {
        let rules = &self.pipeline.identity;
        let identity = record::identify(&outgoing.value, &outgoing.headers, rules, record::MAX_NESTING).ok()?;
        Some(identity.fingerprint.to_string().into())
    }

    async fn put_back(&self, some: Vec<(String, Outgoing, u32)>, done: &mut Redriven) -> Result<(), KafkaError> {
        let mut by_topic: BTreeMap<String, (Vec<Outgoing>, Vec<u32>)> = BTreeMap::new();
        for (topic, outgoing, attempts) in some {
            let (records, counts) = by_topic.entry(topic).or_default();
            records.push(outgoing);
            counts.push(attempts);
        }
        for (topic, (records, counts)) in by_topic {
            let answers = self.producer.publish_all(&topic, records).await;
            for (answer, attempts) in answers.into_iter().zip(counts) {
                done.back.insert((topic.clone(), answer?), attempts);
            }
        }
        crash::point("redrive-published");
        Ok(())
    }

    /// Waits until the stages have handled all that was put back, and looks for what was set aside again.
    async fn follow(&self, looked: Vec<Stretch>, wait: Duration, done: &mut Redriven) -> Result<(), KafkaError> {
        let until = Instant::now() + wait;
        done.under_way = self.unhandled(done).await?;
        while done.under_way > 0 && Instant::now() < until {
            tokio::time::sleep(ASK).await;
            done.under_way = self.unhandled(done).await?;
        }
        let topic = &self.pipeline.topics.dead_letters;
        let seen: BTreeMap<i32, i64> = looked.iter().map(|one| (one.partition, one.to)).collect();
        let mut news = letters::all(self.settings, topic).await?;
        for stretch in &mut news {
            stretch.from = stretch.from.max(seen.get(&stretch.partition).copied().unwrap_or(0));
        }
        letters::visit(self.settings, topic, (news, &Filter::default()), async |_, letter| {
            if let Ok(DeadLetter { origin: Origin::Record { topic, position, .. }, reason, attempts, .. }) = letter
                && done.back.contains_key(&(topic.clone(), position))
            {
                done.again.push(((topic, position), reason, attempts));
            }
            Ok::<_, KafkaError>(ControlFlow::Continue(()))
        })
        .await
    }

    /// How many of those put back lie at or behind the offset up to which their stage has finished everything. A record
    /// is set aside again before that offset moves.
    async fn unhandled(&self, done: &Redriven) -> Result<u64, KafkaError> {
        let topics = &self.pipeline.topics;
        let mut left = 0;
        for (topic, group) in [(&topics.alerts, &topics.work_group), (&topics.remediations, &topics.sink_group)] {
            let ours = || done.back.keys().filter(|(of, _)| of == topic).map(|(_, position)| position);
            if ours().next().is_some() {
                let committed = group::committed(self.settings, group, topic).await?;
                let read = |position: &&Position| committed.get(&position.partition) > Some(&position.offset);
                left += ours().filter(|position| !read(position)).count() as u64;
            }
        }
        Ok(left)
    }
}

/// What is to be done with a letter.
enum Verdict {
    /// It was put back by an earlier redrive.
    Before,
    /// It cannot be put back.
    Left(String),
    /// It goes to this topic, and was set aside so often.
    Back(String, Outgoing, u32),
}
