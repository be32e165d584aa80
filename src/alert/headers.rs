//! A record's metadata: names, versions, and what holds for a stranger's record that has none.

use bytes::Bytes;

/// Version of the record's form, `1`. A stranger's record has none and is read as this one.
pub const SCHEMA: &str = "breakwater-schema";
/// The version that this program writes, and the one that it reads.
pub const SCHEMA_VERSION: &[u8] = b"1";
/// `prometheus` or `kubernetes-events`.
pub const SOURCE: &str = "breakwater-source";
/// `firing`, `resolved` or `closed`.
pub const KIND: &str = "breakwater-kind";
/// When the door received it, RFC 3339.
pub const RECEIVED_AT: &str = "breakwater-received-at";
/// Alertmanager's groupKey.
pub const GROUP_KEY: &str = "breakwater-group-key";
/// Alertmanager's receiver.
pub const RECEIVER: &str = "breakwater-receiver";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// The headers of one record, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Bytes)>);

impl Headers {
    /// The value of a header as text; the last one counts. Foreign bytes are as good as none.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.last(name)?).ok()
    }

    /// The bytes of a header; the last one counts, as retries append.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.0.iter().rev().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// Adds one header.
    pub fn push(&mut self, name: &str, value: impl Into<Bytes>) {
        self.0.push((name.to_owned(), value.into()));
    }
}
