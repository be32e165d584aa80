//! Members of a storm that have objects of their own: they are counted there, and not twice.

use super::{Desk, Reply};
use crate::{
    alert::{EventTime, Position},
    decide::outcome::Outcome,
    remediation::{Generation, Incident, Member, Progress, Remediation},
    sink::{
        lanes::{Figures, Held, Step, Work},
        object::{Object, ObjectId},
    },
};

impl Desk {
    pub(super) fn live_ones(&self, mut elsewhere: Vec<(Member, ObjectId)>) -> Vec<(Member, ObjectId)> {
        elsewhere.retain(|(_, id)| self.live.object(id).is_some_and(Object::is_live));
        elsewhere
    }

    /// Members of a storm that have live objects of their own are counted there.
    pub(super) fn count_elsewhere(&mut self, elsewhere: &[(Member, ObjectId)], storm: &Incident, held: &Held) {
        for (member, id) in elsewhere {
            let generation = Generation { at: member.first_seen, position: Position { partition: -1, offset: -1 } };
            let Some(object) = self.live.object(id) else { continue };
            let (fingerprint, through) = (object.fingerprint, Some(object.newest()));
            let incident = Incident { fingerprint, generation, storm: false, ..storm.clone() };
            let mut work = Work::new(id.clone(), &incident, Step::Apply, held.record.at);
            work.through = through;
            work.figure(Figures { incident, progress: once(member.first_seen) });
            work.held.push(held.clone());
            self.lanes.push(work);
        }
    }

    /// A storm of which nobody is left, as all its members are counted elsewhere, has no object that could be missed.
    pub(super) fn dissolved(&mut self, remediation: &Remediation, held: &Held) -> Option<Reply> {
        let (incident, storm) = (remediation.incident(), remediation.progress().storm.as_ref()?);
        let elsewhere = self.live.elsewhere(&incident.name, storm, None);
        if storm.members.is_empty() || elsewhere.len() < storm.members.len() {
            return None;
        }
        let elsewhere = self.live_ones(elsewhere);
        if elsewhere.is_empty() {
            let held = Held { outcome: Outcome::Closed, ..held.clone() };
            return Some(Reply { settled: self.settle(vec![held]), ..Reply::default() });
        }
        self.share(held, elsewhere.len());
        self.count_elsewhere(&elsewhere, incident, held);
        Some(Reply::default())
    }
}

/// One firing of a storm's member, for the object that it has of its own.
fn once(at: EventTime) -> Progress {
    Progress {
        first_seen: at,
        last_seen: at,
        count: 1,
        severity: String::new(),
        priority: String::new(),
        resolved_at: None,
        superseded_by: None,
        storm: None,
    }
}
