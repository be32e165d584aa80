//! One batch of one partition, from bytes to what each record is. Knows no Kafka, and publishes nothing: `replay`,
//! `explain` and `test` may run these very lines.
//!
//! Should we die between any two steps, the same records come again, memory answers alike, and the same incidents
//! wait under the same names.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::{
    bench::Bench,
    place::{opened, place, reopened},
    waiting::note_fallback,
};
use crate::{
    alert::{Alert, Brief, EventTime, Kind, Position, Signal, record, record::AlertError},
    crash,
    decide::{
        dedup::{Answer, Firing, Memo, Rules, Run, Severity, Sighting, What},
        draft::Judged,
        kin::{Kinship, kinship},
        outcome::Outcome,
        severity,
        storm::Kin,
    },
    kafka::Record,
    memory::{Memory, MemoryError, amend},
    remediation::{Generation, GroupId},
};

/// A record that opened an incident and waits for its decision. Its bytes are kept, not what was read from them.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The record.
    pub record: Record,
    /// The incident.
    pub generation: Generation,
    /// Its storm group.
    pub group: GroupId,
    /// The rule that gave it.
    pub rule: usize,
    /// As it is placed among its kin.
    pub kin: Kin,
    /// Whether memory knew the record before.
    pub again: bool,
    /// What the policy said of it when it was read; none if it was asked in an earlier reading.
    pub judged: Option<Judged>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Applied {
    /// Records that are finished, with their outcome.
    pub finished: Vec<(Position, Outcome)>,
    /// Records that opened an incident.
    pub waiting: Vec<Waiting>,
    /// Records that cannot be read.
    pub unreadable: Vec<(Record, AlertError)>,
    /// Records that must come again later: each would open a third incident of a fingerprint whose first is unfinished.
    pub rest: Vec<Record>,
}

/// One record, read.
pub(super) struct Item<'a> {
    pub(super) record: &'a Record,
    pub(super) brief: Brief,
    pub(super) signal: Signal,
    pub(super) sighting: Sighting,
    pub(super) kinship: Option<Kinship>,
}

/// Applies a batch. `unfinished` tells whether the record at a position is still in this worker's hands.
///
/// # Errors
/// Memory is away. The same batch may be applied again.
pub async fn apply<M: Memory>(
    bench: &Bench<M>,
    records: &[Record],
    mark: EventTime,
    unfinished: &(dyn Fn(Position) -> bool + Sync),
) -> Result<Applied, MemoryError> {
    let mut applied = Applied::default();
    let items = read(bench, records, &mut applied);
    let mut remembered = observe(bench, &items, mark, unfinished).await?;
    crash::point("work-observed");
    let groups = place(bench, &items, &mut remembered, mark).await?;
    crash::point("work-placed");
    for item in items {
        let Some(answer) = remembered.answers.remove(&item.record.position) else {
            applied.rest.push(item.record.clone());
            continue;
        };
        let outcome = match answer {
            Answer::Opens { generation, again } => {
                match opened(bench, &item, (generation, again), &mut remembered) {
                    Some(waiting) => applied.waiting.push(waiting),
                    None => applied.rest.push(item.record.clone()), // memory changed under us: asked anew
                }
                continue;
            }
            Answer::Duplicate => Outcome::Duplicate,
            Answer::Resolved => Outcome::Resolved,
            Answer::Closed => Outcome::Closed,
            Answer::Again => match reopened(&item, &groups) {
                Some(waiting) => {
                    applied.waiting.push(waiting);
                    continue;
                }
                None => Outcome::Redelivered,
            },
        };
        applied.finished.push((item.record.position, outcome));
    }
    Ok(applied)
}

fn read<'a, M>(bench: &Bench<M>, records: &'a [Record], applied: &mut Applied) -> Vec<Item<'a>> {
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        let read = match within(record.value.len(), bench.pipeline.ingest.max_alert) {
            Ok(()) => record::parse(&record.value, &record.headers, record.at, &bench.pipeline.identity),
            Err(error) => Err(error),
        };
        match read {
            Ok(signal) => items.push(item(bench, record, signal)),
            Err(error) => applied.unreadable.push((record.clone(), error)),
        }
    }
    items
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

fn item<'a, M>(bench: &Bench<M>, record: &'a Record, signal: Signal) -> Item<'a> {
    let (what, kinship) = match &signal {
        Signal::Closed(closed) => (What::Closed { through: closed.through }, None),
        Signal::Alert(alert) => {
            let kinship = kinship(alert, &bench.pipeline.storm);
            (0..kinship.failed).for_each(|_| bench.metrics.fell_back("other"));
            let twins = !bench.pipeline.dedup.twin_window.is_zero(); // nobody else asks for it
            let (starts_at, group) = (alert.starts_at.filter(|_| twins), kinship.group);
            let what = match alert.kind {
                Kind::Firing => What::Firing(Firing { severity: severity_of(bench, alert), starts_at, group }),
                Kind::Resolved | Kind::Closed => What::Resolved { starts_at, group },
            };
            (what, Some(kinship))
        }
    };
    let sighting = Sighting { position: record.position, at: record.at, what };
    Item { record, brief: signal.brief(), signal, sighting, kinship }
}

pub(super) fn severity_of<M>(bench: &Bench<M>, alert: &Alert) -> Severity {
    let name = severity::severity(&bench.pipeline.severity, alert);
    let rank = severity::rank(&bench.pipeline.severity, &name);
    Severity { rank: u32::try_from(rank).unwrap_or(u32::MAX), name, priority: None }
}

/// What the policy said in this batch, by record and severity.
pub(super) type Judgements = HashMap<(Position, String), Judged>;

/// Asks the policy about an alert at a severity that no record of its incident had before, so once for an incident and
/// at each rise, however often memory makes us begin anew. The fallback that it may take is that of a draft, which
/// counts it, or of a rise. Tells what it said if it was asked just now.
pub(super) fn judge<'a, M>(
    bench: &Bench<M>,
    item: &Item<'_>,
    severity: &mut Severity,
    judgements: &'a mut Judgements,
) -> Option<&'a Judged> {
    let Signal::Alert(alert) = &item.signal else { return None };
    match judgements.entry((item.record.position, severity.name.clone())) {
        Entry::Occupied(known) => {
            severity.priority = Some(known.get().priority);
            None
        }
        Entry::Vacant(unknown) => {
            let judged = unknown.insert(bench.aside(|| bench.desk().judge(alert, &severity.name)));
            severity.priority = Some(judged.priority);
            Some(judged)
        }
    }
}

/// What memory said: an answer for each record that was applied, and the memo of each fingerprint afterwards.
#[derive(Default)]
pub(super) struct Remembered {
    pub(super) answers: HashMap<Position, Answer>,
    pub(super) memos: HashMap<Brief, Memo>,
    pub(super) judgements: Judgements,
}

/// Asks memory once for all fingerprints of the batch; many records of one cost one operation.
async fn observe<M: Memory>(
    bench: &Bench<M>,
    items: &[Item<'_>],
    mark: EventTime,
    unfinished: &(dyn Fn(Position) -> bool + Sync),
) -> Result<Remembered, MemoryError> {
    let mut by_fingerprint: BTreeMap<Brief, Vec<&Item<'_>>> = BTreeMap::new();
    for item in items {
        by_fingerprint.entry(item.brief).or_default().push(item);
    }
    let mut out = Remembered::default();
    let policy = &bench.pipeline.dedup;
    let ids: Vec<Brief> = by_fingerprint.keys().copied().collect();
    let (home, storm) = (items.first().map(|item| item.record.position.partition), &bench.pipeline.storm);
    // a record of another partition is in hands that we do not see: until well after its due time it may be unfinished
    let in_hand = |run: &Run| {
        let position = run.generation.position;
        let foreign = Some(position.partition) != home && run.due.plus(storm.hold_max) > mark;
        foreign || unfinished(position)
    };
    amend::memos(&bench.memory, policy.shards, bench.keep(), ids, |fingerprint, memo| {
        let rules = Rules { policy, hold: storm.hold, unfinished: &in_hand };
        let before = memo.clone();
        for item in &by_fingerprint[&fingerprint] {
            out.answers.remove(&item.sighting.position); // of an attempt that somebody else's change undid
        }
        for item in &by_fingerprint[&fingerprint] {
            let Ok(answer) = memo.apply(&item.sighting, &rules) else { break };
            out.answers.insert(item.sighting.position, answer);
            let judged = memo.unjudged().and_then(|severity| judge(bench, item, severity, &mut out.judgements));
            if let Some(judged) = judged.filter(|_| answer == Answer::Duplicate) {
                note_fallback(bench, judged);
            }
        }
        out.memos.insert(fingerprint, memo.clone());
        *memo != before
    })
    .await?;
    Ok(out)
}
