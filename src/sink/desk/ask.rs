//! What is asked next of the API server, in the order of the lanes, by what is known at that moment.

use super::{Call, Desk, Job, Next, Reply};
use crate::{
    alert::headers::TRACEPARENT,
    remediation::crd::RemediationRequestStatus,
    sink::{
        fold::{self, fold},
        lanes::{Step, Work},
        object::shape,
        outage::Now,
    },
};

impl Desk {
    /// The next call, of those that are due now.
    pub fn next(&mut self, now: Now) -> Next {
        let Some(work) = self.lanes.pop(now.instant) else {
            return Next::Rest;
        };
        match self.prepare(work) {
            Ok(job) => Next::Ask(Box::new(job)),
            Err(reply) => Next::Reply(reply),
        }
    }

    fn prepare(&mut self, mut work: Work) -> Result<Job, Box<Reply>> {
        work.held.retain(|held| self.is_open(held));
        if work.held.is_empty() && !work.mark {
            self.done(&work.id);
            return Err(Box::default());
        }
        let exists = self.live.object(&work.id).is_some_and(|object| !object.version.is_empty());
        if let Step::Create(draft) = work.step {
            work.step = if exists { Step::ReadBack(draft) } else { Step::Create(draft) };
        }
        let call = match &work.step {
            Step::Create(draft) => {
                let trace = work.held.first().and_then(|held| held.record.headers.text(TRACEPARENT));
                Call::Create(Box::new(shape(draft, &work.id, trace)))
            }
            Step::Read | Step::ReadBack(_) => Call::Read(work.id.clone()),
            Step::Apply => return self.prepare_status(work),
        };
        Ok(Job { call, work })
    }

    fn prepare_status(&mut self, work: Work) -> Result<Job, Box<Reply>> {
        let Some(object) = self.live.object(&work.id) else {
            return Err(Box::new(self.vanished(work)));
        };
        let mut object = object.clone();
        let over = !object.is_live();
        if over && !work.held.is_empty() {
            return Err(Box::new(self.ended_meanwhile(work)));
        }
        let before = fold::ours(&object.status);
        if over {
            object.status = RemediationRequestStatus { closed_told: Some(true), ..before.clone() };
        } else {
            for figures in &work.figures {
                object.status = fold(&object, &figures.incident, &figures.progress, &self.rules.fold);
            }
        }
        if fold::ours(&object.status) == before {
            self.done(&work.id);
            return Err(Box::new(Reply {
                settled: self.settle(work.held),
                result: Some("unchanged"),
                ..Reply::default()
            }));
        }
        let status = Box::new(fold::ours(&object.status));
        Ok(Job { call: Call::Apply { id: object.id, version: object.version, status }, work })
    }
}
