//! Section `storm`: when kin are a storm.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    expression::{
        Expression, Refused,
        list::{MOST_RULES, too_much},
    },
    identity,
    reading::Reading,
    written::{Count, Span, Written, show_span},
};

/// What names the group of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupField {
    /// The alert's name.
    Name,
    /// Its namespace.
    Namespace,
    /// A label.
    Label(String),
}

/// One rule: which alerts, grouped by what, from how many on.
#[derive(Clone, Debug)]
pub struct StormRule {
    /// Its name, hence `spec.stormType`.
    pub name: String,
    /// Which alerts it is for; none = all. The first rule that holds gives an alert its one group.
    pub matches: Option<Expression>,
    /// What kin have in common.
    pub group_by: Vec<GroupField>,
    /// Distinct fingerprints that make a storm; at least 2.
    pub threshold: u32,
    /// Event time within which they count.
    pub window: Duration,
}

/// When kin are a storm. All spans are of event time, but `hold_max`.
#[derive(Clone, Debug)]
pub struct StormPolicy {
    /// In order; the last one matches everything.
    pub rules: Vec<StormRule>,
    /// How long a new incident waits to see whether it is part of a storm; zero = not at all.
    pub hold: Duration,
    /// A storm ends after so long without new kin,
    pub quiet: Duration,
    /// or after so long at all.
    pub max_duration: Duration,
    /// A partition unread so long (wall clock) no longer holds back the others.
    pub hold_max: Duration,
    /// Resources listed on the object.
    pub max_listed: usize,
    /// Updates of a storm go out at most this often.
    pub update_interval: Duration,
}

impl Default for StormPolicy {
    fn default() -> Self {
        Self {
            rules: vec![StormRule {
                name: "same-alert".into(),
                matches: None,
                group_by: vec![GroupField::Name, GroupField::Namespace],
                threshold: THRESHOLD,
                window: WINDOW,
            }],
            hold: Duration::from_secs(2),
            quiet: Duration::from_mins(1),
            max_duration: Duration::from_mins(5),
            hold_max: Duration::from_secs(30),
            max_listed: 100,
            update_interval: Duration::from_secs(5),
        }
    }
}

const THRESHOLD: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// When kin are a storm. All spans are of event time, but `hold_max`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Storm")]
pub(super) struct RawStorm {
    /// How long a new incident waits to see whether it is part of a storm, at most `window`; 0s = not at all. Default: 2s.
    hold: Option<Written<Span>>,
    /// Event time within which kin count, 1s to 1h; a rule may say otherwise. Default: 60s.
    window: Option<Written<Span>>,
    /// Distinct fingerprints that make a storm, at least 2; a rule may say otherwise. Default: 10.
    threshold: Option<Written<Count>>,
    /// A storm ends after so long without new kin, at most `max_duration`. Default: 60s.
    quiet: Option<Written<Span>>,
    /// A storm ends after so long at all, 1s to 1d. Default: 5m.
    max_duration: Option<Written<Span>>,
    /// A partition unread so long, by the wall clock, no longer holds back the others, 1s to 1h. Default: 30s.
    hold_max: Option<Written<Span>>,
    /// Resources listed on the object, 1 to 1000; the totals are exact always. Default: 100.
    max_listed: Option<Written<Count>>,
    /// Updates of a storm go out at most this often, 1s to 1h. Default: 5s.
    update_interval: Option<Written<Span>>,
    /// The first rule whose `match` holds gives an alert its one group. The last one has no match.
    rules: Option<Vec<RawRule>>,
}

/// Which alerts, grouped by what, from how many on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rule")]
struct RawRule {
    /// Its name, hence `spec.stormType`.
    name: Written<String>,
    /// CEL on `alert`; none = always.
    #[serde(default, rename = "match")]
    matches: Option<Written<String>>,
    /// What kin have in common: name, namespace, labels.X.
    group_by: Vec<Written<String>>,
    /// In place of the section's.
    #[serde(default)]
    threshold: Option<Written<Count>>,
    /// In place of the section's.
    #[serde(default)]
    window: Option<Written<Span>>,
}

/// Checks the section.
pub(super) fn check(raw: &RawStorm, reading: &mut Reading<'_>) -> StormPolicy {
    let shipped = StormPolicy::default();
    let threshold = reading.count("storm.threshold", &raw.threshold, THRESHOLD, 2..=1_000_000);
    let window = reading.span("storm.window", &raw.window, WINDOW, SECOND..=HOUR);
    let mut span = |name: &str, written: &Option<Written<Span>>, default, least, most| {
        reading.span(&format!("storm.{name}"), written, default, least..=most)
    };
    let hold = span("hold", &raw.hold, shipped.hold, Duration::ZERO, HOUR);
    let quiet = span("quiet", &raw.quiet, shipped.quiet, SECOND, 24 * HOUR);
    let max_duration = span("max_duration", &raw.max_duration, shipped.max_duration, SECOND, 24 * HOUR);
    let hold_max = span("hold_max", &raw.hold_max, shipped.hold_max, SECOND, HOUR);
    let update_interval = span("update_interval", &raw.update_interval, shipped.update_interval, SECOND, HOUR);
    let checked = StormPolicy {
        rules: rules(raw, (threshold, window), shipped.rules, reading),
        hold,
        quiet,
        max_duration,
        hold_max,
        max_listed: reading.count("storm.max_listed", &raw.max_listed, shipped.max_listed, 1..=1_000),
        update_interval,
    };
    spans_agree(raw, &checked, reading);
    checked
}

/// What the section says of each rule that does not say otherwise, in each rule.
fn rules(
    raw: &RawStorm,
    (threshold, window): (u32, Duration),
    shipped: Vec<StormRule>,
    reading: &mut Reading<'_>,
) -> Vec<StormRule> {
    let Some(written) = &raw.rules else {
        reading.note("storm.rules", "[same-alert: all, by name and namespace]", None);
        return shipped.into_iter().map(|rule| StormRule { threshold, window, ..rule }).collect();
    };
    let mut rules: Vec<StormRule> = Vec::new();
    for (index, raw) in written.iter().take(MOST_RULES).enumerate() {
        let rule = rule(raw, (threshold, window), reading);
        unreachable((raw, &rule), (&written[..index], &rules), reading);
        rules.push(rule);
    }
    let last = written.last().and_then(|rule| rule.matches.as_ref());
    if rules.is_empty() {
        reading.fault(None, "storm.rules is empty", "write one rule, or remove the line for the shipped one");
    } else if let Some((text, hint)) = together(written, &rules) {
        reading.fault(written.last().map(|rule| rule.name.place()), text, hint);
    } else if let Some(last) = last {
        let text = "storm.rules must end with a rule without match, so that each alert has a group";
        reading.fault(Some(last.place()), text, "add - { name: rest, group_by: [name, namespace] }");
    }
    rules
}

/// What is too much about all of them: an alert is asked each, until one holds.
fn together(written: &[RawRule], rules: &[StormRule]) -> Option<(String, String)> {
    let sources = written.iter().filter_map(|rule| rule.matches.as_ref()).map(|one| one.0.value.as_str());
    let compiled = rules.iter().filter_map(|rule| rule.matches.as_ref());
    too_much(("storm.rules", written.len()), sources, compiled, "join rules that group alike, a || b")
}

fn rule(raw: &RawRule, (threshold, window): (u32, Duration), reading: &mut Reading<'_>) -> StormRule {
    let name = reading.name("storm.rules.name", &Some(raw.name.clone()), "same-alert");
    let field = |part: &str| format!("storm.rules[{name}].{part}");
    let matches = raw.matches.as_ref().and_then(|written| {
        reading.note(&field("match"), &written.0.value, Some(written.place()));
        Expression::compile(&written.0.value)
            .and_then(|matches| if matches.is_never() { Err(Refused::never()) } else { Ok(matches) })
            .map_err(|wrong| {
                let (line, column) = reading.inside(written, wrong.offset);
                reading.fault_at(line, column, (format!("{}: {}", field("match"), wrong.text), wrong.hint));
            })
            .ok()
    });
    let group_by = group_by(raw, &field("group_by"), reading);
    StormRule {
        threshold: reading.count(&field("threshold"), &raw.threshold, threshold, 2..=1_000_000),
        window: reading.span(&field("window"), &raw.window, window, SECOND..=HOUR),
        name,
        matches,
        group_by,
    }
}

fn group_by(raw: &RawRule, field: &str, reading: &mut Reading<'_>) -> Vec<GroupField> {
    let mut fields = Vec::new();
    for written in &raw.group_by {
        let text = written.0.value.as_str();
        let known = match text {
            "name" => Some(GroupField::Name),
            "namespace" => Some(GroupField::Namespace),
            other => identity::label(other).map(GroupField::Label),
        };
        match known {
            Some(known) if fields.contains(&known) => {
                reading.fault(Some(written.place()), format!("{field} names {text} twice"), "keep one of the two");
            }
            Some(known) => fields.push(known),
            None => {
                let hint = identity::hint(text, &["name", "namespace"]);
                reading.fault(Some(written.place()), format!("{field}: nothing is grouped by {text:?}"), hint);
            }
        }
    }
    if raw.group_by.is_empty() {
        let text = format!("{field} is empty: all alerts would be one storm");
        reading.fault(Some(raw.name.place()), text, "write at least [name]");
    }
    let shown: Vec<&str> = raw.group_by.iter().map(|written| written.0.value.as_str()).collect();
    reading.note(field, format!("[{}]", shown.join(", ")), Some(raw.name.place()));
    fields
}

/// Notes a rule that no alert can reach, or that has the name of another.
fn unreachable(
    (raw, rule): (&RawRule, &StormRule),
    (above, checked): (&[RawRule], &[StormRule]),
    reading: &mut Reading<'_>,
) {
    let name = &raw.name.0.value;
    let place = Some(raw.name.place());
    if above.iter().any(|rule| rule.name.0.value == *name) {
        reading.fault(place, format!("storm.rules: two rules are named {name}"), "give each a name of its own");
    }
    for (earlier, checked) in above.iter().zip(checked) {
        let why = match (&checked.matches, &rule.matches) {
            _ if earlier.matches.is_none() => "takes every alert",
            (Some(first), _) if first.is_always() => "takes every alert",
            (Some(first), Some(later)) if first.covers(later) && later.covers(first) => "has the same match",
            (Some(first), Some(later)) if first.covers(later) => "matches all of it",
            (Some(_), _) | (None, _) => continue,
        };
        let earlier = &earlier.name.0.value;
        let text = format!("storm.rules: {name} is never reached, {earlier} above {why}");
        reading.fault(place, text, format!("move it above {earlier}, or remove it"));
        return;
    }
}

fn spans_agree(raw: &RawStorm, policy: &StormPolicy, reading: &mut Reading<'_>) {
    if policy.quiet > policy.max_duration {
        let place = raw.quiet.as_ref().or(raw.max_duration.as_ref()).map(Written::place);
        let (quiet, most) = (show_span(policy.quiet), show_span(policy.max_duration));
        let text = format!("storm.quiet ({quiet}) must be at most storm.max_duration ({most})");
        reading.fault(place, text, "shorten the one or lengthen the other");
    }
    let short = policy.rules.iter().enumerate().filter(|(_, rule)| policy.hold > rule.window);
    for (index, rule) in short {
        let own = raw.rules.as_ref().and_then(|rules| rules[index].window.as_ref());
        let field = own.map_or_else(|| "storm.window".to_owned(), |_| format!("storm.rules[{}].window", rule.name));
        let place = raw.hold.as_ref().or(own).or(raw.window.as_ref()).map(Written::place);
        let (hold, window) = (show_span(policy.hold), show_span(rule.window));
        let text = format!("storm.hold ({hold}) must be at most {field} ({window})");
        reading.fault(place, text, "shorten the one or lengthen the other");
    }
}
