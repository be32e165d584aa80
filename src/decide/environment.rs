//! Namespace → environment.

use std::collections::BTreeMap;

use crate::pipeline::environment::{EnvironmentPolicy, matches};

/// The environment of a namespace: its label, whatever that says; else the first pattern that its name fits; else the default.
#[must_use]
pub fn environment(
    policy: &EnvironmentPolicy,
    namespace: Option<&str>,
    labels: Option<&BTreeMap<String, String>>,
) -> String {
    let label = labels.and_then(|labels| labels.get(&policy.label)).filter(|value| !value.trim().is_empty());
    let pattern = || {
        let name = namespace.filter(|name| !name.is_empty())?;
        policy.patterns.iter().find(|(pattern, _)| matches(pattern, name)).map(|(_, environment)| environment)
    };
    label.or_else(pattern).unwrap_or(&policy.default).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Pipeline;

    const RULES: &str = r#"
environment:
  label: stage
  patterns:
    - { namespace: "prod-*", environment: production }
    - { namespace: "*-test", environment: testing }
    - { namespace: "a*b*c", environment: odd }
"#;

    /// Asserts the environment of a namespace with one label, which `-` leaves out.
    fn check(namespace: Option<&str>, label: &str, expected: &str) {
        let policy = Pipeline::parse("p", RULES).unwrap().environment;
        let (key, value) = label.split_once('=').unwrap_or(("other", "x"));
        let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(environment(&policy, namespace, Some(&labels)), expected, "{namespace:?} {label}");
    }

    #[test]
    fn g01_a_label_says_whatever_it_says() {
        for word in ["production", "staging", "qa-eu", "blue"] {
            check(Some("shop"), &format!("stage={word}"), word);
        }
    }

    #[test]
    fn g02_the_label_beats_the_patterns_and_these_stand_in_order() {
        check(Some("prod-a"), "stage=blue", "blue");
        check(Some("prod-a"), "stage=", "production");
        check(Some("prod-a"), "environment=blue", "production");
        check(Some("prod-test"), "-", "production");
        check(Some("shop-test"), "-", "testing");
        check(Some("shop"), "-", "unknown");
        check(Some(""), "-", "unknown");
        check(None, "-", "unknown");
        check(Some("axxbyyc"), "-", "odd");
        check(Some("axxbyycd"), "-", "unknown");
        check(Some("ac"), "-", "unknown");
        assert_eq!(environment(&EnvironmentPolicy::default(), Some("prod-eu"), None), "production");
    }
}
