//! One fingerprint's records in their order → what each of them is: new, a repeat, a redelivery, an end.
//!
//! The answer depends on the memo, the record's position and its event time alone, so that a record that comes
//! again, on this worker or another, is answered as it was the first time. **Invariant:** nothing in here knows
//! whether a draft was published; a record that opened an incident stays unfinished until that is so.

use std::{sync::Arc, time::Duration};

use crate::{
    alert::{EventTime, Position},
    pipeline::{dedup::DedupPolicy, priority::Priority},
    remediation::{Generation, GroupId},
};

/// What memory keeps of one fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo {
    /// Its two latest incidents, the newest last: several may lie in one unfinished stretch of the log.
    pub runs: Vec<Run>,
    /// The last record applied, for each partition that it came from; normally one.
    pub last: Vec<Last>,
}

/// One incident of a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first record.
    pub generation: Generation,
    /// The storm group of that record.
    pub group: GroupId,
    /// Firings, twins apart.
    pub count: u64,
    /// The latest firing.
    pub seen: EventTime,
    /// The highest severity so far, and its rank.
    pub severity: Severity,
    /// When it was resolved; none while it fires.
    pub resolved_at: Option<EventTime>,
    /// When its object ended.
    pub closed_at: Option<EventTime>,
    /// When its draft may go out: after the hold, or after the cooldown of the one before.
    pub due: EventTime,
    /// startsAt of the latest record, to know its twin.
    pub starts_at: Option<EventTime>,
}

/// A severity with its rank in the pipeline's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Severity {
    /// Higher is worse.
    pub rank: u32,
    /// As shown.
    pub name: String,
    /// What the policy says of an alert at this severity. None where it was not asked yet.
    pub priority: Option<Priority>,
}

/// The last record of a fingerprint that was applied from one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Where it stands.
    pub position: Position,
    /// When it was appended; a topic made anew starts at offset 0 with later times.
    pub at: EventTime,
}

/// One record, as far as its fingerprint's memo is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Where it stands.
    pub position: Position,
    /// Its event time.
    pub at: EventTime,
    /// What it says; records that repeat one another share it.
    pub what: Arc<What>,
}

/// What a record says of its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It fires.
    Firing(Firing),
    /// It has ended, says its source.
    Resolved {
        /// By its source.
        starts_at: Option<EventTime>,
        /// The storm group of this record.
        group: GroupId,
    },
    /// The object that stood for generations up to this event time has ended.
    Closed {
        /// The newest generation that it stood for.
        through: EventTime,
    },
}

/// A firing, as far as dedup is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// Through the alias table, ranked.
    pub severity: Severity,
    /// When it began, by its source.
    pub starts_at: Option<EventTime>,
    /// The storm group of this record.
    pub group: GroupId,
}

/// What a record is judged by.
pub struct Rules<'a> {
    /// The pipeline's section.
    pub policy: &'a DedupPolicy,
    /// How long a new incident waits to see whether it is part of a storm.
    pub hold: Duration,
    /// Whether the record that opened an incident is still in somebody's hands.
    pub unfinished: &'a dyn Fn(&Run) -> bool,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It opens an incident, and waits for its decision. `again` if it was read before.
    Opens {
        /// The incident.
        generation: Generation,
        /// Whether memory knew the record already.
        again: bool,
    },
    /// It repeats a live incident.
    Duplicate,
    /// It resolves an incident, or none that is known.
    Resolved,
    /// It closes what there was.
    Closed,
    /// It was read before, and opened nothing.
    Again,
}

/// The record would open a third incident while the first of the two remembered is unfinished: its answer would be
/// forgotten. The batch ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Memo {
    /// Applies one record.
    ///
    /// # Errors
    /// [`TooMany`] leaves the memo as it was.
    pub fn apply(&mut self, sighting: &Sighting, rules: &Rules<'_>) -> Result<Answer, TooMany> {
        if self.knows(sighting) {
            let began = |run: &&Run| run.generation.position == sighting.position && run.count > 0;
            let opened = self.runs.iter().find(began);
            return Ok(opened.map_or(Answer::Again, |run| Answer::Opens { generation: run.generation, again: true }));
        }
        let answer = match &*sighting.what {
            What::Firing(firing) => self.fire(sighting, firing, rules)?,
            What::Resolved { starts_at, group } => self.resolve(sighting, *starts_at, *group),
            What::Closed { through } => self.close(sighting.at, *through),
        };
        self.note(sighting);
        Ok(answer)
    }

    /// The severity that the record just applied has brought, if its priority was not asked yet.
    pub fn unjudged(&mut self) -> Option<&mut Severity> {
        let run = self.runs.last_mut().filter(|run| run.count > 0)?;
        Some(&mut run.severity).filter(|severity| severity.priority.is_none())
    }

    /// The incident that a repeat belongs to: the newest.
    #[must_use]
    pub fn current(&self) -> Option<&Run> {
        self.runs.last()
    }

    fn knows(&self, sighting: &Sighting) -> bool {
        self.last.iter().any(|last| {
            last.position.partition == sighting.position.partition
                && sighting.position.offset <= last.position.offset
                && sighting.at <= last.at
        })
    }

    fn note(&mut self, sighting: &Sighting) {
        let now = Last { position: sighting.position, at: sighting.at };
        match self.last.iter_mut().find(|last| last.position.partition == now.position.partition) {
            // a new leader's clock may be behind, and what was read before is so by its offset
            Some(last) if now.position.offset > last.position.offset => *last = Last { at: last.at.max(now.at), ..now },
            Some(last) => *last = now, // a topic made anew
            None => self.last.push(now),
        }
    }

    fn fire(&mut self, sighting: &Sighting, firing: &Firing, rules: &Rules<'_>) -> Result<Answer, TooMany> {
        if let Some(run) = self.runs.last_mut()
            && run.takes(sighting.at, rules.policy)
        {
            run.repeat(sighting.at, firing, rules.policy);
            return Ok(Answer::Duplicate);
        }
        if self.runs.len() == 2 && (rules.unfinished)(&self.runs[0]) {
            return Err(TooMany);
        }
        let ended = self.runs.last().filter(|run| run.count > 0).and_then(|run| run.closed_at);
        let cooled = ended.map_or(sighting.at, |closed| closed.plus(rules.policy.cooldown));
        let generation = Generation { at: sighting.at, position: sighting.position };
        if self.runs.len() == 2 {
            self.runs.remove(0);
        }
        self.runs.push(Run {
            generation,
            group: firing.group,
            count: 1,
            seen: sighting.at,
            severity: firing.severity.clone(),
            resolved_at: None,
            closed_at: None,
            due: cooled.max(sighting.at.plus(rules.hold)),
            starts_at: firing.starts_at,
        });
        Ok(Answer::Opens { generation, again: false })
    }

    /// A resolve outlives the ttl, as an alert may fire for hours without a repeat. Of an incident that memory never
    /// knew or has forgotten, the log's word is passed on all the same: its object may be live.
    fn resolve(&mut self, sighting: &Sighting, starts_at: Option<EventTime>, group: GroupId) -> Answer {
        match self.runs.last_mut() {
            Some(run) if run.closed_at.is_none() => {
                run.resolved_at = Some(sighting.at);
                run.starts_at = starts_at;
            }
            Some(_) => {}
            None => self.runs.push(Run {
                generation: Generation { at: sighting.at, position: sighting.position },
                group,
                count: 0,
                seen: sighting.at,
                severity: Severity::default(),
                resolved_at: Some(sighting.at),
                closed_at: Some(sighting.at), // nothing is live by it: the next firing opens an incident
                due: sighting.at,
                starts_at,
            }),
        }
        Answer::Resolved
    }

    fn close(&mut self, at: EventTime, through: EventTime) -> Answer {
        for run in self.runs.iter_mut().filter(|run| run.generation.at <= through && run.closed_at.is_none()) {
            run.closed_at = Some(at);
        }
        Answer::Closed
    }
}

impl Run {
    /// Whether a firing at this time belongs to this incident: it is live, or the firing lies before its end.
    fn takes(&self, at: EventTime, policy: &DedupPolicy) -> bool {
        match self.closed_at {
            Some(_) if self.count == 0 => false,
            Some(closed) => at < closed,
            // one that waits for the end of a cooldown is live until its draft can have been out for the ttl
            None => at <= self.seen.max(self.due).plus(policy.ttl),
        }
    }

    fn repeat(&mut self, at: EventTime, firing: &Firing, policy: &DedupPolicy) {
        let twin = !policy.twin_window.is_zero()
            && self.resolved_at.is_none()
            && firing.starts_at.is_some()
            && self.starts_at == firing.starts_at
            && at <= self.seen.plus(policy.twin_window);
        if !twin {
            self.count = self.count.saturating_add(1);
            self.seen = self.seen.max(at);
        }
        self.starts_at = firing.starts_at;
        self.resolved_at = None;
        if firing.severity.rank > self.severity.rank {
            self.severity = firing.severity.clone();
        }
    }
}

#[cfg(test)]
mod tests;
