//! Answers come back: what they ask of us is judged by [`crate::decide::refusal`], and done here.

use std::{sync::Arc, time::Duration};

use super::{Call, Dead, Desk, Found, Job, Reply};
use crate::{
    alert::Closed,
    decide::{
        outcome::Outcome,
        refusal::{Answer, Refusal, judge},
    },
    remediation::{Draft, Generation, fit, name},
    sink::{
        lanes::{Figures, Lane, Step, Work},
        live::{Ended, speaks_of},
        object::{Object, ObjectId},
        outage::Now,
    },
};

/// Failures before an object can be called stubborn.
const STUBBORN: u32 = 4;
/// Incidents remembered as set aside, so that their updates do not count as those of a lost object.
const REFUSED: usize = 10_000;

impl Desk {
    /// The answer to a call. `chance` in 0..=1 is drawn by the caller.
    pub fn hear(&mut self, job: Job, answer: Result<Found, Answer>, now: Now, chance: f64) -> Reply {
        let Job { call, work } = job;
        let asked = call.asked();
        match answer {
            Ok(found) => {
                self.passed(now);
                self.found(&call, work, found)
            }
            Err(answer) => {
                let refusal = judge(asked, &answer);
                if !matches!(refusal, Refusal::Throttled { .. } | Refusal::Transient | Refusal::Outage | Refusal::Fatal)
                {
                    self.passed(now);
                }
                let mut reply = self.refuse(work, &refusal, &answer, (now, chance));
                reply.refused = Some((refusal, answer));
                reply
            }
        }
    }

    fn passed(&mut self, now: Now) {
        if self.outage.passed(now) {
            self.lanes.wake_all();
        }
    }

    fn found(&mut self, call: &Call, mut work: Work, found: Found) -> Reply {
        let was = work.id.clone();
        match (call, std::mem::replace(&mut work.step, Step::Apply), found) {
            (Call::Create(_), Step::Create(draft), Found::Ours(object)) => {
                work.through = Some(draft.incident.generation);
                self.stands(work, *object, "created")
            }
            (Call::Read(_), Step::ReadBack(draft), Found::Ours(object))
                if object.fingerprint == draft.incident.fingerprint =>
            {
                work.through = Some(draft.incident.generation);
                self.stands(work, *object, "existed")
            }
            (_, Step::Create(draft) | Step::ReadBack(draft), _) => {
                work.suffix += 1;
                work.id = ObjectId::new(&work.id.namespace, &name::suffixed(&draft.incident.name, work.suffix));
                self.create_as(work, was, *draft)
            }
            (Call::Read(_), _, Found::Ours(object))
                if work.through.is_some() || object.fingerprint == work.fingerprint =>
            {
                let tell = self.live.enter(*object).into_iter().collect();
                self.again(&was, work, None);
                Reply { tell, ..Reply::default() }
            }
            (Call::Apply { .. }, _, Found::Ours(object)) => {
                let tell = self.live.enter(*object).into_iter().collect();
                self.done(&was);
                Reply { settled: self.settle(work.held), tell, result: Some("updated"), ..Reply::default() }
            }
            (_, _, Found::Ours(_) | Found::Stranger) => self.not_there(work),
        }
    }

    /// The object exists now; its status is next, in the lane of statuses.
    fn stands(&mut self, mut work: Work, object: Object, result: &'static str) -> Reply {
        let was = work.id.clone();
        let tell = self.live.enter(object).into_iter().collect();
        work.lane = Lane::Status(work.lane.rank());
        (work.attempt, work.failures, work.failed_at) = (0, 0, None);
        self.again(&was, work, None);
        Reply { tell, result: Some(result), ..Reply::default() }
    }

    /// Tries the create, perhaps under another name or in another namespace than before.
    fn create_as(&mut self, mut work: Work, was: ObjectId, draft: Draft) -> Reply {
        let waits = self.live.object(&was).is_none_or(|object| object.version.is_empty());
        let expected = self.live.object(&was).filter(|_| waits).cloned();
        if waits {
            self.live.forget(&was);
        }
        if self.live.object(&work.id).is_none() {
            self.live.enter(expected.map_or_else(
                || Object::expected(&draft, work.id.clone()),
                |object| Object { id: work.id.clone(), ..object },
            ));
        }
        work.step = Step::Create(Box::new(draft));
        self.again(&was, work, None);
        Reply::default()
    }

    fn again(&mut self, was: &ObjectId, work: Work, rest: Option<(Now, Duration)>) {
        self.lanes.put_back(was, work, rest.map(|(now, rest)| (now.instant, rest)));
    }

    fn refuse(&mut self, mut work: Work, refusal: &Refusal, answer: &Answer, (now, chance): (Now, f64)) -> Reply {
        let was = work.id.clone();
        let rest = self.rules.backoff.rest(work.attempt, chance);
        match refusal {
            Refusal::Settled | Refusal::Stale => self.look(work),
            Refusal::Gone => self.miss(work),
            Refusal::Throttled { told } => {
                self.outage.throttled(now);
                let alone = work.failed_at.is_some_and(|at| self.outage.passed_since(at));
                let rest = told.filter(|told| !told.is_zero()).unwrap_or(rest);
                work.attempt = work.attempt.saturating_add(1);
                work.failed_at = Some(now.instant);
                self.again(&was, work, alone.then_some((now, rest)));
                Reply { pause: (!alone).then_some(rest), ..Reply::default() }
            }
            Refusal::Outage => {
                let turn = self.outage.named(&was, now);
                self.again(&was, work, None);
                Reply { pause: Some(self.rules.backoff.rest(turn, chance)), ..Reply::default() }
            }
            Refusal::Transient => self.fail(work, answer, (now, chance)),
            Refusal::NamespaceMissing => self.fall_back(work, answer),
            Refusal::Poison => self.set_aside(work, "refused", &sentence(answer)),
            Refusal::Fatal => {
                self.again(&was, work, None);
                Reply::default()
            }
        }
    }

    /// The name is taken, or the object changed: how does it stand?
    fn look(&mut self, mut work: Work) -> Reply {
        work.step = match work.step {
            Step::Create(draft) | Step::ReadBack(draft) => Step::ReadBack(draft),
            Step::Read | Step::Apply => Step::Read,
        };
        self.again(&work.id.clone(), work, None);
        Reply::default()
    }

    /// Not there: a name that was taken is free again; anything else is gone.
    fn miss(&mut self, mut work: Work) -> Reply {
        match std::mem::replace(&mut work.step, Step::Apply) {
            Step::ReadBack(draft) => {
                let was = work.id.clone();
                self.create_as(work, was, *draft)
            }
            Step::Create(_) | Step::Read | Step::Apply => self.not_there(work),
        }
    }

    /// Rests, by itself; gives up on what fails while others pass. While nothing passes, everything rests.
    fn fail(&mut self, mut work: Work, answer: &Answer, (now, chance): (Now, f64)) -> Reply {
        let turn = self.outage.failed(&work.id, now);
        let others_pass = work.failed_at.is_some_and(|at| self.outage.passed_since(at));
        let from = work.since.max(self.outage.ended().unwrap_or(work.since));
        let left = from.plus(self.rules.give_up_after).0.saturating_sub(now.wall.0);
        work.failures = work.failures.saturating_add(u32::from(others_pass));
        if left <= 0 && others_pass && work.failures >= STUBBORN && !self.outage.is_on() {
            let detail =
                format!("gave up after {} failures while others passed; the last: {}", work.failures, sentence(answer));
            return self.set_aside(work, "gave_up", &detail);
        }
        let rest = self.rules.backoff.rest(work.attempt, chance);
        let rest = if left > 0 { rest.min(Duration::from_millis(left.unsigned_abs())) } else { rest };
        work.attempt = work.attempt.saturating_add(1);
        work.failed_at = Some(now.instant);
        self.again(&work.id.clone(), work, Some((now, rest)));
        let pause = self.outage.is_on().then(|| self.rules.backoff.rest(turn, chance));
        Reply { pause, ..Reply::default() }
    }

    fn fall_back(&mut self, mut work: Work, answer: &Answer) -> Reply {
        let was = work.id.clone();
        match std::mem::replace(&mut work.step, Step::Apply) {
            Step::Create(draft) if *was.namespace != *self.rules.fallback => {
                work.id = ObjectId::new(&self.rules.fallback, &was.name);
                self.create_as(work, was, *draft)
            }
            step @ (Step::Create(_) | Step::ReadBack(_) | Step::Read | Step::Apply) => {
                work.step = step;
                let fallback = &self.rules.fallback;
                let detail = format!(
                    "the fallback namespace {fallback} does not exist: create it, then redrive ({})",
                    sentence(answer)
                );
                self.set_aside(work, "refused", &detail)
            }
        }
    }

    /// Never passes as it is. What follows for the same object goes with it: drafts, and the newest figures.
    fn set_aside(&mut self, work: Work, reason: &'static str, detail: &str) -> Reply {
        let opened = matches!(work.step, Step::Create(_) | Step::ReadBack(_));
        let mut held = work.held;
        if opened {
            held.extend(self.lanes.withdraw(&work.id).into_iter().flat_map(|behind| behind.held));
            self.live.forget(&work.id);
            self.refused_incident(work.figures.into_iter().map(|figures| figures.incident.name));
        }
        self.done(&work.id);
        let mut dead = Vec::new();
        held.retain(|held| self.is_open(held));
        for held in held.iter_mut().filter(|held| !held.shared && !held.record.value.is_empty()) {
            held.outcome = Outcome::DeadLettered;
            dead.push(Dead { record: held.record.clone(), reason, detail: format!("{}: {detail}", work.id) });
        }
        Reply { settled: self.settle(held), dead, ..Reply::default() }
    }

    fn refused_incident(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            if self.refused.insert(name.clone()) {
                self.refused_order.push_back(name);
            }
        }
        while self.refused_order.len() > REFUSED {
            if let Some(oldest) = self.refused_order.pop_front() {
                self.refused.remove(&oldest);
            }
        }
    }

    /// The API server says that there is no such object.
    fn not_there(&mut self, mut work: Work) -> Reply {
        if let Some(ended) = self.live.forget(&work.id) {
            let mut reply = self.vanished(work);
            reply.tell.push(ended);
            return reply;
        }
        if work.through.is_none() && !work.held.is_empty() && *work.id.namespace != *self.rules.fallback {
            let was = std::mem::replace(&mut work.id, ObjectId::new(&self.rules.fallback, ""));
            work.id.name = Arc::clone(&was.name);
            work.step = Step::Read;
            self.again(&was, work, None);
            return Reply::default();
        }
        // told under the name that its object would have, not under the last place where it was looked for
        let nobodys = work.figures.iter().filter(|_| work.through.is_none());
        let lost = nobodys.map(|figures| lost(figures, &self.place(&figures.incident))).collect();
        let mut reply = self.vanished(work);
        reply.tell = lost;
        reply
    }

    /// What waited for an object that is gone: a newer draft opens anew, anything else is over with it.
    pub(super) fn vanished(&mut self, work: Work) -> Reply {
        let mut reply = self.over(work);
        reply.result = Some("gone");
        reply
    }

    /// It is final by now: newer records open anew, the others are over with it, and a mark that waits goes on.
    pub(super) fn ended_meanwhile(&mut self, work: Work) -> Reply {
        let (id, mark, since) = (work.id.clone(), work.mark, work.since);
        let through = self.reaches(&work);
        let over = |figures: &&Figures| through.is_none_or(|through| figures.incident.generation <= through);
        let own = work.figures.iter().filter(over).flat_map(|of| speaks_of(&of.incident, &of.progress)).collect();
        let tell = self.live.late(&id, own);
        let mut reply = self.over(work);
        reply.tell.extend(tell);
        if mark {
            self.mark(&id, since);
        }
        reply
    }

    /// The newest generation that the object stood for, as far as anyone here knows.
    fn reaches(&self, work: &Work) -> Option<Generation> {
        let newest = self.live.object(&work.id).map(Object::newest);
        work.through.map(|through| newest.map_or(through, |newest| newest.max(through)))
    }

    /// Records of newer generations are sorted anew, in order; the older ones are over.
    fn over(&mut self, work: Work) -> Reply {
        let through = self.reaches(&work);
        self.done(&work.id);
        let (mut reply, mut settled) = (Reply::default(), Vec::new());
        for mut held in work.held {
            let generation = held.of.map(|(_, _, generation)| generation);
            let newer = generation.zip(through).is_some_and(|(generation, through)| generation > through);
            if newer && !held.record.value.is_empty() {
                let anew = self.sort(held.record, held.epoch);
                reply.settled.extend(anew.settled);
                reply.tell.extend(anew.tell);
            } else {
                held.outcome = if newer { held.outcome } else { Outcome::Closed };
                settled.push(held);
            }
        }
        reply.settled.extend(self.settle(settled));
        reply
    }
}

/// What to tell of an incident whose object nobody has.
fn lost(figures: &Figures, id: &ObjectId) -> Ended {
    let Figures { incident, progress } = figures;
    let told = speaks_of(incident, progress).map(|(fingerprint, through)| Closed {
        fingerprint,
        through,
        object: id.to_string(),
        phase: "Deleted".to_owned(),
        storm: incident.storm,
    });
    let (group, fingerprint) = (Some(incident.group), incident.fingerprint);
    Ended { id: id.clone(), group, fingerprint, told: told.collect(), exists: false }
}

/// An answer in words, for a dead letter.
fn sentence(answer: &Answer) -> String {
    let Answer { code, reason, message, field, .. } = answer;
    let field = field.as_ref().map(|field| format!(" field={field}")).unwrap_or_default();
    fit::cut(&format!("code={code} reason={reason}{field} {message}"), 2_000)
}
