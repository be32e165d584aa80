//! Environment and severity → priority.

use crate::pipeline::priority::PriorityPolicy;

/// The priority, and whether it is the fallback, which the caller counts.
#[must_use]
pub fn priority(policy: &PriorityPolicy, environment: &str, severity: &str) -> (String, bool) {
    let row = policy.matrix.get(severity);
    match row.and_then(|cells| cells.get(environment).or_else(|| cells.get("*"))) {
        Some(priority) => (priority.clone(), false),
        None => (policy.fallback.clone(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g06_the_shipped_matrix() {
        let policy = PriorityPolicy::default();
        for (severity, environment, expected) in [
            ("critical", "production", "P0"),
            ("critical", "staging", "P1"),
            ("warning", "production", "P1"),
            ("critical", "development", "P2"),
            ("warning", "staging", "P2"),
            ("warning", "development", "P2"),
            ("info", "production", "P3"),
            ("info", "blue", "P3"),
            ("info", "unknown", "P3"),
        ] {
            assert_eq!(priority(&policy, environment, severity), (expected.into(), false), "{severity} {environment}");
        }
    }

    #[test]
    fn g08_what_the_matrix_does_not_know_takes_the_fallback_and_says_so() {
        let policy = PriorityPolicy::default();
        assert_eq!(priority(&policy, "unknown", "unknown"), ("P2".into(), true));
        assert_eq!(priority(&policy, "production", "Sev1"), ("P2".into(), true));
    }
}
