//! Dead letters, read from their topic one after the other: which of them are meant, and what they say.
//!
//! Nothing is written here, and no more than a channel of them is held at once.

use std::{collections::BTreeMap, ops::ControlFlow};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    alert::{EventTime, Position},
    kafka::{
        KafkaError, Record, Settings,
        dead_letter::DeadLetter,
        range::{self, Stretch},
    },
};

/// Records that lie ready while one is looked at: a value may weigh 4 MiB.
const AHEAD: usize = 16;

/// Which dead letters are meant: all of what is given here must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this reason.
    pub reason: Option<String>,
    /// Set aside by this stage.
    pub stage: Option<String>,
    /// Set aside at or after this time,
    pub from: Option<EventTime>,
    /// and before this one.
    pub to: Option<EventTime>,
    /// This one alone.
    pub position: Option<Position>,
}

impl Filter {
    /// Whether it is meant.
    #[must_use]
    pub fn takes(&self, position: Position, letter: &DeadLetter) -> bool {
        self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && self.stage.as_ref().is_none_or(|stage| *stage == letter.stage)
            && self.from.is_none_or(|from| letter.at >= from)
            && self.to.is_none_or(|to| letter.at < to)
            && self.position.is_none_or(|one| one == position)
    }

    /// What of the topic has to be looked at.
    fn narrow(&self, stretches: Vec<Stretch>) -> Vec<Stretch> {
        let Some(Position { partition, offset }) = self.position else { return stretches };
        let held = |one: &Stretch| one.partition == partition && (one.from..one.to).contains(&offset);
        let found = stretches.into_iter().filter(held);
        found.map(|one| Stretch { from: offset, to: offset + 1, ..one }).collect()
    }
}

/// Everything that the topic holds now.
///
/// # Errors
/// Kafka is away, or the topic is absent.
pub async fn all(settings: &Settings, topic: &str) -> Result<Vec<Stretch>, KafkaError> {
    range::since(settings, topic, None).await
}

/// Shows each record of these stretches that is meant, in the order of its partition, with what it says; what bears no
/// headers of ours is shown with what it lacks, unless one looks for something that only headers tell.
///
/// # Errors
/// Kafka is away; or the visitor's own.
pub async fn visit<E: From<KafkaError>>(
    settings: &Settings,
    topic: &str,
    (stretches, filter): (Vec<Stretch>, &Filter),
    mut visitor: impl AsyncFnMut(Record, Result<DeadLetter, String>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let (into, mut records) = mpsc::channel(AHEAD);
    let stop = CancellationToken::new();
    let reading = range::read(settings, topic, filter.narrow(stretches), into, stop.clone());
    let looking = async {
        let _stop = stop.drop_guard();
        while let Some(record) = records.recv().await {
            let letter = DeadLetter::parse(&record);
            let meant = match &letter {
                Ok(letter) => filter.takes(record.position, letter),
                Err(_) => *filter == Filter { position: filter.position, ..Filter::default() },
            };
            if meant && visitor(record, letter).await?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    };
    let (read, looked) = tokio::join!(reading, looking);
    looked.and(read.map_err(E::from))
}

/// How far each partition may be cut at its front so that only letters go that are meant, how many those are, and how
/// many that are meant lie behind one that is not.
///
/// # Errors
/// Kafka is away.
pub async fn front(settings: &Settings, topic: &str, filter: &Filter) -> Result<Front, KafkaError> {
    let stretches = all(settings, topic).await?;
    let mut front = Front::default();
    let mut ends: BTreeMap<i32, i64> = stretches.iter().map(|one| (one.partition, one.from)).collect();
    let mut stopped: BTreeMap<i32, bool> = BTreeMap::new();
    // everything is looked at: what is not meant is what stops the cut
    visit(settings, topic, (stretches, &Filter::default()), async |record, letter| {
        let Position { partition, offset } = record.position;
        let meant = letter.is_ok_and(|letter| filter.takes(record.position, &letter));
        let stopped = stopped.entry(partition).or_insert(false);
        match (meant, *stopped) {
            (true, false) => {
                ends.insert(partition, offset + 1);
                front.letters += 1;
            }
            (true, true) => front.behind += 1,
            (false, _) => *stopped = true,
        }
        Ok::<_, KafkaError>(ControlFlow::Continue(()))
    })
    .await?;
    front.ends = ends;
    Ok(front)
}

/// What a cut at the front takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// For each partition, the first offset that stays.
    pub ends: BTreeMap<i32, i64>,
    /// How many letters go.
    pub letters: u64,
    /// How many are meant and stay, as they lie behind one that is not.
    pub behind: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::headers::Headers, kafka::dead_letter::Origin};

    fn letter(reason: &str, stage: &str, at: i64) -> DeadLetter {
        DeadLetter {
            reason: reason.to_owned(),
            stage: stage.to_owned(),
            detail: String::new(),
            origin: Origin::Door("/r".to_owned()),
            attempts: 1,
            at: EventTime(at),
            key: None,
            value: bytes::Bytes::new(),
            headers: Headers::default(),
        }
    }

    #[test]
    fn l13_all_of_what_is_asked_for_must_hold() {
        let here = Position { partition: 0, offset: 7 };
        let check = |filter: Filter, expected: bool| {
            assert_eq!(filter.takes(here, &letter("refused", "sink", 50)), expected, "{filter:?}");
        };
        let (reason, stage) = (|word: &str| Some(word.to_owned()), |word: &str| Some(word.to_owned()));
        check(Filter::default(), true);
        check(Filter { reason: reason("refused"), stage: stage("sink"), ..Filter::default() }, true);
        check(Filter { reason: reason("refused"), stage: stage("work"), ..Filter::default() }, false);
        check(Filter { reason: reason("malformed"), ..Filter::default() }, false);
        check(Filter { from: Some(EventTime(50)), to: Some(EventTime(51)), ..Filter::default() }, true);
        check(Filter { from: Some(EventTime(51)), ..Filter::default() }, false);
        check(Filter { to: Some(EventTime(50)), ..Filter::default() }, false);
        check(Filter { position: Some(Position { partition: 0, offset: 8 }), ..Filter::default() }, false);
    }

    #[test]
    fn l13_one_letter_is_found_without_reading_the_others() {
        let stretches = vec![Stretch { partition: 0, from: 3, to: 90 }, Stretch { partition: 1, from: 0, to: 9 }];
        let at = |partition, offset| Filter { position: Some(Position { partition, offset }), ..Filter::default() };
        assert_eq!(at(0, 7).narrow(stretches.clone()), [Stretch { partition: 0, from: 7, to: 8 }]);
        assert_eq!(at(0, 2).narrow(stretches.clone()), []);
        assert_eq!(Filter::default().narrow(stretches.clone()), stretches);
    }
}
