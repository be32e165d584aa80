//! What is wrong with a pipeline, and where: `FILE:LINE:COLUMN: what is wrong; what to write instead`.

use std::fmt;

use serde_saphyr::{Error, Location};

/// One fault of a pipeline's text. Its display is what `check` prints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct Fault {
    /// The file, as it was named to us.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// Its column in characters, from 1.
    pub column: u64,
    /// What is wrong: the field, what must hold, what was got.
    pub text: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}: {}; {}", self.file, self.line, self.column, self.text, self.hint)
    }
}

/// Where an address or a secret belongs, by what its key looks like. The first that is part of the key wins.
const ELSEWHERE: &[(&str, &str)] = &[
    ("broker", "BREAKWATER_KAFKA_BROKERS"),
    ("bootstrap", "BREAKWATER_KAFKA_BROKERS"),
    ("kafka", "BREAKWATER_KAFKA_BROKERS"),
    ("sasl", "BREAKWATER_KAFKA_PROPERTIES, a file of librdkafka properties"),
    ("username", "BREAKWATER_KAFKA_PROPERTIES, a file of librdkafka properties"),
    ("password", "BREAKWATER_KAFKA_PROPERTIES or BREAKWATER_REDIS_URL, whichever it opens"),
    ("secret", "BREAKWATER_KAFKA_PROPERTIES or BREAKWATER_REDIS_URL, whichever it opens"),
    ("token", "BREAKWATER_KAFKA_PROPERTIES or KUBECONFIG, whichever it opens"),
    ("redis", "BREAKWATER_REDIS_URL"),
    ("kubeconfig", "KUBECONFIG"),
    ("listen", "BREAKWATER_LISTEN or BREAKWATER_ADMIN_LISTEN"),
    ("fallback_namespace", "BREAKWATER_FALLBACK_NAMESPACE"),
    ("url", "a BREAKWATER_… variable of the environment"),
    ("address", "a BREAKWATER_… variable of the environment"),
    ("host", "a BREAKWATER_… variable of the environment"),
];

/// Turns the YAML reader's first complaint into a fault of ours, in our words.
pub(super) fn of_yaml(file: &str, text: &str, error: &Error) -> Fault {
    let error = error.without_snippet();
    let place = error.location();
    let (line, column) = place.map_or((1, 1), |place| (place.line().max(1), place.column().max(1)));
    let field = field_at(text, line);
    let (text, hint) = explain(error, &field);
    Fault { file: file.to_owned(), line, column, text, hint }
}

/// What is wrong and what to write instead, for the complaints that people meet.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign, growing list: the rest speaks for itself")]
fn explain(error: &Error, field: &str) -> (String, String) {
    match error {
        Error::SerdeUnknownField { field: key, expected, .. } => unknown_key(field, key, expected),
        Error::SerdeMissingField { field: key, .. } => missing_key(field, key),
        Error::DuplicateMappingKey { key, .. } => {
            let whole = join(parent(field), key.as_deref().unwrap_or("a key"));
            (format!("{} stands here a second time", named(&whole)), "keep one of the two".into())
        }
        Error::AliasError { .. }
        | Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. } => too_large(),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            wrong_form(field, expected, &format!(", got {unexpected}"))
        }
        Error::Unexpected { expected, .. } => {
            wrong_form(field, &format!("a {}", expected.trim_end_matches(" start")), "")
        }
        Error::MultipleDocuments { .. } => {
            ("a second document begins here".into(), "one file is one pipeline: remove the --- line".into())
        }
        other => in_its_words(other),
    }
}

fn missing_key(field: &str, key: &str) -> (String, String) {
    let list: Vec<&str> = field.split('.').take(2).collect(); // only entries of lists have fields that must be there
    (format!("{} has an entry without {key}", list.join(".")), format!("add {key}: to it"))
}

fn wrong_form(field: &str, expected: &str, got: &str) -> (String, String) {
    (format!("{} must be {expected}{got}", named(field)), "see pipelines/alerts.yaml for its form".into())
}

/// The YAML reader's own words, without the place, which stands before them anyway.
fn in_its_words(error: &Error) -> (String, String) {
    let said = error.render();
    let text = said.lines().next().unwrap_or_default();
    let text = text.split_once(" at line ").map_or(text, |(text, _)| text).to_owned();
    let spaces = text.contains("tab");
    let hint = if spaces { "indent with spaces" } else { "write it as YAML 1.2, in the form of pipelines/alerts.yaml" };
    (text, hint.into())
}

fn too_large() -> (String, String) {
    let text = "the text unfolds beyond the limits of a pipeline (256 KiB, 20 000 nodes, 16 levels, few aliases)";
    (text.into(), "write values out instead of anchors and aliases".into())
}

/// An unknown key: an address or secret that belongs elsewhere, a slip of the pen, or plainly unknown.
fn unknown_key(field: &str, key: &str, expected: &[&str]) -> (String, String) {
    let whole = if field.ends_with(key) { field.to_owned() } else { join(field, key) };
    let lower = key.to_lowercase();
    if let Some((_, place)) = ELSEWHERE.iter().find(|(part, _)| lower.contains(part)) {
        let text = format!("{whole} has no place in a pipeline, which holds neither addresses nor secrets");
        return (text, format!("set {place}"));
    }
    if whole == "cases" {
        return ("this is no pipeline but a file of tests".to_owned(), "run it: breakwater test FILE".to_owned());
    }
    let known = expected.join(", ");
    match nearest(key, expected) {
        Some(near) => (format!("{whole} is not known"), format!("write {near}, if that is meant; known here: {known}")),
        None => (format!("{whole} is not known"), format!("known here: {known}")),
    }
}

/// The known word that is at most about a third of its letters away from what was written.
#[must_use]
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, word) = known.iter().map(|word| (distance(written, word), *word)).min()?;
    (distance <= (word.chars().count() + 1) / 3).then_some(word)
}

/// How many letters to insert, remove or replace (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

/// The field that a line speaks of, by indentation: `storm.threshold`. Empty where no key stands above it.
fn field_at(text: &str, line: u64) -> String {
    let end = usize::try_from(line).unwrap_or(usize::MAX);
    let lines: Vec<&str> = text.lines().take(end).collect();
    let mut path: Vec<&str> = Vec::new();
    let mut indent = usize::MAX;
    for line in lines.iter().rev() {
        let body = line.trim_start().trim_start_matches("- ");
        let at = line.len() - body.len();
        if let Some((key, _)) = body.split_once(':').filter(|_| at < indent && !body.starts_with('#')) {
            path.push(key.trim_matches(['"', '\'', ' ']));
            indent = at;
        }
    }
    path.reverse();
    path.join(".")
}

fn parent(field: &str) -> &str {
    field.rsplit_once('.').map_or("", |(above, _)| above)
}

fn join(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}

fn named(field: &str) -> &str {
    if field.is_empty() { "the pipeline" } else { field }
}

/// Line and column of a place that has none because nothing was written there.
pub(super) fn place(location: Option<Location>) -> (u64, u64) {
    location.map_or((1, 1), |place| (place.line().max(1), place.column().max(1)))
}
