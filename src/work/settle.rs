//! What is due: decided, published, marked, finished, in that order.

use super::{
    partition::{Desk, Halt},
    waiting::{self, Ruling},
};
use crate::{
    alert::EventTime,
    crash,
    memory::Memory,
    remediation::{Draft, Remediation, Update},
};

impl<M: Memory + Clone> Desk<M> {
    /// Decides what is due, publishes what is ours to publish, marks it, and finishes those records.
    pub(super) async fn settle(&mut self, mark: EventTime) -> Result<(), Halt> {
        self.follow();
        let due = self.waiting.values().filter(|waiting| waiting.kin.due <= mark).count();
        if due == 0 {
            return Ok(());
        }
        let rulings = self.patiently(|| waiting::rule(&self.bench, &self.waiting, mark)).await?;
        crash::point("work-decided");
        self.overdue = rulings.len() < due; // their storm is another's to publish
        let mut drafts = Vec::new();
        let mut endings = Vec::with_capacity(rulings.len());
        for (offset, ruling) in rulings {
            match ruling {
                Ruling::Finish(outcome) => endings.push((offset, outcome)),
                Ruling::Publish { before, draft, outcome } => {
                    drafts.push((before, draft));
                    endings.push((offset, outcome));
                }
            }
        }
        if !drafts.is_empty() {
            self.publish_drafts(drafts, mark).await?;
        }
        for (offset, outcome) in endings {
            self.let_go(offset);
            self.finish(offset, outcome);
        }
        self.store();
        self.vouch().await
    }

    async fn publish_drafts(&self, drafts: Vec<(Vec<Update>, Box<Draft>)>, mark: EventTime) -> Result<(), Halt> {
        let published: Vec<_> = (drafts.iter())
            .map(|(_, draft)| (draft.incident.group, draft.incident.generation, draft.incident.storm))
            .collect();
        let outgoing = (drafts.into_iter())
            .flat_map(|(before, draft)| {
                let before = before.into_iter().map(|update| Remediation::Update(Box::new(update)));
                before.chain([Remediation::Draft(draft)])
            })
            .map(|remediation| waiting::outgoing(&remediation))
            .collect();
        self.publish(outgoing, &self.bench.pipeline.topics.remediations).await?;
        crash::point("work-published");
        self.bench.metrics.drafts_published(published.len() as u64);
        self.patiently(|| waiting::published(&self.bench, &published, mark)).await?;
        crash::point("work-marked");
        Ok(())
    }

    fn let_go(&mut self, offset: i64) {
        if let Some(waiting) = self.waiting.remove(&offset) {
            self.weight -= waiting.record.value.len();
            self.bench.metrics.waiting_moved(-1);
        }
    }
}
