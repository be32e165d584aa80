//! What could not be used: exact bytes, reason and origin, as a record of `dead-letters`, and read back.
//!
//! The value is the original's value byte for byte, the key its key, and its headers follow ours untouched.

use bytes::Bytes;

use super::{Outgoing, Record};
use crate::alert::{EventTime, Position, headers::Headers};

/// Before each header of ours; what an original brings under it is left behind, `attempts` aside, which is counted on.
const PREFIX: &str = "breakwater-dead-letter-";
const REASON: &str = "breakwater-dead-letter-reason";
const DETAIL: &str = "breakwater-dead-letter-detail";
const STAGE: &str = "breakwater-dead-letter-stage";
const TOPIC: &str = "breakwater-dead-letter-topic";
const PARTITION: &str = "breakwater-dead-letter-partition";
const OFFSET: &str = "breakwater-dead-letter-offset";
const RECORD_TIME: &str = "breakwater-dead-letter-record-time";
const DOOR: &str = "breakwater-dead-letter-door";
const ATTEMPTS: &str = "breakwater-dead-letter-attempts";
const TIME: &str = "breakwater-dead-letter-time";
/// On a record that was put back: which dead letter it was. It goes when the record is set aside again.
const REDRIVEN_FROM: &str = "breakwater-dead-letter-redriven-from";
/// A person reads it; the whole record has to fit.
const DETAIL_MAX: usize = 2048;

/// Where a dead letter came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A record of a topic.
    Record {
        /// Its topic.
        topic: String,
        /// Where it stands there.
        position: Position,
        /// Its own time.
        at: EventTime,
    },
    /// A request at the door: its route.
    Door(String),
}

/// One thing that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The closed spelling: `malformed`, `refused` …
    pub reason: String,
    /// Which stage set it aside.
    pub stage: String,
    /// For a person: what is wrong, and where.
    pub detail: String,
    /// Where it came from.
    pub origin: Origin,
    /// How often it was set aside, this time included.
    pub attempts: u32,
    /// When it was set aside, by the clock of the stage.
    pub at: EventTime,
    /// The key that it came with.
    pub key: Option<Bytes>,
    /// Exactly the bytes that could not be used.
    pub value: Bytes,
    /// The headers that it came with.
    pub headers: Headers,
}

impl DeadLetter {
    /// As a record of `dead-letters`.
    #[must_use]
    pub fn outgoing(&self) -> Outgoing {
        let mut headers = Headers::default();
        headers.push(REASON, self.reason.clone());
        headers.push(DETAIL, cut(&self.detail).to_owned());
        headers.push(STAGE, self.stage.clone());
        match &self.origin {
            Origin::Record { topic, position, at } => {
                headers.push(TOPIC, topic.clone());
                headers.push(PARTITION, position.partition.to_string());
                headers.push(OFFSET, position.offset.to_string());
                headers.push(RECORD_TIME, at.rfc3339());
            }
            Origin::Door(route) => headers.push(DOOR, route.clone()),
        }
        headers.push(ATTEMPTS, self.attempts.to_string());
        headers.push(TIME, self.at.rfc3339());
        headers.0.extend(foreign(&self.headers));
        Outgoing { key: self.key.clone(), value: self.value.clone(), headers, partition: None }
    }

    /// As a record of the topic that it came from: as it was, with the number of attempts and, as `from`, which letter
    /// it was.
    #[must_use]
    pub fn redriven(&self, from: &str) -> Outgoing {
        let mut headers = Headers(foreign(&self.headers).collect());
        headers.push(ATTEMPTS, self.attempts.to_string());
        headers.push(REDRIVEN_FROM, from.to_owned());
        Outgoing { key: self.key.clone(), value: self.value.clone(), headers, partition: None }
    }

    /// Reads a record of `dead-letters`; the text says what it lacks.
    pub fn parse(record: &Record) -> Result<Self, String> {
        let headers = &record.headers;
        let text = |name: &str| headers.text(name).ok_or_else(|| format!("header {name} is missing or unreadable"));
        let moment = |name: &str| EventTime::parse(text(name)?).ok_or_else(|| format!("header {name} is no time"));
        let origin = match headers.text(DOOR) {
            Some(route) => Origin::Door(route.to_owned()),
            None => Origin::Record {
                topic: text(TOPIC)?.to_owned(),
                position: Position { partition: number(text(PARTITION)?)?, offset: number(text(OFFSET)?)? },
                at: moment(RECORD_TIME)?,
            },
        };
        Ok(Self {
            reason: text(REASON)?.to_owned(),
            stage: text(STAGE)?.to_owned(),
            detail: text(DETAIL)?.to_owned(),
            origin,
            attempts: number(text(ATTEMPTS)?)?,
            at: moment(TIME)?,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: Headers(foreign(headers).collect()),
        })
    }

    /// How often what these headers came with was set aside before: a redriven record tells.
    #[must_use]
    pub fn attempts_before(headers: &Headers) -> u32 {
        headers.text(ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Which dead letter a record was, if it was put back.
#[must_use]
pub fn redriven_from(headers: &Headers) -> Option<&str> {
    headers.text(REDRIVEN_FROM)
}

fn foreign(headers: &Headers) -> impl Iterator<Item = (String, Bytes)> + '_ {
    headers.0.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned()
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn cut(text: &str) -> &str {
    let end = (0..=DETAIL_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letter(value: Vec<u8>, headers: Vec<(String, Vec<u8>)>, origin: Origin) -> DeadLetter {
        DeadLetter {
            reason: "malformed".to_owned(),
            stage: "work".to_owned(),
            detail: "not json, at column 3".to_owned(),
            origin,
            attempts: 1,
            at: EventTime(1_700_000_000_123),
            key: Some(Bytes::from_static(b"\xff\x00")),
            value: value.into(),
            headers: Headers(headers.into_iter().map(|(name, value)| (name, value.into())).collect()),
        }
    }

    fn as_record(outgoing: Outgoing) -> Record {
        let position = Position { partition: 0, offset: 17 };
        let Outgoing { key, value, headers, .. } = outgoing;
        Record { position, at: EventTime(5), key, value, headers }
    }

    fn origin() -> Origin {
        Origin::Record {
            topic: "alerts".to_owned(),
            position: Position { partition: 3, offset: 9 },
            at: EventTime(1_700_000_000_001),
        }
    }

    proptest! {
        #[test]
        fn k09_what_is_set_aside_is_read_back_byte_for_byte(
            value in proptest::collection::vec(any::<u8>(), 0..200),
            headers in proptest::collection::vec(("[a-z-]{0,9}", proptest::collection::vec(any::<u8>(), 0..9)), 0..5),
            door in any::<bool>(),
        ) {
            let origin = if door { Origin::Door("/api/v1/signals/prometheus".to_owned()) } else { origin() };
            let letter = letter(value, headers, origin);
            prop_assert_eq!(DeadLetter::parse(&as_record(letter.outgoing())), Ok(letter));
        }
    }

    #[test]
    fn l15_a_redriven_record_is_the_original_and_remembers_its_attempts() {
        let first = letter(b"{".to_vec(), vec![("source".to_owned(), b"x".to_vec())], origin());
        let again = as_record(first.redriven("dead-letters/0/17"));
        assert_eq!(redriven_from(&again.headers), Some("dead-letters/0/17"));
        assert_eq!((&again.key, &again.value), (&first.key, &first.value));
        assert_eq!(again.headers.text("source"), Some("x"));
        assert_eq!(DeadLetter::attempts_before(&again.headers), 1);
        let second = DeadLetter { attempts: 2, headers: again.headers, ..first.clone() };
        let read = DeadLetter::parse(&as_record(second.outgoing())).expect("it is readable");
        assert_eq!((read.attempts, &read.headers), (2, &first.headers));
        assert_eq!(redriven_from(&read.outgoing().headers), None, "the second letter was not put back yet");
    }

    #[test]
    fn a_detail_is_cut_between_characters() {
        let letter = DeadLetter { detail: "ä".repeat(2000), ..letter(Vec::new(), Vec::new(), origin()) };
        let read = DeadLetter::parse(&as_record(letter.outgoing())).expect("it is readable");
        assert_eq!(read.detail, "ä".repeat(1024));
    }

    #[test]
    fn a_strangers_record_in_the_topic_is_told() {
        let record = as_record(Outgoing::default());
        assert_eq!(
            DeadLetter::parse(&record),
            Err("header breakwater-dead-letter-topic is missing or unreadable".to_owned())
        );
    }
}
