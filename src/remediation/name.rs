//! incident → name, the same for ever, at most 63 bytes, DNS-1123.
//!
//! A name is a readable prefix of the alert's name and 16 hex digits of a hash over whom it is about and which
//! generation it is. It hangs on nothing else: not on a cluster, not on memory, not on the worker that decides.

use sha2::{Digest, Sha256};

use super::{Generation, GroupId};
use crate::alert::Fingerprint;

/// The longest name: what a label value and a DNS label may hold.
pub const LONGEST: usize = 63;
/// Hex digits of the hash: 64 bits, and a name that is taken all the same gets a suffix.
const DIGITS: usize = 16;
/// What stands where an alert's name has no letter or digit that a name may hold.
const NAMELESS: &str = "alert";

/// Whom a name is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOf {
    /// The incident of one fingerprint.
    Single(Fingerprint),
    /// The storm of a group.
    Storm(GroupId),
}

/// The name of an incident. The whole generation counts, not its event time alone: the records of one batch share
/// the broker's time, and two incidents of one fingerprint may lie in it.
#[must_use]
pub fn name(alert: &str, of: NameOf, generation: Generation) -> String {
    let mut hash = Sha256::new();
    match of {
        NameOf::Single(fingerprint) => hash.update([&b"single"[..], fingerprint.bytes()].concat()),
        NameOf::Storm(group) => hash.update([&b"storm"[..], &group.0].concat()),
    }
    hash.update(generation.at.0.to_be_bytes());
    hash.update(generation.position.partition.to_be_bytes());
    hash.update(generation.position.offset.to_be_bytes());
    let digits: String = hash.finalize().iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{digits}", prefix(alert, LONGEST - DIGITS - 1))
}

/// Another name for the same incident, where a stranger's object bears the first one. The same attempt gives the
/// same name, so a repeat after a crash finds what it made.
#[must_use]
pub fn suffixed(name: &str, attempt: u32) -> String {
    let suffix = format!("-{attempt}");
    let kept = &name[..name.floor_char_boundary(LONGEST - suffix.len())];
    format!("{}{suffix}", kept.trim_end_matches('-'))
}

/// Letters and digits in lower case, one dash for each run of anything else, none at either end.
fn prefix(alert: &str, longest: usize) -> String {
    let mut kept = String::with_capacity(longest);
    for char in alert.chars() {
        if kept.len() == longest {
            break;
        }
        if char.is_ascii_alphanumeric() {
            kept.push(char.to_ascii_lowercase());
        } else if !kept.is_empty() && !kept.ends_with('-') {
            kept.push('-');
        }
    }
    let kept = kept.trim_end_matches('-');
    if kept.is_empty() { NAMELESS.to_owned() } else { kept.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alert::{EventTime, Position};

    fn generation(at: i64, partition: i32, offset: i64) -> Generation {
        Generation { at: EventTime(at), position: Position { partition, offset } }
    }

    fn of(alert: &str) -> String {
        name(alert, NameOf::Single(Fingerprint::of([alert])), generation(1, 0, 0))
    }

    fn check_prefix(alert: &str, expected: &str) {
        let name = of(alert);
        let (prefix, digits) = name.split_at(name.len() - DIGITS);
        assert_eq!(prefix, format!("{expected}-"), "{alert:?}");
        assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn h04_a_name_begins_with_what_can_be_read_of_the_alerts_name() {
        check_prefix("PodCrashLooping", "podcrashlooping");
        check_prefix("a.b_c:d", "a-b-c-d");
        check_prefix("---", "alert");
        check_prefix("🔥🔥", "alert");
        check_prefix("500", "500");
        check_prefix("-x-", "x");
        check_prefix(&"x".repeat(300), &"x".repeat(46));
        check_prefix(&format!("{}..tail", "y".repeat(45)), &"y".repeat(45));
    }

    #[test]
    fn h04_incidents_that_differ_only_behind_the_cut_have_two_names() {
        let long = "x".repeat(100);
        assert_ne!(of(&format!("{long}a")), of(&format!("{long}b")));
    }

    #[test]
    fn h03_a_recurrence_has_another_name_also_within_one_batch_of_one_broker_time() {
        let id = NameOf::Single(Fingerprint::of(["a"]));
        let first = name("A", id, generation(7, 0, 1));
        assert_eq!(first, name("A", id, generation(7, 0, 1)), "the same incident, the same name");
        for other in [generation(8, 0, 1), generation(7, 1, 1), generation(7, 0, 2)] {
            assert_ne!(first, name("A", id, other));
        }
    }

    #[test]
    fn a_storm_and_a_single_never_share_a_name() {
        let storm = NameOf::Storm(GroupId([0; 16]));
        assert_ne!(name("A", storm, generation(1, 0, 0)), of("A"));
    }

    #[test]
    fn names_are_pinned_because_a_change_would_double_every_live_incident() {
        assert_eq!(of("PodCrashLooping"), "podcrashlooping-febd20cf8b06d1e2");
    }

    proptest! {
        #[test]
        fn h04_a_name_is_a_dns_label(alert in ".{0,300}", seed in any::<[u8; 32]>(), at in any::<i64>(), tries in any::<u32>()) {
            let first = name(&alert, NameOf::Single(Fingerprint::from_bytes(seed)), generation(at, 3, 4));
            for name in [suffixed(&first, tries), suffixed(&suffixed(&first, 1), tries), first] {
                prop_assert!((1..=LONGEST).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-'));
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }
}
