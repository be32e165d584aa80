//! What the status page is told of objects that were seen or written, and of pauses.

use std::time::{Duration, Instant};

use crate::{
    alert::EventTime,
    decide::refusal::{Answer, Refusal},
    sink::{live::StormLife, object::Object},
    telemetry::recent::{Pause, Recent, Seen, Storm},
};

/// An object stands so.
pub(super) fn note(recent: &Recent, object: &Object, life: StormLife) {
    let Some(begun) = moment(object.begun.at) else { return };
    let storm = if object.storm { storm(object, life) } else { None };
    if !recent.heeds(begun, storm.as_ref().map(|storm| storm.until)) {
        return;
    }
    let (resource, status) = (&object.resource, &object.status);
    let of_storm = object.storm_status().map(|storm| storm.alert_count);
    let count = of_storm.or(status.deduplication.as_ref().map(|dedup| dedup.occurrence_count));
    recent.note(Seen {
        object: (object.id.namespace.to_string(), object.id.name.to_string()),
        fingerprint: object.fingerprint.to_string(),
        alert: object.signal.to_string(),
        about: format!("{}/{}", resource.kind, resource.name),
        priority: status.priority.clone().unwrap_or_default(),
        over: object.over().map(str::to_owned),
        firings: count.unwrap_or(1),
        begun,
        storm,
    });
}

/// Kin join a storm until none has come for `quiet`, or for `max_duration` in all.
fn storm(object: &Object, life: StormLife) -> Option<Storm> {
    let joined = object.last_joined();
    let until = joined.plus(life.quiet).min(object.begun.at.plus(life.max_duration));
    let resources = object.storm_status().map_or(1, |storm| storm.total_affected_resources);
    Some(Storm { resources, joined: moment(joined)?, until: moment(until)? })
}

fn moment(at: EventTime) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(at.0).ok()
}

/// Everything pauses for so long, because of this answer. The server's own words may name addresses: ours do not.
pub(super) fn pause(recent: &Recent, refused: Option<&(Refusal, Answer)>, rest: Duration) {
    let why = refused.map_or_else(
        || "the API server asked for patience".to_owned(),
        |(refusal, answer)| match answer.code {
            0 => format!("the API server does not answer ({})", refusal.class()),
            code => format!("the API server answered {code} ({})", refusal.class()),
        },
    );
    recent.pause(Pause { why, until: Instant::now() + rest });
}
