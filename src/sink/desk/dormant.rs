//! Storms of which nobody is left: each member has a live object of its own and is counted there, so there is no object.
//!
//! Whoever joins such a storm later may have none, and its record is long finished by then. So the storm's draft stays in
//! hand for as long as the storm may grow; the first such joiner makes it an object, of those who are counted nowhere else.
//! As any record in hand it is uncommitted: after a crash it comes again, and what followed it too.

use std::{collections::BTreeMap, time::Duration};

use super::{Desk, Reply, readable};
use crate::{
    alert::EventTime,
    decide::outcome::Outcome,
    remediation::{Incident, Member, Remediation},
    sink::{lanes::Held, object::ObjectId},
};

/// How far `work` may be behind with what it tells of a storm.
const BEHIND: Duration = Duration::from_mins(2);
/// Drafts that are kept; of more, those that are over first are let go.
const MOST: usize = 1_000;
/// Bytes of the drafts that are kept.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Drafts of storms without an object, by the name that it would have. They have room of their own: while they wait for
/// minutes, the records that others wait for are still read.
#[derive(Debug, Default)]
pub(super) struct Dormant {
    drafts: BTreeMap<String, Draft>,
    /// Of their records' values.
    bytes: usize,
}

/// A record that holds such a draft.
#[derive(Debug)]
struct Draft {
    held: Held,
    /// When nobody joins it any more.
    until: EventTime,
}

impl Dormant {
    pub(super) fn len(&self) -> usize {
        self.drafts.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn first(&self) -> Option<(&String, EventTime)> {
        self.drafts.iter().map(|(name, draft)| (name, draft.until)).min_by_key(|(_, until)| *until)
    }

    fn keep(&mut self, name: &str, draft: Draft) -> Vec<Held> {
        let mut out: Vec<Held> = self.take(name).into_iter().collect();
        self.bytes += draft.held.record.value.len();
        self.drafts.insert(name.to_owned(), draft);
        while self.drafts.len() > MOST || self.bytes > MOST_BYTES {
            let Some(name) = self.first().map(|(name, _)| name.clone()) else { break };
            out.extend(self.take(&name));
        }
        out
    }

    fn take(&mut self, name: &str) -> Option<Held> {
        let held = self.drafts.remove(name)?.held;
        self.bytes -= held.record.value.len();
        Some(held)
    }

    /// Forgets the records of a partition that is no longer ours.
    pub(super) fn release(&mut self, partition: i32) {
        self.drafts.retain(|_, draft| draft.held.record.position.partition != partition);
        self.bytes = self.drafts.values().map(|draft| draft.held.record.value.len()).sum();
    }
}

impl Desk {
    /// Storms without an object, whose drafts stay in hand.
    #[must_use]
    pub fn dormant(&self) -> usize {
        self.dormant.len()
    }

    /// When a draft of a storm without an object is let go next.
    #[must_use]
    pub fn next_let_go(&self) -> Option<EventTime> {
        self.dormant.first().map(|(_, until)| until)
    }

    /// Lets go of the drafts of storms that nobody joins any more.
    pub fn let_go(&mut self, now: EventTime) -> Reply {
        let mut over = Vec::new();
        while let Some((name, _)) = self.dormant.first().filter(|(_, until)| *until <= now) {
            let name = name.clone();
            over.extend(self.dormant.take(&name));
        }
        Reply { settled: self.settle(over), ..Reply::default() }
    }

    /// A new storm, all of whose members are counted elsewhere: on these objects, as far as they are live.
    pub(super) fn sleep(&mut self, storm: &Incident, elsewhere: &[(Member, ObjectId)], mut held: Held) -> Reply {
        held.outcome = if elsewhere.is_empty() { Outcome::Closed } else { Outcome::Duplicate };
        self.share(&held, elsewhere.len() + 1);
        self.count_elsewhere(elsewhere, storm, &Held { shared: true, ..held.clone() });
        let life = self.rules.life.max_duration.saturating_add(self.rules.life.quiet);
        let until = held.record.at.plus(life).plus(BEHIND);
        let settled = self.dormant.keep(&storm.name, Draft { held, until });
        Reply { settled: self.settle(settled), ..Reply::default() }
    }

    /// An update of such a storm that counts somebody who is counted nowhere else: now it gets its object.
    pub(super) fn rouse(&mut self, update: &Remediation, held: &Held) -> Option<Reply> {
        let (incident, storm) = (update.incident(), update.progress().storm.as_ref()?);
        if self.live.elsewhere(&incident.name, storm, None).len() >= storm.members.len() {
            return None;
        }
        let mut opens = self.dormant.take(&incident.name)?;
        let Ok(Remediation::Draft(mut draft)) = readable(&opens.record) else { return None };
        draft.progress = update.progress().clone();
        opens.outcome = Outcome::Created;
        let opened = self.open(*draft, opens);
        let mut reply = self.sort(held.record.clone(), held.epoch);
        reply.settled.extend(opened.settled);
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::MOST;
    use crate::{
        alert::EventTime,
        remediation::{Incident, Remediation},
        sink::{
            desk::{Desk, Rules},
            live::Sight,
            specimen::*,
        },
    };

    const FOUNDERS: [(&str, i64); 3] = [("m1", 900), ("m2", 901), ("m3", 902)];

    /// Three objects, and the draft of a storm of the same three.
    fn dissolved() -> (Bench, Incident, Remediation) {
        let (mut bench, incident) = (Bench::new(), storm("m1", 900));
        (1..4).for_each(|n| bench.take(&opens(&format!("m{n}"), n)));
        let drafted = Remediation::Draft(Box::new(draft(&incident, kin(&incident, 3, &FOUNDERS), "m1")));
        bench.take(&drafted);
        bench.settle();
        assert_eq!((bench.server.objects.len(), bench.outcomes().len()), (3, 3), "the draft is in hand");
        (bench, incident, drafted)
    }

    fn joined(incident: &Incident, joiners: &[(&str, i64)]) -> Remediation {
        let members = [&FOUNDERS, joiners].concat();
        goes_on(incident, kin(incident, members.len() as u64, &members))
    }

    #[track_caller]
    fn check(bench: &Bench, incident: &Incident, joiners: u64) {
        let storm = bench.object(incident).status.storm_aggregation.clone().unwrap();
        assert_eq!((storm.total_affected_resources, storm.alert_count), (joiners, joiners));
        assert_eq!((bench.server.objects.len(), bench.closed(), bench.count(&single("m2", 2))), (4, 0, 2));
    }

    #[test]
    fn f17_who_joins_a_storm_of_which_nobody_was_left_makes_it_an_object() {
        let (mut bench, incident, _) = dissolved();
        bench.take(&joined(&incident, &[("d", 920)]));
        bench.settle();
        check(&bench, &incident, 1);
        assert_eq!(bench.outcomes()[3..], ["created", "duplicate"]);
        bench.take(&joined(&incident, &[("d", 920), ("e", 930)]));
        bench.settle();
        check(&bench, &incident, 2);
        assert_eq!(bench.desk.next_let_go(), None);
    }

    #[test]
    fn f17_so_after_a_crash_as_its_draft_was_not_committed() {
        let (mut bench, incident, drafted) = dissolved();
        bench.desk = Desk::new(rules());
        bench.desk.see(Sight::Begin);
        for object in bench.server.objects.values() {
            bench.desk.see(Sight::Stands(Box::new(object.clone())));
        }
        bench.desk.see(Sight::Whole);
        bench.take(&drafted);
        bench.take(&drafted);
        bench.take(&joined(&incident, &[("d", 920)]));
        bench.settle();
        check(&bench, &incident, 1);
        assert_eq!(bench.outcomes().len(), 3 + 3, "each is settled");
    }

    #[test]
    fn a_draft_of_nobody_is_let_go_when_nobody_can_join_any_more() {
        let (mut bench, ..) = dissolved();
        let until = bench.desk.next_let_go().unwrap();
        assert_eq!(until.0 - bench.now.wall.0, (5 + 1 + 2) * 60_000);
        assert!(bench.desk.let_go(EventTime(until.0 - 1)).settled.is_empty());
        let settled = bench.desk.let_go(until).settled;
        assert_eq!(settled.iter().map(|held| held.outcome.as_str()).collect::<Vec<_>>(), ["duplicate"]);
        assert_eq!(bench.desk.next_let_go(), None);
    }

    #[test]
    fn drafts_of_nobody_take_no_room_from_others_and_are_let_go_above_their_own() {
        let (mut bench, ..) = dissolved();
        let of_one = bench.desk.dormant.bytes();
        bench.desk.change(Rules { capacity: 1, ..rules() });
        assert!(of_one > 0 && bench.desk.has_room());
        for n in 0..MOST as i64 {
            let incident = storm(&format!("another-{n}"), 2_000 + n);
            bench.take(&Remediation::Draft(Box::new(draft(&incident, kin(&incident, 3, &FOUNDERS), "m1"))));
            bench.settle();
        }
        assert_eq!(bench.desk.dormant(), MOST);
        assert_eq!(bench.outcomes().len(), 3 + 1, "the one that is over first is settled");
        assert!(bench.desk.has_room() && bench.desk.dormant.bytes() <= MOST * 2 * of_one);
        bench.desk.release(0);
        assert_eq!((bench.desk.dormant(), bench.desk.dormant.bytes()), (0, 0));
    }

    #[test]
    fn a_draft_of_nobody_goes_with_its_partition() {
        let (mut bench, ..) = dissolved();
        bench.desk.release(0);
        assert_eq!(bench.desk.next_let_go(), None);
    }
}
