//! The records of a batch, read: what each says, and whose it is.
//!
//! Much of what comes is what came before, byte for byte: what a value says is read once for all records of a batch that
//! follow one another under one key and say the same.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{batch::Applied, bench::Bench};
use crate::{
    alert::{
        Alert, Brief, Kind, Signal,
        headers::{self, Headers},
        record,
        record::AlertError,
    },
    decide::{
        dedup::{Firing, Severity, Sighting, What},
        kin::{Kinship, kinship},
        severity,
    },
    kafka::Record,
};

/// One record, read.
pub(super) struct Item<'a> {
    pub(super) record: &'a Record,
    pub(super) said: Arc<Said>,
    pub(super) sighting: Sighting,
}

/// What a value says. Of when it was received, and in which trace, it speaks for the first record alone that carries it:
/// whoever writes a draft reads the record that opened it once more.
pub(super) struct Said {
    pub(super) brief: Brief,
    pub(super) signal: Signal,
    pub(super) kinship: Option<Kinship>,
    what: Arc<What>,
}

/// Reads a batch in its order. What cannot be read is noted.
pub(super) fn read<'a, M>(bench: &Bench<M>, records: &'a [Record], applied: &mut Applied) -> Vec<Item<'a>> {
    let mut items = Vec::with_capacity(records.len());
    let mut latest: HashMap<Option<&[u8]>, (&Record, Arc<Said>)> = HashMap::new();
    for record in records {
        let read = match latest.entry(record.key.as_deref()) {
            Entry::Occupied(known) if alike(known.get().0, record) => Ok(Arc::clone(&known.get().1)),
            entry @ (Entry::Occupied(_) | Entry::Vacant(_)) => {
                said(bench, record).map(|said| Arc::clone(&entry.insert_entry((record, Arc::new(said))).get().1))
            }
        };
        match read {
            Ok(said) => {
                let failed = said.kinship.map_or(0, |kinship| kinship.failed);
                (0..failed).for_each(|_| bench.metrics.fell_back("other"));
                let sighting = Sighting { position: record.position, at: record.at, what: Arc::clone(&said.what) };
                items.push(Item { record, said, sighting });
            }
            Err(error) => applied.unreadable.push((record.clone(), error)),
        }
    }
    items
}

/// Whether two records say the same, but for when they were received and in which trace.
fn alike(one: &Record, other: &Record) -> bool {
    fn told(headers: &Headers) -> impl Iterator<Item = &(String, bytes::Bytes)> {
        headers.0.iter().filter(|(name, _)| ![headers::RECEIVED_AT, headers::TRACEPARENT].contains(&name.as_str()))
    }
    one.value == other.value && told(&one.headers).eq(told(&other.headers))
}

fn said<M>(bench: &Bench<M>, record: &Record) -> Result<Said, AlertError> {
    within(record.value.len(), bench.pipeline.ingest.max_alert)?;
    let signal = record::parse(&record.value, &record.headers, record.at, &bench.pipeline.identity)?;
    let (what, kinship) = match &signal {
        Signal::Closed(closed) => (What::Closed { through: closed.through }, None),
        Signal::Alert(alert) => {
            let kinship = kinship(alert, &bench.pipeline.storm);
            let twins = !bench.pipeline.dedup.twin_window.is_zero(); // nobody else asks for it
            let (starts_at, group) = (alert.starts_at.filter(|_| twins), kinship.group);
            let what = match alert.kind {
                Kind::Firing => What::Firing(Firing { severity: severity_of(bench, alert), starts_at, group }),
                Kind::Resolved | Kind::Closed => What::Resolved { starts_at, group },
            };
            (what, Some(kinship))
        }
    };
    Ok(Said { brief: signal.brief(), signal, kinship, what: what.into() })
}

/// A stranger's record may be larger than the door lets in: its draft, which carries it more than once, would fit no
/// record and no object.
fn within(size: usize, most: usize) -> Result<(), AlertError> {
    if size <= most {
        return Ok(());
    }
    let text = format!("alert: {size} bytes, and ingest.max_alert is {most}");
    Err(AlertError { reason: "too_large", text })
}

/// The severity of an alert, ranked; nobody was asked for its priority yet.
pub(super) fn severity_of<M>(bench: &Bench<M>, alert: &Alert) -> Severity {
    let name = severity::severity(&bench.pipeline.severity, alert);
    let rank = severity::rank(&bench.pipeline.severity, &name);
    Severity { rank: u32::try_from(rank).unwrap_or(u32::MAX), name, priority: None }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        alert::{EventTime, Position},
        memory::local::Local,
        pipeline::Pipeline,
        telemetry::metrics::{Registry, WorkMetrics},
        work::namespaces::Namespaces,
    };

    fn bench() -> Bench<Local> {
        Bench {
            memory: Local::default(),
            pipeline: Arc::new(Pipeline::parse("p", "storm: {}").unwrap()),
            namespaces: Namespaces::default(),
            fallback_namespace: "fallback".to_owned(),
            metrics: WorkMetrics::register(&mut Registry::new()),
        }
    }

    fn record(offset: i64, value: &str, headers: &[(&str, &'static str)]) -> Record {
        let headers = headers.iter().map(|(name, text)| ((*name).to_owned(), Bytes::from_static(text.as_bytes())));
        Record {
            position: Position { partition: 0, offset },
            at: EventTime(1_000 + offset),
            key: Some(Bytes::from_static(b"one")),
            value: Bytes::from(value.to_owned()),
            headers: Headers(headers.collect()),
        }
    }

    /// Which records share what was read with the one before them.
    fn shared(records: &[Record]) -> Vec<bool> {
        let mut applied = Applied::default();
        let items = read(&bench(), records, &mut applied);
        let positions: Vec<Position> = items.iter().map(|item| item.sighting.position).collect();
        assert_eq!(positions, records.iter().map(|record| record.position).collect::<Vec<_>>());
        items.windows(2).map(|pair| Arc::ptr_eq(&pair[0].said, &pair[1].said)).collect()
    }

    const FIRING: &str = r#"{"status":"firing","labels":{"alertname":"A","pod":"p"}}"#;
    const RESOLVED: &str = r#"{"status":"resolved","labels":{"alertname":"A","pod":"p"}}"#;

    #[test]
    fn what_repeats_byte_for_byte_is_read_once_and_seen_each_time() {
        let received = [record(0, FIRING, &[(headers::RECEIVED_AT, "2026-01-01T00:00:00Z")])];
        let again = [record(1, FIRING, &[(headers::RECEIVED_AT, "2026-01-01T00:00:05Z")]), record(2, FIRING, &[])];
        assert_eq!(shared(&[received.as_slice(), &again].concat()), [true, true]);
        assert_eq!(shared(&[record(0, FIRING, &[]), record(1, RESOLVED, &[])]), [false]);
    }

    #[test]
    fn a_header_that_changes_what_a_value_says_is_heard() {
        let closed = r#"{"fingerprint":"0000","through":1}"#;
        let mut applied = Applied::default();
        let records = [record(0, FIRING, &[]), record(1, FIRING, &[(headers::SOURCE, "kubernetes-events")])];
        assert_eq!((read(&bench(), &records, &mut applied).len(), applied.unreadable.len()), (1, 1));
        let records = [record(0, closed, &[]), record(1, closed, &[]), record(2, FIRING, &[])];
        assert_eq!((read(&bench(), &records, &mut applied).len(), applied.unreadable.len()), (1, 3));
    }
}
