//! Moments as they are typed: RFC 3339, or relative to now.

use super::Failure;
use crate::{alert::EventTime, pipeline::written::parse_span};

/// This moment by our own clock: what is typed as relative counts from it.
pub(crate) fn now() -> EventTime {
    EventTime(jiff::Timestamp::now().as_millisecond())
}

/// `2026-11-21T07:00:00Z`, `-2h`, or `now`.
pub(crate) fn parse(flag: &str, text: &str, now: EventTime) -> Result<EventTime, Failure> {
    let relative = text.strip_prefix('-').and_then(parse_span).map(|span| now.minus(span));
    let moment = relative.or_else(|| (text == "now").then_some(now)).or_else(|| EventTime::parse(text));
    moment.ok_or_else(|| {
        let form = "write RFC 3339 with its zone, like 2026-11-21T07:00:00Z, or back from now, like -2h or -1h30m";
        Failure::Asked(format!("{flag}: {text:?} is no moment; {form}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l07_a_moment_is_absolute_or_relative_and_nothing_else() {
        let now = EventTime(1_000_000_000_000);
        let read = |text: &str| parse("--from", text, now).ok().map(|moment| moment.0);
        assert_eq!(read("-2h"), Some(1_000_000_000_000 - 7_200_000));
        assert_eq!(read("now"), Some(1_000_000_000_000));
        assert_eq!(read("2001-09-09T01:46:40Z"), Some(1_000_000_000_000));
        assert_eq!(read("2001-09-09T03:46:40+02:00"), Some(1_000_000_000_000));
        for wrong in ["", "yesterday", "2h", "-2", "2001-09-09", "2001-09-09T01:46:40", "--2h"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
