//! The objects that exist, as far as the API server has shown them, and our own writes from the moment they are
//! decided. Indexed by incident, fingerprint, storm group and storm member. Pure.
//!
//! **Invariant:** what is judged to be an existing incident never becomes a second object, also when memory has lost
//! everything; what is final is never opened again.

mod judge;
mod nouns;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use self::nouns::closed;
pub use self::nouns::{Ended, Sight, Verdict, speaks_of};
use super::object::{Object, ObjectId};
use crate::{
    alert::{Brief, EventTime},
    remediation::{GroupId, StormProgress},
};

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
