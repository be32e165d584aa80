//! What was told to the sink, and when the next may be told: the first change at once, then at doubling intervals.

use std::{collections::BTreeMap, time::Duration};

use super::{Group, Kin, Standing, Storm};
use crate::{
    alert::{Brief, EventTime},
    remediation::Generation,
};

/// The first interval between two updates of one incident; it doubles up to the pipeline's.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// How much of an incident's changes was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Changes so far; what the draft says is change 0.
    pub changes: u32,
    /// The latest change that was told and acknowledged.
    pub told: u32,
    /// When it was told.
    pub at: EventTime,
    /// How long the next one waits after that.
    pub interval: Duration,
}

impl Told {
    /// Something changed.
    pub fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// Whether nothing is left to tell.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.changes == self.told
    }

    /// Notes that the given change was told at `mark`. A quiet stretch as long as `longest` starts the doubling anew.
    fn tell(&mut self, change: u32, mark: EventTime, longest: Duration) {
        let calm = mark >= self.at.plus(longest.saturating_mul(2));
        self.interval =
            if calm { FIRST_INTERVAL } else { self.interval.saturating_mul(2).max(FIRST_INTERVAL) }.min(longest);
        self.told = change;
        self.at = mark;
    }
}

/// An incident with something left to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Its first record.
    pub generation: Generation,
    /// Whether it is a storm.
    pub storm: bool,
    /// The change that telling it now covers.
    pub change: u32,
    /// When it may be told.
    pub due: EventTime,
}

impl Kin {
    /// Whether an object of its own may be there to be told of.
    fn has_its_own_object(&self) -> bool {
        matches!(self.standing, Standing::Own { .. } | Standing::Assumed)
    }

    /// Its figures, if they are yet to be told.
    fn untold(&self, generation: Generation) -> Option<Untold> {
        let left = self.has_its_own_object() && self.closed_at.is_none() && !self.told.is_told();
        left.then_some(Untold { generation, storm: false, change: self.told.changes, due: self.told.at })
    }
}

impl Group {
    /// All that is left to tell and whose draft is out. Storms are told at most once in `storm_interval`.
    pub fn untold(&self, storm_interval: Duration) -> impl Iterator<Item = Untold> {
        let kin = (self.kin.iter())
            .filter(|(_, kin)| matches!(kin.standing, Standing::Own { published: true, .. } | Standing::Assumed))
            .filter(|(_, kin)| kin.closed_at.is_none())
            .map(|(generation, kin)| (*generation, false, kin.told, kin.told.interval));
        let storms = (self.storms.iter())
            .filter(|storm| storm.published && storm.closed_at.is_none())
            .map(move |storm| (storm.generation, true, storm.told, storm_interval));
        kin.chain(storms).filter(|(_, _, told, _)| !told.is_told()).map(|(generation, storm, told, interval)| Untold {
            generation,
            storm,
            change: told.changes,
            due: told.at.plus(interval),
        })
    }

    /// What goes out before this draft: the figures of the incident of its fingerprint before it, or of the storm that
    /// took that in; before a storm, of the storm before, and of its members' own incidents before. Where both meet in one
    /// live object, it must hear of the older one first: of two generations it counts only what it hears of the newer.
    #[must_use]
    pub fn untold_before(&self, generation: Generation, storm: bool) -> Vec<Untold> {
        let told = |storm: &Storm| storm.closed_at.is_some() || storm.told.is_told();
        let before = if storm {
            self.storms.iter().take_while(|storm| storm.generation != generation).last()
        } else {
            let Some(whose) = self.kin.get(&generation).map(|kin| kin.fingerprint) else { return Vec::new() };
            let mut before = self.kin.range(..generation).rev().filter(|(_, kin)| kin.fingerprint == whose);
            let Some((began, kin)) = before.next() else { return Vec::new() };
            if kin.has_its_own_object() {
                return kin.untold(*began).into_iter().collect();
            }
            kin.standing.storm().and_then(|storm| self.storm(storm))
        };
        let storms = before.filter(|storm| !told(storm)).map(|before| Untold {
            generation: before.generation,
            storm: true,
            change: before.told.changes,
            due: before.told.at,
        });
        let members = if storm { self.untold_of_members(generation) } else { Vec::new() };
        storms.into_iter().chain(members).collect()
    }

    /// Figures of earlier incidents of a storm's members that are yet to be told: their objects may be live still, and
    /// then count the members' firings in the storm too.
    #[must_use]
    pub fn untold_of_members(&self, storm: Generation) -> Vec<Untold> {
        let out = |kin: &Kin| !matches!(kin.standing, Standing::Own { published: false, .. });
        let told = self.kin.iter().filter(|(_, kin)| out(kin));
        let mut untold: Vec<Untold> = told.filter_map(|(generation, kin)| kin.untold(*generation)).collect();
        if !untold.is_empty() {
            let joined = self.members(storm).filter(|(_, kin)| matches!(kin.standing, Standing::Joined { .. }));
            let joined: BTreeMap<Brief, Generation> = joined.map(|(began, kin)| (kin.fingerprint, *began)).collect();
            let later = |untold: &Untold| joined.get(&self.kin.get(&untold.generation)?.fingerprint).copied();
            untold.retain(|untold| later(untold).is_some_and(|later| untold.generation < later));
        }
        untold
    }

    /// The update is acknowledged.
    pub fn told(&mut self, untold: &Untold, mark: EventTime, longest: Duration) {
        let told = if untold.storm {
            self.storms.iter_mut().find(|storm| storm.generation == untold.generation).map(|storm| &mut storm.told)
        } else {
            self.kin.get_mut(&untold.generation).map(|kin| &mut kin.told)
        };
        if let Some(told) = told {
            told.tell(untold.change, mark, longest);
        }
    }
}
