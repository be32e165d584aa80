//! How figures of the log become the status of one object. Pure.
//!
//! **Invariant:** folding the same figures again, in another order or late, changes nothing; no count, no last-seen,
//! no severity and no priority ever falls.

#[cfg(test)]
mod tests;

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
