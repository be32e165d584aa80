//! Local memory whose answers may fail to come: before the call was applied, or after.

use std::sync::Mutex;

use breakwater::{
    alert::EventTime,
    memory::{Key, Memory, MemoryError, Shard, Swap, local::Local},
    remediation::GroupId,
};

/// When the next answer is lost.
#[derive(Clone, Copy, Debug)]
pub struct Fuse {
    /// Calls that are still answered.
    pub calls: u32,
    /// Whether the call that is not answered was applied.
    pub applied: bool,
}

/// Local memory with a fuse.
#[derive(Debug, Default)]
pub struct Rigged {
    pub local: Local,
    fuse: Mutex<Option<Fuse>>,
}

impl Rigged {
    /// Sets or takes out the fuse. A fuse blows once.
    pub fn rig(&self, fuse: Option<Fuse>) {
        *self.fuse.lock().unwrap() = fuse;
    }

    /// None: answer. Else the answer is lost, and this says whether the call is applied.
    fn blows(&self) -> Option<bool> {
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
            None => self.local.guarded(shard, guard, swaps).await,
            Some(true) => self.local.guarded(shard, guard, swaps).await.and(lost()),
            Some(false) => lost(),
        }
    }

    async fn due(&self, shard: Shard, limit: usize) -> Result<Vec<(GroupId, EventTime)>, MemoryError> {
        self.local.due(shard, limit).await
    }

    async fn probe(&self) -> Result<(), MemoryError> {
        self.local.probe().await
    }
}
