//! How figures of the log become the status of one object. Pure.
//!
//! **Invariant:** folding the same figures again, in another order or late, changes nothing; no count, no last-seen,
//! no severity and no priority ever falls.

use std::collections::BTreeSet;

use super::object::{Object, members};
use crate::{
    alert::{Brief, EventTime, Fingerprint},
    remediation::{
        Generation, Incident, Progress, Resource, StormProgress,
        crd::{Deduplication, FoldedMember, RemediationRequestStatus, StormStatus},
    },
};

/// Members that an object lists by fingerprint.
pub const MEMBERS: usize = 20_000;
/// Members that fire again as incidents of their own and are counted one by one.
const FOLDED: usize = 1_000;

/// What the pipeline says about figures.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Severities from lowest to highest.
    pub severities: Vec<String>,
    /// Resources listed on a storm.
    pub max_listed: usize,
}

/// The status of an object once these figures are part of it. Other managers' fields are not in it.
#[must_use]
pub fn fold(object: &Object, incident: &Incident, progress: &Progress, rules: &Rules) -> RemediationRequestStatus {
    let mut status = ours(&object.status);
    if progress.count == 0 {
        resolve(object, &mut status, incident, progress.resolved_at);
        return status;
    }
    let mut dedup = status.deduplication.take().unwrap_or_default();
    let before = dedup.occurrence_count;
    let mut storm = status.storm_aggregation.take();
    if object.storm && !incident.storm {
        member(storm.get_or_insert_default(), &mut dedup, incident, progress);
        stretch(&mut dedup, progress);
    } else {
        let turn = generation(&mut dedup, incident.generation, progress);
        if turn == Turn::Stale {
            // what is told late of an older incident is no news but this: a storm lists the object
            status.superseded_by = status.superseded_by.or_else(|| progress.superseded_by.clone());
            status.deduplication = Some(dedup);
            status.storm_aggregation = storm;
            return status;
        }
        match (&progress.storm, object.storm) {
            (Some(of), true) => grow(storm.get_or_insert_default(), of, &dedup, rules.max_listed),
            _ => status.superseded_by = progress.superseded_by.clone().or(status.superseded_by),
        }
        let resolved = storm.as_mut().map_or(&mut status.resolved_at, |storm| &mut storm.resolved_at);
        *resolved = resolution(resolved.take(), progress, turn);
        let newest = Generation::parse(&dedup.generation).is_none_or(|newest| newest > object.newest());
        status.closed_told = status.closed_told.filter(|_| !newest);
    }
    total(&mut dedup, storm.as_mut(), before);
    if let Some(storm) = &storm {
        status.resolved_at = storm_resolved(storm);
    }
    status.severity = highest(status.severity, &progress.severity, |name| severity_rank(name, &rules.severities));
    if !progress.severity.is_empty() {
        status.priority = highest(status.priority, &progress.priority, priority_rank);
    }
    status.deduplication = Some(dedup);
    status.storm_aggregation = storm;
    status
}

/// Our own fields of a status; the phase belongs to whoever remediates.
#[must_use]
pub fn ours(status: &RemediationRequestStatus) -> RemediationRequestStatus {
    RemediationRequestStatus { overall_phase: None, ..status.clone() }
}

/// A resolution of which no firing is known any more: it ends what the object stands for, unless that began after it, and
/// moves nothing else. Of the same millisecond, the place in the log tells what came first.
fn resolve(object: &Object, status: &mut RemediationRequestStatus, of: &Incident, at: Option<EventTime>) {
    let Some(at) = at.filter(|at| *at >= object.first_seen()) else { return };
    let text = Some(at.rfc3339());
    match &mut status.storm_aggregation {
        Some(storm) if object.storm => {
            let whose = of.fingerprint.to_string();
            let begun = |member: &FoldedMember| Generation::parse(&member.generation);
            let mut folded = storm.folded.iter_mut();
            if let Some(member) =
                folded.find(|member| member.fingerprint == whose && begun(member) < Some(of.generation))
            {
                member.resolved_at = text.max(member.resolved_at.take());
            }
            status.resolved_at = storm_resolved(storm);
        }
        _ if !object.storm && at >= object.last_seen() && of.generation > object.newest() => {
            status.resolved_at = text.max(status.resolved_at.take())
        }
        _ => {}
    }
}

/// How figures relate to what an object knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Of an older generation, or fewer firings than are known.
    Stale,
    /// As many firings as are known.
    Same,
    /// A newer generation, or more firings.
    Newer,
}

/// A newer generation settles the older one's count; of the same the higher counts; an older one is known already.
fn generation(dedup: &mut Deduplication, of: Generation, progress: &Progress) -> Turn {
    let turn = match Generation::parse(&dedup.generation) {
        Some(known) if of < known => Turn::Stale,
        Some(known) if of == known && progress.count < dedup.generation_count => Turn::Stale,
        Some(known) if of == known && progress.count == dedup.generation_count => Turn::Same,
        Some(known) => {
            dedup.settled_count += if of == known { 0 } else { dedup.generation_count };
            Turn::Newer
        }
        None => Turn::Newer,
    };
    if turn != Turn::Stale {
        dedup.generation = of.to_string();
        dedup.generation_count = progress.count;
        stretch(dedup, progress);
    }
    turn
}

fn stretch(dedup: &mut Deduplication, progress: &Progress) {
    dedup.first_seen_at = extreme(&dedup.first_seen_at, progress.first_seen, EventTime::min);
    dedup.last_seen_at = extreme(&dedup.last_seen_at, progress.last_seen, EventTime::max);
}

fn extreme(known: &str, told: EventTime, pick: fn(EventTime, EventTime) -> EventTime) -> String {
    EventTime::parse(known).map_or(told, |known| pick(known, told)).rfc3339()
}

/// A firing always raises the count, so at the same count a resolution is the later word.
fn resolution(known: Option<String>, progress: &Progress, turn: Turn) -> Option<String> {
    let told = progress.resolved_at.map(EventTime::rfc3339);
    if turn == Turn::Same { told.max(known) } else { told }
}

/// Firings in all; what an object once said is never taken back.
fn total(dedup: &mut Deduplication, storm: Option<&mut StormStatus>, before: u64) {
    let folded: u64 = storm.iter().flat_map(|storm| &storm.folded).map(|member| member.generation_count).sum();
    let sum = dedup.settled_count + dedup.generation_count + folded;
    dedup.settled_count += before.saturating_sub(sum);
    dedup.occurrence_count = sum.max(before);
    if let Some(storm) = storm {
        storm.alert_count = dedup.occurrence_count;
        storm.first_seen.clone_from(&dedup.first_seen_at);
        storm.last_seen.clone_from(&dedup.last_seen_at);
    }
}

/// Members, resources and totals only grow.
fn grow(storm: &mut StormStatus, told: &StormProgress, dedup: &Deduplication, listed: usize) {
    let mut known: BTreeSet<Brief> = members(storm).collect();
    let room = MEMBERS.saturating_sub(known.len());
    let fresh: Vec<Brief> =
        told.members.iter().map(|member| member.fingerprint).filter(|fingerprint| known.insert(*fingerprint)).collect();
    storm.members.0.extend(fresh.iter().take(room).flat_map(|fingerprint| *fingerprint.bytes()));
    let first_generation = dedup.settled_count == 0 && storm.folded.is_empty();
    let grown = if first_generation { 0 } else { storm.total_affected_resources + fresh.len() as u64 };
    storm.total_affected_resources = storm.total_affected_resources.max(told.total_affected_resources).max(grown);
    list(&mut storm.affected_resources, &told.affected_resources, listed);
    if let Some(youngest) = told.members.iter().map(|member| member.first_seen).max() {
        storm.last_joined_at = extreme(&storm.last_joined_at, youngest, EventTime::max);
    }
    cover(&mut storm.folded, told);
}

fn list(known: &mut Vec<Resource>, told: &[Resource], listed: usize) {
    for resource in told {
        if known.len() >= listed {
            break;
        }
        if !known.contains(resource) {
            known.push(resource.clone());
        }
    }
}

/// Firings that a storm took over count there: those of the incidents with which members that it supersedes are in it.
fn cover(folded: &mut [FoldedMember], told: &StormProgress) {
    let superseded: BTreeSet<(Brief, EventTime)> = (told.members.iter())
        .filter(|member| member.superseded)
        .map(|member| (member.fingerprint, member.first_seen))
        .collect();
    for member in folded {
        let incident = brief(member).zip(Generation::parse(&member.generation).map(|of| of.at));
        if incident.is_some_and(|incident| superseded.contains(&incident)) {
            member.covered = true;
            member.generation_count = 0;
        }
    }
}

/// Whose it is, cut short.
pub fn brief(member: &FoldedMember) -> Option<Brief> {
    Some(member.fingerprint.parse::<Fingerprint>().ok()?.brief())
}

/// An incident of one member, folded into its storm: its newest generation is counted by itself, older ones are settled.
fn member(storm: &mut StormStatus, dedup: &mut Deduplication, incident: &Incident, progress: &Progress) {
    let whose = incident.fingerprint.to_string();
    let place = storm.folded.iter().position(|member| member.fingerprint == whose);
    let known = place.map(|place| &storm.folded[place]);
    let settled = if known.is_some() { None } else { Generation::parse(&storm.folded_through) };
    if settled.is_some_and(|through| incident.generation <= through) {
        return;
    }
    let mut entry = known.cloned().unwrap_or_else(|| FoldedMember { fingerprint: whose, ..FoldedMember::default() });
    let mut own = Deduplication {
        generation: entry.generation.clone(),
        generation_count: entry.generation_count,
        ..Deduplication::default()
    };
    let covered = entry.covered && Generation::parse(&entry.generation) == Some(incident.generation);
    let turn = generation(&mut own, incident.generation, progress);
    if covered || turn == Turn::Stale || (progress.superseded_by.is_some() && place.is_some()) {
        return;
    }
    dedup.settled_count += own.settled_count;
    entry.resolved_at = resolution(entry.resolved_at, progress, turn);
    entry.covered = progress.superseded_by.is_some();
    entry.generation = own.generation;
    entry.generation_count = if entry.covered { 0 } else { own.generation_count };
    match place {
        Some(place) => storm.folded[place] = entry,
        None => storm.folded.push(entry),
    }
    settle_oldest(storm, dedup);
}

fn settle_oldest(storm: &mut StormStatus, dedup: &mut Deduplication) {
    while storm.folded.len() > FOLDED {
        let age = |member: &FoldedMember| Generation::parse(&member.generation);
        let Some(oldest) = (0..storm.folded.len()).min_by_key(|&place| age(&storm.folded[place])) else {
            return;
        };
        let oldest = storm.folded.remove(oldest);
        dedup.settled_count += oldest.generation_count;
        let through = Generation::parse(&storm.folded_through).max(age(&oldest));
        storm.folded_through = through.map(|through| through.to_string()).unwrap_or_default();
    }
}

/// A storm is resolved when its last member is, those counted by themselves included.
fn storm_resolved(storm: &StormStatus) -> Option<String> {
    let own = storm.resolved_at.clone()?;
    let mut latest = own;
    for member in storm.folded.iter().filter(|member| !member.covered) {
        latest = latest.max(member.resolved_at.clone()?);
    }
    Some(latest)
}

fn highest<R: Ord>(known: Option<String>, told: &str, rank: impl Fn(&str) -> R) -> Option<String> {
    match known {
        Some(known) if told.is_empty() || rank(&known) >= rank(told) => Some(known),
        _ => Some(told.to_owned()).filter(|told| !told.is_empty()),
    }
}

/// The place in the pipeline's order; what is not in it is lower than anything.
fn severity_rank(name: &str, order: &[String]) -> Option<usize> {
    order.iter().position(|known| known == name)
}

/// P0 before P1 before P2 …; anything else is lowest.
#[must_use]
pub fn priority_rank(name: &str) -> std::cmp::Reverse<u32> {
    std::cmp::Reverse(name.strip_prefix('P').and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sink::{
        object::ObjectId,
        specimen::{draft, generation, kin, rules, seen, single, storm},
    };

    fn object(incident: &Incident) -> Object {
        Object::expected(&draft(incident, seen(incident, 1, 1), "a"), ObjectId::new("shop", &incident.name))
    }

    /// Folds `(generation, count, last seen, resolved)` in this order into a fresh object.
    fn folded(told: &[(i64, u64, i64, Option<i64>)]) -> RemediationRequestStatus {
        let mut object = object(&single("a", 10));
        for (at, count, last, resolved) in told {
            let incident = single("a", *at);
            let progress =
                Progress { resolved_at: resolved.map(|at| EventTime(at * 1000)), ..seen(&incident, *count, *last) };
            object.status = fold(&object, &incident, &progress, &rules().fold);
        }
        object.status
    }

    fn check(told: &[(i64, u64, i64, Option<i64>)], count: u64, resolved: Option<i64>) {
        let status = folded(told);
        assert_eq!(status.deduplication.unwrap().occurrence_count, count, "{told:?}");
        assert_eq!(status.resolved_at, resolved.map(|at| EventTime(at * 1000).rfc3339()), "{told:?}");
    }

    #[test]
    fn e02_counts_are_absolute_and_a_repeat_or_late_one_changes_nothing() {
        check(&[(10, 1, 10, None)], 1, None);
        check(&[(10, 1, 10, None), (10, 3, 12, None), (10, 3, 12, None), (10, 2, 11, None)], 3, None);
    }

    #[test]
    fn e06_a_newer_generation_settles_the_older_one() {
        check(&[(10, 5, 12, None), (900, 1, 900, None)], 6, None);
        check(&[(10, 5, 12, None), (900, 1, 900, None), (900, 4, 910, None), (10, 7, 20, None)], 9, None);
        check(&[(10, 5, 12, None), (900, 2, 901, None), (2000, 1, 2000, None), (900, 9, 950, None)], 8, None);
    }

    #[test]
    fn e17_resolved_is_told_and_the_next_firing_clears_it() {
        check(&[(10, 2, 12, None), (10, 2, 12, Some(20))], 2, Some(20));
        check(&[(10, 2, 12, Some(20)), (10, 2, 12, None)], 2, Some(20));
        check(&[(10, 2, 12, Some(20)), (10, 3, 30, None)], 3, None);
        check(&[(10, 3, 30, None), (10, 2, 12, Some(20))], 3, None);
        check(&[(10, 2, 12, Some(20)), (900, 1, 900, None)], 3, None);
    }

    fn judged(told: &[(&str, &str)]) -> (String, String) {
        let (incident, mut object) = (single("a", 10), object(&single("a", 10)));
        for (count, (severity, priority)) in (1..).zip(told) {
            let progress =
                Progress { severity: (*severity).into(), priority: (*priority).into(), ..seen(&incident, count, 10) };
            object.status = fold(&object, &incident, &progress, &rules().fold);
        }
        (object.status.severity.unwrap(), object.status.priority.unwrap())
    }

    #[test]
    fn e20_severity_and_priority_never_fall_and_what_is_unknown_is_lowest() {
        let cases = [
            (&[("warning", "P2"), ("critical", "P0"), ("warning", "P2")][..], "critical", "P0"),
            (&[("Sev1", "urgent"), ("info", "P10"), ("Sev2", "P9")][..], "info", "P9"),
            (&[("critical", "P1"), ("", "")][..], "critical", "P1"),
        ];
        for (told, severity, priority) in cases {
            assert_eq!(judged(told), (severity.to_owned(), priority.to_owned()), "{told:?}");
        }
    }

    #[test]
    fn f09_a_storm_grows_by_members_resources_and_firings_and_lists_as_much_as_it_may() {
        let incident = storm("a", 10);
        let mut object = object(&incident);
        let members: Vec<(String, i64)> = (0..9).map(|n| (format!("m{n}"), 10 + n)).collect();
        for known in [3, 9, 5] {
            let members: Vec<(&str, i64)> = members[..known].iter().map(|(who, at)| (who.as_str(), *at)).collect();
            object.status = fold(&object, &incident, &kin(&incident, 2 * known as u64, &members), &rules().fold);
        }
        let status = object.storm_status().unwrap();
        assert_eq!((status.alert_count, status.total_affected_resources, status.affected_resources.len()), (18, 9, 4));
        assert_eq!((members.len(), object.fingerprints().len(), object.last_joined().0), (9, 9, 18_000));
    }

    #[test]
    fn f31_a_storm_is_resolved_when_members_counted_by_themselves_are_too() {
        let incident = storm("a", 10);
        let mut object = object(&incident);
        let resolved = |progress, at: i64| Progress { resolved_at: Some(EventTime(at * 1000)), ..progress };
        object.status =
            fold(&object, &incident, &resolved(kin(&incident, 2, &[("a", 10), ("b", 11)]), 50), &rules().fold);
        assert!(object.status.resolved_at.is_some());
        let own = single("b", 900);
        object.status = fold(&object, &own, &seen(&own, 1, 900), &rules().fold);
        assert_eq!(object.status.resolved_at, None);
        object.status = fold(&object, &own, &resolved(seen(&own, 1, 900), 950), &rules().fold);
        assert_eq!(object.status.resolved_at, Some(EventTime(950_000).rfc3339()));
    }

    #[test]
    fn f12_firings_that_a_later_storm_took_over_count_once() {
        let (first, later) = (storm("a", 10), storm("a", 900));
        let mut object = object(&first);
        let members = [("a", 10), ("b", 11)];
        object.status = fold(&object, &first, &kin(&first, 2, &members), &rules().fold);
        let own = single("b", 905);
        object.status = fold(&object, &own, &seen(&own, 2, 906), &rules().fold);
        assert_eq!(object.storm_status().unwrap().alert_count, 4);
        let again = kin(&later, 5, &[("a", 900), ("b*", 905)]);
        for _ in 0..2 {
            object.status = fold(&object, &later, &again, &rules().fold);
            object.status = fold(&object, &own, &seen(&own, 2, 906), &rules().fold);
        }
        assert_eq!(
            object.storm_status().unwrap().alert_count,
            7,
            "2 settled, 5 of the later storm, b's own among them"
        );
    }

    #[test]
    fn f12_an_incident_that_began_before_the_storm_that_took_it_over_counts_once_too() {
        let (first, later) = (storm("a", 10), storm("c", 900));
        let mut object = object(&first);
        object.status = fold(&object, &first, &kin(&first, 2, &[("a", 10), ("b", 11)]), &rules().fold);
        let (own, again) = (single("b", 895), single("b", 1_500));
        object.status = fold(&object, &own, &seen(&own, 2, 896), &rules().fold);
        object.status = fold(&object, &later, &kin(&later, 5, &[("c", 900), ("b*", 895)]), &rules().fold);
        assert_eq!(object.storm_status().unwrap().alert_count, 7);
        object.status = fold(&object, &again, &seen(&again, 1, 1_500), &rules().fold);
        object.status = fold(&object, &later, &kin(&later, 6, &[("c", 900), ("b*", 895)]), &rules().fold);
        assert_eq!(object.storm_status().unwrap().alert_count, 9, "what began later is not the storm's");
    }

    #[test]
    fn f12_that_a_storm_lists_an_object_is_told_in_any_order() {
        let (older, newer) = (single("a", 10), single("a", 900));
        let by = |storm: &str, of: &Incident| Progress { superseded_by: Some(storm.into()), ..seen(of, 1, 10) };
        let (plain, listed) = (seen(&newer, 1, 900), by("crash-1", &older));
        for told in [[(&newer, &plain), (&older, &listed)], [(&older, &listed), (&newer, &plain)]] {
            let mut object = object(&older);
            for (incident, progress) in told {
                object.status = fold(&object, incident, progress, &rules().fold);
            }
            assert_eq!(object.status.superseded_by.as_deref(), Some("crash-1"));
            object.status = fold(&object, &newer, &by("crash-2", &newer), &rules().fold);
            object.status = fold(&object, &older, &listed, &rules().fold);
            assert_eq!(
                object.status.superseded_by.as_deref(),
                Some("crash-2"),
                "the newer one's storm is the later word"
            );
        }
    }

    #[test]
    fn a12_a_resolve_of_the_unknown_ends_only_what_began_before_it() {
        let (incident, mut object) = (single("a", 10), object(&single("a", 10)));
        object.status = fold(&object, &incident, &seen(&incident, 1, 10), &rules().fold);
        for (offset, resolved) in [(-1, false), (1, true)] {
            let mut unknown = incident.clone();
            unknown.generation.position.offset += offset;
            let progress = Progress { count: 0, resolved_at: Some(EventTime(10_000)), ..seen(&unknown, 0, 10) };
            object.status = fold(&object, &unknown, &progress, &rules().fold);
            assert_eq!(object.status.resolved_at.is_some(), resolved, "of the same millisecond, {offset}");
        }
    }

    #[test]
    fn the_oldest_members_counted_by_themselves_are_settled_when_there_are_too_many() {
        let incident = storm("a", 1);
        let mut object = object(&incident);
        object.status = fold(&object, &incident, &kin(&incident, 1, &[("a", 1)]), &rules().fold);
        for _ in 0..2 {
            for n in 0..1_010 {
                let own = single(&format!("m{n}"), 100 + n);
                object.status = fold(&object, &own, &seen(&own, 2, 100 + n), &rules().fold);
            }
        }
        let status = object.storm_status().unwrap();
        assert_eq!((status.folded.len(), status.alert_count), (1_000, 2_021));
        assert_eq!(Generation::parse(&status.folded_through), Some(generation(109)));
    }

    proptest! {
        #[test]
        fn j11_no_count_ever_falls_and_folding_it_all_again_changes_nothing(
            told in proptest::collection::vec((0_i64..4, 1_u64..6, 0_i64..50, proptest::option::of(0_i64..99)), 1..20),
        ) {
            let mut object = object(&single("a", 10));
            let mut told: Vec<_> = told.into_iter().map(|(at, count, last, resolved)| (10 + at * 100, count, 10 + at * 100 + last, resolved)).collect();
            let mut before = 0;
            let mut fold_all = |object: &mut Object, told: &[(i64, u64, i64, Option<i64>)]| {
                for (at, count, last, resolved) in told {
                    let incident = single("a", *at);
                    let progress = Progress { resolved_at: resolved.map(EventTime), ..seen(&incident, *count, *last) };
                    object.status = fold(object, &incident, &progress, &rules().fold);
                    let count = object.status.deduplication.as_ref().unwrap().occurrence_count;
                    assert!(count >= before);
                    before = count;
                }
            };
            fold_all(&mut object, &told);
            let once = object.status.deduplication.clone().unwrap();
            told.reverse();
            fold_all(&mut object, &told);
            let again = object.status.deduplication.clone().unwrap();
            prop_assert_eq!((once.occurrence_count, once.generation), (again.occurrence_count, again.generation));
        }
    }
}
