//! Ordered rules → priority: the first whose condition holds.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Location;

use super::{Priority, known};
use crate::pipeline::{
    expression::{Expression, Refused, Scope},
    reading::Reading,
    written::Written,
};

/// All conditions together, in bytes: what an incident's judgement takes is in proportion to it.
const MOST_TEXT: usize = 16 * 1024;

/// Patterns of all conditions together: each is compiled when it is asked.
const MOST_PATTERNS: usize = 16;

/// Rules of one list.
const MOST_RULES: usize = 200;

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
    let text: usize = written.iter().filter_map(|rule| rule.when.as_ref()).map(|when| when.0.value.len()).sum();
    let patterns: usize = rules.iter().filter_map(|rule| rule.when.as_ref()).map(Expression::patterns).sum();
    match written.last() {
        Some(last) if patterns > MOST_PATTERNS => {
            let text = format!("priority.rules asks matches {patterns} times, at most {MOST_PATTERNS} are allowed");
            reading.fault(Some(last.place()), text, "use startsWith, endsWith, contains or in, or join patterns, a|b");
        }
        None => {
            reading.fault(None, "priority.rules is empty", "write one rule, or remove the line for the shipped matrix")
        }
        Some(last) if written.len() > MOST_RULES || text > MOST_TEXT => {
            let text = format!("priority.rules has at most {MOST_RULES} rules and {MOST_TEXT} bytes of conditions");
            reading.fault(Some(last.place()), text, "join rules of one priority, or use priority.matrix for the table");
        }
        Some(last) => {
            if let Some(when) = &last.when {
                let text = "priority.rules must end with a rule without when, so that each incident has a priority";
                reading.fault(Some(when.place()), text, "add - { name: rest, priority: P2 }");
            }
        }
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
