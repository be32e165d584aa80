//! Memory in Redis: one connection, two scripts. Redis keeps and compares; it decides nothing.

pub mod keys;
pub mod link;

use std::time::Duration;

use redis::{RedisError, Script};

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
        Ok(Self { connection, prefix: prefix.to_owned(), recall, swap, bucket: 1 }.keeping(KEEP))
    }

    /// The same, which keeps a memo for so long at least, and for twice as long at most, after it was last written.
    /// Whoever shares a memory says the same.
    #[must_use]
    pub fn keeping(self, keep: Duration) -> Self {
        Self { bucket: keep.as_secs().saturating_add(1), ..self }
    }

    async fn swap_some(&self, shard: Shard, guard: Option<&Swap>, swaps: &[Swap]) -> Result<Vec<bool>, MemoryError> {
        let mut call = self.swap.prepare_invoke();
        call.key(keys::due(&self.prefix, shard)).arg(self.bucket).arg(u8::from(guard.is_some()));
        for swap in guard.into_iter().chain(swaps) {
            call.key(keys::spell(&self.prefix, shard, &swap.key)).arg(keys::field(&swap.key));
            call.arg(swap.seen.map_or_else(Vec::new, |seen| seen.to_vec()));
            call.arg(&version(&swap.value)[..]).arg(&swap.value[..]);
            call.arg(u64::try_from(swap.keep.as_millis()).unwrap_or(u64::MAX)).arg(due(swap));
        }
        let made: Vec<u8> = call.invoke_async(&mut self.connection.clone()).await.map_err(|error| away(&error))?;
        if guard.is_some() && made.is_empty() {
            return Err(MemoryError::Lost);
        }
        Ok(made.into_iter().skip(usize::from(guard.is_some())).map(|made| made == 1).collect())
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
    let text = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.category()),
        None => error.category().to_owned(),
    };
    MemoryError::Away(text)
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
        let mut connection = self.connection.clone();
        // a write, as a Redis that is full or a replica answers a PING all the same
        let mut call = redis::cmd("SET");
        call.arg(keys::probe(&self.prefix)).arg(1).arg("PX").arg(60_000);
        call.query_async::<()>(&mut connection).await.map_err(|error| away(&error))
    }
}
