//! What is told of memory.

use prometheus_client::metrics::{family::Family, gauge::Gauge};

use super::Registry;

/// What Redis may have in force; `unknown` while it did not tell, or told another.
const POLICIES: &[&str] = &[
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "unknown",
];

/// What is told of memory.
#[derive(Clone, Debug)]
pub struct MemoryMetrics {
    policy: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl MemoryMetrics {
    /// Registers it; once a process. Nothing is known at first.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let (name, help) = (
            "breakwater_work_memory_eviction_policy",
            "1 for what Redis does when it is full (maxmemory-policy); anything but noeviction forgets incidents",
        );
        let metrics = Self { policy: Family::default() };
        registry.note(name, "gauge", ("policy", POLICIES), help);
        registry.inner.register(name, help, metrics.policy.clone());
        metrics.policy("unknown");
        metrics
    }

    /// This is what Redis does when it is full.
    pub fn policy(&self, policy: &str) {
        let known = if POLICIES.contains(&policy) { policy } else { "unknown" };
        for one in POLICIES {
            self.policy.get_or_create_owned(&[("policy", *one)]).set(i64::from(*one == known));
        }
    }
}
