//! Whose incident a record speaks of, by the objects that exist.

use std::collections::HashSet;

use super::{Entry, Live, Verdict};
use crate::{
    alert::{Brief, EventTime},
    remediation::{Incident, Member, Remediation, StormProgress},
    sink::object::{Object, ObjectId},
};

impl Live {
    /// Judges a record against the objects that exist.
    #[must_use]
    pub fn judge(&self, remediation: &Remediation) -> Verdict {
        let incident = remediation.incident();
        let known = match &remediation.progress().storm {
            Some(storm) if incident.storm => self.known_storm(incident, storm),
            _ => self.known_single(incident),
        };
        let known = self.named(incident).or(known);
        match (known, remediation) {
            (Some(object), _) if object.is_live() => Verdict::Update(object.id.clone()),
            (Some(object), _) => Verdict::Over(object.id.clone()),
            (None, Remediation::Draft(_)) => Verdict::Create,
            (None, Remediation::Update(_)) => Verdict::Missing,
        }
    }

    /// The object of an incident of that name, wherever it is.
    #[must_use]
    pub fn incident(&self, name: &str) -> Option<&Object> {
        newest(self.all(self.incidents.get(name)))
    }

    fn named(&self, incident: &Incident) -> Option<&Object> {
        let same = self.all(self.incidents.get(incident.name.as_str()));
        newest(same.filter(|object| object.fingerprint == incident.fingerprint))
    }

    /// A live object of the fingerprint, a live storm that it is a member of, else one in whose life the record lies.
    fn known_single(&self, incident: &Incident) -> Option<&Object> {
        let whose = incident.fingerprint.brief();
        let own = || self.all(self.fingerprints.get(&whose));
        let storms = || self.all(self.members.get(&whose));
        let within = |object: &&Object| {
            object.first_seen() <= incident.generation.at && incident.generation.at <= object.last_seen()
        };
        newest(own().filter(|object| object.is_live()))
            .or_else(|| newest(storms().filter(|object| object.is_live())))
            .or_else(|| newest(own().chain(storms()).filter(within)))
    }

    /// The live storm of the group with a member in common or in whose life the record lies; else a final one of
    /// which it is a part.
    fn known_storm(&self, incident: &Incident, told: &StormProgress) -> Option<&Object> {
        let told: HashSet<Brief> = told.members.iter().map(|member| member.fingerprint).collect();
        let entry = |object: &Object| self.objects.get(&object.id);
        let shares =
            |object: &Object| entry(object).is_some_and(|entry| entry.fingerprints().any(|of| told.contains(&of)));
        let at = incident.generation.at;
        let storms = || self.all(self.groups.get(&incident.group));
        newest(storms().filter(|object| object.is_live() && (self.alive_at(object, at) || shares(object)))).or_else(
            || {
                let within = |object: &&Object| object.first_seen() <= at && at <= self.last_joined(object);
                newest(storms().filter(within).filter(|object| shares(object)))
            },
        )
    }

    fn last_joined(&self, storm: &Object) -> EventTime {
        self.objects.get(&storm.id).map_or(storm.last_joined(), Entry::last_joined)
    }

    /// As `decide::storm` lets kin join: neither quiet nor the longest duration is over.
    fn alive_at(&self, storm: &Object, at: EventTime) -> bool {
        let quiet = self.last_joined(storm).plus(self.life.quiet);
        let longest = storm.newest().at.plus(self.life.max_duration);
        storm.first_seen() <= at && at <= quiet && at <= longest
    }

    /// Members of a storm that have live objects of their own and that it does not supersede: they are counted there. So
    /// are those whose firing lies in the life of an object that is final by now: it was counted while that was live.
    /// Asked of what the storm does not list yet; what it lists stays its own.
    #[must_use]
    pub fn elsewhere(&self, name: &str, told: &StormProgress, storm: Option<&ObjectId>) -> Vec<(Member, ObjectId)> {
        let listed: HashSet<Brief> =
            storm.and_then(|storm| self.objects.get(storm)).into_iter().flat_map(Entry::fingerprints).collect();
        let strangers =
            told.members.iter().filter(|member| !member.superseded && !listed.contains(&member.fingerprint));
        let own = |member: &Member| {
            let counts = |object: &&Object| {
                let within = object.first_seen() <= member.first_seen && member.first_seen <= object.last_seen();
                (object.is_live() || within) && object.status.superseded_by.as_deref() != Some(name)
            };
            let objects = self.all(self.fingerprints.get(&member.fingerprint));
            newest(objects.filter(counts)).map(|object| (*member, object.id.clone()))
        };
        strangers.filter_map(own).collect()
    }
}

fn newest<'a>(objects: impl Iterator<Item = &'a Object>) -> Option<&'a Object> {
    objects.max_by_key(|object| (object.is_live(), object.newest(), object.id.clone()))
}
