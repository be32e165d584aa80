//! Who is kin to whom: the first rule whose match holds gives an alert its one group.

use sha2::{Digest, Sha256};

use crate::{
    alert::Alert,
    pipeline::{
        expression::Allowance,
        storm::{GroupField, StormPolicy, StormRule},
    },
    remediation::GroupId,
};

/// The group of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinship {
    /// Its group.
    pub group: GroupId,
    /// The rule that gave it, by its place in the pipeline.
    pub rule: usize,
    /// Rules whose match failed on this alert and counted as not holding.
    pub failed: usize,
}

/// The group of an alert. A match that fails on it counts as not holding.
#[must_use]
pub fn kinship(alert: &Alert, policy: &StormPolicy) -> Kinship {
    let (mut failed, allowance) = (0, Allowance::default());
    let holds = |rule: &StormRule| match rule.matches.as_ref().map(|one| one.holds_within(alert, &allowance)) {
        None => true,
        Some(answer) => answer.unwrap_or_else(|_| {
            failed += 1;
            false
        }),
    };
    let rule = policy.rules.iter().position(holds).unwrap_or(policy.rules.len().saturating_sub(1));
    let group = policy.rules.get(rule).map_or(GroupId([0; 16]), |rule| group(alert, rule));
    Kinship { group, rule, failed }
}

fn group(alert: &Alert, rule: &StormRule) -> GroupId {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    part(&rule.name);
    rule.group_by.iter().for_each(|field| part(value(alert, field)));
    let digest = hash.finalize();
    GroupId(std::array::from_fn(|index| digest[index]))
}

fn value<'a>(alert: &'a Alert, field: &GroupField) -> &'a str {
    match field {
        GroupField::Name => &alert.name,
        GroupField::Namespace => alert.target.namespace.as_deref().unwrap_or_default(),
        GroupField::Label(label) => alert.labels.get(label).map_or("", String::as_str),
    }
}

/// What the kin of an alert have in common, for a person: `PodCrashLooping in shop`.
#[must_use]
pub fn pattern(alert: &Alert, rule: &StormRule) -> String {
    let words: Vec<String> = (rule.group_by.iter())
        .map(|field| match (field, value(alert, field)) {
            (GroupField::Name, name) => name.to_owned(),
            (GroupField::Namespace, "") => "without namespace".to_owned(),
            (GroupField::Namespace, namespace) => format!("in {namespace}"),
            (GroupField::Label(label), value) => format!("{label}={value}"),
        })
        .collect();
    words.join(" ")
}
