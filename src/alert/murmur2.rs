//! Which partition, and which shard of memory, a key belongs to, as a Java producer would choose.

/// The partition of a key: murmur2 as the Java client computes it, positive, modulo the number of partitions.
#[must_use]
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    i32::try_from(shard_of(key, u32::try_from(partitions.max(1)).unwrap_or(1))).unwrap_or_default()
}

/// The shard of a key: the same function, so that with as many shards as partitions a partition's records lie in
/// one shard.
#[must_use]
pub fn shard_of(key: &[u8], shards: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % shards.max(1)
}

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;

/// The key of four bytes that has this hash, hence lies where any other key with this hash lies, however many
/// partitions there are. Of four bytes there is exactly one, as each step of the hash can be undone.
#[must_use]
pub(super) fn key_with(hash: u32) -> [u8; 4] {
    const UNDO_M: u32 = 0xe59b_19bd; // M * UNDO_M = 1 in 32 bits
    let undo_15 = hash ^ (hash >> 15) ^ (hash >> 30);
    let product = undo_15.wrapping_mul(UNDO_M);
    let undo_13 = product ^ (product >> 13) ^ (product >> 26);
    let word = (undo_13 ^ (SEED ^ 4).wrapping_mul(M)).wrapping_mul(UNDO_M);
    (word ^ (word >> 24)).wrapping_mul(UNDO_M).to_le_bytes()
}

/// Murmur2, 32 bits, with the seed of `org.apache.kafka.common.utils.Utils.murmur2`.
pub(super) fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (chunks, rest) = data.as_chunks::<4>();
    for chunk in chunks {
        let word = u32::from_le_bytes(*chunk).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn d11_a_key_hashes_as_in_the_java_client() {
        let known: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key).cast_signed(), hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_partition_is_one_of_them() {
        for partitions in [1, 3, 4, 12] {
            for key in ["", "a", "abc", "foobar"] {
                assert!((0..partitions).contains(&partition_of(key.as_bytes(), partitions)));
            }
        }
        assert_eq!(partition_of(b"foobar", 1000), (-790_332_482_i32 & i32::MAX) % 1000);
    }
}
