//! One object as the sink knows it: what is shown by the API server, without the payload; and how a draft becomes one.
//!
//! Pure. What bears no fingerprint of ours, or not the one that its label says, is nobody's incident: it is never
//! patched and never taken for live.

use std::{borrow::Cow, fmt, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::{
    alert::{Brief, EventTime, Fingerprint, Position},
    remediation::{
        Draft, Generation, GroupId, Resource,
        crd::{DeduplicationAtCreation, RemediationRequest, RemediationRequestStatus, StormStatus, TargetResource},
        fit, mark,
    },
};

/// Phases after which nothing happens any more. Anything else, known or not, is live.
pub const FINAL: [&str; 5] = ["Completed", "Failed", "TimedOut", "Skipped", "Cancelled"];

/// Where an object stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectId {
    /// The object of that name in that namespace.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// One object as the sink knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Where it stands.
    pub id: ObjectId,
    /// The version last seen; empty while its create waits.
    pub version: String,
    /// The incident that it was made for.
    pub incident: Arc<str>,
    /// Whose it is; of a storm, its first member's.
    pub fingerprint: Fingerprint,
    /// Its storm group, if it says so.
    pub group: Option<GroupId>,
    /// Whether it is a storm.
    pub storm: bool,
    /// The generation that it was made for.
    pub begun: Generation,
    /// The alert's name.
    pub signal: Arc<str>,
    /// Whom it is about.
    pub resource: Resource,
    /// Its status: our fields, and the phase.
    pub status: RemediationRequestStatus,
}

impl Object {
    /// The final phase that it is in, if it is in one.
    #[must_use]
    pub fn over(&self) -> Option<&str> {
        self.status.overall_phase.as_deref().filter(|phase| FINAL.contains(phase))
    }

    /// Whether it is in no final phase.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.over().is_none()
    }

    /// Event time of the first firing that it stands for.
    #[must_use]
    pub fn first_seen(&self) -> EventTime {
        let shown = self.status.deduplication.as_ref().and_then(|dedup| EventTime::parse(&dedup.first_seen_at));
        shown.unwrap_or(self.begun.at)
    }

    /// Event time of the latest firing that it stands for.
    #[must_use]
    pub fn last_seen(&self) -> EventTime {
        let shown = self.status.deduplication.as_ref().and_then(|dedup| EventTime::parse(&dedup.last_seen_at));
        shown.unwrap_or(self.begun.at)
    }

    /// The newest generation folded in.
    #[must_use]
    pub fn newest(&self) -> Generation {
        let shown = self.status.deduplication.as_ref().and_then(|dedup| Generation::parse(&dedup.generation));
        shown.map_or(self.begun, |newest| newest.max(self.begun))
    }

    /// Its storm's status, if it is one and has one.
    #[must_use]
    pub fn storm_status(&self) -> Option<&StormStatus> {
        self.status.storm_aggregation.as_ref().filter(|_| self.storm)
    }

    /// Event time at which its youngest member joined.
    #[must_use]
    pub fn last_joined(&self) -> EventTime {
        let shown = self.storm_status().and_then(|storm| EventTime::parse(&storm.last_joined_at));
        shown.unwrap_or(self.begun.at)
    }

    /// The fingerprints that it stands for, cut short: its own, or its members'.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<Brief> {
        let members = self.storm_status().map(|storm| members(storm).collect::<Vec<_>>()).unwrap_or_default();
        if members.is_empty() { vec![self.fingerprint.brief()] } else { members }
    }

    /// The object that a draft asks for, as it will be known once it is written.
    #[must_use]
    pub fn expected(draft: &Draft, id: ObjectId) -> Self {
        Self {
            id,
            version: String::new(),
            incident: draft.incident.name.as_str().into(),
            fingerprint: draft.incident.fingerprint,
            group: Some(draft.incident.group),
            storm: draft.incident.storm,
            begun: draft.incident.generation,
            signal: draft.spec.signal_name.as_str().into(),
            resource: resource(&draft.spec.target_resource),
            status: RemediationRequestStatus::default(),
        }
    }
}

/// The members that a storm's status lists.
pub fn members(storm: &StormStatus) -> impl Iterator<Item = Brief> + '_ {
    let (members, _) = storm.members.0.as_chunks();
    members.iter().map(|member| Brief::from_bytes(*member))
}

fn resource(target: &TargetResource) -> Resource {
    Resource {
        kind: target.kind.clone(),
        name: target.name.clone(),
        namespace: target.namespace.clone().unwrap_or_default(),
    }
}

/// An object as the API server shows it, without what the sink does not ask about.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Shown {
    /// Name, labels, annotations, version.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The part of the spec that tells whose it is.
    #[serde(default)]
    pub spec: ShownSpec,
    /// Its status; absent until it was written once.
    #[serde(default)]
    pub status: Option<RemediationRequestStatus>,
}

/// The part of the spec that tells whose an object is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownSpec {
    /// See [`crate::remediation::crd::RemediationRequestSpec`].
    pub signal_fingerprint: String,
    /// See there.
    pub signal_name: String,
    /// See there.
    pub is_storm: bool,
    /// See there.
    pub target_resource: TargetResource,
    /// See there.
    pub deduplication: DeduplicationAtCreation,
}

impl kube::Resource for Shown {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        RemediationRequest::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        RemediationRequest::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        RemediationRequest::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        RemediationRequest::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Shown {
    /// The object, if it is one of ours: its fingerprint is one, and its label says the same.
    #[must_use]
    pub fn ours(self) -> Option<Object> {
        let text = |key: &str| self.metadata.annotations.as_ref()?.get(key).map(String::as_str);
        let fingerprint: Fingerprint = self.spec.signal_fingerprint.parse().ok()?;
        let label = self.metadata.labels.as_ref()?.get(mark::FINGERPRINT)?;
        if fit::label(&self.spec.signal_fingerprint).as_ref() != Some(label) {
            return None;
        }
        let name = self.metadata.name.as_deref()?;
        let seen = EventTime::parse(&self.spec.deduplication.first_seen_at).unwrap_or_default();
        let unmarked = Generation { at: seen, position: Position { partition: -1, offset: -1 } };
        Some(Object {
            id: ObjectId::new(self.metadata.namespace.as_deref()?, name),
            version: self.metadata.resource_version.clone().unwrap_or_default(),
            incident: text(mark::INCIDENT).unwrap_or(name).into(),
            fingerprint,
            group: text(mark::GROUP).and_then(GroupId::parse),
            storm: self.spec.is_storm,
            begun: text(mark::GENERATION).and_then(Generation::parse).unwrap_or(unmarked),
            signal: self.spec.signal_name.as_str().into(),
            resource: resource(&self.spec.target_resource),
            status: self.status.unwrap_or_default(),
        })
    }
}

/// The object to create for a draft, under this id. The sink's own marks are set here, whatever the draft brought.
#[must_use]
pub fn shape(draft: &Draft, id: &ObjectId, traceparent: Option<&str>) -> RemediationRequest {
    let incident = &draft.incident;
    let mut object = RemediationRequest::new(&id.name, draft.spec.clone());
    let mut labels = draft.labels.clone();
    labels.extend(fit::label(&draft.spec.signal_fingerprint).map(|value| (mark::FINGERPRINT.to_owned(), value)));
    if *incident.namespace != *id.namespace {
        labels.extend(fit::label(&incident.namespace).map(|origin| (mark::ORIGIN_NAMESPACE.to_owned(), origin)));
    }
    let mut annotations = draft.annotations.clone();
    annotations.insert(mark::GROUP.to_owned(), incident.group.to_string());
    annotations.insert(mark::GENERATION.to_owned(), incident.generation.to_string());
    annotations.insert(mark::INCIDENT.to_owned(), incident.name.clone());
    annotations.extend(traceparent.map(|trace| (mark::TRACEPARENT.to_owned(), trace.to_owned())));
    object.metadata.namespace = Some(id.namespace.to_string());
    object.metadata.labels = Some(labels);
    object.metadata.annotations = Some(annotations);
    object
}
