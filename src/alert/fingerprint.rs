//! Identity fields → fingerprint, hence Kafka key, hence partition.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::murmur2;

/// The SHA-256 over an alert's identity fields, each with its length before it, so that ("ab", "c")
/// and ("a", "bc") differ. It is the Kafka key, hence the partition, hence the order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]); // private: only `of` and `parse` can make one

impl Fingerprint {
    /// Hashes the fields in their order. An absent field and an empty one are alike: both have length 0.
    #[must_use]
    pub fn of<'a>(fields: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for field in fields {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field.as_bytes());
        }
        Self(hash.finalize().into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 32 raw bytes back, as memory and the object's compact member list keep them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Cut short, for where there are many.
    #[must_use]
    pub fn brief(&self) -> Brief {
        let mut bytes = [0; 10];
        bytes[..4].copy_from_slice(&murmur2::murmur2(self.to_string().as_bytes()).to_be_bytes());
        bytes[4..].copy_from_slice(&self.0[..6]);
        Brief(bytes)
    }
}

/// Ten bytes that stand for a fingerprint where there are many: in memory, and in an object's list of members. Four
/// are the murmur2 of its 64 digits, so that they tell its partition and its shard; six are its own first.
///
/// 80 bits of two hashes: of 10 million fingerprints alive at once, any two are alike by a chance of 4e-11 (the birthday
/// bound, n²/2⁸¹), and one of them is like one of 20 000 members by 2e-13 (n·m/2⁸⁰).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Brief([u8; 10]);

impl Brief {
    /// How many bytes it has.
    pub const SIZE: usize = 10;

    /// The ten bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    /// Reads ten raw bytes back.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// The shard of memory that holds what is known of it: as many shards as partitions, and it is its partition's.
    #[must_use]
    pub fn shard(&self, shards: u32) -> u32 {
        (self.hash() & 0x7fff_ffff) % shards.max(1)
    }

    /// A Kafka key that lies in the partition of the fingerprint, for whoever knows no more than this.
    #[must_use]
    pub fn key(&self) -> [u8; 4] {
        murmur2::key_with(self.hash())
    }

    fn hash(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl fmt::Display for Brief {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, &mut [0; 2 * Self::SIZE], out)
    }
}

impl fmt::Debug for Brief {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Brief {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Brief {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a fingerprint cut short is 20 lowercase hex digits"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, &mut [0; 64], out)
    }
}

/// Two digits for each byte, in one write: the door does this for every alert.
fn hex(bytes: &[u8], text: &mut [u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out.write_str(std::str::from_utf8(text).expect("hex digits are ASCII"))
}

/// What [`hex`] wrote, if it is that.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Not 64 lowercase hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 lowercase hex digits")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        unhex(text).map(Self).ok_or(NotAFingerprint)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn d04_ten_thousand_identities_are_ten_thousand_fingerprints() {
        let odd = ["!@#$%", "0123", "---", "🔥", "ไทย", ""].map(str::to_owned);
        let names = (0..9_994).map(|number| number.to_string()).chain(odd);
        let all: HashSet<String> = names.map(|name| Fingerprint::of([name.as_str(), "shop"]).to_string()).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|text| text.len() == 64 && text.parse::<Fingerprint>().is_ok()));
    }

    #[test]
    fn d05_a_field_has_its_length_before_it() {
        let alike = [
            Fingerprint::of(["a:b", "c"]),
            Fingerprint::of(["a", "b:c"]),
            Fingerprint::of(["ab", "c"]),
            Fingerprint::of(["a", "bc"]),
            Fingerprint::of(["", "a", "bc"]),
            Fingerprint::of(["a", "bc", ""]),
        ];
        assert_eq!(alike.into_iter().collect::<HashSet<_>>().len(), 6);
    }

    #[test]
    fn what_is_no_64_lowercase_hex_digits_is_no_fingerprint() {
        for text in ["", "a", &"A".repeat(64), &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"é".repeat(32)] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn d05_other_fields_are_another_fingerprint(one in any::<Vec<String>>(), other in any::<Vec<String>>()) {
            let of = |fields: &[String]| Fingerprint::of(fields.iter().map(String::as_str));
            prop_assert_eq!(one == other, of(&one) == of(&other));
        }

        #[test]
        fn a_fingerprint_is_read_back(bytes in any::<[u8; 32]>(), shards in 0_u32..1_000) {
            let fingerprint = Fingerprint::from_bytes(bytes);
            prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
            prop_assert!(fingerprint.brief().shard(shards) < shards.max(1));
        }

        #[test]
        fn what_is_cut_short_tells_partition_and_shard_as_the_whole_does(bytes in any::<[u8; 32]>(), count in 1_i32..500) {
            let (whole, brief) = (Fingerprint::from_bytes(bytes).to_string(), Fingerprint::from_bytes(bytes).brief());
            prop_assert_eq!(murmur2::partition_of(&brief.key(), count), murmur2::partition_of(whole.as_bytes(), count));
            prop_assert_eq!(i32::try_from(brief.shard(count.unsigned_abs())), Ok(murmur2::partition_of(whole.as_bytes(), count)));
            let text = serde_json::to_string(&brief).unwrap();
            prop_assert_eq!((text.len(), serde_json::from_str::<Brief>(&text).unwrap()), (22, brief));
        }
    }
}
