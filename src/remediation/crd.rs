//! The object's types: spec, status, columns, and the rule that a spec never changes. A draft carries *these*.

#![expect(unreachable_pub, reason = "the derive of kube repeats the struct in a room of its own")]

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Resource;

/// What is known of an incident when it begins. Written once, never changed.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "remediation.kubernaut.io",
    version = "v1alpha1",
    kind = "RemediationRequest",
    plural = "remediationrequests",
    shortname = "rr",
    namespaced,
    status = "RemediationRequestStatus",
    printcolumn = r#"{"name":"Alert","type":"string","jsonPath":".spec.signalName"}"#,
    printcolumn = r#"{"name":"Severity","type":"string","jsonPath":".status.severity"}"#,
    printcolumn = r#"{"name":"Environment","type":"string","jsonPath":".spec.environment"}"#,
    printcolumn = r#"{"name":"Priority","type":"string","jsonPath":".status.priority"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.overallPhase"}"#,
    printcolumn = r#"{"name":"Count","type":"integer","jsonPath":".status.deduplication.occurrenceCount"}"#,
    printcolumn = r#"{"name":"Storm","type":"boolean","jsonPath":".spec.isStorm"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    doc = "One problem to remediate: an alert, or a storm of them, written by Breakwater and worked off by whoever remediates."
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a RemediationRequest's spec never changes"))]
#[serde(rename_all = "camelCase")]
pub struct RemediationRequestSpec {
    /// SHA-256 over the alert's identity fields, 64 hex digits. Of a storm: its first member's.
    #[schemars(length(min = 64, max = 64), regex(pattern = "^[0-9a-f]{64}$"))]
    pub signal_fingerprint: String,
    /// The alert's name, or the event's reason, verbatim.
    pub signal_name: String,
    /// `prometheus-alert` or `kubernetes-event`.
    pub signal_type: String,
    /// `prometheus` or `kubernetes-events`.
    pub signal_source: String,
    /// Severity of the first record, through the alias table; see `status.severity` for the highest.
    pub severity: String,
    /// Environment of the namespace, `unknown` if nothing tells it.
    pub environment: String,
    /// Priority as judged at the beginning; see `status.priority` for the highest.
    pub priority: String,
    /// What kind of platform the target lives on: `kubernetes`.
    pub target_type: String,
    /// The resource that the alert is about.
    pub target_resource: TargetResource,
    /// When the alert began, by its source; when it was received, if its source does not say so believably.
    pub firing_time: String,
    /// When the door received it.
    pub received_time: String,
    /// All labels of the alert, whole.
    #[serde(default)]
    pub signal_labels: BTreeMap<String, String>,
    /// All annotations of the alert, whole.
    #[serde(default)]
    pub signal_annotations: BTreeMap<String, String>,
    /// The alert's own bytes, as received.
    pub original_payload: String,
    /// What only this source knows, as a JSON object in text: namespace, labels, resource, and the source's own fields.
    pub provider_data: String,
    /// Whether this stands for a storm.
    pub is_storm: bool,
    /// The name of the rule that the storm's members were grouped by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm_type: Option<String>,
    /// The window of that rule, like `1m0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm_window: Option<String>,
    /// Firings in the storm when the object was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm_alert_count: Option<u64>,
    /// `kind/namespace/name` of the resources of a storm, as far as they are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub affected_resources: Vec<String>,
    /// The storm when the object was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm_aggregation: Option<StormAggregation>,
    /// Deduplication when the object was decided; `status.deduplication` moves on.
    pub deduplication: DeduplicationAtCreation,
}

/// The resource that an alert is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetResource {
    /// Its kind, `Unknown` if no label names one.
    pub kind: String,
    /// Its name, `unknown` if no label names one.
    pub name: String,
    /// Its namespace; absent for what is cluster-scoped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its API version, where the source tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}

/// Deduplication as at creation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeduplicationAtCreation {
    /// The broker's time of the first record, RFC 3339.
    pub first_seen_at: String,
    /// The broker's time of the last record that was known, RFC 3339.
    pub last_seen_at: String,
    /// Firings that were known.
    pub occurrence_count: u64,
}

/// A storm, as the spec keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StormAggregation {
    /// What its members have in common, like `PodCrashLooping in shop`.
    pub pattern: String,
    /// Firings of all members, repeats included.
    pub alert_count: u64,
    /// Distinct resources, exact also where the list is cut.
    pub total_affected_resources: u64,
    /// The first of them, at most `storm.max_listed`.
    #[schemars(length(max = 1000))]
    pub affected_resources: Vec<Resource>,
    /// The window of the rule, like `1m0s`.
    pub aggregation_window: String,
    /// The broker's time of the first member, RFC 3339.
    pub first_seen: String,
    /// The broker's time of the last firing of a member, RFC 3339.
    pub last_seen: String,
}

/// How the incident goes on. Breakwater writes the fields named here, under its own field manager; `overallPhase`
/// and whatever else stands in a status belong to whoever remediates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
#[serde(rename_all = "camelCase")]
pub struct RemediationRequestStatus {
    /// Written by whoever remediates. Completed, Failed, `TimedOut`, Skipped and Cancelled are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overall_phase: Option<String>,
    /// Firings of this incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// The storm as it grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm_aggregation: Option<StormStatus>,
    /// The highest severity so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// The highest priority so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// When the alert was resolved; absent while it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<String>,
    /// The storm's object that lists this incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// Whether the log was told that this incident is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_told: Option<bool>,
}

/// Firings, and which generations of the log they come from: several fold into one object where memory forgot an
/// incident whose object was still live. `occurrenceCount` = `settledCount` + `generationCount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deduplication {
    /// The broker's time of the first firing, RFC 3339.
    pub first_seen_at: String,
    /// The broker's time of the latest firing, RFC 3339.
    pub last_seen_at: String,
    /// All firings that this object stands for.
    pub occurrence_count: u64,
    /// The newest generation folded in: event time (ms), partition and offset of its first record, `t/p/o`.
    #[serde(default)]
    pub generation: String,
    /// Firings of that generation.
    #[serde(default)]
    pub generation_count: u64,
    /// Firings of all older generations, settled for good.
    #[serde(default)]
    pub settled_count: u64,
}

/// A storm as it grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StormStatus {
    /// Firings of all members, repeats included.
    pub alert_count: u64,
    /// Distinct resources, exact also where the list is cut.
    pub total_affected_resources: u64,
    /// The first of them, at most `storm.max_listed`.
    #[schemars(length(max = 1000))]
    pub affected_resources: Vec<Resource>,
    /// The broker's time of the first member, RFC 3339.
    pub first_seen: String,
    /// The broker's time of the latest firing of a member, RFC 3339.
    pub last_seen: String,
    /// The broker's time of the first record of the youngest member, RFC 3339: the storm's life is counted from it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_joined_at: String,
    /// When the storm's last member was resolved, members counted under `folded` aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<String>,
    /// The members' fingerprints cut short, 10 bytes each (murmur2 of the 64 digits, then the first 6 bytes), concatenated,
    /// in base64; at most 20 000.
    #[serde(default, skip_serializing_if = "no_bytes")]
    #[schemars(with = "String")]
    pub members: ByteString,
    /// Members that fired again as incidents of their own, after memory had forgotten the storm: counted here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub folded: Vec<FoldedMember>,
    /// Of members that `folded` no longer lists, everything up to this generation is settled.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folded_through: String,
}

fn no_bytes(bytes: &ByteString) -> bool {
    bytes.0.is_empty()
}

/// An incident of one member, folded into its live storm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoldedMember {
    /// Whose.
    pub fingerprint: String,
    /// Its newest generation, `t/p/o`; older ones are settled.
    pub generation: String,
    /// Firings of that generation.
    pub generation_count: u64,
    /// When that generation was resolved; absent while it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<String>,
    /// Whether a later storm took these firings over, so that they count there and not here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub covered: bool,
}
