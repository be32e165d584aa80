//! The only place where a Redis key is spelled.
//!
//! | key | holds | lives |
//! |---|---|---|
//! | `<prefix>{<shard>}f<bucket>` | memos that were last written in the same stretch of time: fingerprint cut short → memo | that stretch, and as long again |
//! | `<prefix>{<shard>}g` + 16 bytes | a storm group | as long as its kin may matter |
//! | `<prefix>{<shard>}due` | groups with something to tell → event time | as long as its longest group |
//! | `<prefix>{marks}m<partition>` | how far a partition was read, and by whom | a day |
//! | `<prefix>{marks}wanted` | up to when somebody waits | a day |
//! | `<prefix>{<shard>}v<partition>` | the last change that the partition's reader made there | 10 minutes after it |
//! | `<prefix>{marks}epoch` | which memory this is | a day |
//! | `<prefix>{marks}probe` | nothing: it is written to see that Redis takes writes | a minute |
//!
//! What is between braces is the hash tag of a cluster: all keys of a shard lie in one slot.

use crate::memory::{Key, Shard};

/// The field of a key that is one of many in a bucket; empty for one that stands by itself. A key of its own, with its
/// lifetime, costs Redis about a hundred bytes, a field twelve.
#[must_use]
pub fn field(key: &Key) -> &[u8] {
    match key {
        Key::Fingerprint(fingerprint) => fingerprint.bytes(),
        Key::Group(_) | Key::Mark(_) | Key::Wanted | Key::Vouch(_) | Key::Epoch => &[],
    }
}

/// A key in Redis; of one that is a field, where its buckets begin: the scripts write their number behind it.
#[must_use]
pub fn spell(prefix: &str, shard: Shard, key: &Key) -> Vec<u8> {
    let mut out = tag(prefix, shard);
    match key {
        Key::Fingerprint(_) => out.push(b'f'),
        Key::Group(group) => {
            out.push(b'g');
            out.extend_from_slice(&group.0);
        }
        Key::Mark(partition) => out.extend_from_slice(format!("m{partition}").as_bytes()),
        Key::Wanted => out.extend_from_slice(b"wanted"),
        Key::Vouch(partition) => out.extend_from_slice(format!("v{partition}").as_bytes()),
        Key::Epoch => out.extend_from_slice(b"epoch"),
    }
    out
}

/// A shard's index of groups that have something to tell.
#[must_use]
pub fn due(prefix: &str, shard: Shard) -> Vec<u8> {
    let mut out = tag(prefix, shard);
    out.extend_from_slice(b"due");
    out
}

/// What is written to see that Redis takes writes.
#[must_use]
pub fn probe(prefix: &str) -> Vec<u8> {
    let mut out = tag(prefix, Shard::Marks);
    out.extend_from_slice(b"probe");
    out
}

fn tag(prefix: &str, shard: Shard) -> Vec<u8> {
    match shard {
        Shard::Numbered(number) => format!("{prefix}{{{number}}}"),
        Shard::Marks => format!("{prefix}{{marks}}"),
    }
    .into_bytes()
}
