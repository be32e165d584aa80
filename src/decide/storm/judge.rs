//! Decisions in order of due time: an incident of its own, a new storm, or one more of a storm that is active.

use std::{collections::BTreeSet, time::Duration};

use super::{Group, Kin, Standing, Storm, StormTerms, Told, highest};
use crate::{alert::EventTime, decide::dedup::Severity, remediation::Generation};

impl Group {
    /// Takes every decision that is due at `mark`, in order of due time. Returns whether there was one.
    pub fn decide(&mut self, mark: EventTime, terms: &StormTerms) -> bool {
        let mut due: Vec<(EventTime, Generation)> = (self.kin.iter())
            .filter(|(_, kin)| kin.standing == Standing::Waiting && kin.due <= mark)
            .map(|(generation, kin)| (kin.due, *generation))
            .collect();
        due.sort_unstable();
        for &(due, generation) in &due {
            self.decide_one(due, generation, terms);
        }
        !due.is_empty()
    }

    fn decide_one(&mut self, due: EventTime, generation: Generation, terms: &StormTerms) {
        if self.kin.get(&generation).is_none_or(|kin| kin.standing != Standing::Waiting) {
            return; // a storm that was opened on the way took it in
        }
        let closed_at = self.kin.get(&generation).and_then(Kin::storm_closed_at);
        let joins = self.storm_for(generation.at, due, terms);
        let standing = if let Some(storm) = joins.and_then(|place| self.storms.get_mut(place)) {
            storm.joined = storm.joined.max(generation.at);
            storm.told.changed();
            closed_at.into_iter().for_each(|at| storm.close(at));
            Standing::Joined { storm: storm.generation, founder: false }
        } else if self.fingerprints_within(generation, due, terms.window)
            >= usize::try_from(terms.threshold).unwrap_or(usize::MAX)
        {
            return self.open_storm(generation, due, terms.window);
        } else {
            Standing::Own { published: false, superseded_by: None }
        };
        self.kin.entry(generation).and_modify(|kin| kin.stands(standing));
    }

    /// The storm that takes in an alert of this time: one that is active then. Who comes late, after others were decided
    /// without it, also joins the storm whose decision would have counted it.
    fn storm_for(&self, at: EventTime, due: EventTime, terms: &StormTerms) -> Option<usize> {
        let counted = |storm: &Storm| {
            let decided = self.kin.get(&storm.generation).map(|opener| opener.due);
            at < storm.generation.at && decided.is_some_and(|decided| at >= decided.minus(terms.window))
        };
        let active = self.storms.iter().rposition(|storm| storm.takes(at, due, terms));
        active.or_else(|| self.storms.iter().rposition(|storm| storm.outlives(due) && counted(storm)))
    }

    /// Kin within `window` before `due` that wait or have a live object of their own, those of storms apart. The window
    /// reaches from its first moment to its last, both included; whoever is decided counts, after a long cooldown too.
    fn within(
        &self,
        decided: Generation,
        due: EventTime,
        window: Duration,
    ) -> impl Iterator<Item = (&Generation, &Kin)> {
        let from = due.minus(window);
        let within = move |it: Generation| it == decided || (it.at >= from && it.at <= due);
        (self.kin.iter()).filter(move |(generation, _)| within(**generation)).filter(move |(_, kin)| {
            match kin.standing {
                Standing::Waiting => true,
                Standing::Own { superseded_by: None, .. } => kin.closed_at.is_none_or(|closed| closed > due),
                Standing::Own { superseded_by: Some(_), .. } | Standing::Joined { .. } | Standing::Assumed => false,
            }
        })
    }

    fn fingerprints_within(&self, decided: Generation, due: EventTime, window: Duration) -> usize {
        self.within(decided, due, window).map(|(_, kin)| kin.fingerprint).collect::<BTreeSet<_>>().len()
    }

    /// The waiting kin become one incident, carried by the one that is being decided: of those that are due it is the
    /// first, and those whose cooldown is not over shall not delay it. Kin with objects of their own are listed.
    fn open_storm(&mut self, opener: Generation, due: EventTime, window: Duration) {
        let founders: BTreeSet<Generation> =
            self.within(opener, due, window).map(|(generation, _)| *generation).collect();
        let mut storm = Storm::new(opener);
        for (generation, kin) in self.kin.iter_mut().filter(|(generation, _)| founders.contains(generation)) {
            if let Standing::Own { published, .. } = kin.standing {
                kin.told.changed();
                kin.standing = Standing::Own { published, superseded_by: Some(opener) };
            } else {
                kin.storm_closed_at().into_iter().for_each(|at| storm.close(at));
                let whole = kin.whole.filter(|_| *generation == opener);
                kin.stands(Standing::Joined { storm: opener, founder: true });
                kin.whole = whole;
            }
            storm.found(*generation, kin);
        }
        self.storms.push(storm);
    }
}

impl Storm {
    fn new(generation: Generation) -> Self {
        Self {
            generation,
            joined: generation.at,
            decided_count: 0,
            decided_severity: Severity::default(),
            published: false,
            closed_at: None,
            told: Told::default(),
        }
    }

    /// Takes a founder in: the draft says its first firing, and what came after is to be told.
    fn found(&mut self, generation: Generation, kin: &Kin) {
        self.joined = self.joined.max(generation.at);
        self.decided_count = self.decided_count.saturating_add(1);
        if self.decided_severity.name.is_empty() || kin.began.rank > self.decided_severity.rank {
            let known = self.decided_severity.priority;
            self.decided_severity = Severity { priority: highest([known, kin.began.priority]), ..kin.began.clone() };
        } else {
            self.decided_severity.priority = highest([self.decided_severity.priority, kin.began.priority]);
        }
        if kin.is_beyond_its_draft(generation) {
            self.told.changed();
        }
    }

    pub(super) fn close(&mut self, at: EventTime) {
        self.closed_at = Some(self.closed_at.map_or(at, |known| known.min(at)));
    }

    /// Whether its object had not ended by then.
    fn outlives(&self, due: EventTime) -> bool {
        self.closed_at.is_none_or(|closed| closed > due)
    }

    /// Whether an alert of this event time joins, decided at `due`: neither `quiet` nor `max_duration` is over, and its
    /// object had not ended by then.
    fn takes(&self, at: EventTime, due: EventTime, terms: &StormTerms) -> bool {
        self.outlives(due)
            && at >= self.generation.at
            && at <= self.joined.plus(terms.quiet)
            && at <= self.generation.at.plus(terms.max_duration)
    }
}
