//! What was expected beside what came out.

use std::{collections::BTreeMap, fmt};

/// In this order facts are shown.
const ORDER: [&str; 12] = [
    "alert",
    "namespace",
    "resource",
    "storm",
    "members",
    "count",
    "severity",
    "environment",
    "priority",
    "resolved",
    "superseded",
    "at",
];

/// What is said of one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(pub BTreeMap<String, String>);

impl Facts {
    /// Whether everything that is expected is so.
    fn fits(&self, got: &Self) -> bool {
        self.0.iter().all(|(key, value)| got.0.get(key) == Some(value))
    }

    /// In a line, only of these keys, if any are named.
    fn shown(&self, only: Option<&Self>) -> String {
        let asked = |key: &&str| only.is_none_or(|only| only.0.contains_key(*key));
        let words =
            ORDER.iter().filter(|key| asked(key)).filter_map(|key| Some(format!("{key}={}", self.0.get(*key)?)));
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Where what came out differs from what was expected. Its display shows both, side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    rows: Vec<(String, String, bool)>,
}

impl Missed {
    /// None if nothing differs.
    #[must_use]
    pub fn of(
        expected: &[Facts],
        got: Vec<Facts>,
        outcomes: &BTreeMap<String, u64>,
        ended: &BTreeMap<String, u64>,
        unreadable: Option<&str>,
    ) -> Option<Self> {
        let longest = expected.len().max(got.len());
        let mut rows: Vec<(String, String, bool)> = (0..longest)
            .map(|index| match (expected.get(index), got.get(index)) {
                (Some(expected), Some(got)) => (expected.shown(None), got.shown(Some(expected)), expected.fits(got)),
                (Some(expected), None) => (expected.shown(None), "nothing".to_owned(), false),
                (None, Some(got)) => ("nothing".to_owned(), got.shown(None), false),
                (None, None) => (String::new(), String::new(), true),
            })
            .collect();
        for (outcome, count) in outcomes {
            let seen = ended.get(outcome).copied().unwrap_or(0);
            rows.push((format!("{outcome}: {count}"), format!("{outcome}: {seen}"), *count == seen));
        }
        if let Some(why) = unreadable.filter(|_| !outcomes.contains_key("dead_lettered")) {
            rows.push(("dead_lettered: 0".to_owned(), why.to_owned(), false)); // nobody meant to test that
        }
        rows.iter().any(|(_, _, fits)| !fits).then_some(Self { rows })
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(expected, ..)| expected.chars().count()).max().unwrap_or(0).max(8);
        writeln!(out, "    {:width$}  got", "expected")?;
        for (expected, got, fits) in &self.rows {
            let sign = if *fits { ' ' } else { '!' };
            writeln!(out, "  {sign} {expected:width$}  {got}")?;
        }
        Ok(())
    }
}
