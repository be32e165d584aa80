//! What the index of objects hears and says.

use crate::{
    alert::{Brief, Closed, EventTime, Fingerprint},
    remediation::{Generation, GroupId, Incident, Progress},
    sink::{
        fold,
        object::{Object, ObjectId},
    },
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
    pub(super) fn of(object: &Object, phase: &str, exists: bool) -> Self {
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

pub(super) fn closed(object: &Object, phase: &str, fingerprint: Brief, through: EventTime) -> Closed {
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
