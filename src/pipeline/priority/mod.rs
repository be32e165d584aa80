//! Section `priority`: who comes first. A matrix of severity and environment, ordered rules, or a Rego file; one of the three.

mod matrix;
#[cfg(feature = "rego")]
pub mod rego;
mod rules;

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::{matrix::Matrix, rules::PriorityRule};
use super::{
    environment::EnvironmentPolicy,
    reading::Reading,
    severity::SeverityPolicy,
    written::{Entries, Written},
};

/// The priorities that there are, from highest to lowest.
pub const PRIORITIES: [&str; 4] = ["P0", "P1", "P2", "P3"];

/// A priority; the highest is the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// First of all.
    P0,
    /// Before most.
    P1,
    /// As usual.
    P2,
    /// After all else.
    P3,
}

impl Priority {
    /// From highest to lowest.
    pub const ALL: [Self; 4] = [Self::P0, Self::P1, Self::P2, Self::P3];

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        PRIORITIES[self as usize]
    }

    /// What a text says, if it is one of the four.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What tells the priority.
#[derive(Clone, Debug)]
pub enum By {
    /// Severity and environment alone.
    Matrix(Matrix),
    /// The first rule that holds.
    Rules(Vec<PriorityRule>),
    /// A Rego file.
    #[cfg(feature = "rego")]
    Rego(Box<rego::Rego>),
}

/// What tells the priority, with a stated fallback that is counted when used.
#[derive(Clone, Debug)]
pub struct PriorityPolicy {
    /// What tells it.
    pub by: By,
    /// Where that says nothing.
    pub fallback: Priority,
}

impl Default for PriorityPolicy {
    fn default() -> Self {
        Self { by: By::Matrix(Matrix::default()), fallback: Priority::P2 }
    }
}

impl PriorityPolicy {
    /// Whether it is ended by a clock, hence may take as long as that allows. The rest is done in a moment.
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        match &self.by {
            By::Matrix(_) | By::Rules(_) => false,
            #[cfg(feature = "rego")]
            By::Rego(_) => true,
        }
    }
}

/// Who comes first: `matrix`, `rules` or `rego`; without any of them, the shipped matrix.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Priority")]
pub(super) struct RawPriority {
    /// severity → environment → priority (P0 to P3); the environment `*` stands for any that is not named in its row.
    matrix: Option<Entries<Entries<Written<String>>>>,
    /// The first rule whose `when` holds tells the priority. The last one has no `when`.
    rules: Option<Vec<rules::RawRule>>,
    /// A Rego file tells it. Only in a build with the feature `rego`.
    pub(super) rego: Option<RawRego>,
    /// Where nothing else says it; counted when used. Default: P2.
    fallback: Option<Written<String>>,
}

/// A Rego file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rego")]
pub(super) struct RawRego {
    /// Where it lies, relative to the pipeline file.
    pub(super) file: Written<String>,
    /// The rule that tells the priority. Default: data.breakwater.priority.
    #[cfg_attr(not(feature = "rego"), expect(dead_code, reason = "a build without Rego refuses the whole"))]
    #[serde(default)]
    query: Option<Written<String>>,
}

/// The text of a file that a pipeline names, as its loader found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// How faults call it.
    pub name: String,
    /// What it holds, or why it could not be read, as the rest of a sentence about it.
    pub text: Result<String, String>,
}

/// What the other sections and the loader say, as far as priorities are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    pub severity: &'a SeverityPolicy,
    pub environment: &'a EnvironmentPolicy,
    #[cfg_attr(not(feature = "rego"), expect(dead_code, reason = "a build without Rego refuses the whole"))]
    pub attached: Option<&'a Attached>,
}

/// Checks the section, against the severities and environments that the others name.
pub(super) fn check(raw: &RawPriority, beside: Beside<'_>, reading: &mut Reading<'_>) -> PriorityPolicy {
    let shipped = PriorityPolicy::default();
    reading.text("priority.fallback", &raw.fallback, shipped.fallback.as_str());
    let fallback = raw.fallback.as_ref().and_then(|written| known("priority.fallback", written, reading));
    let fallback = fallback.unwrap_or(shipped.fallback);
    one_of_three(raw, reading);
    let by = match (&raw.rego, &raw.rules) {
        (Some(rego), _) => by_rego(rego, beside, reading),
        (None, Some(written)) => By::Rules(rules::check(written, reading)),
        (None, None) => By::Matrix(matrix::check(raw.matrix.as_ref(), beside, reading)),
    };
    PriorityPolicy { by, fallback }
}

fn one_of_three(raw: &RawPriority, reading: &mut Reading<'_>) {
    let matrix = raw.matrix.as_ref().and_then(|rows| rows.0.first()).map(|(row, _)| ("matrix", row.place()));
    let rules = raw.rules.as_ref().and_then(|rules| rules.first()).map(|rule| ("rules", rule.place()));
    let rego = raw.rego.as_ref().map(|rego| ("rego", rego.file.place()));
    let written: Vec<_> = [matrix, rules, rego].into_iter().flatten().collect();
    if let [(first, _), (second, place), ..] = written.as_slice() {
        let text = format!("priority.{first} and priority.{second} both tell the priority");
        reading.fault(
            Some(*place),
            text,
            format!("keep one of them, and remove priority.{first} or priority.{second}"),
        );
    }
}

#[cfg(feature = "rego")]
fn by_rego(raw: &RawRego, beside: Beside<'_>, reading: &mut Reading<'_>) -> By {
    rego::check(raw, beside, reading).map_or_else(|| By::Matrix(Matrix::default()), |rego| By::Rego(Box::new(rego)))
}

#[cfg(not(feature = "rego"))]
fn by_rego(raw: &RawRego, _: Beside<'_>, reading: &mut Reading<'_>) -> By {
    let text = "priority.rego: this build has no Rego";
    let hint = "build it with --features rego, or write priority.rules or priority.matrix";
    reading.fault(Some(raw.file.place()), text, hint);
    By::Matrix(Matrix::default())
}

/// A priority, if what was written is one.
fn known(field: &str, written: &Written<String>, reading: &mut Reading<'_>) -> Option<Priority> {
    let got = &written.0.value;
    let priority = Priority::parse(got);
    if priority.is_none() {
        let text = format!("{field} must be a priority, got {got:?}");
        reading.fault(Some(written.place()), text, "write P0, P1, P2 or P3");
    }
    priority
}
