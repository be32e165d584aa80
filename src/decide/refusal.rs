//! What an answer of the API server asks of us. The one place where a class is decided.

use std::time::Duration;

/// An answer that is not a success, in our words: the shell translates, nothing is judged there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status; 0 = none came: refused, reset, broken TLS, or no answer in time. Perhaps applied.
    pub code: u16,
    /// The API server's reason, where it gives one; a throttled answer may be plain text without.
    pub reason: String,
    /// The API server's sentence. For dead letters and logs.
    pub message: String,
    /// The field that it complains of, if it names one.
    pub field: Option<String>,
    /// What `Retry-After` or the status says, if more than nothing.
    pub retry_after: Option<Duration>,
    /// What the answer is about.
    pub about: About,
}

/// What an answer is about, as far as it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum About {
    /// The object of the call, or it does not say.
    #[default]
    Object,
    /// The object's namespace: it does not exist.
    Namespace,
    /// The kind: the API server does not serve it.
    Kind,
    /// Whoever asks, whatever about: an API server that has just come back knows nobody's rights for a moment.
    Caller,
    /// A right that we do not have at all, whatever the object.
    Right,
    /// Fields that another manager owns.
    OwnedField,
}

/// A refusal, named by what must be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name is taken: by our own incident (then nothing is left to do) or by a stranger. Read back once.
    Settled,
    /// The object changed since it was last seen: read again, merge, write again.
    Stale,
    /// The object is not there.
    Gone,
    /// The whole sink pauses, as long as told.
    Throttled {
        /// How long, if the server says so.
        told: Option<Duration>,
    },
    /// Rest and try again.
    Transient,
    /// The kind is not served, or we have no right to write it: the whole sink pauses, and says so.
    Outage,
    /// The object goes to the fallback namespace.
    NamespaceMissing,
    /// This will never pass as it is: dead letter.
    Poison,
    /// Nothing will pass: stop in order, commit nothing.
    Fatal,
}

impl Refusal {
    /// All classes, as metric and log spell them.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Stale => "stale",
            Self::Gone => "gone",
            Self::Throttled { .. } => "throttled",
            Self::Transient => "transient",
            Self::Outage => "outage",
            Self::NamespaceMissing => "namespace_missing",
            Self::Poison => "poison",
            Self::Fatal => "fatal",
        }
    }
}

/// What the call was that got the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A plain create.
    Create,
    /// A server-side apply of the status, or reading the object.
    Object,
}

/// Judges an answer, by code: a throttled one may be plain text without a reason. Rights and the kind are proven at
/// boot, so a later 403 is about this object alone, unless the shell has seen that it is about us.
#[must_use]
pub fn judge(asked: Asked, answer: &Answer) -> Refusal {
    match (answer.code, answer.about) {
        (401, _) => Refusal::Fatal,
        (403, About::Caller) => Refusal::Transient,
        (403 | 404, About::Kind) | (403, About::Right) => Refusal::Outage,
        (404, About::Namespace) => match asked {
            Asked::Create => Refusal::NamespaceMissing,
            Asked::Object => Refusal::Gone,
        },
        (404, _) => match asked {
            Asked::Create => Refusal::Poison,
            Asked::Object => Refusal::Gone,
        },
        (409, About::OwnedField) => Refusal::Poison,
        (409, _) if answer.reason == "AlreadyExists" => Refusal::Settled,
        (409, _) => match asked {
            Asked::Create => Refusal::Transient,
            Asked::Object => Refusal::Stale,
        },
        (429 | 503, _) => Refusal::Throttled { told: answer.retry_after },
        (400 | 403 | 413 | 422, _) => Refusal::Poison,
        _ => Refusal::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, reason: &str) -> Answer {
        Answer { code, reason: reason.to_owned(), ..Answer::default() }
    }

    fn about(code: u16, about: About) -> Answer {
        Answer { code, about, ..Answer::default() }
    }

    #[test]
    fn a_403_that_is_about_us_is_waited_out_and_one_about_the_object_is_not() {
        let forbidden = |about| Answer { about, ..answer(403, "Forbidden") };
        for asked in [Asked::Create, Asked::Object] {
            assert_eq!(judge(asked, &forbidden(About::Caller)), Refusal::Transient);
            assert_eq!(judge(asked, &forbidden(About::Object)), Refusal::Poison);
            assert_eq!(judge(asked, &forbidden(About::Right)), Refusal::Outage);
        }
    }

    #[test]
    fn i09_what_never_passes_is_poison() {
        for code in [400, 403, 413, 422] {
            assert_eq!(judge(Asked::Create, &answer(code, "Whatever")), Refusal::Poison, "{code}");
        }
        assert_eq!(judge(Asked::Create, &answer(404, "NotFound")), Refusal::Poison);
    }

    #[test]
    fn i05_what_may_pass_later_is_transient() {
        for code in [0, 408, 500, 502, 504, 599] {
            assert_eq!(judge(Asked::Create, &answer(code, "")), Refusal::Transient, "{code}");
        }
    }

    #[test]
    fn i04_i06_throttling_is_told_by_the_code_alone() {
        for code in [429, 503] {
            assert_eq!(
                judge(Asked::Create, &answer(code, "Failed to parse error data")),
                Refusal::Throttled { told: None }
            );
        }
        let told = Answer { retry_after: Some(Duration::from_secs(2)), ..answer(429, "") };
        assert_eq!(judge(Asked::Object, &told), Refusal::Throttled { told: Some(Duration::from_secs(2)) });
    }

    #[test]
    fn i02_a_name_that_exists_is_read_back_and_another_conflict_is_not() {
        assert_eq!(judge(Asked::Create, &answer(409, "AlreadyExists")), Refusal::Settled);
        assert_eq!(judge(Asked::Object, &answer(409, "Conflict")), Refusal::Stale);
        assert_eq!(judge(Asked::Object, &about(409, About::OwnedField)), Refusal::Poison);
    }

    #[test]
    fn i14_h07_i26_a_404_is_about_the_kind_the_namespace_or_the_object() {
        assert_eq!(judge(Asked::Create, &about(404, About::Kind)), Refusal::Outage);
        assert_eq!(judge(Asked::Object, &about(404, About::Kind)), Refusal::Outage);
        assert_eq!(judge(Asked::Create, &about(404, About::Namespace)), Refusal::NamespaceMissing);
        assert_eq!(judge(Asked::Object, &about(404, About::Object)), Refusal::Gone);
    }

    #[test]
    fn i11_a_401_is_fatal() {
        assert_eq!(judge(Asked::Create, &answer(401, "Unauthorized")), Refusal::Fatal);
    }
}
