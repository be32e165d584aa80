//! Brokers and a file of librdkafka properties → client settings.
//!
//! **Invariant:** what correctness depends on (acknowledgements, idempotence, when an offset counts as done, where a
//! key goes) is ours alone; a property that would override it is an error that names the key.

use std::{collections::BTreeMap, fmt};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError as ClientError};

use super::KafkaError;

/// Where Kafka is and how to talk to it. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    brokers: String,
    properties: BTreeMap<String, String>,
    in_process: bool,
}

/// Keys that are ours, with the reason told to whoever sets one.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "the brokers are given as BREAKWATER_KAFKA_BROKERS"),
    ("metadata.broker.list", "the brokers are given as BREAKWATER_KAFKA_BROKERS"),
    ("acks", "a 2xx is a promise: every replica in sync must have the record"),
    ("request.required.acks", "a 2xx is a promise: every replica in sync must have the record"),
    ("enable.idempotence", "a retry must not write a record twice"),
    ("transactional.id", "nothing is written in transactions"),
    ("delivery.timeout.ms", "it follows from the request's timeout in the pipeline"),
    ("message.timeout.ms", "it follows from the request's timeout in the pipeline"),
    ("partitioner", "a key must lie where every other producer puts it"),
    ("sticky.partitioning.linger.ms", "a key must lie where every other producer puts it"),
    ("isolation.level", "what is read must not depend on who else writes"),
    ("group.id", "it is named in the pipeline"),
    ("group.protocol", "partitions are handed over one by one"),
    ("partition.assignment.strategy", "partitions are handed over one by one"),
    ("enable.auto.commit", "only what is finished may be committed"),
    ("enable.auto.offset.store", "only what is finished may be committed"),
    ("auto.commit.enable", "only what is finished may be committed"),
    ("auto.offset.reset", "a lost offset is read from the earliest record, never skipped"),
    ("enable.partition.eof", "the end of a partition is asked for where it is needed"),
    ("statistics.interval.ms", "the figures are shown under /metrics"),
    ("allow.auto.create.topics", "topics are made by `breakwater topics create`"),
];

/// Values that may be shown; of every other key only its name is.
const OPEN: &[&str] = &[
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "ssl.ca.location",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "compression.type",
    "linger.ms",
    "session.timeout.ms",
    "max.poll.interval.ms",
];

impl Settings {
    /// Checked: every property is known to the client, and none overrides what correctness depends on.
    pub fn new(brokers: String, properties: BTreeMap<String, String>) -> Result<Self, KafkaError> {
        if let Some((key, reason)) = OURS.iter().find(|(key, _)| properties.contains_key(*key)) {
            return Err(KafkaError::Setting(format!("kafka property {key} cannot be set: {reason}")));
        }
        if properties.get("sasl.oauthbearer.method").is_some_and(|method| method.eq_ignore_ascii_case("oidc")) {
            let text = "kafka property sasl.oauthbearer.method=oidc needs a client with curl, which is not compiled in: \
                        use SCRAM, PLAIN or client certificates";
            return Err(KafkaError::Setting(text.to_owned()));
        }
        for (key, value) in &properties {
            // Each by itself, so that the fault names the key and never the value.
            ClientConfig::new().set(key, value).create_native_config().map_err(|error| unusable(key, &error))?;
        }
        Ok(Self { brokers, properties, in_process: false })
    }

    pub(super) fn in_process(brokers: String) -> Self {
        Self { brokers, properties: BTreeMap::new(), in_process: true }
    }

    /// Whether the broker is our own, in this process: event time is then the producer's clock.
    #[must_use]
    pub fn is_in_process(&self) -> bool {
        self.in_process
    }

    /// What every client has: the defaults of ours, then the operator's properties over them.
    pub(super) fn client(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "breakwater");
        // A broker that is back is noticed within a second or two, not after the default ten.
        config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "1000");
        config.set("socket.keepalive.enable", "true").set("log.connection.close", "false");
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}

fn unusable(key: &str, error: &ClientError) -> KafkaError {
    let unknown = error.to_string().contains("No such configuration property");
    let what = if unknown { "is not known to the client" } else { "has a value that the client does not take" };
    KafkaError::Setting(format!("kafka property {key} {what}"))
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: BTreeMap<_, _> = self
            .properties
            .iter()
            .map(|(key, value)| (key.as_str(), if OPEN.contains(&key.as_str()) { value.as_str() } else { "***" }))
            .collect();
        out.debug_struct("Settings").field("brokers", &self.brokers).field("properties", &shown).finish()
    }
}

/// Reads a properties file: `key=value` lines, `#` or `!` begins a comment. The error names the line, never the value.
pub fn parse_properties(text: &str) -> Result<BTreeMap<String, String>, KafkaError> {
    let mut properties = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(key, value)| (key.trim(), Some(value.trim())));
        let fault = |what: &str| Err(KafkaError::Setting(format!("kafka properties, line {number}: {what}")));
        match value {
            None => return fault("key=value is expected"),
            Some(_) if key.is_empty() => return fault("the key is empty"),
            Some(value) => {
                if properties.insert(key.to_owned(), value.to_owned()).is_some() {
                    return fault(&format!("{key} is set twice"));
                }
            }
        }
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Result<Settings, String> {
        let properties = parse_properties(text).map_err(|error| error.to_string())?;
        Settings::new("kafka:9092".to_owned(), properties).map_err(|error| error.to_string())
    }

    fn check(text: &str, fault: &str) {
        assert_eq!(made(text).expect_err("it should be refused"), fault);
    }

    #[test]
    fn a_file_of_properties_is_taken() {
        let text = "# tls\nsecurity.protocol=SASL_SSL\n\n! sasl\nsasl.mechanism = SCRAM-SHA-512\nsasl.username=bw\n";
        assert!(made(text).is_ok());
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        let properties = parse_properties("sasl.password=a=b=").expect("it is readable");
        assert_eq!(properties["sasl.password"], "a=b=");
    }

    #[test]
    fn q05_what_correctness_depends_on_is_not_overridden() {
        check(
            "acks=1",
            "kafka property acks cannot be set: a 2xx is a promise: every replica in sync must have the record",
        );
        for (key, _) in OURS {
            let fault = made(&format!("{key}=1")).expect_err(key);
            assert!(fault.starts_with(&format!("kafka property {key} cannot be set")), "{fault}");
        }
    }

    #[test]
    fn oidc_is_told_to_be_not_compiled_in() {
        let fault = made("sasl.oauthbearer.method=oidc").expect_err("it should be refused");
        assert!(fault.contains("not compiled in"), "{fault}");
    }

    #[test]
    fn q05_a_fault_names_line_or_key_and_never_the_value() {
        check("security.protocol", "kafka properties, line 1: key=value is expected");
        check("linger.ms=1\nlinger.ms=2", "kafka properties, line 2: linger.ms is set twice");
        check("=x", "kafka properties, line 1: the key is empty");
        check("sasl.pasword=hunter2", "kafka property sasl.pasword is not known to the client");
        check("linger.ms=hunter2", "kafka property linger.ms has a value that the client does not take");
    }

    #[test]
    fn o07_debug_shows_no_secret() {
        let text = "sasl.username=bw\nsasl.password=hunter2\nssl.key.password=hunter2\nsasl.oauthbearer.config=hunter2";
        let shown = format!("{:?}", made(text).expect("it is usable"));
        assert!(shown.contains("sasl.password") && shown.contains("***") && shown.contains("bw"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
