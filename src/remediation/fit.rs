//! labels and annotations cut to what Kubernetes accepts. The spec keeps everything whole; this is for metadata.

use std::collections::BTreeMap;

/// The longest value of a label.
const LABEL: usize = 63;
/// What all annotations of an object may sum to, keys included, is 256 KiB (Kubernetes' `TotalAnnotationSizeLimitB`);
/// the sink adds its own marks and the server may add others', so drafts stay below that.
pub const ANNOTATIONS: usize = 240 * 1024;
/// What a cut annotation ends in.
pub const CUT: &str = "… [cut]";
/// The longest name part of an annotation's key.
const KEY_NAME: usize = 63;

/// A label's value: illegal characters become `_`, 63 bytes at most, letters or digits at both ends; nothing left → none.
#[must_use]
pub fn label(value: &str) -> Option<String> {
    let legal = value.chars().map(|char| match char {
        '-' | '_' | '.' => char,
        _ if char.is_ascii_alphanumeric() => char,
        _ => '_',
    });
    let ends = ['-', '_', '.'];
    let all: String = legal.skip_while(|char| ends.contains(char)).take(LABEL).collect();
    let fitted = all.trim_end_matches(ends);
    (!fitted.is_empty()).then(|| fitted.to_owned())
}

/// Labels by name and raw value; what has no legal value is absent.
#[must_use]
pub fn labels<'a>(raw: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    raw.into_iter().filter_map(|(key, value)| Some((key.to_owned(), label(value)?))).collect()
}

/// Annotations whose sum is within [`ANNOTATIONS`]: in their order, as long as there is room; the one that meets the
/// limit is cut at a character boundary and marked, later ones are left out but for their mark. A key that Kubernetes would
/// refuse is left out: the spec has it.
#[must_use]
pub fn annotations<'a>(raw: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    let mut room = ANNOTATIONS;
    let mut kept = BTreeMap::new();
    for (key, value) in raw {
        let Some(left) = room.checked_sub(key.len() + CUT.len()).filter(|_| is_annotation_key(key)) else {
            continue;
        };
        let fitted = cut(value, left + CUT.len());
        room -= key.len() + fitted.len();
        kept.insert(key.to_owned(), fitted);
    }
    kept
}

/// At most so many bytes of a text, cut at a character boundary and marked as cut.
#[must_use]
pub fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub(CUT.len()));
    format!("{}{CUT}", &text[..end])
}

/// Whether Kubernetes could have a namespace of this name (a DNS-1123 label). Nothing else goes into a call's path.
#[must_use]
pub fn is_namespace(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inside) && !name.starts_with('-') && !name.ends_with('-')
}

/// `[prefix/]name`: the prefix a DNS subdomain, the name 63 letters, digits, `-_.` with letters or digits at its ends.
fn is_annotation_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_namespace);
    (1..=KEY_NAME).contains(&name.len()) && label(name).as_deref() == Some(name) && prefix.is_none_or(is_prefix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_label(value: &str, expected: Option<&str>) {
        assert_eq!(label(value).as_deref(), expected, "{value:?}");
    }

    #[test]
    fn h05_a_label_is_cut_to_valid_and_absent_when_nothing_is_left() {
        check_label("critical", Some("critical"));
        check_label("", None);
        check_label("---", None);
        check_label("🔥", None);
        check_label("Sev 1!", Some("Sev_1"));
        check_label(" lead", Some("lead"));
        check_label(&"a".repeat(64), Some(&"a".repeat(63)));
        check_label(&format!("{}-tail", "a".repeat(62)), Some(&"a".repeat(62)));
        assert_eq!(labels([("a", "x"), ("b", "")]).into_keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn h06_annotations_above_the_limit_are_cut_at_a_character_and_marked() {
        let long = "é".repeat(200_000);
        let kept = annotations([("runbook", "short"), ("story", &long), ("last", "left out or cut")]);
        assert_eq!(kept["runbook"], "short");
        assert!(kept["story"].ends_with(CUT) && kept["story"].len() < 256 * 1024);
        assert!(kept["story"].trim_end_matches(CUT).chars().all(|char| char == 'é'));
    }

    #[test]
    fn an_annotation_whose_key_kubernetes_refuses_is_left_out() {
        let keys = ["summary", "example.com/x", "a b", "", "/x", "x/", "Bad_Prefix/x", "a/b/c", "🔥"];
        let kept = annotations(keys.map(|key| (key, "v")));
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["example.com/x", "summary"]);
    }

    #[test]
    fn c14_only_a_dns_label_is_a_namespace() {
        for good in ["shop", "a", "a-1", &"x".repeat(63)] {
            assert!(is_namespace(good), "{good:?}");
        }
        for bad in ["", "../kube-system", "Bad NS!", "-a", "a-", "a.b", "a/b", &"x".repeat(64)] {
            assert!(!is_namespace(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn h05_every_label_is_valid(value in ".{0,200}") {
            if let Some(fitted) = label(&value) {
                let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
                prop_assert!(fitted.len() <= 63 && ends(fitted.bytes().next()) && ends(fitted.bytes().last()));
                prop_assert!(fitted.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
            }
        }

        #[test]
        fn h06_annotations_sum_to_less_than_the_limit(values in proptest::collection::vec(".{0,400}", 0..8), times in 1_usize..2000) {
            let long: Vec<String> = values.iter().map(|value| value.repeat(times)).collect();
            let keys: Vec<String> = (0..long.len()).map(|n| format!("k{n}")).collect();
            let kept = annotations(keys.iter().zip(&long).map(|(key, value)| (key.as_str(), value.as_str())));
            prop_assert!(kept.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= ANNOTATIONS);
        }
    }
}
