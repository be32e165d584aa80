//! What Redis does when it is full: an evicted key is an incident forgotten, so anything but `noeviction` is told.

use std::time::Duration;

use redis::{RedisResult, Value};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Redis;
use crate::telemetry::metrics::MemoryMetrics;

/// It seldom changes; and a Redis that is away at the start tells soon after it has come.
const EVERY: Duration = Duration::from_secs(5);
const HARMLESS: &str = "noeviction";

/// Asks for the policy until `stop`, shows it, and warns once of each one that may forget incidents. Who is not allowed
/// to ask (`INFO`) works all the same.
///
/// # Errors
/// None: what is not told is unknown.
pub async fn watch(
    redis: Redis,
    metrics: MemoryMetrics,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut warned = HARMLESS.to_owned();
    loop {
        if let Some(policy) = redis.policy().await.ok().as_ref().and_then(policy) {
            metrics.policy(&policy);
            if policy != HARMLESS && policy != warned {
                tracing::warn!(
                    policy,
                    "Redis forgets incidents when it is full: set maxmemory-policy to noeviction, then work waits instead"
                );
            }
            warned = policy;
        }
        if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
            return Ok(());
        }
    }
}

impl Redis {
    async fn policy(&self) -> RedisResult<Value> {
        redis::cmd("INFO").arg("memory").query_async(&mut self.connection.clone()).await
    }
}

/// The policy that one server tells, or of several the first that is not harmless.
fn policy(answer: &Value) -> Option<String> {
    let mut told = Vec::new();
    texts(answer, &mut told);
    let line = |text: &String| text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:").map(str::to_owned));
    let policies: Vec<String> = told.iter().filter_map(line).collect();
    policies.iter().find(|policy| *policy != HARMLESS).or(policies.first()).cloned()
}

/// All text in an answer: a cluster's client gives a map, from each server to what it said.
fn texts(answer: &Value, out: &mut Vec<String>) {
    if let Value::Map(pairs) = answer {
        pairs.iter().for_each(|(_, said)| texts(said, out));
    } else if let Ok(text) = redis::from_redis_value_ref::<String>(answer) {
        out.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(policy: &str) -> Value {
        let text = format!("# Memory\r\nused_memory:1\r\nmaxmemory_policy:{policy}\r\nmem_fragmentation_ratio:1\r\n");
        Value::BulkString(text.into_bytes())
    }

    #[test]
    fn j13_the_policy_is_read_from_what_one_server_or_several_say() {
        let of = |answer: Value| policy(&answer);
        assert_eq!(of(said("allkeys-lru")).as_deref(), Some("allkeys-lru"));
        assert_eq!(of(Value::BulkString(b"# Memory\r\n".to_vec())), None);
        let node = |name: &str, policy: &str| (Value::BulkString(name.into()), said(policy));
        let several = vec![node("a", "noeviction"), node("b", "volatile-ttl"), node("c", "noeviction")];
        assert_eq!(of(Value::Map(several)).as_deref(), Some("volatile-ttl"));
        assert_eq!(of(Value::Map(vec![node("a", "noeviction")])).as_deref(), Some("noeviction"));
    }
}
