//! The labels and annotations by which Breakwater knows its objects again. Each is spelled here and nowhere else.

/// Label: the first 63 hex digits of the fingerprint. What bears it is watched; nothing else is ever touched.
pub const FINGERPRINT: &str = "breakwater.io/fingerprint";
/// Label: severity at creation.
pub const SEVERITY: &str = "breakwater.io/severity";
/// Label: environment at creation.
pub const ENVIRONMENT: &str = "breakwater.io/environment";
/// Label: priority at creation.
pub const PRIORITY: &str = "breakwater.io/priority";
/// Label: `prometheus-alert` or `kubernetes-event`.
pub const SIGNAL_TYPE: &str = "breakwater.io/signal-type";
/// Label: `true` on a storm.
pub const STORM: &str = "breakwater.io/storm";
/// Label: `true` where the target is cluster-scoped and the object lies in the fallback namespace for that.
pub const CLUSTER_SCOPED: &str = "breakwater.io/cluster-scoped";
/// Label: the alert's namespace, on an object in the fallback namespace.
pub const ORIGIN_NAMESPACE: &str = "breakwater.io/origin-namespace";
/// Annotation: the storm group, 32 hex digits: the key of the incident's records, hence who decides for it.
pub const GROUP: &str = "breakwater.io/group";
/// Annotation: the generation of the incident that the object was made for, `t/p/o`.
pub const GENERATION: &str = "breakwater.io/generation";
/// Annotation: the incident's name, which is the object's own but where a stranger had taken that.
pub const INCIDENT: &str = "breakwater.io/incident";
/// Annotation: why no rule told the priority, so that it is the pipeline's stated fallback; absent where one did.
pub const PRIORITY_FALLBACK: &str = "breakwater.io/priority-fallback";
/// Annotation: W3C trace context of the record that the object was made for.
pub const TRACEPARENT: &str = "breakwater.io/traceparent";
/// The field manager of everything that Breakwater writes.
pub const MANAGER: &str = "breakwater";
