//! Alertmanager's webhook, version 4 → its alerts, each with its own bytes; and one alert → what it says.
//!
//! The webhook is split by structure alone, so that an alert that cannot be read never harms its neighbours. What the
//! webhook says about them as a group (its status, `commonLabels`, `groupLabels`) is never looked at.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Kind, Source,
    json::{self, Texts},
    record::{AlertError, IdentityRules, Place, Reading},
};

/// A webhook, split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhook {
    /// The bytes of each alert as they stand in the body, in its order. At least one; none of them was read yet.
    pub alerts: Vec<Bytes>,
    /// Alertmanager's groupKey.
    pub group_key: Option<String>,
    /// Alertmanager's receiver.
    pub receiver: Option<String>,
    /// How many alerts Alertmanager cut off.
    pub truncated: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawWebhook<'a> {
    #[serde(borrow)]
    alerts: Vec<&'a RawValue>,
    #[serde(borrow)]
    group_key: Option<&'a RawValue>,
    #[serde(borrow)]
    receiver: Option<&'a RawValue>,
    #[serde(borrow)]
    truncated_alerts: Option<&'a RawValue>,
}

/// Splits the body of a webhook into its alerts. However deep one of them nests, splitting takes no more stack; whether
/// it is too deep is said when it is read.
///
/// # Errors
/// Not UTF-8, not JSON, no object, or no alerts.
pub fn split(body: &Bytes) -> Result<Webhook, AlertError> {
    let raw: RawWebhook<'_> = json::object(json::text(body)?, "webhook")?;
    if raw.alerts.is_empty() {
        return Err(AlertError::invalid("webhook: `alerts` is empty, nothing to accept".to_owned()));
    }
    Ok(Webhook {
        alerts: raw.alerts.iter().map(|alert| body.slice_ref(alert.get().as_bytes())).collect(),
        group_key: json::lenient(raw.group_key).map(Into::into),
        receiver: json::lenient(raw.receiver).map(Into::into),
        truncated: json::count(raw.truncated_alerts).unwrap_or(0),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAlert<'a> {
    #[serde(borrow, deserialize_with = "json::labels")]
    labels: Texts<'a>,
    #[serde(borrow, default, deserialize_with = "json::annotations")]
    annotations: Texts<'a>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    starts_at: Option<&'a RawValue>,
    #[serde(borrow)]
    ends_at: Option<&'a RawValue>,
    #[serde(borrow, rename = "generatorURL")]
    generator_url: Option<&'a RawValue>,
    #[serde(borrow)]
    fingerprint: Option<&'a RawValue>,
}

/// Reads one alert. All that can fail fails here.
pub(super) fn read<'a>(text: &'a str, rules: &IdentityRules) -> Result<Reading<'a>, AlertError> {
    let raw: RawAlert<'a> = json::object(text, "alert")?;
    let name = match raw.labels.find("alertname") {
        Some(name) if !name.trim().is_empty() => name.clone(),
        _ => {
            return Err(AlertError::invalid("alert: label `alertname` is missing or blank".to_owned()));
        }
    };
    let kind = match json::lenient(raw.status).as_deref() {
        Some("resolved") => Kind::Resolved,
        _ => Kind::Firing,
    };
    let facts = [("endsAt", raw.ends_at), ("generatorURL", raw.generator_url), ("fingerprint", raw.fingerprint)];
    Ok(Reading {
        kind,
        source: Source::Prometheus,
        name,
        target: target(&raw.labels, rules),
        cluster: raw.labels.find("cluster").cloned(),
        severity: raw.labels.find("severity").cloned(),
        starts_at: [raw.starts_at, None],
        facts: facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        labels: raw.labels,
        annotations: raw.annotations,
    })
}

/// Whom the labels speak of. `exported_namespace` and `exported_pod` win: beside them, `namespace` and `pod` are the
/// exporter's own.
fn target<'a>(labels: &Texts<'a>, rules: &IdentityRules) -> Place<'a> {
    let find = |label: &str| match label {
        "namespace" => labels.find("exported_namespace").or_else(|| labels.find(label)),
        "pod" => labels.find("exported_pod").or_else(|| labels.find(label)),
        _ => labels.find(label),
    };
    let named = rules.targets.iter().find_map(|(label, kind)| Some((kind, find(label)?)));
    let (kind, name) = match named {
        Some((kind, name)) => (kind.clone().into(), name.clone()),
        None => ("Unknown".into(), "unknown".into()),
    };
    Place { kind, name, namespace: find("namespace").cloned(), api_version: None }
}
