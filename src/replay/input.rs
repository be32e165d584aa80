//! Records from files: Alertmanager webhooks, lists of events, or a line for each alert, webhook or event; each at its own
//! time. What cannot be read is told with its line, and the rest goes on.

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use crate::{
    alert::{EventTime, Position, headers::Headers, prometheus},
    kafka::Record,
};

/// The partition that stands for files: no topic has it.
pub const FILES: i32 = -2;

/// What files hold.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// In order of event time.
    pub records: Vec<Record>,
    /// What cannot be read: `FILE:LINE: why`.
    pub faults: Vec<String>,
    /// Events that tell of no trouble.
    pub skipped: u64,
    found: Vec<(EventTime, Bytes)>,
}

/// What a document may be taken apart into. None of that is read yet: a file may be large.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    alerts: Option<&'a RawValue>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
}

impl<'a> Document<'a> {
    fn read(bytes: &'a [u8]) -> serde_json::Result<Self> {
        // because serde would fill a struct from an array too, by position
        if bytes.trim_ascii_start().starts_with(b"{") {
            return serde_json::from_slice(bytes);
        }
        serde_json::from_slice::<IgnoredAny>(bytes).map(|_| Self { alerts: None, items: None })
    }
}

/// The parts of an array.
fn parts(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

impl Input {
    /// Takes in one file's bytes.
    pub fn read(&mut self, file: &str, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        // one document, over however many lines; else a line for each
        if let Ok(document) = Document::read(&bytes) {
            if let Err(why) = self.document(&bytes, &document) {
                self.faults.push(format!("{file}:1: {why}"));
            }
            return;
        }
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = bytes.slice_ref(line.trim_ascii());
            if line.is_empty() {
                continue;
            }
            let read = Document::read(&line).map_err(|error| format!("no JSON: {error}"));
            if let Err(why) = read.and_then(|document| self.document(&line, &document)) {
                self.faults.push(format!("{file}:{number}: {why}"));
            }
        }
    }

    fn document(&mut self, bytes: &Bytes, document: &Document<'_>) -> Result<(), String> {
        if document.alerts.and_then(parts).is_some() {
            let webhook = prometheus::split(bytes).map_err(|error| error.text)?;
            return webhook.alerts.into_iter().try_for_each(|alert| self.one(alert));
        }
        if let Some(items) = document.items.and_then(parts) {
            return items.into_iter().try_for_each(|item| self.one(tight(item)?));
        }
        self.one(bytes.clone())
    }

    /// One alert or event.
    fn one(&mut self, value: Bytes) -> Result<(), String> {
        let read: Value = serde_json::from_slice(&value).map_err(|error| format!("no JSON: {error}"))?;
        if read["type"] == "Normal" {
            self.skipped += 1;
            return Ok(());
        }
        let at = time(&read).ok_or("it names no time of its own: startsAt, or an event's lastTimestamp")?;
        self.found.push((at, value));
        Ok(())
    }

    /// Everything that was read, as records in order of event time. The same files make the same records.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.found.sort_by_key(|(at, _)| *at);
        let found = std::mem::take(&mut self.found);
        let record = |(offset, (at, value))| {
            let position = Position { partition: FILES, offset };
            Record { position, at, key: None, value, headers: Headers::default() }
        };
        self.records = (0..).zip(found).map(record).collect();
        self
    }

    /// From the first to the last of them.
    #[must_use]
    pub fn span(&self) -> Option<(EventTime, EventTime)> {
        Some((self.records.first()?.at, self.records.last()?.at))
    }
}

/// An item of a list without the blanks that a printer put in.
fn tight(item: &RawValue) -> Result<Bytes, String> {
    let read: Value = serde_json::from_str(item.get()).map_err(|error| format!("no JSON: {error}"))?;
    Ok(read.to_string().into())
}

/// When an alert fired or ended, or an event was last seen, by its own word.
fn time(value: &Value) -> Option<EventTime> {
    let text = |key: &str| value[key].as_str().and_then(EventTime::parse);
    let believable = |at: &EventTime| at.0 > 0;
    if value["status"] == "resolved"
        && let Some(at) = text("endsAt").filter(believable)
    {
        return Some(at);
    }
    let keys = ["startsAt", "lastTimestamp", "eventTime", "deprecatedLastTimestamp", "firstTimestamp"];
    let series = value["series"]["lastObservedTime"].as_str().and_then(EventTime::parse);
    let created = value["metadata"]["creationTimestamp"].as_str().and_then(EventTime::parse);
    series.or_else(|| keys.iter().find_map(|key| text(key))).or(created).filter(believable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Input {
        let mut input = Input::default();
        input.read("f.json", text.as_bytes().to_vec());
        input.finish()
    }

    const A: &str = r#"{"labels":{"alertname":"A"},"startsAt":"2026-01-01T00:00:02Z"}"#;
    const B: &str = r#"{"status":"resolved","labels":{"alertname":"A"},"startsAt":"2026-01-01T00:00:02Z","endsAt":"2026-01-01T00:00:01Z"}"#;

    #[test]
    fn l08_a_broken_line_is_named_and_the_rest_is_read() {
        let lines = [A, B, A, A, A, A, "{ broken", A].join("\n");
        let input = read(&lines);
        assert_eq!((input.records.len(), input.faults.len()), (7, 1));
        assert!(input.faults[0].starts_with("f.json:7: no JSON"), "{:?}", input.faults);
        assert_eq!(input.records[0].value, B, "in order of their own times");
    }

    #[test]
    fn l08_webhooks_and_lists_of_events_are_taken_apart() {
        let webhook = format!("{{\n \"receiver\":\"r\",\n \"alerts\":[{A},\n{B}]}}");
        assert_eq!(read(&webhook).records.len(), 2);
        assert_eq!(read(&format!("{}\n{A}\n", webhook.replace('\n', ""))).records.len(), 3);
        let event = r#"{"kind":"Event","type":"Warning","reason":"R","lastTimestamp":"2026-01-01T00:00:00Z","involvedObject":{"kind":"Pod","name":"p"}}"#;
        let normal = event.replace("Warning", "Normal");
        let listed = read(&format!("{{\"kind\":\"List\",\"items\":[{event},{normal}]}}"));
        assert_eq!((listed.records.len(), listed.skipped), (1, 1));
        assert_eq!(read(r#"{"labels":{"alertname":"A"}}"#).faults.len(), 1);
    }
}
