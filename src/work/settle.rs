//! What is due: decided, published, marked, finished, in that order.

use super::{
    partition::{Desk, Halt},
    waiting::{self, Asked},
};
use crate::{
    alert::EventTime,
    crash,
    memory::Memory,
    remediation::{Generation, GroupId, Remediation},
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
        let Asked { publish, mark: drafts, finish } = rulings.into_iter().collect();
        if !drafts.is_empty() {
            self.publish_drafts(&publish, &drafts, mark).await?;
        }
        for (offset, outcome) in finish {
            self.let_go(offset);
            self.finish(offset, outcome);
        }
        self.store();
        self.vouch().await
    }

    async fn publish_drafts(
        &self,
        publish: &[Remediation],
        drafts: &[(GroupId, Generation, bool)],
        mark: EventTime,
    ) -> Result<(), Halt> {
        let outgoing = publish.iter().map(waiting::outgoing).collect();
        self.publish(outgoing, &self.bench.pipeline.topics.remediations).await?;
        crash::point("work-published");
        self.bench.metrics.drafts_published(drafts.len() as u64);
        self.patiently(|| waiting::published(&self.bench, drafts, mark)).await?;
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
