//! Records that opened an incident and wait: what is due is decided, drafted, and marked once it is published.
//!
//! Whoever holds the record that opens an incident writes its draft, of a storm too; so nobody needs another's
//! record, and after a crash the draft is written by whoever reads that record again. The decision itself is fixed
//! in memory by whoever comes first.

use std::collections::{BTreeMap, BTreeSet};

use super::{batch::Waiting, bench::Bench, sweep};
use crate::{
    alert::{EventTime, Signal, headers, record},
    decide::{
        draft::{Judged, Opening},
        outcome::Outcome,
        storm::{Group, Standing, StormTerms},
    },
    memory::{Memory, MemoryError, amend},
    remediation::{Draft, Generation, GroupId, Remediation, Update},
    telemetry::complaint::Complaint,
};

static FALLBACK: Complaint = Complaint::new("a priority could not be told; the stated fallback is taken");

/// What is to be done with a record that was due.
#[derive(Debug)]
pub enum Ruling {
    /// Publish this, then mark it, then finish the record.
    Publish {
        /// What is left to tell of incidents before: it goes first.
        before: Vec<Update>,
        /// The draft.
        draft: Box<Draft>,
        /// How the record ends then.
        outcome: Outcome,
    },
    /// Its draft is out: finish it.
    Finish(Outcome),
}

/// What rulings ask for together. All is published in its order, then marked, and then the records are finished.
#[derive(Debug, Default)]
pub struct Asked {
    /// To publish.
    pub publish: Vec<Remediation>,
    /// The incidents of the drafts among it: group, generation, and whether it is a storm.
    pub mark: Vec<(GroupId, Generation, bool)>,
    /// Records by offset, and how each ends.
    pub finish: Vec<(i64, Outcome)>,
}

impl FromIterator<(i64, Ruling)> for Asked {
    fn from_iter<I: IntoIterator<Item = (i64, Ruling)>>(rulings: I) -> Self {
        let mut asked = Self::default();
        for (offset, ruling) in rulings {
            let outcome = match ruling {
                Ruling::Finish(outcome) => outcome,
                Ruling::Publish { before, draft, outcome } => {
                    asked.mark.push((draft.incident.group, draft.incident.generation, draft.incident.storm));
                    asked.publish.extend(before.into_iter().map(|update| Remediation::Update(Box::new(update))));
                    asked.publish.push(Remediation::Draft(draft));
                    outcome
                }
            };
            asked.finish.push((offset, outcome));
        }
        asked
    }
}

/// Decides what is due at `mark` among the records in hand, by offset. Publishes nothing; asked again, it answers alike.
///
/// # Errors
/// Memory is away. Asking again is safe.
pub async fn rule<M: Memory>(
    bench: &Bench<M>,
    waiting: &BTreeMap<i64, Waiting>,
    mark: EventTime,
) -> Result<Vec<(i64, Ruling)>, MemoryError> {
    let due: Vec<(&i64, &Waiting)> = waiting.iter().filter(|(_, waiting)| waiting.kin.due <= mark).collect();
    let mut by_group: BTreeMap<GroupId, Vec<&Waiting>> = BTreeMap::new();
    for (_, waiting) in &due {
        by_group.entry(waiting.group).or_default().push(waiting);
    }
    let ids: Vec<GroupId> = by_group.keys().copied().collect();
    let groups = amend::groups(&bench.memory, bench.group_terms(mark), ids, |id, group| {
        let mut changed = false;
        for waiting in &by_group[&id] {
            // memory may have lost it since it was placed: one evicted key is enough
            changed |= group.claim(waiting.generation, waiting.kin.clone());
        }
        let rule = by_group[&id].first().map_or(0, |waiting| waiting.rule);
        group.decide(mark, &StormTerms::of(&bench.pipeline.storm, rule)) || changed
    })
    .await?;
    let rulings = due.into_iter().filter_map(|(offset, waiting)| {
        let group = groups.get(&waiting.group)?;
        Some((*offset, ruling(bench, waiting, group)?))
    });
    Ok(rulings.collect())
}

/// None while something else has yet to be published: the storm that it joined, or what goes before it.
fn ruling<M>(bench: &Bench<M>, waiting: &Waiting, group: &Group) -> Option<Ruling> {
    let created = if waiting.again { Outcome::Redelivered } else { Outcome::Created };
    let kin = group.kin.get(&waiting.generation)?;
    match kin.standing {
        Standing::Waiting | Standing::Assumed => None,
        Standing::Own { published: true, .. } => Some(Ruling::Finish(created)),
        // the log knows its end, so its draft was out: what was deleted meanwhile is not to be made again
        Standing::Own { published: false, .. } if kin.closed_at.is_some() => Some(Ruling::Finish(created)),
        Standing::Own { published: false, .. } if group.is_behind(waiting.generation, false) => None,
        Standing::Own { published: false, .. } => {
            let before = before(bench, waiting, group, false);
            draft(bench, waiting, group, None).map(|draft| Ruling::Publish { before, draft, outcome: Outcome::Created })
        }
        Standing::Joined { storm: opener, .. } => {
            let storm = group.storm(opener)?;
            let joined = if waiting.again && storm.published { Outcome::Redelivered } else { Outcome::JoinedStorm };
            if storm.published || storm.closed_at.is_some() {
                Some(Ruling::Finish(joined))
            } else if opener == waiting.generation && !group.is_behind(opener, true) {
                let before = before(bench, waiting, group, true);
                draft(bench, waiting, group, Some(opener)).map(|draft| Ruling::Publish {
                    before,
                    draft,
                    outcome: Outcome::JoinedStorm,
                })
            } else {
                None
            }
        }
    }
}

fn before<M>(bench: &Bench<M>, waiting: &Waiting, group: &Group, storm: bool) -> Vec<Update> {
    let untold = group.untold_before(waiting.generation, storm);
    untold.iter().filter_map(|untold| sweep::update(bench, waiting.group, group, untold)).collect()
}

fn draft<M>(bench: &Bench<M>, waiting: &Waiting, group: &Group, storm: Option<Generation>) -> Option<Box<Draft>> {
    let record = &waiting.record;
    let read = record::parse(&record.value, &record.headers, record.at, &bench.pipeline.identity);
    let Ok(Signal::Alert(alert)) = read else {
        return None; // it was read when it came, by the same rules
    };
    let opening = Opening {
        alert: &alert,
        generation: waiting.generation,
        group: waiting.group,
        rule: waiting.rule,
        severity: &waiting.kin.began,
        judged: waiting.judged.as_ref(),
    };
    let (draft, judged) = bench.aside(|| match storm.and_then(|opener| group.storm(opener)) {
        Some(storm) => bench.desk().storm(&opening, group, storm),
        None => bench.desk().single(&opening),
    });
    note_fallback(bench, &judged);
    Some(Box::new(draft))
}

/// A priority that no rule covered, or whose rule failed, is counted and told, never silent.
pub(super) fn note_fallback<M>(bench: &Bench<M>, judged: &Judged) {
    if let Some(why) = &judged.fell_back {
        bench.metrics.fell_back("priority");
        FALLBACK.raise(why);
    }
}

/// Marks drafts that were acknowledged. Only now may updates of their incidents go out.
///
/// # Errors
/// Memory is away. Asking again is safe; until then the same drafts may go out again, under the same names.
pub async fn published<M: Memory>(
    bench: &Bench<M>,
    drafts: &[(GroupId, Generation, bool)],
    mark: EventTime,
) -> Result<(), MemoryError> {
    let ids: BTreeSet<GroupId> = drafts.iter().map(|(group, ..)| *group).collect();
    amend::groups(&bench.memory, bench.group_terms(mark), ids, |id, group| {
        for (_, generation, storm) in drafts.iter().filter(|(group, ..)| *group == id) {
            group.published(*generation, *storm, mark);
        }
        true
    })
    .await
    .map(|_| ())
}

/// A draft or update as a record of `remediations`.
#[must_use]
pub fn outgoing(remediation: &Remediation) -> crate::kafka::Outgoing {
    let mut headers = headers::Headers::default();
    headers.push(headers::SCHEMA, "1");
    if let Remediation::Draft(draft) = remediation
        && let Some(trace) = draft.annotations.get(crate::remediation::mark::TRACEPARENT)
    {
        headers.push(headers::TRACEPARENT, trace.clone());
    }
    crate::kafka::Outgoing {
        key: Some(remediation.incident().group.to_string().into()),
        value: serde_json::to_vec(remediation).expect("a remediation has text keys and finite numbers").into(),
        headers,
        partition: None,
    }
}
