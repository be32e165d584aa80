//! The door: HTTP in, acknowledged records out.
//!
//! **Invariant:** a 2xx is a promise. It is given only after every record of the request, those for `dead-letters`
//! included, is acknowledged by every replica in sync. Whatever is short or away is answered 503 with Retry-After and
//! never 429, for Alertmanager repeats a 5xx only. No answer tells an address.

mod accept;
mod answer;
mod auth;
mod followed;
mod gate;
mod proxies;
mod request;
mod router;
mod serve;
mod tls;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::{
    alert::record::IdentityRules,
    kafka::producer::Producer,
    pipeline::{Pipeline, ingest::IngestPolicy},
    telemetry::metrics::IngestMetrics,
};

use gate::Gate;

pub use auth::{Auth, Judge, Tokens};
pub use proxies::Proxies;
pub use router::router;
pub use serve::serve;
pub use tls::{Tls, TlsFiles};

/// Who may come in, and by what way. By default everybody, in plain HTTP, each as the address that he connects from.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Who may come in.
    pub auth: Auth,
    /// The certificates; none = plain HTTP.
    pub tls: Option<Tls>,
    /// Who is believed about a client's address.
    pub proxies: Proxies,
}

/// What of a pipeline concerns the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What it takes.
    pub policy: IngestPolicy,
    /// What makes two alerts the same, hence the key.
    pub identity: IdentityRules,
    /// The topic for what is accepted.
    pub alerts: String,
    /// The topic for what can't be used.
    pub dead_letters: String,
}

impl From<&Pipeline> for Rules {
    fn from(pipeline: &Pipeline) -> Self {
        Self {
            policy: pipeline.ingest.clone(),
            identity: pipeline.identity.clone(),
            alerts: pipeline.topics.alerts.clone(),
            dead_letters: pipeline.topics.dead_letters.clone(),
        }
    }
}

/// What answers requests. Clones are the same door.
#[derive(Clone, Debug)]
pub struct Door(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    standing: ArcSwap<Standing>,
    guard: Guard,
    producer: Producer,
    metrics: IngestMetrics,
}

/// The rules in force, and who is inside under them.
#[derive(Debug)]
struct Standing {
    rules: Rules,
    gate: Gate,
}

impl Door {
    /// Nobody inside yet. The producer's delivery timeout should be below `policy.timeout`.
    #[must_use]
    pub fn new(rules: Rules, guard: Guard, producer: Producer, metrics: IngestMetrics) -> Self {
        let standing = ArcSwap::from_pointee(Standing::new(rules));
        Self(Arc::new(Inside { standing, guard, producer, metrics }))
    }

    /// Follows the files of tokens and certificates until told to stop.
    pub async fn follow_credentials(self, stop: CancellationToken) {
        let (Guard { auth, tls, .. }, metrics) = (&self.0.guard, &self.0.metrics);
        let tokens = async {
            if let Auth::Tokens(tokens) = auth {
                Arc::clone(&tokens.0).follow(metrics.clone(), stop.clone()).await;
            }
        };
        let certificates = async {
            if let Some(tls) = tls {
                Arc::clone(&tls.0).follow(metrics.clone(), stop.clone()).await;
            }
        };
        tokio::join!(tokens, certificates, stop.cancelled());
    }

    /// Puts other rules in force, from the next request on. Whoever is inside already is not counted among the new
    /// `concurrency`.
    pub fn change(&self, rules: Rules) {
        if self.0.standing.load().rules != rules {
            self.0.standing.store(Arc::new(Standing::new(rules)));
        }
    }

    fn standing(&self) -> Arc<Standing> {
        self.0.standing.load_full()
    }
}

impl Standing {
    fn new(rules: Rules) -> Self {
        Self { gate: Gate::new(&rules.policy), rules }
    }
}

#[cfg(test)]
mod tests;
