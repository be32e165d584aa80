//! Who is placed among which kin, by what memory said of the fingerprints of a batch.

use std::collections::BTreeMap;

use super::{
    batch::{Judgements, Remembered, Waiting, judge},
    bench::Bench,
    reading::{Item, severity_of},
};
use crate::{
    alert::{Alert, Closed, EventTime, Signal},
    decide::{
        dedup::{Answer, Memo, Run, Severity, What},
        storm::{Group, Kin, Standing, Told},
    },
    memory::{Memory, MemoryError, amend},
    remediation::{Generation, GroupId},
};

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
pub(super) async fn place<M: Memory>(
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
pub(super) fn reopened(item: &Item<'_>, groups: &BTreeMap<GroupId, Group>) -> Option<Waiting> {
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
pub(super) fn opened<M>(
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
