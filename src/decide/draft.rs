//! Verdict + alert → draft, and how an incident stands → update.
//!
//! A draft says what was so when it was decided, whenever it is written: the first record's own figures, or a storm
//! as its founders made it. What came after goes out as an update. So a draft that is written again, after a crash
//! or by a replay, is the same draft.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dedup::Severity,
    environment::environment,
    kin::pattern,
    priority::priority,
    spec::{say_storm, spec},
    storm::{Group, Kin, Standing, Storm, highest},
};
use crate::{
    alert::{Alert, EventTime},
    pipeline::{Pipeline, expression, priority::Priority},
    remediation::{
        Draft, Generation, GroupId, Incident, Member, Progress, StormProgress, Update,
        crd::RemediationRequestSpec,
        fit, mark,
        name::{NameOf, name},
    },
};

/// Members that an object's compact list holds; the totals count all.
pub const MEMBERS_LISTED: usize = 20_000;

/// Characters of the reason why the stated fallback was taken, on the object.
const WHY: usize = 500;

/// What a namespace's labels are, as last seen.
pub trait NamespaceLabels {
    /// None if the namespace is not known.
    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>>;
}

/// What drafts are made with.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// The policies.
    pub pipeline: &'a Pipeline,
    /// Labels of namespaces.
    pub labels: &'a dyn NamespaceLabels,
    /// Where objects of alerts without a usable namespace go.
    pub fallback_namespace: &'a str,
}

/// Environment and priority, as judged, and whether the stated fallback was taken for the latter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Of the namespace.
    pub environment: String,
    /// As the policy says.
    pub priority: Priority,
    /// Why the stated fallback was taken for it, if it was.
    pub fell_back: Option<String>,
}

/// The record that opens an incident.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The alert that it holds.
    pub alert: &'a Alert,
    /// Where and when.
    pub generation: Generation,
    /// Its storm group.
    pub group: GroupId,
    /// The rule that gave the group.
    pub rule: usize,
    /// The severity of that record, through the tables.
    pub severity: &'a Severity,
    /// What the policy said of it at that severity, if it was asked already.
    pub judged: Option<&'a Judged>,
}

impl Desk<'_> {
    /// Environment and priority of an alert at a severity.
    #[must_use]
    pub fn judge(&self, alert: &Alert, severity: &str) -> Judged {
        let namespace = alert.target.namespace.as_deref();
        let labels = namespace.and_then(|name| self.labels.labels(name));
        let environment = environment(&self.pipeline.environment, namespace, labels.as_ref());
        let standing = expression::Standing { environment: &environment, severity };
        let (priority, fell_back) = priority(&self.pipeline.priority, alert, standing);
        Judged { environment, priority, fell_back }
    }

    /// The namespace that an object of this alert belongs to.
    #[must_use]
    pub fn namespace(&self, alert: &Alert) -> String {
        let own = alert.target.namespace.as_deref().filter(|name| fit::is_namespace(name));
        own.unwrap_or(self.fallback_namespace).to_owned()
    }

    /// The draft of an incident of one fingerprint: the first record, and nothing that came after.
    #[must_use]
    pub fn single(&self, opening: &Opening<'_>) -> (Draft, Judged) {
        let Opening { alert, generation, group, severity, .. } = *opening;
        let judged = self.judged(opening, &severity.name);
        let incident = Incident {
            fingerprint: alert.fingerprint,
            group,
            generation,
            storm: false,
            name: name(&alert.name, NameOf::Single(alert.fingerprint), generation),
            namespace: self.namespace(alert),
        };
        let progress = Progress {
            first_seen: generation.at,
            last_seen: generation.at,
            count: 1,
            severity: severity.name.clone(),
            priority: judged.priority.to_string(),
            resolved_at: None,
            superseded_by: None,
            storm: None,
        };
        let spec = spec(alert, &progress, &judged);
        (self.draft(opening, incident, (spec, &judged), progress), judged)
    }

    /// The draft of a storm, carried by its first waiting member's record: its founders, and nobody who joined later.
    #[must_use]
    pub fn storm(&self, opening: &Opening<'_>, group: &Group, storm: &Storm) -> (Draft, Judged) {
        let alert = opening.alert;
        let mut judged = self.judged(opening, &storm.decided_severity.name);
        judged.priority = judged.priority.min(storm.decided_severity.priority.unwrap_or(judged.priority));
        let founders = group
            .members(storm.generation)
            .filter(|(_, kin)| matches!(kin.standing, Standing::Joined { founder: true, .. } | Standing::Own { .. }));
        let (mut stands, _) = storm_progress(founders, self.pipeline.storm.max_listed);
        stands.alert_count = storm.decided_count;
        let last = stands.members.iter().map(|member| member.first_seen).max();
        let incident = Incident {
            fingerprint: alert.fingerprint,
            group: opening.group,
            generation: storm.generation,
            storm: true,
            name: name(&alert.name, NameOf::Storm(opening.group), storm.generation),
            namespace: self.namespace(alert),
        };
        let progress = Progress {
            first_seen: storm.generation.at,
            last_seen: last.unwrap_or(storm.generation.at).max(storm.generation.at),
            count: storm.decided_count,
            severity: storm.decided_severity.name.clone(),
            priority: judged.priority.to_string(),
            resolved_at: None,
            superseded_by: None,
            storm: Some(stands),
        };
        let mut spec = spec(alert, &progress, &judged);
        if let (Some(rule), Some(stands)) = (self.pipeline.storm.rules.get(opening.rule), &progress.storm) {
            say_storm(&mut spec, rule, stands, &progress, pattern(alert, rule));
        }
        (self.draft(opening, incident, (spec, &judged), progress), judged)
    }

    /// A policy is asked once for an incident: it may take its time.
    fn judged(&self, opening: &Opening<'_>, severity: &str) -> Judged {
        let known = opening.judged.filter(|_| opening.severity.name == severity).cloned();
        known.unwrap_or_else(|| self.judge(opening.alert, severity))
    }

    fn draft(
        &self,
        opening: &Opening<'_>,
        incident: Incident,
        (spec, judged): (RemediationRequestSpec, &Judged),
        progress: Progress,
    ) -> Draft {
        let alert = opening.alert;
        let fingerprint = spec.signal_fingerprint.clone();
        let mut marks = vec![
            (mark::FINGERPRINT, &fingerprint[..63]),
            (mark::SEVERITY, &spec.severity),
            (mark::ENVIRONMENT, &spec.environment),
            (mark::PRIORITY, &spec.priority),
            (mark::SIGNAL_TYPE, &spec.signal_type),
        ];
        if incident.storm {
            marks.push((mark::STORM, "true"));
        }
        match alert.target.namespace.as_deref() {
            None => marks.push((mark::CLUSTER_SCOPED, "true")),
            Some(origin) if origin != incident.namespace => marks.push((mark::ORIGIN_NAMESPACE, origin)),
            Some(_) => {}
        }
        let labels = fit::labels(marks);
        let mut annotations =
            fit::annotations(alert.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        annotations.insert(mark::GROUP.to_owned(), incident.group.to_string());
        annotations.insert(mark::GENERATION.to_owned(), incident.generation.to_string());
        annotations.insert(mark::INCIDENT.to_owned(), incident.name.clone());
        if let Some(why) = &judged.fell_back {
            let why = why.chars().take(WHY).collect();
            annotations.insert(mark::PRIORITY_FALLBACK.to_owned(), why);
        }
        if let Some(trace) = &alert.traceparent {
            annotations.insert(mark::TRACEPARENT.to_owned(), trace.clone());
        }
        Draft { incident, spec, labels, annotations, progress }
    }

    /// How an incident of one fingerprint stands now; none of a storm's member, which has no object of its own. Its
    /// priority was judged when its severity was new, with the alert at hand; a priority that is not known says nothing,
    /// and the object keeps its own.
    #[must_use]
    pub fn kin_update(&self, group: GroupId, members: &Group, generation: Generation, kin: &Kin) -> Option<Update> {
        let fingerprint = kin.whole?;
        let superseded_by = kin.standing.storm().and_then(|storm| storm_name(group, members, storm));
        let incident = Incident {
            fingerprint,
            group,
            generation,
            storm: false,
            name: name(&kin.alert, NameOf::Single(fingerprint), generation),
            namespace: kin.namespace.clone(),
        };
        let progress = Progress {
            first_seen: generation.at,
            last_seen: kin.seen,
            count: kin.count,
            severity: kin.severity.name.clone(),
            priority: shown(kin.severity.priority),
            resolved_at: kin.resolved_at,
            superseded_by,
            storm: None,
        };
        Some(Update { incident, progress })
    }

    /// How a storm stands now, with the highest priority among its members. None if its first is gone from memory.
    #[must_use]
    pub fn storm_update(&self, group: GroupId, members: &Group, storm: &Storm) -> Option<Update> {
        let opener = members.kin.get(&storm.generation)?;
        let severity = worst(members.members(storm.generation).map(|(_, kin)| &kin.severity), &storm.decided_severity);
        let known = members.members(storm.generation).map(|(_, kin)| kin.severity.priority);
        let priority = highest(known.chain([storm.decided_severity.priority]));
        let (stands, last) = storm_progress(members.members(storm.generation), self.pipeline.storm.max_listed);
        let resolved: Option<Vec<EventTime>> =
            members.members(storm.generation).map(|(_, kin)| kin.resolved_at).collect();
        let incident = Incident {
            fingerprint: opener.whole?,
            group,
            generation: storm.generation,
            storm: true,
            name: name(&opener.alert, NameOf::Storm(group), storm.generation),
            namespace: opener.namespace.clone(),
        };
        let progress = Progress {
            first_seen: storm.generation.at,
            last_seen: last,
            count: stands.alert_count,
            severity,
            priority: shown(priority),
            resolved_at: resolved.and_then(|all| all.into_iter().max()),
            superseded_by: None,
            storm: Some(stands),
        };
        Some(Update { incident, progress })
    }
}

fn worst<'a>(severities: impl Iterator<Item = &'a Severity>, first: &'a Severity) -> String {
    severities.fold(first, |worst, next| if next.rank > worst.rank { next } else { worst }).name.clone()
}

fn shown(priority: Option<Priority>) -> String {
    priority.map(|priority| priority.to_string()).unwrap_or_default()
}

fn storm_name(group: GroupId, members: &Group, storm: Generation) -> Option<String> {
    members.kin.get(&storm).map(|opener| name(&opener.alert, NameOf::Storm(group), storm))
}

/// Totals over the members, and the latest firing among them.
fn storm_progress<'a>(
    members: impl Iterator<Item = (&'a Generation, &'a Kin)>,
    max_listed: usize,
) -> (StormProgress, EventTime) {
    let (mut out, mut last, mut seen) = (StormProgress::default(), EventTime::default(), BTreeSet::new());
    for (generation, kin) in members {
        out.alert_count = out.alert_count.saturating_add(kin.count);
        last = last.max(kin.seen);
        if seen.insert(&kin.resource) && out.affected_resources.len() < max_listed {
            out.affected_resources.push(kin.resource.clone());
        }
        if out.members.len() < MEMBERS_LISTED {
            let superseded = matches!(kin.standing, Standing::Own { .. });
            out.members.push(Member { fingerprint: kin.fingerprint, first_seen: generation.at, superseded });
        }
    }
    out.total_affected_resources = seen.len() as u64;
    (out, last)
}
