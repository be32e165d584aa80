//! Memory in Redis: one connection, two scripts. Redis keeps and compares; it decides nothing.

pub mod eviction;
pub mod keys;
pub mod link;

use std::{sync::Arc, time::Duration};

use redis::{
    Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind, Value, from_redis_value,
};
use tokio::sync::Mutex;

use self::link::Link;
use super::{Key, Memory, MemoryError, Shard, Swap, version};
use crate::{alert::EventTime, remediation::GroupId};

/// A script of 128 keys holds the server for about 0.3 ms, so this one for less than a millisecond.
const KEYS_A_CALL: usize = 256;
/// A group may weigh megabytes.
const GROUPS_A_CALL: usize = 16;

/// How long memos are kept at least, unless [`Redis::keeping`] says otherwise.
const KEEP: Duration = Duration::from_hours(1);

/// Memory in Redis.
#[derive(Clone)]
pub struct Redis {
    connection: Link,
    prefix: String,
    bucket: u64,
    recall: Script,
    swap: Script,
    /// How many replicas must have a change before it counts as made.
    replicas: u32,
    /// Who waits for replicas stops the connection for all: one at a time, so that what is asked again piles up here
    /// and not at the server.
    turn: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    /// Prepares the connection without making it: a Redis that is away at start comes later.
    ///
    /// # Errors
    /// The URL is none that this client understands.
    pub fn open(url: &str, prefix: &str) -> Result<Self, MemoryError> {
        let connection = Link::open(url).map_err(|error| away(&error))?;
        let (recall, swap) = (Script::new(include_str!("recall.lua")), Script::new(include_str!("swap.lua")));
        let turn = Arc::default();
        Ok(Self { connection, prefix: prefix.to_owned(), recall, swap, bucket: 1, replicas: 0, turn }.keeping(KEEP))
    }

    /// The same, which keeps a memo for so long at least, and for twice as long at most, after it was last written.
    /// Whoever shares a memory says the same.
    #[must_use]
    pub fn keeping(self, keep: Duration) -> Self {
        Self { bucket: keep.as_secs().saturating_add(1), ..self }
    }

    /// The same memory; each change counts as made only once so many replicas have it. Not for a cluster, which gives
    /// the wait for replicas to any of its masters.
    #[must_use]
    pub fn with_replicas(self, replicas: u32) -> Self {
        Self { replicas, ..self }
    }

    async fn swap_some(&self, shard: Shard, guard: Option<&Swap>, swaps: &[Swap]) -> Result<Vec<bool>, MemoryError> {
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.swap.get_hash()).arg(1 + swaps.len() + usize::from(guard.is_some()));
        call.arg(keys::due(&self.prefix, shard));
        for swap in guard.into_iter().chain(swaps) {
            call.arg(keys::spell(&self.prefix, shard, &swap.key));
        }
        call.arg(self.bucket).arg(u8::from(guard.is_some()));
        for swap in guard.into_iter().chain(swaps) {
            call.arg(keys::field(&swap.key));
            call.arg(swap.seen.map_or_else(Vec::new, |seen| seen.to_vec()));
            call.arg(&version(&swap.value)[..]).arg(&swap.value[..]);
            call.arg(u64::try_from(swap.keep.as_millis()).unwrap_or(u64::MAX)).arg(due(swap));
        }
        let made: Vec<u8> = self.change(&call).await?;
        if guard.is_some() && made.is_empty() {
            return Err(MemoryError::Lost);
        }
        Ok(made.into_iter().skip(usize::from(guard.is_some())).map(|made| made == 1).collect())
    }

    /// Makes a change, and waits until enough replicas have it. What too few of them have is made all the same: asked
    /// again, it is written again and waited for again.
    async fn change<T: FromRedisValue>(&self, call: &Cmd) -> Result<T, MemoryError> {
        let _turn = if self.replicas > 0 { Some(self.turn.lock().await) } else { None };
        let mut answer = self.send(call).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            self.swap.prepare_invoke().load_async(&mut self.connection.clone()).await.map_err(|error| away(&error))?;
            answer = self.send(call).await;
        }
        let (answer, have) = answer.map_err(|error| away(&error))?;
        if have < self.replicas {
            let short = format!("{have} of {} replicas have the change (memory.wait_replicas)", self.replicas);
            return Err(MemoryError::Away(short));
        }
        from_redis_value(answer).map_err(|error| away(&error.into()))
    }

    async fn send(&self, call: &Cmd) -> RedisResult<(Value, u32)> {
        match self.replicas {
            0 => Ok((call.query_async(&mut self.connection.clone()).await?, 0)),
            wanted => self.connection.replicated(call, wanted).await,
        }
    }
}

fn due(swap: &Swap) -> Vec<u8> {
    let Key::Group(group) = swap.key else { return Vec::new() };
    let mut out = swap.due.map_or_else(|| "-".to_owned(), |EventTime(due)| format!("{due}:")).into_bytes();
    out.extend_from_slice(&group.0);
    out
}

/// Says what Redis said, without its address; a URL with its password never gets here.
fn away(error: &RedisError) -> MemoryError {
    let detail = error.detail().filter(|_| error.redirect_node().is_none()); // that is an address
    let class = error.code().unwrap_or_else(|| error.category());
    MemoryError::Away(match detail {
        Some(detail) => format!("{class} {detail}"),
        None => class.to_owned(),
    })
}

impl Memory for Redis {
    async fn recall(&self, shard: Shard, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, MemoryError> {
        let mut values = Vec::with_capacity(keys.len());
        let groups = keys.first().is_some_and(|key| matches!(key, Key::Group(_)));
        for keys in keys.chunks(if groups { GROUPS_A_CALL } else { KEYS_A_CALL }) {
            let mut call = self.recall.prepare_invoke();
            call.arg(self.bucket);
            keys.iter().for_each(|key| {
                call.key(keys::spell(&self.prefix, shard, key)).arg(keys::field(key));
            });
            let mut connection = self.connection.clone();
            let some: Vec<Option<Vec<u8>>> = call.invoke_async(&mut connection).await.map_err(|error| away(&error))?;
            values.extend(some.into_iter().map(|value| value.and_then(|bytes| Some(bytes.get(8..)?.to_vec()))));
        }
        Ok(values)
    }

    async fn guarded(&self, shard: Shard, guard: Option<&Swap>, swaps: &[Swap]) -> Result<Vec<bool>, MemoryError> {
        let mut made = Vec::with_capacity(swaps.len());
        let groups = swaps.first().is_some_and(|swap| matches!(swap.key, Key::Group(_)));
        let mut rest = swaps;
        loop {
            let (some, more) = rest.split_at(rest.len().min(if groups { GROUPS_A_CALL } else { KEYS_A_CALL }));
            if !some.is_empty() || guard.is_some() {
                made.extend(self.swap_some(shard, guard, some).await?);
            }
            rest = more;
            if rest.is_empty() {
                return Ok(made);
            }
        }
    }

    async fn due(&self, shard: Shard, limit: usize) -> Result<Vec<(GroupId, EventTime)>, MemoryError> {
        let mut call = redis::cmd("ZRANGE");
        call.arg(keys::due(&self.prefix, shard)).arg(0).arg(limit.saturating_sub(1)).arg("WITHSCORES");
        let mut connection = self.connection.clone();
        let due: Vec<(Vec<u8>, f64)> = call.query_async(&mut connection).await.map_err(|error| away(&error))?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "milliseconds since the epoch fit a double for 285 000 years"
        )]
        let group = |(group, due): (Vec<u8>, f64)| Some((GroupId(group.try_into().ok()?), EventTime(due as i64)));
        Ok(due.into_iter().filter_map(group).collect())
    }

    async fn probe(&self) -> Result<(), MemoryError> {
        // a write, as a Redis that is full or a replica answers a PING all the same
        let mut call = redis::cmd("SET");
        call.arg(keys::probe(&self.prefix)).arg(1).arg("PX").arg(60_000);
        self.change(&call).await
    }
}
