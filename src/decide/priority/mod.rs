//! Environment, severity and alert → priority.

use crate::{
    alert::Alert,
    pipeline::{
        expression::{Allowance, Standing},
        priority::{By, Priority, PriorityPolicy},
    },
};

/// The priority of an incident; the stated fallback comes with the reason why it was taken, which the caller counts.
#[must_use]
pub fn priority(policy: &PriorityPolicy, alert: &Alert, standing: Standing<'_>) -> (Priority, Option<String>) {
    let told = match &policy.by {
        By::Matrix(matrix) => {
            let Standing { environment, severity } = standing;
            let none = || format!("priority.matrix has no cell for the severity {severity:?} in {environment:?}");
            matrix.cell(environment, severity).ok_or_else(none)
        }
        By::Rules(rules) => first(rules, alert, standing),
        #[cfg(feature = "rego")]
        By::Rego(rego) => rego.ask(alert, standing),
    };
    match told {
        Ok(priority) => (priority, None),
        Err(why) => (policy.fallback, Some(why)),
    }
}

/// The first rule that holds. One that fails is no reason to try the next, which may say less.
fn first(
    rules: &[crate::pipeline::priority::PriorityRule],
    alert: &Alert,
    standing: Standing<'_>,
) -> Result<Priority, String> {
    let allowance = Allowance::default();
    for rule in rules {
        let holds = rule.when.as_ref().map_or(Ok(true), |when| when.holds_judged(alert, standing, &allowance));
        match holds {
            Ok(true) => return Ok(rule.priority),
            Ok(false) => {}
            Err(why) => return Err(format!("priority.rules[{}]: {why}", rule.name)),
        }
    }
    Err("no rule of priority.rules holds".to_owned())
}

#[cfg(test)]
mod tests;
