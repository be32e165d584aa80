//! One batch of one partition, from bytes to what each record is. Knows no Kafka, and publishes nothing: `replay`,
//! `explain` and `test` may run these very lines.
//!
//! Should we die between any two steps, the same records come again, memory answers alike, and the same incidents
//! wait under the same names.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::{
    bench::Bench,
    reading::{self, Item, severity_of},
    waiting::note_fallback,
};
use crate::{
    alert::{Alert, Brief, Closed, EventTime, Position, Signal, record::AlertError},
    crash,
    decide::{
        dedup::{Answer, Memo, Rules, Run, Severity, What},
        draft::Judged,
        outcome::Outcome,
        storm::{Group, Kin, Standing, Told},
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
type Judgements = HashMap<(Position, String), Judged>;

/// Asks the policy about an alert at a severity that no record of its incident had before, so once for an incident and
/// at each rise, however often memory makes us begin anew. The fallback that it may take is that of a draft, which
/// counts it, or of a rise. Tells what it said if it was asked just now.
fn judge<'a, M>(
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
struct Remembered {
    answers: Vec<Option<Answer>>,
    memos: HashMap<Brief, Memo>,
    judgements: Judgements,
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

/// What a batch changes in one group, in the order of the log.
#[derive(Default)]
struct Changes<'a> {
    claimed: Vec<(Generation, Kin)>,
    /// How incidents stand after the batch, by the last of its records that counts for them.
    placed: BTreeMap<Generation, (&'a Alert, &'a Run)>,
    closed: Vec<(EventTime, Closed)>,
}

/// Brings the groups up to date with what memory said of their fingerprints. Repeats do it again: the process may
/// have died after the memos were changed and before the groups were.
async fn place<M: Memory>(
    bench: &Bench<M>,
    items: &[Item<'_>],
    remembered: &mut Remembered,
    mark: EventTime,
) -> Result<BTreeMap<GroupId, Group>, MemoryError> {
    let mut changes: BTreeMap<GroupId, Changes<'_>> = BTreeMap::new();
    let Remembered { answers, memos, judgements } = remembered;
    for (item, answer) in items.iter().zip(answers.iter()) {
        let (Some(answer), Some(memo)) = (answer, memos.get(&item.said.brief)) else {
            continue;
        };
        match &item.said.signal {
            Signal::Closed(closed) => {
                for run in &memo.runs {
                    changes.entry(run.group).or_default().closed.push((item.record.at, closed.clone()));
                }
            }
            Signal::Alert(alert) => place_alert(bench, (item, alert), (*answer, memo), judgements, &mut changes),
        }
    }
    let ids: Vec<GroupId> = changes.keys().copied().collect();
    amend::groups(&bench.memory, bench.group_terms(mark), ids, |id, group| {
        let mut changed = false;
        let Changes { claimed, placed, closed } = &changes[&id];
        for (generation, kin) in claimed {
            changed |= group.claim(*generation, kin.clone());
        }
        for (generation, (alert, run)) in placed {
            let closed_at = run.closed_at.filter(|_| run.count > 0); // a resolve of the unknown never had an object
            changed |= group.place(*generation, Kin { closed_at, ..kin(bench, alert, run) });
        }
        for (at, closed) in closed {
            changed |= group.close(closed, *at);
        }
        changed
    })
    .await
}

fn place_alert<'a, M>(
    bench: &Bench<M>,
    (item, alert): (&'a Item<'_>, &'a Alert),
    (answer, memo): (Answer, &'a Memo),
    judgements: &mut Judgements,
    changes: &mut BTreeMap<GroupId, Changes<'a>>,
) {
    if let Answer::Opens { generation, .. } = answer
        && let Some(run) = memo.runs.iter().find(|run| run.generation == generation && run.count > 0)
    {
        let kin = first(bench, item, (alert, run), judgements);
        changes.entry(run.group).or_default().claimed.push((run.generation, kin));
    }
    if let (Answer::Again, Some(kinship)) = (answer, item.said.kinship) {
        changes.entry(kinship.group).or_default(); // what it says of the record is asked for
    }
    // One that begins further on is not placed by a record that is read again: whether its draft is out will be said
    // by the record that opened it. The one before the current may have been counted in this very batch.
    let here = Generation { at: item.record.at, position: item.record.position };
    let matters = |run: &Run| memo.current() == Some(run) || run.seen.plus(bench.keep()) >= here.at;
    for run in memo.runs.iter().filter(|run| run.generation <= here && matters(run)) {
        changes.entry(run.group).or_default().placed.insert(run.generation, (alert, run));
    }
}

/// A record that its fingerprint's memo knows for no opener any more, as that was lost and began anew further on, while the
/// incident that it opened still waits among its kin: nobody else would write its draft.
fn reopened(item: &Item<'_>, groups: &BTreeMap<GroupId, Group>) -> Option<Waiting> {
    let (Signal::Alert(alert), What::Firing(_)) = (&item.said.signal, &*item.sighting.what) else { return None };
    let kinship = item.said.kinship?;
    let generation = Generation { at: item.record.at, position: item.record.position };
    let kin = groups.get(&kinship.group)?.unwritten(generation)?.clone();
    let (count, seen, whole) = (1, generation.at, Some(alert.fingerprint));
    let (severity, standing, told) = (kin.began.clone(), Standing::Waiting, Told::default());
    let kin = Kin { whole, count, seen, severity, resolved_at: None, standing, told, ..kin };
    let (record, group, rule) = (item.record.clone(), kinship.group, kinship.rule);
    Some(Waiting { record, generation, group, rule, kin, again: true, judged: None })
}

/// An incident as its first record alone tells it: its draft says no more, and what came after goes out as an update.
fn first<M>(bench: &Bench<M>, item: &Item<'_>, (alert, run): (&Alert, &Run), judgements: &mut Judgements) -> Kin {
    let mut severity = match &*item.sighting.what {
        What::Firing(firing) => firing.severity.clone(),
        What::Resolved { .. } | What::Closed { .. } => Severity::default(),
    };
    severity.priority = run.severity.priority;
    if severity.name != run.severity.name {
        judge(bench, item, &mut severity, judgements); // it has risen since
    }
    let (count, seen, resolved_at) = (1, run.generation.at, None);
    Kin { count, seen, began: severity.clone(), severity, resolved_at, ..kin(bench, alert, run) }
}

/// An incident as it stands now.
fn kin<M>(bench: &Bench<M>, alert: &Alert, run: &Run) -> Kin {
    let mut began = severity_of(bench, alert);
    began.priority = run.severity.priority.filter(|_| began.name == run.severity.name);
    Kin {
        fingerprint: alert.fingerprint.brief(),
        whole: Some(alert.fingerprint),
        alert: alert.name.clone(),
        namespace: bench.desk().namespace(alert),
        resource: (&alert.target).into(),
        count: run.count,
        seen: run.seen,
        began,
        severity: run.severity.clone(),
        resolved_at: run.resolved_at,
        closed_at: None,
        closed_as_storm: false,
        due: run.due,
        standing: Standing::Waiting,
        told: Told::default(),
    }
}

/// The record that opened an incident, if this one did.
fn opened<M>(
    bench: &Bench<M>,
    item: &Item<'_>,
    (generation, again): (Generation, bool),
    Remembered { memos, judgements, .. }: &mut Remembered,
) -> Option<Waiting> {
    let Signal::Alert(alert) = &item.said.signal else {
        return None;
    };
    let memo = memos.get(&item.said.brief)?;
    let run = memo.runs.iter().find(|run| run.generation == generation && run.count > 0)?;
    let kin = first(bench, item, (alert, run), judgements);
    Some(Waiting {
        judged: judgements.remove(&(item.record.position, kin.began.name.clone())),
        record: item.record.clone(),
        generation,
        group: run.group,
        rule: item.said.kinship.map_or(0, |kinship| kinship.rule),
        kin,
        again,
    })
}
