//! Local memory whose answers may fail to come: before the call was applied, or after.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use breakwater::{
    alert::EventTime,
    memory::{Key, Memory, MemoryError, Shard, Swap, local::Local},
    remediation::GroupId,
};
use futures::FutureExt as _;

/// When the next answer is lost.
#[derive(Clone, Copy, Debug)]
pub struct Fuse {
    /// Calls that are still answered.
    pub calls: u32,
    /// Whether the call that is not answered was applied.
    pub applied: bool,
}

/// Local memory with a fuse, and with all that was ever asked of it, so that it can be what it was.
#[derive(Debug, Default)]
pub struct Rigged {
    pub local: Local,
    fuse: Mutex<Option<Fuse>>,
    away: AtomicBool,
    written: Mutex<Vec<Written>>,
}

/// A call that changed something.
type Written = (Shard, Option<Swap>, Vec<Swap>);

impl Rigged {
    /// Sets or takes out the fuse. A fuse blows once.
    pub fn rig(&self, fuse: Option<Fuse>) {
        *self.fuse.lock().unwrap() = fuse;
    }

    /// Whether nothing is answered at all, and nothing applied.
    pub fn away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// How many calls have changed something.
    pub fn age(&self) -> usize {
        self.written.lock().unwrap().len()
    }

    /// Goes back to what it held after so many calls, as a restart from an old dump; 0 is a flush.
    pub fn back_to(&self, age: usize) {
        self.local.flush();
        let mut written = self.written.lock().unwrap();
        written.truncate(age);
        for (shard, guard, swaps) in written.iter() {
            let again = self.local.guarded(*shard, guard.as_ref(), swaps);
            again.now_or_never().expect("local memory never waits").expect("local memory answers");
        }
    }

    async fn apply(&self, shard: Shard, guard: Option<&Swap>, swaps: &[Swap]) -> Result<Vec<bool>, MemoryError> {
        self.written.lock().unwrap().push((shard, guard.cloned(), swaps.to_vec()));
        self.local.guarded(shard, guard, swaps).await
    }

    /// None: answer. Else the answer is lost, and this says whether the call is applied.
    fn blows(&self) -> Option<bool> {
        if self.away.load(Ordering::Relaxed) {
            return Some(false);
        }
        let mut fuse = self.fuse.lock().unwrap();
        match &mut *fuse {
            Some(left) if left.calls > 0 => {
                left.calls -= 1;
                None
            }
            Some(_) => fuse.take().map(|fuse| fuse.applied),
            None => None,
        }
    }
}

fn lost<T>() -> Result<T, MemoryError> {
    Err(MemoryError::Away("the fuse blew".to_owned()))
}

impl Memory for Rigged {
    async fn recall(&self, shard: Shard, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, MemoryError> {
        if self.blows().is_some() { lost() } else { self.local.recall(shard, keys).await }
    }

    async fn guarded(&self, shard: Shard, guard: Option<&Swap>, swaps: &[Swap]) -> Result<Vec<bool>, MemoryError> {
        match self.blows() {
            None => self.apply(shard, guard, swaps).await,
            Some(true) => self.apply(shard, guard, swaps).await.and(lost()),
            Some(false) => lost(),
        }
    }

    async fn due(&self, shard: Shard, limit: usize) -> Result<Vec<(GroupId, EventTime)>, MemoryError> {
        if self.away.load(Ordering::Relaxed) { lost() } else { self.local.due(shard, limit).await }
    }

    async fn probe(&self) -> Result<(), MemoryError> {
        self.local.probe().await
    }
}
