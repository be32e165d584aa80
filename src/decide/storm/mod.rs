//! Who is kin to whom, and what becomes of a group whose hold is over.
//!
//! A [`Group`] is a value: placing, deciding and telling are functions on it, and memory keeps what comes out. A
//! decision is taken in order of due time and sees only kin whose event time is at or before its own due time, so
//! when it is taken, early or late, by this worker or another, changes nothing. Once taken it is fixed in the group.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    alert::{Brief, Closed, EventTime, Fingerprint},
    decide::dedup::Severity,
    pipeline::{priority::Priority, storm::StormPolicy},
    remediation::{Generation, Resource},
};

mod judge;
mod tell;

pub use tell::{Told, Untold};

/// What memory keeps of one storm group: its kin, and the storms among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// By the record that opened each: one entry for each incident of a fingerprint, in order of event time.
    pub kin: BTreeMap<Generation, Kin>,
    /// Oldest first; normally none or one.
    pub storms: Vec<Storm>,
}

/// One incident of a fingerprint within its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kin {
    /// Whose, cut short.
    pub fingerprint: Brief,
    /// The whole of it, which names an object; not kept of a storm's member, but of the one that carries its draft.
    pub whole: Option<Fingerprint>,
    /// The alert's name: it shows in the name of the object.
    pub alert: String,
    /// The namespace of an object of its own.
    pub namespace: String,
    /// Whom it is about.
    pub resource: Resource,
    /// Firings, twins apart.
    pub count: u64,
    /// The latest firing.
    pub seen: EventTime,
    /// Severity of its first record: its draft says so.
    pub began: Severity,
    /// The highest severity so far.
    pub severity: Severity,
    /// When it was resolved; none while it fires.
    pub resolved_at: Option<EventTime>,
    /// When its object ended.
    pub closed_at: Option<EventTime>,
    /// Whether that object stood for a storm.
    pub closed_as_storm: bool,
    /// When its decision may be taken.
    pub due: EventTime,
    /// What became of it.
    pub standing: Standing,
    /// What was told of it to the sink; meaningful for an object of its own.
    pub told: Told,
}

/// What became of one of the kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for its decision.
    Waiting,
    /// It is an incident of its own.
    Own {
        /// Whether its draft is acknowledged.
        published: bool,
        /// The storm, by its first record, that lists it though it has an object of its own.
        superseded_by: Option<Generation>,
    },
    /// It is a member of a storm and has no object of its own.
    Joined {
        /// The storm's first record.
        storm: Generation,
        /// Whether it was there when the storm was decided: the draft lists those.
        founder: bool,
    },
    /// A repeat of an incident that memory forgot. Its draft is out, unless the record that opened it says otherwise.
    Assumed,
}

/// A storm: one incident for many fingerprints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// The first record of the member that was due first, which carries the draft.
    pub generation: Generation,
    /// Event time of its latest joiner.
    pub joined: EventTime,
    /// Its founders, a firing each: the draft says so, whenever it is decided and written.
    pub decided_count: u64,
    /// The highest severity with which a founder began, and the highest priority among them.
    pub decided_severity: Severity,
    /// Whether the draft is acknowledged.
    pub published: bool,
    /// When its object ended.
    pub closed_at: Option<EventTime>,
    /// What was told of it to the sink.
    pub told: Told,
}

/// What a group's rule and the section's spans say.
#[derive(Clone, Copy, Debug)]
pub struct StormTerms {
    /// Distinct fingerprints that make a storm.
    pub threshold: u32,
    /// Event time within which they count.
    pub window: Duration,
    /// Without a new joiner it ends after this,
    pub quiet: Duration,
    /// and after this at all.
    pub max_duration: Duration,
}

impl StormTerms {
    /// The terms of one rule. An unknown rule (a pipeline changed meanwhile) is read as the last one, the default.
    #[must_use]
    pub fn of(policy: &StormPolicy, rule: usize) -> Self {
        let chosen = policy.rules.get(rule).or(policy.rules.last());
        Self {
            threshold: chosen.map_or(u32::MAX, |rule| rule.threshold),
            window: chosen.map_or(Duration::ZERO, |rule| rule.window),
            quiet: policy.quiet,
            max_duration: policy.max_duration,
        }
    }
}

impl Group {
    /// Claims an incident for the record that opened it, which is in hand and unfinished: it waits for its decision,
    /// unless one was taken. Repeating it changes nothing; its figures are left alone. Returns whether anything changed.
    pub fn claim(&mut self, generation: Generation, kin: Kin) -> bool {
        match self.kin.get_mut(&generation) {
            None => {
                let mut claimed = Kin { standing: Standing::Waiting, ..kin };
                if claimed.is_beyond_its_draft(generation) {
                    claimed.told.changed();
                }
                self.kin.insert(generation, claimed);
            }
            Some(known) if known.standing == Standing::Assumed => {
                known.standing = Standing::Waiting;
                known.began = kin.began;
            }
            Some(_) => return false,
        }
        true
    }

    /// Brings an incident's figures up to date. One that memory forgot is assumed to be out, and left forgotten if it
    /// is over. Repeating it changes nothing. Returns whether anything changed.
    pub fn place(&mut self, generation: Generation, kin: Kin) -> bool {
        let Some(known) = self.kin.get_mut(&generation) else {
            if kin.closed_at.is_some() {
                return false;
            }
            let mut placed = Kin { standing: Standing::Assumed, ..kin };
            placed.told.changed();
            self.kin.insert(generation, placed);
            return true;
        };
        let moved = known.advance(kin);
        if moved {
            let storm = known.standing.storm();
            self.storms.iter_mut().filter(|it| Some(it.generation) == storm).for_each(|it| it.told.changed());
        }
        moved
    }

    /// The object of a fingerprint's incidents up to `through` has ended, says a record of `at`. An incident that was
    /// not yet due then had no object that could end: when this is read, before its decision or after, changes nothing.
    /// A member's own object may end while its storm goes on.
    pub fn close(&mut self, closed: &Closed, at: EventTime) -> bool {
        let mut changed = false;
        let its = |(began, kin): &(&Generation, &mut Kin)| {
            began.at <= closed.through && kin.fingerprint == closed.fingerprint
        };
        for (_, kin) in self.kin.iter_mut().filter(its) {
            if at > kin.due && kin.closed_at.is_none_or(|known| at < known) {
                kin.closed_at = Some(at);
                kin.closed_as_storm = closed.storm;
                changed = true;
                if closed.storm
                    && let Standing::Joined { storm, .. } = kin.standing
                {
                    self.storms.iter_mut().filter(|it| it.generation == storm).for_each(|it| it.close(at));
                }
            }
        }
        changed
    }

    /// A storm by its first record.
    #[must_use]
    pub fn storm(&self, generation: Generation) -> Option<&Storm> {
        self.storms.iter().find(|storm| storm.generation == generation)
    }

    /// The members of a storm in order of event time, those that it supersedes included.
    pub fn members(&self, storm: Generation) -> impl Iterator<Item = (&Generation, &Kin)> {
        self.kin.iter().filter(move |(_, kin)| kin.standing.storm() == Some(storm))
    }

    /// Whether a draft that was decided before is to go out before this one: before a storm, those of its members' own
    /// objects, and the storms before it; before an incident of one fingerprint, the storm that it is a member of. The
    /// sink supersedes, and takes in, only what it knows.
    #[must_use]
    pub fn is_behind(&self, generation: Generation, storm: bool) -> bool {
        let Some(kin) = self.kin.get(&generation) else { return false };
        let earlier = |other: &&Storm| {
            let due = self.kin.get(&other.generation).map(|opener| opener.due);
            !other.published && other.closed_at.is_none() && due.is_some_and(|due| due < kin.due)
        };
        let mut storms = self.storms.iter().filter(earlier);
        if storm {
            let members: BTreeSet<Brief> = self.members(generation).map(|(_, kin)| kin.fingerprint).collect();
            let unpublished = |other: &Kin| {
                matches!(other.standing, Standing::Own { published: false, .. }) && other.closed_at.is_none()
            };
            let earlier_own =
                |other: &Kin| unpublished(other) && other.due <= kin.due && members.contains(&other.fingerprint);
            return storms.next().is_some() || self.kin.values().any(earlier_own);
        }
        let joined = |(_, other): (_, &Kin)| {
            other.fingerprint == kin.fingerprint && matches!(other.standing, Standing::Joined { .. })
        };
        storms.any(|earlier| self.members(earlier.generation).any(joined))
    }

    /// An incident that waits for its decision, or whose draft is yet to be acknowledged: its own, or that of its storm.
    #[must_use]
    pub fn unwritten(&self, generation: Generation) -> Option<&Kin> {
        let waits = |kin: &&Kin| match kin.standing {
            Standing::Waiting => true,
            Standing::Own { published, .. } => !published && kin.closed_at.is_none(),
            Standing::Joined { storm, .. } => {
                self.storm(storm).is_some_and(|storm| !storm.published && storm.closed_at.is_none())
            }
            Standing::Assumed => false,
        };
        self.kin.get(&generation).filter(waits)
    }

    /// The draft of an incident is acknowledged: of a storm, or of one of the kin.
    pub fn published(&mut self, generation: Generation, storm: bool, mark: EventTime) {
        if storm {
            for it in self.storms.iter_mut().filter(|it| it.generation == generation && !it.published) {
                it.published = true;
                it.told.at = mark;
            }
        } else if let Some(kin) = self.kin.get_mut(&generation)
            && let Standing::Own { published: published @ false, .. } = &mut kin.standing
        {
            *published = true;
            kin.told.at = kin.told.at.max(mark);
        }
    }

    /// Forgets what can no longer matter to a decision at or after `mark`: kin that are decided, told, and since then
    /// longer silent than `keep`: after a lag the records of others may be unfinished still. Members of a storm go with
    /// the last of them, as its figures are the sum of theirs.
    pub fn forget(&mut self, mark: EventTime, keep: Duration) {
        let over = |at: EventTime| at.plus(keep) < mark;
        let silent = |kin: &Kin| over(kin.seen) && over(kin.told.at);
        let awake = self.kin.values().filter(|kin| !silent(kin)).filter_map(|kin| kin.standing.storm());
        let mut kept: BTreeSet<Generation> = awake.collect();
        let untold = |storm: &Storm| storm.closed_at.is_none() && !(storm.published && storm.told.is_told());
        let kept_by_itself = |storm: &&Storm| untold(storm) || !over(storm.told.at);
        kept.extend(self.storms.iter().filter(kept_by_itself).map(|storm| storm.generation));
        self.kin.retain(|_, kin| {
            !silent(kin)
                || kin.standing.storm().is_some_and(|storm| kept.contains(&storm))
                || match kin.standing {
                    Standing::Waiting => true,
                    Standing::Own { published: false, .. } => kin.closed_at.is_none(),
                    Standing::Own { published: true, .. } | Standing::Assumed => {
                        kin.closed_at.is_none() && !kin.told.is_told()
                    }
                    Standing::Joined { .. } => false,
                }
        });
        let alive: BTreeSet<Generation> = self.kin.values().filter_map(|kin| kin.standing.storm()).collect();
        self.storms.retain(|storm| alive.contains(&storm.generation) || storm.joined.plus(keep) >= mark);
    }
}

/// The highest of the priorities that are known.
pub(super) fn highest(all: impl IntoIterator<Item = Option<Priority>>) -> Option<Priority> {
    all.into_iter().flatten().min()
}

impl Kin {
    /// A member of a storm has no object that would be named by its whole fingerprint.
    fn stands(&mut self, standing: Standing) {
        self.standing = standing;
        self.whole = self.whole.filter(|_| !matches!(standing, Standing::Joined { .. }));
    }

    /// Takes over newer figures; they are absolute and never fall. Returns whether anything changed.
    fn advance(&mut self, newer: Self) -> bool {
        if newer.count < self.count || newer.seen < self.seen {
            return false; // an older view of the same incident, by a repeat
        }
        let before = (self.count, self.seen, self.resolved_at, self.severity.rank);
        // a firing always raises the count, so at the same count a resolution is the later word
        let same = newer.count == self.count;
        self.resolved_at = if same { self.resolved_at.max(newer.resolved_at) } else { newer.resolved_at };
        (self.count, self.seen) = (newer.count, newer.seen);
        if newer.severity.rank > self.severity.rank {
            self.severity = newer.severity;
        }
        let changed = before != (self.count, self.seen, self.resolved_at, self.severity.rank);
        if changed {
            self.told.changed();
        }
        changed
    }

    /// When the object of the storm that it belongs to ended, if the log says so.
    fn storm_closed_at(&self) -> Option<EventTime> {
        self.closed_at.filter(|_| self.closed_as_storm)
    }

    /// Whether there is more to tell than a draft says, which is the first record alone.
    fn is_beyond_its_draft(&self, generation: Generation) -> bool {
        self.count > 1
            || self.seen > generation.at
            || self.resolved_at.is_some()
            || self.severity.rank > self.began.rank
    }
}

impl Standing {
    /// The storm that lists it.
    #[must_use]
    pub fn storm(self) -> Option<Generation> {
        match self {
            Self::Joined { storm, .. } | Self::Own { superseded_by: Some(storm), .. } => Some(storm),
            Self::Waiting | Self::Own { superseded_by: None, .. } | Self::Assumed => None,
        }
    }
}

#[cfg(test)]
mod tests;
