//! What waits to be written: one entry for each object, P0 creates first, status updates last. Pure.
//!
//! **Invariant:** an object is in one hand at a time, and what follows for it is merged into what waits: order within
//! one object never changes, and the newest figures win. What rests after a refusal holds nobody else back.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::object::ObjectId;
use crate::{
    alert::{EventTime, Fingerprint},
    decide::outcome::Outcome,
    kafka::Record,
    remediation::{Draft, Generation, Incident, Progress},
};

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A create, by priority: 0 first.
    Create(u32),
    /// A status, of a new object or of an old one, likewise.
    Status(u32),
}

impl Lane {
    /// The priority's place; 0 is first.
    #[must_use]
    pub fn rank(self) -> u32 {
        match self {
            Self::Create(rank) | Self::Status(rank) => rank,
        }
    }

    /// The same lane, as near to the front as the other.
    fn raised(self, other: Self) -> Self {
        match self {
            Self::Create(rank) => Self::Create(rank.min(other.rank())),
            Self::Status(rank) => Self::Status(rank.min(other.rank())),
        }
    }
}

/// What has to be asked next for an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Create it.
    Create(Box<Draft>),
    /// The name is taken: see by whom, and go on with the draft accordingly.
    ReadBack(Box<Draft>),
    /// It changed, or nobody here has seen it yet: see how it stands.
    Read,
    /// Write its status.
    Apply,
}

/// Figures that wait to become part of a status.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Of which incident.
    pub incident: Incident,
    /// How that stands.
    pub progress: Progress,
}

/// A record that is settled with the entry that it is in.
#[derive(Clone, Debug)]
pub struct Held {
    /// The record; its bytes are needed should it be set aside.
    pub record: Record,
    /// What it counts as once it is settled.
    pub outcome: Outcome,
    /// The generation that it opens, if it is a draft.
    pub opens: Option<Generation>,
    /// The incident that it speaks of, if it could be read: its fingerprint, whether it is a storm, its generation.
    pub of: Option<(Fingerprint, bool, Generation)>,
    /// Whether it only counts a storm's member on the member's own object: the storm's entry holds the record too.
    pub shared: bool,
    /// Under which assignment of its partition it was read.
    pub epoch: u64,
}

/// Everything that waits for one object.
#[derive(Clone, Debug)]
pub struct Work {
    /// The object.
    pub id: ObjectId,
    /// The fingerprint of its incident.
    pub fingerprint: Fingerprint,
    /// What has to be asked next.
    pub step: Step,
    /// Who goes first.
    pub lane: Lane,
    /// Figures, oldest first; of one generation only the newest.
    pub figures: Vec<Figures>,
    /// Whether the object is to be marked as told.
    pub mark: bool,
    /// Records, in order.
    pub held: Vec<Held>,
    /// How often it was refused, for the backoff.
    pub attempt: u32,
    /// How often it failed by itself, and when last.
    pub failures: u32,
    /// See `failures`.
    pub failed_at: Option<Instant>,
    /// The suffix of its name, if strangers had taken others.
    pub suffix: u32,
    /// Event time of its first record: giving up is counted from it.
    pub since: EventTime,
    /// The newest generation that the object stood for when this began to wait: should it be gone, newer drafts open anew.
    pub through: Option<Generation>,
}

impl Work {
    /// Nothing has been tried for it yet.
    #[must_use]
    pub fn new(id: ObjectId, incident: &Incident, step: Step, since: EventTime) -> Self {
        let (figures, held) = (Vec::new(), Vec::new());
        let (mark, attempt, failures, failed_at, suffix) = (false, 0, 0, None, 0);
        let fingerprint = incident.fingerprint;
        let (lane, through) = (Lane::Status(u32::MAX), None);
        Self { id, fingerprint, step, lane, figures, mark, held, attempt, failures, failed_at, suffix, since, through }
    }

    /// Adds figures; they replace those of the same generation of the same incident, also where that is not the last.
    pub fn figure(&mut self, figures: Figures) {
        let same = |known: &&mut Figures| {
            (known.incident.fingerprint, known.incident.storm, known.incident.generation)
                == (figures.incident.fingerprint, figures.incident.storm, figures.incident.generation)
        };
        match self.figures.iter_mut().find(same) {
            Some(known) if known.progress.count <= figures.progress.count => *known = figures,
            Some(_) => {}
            None => self.figures.push(figures),
        }
    }

    /// Takes over what follows for the same object; what waits takes the higher priority of the two.
    fn follow(&mut self, later: Self) {
        self.lane = self.lane.raised(later.lane);
        for held in self.held.iter_mut().filter(|held| held.opens.is_none()) {
            // Of one incident only the newest update can be set aside for all: the older ones' bytes are not needed.
            if later.held.iter().any(|newer| newer.opens.is_none() && newer.of.is_some() && newer.of == held.of) {
                held.record.value = bytes::Bytes::new();
            }
        }
        self.mark |= later.mark;
        self.held.extend(later.held);
        later.figures.into_iter().for_each(|figures| self.figure(figures));
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Lanes {
    works: HashMap<ObjectId, Work>,
    ready: BTreeSet<(Lane, u64, ObjectId)>,
    parked: BTreeSet<(Instant, ObjectId)>,
    /// Objects in hand; what follows for them stands in `works` and is neither ready nor parked.
    in_hand: HashSet<ObjectId>,
    next: u64,
    /// Where each waiting entry stands, so that it can be taken from there.
    places: HashMap<ObjectId, Place>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready(Lane, u64),
    Parked(Instant),
}

impl Lanes {
    /// Takes in what is to be done for an object, merged into what waits for it.
    pub fn push(&mut self, work: Work) {
        let id = work.id.clone();
        match self.works.get_mut(&id) {
            None => {
                self.works.insert(id.clone(), work);
            }
            Some(waiting) => waiting.follow(work),
        }
        if self.in_hand.contains(&id) || matches!(self.places.get(&id), Some(Place::Parked(_))) {
            return;
        }
        self.make_ready(&id);
    }

    /// Stands it at the end of its lane; who waits already keeps the place, but for a higher lane.
    fn make_ready(&mut self, id: &ObjectId) {
        let Some(lane) = self.works.get(id).map(|work| work.lane) else {
            return;
        };
        let turn = match self.unplace(id) {
            Some(Place::Ready(_, turn)) => turn,
            Some(Place::Parked(_)) | None => {
                self.next += 1;
                self.next
            }
        };
        self.ready.insert((lane, turn, id.clone()));
        self.places.insert(id.clone(), Place::Ready(lane, turn));
    }

    fn unplace(&mut self, id: &ObjectId) -> Option<Place> {
        let place = self.places.remove(id)?;
        match place {
            Place::Ready(lane, turn) => self.ready.remove(&(lane, turn, id.clone())),
            Place::Parked(until) => self.parked.remove(&(until, id.clone())),
        };
        Some(place)
    }

    /// The next one, in hand until [`Lanes::done`] or [`Lanes::put_back`].
    pub fn pop(&mut self, now: Instant) -> Option<Work> {
        self.wake(now);
        let (_, _, id) = self.ready.first()?.clone();
        self.unplace(&id);
        self.in_hand.insert(id.clone());
        self.works.remove(&id)
    }

    /// Whether anything could be done now.
    #[must_use]
    pub fn is_ready(&self, now: Instant) -> bool {
        !self.ready.is_empty() || self.parked.first().is_some_and(|(until, _)| *until <= now)
    }

    /// When the next one has rested.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.parked.first().map(|(until, _)| *until)
    }

    fn wake(&mut self, now: Instant) {
        while let Some((until, id)) = self.parked.first().cloned()
            && until <= now
        {
            self.make_ready(&id);
        }
    }

    /// Ends every rest: an outage is over, and P0 goes first.
    pub fn wake_all(&mut self) {
        while let Some((_, id)) = self.parked.first().cloned() {
            self.make_ready(&id);
        }
    }

    /// Puts back what was in hand under `was`, perhaps under another name now, to be tried again after a rest.
    pub fn put_back(&mut self, was: &ObjectId, mut work: Work, rest: Option<(Instant, Duration)>) {
        self.in_hand.remove(was);
        self.unplace(was);
        if let Some(later) = self.works.remove(was) {
            work.follow(later);
        }
        let id = work.id.clone();
        if let Some(other) = self.works.remove(&id) {
            work.follow(other);
        }
        self.works.insert(id.clone(), work);
        match rest.filter(|(_, rest)| !rest.is_zero()) {
            Some((now, rest)) => {
                self.unplace(&id);
                self.parked.insert((now + rest, id.clone()));
                self.places.insert(id, Place::Parked(now + rest));
            }
            None => self.make_ready(&id),
        }
    }

    /// What was in hand is settled; what followed for it meanwhile is next.
    pub fn done(&mut self, id: &ObjectId) {
        self.in_hand.remove(id);
        self.make_ready(id);
    }

    /// Takes back everything that waits or follows for this object.
    pub fn withdraw(&mut self, id: &ObjectId) -> Option<Work> {
        self.unplace(id);
        self.works.remove(id)
    }

    /// Drops the records of a partition that is no longer ours; an entry of which nothing else is left goes too.
    /// What is in hand is not here: it ends by itself. Returns the objects that lost records.
    pub fn release(&mut self, partition: i32) -> Vec<ObjectId> {
        let mut touched = Vec::new();
        let ids: Vec<ObjectId> = self.works.keys().cloned().collect();
        for id in ids {
            let Some(work) = self.works.get_mut(&id) else { continue };
            let before = work.held.len();
            work.held.retain(|held| held.record.position.partition != partition);
            if work.held.len() == before {
                continue;
            }
            if work.held.is_empty() && !work.mark {
                self.unplace(&id);
                self.works.remove(&id);
            }
            touched.push(id);
        }
        touched
    }

    /// Whether anything waits for the object or is in hand.
    #[must_use]
    pub fn has(&self, id: &ObjectId) -> bool {
        self.in_hand.contains(id) || self.works.contains_key(id)
    }

    /// Entries that wait, and how many of them rest.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.works.len(), self.parked.len())
    }
}
