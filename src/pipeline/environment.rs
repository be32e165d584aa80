//! Section `environment`: namespace → environment.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{reading::Reading, written::Written};

/// Namespace label first, then patterns in order, then the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentPolicy {
    /// The namespace's label that names its environment.
    pub label: String,
    /// Pattern of a namespace's name (`*` stands for any run of characters) → environment; the first match wins.
    pub patterns: Vec<(String, String)>,
    /// Where nothing matches.
    pub default: String,
}

/// Patterns as shipped: a namespace named after an environment, or with it as first or last word.
const PATTERNS: [(&str, &str); 12] = [
    ("production", "production"),
    ("prod", "production"),
    ("prod-*", "production"),
    ("*-prod", "production"),
    ("staging", "staging"),
    ("staging-*", "staging"),
    ("*-staging", "staging"),
    ("development", "development"),
    ("dev", "development"),
    ("dev-*", "development"),
    ("*-dev", "development"),
    ("*-test", "development"),
];

impl Default for EnvironmentPolicy {
    fn default() -> Self {
        Self {
            label: "environment".into(),
            patterns: PATTERNS.iter().map(|(name, means)| ((*name).to_owned(), (*means).to_owned())).collect(),
            default: "unknown".into(),
        }
    }
}

/// Namespace → environment: its label first, then the patterns in order, then the default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Environment")]
pub(super) struct RawEnvironment {
    /// The namespace's label that names its environment. Default: environment.
    label: Option<Written<String>>,
    /// Patterns of a namespace's name; the first that matches wins.
    patterns: Option<Vec<RawPattern>>,
    /// Where nothing matches. Default: unknown.
    default: Option<Written<String>>,
}

/// One pattern.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pattern")]
struct RawPattern {
    /// A namespace's name; `*` stands for any run of characters, none included.
    namespace: Written<String>,
    /// The environment of the namespaces that match.
    environment: Written<String>,
}

/// Checks the section.
pub(super) fn check(raw: &RawEnvironment, reading: &mut Reading<'_>) -> EnvironmentPolicy {
    let shipped = EnvironmentPolicy::default();
    let label = reading.text("environment.label", &raw.label, &shipped.label);
    let patterns = raw.patterns.as_ref().map_or(shipped.patterns, |written| patterns(written, reading));
    let shown: Vec<String> = patterns.iter().map(|(name, means)| format!("{name}: {means}")).collect();
    let first = raw.patterns.as_ref().and_then(|patterns| patterns.first()).map(|pattern| pattern.namespace.place());
    reading.note("environment.patterns", format!("[{}]", shown.join(", ")), first);
    EnvironmentPolicy { label, patterns, default: reading.text("environment.default", &raw.default, &shipped.default) }
}

fn patterns(written: &[RawPattern], reading: &mut Reading<'_>) -> Vec<(String, String)> {
    let mut patterns: Vec<(String, String)> = Vec::new();
    for pattern in written {
        let (name, means) = (&pattern.namespace.0.value, &pattern.environment.0.value);
        let place = Some(pattern.namespace.place());
        reading.filled("environment.patterns.namespace", name, place);
        reading.filled("environment.patterns.environment", means, Some(pattern.environment.place()));
        if let Some((earlier, other)) = patterns.iter().find(|(earlier, _)| covers(earlier, name)) {
            let (text, hint) = if earlier == name && other != means {
                (format!("environment.patterns: {name:?} is both {other} and {means}"), "decide for one".to_owned())
            } else {
                let text =
                    format!("environment.patterns: {name:?} is never reached, {earlier:?} above matches all of it");
                (text, format!("move it above {earlier:?}, or remove it"))
            };
            reading.fault(place, text, hint);
        }
        patterns.push((name.clone(), means.clone()));
    }
    patterns
}

/// Whether a pattern matches every name that another one matches: it does if it matches the other's text, read as a name.
fn covers(earlier: &str, later: &str) -> bool {
    matches(earlier, later)
}

/// Whether a name fits a pattern, where `*` stands for any run of characters. Takes time in proportion to both lengths.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(tail)
}
