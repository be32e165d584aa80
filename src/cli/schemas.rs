//! Every promise with a shape, as JSON Schema: what comes in, what lies on the topics, what an operator writes.

use serde_json::{Value, json};

use crate::{alert::headers, pipeline, remediation::Remediation};

/// A schema's name; `schemas/NAME.v1.json` keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// The value of a record of `alerts`
    Alert,
    /// The headers of a record of `alerts`
    Headers,
    /// The value of a record of `remediations`
    Remediation,
    /// The headers of a record of `dead-letters`
    DeadLetter,
    /// A pipeline's text
    Pipeline,
}

/// The names that there are, a line each.
pub(crate) fn names() -> String {
    use clap::ValueEnum;
    let names = Name::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    names.map(|name| format!("{}\n", name.get_name())).collect()
}

impl Name {
    /// The schema, as committed.
    pub(crate) fn print(self) -> String {
        let schema = match self {
            Self::Alert => alert(),
            Self::Headers => of_headers(),
            Self::Remediation => schemars::schema_for!(Remediation).to_value(),
            Self::DeadLetter => dead_letter(),
            Self::Pipeline => pipeline::schema().to_value(),
        };
        format!("{schema:#}\n")
    }
}

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// One alert: of Alertmanager's webhook v4, or an event of Kubernetes, or the sink's word that an incident is over.
fn alert() -> Value {
    let closed = schemars::schema_for!(crate::alert::Closed).to_value();
    json!({
        "$schema": DRAFT,
        "title": "Breakwater alert, version 1",
        "description": "The value of a record of `alerts`. A third party may publish one with no headers and any key. \
            What is not named here is kept, and ignored.",
        "anyOf": [{ "$ref": "#/$defs/prometheus" }, { "$ref": "#/$defs/event" }, { "$ref": "#/$defs/closed" }],
        "$defs": { "prometheus": prometheus(), "event": event(), "closed": closed }
    })
}

fn prometheus() -> Value {
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let mut labels = texts.clone();
    labels["required"] = json!(["alertname"]);
    labels["properties"] = json!({
        "alertname": { "type": "string", "pattern": "\\S", "description": "The alert's name." },
        "severity": { "type": "string", "description": "Passed on as written, through the pipeline's aliases." }
    });
    json!({
        "title": "One alert of Alertmanager's webhook v4, byte for byte",
        "type": "object",
        "required": ["labels"],
        "properties": {
            "status": { "type": "string", "description": "`resolved`, else it fires." },
            "labels": labels,
            "annotations": texts,
            "startsAt": { "description": "RFC 3339; what cannot be one is as good as none." },
            "endsAt": {},
            "generatorURL": {},
            "fingerprint": { "description": "Alertmanager's own; ours is made of the pipeline's identity fields." }
        }
    })
}

fn event() -> Value {
    let object = json!({
        "type": "object",
        "required": ["kind", "name"],
        "properties": {
            "kind": { "type": "string", "minLength": 1 },
            "name": { "type": "string", "minLength": 1 },
            "namespace": { "type": "string" },
            "apiVersion": { "type": "string" }
        }
    });
    json!({
        "title": "A core/v1 or events.k8s.io/v1 Event that tells of trouble",
        "type": "object",
        "required": ["type", "reason"],
        "anyOf": [{ "required": ["involvedObject"] }, { "required": ["regarding"] }],
        "properties": {
            "kind": { "const": "Event" },
            "type": { "enum": ["Warning", "Error"] },
            "reason": { "type": "string", "minLength": 1, "description": "The alert's name." },
            "involvedObject": object,
            "regarding": object,
            "message": {}, "note": {}, "count": {}, "series": {}, "source": {},
            "firstTimestamp": {}, "lastTimestamp": {}, "eventTime": {}
        }
    })
}

/// The headers that we set. A stranger's record has none of them.
fn of_headers() -> Value {
    json!({
        "$schema": DRAFT,
        "title": "Headers of a record of `alerts`, version 1",
        "description": "Each is UTF-8 text; of one given twice the last counts. None needs to be there.",
        "type": "object",
        "properties": {
            headers::SCHEMA: { "const": "1", "description": "Version of the record's form; a record without it is read as 1." },
            headers::SOURCE: { "enum": ["prometheus", "kubernetes-events"] },
            headers::KIND: { "enum": ["firing", "resolved", "closed"] },
            headers::RECEIVED_AT: { "type": "string", "format": "date-time", "description": "When the door received it." },
            headers::GROUP_KEY: { "type": "string", "description": "Alertmanager's groupKey." },
            headers::RECEIVER: { "type": "string", "description": "Alertmanager's receiver." },
            headers::TRACEPARENT: { "type": "string", "description": "W3C trace context." }
        }
    })
}

/// The value of a dead letter is exactly what could not be used; its story stands in the headers.
fn dead_letter() -> Value {
    let named = |names: &[&str]| names.iter().map(|name| format!("{DEAD_LETTER}{name}")).collect::<Vec<_>>();
    let always = named(&["reason", "detail", "stage", "attempts", "time"]);
    let (record, door) = (named(&["topic", "partition", "offset", "record-time"]), named(&["door"]));
    json!({
        "$schema": DRAFT,
        "title": "Headers of a record of `dead-letters`, version 1",
        "description": "The value is exactly the bytes that could not be used, the other headers are those that they came with.",
        "type": "object",
        "required": always,
        "oneOf": [{ "required": record }, { "required": door }],
        "properties": dead_letter_headers()
    })
}

/// Before the name of each header of a dead letter.
const DEAD_LETTER: &str = "breakwater-dead-letter-";

fn dead_letter_headers() -> Value {
    let told = |text: &str| json!({ "type": "string", "description": text });
    let number = |text: &str| json!({ "type": "string", "pattern": "^[0-9]+$", "description": text });
    let time = |text: &str| json!({ "type": "string", "format": "date-time", "description": text });
    let headers = [
        ("reason", told("Why, in a closed spelling: malformed, invalid, too_large, refused …")),
        ("detail", told("For a person: what is wrong, and where.")),
        ("stage", told("Which stage set it aside.")),
        ("topic", told("The topic that it came from.")),
        ("partition", number("Its partition there.")),
        ("offset", number("Its offset there.")),
        ("record-time", time("Its own time there.")),
        ("door", told("The route of the request that it came with, if it never was a record.")),
        ("attempts", number("How often it was set aside, this time included.")),
        ("time", time("When it was set aside, by the clock of the stage.")),
    ];
    headers.into_iter().map(|(name, shape)| (format!("{DEAD_LETTER}{name}"), shape)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{EventTime, Position, headers::Headers},
        kafka::dead_letter::{DeadLetter, Origin},
    };

    #[test]
    fn a_dead_letter_has_the_headers_of_its_schema() {
        let origin =
            Origin::Record { topic: "alerts".into(), position: Position { partition: 1, offset: 2 }, at: EventTime(0) };
        let mut seen = std::collections::BTreeSet::new();
        for origin in [origin, Origin::Door("/webhook/prometheus".into())] {
            let letter = DeadLetter {
                reason: "malformed".into(),
                stage: "work".into(),
                detail: "no JSON".into(),
                origin,
                attempts: 1,
                at: EventTime(0),
                key: None,
                value: bytes::Bytes::new(),
                headers: Headers::default(),
            };
            seen.extend(letter.outgoing().headers.0.into_iter().map(|(name, _)| name));
        }
        let schema = dead_letter();
        let promised = schema["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(seen, promised);
    }
}
