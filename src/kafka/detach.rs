//! A record out of the client's buffers: one allocation for key, value and header values together.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message};

use super::Record;
use crate::alert::{EventTime, Position, headers::Headers};

/// Copies a record, so that the client may reuse its buffer.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    let (key, value) = (message.key(), message.payload().unwrap_or_default());
    let headers: Vec<_> = message.headers().map(named).unwrap_or_default();
    let size = key.map_or(0, <[u8]>::len) + value.len() + headers.iter().map(|one| one.1.len()).sum::<usize>();
    let mut buffer = BytesMut::with_capacity(size);
    let mut copy = |part: &[u8]| -> Bytes {
        buffer.extend_from_slice(part);
        buffer.split().freeze()
    };
    Record {
        position: Position { partition: message.partition(), offset: message.offset() },
        at: EventTime(message.timestamp().to_millis().unwrap_or_default()),
        key: key.map(&mut copy),
        value: copy(value),
        headers: Headers(headers.into_iter().map(|(name, value)| (name.to_owned(), copy(value))).collect()),
    }
}

/// Whether a record has a header of that name and value; nothing of it is copied.
pub(super) fn bears(message: &BorrowedMessage<'_>, (name, value): (&str, &str)) -> bool {
    let headers = message.headers().map(named).unwrap_or_default();
    headers.contains(&(name, value.as_bytes()))
}

/// Headers by name. The client panics at a name that is not UTF-8, which any producer can send: such a header is left
/// out, and the record goes on. (A null value is as good as an empty one.)
fn named(headers: &BorrowedHeaders) -> Vec<(&str, &[u8])> {
    (0..headers.count())
        .filter_map(|index| catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok().flatten())
        .map(|Header { key, value }| (key, value.unwrap_or_default()))
        .collect()
}
