//! Body → alerts → records → acknowledged. A good alert never suffers from its neighbour.

use bytes::Bytes;
use opentelemetry::Context;

use super::{
    Door, Rules,
    answer::{Accepted, Placed, Refused, Rejected},
};
use crate::{
    alert::{
        EventTime, Fingerprint, Kind, Source,
        headers::{self, Headers},
        prometheus::{self, Webhook},
        record::{self, AlertError, Identity},
    },
    crash,
    kafka::{
        KafkaError, Outgoing, carrier,
        dead_letter::{DeadLetter, Origin},
    },
    telemetry::complaint::Complaint,
};

/// A groupKey or receiver beyond this many bytes is left out: it must not make a record too large.
const LONGEST_HEADER: usize = 4096;

/// Of an alert that is too large for a record so much is kept in its dead letter, which is a record too.
const HEAD: usize = 64 * 1024;

static UNACKNOWLEDGED: Complaint = Complaint::new("kafka takes no records, senders are told to come back");

/// One request, its body read.
#[derive(Debug)]
pub(super) struct Received {
    /// What the route takes.
    pub(super) source: Source,
    /// The route.
    pub(super) route: &'static str,
    /// When it came.
    pub(super) at: EventTime,
    /// Its trace.
    pub(super) trace: Context,
    /// What it says.
    pub(super) body: Bytes,
}

/// The alerts of a request, sorted into what is published and what is set aside.
#[derive(Debug, Default)]
struct Sorted {
    good: Vec<Good>,
    bad: Vec<Bad>,
    truncated: u64,
    common: Common,
}

/// One alert that can be used, as a record.
#[derive(Debug)]
struct Good {
    index: usize,
    fingerprint: Fingerprint,
    record: Outgoing,
}

/// One alert that can't be used.
#[derive(Debug)]
struct Bad {
    index: usize,
    fault: AlertError,
    value: Bytes,
}

/// Makes records of a request's alerts and answers once all of them are acknowledged.
pub(super) async fn accept(door: &Door, rules: &Rules, received: Received) -> Result<Accepted, Refused> {
    let Sorted { good, mut bad, truncated, common } = sort(rules, &received)?;
    let alerts = publish(door, &rules.alerts, good, &mut bad).await?;
    crash::point("ingest-acknowledged");
    let letters: Vec<_> = bad.iter().map(|bad| letter(bad, &common, &received)).collect();
    set_aside(door, &rules.dead_letters, &letters).await?;
    UNACKNOWLEDGED.settle();

    let metrics = &door.0.metrics;
    metrics.accepted(alerts.len() as u64);
    metrics.truncated_upstream(truncated);
    bad.iter().for_each(|bad| metrics.rejected(bad.fault.reason));
    let rejected = bad.into_iter().map(|bad| Rejected { index: bad.index, reason: bad.fault.text }).collect();
    if alerts.is_empty() {
        return Err(Refused::NothingUsable(rejected));
    }
    Ok(Accepted { accepted: alerts.len(), alerts, rejected })
}

/// Publishes all, or nothing is promised: the sender comes back with all of it, and repeats are counted as such. What
/// the broker refuses for good joins the bad ones, else the sender would repeat its neighbours for ever.
async fn publish(door: &Door, topic: &str, good: Vec<Good>, bad: &mut Vec<Bad>) -> Result<Vec<Placed>, Refused> {
    let values: Vec<_> = good.iter().map(|one| (one.index, one.fingerprint, one.record.value.clone())).collect();
    let answers = door.0.producer.publish_all(topic, good.into_iter().map(|one| one.record).collect()).await;
    let mut placed = Vec::with_capacity(values.len());
    for ((index, fingerprint, value), answer) in values.into_iter().zip(answers) {
        match answer {
            Ok(position) => placed.push(Placed { fingerprint, position }),
            Err(error) if error.is_transient() => return Err(unacknowledged(&error)),
            Err(error) => bad.push(Bad { index, fault: refused(&error), value }),
        }
    }
    bad.sort_by_key(|bad| bad.index);
    Ok(placed)
}

fn refused(error: &KafkaError) -> AlertError {
    AlertError { reason: "refused", text: error.to_string() }
}

async fn set_aside(door: &Door, topic: &str, letters: &[DeadLetter]) -> Result<(), Refused> {
    let records = letters.iter().map(DeadLetter::outgoing).collect();
    let answers: Result<Vec<_>, _> = door.0.producer.publish_all(topic, records).await.into_iter().collect();
    answers.map(drop).map_err(|error| unacknowledged(&error))
}

fn unacknowledged(error: &KafkaError) -> Refused {
    UNACKNOWLEDGED.raise(error);
    Refused::Unacknowledged
}

/// Reads the body as far as the door must. Pure.
fn sort(rules: &Rules, received: &Received) -> Result<Sorted, Refused> {
    let webhook = match received.source {
        Source::Prometheus => split(rules, received)?,
        Source::KubernetesEvents => Webhook { alerts: vec![trimmed(&received.body)], ..Webhook::default() },
    };
    let common = Common::of(received, &webhook);
    let mut sorted = Sorted { truncated: webhook.truncated, ..Sorted::default() };
    for (index, value) in webhook.alerts.into_iter().enumerate() {
        match identify(rules, &common, &value) {
            Ok(identity) => sorted.good.push(good(index, &identity, &common, value)),
            // because a lone body that is no alert at all is the request's own fault, and nobody would redrive it
            Err(fault) if received.source == Source::KubernetesEvents && is_no_alert(&fault) => {
                return Err(Refused::Unreadable(fault.text));
            }
            Err(fault) => sorted.bad.push(Bad { index, fault, value }),
        }
    }
    Ok(Sorted { common, ..sorted })
}

fn split(rules: &Rules, received: &Received) -> Result<Webhook, Refused> {
    let webhook = prometheus::split(&received.body).map_err(|fault| Refused::Unreadable(fault.text))?;
    let (count, limit) = (webhook.alerts.len(), rules.policy.max_alerts);
    if count > limit { Err(Refused::TooMany { count, limit }) } else { Ok(webhook) }
}

fn trimmed(body: &Bytes) -> Bytes {
    body.slice_ref(body.trim_ascii())
}

fn is_no_alert(fault: &AlertError) -> bool {
    matches!(fault.reason, "malformed" | "no_alert")
}

fn identify(rules: &Rules, common: &Common, value: &Bytes) -> Result<Identity, AlertError> {
    if value.len() > rules.policy.max_alert {
        return Err(AlertError::too_large(value.len(), rules.policy.max_alert));
    }
    record::identify(value, &common.before, &rules.identity, rules.policy.max_nesting)
}

/// The headers that all records of a request share: those before the alert's kind, and those after it.
#[derive(Debug, Default)]
struct Common {
    before: Headers,
    after: Headers,
}

impl Common {
    fn of(received: &Received, webhook: &Webhook) -> Self {
        let (mut before, mut after) = (Headers::default(), Headers::default());
        before.push(headers::SCHEMA, headers::SCHEMA_VERSION);
        before.push(headers::SOURCE, received.source.as_str());
        after.push(headers::RECEIVED_AT, received.at.rfc3339());
        for (name, value) in [(headers::GROUP_KEY, &webhook.group_key), (headers::RECEIVER, &webhook.receiver)] {
            if let Some(value) = value.as_ref().filter(|value| value.len() <= LONGEST_HEADER) {
                after.push(name, value.clone());
            }
        }
        carrier::inject(&received.trace, &mut after);
        Self { before, after }
    }

    fn with(&self, kind: Option<Kind>) -> Headers {
        let mut all = Headers(Vec::with_capacity(self.before.0.len() + 1 + self.after.0.len()));
        all.0.extend_from_slice(&self.before.0);
        if let Some(kind) = kind {
            all.push(headers::KIND, kind.as_str());
        }
        all.0.extend_from_slice(&self.after.0);
        all
    }
}

fn good(index: usize, identity: &Identity, common: &Common, value: Bytes) -> Good {
    let (fingerprint, headers) = (identity.fingerprint, common.with(Some(identity.kind)));
    let key = Some(fingerprint.to_string().into());
    Good { index, fingerprint, record: Outgoing { key, value, headers, partition: None } }
}

/// What can't be used, with its exact bytes; of what is too large for a record, its head.
fn letter(bad: &Bad, common: &Common, received: &Received) -> DeadLetter {
    let most = if matches!(bad.fault.reason, "too_large" | "refused") { HEAD } else { usize::MAX };
    let kept = bad.value.len().min(most);
    let cut = if kept < bad.value.len() { format!("; its first {kept} bytes are kept here") } else { String::new() };
    DeadLetter {
        reason: bad.fault.reason.to_owned(),
        stage: "ingest".to_owned(),
        detail: format!("{}{cut}", bad.fault.text),
        origin: Origin::Door(received.route.to_owned()),
        attempts: 1,
        at: received.at,
        key: None,
        value: bad.value.slice(..kept),
        headers: common.with(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::ingest::IngestPolicy;

    fn rules() -> Rules {
        let policy = IngestPolicy {
            max_body: 10_000,
            max_alerts: 6,
            max_alert: 1_000,
            max_nesting: 16,
            concurrency: 4,
            max_bodies: 100_000,
            rate_per_second: 100,
            burst: 100,
            timeout: std::time::Duration::from_secs(1),
        };
        let (alerts, dead_letters) = ("alerts".to_owned(), "dead-letters".to_owned());
        Rules { policy, identity: record::IdentityRules::default(), alerts, dead_letters }
    }

    fn sorted(source: Source, body: impl Into<Bytes>) -> Result<Sorted, Refused> {
        let trace = Context::new();
        sort(&rules(), &Received { source, route: "/r", at: EventTime(0), trace, body: body.into() })
    }

    fn indices(body: String) -> (usize, Vec<(usize, &'static str)>) {
        let Sorted { good, bad, .. } = sorted(Source::Prometheus, body).unwrap();
        (good.len(), bad.iter().map(|bad| (bad.index, bad.fault.reason)).collect())
    }

    const GOOD: &str = r#"{"labels":{"alertname":"A"}}"#;

    #[test]
    fn a14_bad_alerts_are_told_apart_from_their_neighbours() {
        let body = format!(r#"{{"alerts":[{GOOD},{{"labels":{{}}}},{GOOD},"nonsense"]}}"#);
        assert_eq!(indices(body), (2, vec![(1, "invalid"), (3, "invalid")]));
    }

    #[test]
    fn c07_one_alert_too_large_leaves_the_small_ones_alone() {
        let large = format!(r#"{{"labels":{{"alertname":"{}"}}}}"#, "A".repeat(100_000));
        let Sorted { good, bad, common, .. } =
            sorted(Source::Prometheus, format!(r#"{{"alerts":[{GOOD},{large},{GOOD}]}}"#)).unwrap();
        assert_eq!((good.len(), bad.len()), (2, 1));
        assert_eq!(bad[0].fault.text, "alert of 100027 bytes, the limit of a record is 1000");
        let received = Received {
            source: Source::Prometheus,
            route: "/r",
            at: EventTime(0),
            trace: Context::new(),
            body: Bytes::new(),
        };
        let letter = letter(&bad[0], &common, &received);
        assert_eq!((letter.value.len(), letter.value.as_ref()), (HEAD, &large.as_bytes()[..HEAD]));
        assert!(letter.detail.ends_with("its first 65536 bytes are kept here"));
    }

    #[test]
    fn c08_one_alert_too_deep_leaves_its_neighbour_alone() {
        let deep = format!(r#"{{"labels":{{"alertname":"A"}},"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(indices(format!(r#"{{"alerts":[{deep},{GOOD}]}}"#)), (1, vec![(0, "malformed")]));
        assert!(matches!(sorted(Source::Prometheus, "[".repeat(10_000)), Err(Refused::Unreadable(_))));
    }

    #[test]
    fn more_alerts_than_allowed_are_refused_by_their_number() {
        let body = format!(r#"{{"alerts":[{}]}}"#, [GOOD; 7].join(","));
        assert_eq!(sorted(Source::Prometheus, body).unwrap_err(), Refused::TooMany { count: 7, limit: 6 });
    }

    #[test]
    fn b07_what_is_no_event_is_the_requests_own_fault_and_a_broken_event_is_set_aside() {
        for body in ["", "{", "{}", "[]", r#"{"kind":"Pod"}"#, r#"{"kind":"Event","type":"Normal"}"#] {
            let answer = sorted(Source::KubernetesEvents, body);
            assert!(matches!(answer, Err(Refused::Unreadable(_))), "{body}: {answer:?}");
        }
        let broken = sorted(Source::KubernetesEvents, r#"{"kind":"Event","type":"Warning"}"#).unwrap();
        assert!(broken.good.is_empty() && broken.bad[0].fault.text.contains("`reason`"));
    }

    #[test]
    fn c06_blanks_around_an_event_are_not_part_of_it() {
        let event = r#"{"type":"Warning","reason":"R","involvedObject":{"kind":"Pod","name":"p"}}"#;
        let sorted = sorted(Source::KubernetesEvents, format!("\n {event}{}", " ".repeat(5_000))).unwrap();
        assert_eq!(sorted.good[0].record.value, event);
    }

    #[test]
    fn a03_a_record_has_the_alerts_bytes_its_fingerprint_and_all_headers() {
        let alert = r#"{ "labels" : {"pod":"p\u0041" , "alertname":"A"}, "status":"resolved" }"#;
        let body = format!(r#"{{"groupKey":"{{}}:{{}}","receiver":"r","alerts":[ {alert} ]}}"#);
        let sorted = sorted(Source::Prometheus, body).unwrap();
        let Good { fingerprint, record, .. } = &sorted.good[0];
        assert_eq!((record.value.as_ref(), record.partition), (alert.as_bytes(), None));
        assert_eq!(record.key, Some(Bytes::from(fingerprint.to_string())));
        let told: Vec<_> = record.headers.0.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
        assert_eq!(
            told,
            [
                (headers::SCHEMA, &b"1"[..]),
                (headers::SOURCE, b"prometheus"),
                (headers::KIND, b"resolved"),
                (headers::RECEIVED_AT, b"1970-01-01T00:00:00.000Z"),
                (headers::GROUP_KEY, b"{}:{}"),
                (headers::RECEIVER, b"r"),
            ]
        );
        let read = record::parse(&record.value, &record.headers, EventTime(0), &rules().identity).unwrap();
        assert_eq!(read.brief(), fingerprint.brief());
    }
}
