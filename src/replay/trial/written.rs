//! A test as it is written in YAML, and what is meant; every fault has its line and column.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use serde_saphyr::{Location, Spanned};

use super::expected::Facts;
use crate::{
    decide::outcome::Outcome,
    pipeline::{
        Fault,
        priority::{PRIORITIES, Priority},
        written::{parse_span, show_span},
    },
};

/// What to look at when a test cannot be read.
const HINT: &str = "see pipelines/tests/alerts.yaml for its form";
/// How many alerts one line may stand for.
const MOST: u32 = 10_000;

/// Labels of namespaces, by the namespace's name.
type Labels = BTreeMap<String, BTreeMap<String, String>>;

/// A file of tests.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The pipeline under test, relative to this file; none = the shipped one.
    pub pipeline: Option<String>,
    /// Its cases, in their order.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it says.
    pub name: String,
    /// Its line and column.
    pub place: (u64, u64),
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What happens, in order of time.
    pub steps: Vec<Step>,
    /// The incidents that shall come out, in the order in which they begin.
    pub expect: Vec<Facts>,
    /// How many records shall end how; what is not named is not asked about.
    pub outcomes: BTreeMap<String, u64>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, after the beginning.
    pub at: Duration,
    /// How later steps call it.
    pub id: Option<String>,
    /// What.
    pub deed: Deed,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Alerts arrive: the bytes of each.
    Alerts(Vec<Bytes>),
    /// The records of that step are delivered again.
    Again(String),
    /// The object that stands for the alerts of that step ends.
    Closed {
        /// Which step.
        id: String,
        /// The phase that it ended in.
        phase: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrial {
    pipeline: Option<String>,
    #[serde(default)]
    namespaces: Labels,
    cases: Vec<Spanned<RawCase>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    #[serde(default)]
    namespaces: Labels,
    alerts: Vec<Spanned<RawStep>>,
    expect: Vec<Spanned<RawIncident>>,
    #[serde(default)]
    outcomes: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawStep {
    at: Option<String>,
    id: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: BTreeMap<String, String>,
    status: Option<String>,
    starts_at: Option<String>,
    event: Option<Value>,
    each: Option<u32>,
    again: Option<String>,
    closed: Option<String>,
    phase: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawIncident {
    alert: Option<String>,
    namespace: Option<String>,
    resource: Option<String>,
    storm: Option<String>,
    members: Option<u64>,
    count: Option<u64>,
    severity: Option<String>,
    environment: Option<String>,
    priority: Option<String>,
    resolved: Option<bool>,
    superseded: Option<bool>,
    at: Option<String>,
}

impl Trial {
    /// Reads a file of tests; says all that it finds wrong.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let raw: RawTrial = serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
            .map_err(|error| vec![of_yaml(file, &error)])?;
        let mut faults = Vec::new();
        if raw.cases.is_empty() {
            faults.push(fault(file, None, "there is no case".to_owned()));
        }
        let cases = raw.cases.iter().map(|case| read_case(file, case, &raw.namespaces, &mut faults)).collect();
        if faults.is_empty() { Ok(Self { pipeline: raw.pipeline, cases }) } else { Err(faults) }
    }
}

fn of_yaml(file: &str, error: &serde_saphyr::Error) -> Fault {
    let error = error.without_snippet();
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    fault(file, error.location(), text)
}

fn fault(file: &str, place: Option<Location>, text: String) -> Fault {
    let (line, column) = self::place(place);
    Fault { file: file.to_owned(), line, column, text, hint: HINT.to_owned() }
}

fn place(place: Option<Location>) -> (u64, u64) {
    place.map_or((1, 1), |place| (place.line().max(1), place.column().max(1)))
}

fn read_case(file: &str, raw: &Spanned<RawCase>, shared: &Labels, faults: &mut Vec<Fault>) -> Case {
    let case = &raw.value;
    let mut namespaces = shared.clone();
    namespaces.extend(case.namespaces.clone());
    let mut steps: Vec<Step> = Vec::with_capacity(case.alerts.len());
    for written in &case.alerts {
        let step = read_step(&written.value).and_then(|step| known(step, &steps));
        match step {
            Ok(step) => steps.push(step),
            Err(text) => faults.push(fault(file, Some(written.referenced), text)),
        }
    }
    steps.sort_by_key(|step| step.at); // what stands first of one moment happens first
    let mut expect = Vec::with_capacity(case.expect.len());
    for incident in &case.expect {
        match incident.value.facts() {
            Ok(facts) => expect.push(facts),
            Err(text) => faults.push(fault(file, Some(incident.referenced), text)),
        }
    }
    let outcomes = Outcome::ALL.map(Outcome::as_str);
    if let Some(unknown) = case.outcomes.keys().find(|name| !outcomes.contains(&name.as_str())) {
        let text = format!("outcomes: there is no {unknown:?}, there are {}", outcomes.join(", "));
        faults.push(fault(file, Some(raw.referenced), text));
    }
    Case {
        name: case.name.clone(),
        place: place(Some(raw.referenced)),
        namespaces,
        steps,
        expect,
        outcomes: case.outcomes.clone(),
    }
}

/// A step that speaks of another speaks of one that stands before it.
fn known(step: Step, before: &[Step]) -> Result<Step, String> {
    let (Deed::Again(id) | Deed::Closed { id, .. }) = &step.deed else { return Ok(step) };
    match before.iter().find(|other| other.id.as_ref() == Some(id)) {
        Some(other) if other.at <= step.at => Ok(step),
        Some(_) => Err(format!("{id:?} happens later than this")),
        None => Err(format!("no step before this has the id {id:?}")),
    }
}

fn read_step(raw: &RawStep) -> Result<Step, String> {
    let at = span(raw.at.as_deref().unwrap_or("0s"))?;
    belongs(raw)?;
    let deed = match (&raw.labels, &raw.event, &raw.again, &raw.closed) {
        (Some(labels), None, None, None) => Deed::Alerts(alerts(raw, labels)?),
        (None, Some(event), None, None) => Deed::Alerts(vec![event.to_string().into()]),
        (None, None, Some(id), None) => Deed::Again(id.clone()),
        (None, None, None, Some(id)) => {
            let phase = raw.phase.clone().unwrap_or_else(|| "Completed".to_owned());
            Deed::Closed { id: id.clone(), phase }
        }
        _ => return Err("a step has one of labels, event, again, closed".to_owned()),
    };
    Ok(Step { at, id: raw.id.clone(), deed })
}

fn span(at: &str) -> Result<Duration, String> {
    parse_span(at).ok_or_else(|| format!("at: {at:?} is no span of time, write it with its unit, like 90s"))
}

/// What stands beside what it says nothing of would be ignored, so it is refused.
fn belongs(raw: &RawStep) -> Result<(), String> {
    let of_labels = [
        ("annotations", !raw.annotations.is_empty()),
        ("status", raw.status.is_some()),
        ("starts_at", raw.starts_at.is_some()),
        ("each", raw.each.is_some()),
    ];
    match of_labels.iter().find(|(_, is)| *is) {
        Some((name, _)) if raw.labels.is_none() => Err(format!("{name} belongs to labels, and there are none")),
        _ if raw.phase.is_some() && raw.closed.is_none() => {
            Err("phase belongs to closed, and there is none".to_owned())
        }
        _ => Ok(()),
    }
}

/// An alert, or as many as `each` says: `{n}` in a label stands for the number of each, from 0.
fn alerts(raw: &RawStep, labels: &BTreeMap<String, String>) -> Result<Vec<Bytes>, String> {
    let status = match raw.status.as_deref() {
        None | Some("firing") => "firing",
        Some("resolved") => "resolved",
        Some(other) => return Err(format!("status: {other:?} is neither firing nor resolved")),
    };
    let count = raw.each.unwrap_or(1);
    if count == 0 || count > MOST {
        return Err(format!("each: {count} is not within 1 and {MOST}"));
    }
    let numbered = |texts: &BTreeMap<String, String>, n: u32| -> Value {
        texts.iter().map(|(key, text)| (key.clone(), json!(text.replace("{n}", &n.to_string())))).collect()
    };
    let one = |n: u32| {
        let mut alert = json!({ "status": status, "labels": numbered(labels, n),
                                "annotations": numbered(&raw.annotations, n) });
        if let Some(starts_at) = &raw.starts_at {
            alert["startsAt"] = json!(starts_at);
        }
        alert.to_string().into()
    };
    Ok((0..count).map(one).collect())
}

impl RawIncident {
    fn facts(&self) -> Result<Facts, String> {
        if let Some(odd) = self.priority.as_ref().filter(|priority| Priority::parse(priority).is_none()) {
            return Err(format!("priority: {odd:?} is none, there are {}", PRIORITIES.join(", ")));
        }
        let at = self.at.as_deref().map(span).transpose()?;
        let text = |value: &Option<String>| value.clone();
        let pairs = [
            ("alert", text(&self.alert)),
            ("namespace", text(&self.namespace)),
            ("resource", text(&self.resource)),
            ("storm", text(&self.storm)),
            ("members", self.members.map(|count| count.to_string())),
            ("count", self.count.map(|count| count.to_string())),
            ("severity", text(&self.severity)),
            ("environment", text(&self.environment)),
            ("priority", text(&self.priority)),
            ("resolved", self.resolved.map(|is| is.to_string())),
            ("superseded", self.superseded.map(|is| is.to_string())),
            ("at", at.map(show_span)), // 70s and 1m10s are the same
        ];
        Ok(Facts(pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()))
    }
}
