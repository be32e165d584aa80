//! Ordered rules → priority: the first whose condition holds.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Location;

use super::{Priority, known};
use crate::pipeline::{
    expression::{
        Expression, Refused, Scope,
        list::{MOST_RULES, too_much},
    },
    reading::Reading,
    written::Written,
};

/// One rule.
#[derive(Clone, Debug)]
pub struct PriorityRule {
    /// Its name, for people.
    pub name: String,
    /// When it holds; none = always.
    pub when: Option<Expression>,
    /// What it gives.
    pub priority: Priority,
}

/// One rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PriorityRule")]
pub(in crate::pipeline) struct RawRule {
    /// Its name, for people.
    name: Written<String>,
    /// CEL on `alert`, `environment` and `severity`; none = always.
    #[serde(default)]
    when: Option<Written<String>>,
    /// P0 to P3.
    priority: Written<String>,
}

impl RawRule {
    pub(super) fn place(&self) -> Location {
        self.name.place()
    }
}

/// Checks the rules: each can be reached, no two disagree, and the last one takes what is left.
pub(super) fn check(written: &[RawRule], reading: &mut Reading<'_>) -> Vec<PriorityRule> {
    let mut rules: Vec<PriorityRule> = Vec::new();
    for raw in written.iter().take(MOST_RULES) {
        let rule = rule(raw, reading);
        if raw.when.is_none() || rule.when.is_some() {
            reached(raw, &rule, &rules, reading); // a condition that is refused has been told
            rules.push(rule);
        }
    }
    let Some(last) = written.last() else {
        reading.fault(None, "priority.rules is empty", "write one rule, or remove the line for the shipped matrix");
        return rules;
    };
    let sources = written.iter().filter_map(|rule| rule.when.as_ref()).map(|when| when.0.value.as_str());
    let compiled = rules.iter().filter_map(|rule| rule.when.as_ref());
    let join = "join rules of one priority, or use priority.matrix for the table";
    if let Some((text, hint)) = too_much(("priority.rules", written.len()), sources, compiled, join) {
        reading.fault(Some(last.place()), text, hint);
    } else if let Some(when) = &last.when {
        let text = "priority.rules must end with a rule without when, so that each incident has a priority";
        reading.fault(Some(when.place()), text, "add - { name: rest, priority: P2 }");
    }
    rules
}

fn rule(raw: &RawRule, reading: &mut Reading<'_>) -> PriorityRule {
    let name = reading.name("priority.rules.name", &Some(raw.name.clone()), "production");
    let field = format!("priority.rules[{name}]");
    let priority = known(&format!("{field}.priority"), &raw.priority, reading);
    let when = raw.when.as_ref().and_then(|written| compiled(&format!("{field}.when"), written, reading));
    let shown = raw.when.as_ref().map_or("always", |when| &when.0.value);
    reading.note(&field, format!("{}: {shown}", raw.priority.0.value), Some(raw.place()));
    PriorityRule { name, when, priority: priority.unwrap_or(Priority::P3) }
}

fn compiled(field: &str, written: &Written<String>, reading: &mut Reading<'_>) -> Option<Expression> {
    let never = |when: Expression| if when.is_never() { Err(Refused::never()) } else { Ok(when) };
    match Expression::compile_for(&written.0.value, Scope::Judged).and_then(never) {
        Ok(when) => Some(when),
        Err(wrong) => {
            let (line, column) = reading.inside(written, wrong.offset);
            reading.fault_at(line, column, (format!("{field}: {}", wrong.text), wrong.hint));
            None
        }
    }
}

/// Notes a rule that nothing reaches, that disagrees with another, or that has its name.
fn reached(raw: &RawRule, rule: &PriorityRule, above: &[PriorityRule], reading: &mut Reading<'_>) {
    let (name, place) = (&rule.name, Some(raw.place()));
    if above.iter().any(|earlier| earlier.name == *name) {
        reading.fault(place, format!("priority.rules: two rules are named {name}"), "give each a name of its own");
    }
    let covered = |earlier: &&PriorityRule| covers(earlier, rule);
    let Some(earlier) = above.iter().find(covered) else { return };
    let first = &earlier.name;
    if covers(rule, earlier) && earlier.priority != rule.priority {
        let text = format!(
            "priority.rules: {first} and {name} have the same condition and disagree, {} and {}",
            earlier.priority, rule.priority
        );
        reading.fault(place, text, "decide for one");
        return;
    }
    let why = if earlier.when.is_some() { "holds wherever it does" } else { "takes every incident" };
    let text = format!("priority.rules: {name} is never reached, {first} above {why}");
    reading.fault(place, text, format!("move it above {first}, or remove it"));
}

fn covers(earlier: &PriorityRule, later: &PriorityRule) -> bool {
    match (&earlier.when, &later.when) {
        (None, _) => true,
        (Some(earlier), Some(later)) => earlier.covers(later),
        (Some(earlier), None) => earlier.is_always(),
    }
}
