//! What a client says on its own: its log lines, its errors, its figures.

use std::sync::{Mutex, PoisonError};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError as ClientError, RDKafkaErrorCode as Code},
};

use crate::telemetry::complaint::Complaint;

/// Hears a client that belongs to no group.
pub(super) struct Listener {
    trouble: Complaint,
    last: Mutex<Option<Code>>,
}

impl Listener {
    pub(super) const fn new() -> Self {
        Self {
            trouble: Complaint::new("the kafka client cannot reach its brokers and tries on"),
            last: Mutex::new(None),
        }
    }

    /// The last thing that went wrong since this was last asked.
    pub(super) fn last_trouble(&self) -> Option<Code> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The brokers answer.
    pub(super) fn settle(&self) {
        self.last_trouble();
        self.trouble.settle();
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: ClientError, reason: &str) {
        // "all brokers are down" follows the cause, and would hide it.
        if let Some(code) = error.rdkafka_error_code().filter(|code| *code != Code::AllBrokersDown) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
            self.trouble.raise(&reason);
        }
    }
}

impl ConsumerContext for Listener {}

/// The client's own lines, for whoever asks for them: `librdkafka=debug`. What matters of them is told elsewhere.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    tracing::debug!(target: "librdkafka", ?level, facility, "{text}");
}
