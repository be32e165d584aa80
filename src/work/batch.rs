//! One batch of one partition, from bytes to what each record is. Knows no Kafka, and publishes nothing: `replay`,
//! `explain` and `test` may run these very lines.
//!
//! Should we die between any two steps, the same records come again, memory answers alike, and the same incidents
//! wait under the same names.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::{
    bench::Bench,
    place::{opened, place, reopened},
    reading::{self, Item},
    waiting::note_fallback,
};
use crate::{
    alert::{Brief, EventTime, Position, Signal, record::AlertError},
    crash,
    decide::{
        dedup::{Answer, Memo, Rules, Run, Severity},
        draft::Judged,
        outcome::Outcome,
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
    let mut applied = Applied { finished: Vec::with_capacity(records.len()), ..Applied::default() };
    let items = reading::read(bench, records, &mut applied);
    let mut remembered = observe(bench, &items, mark, unfinished).await?;
    crash::point("work-observed");
    let groups = place(bench, &items, &mut remembered, mark).await?;
    crash::point("work-placed");
    for (item, answer) in items.iter().zip(std::mem::take(&mut remembered.answers)) {
        let Some(answer) = answer else {
            applied.rest.push(item.record.clone());
            continue;
        };
        let outcome = match answer {
            Answer::Opens { generation, again } => {
                match opened(bench, item, (generation, again), &mut remembered) {
                    Some(waiting) => applied.waiting.push(waiting),
                    None => applied.rest.push(item.record.clone()), // memory changed under us: asked anew
                }
                continue;
            }
            Answer::Duplicate => Outcome::Duplicate,
            Answer::Resolved => Outcome::Resolved,
            Answer::Closed => Outcome::Closed,
            Answer::Again => match reopened(item, &groups) {
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
    let Signal::Alert(alert) = &item.said.signal else { return None };
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

/// What memory said: an answer for each record of the batch that was applied, and the memo of each fingerprint afterwards.
#[derive(Default)]
pub(super) struct Remembered {
    pub(super) answers: Vec<Option<Answer>>,
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
    let mut by_fingerprint: BTreeMap<Brief, Vec<usize>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        by_fingerprint.entry(item.said.brief).or_default().push(index);
    }
    let mut out = Remembered { answers: vec![None; items.len()], ..Remembered::default() };
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
        let of_it = &by_fingerprint[&fingerprint];
        for index in of_it {
            out.answers[*index] = None; // of an attempt that somebody else's change undid
        }
        for (index, item) in of_it.iter().map(|index| (*index, &items[*index])) {
            let Ok(answer) = memo.apply(&item.sighting, &rules) else { break };
            out.answers[index] = Some(answer);
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
