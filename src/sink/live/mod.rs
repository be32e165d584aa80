//! The objects that exist, as far as the API server has shown them, and our own writes from the moment they are
//! decided. Indexed by incident, fingerprint, storm group and storm member. Pure.
//!
//! **Invariant:** what is judged to be an existing incident never becomes a second object, also when memory has lost
//! everything; what is final is never opened again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use super::{
    fold,
    object::{Object, ObjectId},
};
use crate::{
    alert::{Brief, Closed, EventTime, Fingerprint},
    remediation::{Generation, GroupId, Incident, Member, Progress, Remediation, StormProgress},
};

/// What a record of `remediations` means for the objects that exist.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// There is no such incident yet.
    Create,
    /// It is the incident of this object, which goes on.
    Update(ObjectId),
    /// It is the incident of this object, which is over: the log shall be told again.
    Over(ObjectId),
    /// An update, and no object is known that it could be about.
    Missing,
}

/// What is shown by the API server.
#[derive(Clone, Debug)]
pub enum Sight {
    /// A list begins: what it does not show is gone.
    Begin,
    /// An object as it stands now.
    Stands(Box<Object>),
    /// An object that was deleted.
    Deleted(ObjectId),
    /// The list is complete, or its repetition.
    Whole,
}

/// An incident that has ended, and of which the log may have to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The object.
    pub id: ObjectId,
    /// Its group, hence the owner who tells.
    pub group: Option<GroupId>,
    /// The fingerprint of its incident, the key where it names no group.
    pub fingerprint: Fingerprint,
    /// What to tell, one for each fingerprint.
    pub told: Vec<Closed>,
    /// Whether the object is there to be marked as told.
    pub exists: bool,
}

impl Ended {
    fn of(object: &Object, phase: &str, exists: bool) -> Self {
        let through = object.newest().at.max(object.last_joined());
        let told = object
            .fingerprints()
            .into_iter()
            .map(|fingerprint| closed(object, phase, fingerprint, folded_through(object, fingerprint).max(through)));
        Self {
            id: object.id.clone(),
            group: object.group,
            fingerprint: object.fingerprint,
            told: told.collect(),
            exists,
        }
    }
}

fn closed(object: &Object, phase: &str, fingerprint: Brief, through: EventTime) -> Closed {
    let (id, storm) = (object.id.to_string(), object.storm);
    Closed { fingerprint, through, object: id, phase: phase.to_owned(), storm }
}

/// Whom a record speaks of, and how far: its fingerprint, or a storm's members.
pub fn speaks_of(incident: &Incident, progress: &Progress) -> impl Iterator<Item = (Brief, EventTime)> {
    let at = incident.generation.at;
    let members = progress.storm.iter().flat_map(|storm| &storm.members);
    let lone = progress.storm.as_ref().is_none_or(|storm| storm.members.is_empty());
    let own = lone.then_some((incident.fingerprint.brief(), at));
    members.map(move |member| (member.fingerprint, member.first_seen.max(at))).chain(own)
}

fn folded_through(object: &Object, fingerprint: Brief) -> EventTime {
    let folded = object.storm_status().map(|storm| storm.folded.as_slice()).unwrap_or_default();
    let own = folded.iter().find(|member| fold::brief(member) == Some(fingerprint));
    own.and_then(|member| Generation::parse(&member.generation)).map_or(EventTime(i64::MIN), |of| of.at)
}

/// How long a storm lives, in event time.
#[derive(Clone, Copy, Debug)]
pub struct StormLife {
    /// Without new members.
    pub quiet: Duration,
    /// At all.
    pub max_duration: Duration,
}

/// The objects that exist.
#[derive(Debug)]
pub struct Live {
    life: StormLife,
    objects: HashMap<ObjectId, Entry>,
    incidents: HashMap<Arc<str>, BTreeSet<ObjectId>>,
    fingerprints: HashMap<Brief, BTreeSet<ObjectId>>,
    groups: HashMap<GroupId, BTreeSet<ObjectId>>,
    members: HashMap<Brief, BTreeSet<ObjectId>>,
    round: u64,
    live: usize,
}

#[derive(Debug)]
struct Entry {
    object: Object,
    /// The list in which it was shown, or during which it was written.
    round: u64,
    /// Whether this process has told the log that it is over.
    told: bool,
    /// Members of a storm that wait to become part of its status, and when the youngest of them joined.
    awaited: BTreeSet<Brief>,
    joined: Option<EventTime>,
}

impl Entry {
    fn fingerprints(&self) -> impl Iterator<Item = Brief> + '_ {
        self.object.fingerprints().into_iter().chain(self.awaited.iter().copied())
    }

    fn last_joined(&self) -> EventTime {
        self.joined.map_or(self.object.last_joined(), |joined| joined.max(self.object.last_joined()))
    }
}

impl Live {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(life: StormLife) -> Self {
        let (incidents, fingerprints) = (HashMap::new(), HashMap::new());
        let (groups, members) = (HashMap::new(), HashMap::new());
        Self { life, objects: HashMap::new(), incidents, fingerprints, groups, members, round: 0, live: 0 }
    }

    /// Storms live as long as the pipeline says now.
    pub fn change(&mut self, life: StormLife) {
        self.life = life;
    }

    /// Objects in no final phase.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// What is known of one object.
    #[must_use]
    pub fn object(&self, id: &ObjectId) -> Option<&Object> {
        self.objects.get(id).map(|entry| &entry.object)
    }

    /// Takes in what the API server shows; what has ended by it comes back.
    pub fn see(&mut self, sight: Sight) -> Vec<Ended> {
        match sight {
            Sight::Begin => self.round += 1,
            Sight::Stands(object) => return self.enter(*object).into_iter().collect(),
            Sight::Deleted(id) => return self.forget(&id).into_iter().collect(),
            Sight::Whole => {
                let unseen = |(id, entry): (&ObjectId, &Entry)| {
                    (entry.round < self.round && !entry.object.version.is_empty()).then(|| id.clone())
                };
                let gone: Vec<ObjectId> = self.objects.iter().filter_map(unseen).collect();
                return gone.iter().filter_map(|id| self.forget(id)).collect();
            }
        }
        Vec::new()
    }

    /// Enters an object as shown, written or about to be written; an older version never replaces a newer one.
    pub fn enter(&mut self, object: Object) -> Option<Ended> {
        let was = self.objects.get(&object.id);
        if was.is_some_and(|was| is_older(&object.version, &was.object.version)) {
            self.objects.entry(object.id).and_modify(|entry| entry.round = self.round);
            return None;
        }
        let told = was.is_some_and(|was| was.told) && !object.is_live();
        let (awaited, joined) = self.remove(&object.id).map(|was| still_awaited(was, &object)).unwrap_or_default();
        let ended = object.over().filter(|_| !told && object.status.closed_told != Some(true));
        let ended = ended.map(|phase| Ended::of(&object, phase, true));
        self.insert(Entry { object, round: self.round, told, awaited, joined });
        ended
    }

    /// Forgets an object that is gone. What was final and told has nothing more to say.
    pub fn forget(&mut self, id: &ObjectId) -> Option<Ended> {
        let entry = self.remove(id)?;
        let told = entry.told || entry.object.status.closed_told == Some(true);
        let waiting = entry.object.version.is_empty();
        (!told && !waiting).then(|| Ended::of(&entry.object, "Deleted", false))
    }

    /// The log was told that this object's incident is over.
    pub fn told(&mut self, id: &ObjectId) {
        if let Some(entry) = self.objects.get_mut(id) {
            entry.told = true;
        }
    }

    /// Ended objects of which the log was not told, as far as this process knows: for who takes over a partition.
    pub fn untold(&self) -> impl Iterator<Item = Ended> + '_ {
        let untold = self.objects.values().filter(|entry| !entry.told && entry.object.status.closed_told != Some(true));
        untold.filter_map(|entry| entry.object.over().map(|phase| Ended::of(&entry.object, phase, true)))
    }

    /// What to tell of an object that is over when a record speaks of these fingerprints at these moments: everything,
    /// if the log was not told yet; else only of whom it was not told as far.
    #[must_use]
    pub fn late(&self, id: &ObjectId, mut own: BTreeMap<Brief, EventTime>) -> Option<Ended> {
        let Entry { object, told, .. } = self.objects.get(id)?;
        let told = *told || object.status.closed_told == Some(true);
        let mut ended = Ended::of(object, object.over()?, !told);
        ended.told.retain_mut(|closed| {
            let newer = own.remove(&closed.fingerprint).filter(|at| *at > closed.through);
            closed.through = newer.unwrap_or(closed.through);
            newer.is_some() || !told
        });
        let of = |(fingerprint, at)| closed(object, object.over().unwrap_or_default(), fingerprint, at);
        ended.told.extend(own.into_iter().map(of));
        (!ended.told.is_empty()).then_some(ended)
    }

    /// A storm's figures wait to become part of its status: their members are its own from now on.
    pub fn awaits(&mut self, id: &ObjectId, storm: &StormProgress) {
        let Some(mut entry) = self.remove(id) else { return };
        entry.awaited.extend(storm.members.iter().map(|member| member.fingerprint));
        entry.joined = entry.joined.max(storm.members.iter().map(|member| member.first_seen).max());
        self.insert(entry);
    }

    /// Nothing waits for the object: it is what it says.
    pub fn awaits_nothing(&mut self, id: &ObjectId) {
        if self.objects.get(id).is_none_or(|entry| entry.awaited.is_empty() && entry.joined.is_none()) {
            return;
        }
        if let Some(entry) = self.remove(id) {
            self.insert(Entry { awaited: BTreeSet::new(), joined: None, ..entry });
        }
    }

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

    fn all<'a>(&'a self, ids: Option<&'a BTreeSet<ObjectId>>) -> impl Iterator<Item = &'a Object> {
        ids.into_iter().flatten().filter_map(|id| self.object(id))
    }

    fn insert(&mut self, entry: Entry) {
        let object = &entry.object;
        self.live += usize::from(object.is_live());
        add(&mut self.incidents, Arc::clone(&object.incident), &object.id);
        if object.storm {
            entry.fingerprints().for_each(|member| add(&mut self.members, member, &object.id));
            object.group.into_iter().for_each(|group| add(&mut self.groups, group, &object.id));
        } else {
            add(&mut self.fingerprints, object.fingerprint.brief(), &object.id);
        }
        self.objects.insert(object.id.clone(), entry);
    }

    fn remove(&mut self, id: &ObjectId) -> Option<Entry> {
        let entry = self.objects.remove(id)?;
        let object = &entry.object;
        self.live -= usize::from(object.is_live());
        take(&mut self.incidents, &object.incident, id);
        take(&mut self.fingerprints, &object.fingerprint.brief(), id);
        if object.storm {
            entry.fingerprints().for_each(|member| take(&mut self.members, &member, id));
            object.group.iter().for_each(|group| take(&mut self.groups, group, id));
        }
        Some(entry)
    }
}

/// Of the members that waited, or that were expected of a storm not yet written, those that it does not list yet.
fn still_awaited(was: Entry, object: &Object) -> (BTreeSet<Brief>, Option<EventTime>) {
    if !object.storm || object.version.is_empty() {
        return Default::default();
    }
    let joined = if was.object.version.is_empty() { Some(was.last_joined()) } else { was.joined };
    let mut awaited = was.awaited;
    if was.object.version.is_empty() {
        awaited.extend(was.object.fingerprints());
    }
    object.fingerprints().iter().for_each(|listed| _ = awaited.remove(listed));
    (awaited, joined)
}

fn newest<'a>(objects: impl Iterator<Item = &'a Object>) -> Option<&'a Object> {
    objects.max_by_key(|object| (object.is_live(), object.newest(), object.id.clone()))
}

/// Versions are numbers that grow (Kubernetes 1.35 says so of custom resources); what is none is taken as newer.
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u128>(), than.parse::<u128>()), (Ok(version), Ok(than)) if version < than)
}

fn add<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<ObjectId>>, key: K, id: &ObjectId) {
    index.entry(key).or_default().insert(id.clone());
}

fn take<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<ObjectId>>, key: &K, id: &ObjectId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
