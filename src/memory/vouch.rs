//! Whether memory still has what the reader of a partition left there.
//!
//! Each change that a reader makes in a shard goes with a number that it counts up, under a key of its own, in one step.
//! A memory that was emptied has no such number; one that went back (a replica that was promoted without the last
//! writes, an old dump) has an older one; one in which somebody else reads the partition has that one's. In all three
//! cases nothing is changed, and the answer is [`MemoryError::Lost`].
//!
//! The number ends by itself when its reader no longer counts: what it vouches for may be forgotten by then, too.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Key, Memory, MemoryError, Shard, Swap, version};
use crate::{alert::EventTime, remediation::GroupId};

/// Others may take a partition over at the same moment; so often in a row nobody does.
const ROUNDS: u32 = 10;

/// Who vouches, and for how long without a further word.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// The partition that is read.
    pub partition: i32,
    /// Tells this reader from those before it and after it: drawn by chance.
    pub nonce: u64,
    /// Shards of memory.
    pub shards: u32,
    /// How long a word of its holds.
    pub keep: Duration,
}

/// What is left under the key of a reader: who, its count, and whether everything up to there is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    nonce: u64,
    count: u64,
    whole: bool,
}

impl Word {
    fn pack(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(17);
        out.extend_from_slice(&self.nonce.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.push(u8::from(self.whole));
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (nonce, rest) = bytes.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let whole = *rest.first()? == 1;
        Some(Self { nonce: u64::from_be_bytes(*nonce), count: u64::from_be_bytes(*count), whole })
    }
}

/// Memory, as one reader of a partition sees it: it answers only while it has everything that this one left there.
#[derive(Clone, Debug)]
pub struct Vouched<M> {
    memory: M,
    reader: Reader,
    left: Arc<Mutex<BTreeMap<Shard, Word>>>,
    whole: Arc<AtomicBool>,
}

impl<M: Memory> Vouched<M> {
    /// Memory in which nothing was left yet.
    pub fn of_nothing(memory: M) -> Self {
        let reader = Reader { partition: 0, nonce: 0, shards: 0, keep: Duration::ZERO };
        Self { memory, reader, left: Arc::default(), whole: Arc::default() }
    }

    /// Takes the partition over from whoever read it before. True if memory has everything of it.
    ///
    /// # Errors
    /// Memory is away; asking again is safe.
    pub async fn take_over(memory: M, reader: Reader) -> Result<(Self, bool), MemoryError> {
        let this = Self { memory, reader, left: Arc::default(), whole: Arc::default() };
        let mut whole = true;
        for shard in shards(&reader) {
            whole &= this.take(shard).await?;
        }
        this.whole.store(whole, Ordering::Relaxed);
        Ok((this, whole))
    }

    /// Says that everything of the partition is in memory again, and nothing but uncommitted records waits for its reader.
    ///
    /// # Errors
    /// Memory is away, or has lost what was left there.
    pub async fn complete(&self) -> Result<(), MemoryError> {
        self.whole.store(true, Ordering::Relaxed);
        self.renew().await
    }

    /// Counts on in every shard, so that the word holds on, or tells that something was lost.
    ///
    /// # Errors
    /// Memory is away, or has lost what was left there.
    pub async fn renew(&self) -> Result<(), MemoryError> {
        for shard in shards(&self.reader) {
            self.guarded(shard, None, &[]).await?;
        }
        Ok(())
    }

    /// Whether somebody else reads the partition.
    ///
    /// # Errors
    /// Memory is away.
    pub async fn is_anothers(&self) -> Result<bool, MemoryError> {
        for shard in shards(&self.reader) {
            let word = word(&self.memory, shard, self.reader.partition).await?;
            if word.is_some_and(|word| word.nonce != self.reader.nonce) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes over in one shard: what it said of itself is said again, if it still says so when it is written. So a
    /// memory that is emptied in between is not called whole.
    async fn take(&self, shard: Shard) -> Result<bool, MemoryError> {
        let key = Key::Vouch(self.reader.partition);
        for _ in 0..ROUNDS {
            let held = self.memory.recall(shard, &[key]).await?.pop().flatten();
            let whole = held.as_deref().and_then(Word::read).is_some_and(|word| word.whole);
            let becomes = Word { nonce: self.reader.nonce, count: 0, whole };
            let swap = self.swap(held.as_deref(), becomes);
            if self.memory.swap(shard, &[swap]).await?.contains(&true) {
                self.left().insert(shard, becomes);
                return Ok(whole);
            }
        }
        Err(MemoryError::Away(format!("partition {} is taken over by others again and again", self.reader.partition)))
    }

    fn swap(&self, seen: Option<&[u8]>, becomes: Word) -> Swap {
        let key = Key::Vouch(self.reader.partition);
        Swap { key, seen: seen.map(version), value: becomes.pack(), keep: self.reader.keep, due: None }
    }

    fn left(&self) -> MutexGuard<'_, BTreeMap<Shard, Word>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner) // every change is made whole
    }
}

fn shards(reader: &Reader) -> impl Iterator<Item = Shard> + use<> {
    (0..reader.shards).map(Shard::Numbered)
}

async fn word<M: Memory>(memory: &M, shard: Shard, partition: i32) -> Result<Option<Word>, MemoryError> {
    let held = memory.recall(shard, &[Key::Vouch(partition)]).await?;
    Ok(held.into_iter().flatten().next().as_deref().and_then(Word::read))
}

impl<M: Memory> Memory for Vouched<M> {
    async fn recall(&self, shard: Shard, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, MemoryError> {
        self.memory.recall(shard, keys).await
    }

    /// The reader's word is the guard. It is counted on only once the answer is there: a call whose answer was lost is
    /// asked again with the same word, which memory then knows.
    async fn guarded(&self, shard: Shard, _: Option<&Swap>, swaps: &[Swap]) -> Result<Vec<bool>, MemoryError> {
        let Some(word) = self.left().get(&shard).copied() else {
            return self.memory.swap(shard, swaps).await; // the marks vouch for themselves
        };
        let next = Word { count: word.count.wrapping_add(1), whole: self.whole.load(Ordering::Relaxed), ..word };
        let guard = self.swap(Some(&word.pack()), next);
        let made = self.memory.guarded(shard, Some(&guard), swaps).await?;
        self.left().insert(shard, next);
        Ok(made)
    }

    async fn due(&self, shard: Shard, limit: usize) -> Result<Vec<(GroupId, EventTime)>, MemoryError> {
        self.memory.due(shard, limit).await
    }

    async fn probe(&self) -> Result<(), MemoryError> {
        self.memory.probe().await
    }
}
