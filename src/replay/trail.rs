//! What the log keeps of incidents beyond their alerts: the drafts that were written, and what of them was set aside.
//! Reads and never writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::letters::{self, Filter};
use crate::{
    alert::{EventTime, Position},
    kafka::{KafkaError, Settings, dead_letter::Origin, range},
    pipeline::topics::Topics,
    remediation::{Generation, Incident, Remediation},
};

/// Records that lie ready while one is looked at.
const AHEAD: usize = 64;

/// Which incident: the record that opened it, and whether it is a storm.
pub type Which = (Generation, bool);

/// The drafts of some incidents, and what became of those that could not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Where each draft lies in `remediations`, in the order in which they were written.
    drafts: BTreeMap<Which, Vec<Position>>,
    /// What was said of a record of `remediations` that was set aside.
    refused: BTreeMap<Position, Vec<String>>,
}

impl Trail {
    /// Looks for these incidents from a time on.
    ///
    /// # Errors
    /// Kafka is away, or a topic is absent.
    pub async fn of(
        settings: &Settings,
        topics: &Topics,
        (since, wanted): (EventTime, &BTreeSet<Which>),
    ) -> Result<Self, KafkaError> {
        let mut trail = Self::default();
        if !wanted.is_empty() {
            trail.look_for_drafts(settings, topics, (since, wanted)).await?;
            trail.look_for_letters(settings, topics, since).await?;
        }
        Ok(trail)
    }

    /// The drafts of an incident.
    #[must_use]
    pub fn drafts(&self, which: Which) -> &[Position] {
        self.drafts.get(&which).map_or(&[], Vec::as_slice)
    }

    /// Why drafts of an incident were set aside.
    #[must_use]
    pub fn refusals(&self, which: Which) -> Vec<String> {
        let drafts = self.drafts(which).iter();
        drafts.filter_map(|position| self.refused.get(position)).flatten().cloned().collect()
    }

    async fn look_for_drafts(
        &mut self,
        settings: &Settings,
        topics: &Topics,
        (since, wanted): (EventTime, &BTreeSet<Which>),
    ) -> Result<(), KafkaError> {
        let topic = &topics.remediations;
        let stretches = range::since(settings, topic, Some(since)).await?;
        let (into, mut records) = mpsc::channel(AHEAD);
        let reading = range::read(settings, topic, stretches, into, CancellationToken::new());
        let looking = async {
            while let Some(record) = records.recv().await {
                // what is no remediation is the sink's to set aside
                let Ok(Remediation::Draft(draft)) = serde_json::from_slice(&record.value) else { continue };
                let Incident { generation, storm, .. } = draft.incident;
                if wanted.contains(&(generation, storm)) {
                    self.drafts.entry((generation, storm)).or_default().push(record.position);
                }
            }
        };
        tokio::join!(reading, looking).0
    }

    async fn look_for_letters(
        &mut self,
        settings: &Settings,
        topics: &Topics,
        since: EventTime,
    ) -> Result<(), KafkaError> {
        let mine: BTreeSet<Position> = self.drafts.values().flatten().copied().collect();
        let dead = &topics.dead_letters;
        let stretches = range::since(settings, dead, Some(since)).await?;
        letters::visit(settings, dead, (stretches, &Filter::default()), async |record, letter| {
            if let Ok(letter) = letter
                && let Origin::Record { topic, position, .. } = letter.origin
                && topic == topics.remediations
                && mine.contains(&position)
            {
                let said = format!("{dead}/{}: {}: {}", record.position, letter.reason, letter.detail);
                self.refused.entry(position).or_default().push(said);
            }
            Ok::<_, KafkaError>(ControlFlow::Continue(()))
        })
        .await
    }
}
