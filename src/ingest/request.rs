//! What a request's headers say, checked. Pure: the present time is an argument.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;

use super::answer::Refused;
use crate::alert::headers::Headers;

/// `X-Timestamp`: when the sender sent it.
pub(super) const TIMESTAMP: &str = "x-timestamp";
/// `X-Request-ID`: under which name the request is logged.
pub(super) const REQUEST_ID: &str = "x-request-id";

const OLDEST: Duration = Duration::from_mins(5);
const NEWEST: Duration = Duration::from_mins(2);

/// JSON, or silent about it; plain or gzip.
pub(super) fn form(headers: &HeaderMap) -> Result<(), Refused> {
    if !headers.get(header::CONTENT_TYPE).is_none_or(is_json) {
        return Err(Refused::WrongType("Content-Type must be application/json"));
    }
    let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if !encoding.is_none_or(|name| name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"identity")) {
        return Err(Refused::WrongType("Content-Encoding must be gzip, or none"));
    }
    Ok(())
}

fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// `X-Timestamp`, where there is one: at most 5 min old, at most 2 min ahead. This is the only place that asks whether
/// something is stale; a replayed or delayed record never is.
pub(super) fn fresh(headers: &HeaderMap, now: Timestamp) -> Result<(), Refused> {
    let Some(value) = headers.get(TIMESTAMP) else {
        return Ok(());
    };
    let Some(stated) = value.to_str().ok().and_then(moment) else {
        return Err(Refused::Stale("X-Timestamp must be RFC 3339 or seconds since 1970".to_owned()));
    };
    let (age, ahead) = (now.duration_since(stated), stated.duration_since(now));
    // in whole seconds: what was exactly 5 min old when it was sent is so on arrival
    if age.as_secs() > OLDEST.as_secs().cast_signed() {
        return Err(Refused::Stale(format!("X-Timestamp is {} s old, the limit is 5 min", age.as_secs())));
    }
    if ahead > jiff::SignedDuration::try_from(NEWEST).unwrap_or(jiff::SignedDuration::MAX) {
        return Err(Refused::Stale(format!("X-Timestamp is {} s ahead, the limit is 2 min", ahead.as_secs())));
    }
    Ok(())
}

fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Timestamp::from_second(text.parse().ok()?).ok();
    }
    text.parse().ok()
}

/// The request's id, if it is one that may stand in a log.
pub(super) fn id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    ((1..=128).contains(&text.len()) && text.bytes().all(sane)).then_some(text)
}

/// The trace context that came with it, in the form of record headers.
pub(super) fn trace(headers: &HeaderMap) -> Headers {
    let told = ["traceparent", "tracestate"].into_iter().filter_map(|name| Some((name, headers.get(name)?)));
    Headers(told.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec().into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())])
    }

    #[test]
    fn c15_json_or_nothing_said_is_taken() {
        let takes = |value: &[u8]| form(&with("content-type", value)).is_ok();
        assert!(form(&HeaderMap::new()).is_ok());
        assert!(takes(b"application/json") && takes(b"application/json; charset=utf-8") && takes(b"Application/JSON"));
        for other in [&b"text/plain"[..], b"application/xml", b"", b";", b"json", b"\xff\xfe", b"application/jsonl"] {
            assert!(!takes(other), "{other:?}");
        }
        assert!(form(&with("content-encoding", b"gzip")).is_ok() && form(&with("content-encoding", b"br")).is_err());
    }

    #[test]
    fn o06_a_stated_time_has_bounds_and_its_absence_none() {
        let now: Timestamp = "2026-11-21T07:00:00.4Z".parse().unwrap();
        let takes = |value: &str| fresh(&with(TIMESTAMP, value.as_bytes()), now).is_ok();
        assert!(fresh(&HeaderMap::new(), now).is_ok());
        assert!(takes("2026-11-21T07:00:00Z") && takes("2026-11-21T12:30:00+05:30"));
        assert!(takes("2026-11-21T06:55:00Z") && takes("2026-11-21T07:02:00.4Z"));
        assert!(!takes("2026-11-21T06:54:59Z") && !takes("2026-11-21T07:02:01Z"));
        let seconds = now.as_second();
        assert!(takes(&seconds.to_string()) && takes(&(seconds - 300).to_string()));
        assert!(!takes(&(seconds - 301).to_string()) && !takes(&(seconds + 121).to_string()));
        for nonsense in ["", "now", "-5", "1e9", "99999999999999999999", "2026-11-21", "5m"] {
            assert!(!takes(nonsense), "{nonsense}");
        }
    }

    #[test]
    fn p08_a_hostile_request_id_is_none() {
        let kept = |value: &[u8]| id(&with(REQUEST_ID, value)).is_some();
        assert!(kept(b"a1-B2_c.d:e/f+g=@") && kept(&[b'x'; 128]));
        for hostile in [&b""[..], b"a b", b"a\"b", b"<a>", b"a\tb", b"\xff", &[b'x'; 1024]] {
            assert!(!kept(hostile), "{hostile:?}");
        }
    }
}
