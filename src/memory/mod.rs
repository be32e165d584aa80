//! What was seen, kept outside of the worker: fast, shared, and rebuildable from the log and the API server.
//!
//! Memory decides nothing. It holds values under keys, and changes one only if it is still what the asker has seen
//! (compare and set); the core computes what it becomes. So both memories give the same answers by construction,
//! a repeated call changes nothing, and a worker that lost its partition finds that its view is stale.

pub mod amend;
pub mod form;
pub mod local;
mod packer;
mod probe;
pub mod redis;
pub mod vouch;

pub use probe::probe;
pub use vouch::Vouched;

use std::{future::Future, time::Duration};

use sha2::{Digest, Sha256};

use crate::{
    alert::{Brief, EventTime},
    remediation::GroupId,
};

/// A shard: all its keys lie in one slot of a cluster, so that one call may touch any number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shard {
    /// Fingerprints and groups, by number.
    Numbered(u32),
    /// How far each partition was read; one for all.
    Marks,
}

/// What is kept under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A fingerprint's memo.
    Fingerprint(Brief),
    /// A storm group.
    Group(GroupId),
    /// How far one partition was read.
    Mark(i32),
    /// Up to when somebody waits for the marks.
    Wanted,
    /// What the reader of one partition has changed here, in one number: while it is found as it was left, nothing
    /// of it was lost.
    Vouch(i32),
    /// Which memory this is: another one once something of it was lost.
    Epoch,
}

/// A value's version: the head of its SHA-256, so that the same value has the same version wherever it is written.
pub type Version = [u8; 8];

/// The version of a value.
#[must_use]
pub fn version(value: &[u8]) -> Version {
    let digest = Sha256::digest(value);
    std::array::from_fn(|index| digest[index])
}

/// A change of one key, made only if the key still holds what the asker has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Which key.
    pub key: Key,
    /// What the asker has seen there; none = nothing.
    pub seen: Option<Version>,
    /// What it becomes.
    pub value: Vec<u8>,
    /// How long memory keeps it after this call. Housekeeping, never a decision.
    pub keep: Duration,
    /// For a group: when it next has something to tell; none = nothing to tell.
    pub due: Option<EventTime>,
}

/// Why memory gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It can't be reached, or refuses to work. The asker waits and asks again: every call may be repeated.
    #[error("memory gives no answer: {0}")]
    Away(String),
    /// It works, and no longer has what the asker left there. Nothing was changed; the asker reads the log again.
    #[error("memory has lost what was left there")]
    Lost,
}

/// Values under keys, with compare and set. What a call promises holds under repetition: a call that was applied
/// though its answer was lost is answered alike when it is asked again.
pub trait Memory: Send + Sync + 'static {
    /// The values of these keys, in order.
    fn recall(
        &self,
        shard: Shard,
        keys: &[Key],
    ) -> impl Future<Output = Result<Vec<Option<Vec<u8>>>, MemoryError>> + Send;

    /// Makes each change whose key still holds what was seen, each for itself, and says which were made. A change
    /// that was made before counts as made. With a guard, all that holds only if the guard was made, in one step;
    /// else nothing is, and the answer is [`MemoryError::Lost`].
    fn guarded(
        &self,
        shard: Shard,
        guard: Option<&Swap>,
        swaps: &[Swap],
    ) -> impl Future<Output = Result<Vec<bool>, MemoryError>> + Send;

    /// The same without a guard.
    fn swap(&self, shard: Shard, swaps: &[Swap]) -> impl Future<Output = Result<Vec<bool>, MemoryError>> + Send {
        self.guarded(shard, None, swaps)
    }

    /// The groups of a shard that have something to tell, the earliest first, at most `limit`.
    fn due(
        &self,
        shard: Shard,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(GroupId, EventTime)>, MemoryError>> + Send;

    /// Whether it works: asks and waits for the answer.
    fn probe(&self) -> impl Future<Output = Result<(), MemoryError>> + Send;
}
