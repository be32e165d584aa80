//! Records in, records out. The log is the truth about what arrived.
//!
//! **Invariant:** offsets are only *stored*; one place commits, and only what is stored and still owned.

pub mod carrier;
pub mod consumer;
pub mod dead_letter;
pub mod forget;
pub mod group;
pub mod in_process;
pub mod ledger;
pub mod merge;
pub mod probe;
pub mod producer;
pub mod range;
pub mod settings;
pub mod topics;

mod context;
mod detach;

use bytes::Bytes;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};

pub use settings::Settings;

use crate::alert::{EventTime, Position, headers::Headers};

/// One record of a topic, detached from the client's buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// The record's timestamp: the broker's clock where the topic is made with `LogAppendTime`.
    pub at: EventTime,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; null is as good as empty.
    pub value: Bytes,
    /// Its headers, in their order.
    pub headers: Headers,
}

/// A record to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Decides the partition, unless one is named.
    pub key: Option<Bytes>,
    /// Exactly these bytes.
    pub value: Bytes,
    /// In this order.
    pub headers: Headers,
    /// A partition by number; none = by key, as a Java producer would choose.
    pub partition: Option<i32>,
}

/// Why Kafka did not do what it was asked. No text names an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// The producer's queue is at its limit: the brokers take less than comes in.
    #[error("the queue to kafka is full; nothing was written, try again later")]
    Full,
    /// Handed over and not acknowledged in time: it may be in the log or not.
    #[error("kafka did not acknowledge in time ({0}); the record may or may not be in the log")]
    Unacknowledged(String),
    /// No broker answers.
    #[error("no kafka broker can be reached ({0})")]
    Unreachable(String),
    /// The topic does not exist.
    #[error("topic {0} is absent: run `breakwater topics create`")]
    AbsentTopic(String),
    /// A right is missing; once granted, the same request succeeds.
    #[error("kafka denies a right ({0}): grant it, nothing needs to be restarted")]
    Denied(String),
    /// A broker refuses this very record or request, and would again.
    #[error("kafka refuses this record or request: {0}")]
    Rejected(String),
    /// A property or a topic's setting that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The client cannot go on and must be made anew.
    #[error("the kafka client cannot go on: {0}")]
    Fatal(String),
}

impl KafkaError {
    /// Whether the same request may succeed later without anyone changing anything in it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Full | Self::Unacknowledged(_) | Self::Unreachable(_) | Self::AbsentTopic(_) => true,
            Self::Denied(_) | Self::Fatal(_) => true,
            Self::Rejected(_) | Self::Setting(_) => false,
        }
    }

    /// What the client's error means; `topic` is the one it was about.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a client that cannot be made is all that is left")]
    fn of(error: &ClientError, topic: &str) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => Self::of_code(code, topic),
            // Only the making of a client fails without a code. Its text may hold a value, and a value may be a secret.
            None => match error {
                ClientError::ClientConfig(_, _, key, _) => Self::Setting(format!("kafka property {key} is unusable")),
                _ => Self::Fatal(first_line(&error.to_string())),
            },
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not known may pass: it is tried again, never skipped")]
    fn of_code(code: Code, topic: &str) -> Self {
        let text = first_line(&code.to_string());
        match code {
            Code::QueueFull => Self::Full,
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                Self::AbsentTopic(topic.to_owned())
            }
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::SSL
            | Code::BrokerNotAvailable
            | Code::NetworkException => Self::Unreachable(text),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Self::Denied(text),
            Code::MessageSizeTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::InvalidTopic
            | Code::InvalidConfig
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidArgument
            | Code::PolicyViolation => Self::Rejected(text),
            Code::Fatal | Code::Fenced | Code::FencedInstanceId => Self::Fatal(text),
            _ => Self::Unacknowledged(text),
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Runs what blocks on a thread that may block. It panics only if the work itself does.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(KafkaError::Fatal("the runtime is shutting down".to_owned())),
    }
}
