//! Who may come in: everybody, whoever shows a token of a file, or whom Kubernetes knows and permits.
//!
//! **Invariant:** nobody is let in unjudged: where the judge is away, the answer is 503. A request is known by its
//! `Authorization` alone; no other header says who is asking. No token is kept or told: where one must be known again,
//! its SHA-256 is.

mod review;
#[cfg(test)]
mod tests;
mod tokens;
mod verdicts;

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use super::answer::Refused;
use crate::telemetry::{complaint::Complaint, metrics::IngestMetrics};

pub use review::Judge;
pub use tokens::Tokens;

/// No token is longer: those of service accounts have about 1 KiB.
const LONGEST_TOKEN: usize = 8 * 1024;

static UNJUDGED: Complaint = Complaint::new(
    "the kubernetes api judges no tokens, senders are told to come back; ingest needs the right to create token reviews and access reviews",
);

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Everybody.
    #[default]
    Open,
    /// Whoever shows a token of this file.
    Tokens(Tokens),
    /// Whom the Kubernetes API knows by a token, and permits to post there.
    Kubernetes(Judge),
}

/// What is thought of somebody who showed a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Known, and may come in.
    Permitted,
    /// Nobody knows the token.
    Unknown,
    /// Known, and may not.
    Forbidden,
    /// Whoever judges gave no answer.
    Away,
}

impl Auth {
    /// Whether a request to `path` may come in; why not, else.
    pub(super) async fn admit(&self, headers: &HeaderMap, path: &str, metrics: &IngestMetrics) -> Result<(), Refused> {
        if matches!(self, Self::Open) {
            return Ok(());
        }
        let verdict = match (bearer(headers), self) {
            (None, _) => Verdict::Unknown,
            (Some(_), Self::Open) => Verdict::Permitted,
            (Some(token), Self::Tokens(tokens)) => tokens.judge(token),
            (Some(token), Self::Kubernetes(judge)) => judge.judge(token, path).await,
        };
        metrics.judged(verdict.as_str());
        verdict.told()
    }
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Unknown => "unknown",
            Self::Forbidden => "forbidden",
            Self::Away => "away",
        }
    }

    fn told(self) -> Result<(), Refused> {
        match self {
            Self::Permitted => Ok(()),
            Self::Unknown => Err(Refused::Unauthenticated),
            Self::Forbidden => Err(Refused::Forbidden),
            Self::Away => Err(Refused::Unjudged),
        }
    }
}

/// The token of the one `Authorization: Bearer TOKEN` (RFC 6750). Two of that header are none: nobody could say which
/// of them is meant.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    let fits = (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(may_stand_in_a_token);
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(token)
}

fn may_stand_in_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
