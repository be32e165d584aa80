//! Value + headers → what a record says, or why it cannot be read: one entrance for our own records and everyone else's.
//!
//! A stranger's record has no headers of ours and is recognised by its content. The door asks [`identify`] before it
//! accepts an alert and the work stage asks [`parse`]; both are the same reading, so they can't disagree.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    Alert, Closed, EventTime, Fingerprint, Kind, Signal, Source, Target,
    headers::{self, Headers},
    json::{self, Texts},
    kubernetes_event, prometheus,
};

/// How deep arrays and objects of one record may nest, whatever a pipeline says: below the 128 at which serde gives up.
pub const MAX_NESTING: usize = 100;

/// One field of an alert's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityField {
    /// The alert's name.
    Name,
    /// Its namespace.
    Namespace,
    /// Its target's kind.
    Kind,
    /// Its target's name.
    Resource,
    /// Its cluster, if it names one.
    Cluster,
    /// A label.
    Label(String),
}

/// Whom an alert is about, and what makes two alerts the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRules {
    /// Hashed in this order.
    pub fields: Vec<IdentityField>,
    /// Labels that name a target, the first that is there wins, with the kind that each stands for.
    pub targets: Vec<(String, String)>,
}

impl Default for IdentityRules {
    /// Name, namespace, kind, resource and cluster; and the labels that name a workload before those that name a part.
    fn default() -> Self {
        use IdentityField::{Cluster, Kind, Name, Namespace, Resource};
        let targets = [
            ("deployment", "Deployment"),
            ("statefulset", "StatefulSet"),
            ("daemonset", "DaemonSet"),
            ("cronjob", "CronJob"),
            ("job_name", "Job"),
            ("replicaset", "ReplicaSet"),
            ("horizontalpodautoscaler", "HorizontalPodAutoscaler"),
            ("persistentvolumeclaim", "PersistentVolumeClaim"),
            ("pod", "Pod"),
            ("node", "Node"),
            ("service", "Service"),
        ];
        Self {
            fields: vec![Name, Namespace, Kind, Resource, Cluster],
            targets: targets.map(|(label, kind)| (label.to_owned(), kind.to_owned())).to_vec(),
        }
    }
}

/// Why a record or an alert cannot be used. Text is for a person; `reason` is the closed spelling for header and metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct AlertError {
    /// `malformed`, `invalid`, `no_alert`, `too_large`, `unknown_version`; of the door also `refused`, by the broker.
    pub reason: &'static str,
    /// What is wrong, and where. At most a few hundred characters, none of them a control character.
    pub text: String,
}

impl AlertError {
    /// Not JSON, or JSON that nobody should descend into.
    #[must_use]
    pub fn malformed(text: String) -> Self {
        Self { reason: "malformed", text }
    }

    /// An alert that lacks what an alert needs.
    #[must_use]
    pub fn invalid(text: String) -> Self {
        Self { reason: "invalid", text }
    }

    /// Well formed, and no alert at all: another object, or an event that tells of no trouble.
    #[must_use]
    pub fn no_alert(text: String) -> Self {
        Self { reason: "no_alert", text }
    }

    /// Larger than a record may be.
    #[must_use]
    pub fn too_large(size: usize, limit: usize) -> Self {
        Self { reason: "too_large", text: format!("alert of {size} bytes, the limit of a record is {limit}") }
    }
}

/// What a record says of itself, without anything owned: enough to accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Firing or resolved.
    pub kind: Kind,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Who raised it.
    pub source: Source,
}

/// Reads one record of `alerts`. `at` is its event time, which stands in for what no header tells.
///
/// # Errors
/// The record can't be used, now or ever: it is to be set aside.
pub fn parse(value: &Bytes, headers: &Headers, at: EventTime, rules: &IdentityRules) -> Result<Signal, AlertError> {
    let text = checked(value, MAX_NESTING)?;
    let claims = claims(headers)?;
    if claims.closed {
        return Ok(Signal::Closed(json::object::<Closed>(text, "closed record")?));
    }
    let reading = read(text, &claims, rules)?;
    let fingerprint = rules.fingerprint(&reading);
    Ok(Signal::Alert(Box::new(reading.own(fingerprint, value, headers, at))))
}

/// Tells kind and fingerprint of an alert, or why [`parse`] would refuse it. A limit of nesting below [`MAX_NESTING`] is
/// the asker's own.
///
/// # Errors
/// As [`parse`].
pub fn identify(
    value: &[u8],
    headers: &Headers,
    rules: &IdentityRules,
    max_nesting: usize,
) -> Result<Identity, AlertError> {
    let text = checked(value, max_nesting.min(MAX_NESTING))?;
    let reading = read(text, &claims(headers)?, rules)?;
    Ok(Identity { kind: reading.kind, fingerprint: rules.fingerprint(&reading), source: reading.source })
}

fn read<'a>(text: &'a str, claims: &Claims, rules: &IdentityRules) -> Result<Reading<'a>, AlertError> {
    match claims.source.map_or_else(|| recognise(text), Ok)? {
        Source::Prometheus => prometheus::read(text, rules),
        Source::KubernetesEvents => kubernetes_event::read(text),
    }
}

fn checked(value: &[u8], max_nesting: usize) -> Result<&str, AlertError> {
    let text = json::text(value)?;
    json::shallow(text, max_nesting)?;
    Ok(text)
}

/// What our own headers claim; a stranger's record claims nothing.
struct Claims {
    closed: bool,
    source: Option<Source>,
}

/// A header of ours is either absent or known: to guess at one that isn't would be to misread a newer version.
fn claims(headers: &Headers) -> Result<Claims, AlertError> {
    let unknown = |name: &str, value: &[u8]| {
        let value = json::shown(&String::from_utf8_lossy(value), 100);
        let text = format!("header {name} is `{value}`, unknown to this version of breakwater");
        Err(AlertError { reason: "unknown_version", text })
    };
    match headers.last(headers::SCHEMA) {
        None | Some(headers::SCHEMA_VERSION) => {}
        Some(other) => return unknown(headers::SCHEMA, other),
    }
    let closed = match headers.last(headers::KIND) {
        None | Some(b"firing" | b"resolved") => false,
        Some(b"closed") => true,
        Some(other) => return unknown(headers::KIND, other),
    };
    let source = match headers.last(headers::SOURCE) {
        None => None,
        Some(b"prometheus") => Some(Source::Prometheus),
        Some(b"kubernetes-events") => Some(Source::KubernetesEvents),
        Some(_) if closed => None,
        Some(other) => return unknown(headers::SOURCE, other),
    };
    Ok(Claims { closed, source })
}

/// A stranger's record, by its content: `labels` make a Prometheus alert, the rest must be an event.
fn recognise(text: &str) -> Result<Source, AlertError> {
    let fields: json::Fields<'_> = json::object(text, "record")?;
    if fields.find(&["labels"]).is_some() {
        return Ok(Source::Prometheus);
    }
    let event = fields.text(&["kind"]).is_some_and(|kind| kind == "Event");
    if event || fields.find(&["involvedObject", "regarding"]).is_some() {
        return Ok(Source::KubernetesEvents);
    }
    let text = "record: neither a Prometheus alert (no `labels`) nor a Kubernetes event (no `involvedObject`)";
    Err(AlertError::no_alert(text.to_owned()))
}

/// One alert, read and checked, still borrowed from its text. What follows from it can't fail.
pub(super) struct Reading<'a> {
    pub(super) kind: Kind,
    pub(super) source: Source,
    pub(super) name: Cow<'a, str>,
    pub(super) target: Place<'a>,
    pub(super) cluster: Option<Cow<'a, str>>,
    pub(super) severity: Option<Cow<'a, str>>,
    /// When it began: the first of these that is a believable time.
    pub(super) starts_at: [Option<&'a RawValue>; 2],
    pub(super) labels: Texts<'a>,
    pub(super) annotations: Texts<'a>,
    /// What only this source knows.
    pub(super) facts: Vec<(&'static str, &'a RawValue)>,
}

/// A [`Target`] that is still borrowed.
pub(super) struct Place<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) namespace: Option<Cow<'a, str>>,
    pub(super) api_version: Option<Cow<'a, str>>,
}

impl IdentityRules {
    fn fingerprint(&self, alert: &Reading<'_>) -> Fingerprint {
        Fingerprint::of(self.fields.iter().map(|field| match field {
            IdentityField::Name => alert.name.as_ref(),
            IdentityField::Namespace => alert.target.namespace.as_deref().unwrap_or_default(),
            IdentityField::Kind => alert.target.kind.as_ref(),
            IdentityField::Resource => alert.target.name.as_ref(),
            IdentityField::Cluster => alert.cluster.as_deref().unwrap_or_default(),
            IdentityField::Label(name) => alert.labels.find(name).map(Cow::as_ref).unwrap_or_default(),
        }))
    }
}

impl Reading<'_> {
    fn own(self, fingerprint: Fingerprint, value: &Bytes, headers: &Headers, at: EventTime) -> Alert {
        let told = |name: &'static str, header| Some((name.to_owned(), headers.text(header)?.into()));
        let facts = self
            .facts
            .iter()
            .filter_map(|(name, raw)| Some(((*name).to_owned(), serde_json::from_str(raw.get()).ok()?)));
        let way = [told("groupKey", headers::GROUP_KEY), told("receiver", headers::RECEIVER)];
        Alert {
            kind: self.kind,
            fingerprint,
            source: self.source,
            name: self.name.into_owned(),
            cluster: self.cluster.map(Cow::into_owned),
            severity: self.severity.map(Cow::into_owned),
            starts_at: self.starts_at.into_iter().find_map(moment),
            provider: facts.chain(way.into_iter().flatten()).collect(),
            target: Target {
                kind: self.target.kind.into_owned(),
                name: self.target.name.into_owned(),
                namespace: self.target.namespace.map(Cow::into_owned),
                api_version: self.target.api_version.map(Cow::into_owned),
            },
            labels: self.labels.into_map(),
            annotations: self.annotations.into_map(),
            received_at: headers.text(headers::RECEIVED_AT).and_then(EventTime::parse).unwrap_or(at),
            raw: value.clone(),
            traceparent: headers.text(headers::TRACEPARENT).map(str::to_owned),
        }
    }
}

/// A source's own time, if it is one: Go's zero time, numbers and nonsense are none, the far future is.
fn moment(raw: Option<&RawValue>) -> Option<EventTime> {
    EventTime::parse(&json::lenient(raw)?).filter(|moment| moment.0 >= 0)
}

#[cfg(test)]
mod tests;
