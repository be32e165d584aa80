//! A storm's members on the wire: 19 bytes each, in base64, so that 20 000 fit into one record.

use k8s_openapi::ByteString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::Member;
use crate::alert::{Brief, EventTime};

/// A fingerprint cut short, 8 bytes of first seen, 1 of superseded.
const SIZE: usize = Brief::SIZE + 9;

pub(super) fn serialize<S: Serializer>(members: &[Member], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(members.len() * SIZE);
    for member in members {
        bytes.extend_from_slice(member.fingerprint.bytes());
        bytes.extend_from_slice(&member.first_seen.0.to_be_bytes());
        bytes.push(u8::from(member.superseded));
    }
    ByteString(bytes).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Member>, D::Error> {
    let ByteString(bytes) = ByteString::deserialize(deserializer)?;
    let (members, []) = bytes.as_chunks::<SIZE>() else {
        return Err(D::Error::custom(format_args!("a storm's members are {SIZE} bytes each")));
    };
    members.iter().map(|member| read(member).ok_or_else(|| D::Error::custom("superseded is 0 or 1"))).collect()
}

fn read(member: &[u8; SIZE]) -> Option<Member> {
    let (fingerprint, rest) = member.split_first_chunk::<{ Brief::SIZE }>()?;
    let (first_seen, superseded) = rest.split_first_chunk::<8>()?;
    let superseded = match superseded {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    let (fingerprint, first_seen) = (Brief::from_bytes(*fingerprint), EventTime(i64::from_be_bytes(*first_seen)));
    Some(Member { fingerprint, first_seen, superseded })
}

#[cfg(test)]
mod tests {
    use super::super::StormProgress;
    use super::*;
    use crate::alert::Fingerprint;

    #[test]
    fn f29_twenty_thousand_members_fit_into_a_record_and_come_back() {
        let member = |n: i64| Member {
            fingerprint: Fingerprint::of([n.to_string().as_str()]).brief(),
            first_seen: EventTime(n - 5),
            superseded: n % 3 == 0,
        };
        let told = StormProgress { members: (0..20_000).map(member).collect(), ..StormProgress::default() };
        let text = serde_json::to_string(&told).unwrap();
        assert!(text.len() < 510_000, "{}", text.len());
        assert_eq!(serde_json::from_str::<StormProgress>(&text).unwrap(), told);
    }

    #[test]
    fn what_is_no_list_of_members_is_refused() {
        for bytes in [vec![0; SIZE - 1], [vec![0; SIZE - 1], vec![2]].concat()] {
            let text = serde_json::to_string(&ByteString(bytes)).unwrap();
            assert!(deserialize(&mut serde_json::Deserializer::from_str(&text)).is_err());
        }
    }
}
