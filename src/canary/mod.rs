//! The fire alarm check: a test alert goes through the door like any other, and its object must come out in a namespace of its
//! own, where it is deleted again. How long that took is a histogram; what does not come is counted as lost.
//!
//! It knows the door, and may list and delete in that one namespace: no Kafka, no Redis, and nobody else's objects.
//!
//! **Invariant:** one test alert is under way at a time, each about another pod, so that none is a duplicate of the last one.

use std::time::Duration;

use http::{Request, header::CONTENT_TYPE};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    lifecycle::StageError,
    remediation::crd::RemediationRequest,
    telemetry::{complaint::Complaint, metrics::CanaryMetrics},
};

/// What the test alert is called.
pub const ALERT: &str = "BreakwaterCanary";
/// The least time between two: in a window of a minute, fewer than make a storm by the shipped rule.
pub const LEAST: Duration = Duration::from_secs(10);
/// Where the door takes it.
const PATH: &str = "/api/v1/signals/prometheus";
/// How often its namespace is looked at while one is under way.
const LOOK: Duration = Duration::from_millis(200);

static REFUSED: Complaint = Complaint::new("the door takes no test alert");
static LOST: Complaint =
    Complaint::new("a test alert was accepted and no object came of it: real ones may not arrive either");
static UNSEEN: Complaint =
    Complaint::new("the canary's own namespace cannot be looked at: it needs to list and delete there");

/// Where the canary sings, and where it listens.
#[derive(Clone)]
pub struct Canary {
    /// The door.
    pub door: Client,
    /// The objects of its namespace.
    pub objects: Api<RemediationRequest>,
    /// That namespace.
    pub namespace: String,
    /// From one test alert to the next; one that takes longer is lost.
    pub every: Duration,
    /// What is counted.
    pub metrics: CanaryMetrics,
}

impl Canary {
    /// Sends a test alert at each turn and waits for its object, until told to stop.
    ///
    /// # Errors
    /// None: whatever is away is what it is there to tell.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StageError> {
        let mut turns = interval(self.every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            if stop.run_until_cancelled(self.turn()).await.is_none() {
                break;
            }
        }
        self.sweep().await;
        Ok(())
    }

    async fn turn(&self) {
        self.sweep().await; // what came late, or was left by one that was killed
        let began = Instant::now();
        let fingerprint = match self.send().await {
            Ok(fingerprint) => fingerprint,
            Err(why) => {
                self.metrics.refused();
                return REFUSED.raise(&why);
            }
        };
        REFUSED.settle();
        self.metrics.sent();
        tracing::debug!(%fingerprint, "a test alert is under way");
        let arrived =
            tokio::time::timeout(self.every.saturating_sub(began.elapsed()), self.arrival(&fingerprint)).await;
        if arrived.is_ok() {
            self.metrics.arrived(began.elapsed());
            LOST.settle();
        } else {
            self.metrics.lost();
            LOST.raise(&format!("next: breakwater explain {fingerprint}"));
        }
        self.sweep().await;
    }

    /// One webhook of one alert. Its fingerprint, once the door has promised it.
    async fn send(&self) -> Result<String, String> {
        let now = jiff::Timestamp::now();
        let body = webhook(&self.namespace, now);
        let request = Request::post(PATH).header(CONTENT_TYPE, "application/json").body(body.to_string().into_bytes());
        let request = request.map_err(|error| error.to_string())?;
        let answer: Value = self.door.request(request).await.map_err(|error| error.to_string())?;
        let fingerprint = answer.pointer("/alerts/0/fingerprint").and_then(Value::as_str);
        fingerprint.map(str::to_owned).ok_or_else(|| format!("it was set aside: {}", answer["rejected"]))
    }

    /// Waits until the object of this fingerprint is there.
    async fn arrival(&self, fingerprint: &str) {
        loop {
            let seen = self.seen().await;
            if seen.iter().any(|object| object.spec.signal_fingerprint == fingerprint) {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Deletes the objects of all test alerts. Others, which somebody may have put there, are left alone.
    async fn sweep(&self) {
        for object in self.seen().await {
            let Some(name) = object.metadata.name else { continue };
            match self.objects.delete(&name, &DeleteParams::default()).await {
                Err(error) if !is_gone(&error) => UNSEEN.raise(&error),
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn seen(&self) -> Vec<RemediationRequest> {
        match self.objects.list(&ListParams::default().limit(500)).await {
            Ok(list) => {
                UNSEEN.settle();
                list.items.into_iter().filter(|object| object.spec.signal_name == ALERT).collect()
            }
            Err(error) => {
                UNSEEN.raise(&error);
                Vec::new()
            }
        }
    }
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn webhook(namespace: &str, now: jiff::Timestamp) -> Value {
    let alert = json!({
        "status": "firing",
        "labels": {
            "alertname": ALERT,
            "namespace": namespace,
            "pod": format!("canary-{}", now.as_millisecond()),
            "severity": "info",
        },
        "annotations": { "summary": "A test of the way from the door to the object. It is deleted again" },
        "startsAt": now.to_string(),
        "endsAt": "0001-01-01T00:00:00Z",
    });
    json!({ "version": "4", "receiver": "breakwater-canary", "groupKey": "canary", "status": "firing", "alerts": [alert] })
}

#[cfg(test)]
mod tests;
