//! Kubernetes as the judge: a TokenReview says who it is, a SubjectAccessReview whether he may `post` to that path.
//! Two calls of our own, which carry the token and nothing else of the request.

use std::{fmt, sync::Arc, time::Duration};

use axum::body::{self, Body};
use http::{Method, Request, StatusCode, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Client, Config};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    UNJUDGED, Verdict,
    verdicts::{Key, Verdicts},
};
pub(super) const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
pub(super) const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
/// How long one call may be without a byte; the whole verdict has its own patience.
const SILENCE: Duration = Duration::from_secs(5);
/// No answer is larger: a user in thousands of groups has some hundred KiB.
const LARGEST: usize = 1 << 20;
/// So much of the API server's own words is told.
const WORDS: usize = 300;

/// The API server as judge. Clones share what it has said.
#[derive(Clone)]
pub struct Judge(Arc<Inside>);

struct Inside {
    client: Client,
    audience: Option<String>,
    verdicts: Verdicts,
}

impl fmt::Debug for Judge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Judge").field("audience", &self.0.audience).finish_non_exhaustive()
    }
}

/// Why there is no verdict; for the log.
#[derive(Debug, thiserror::Error)]
enum Silent {
    #[error("it gives no answer: {0}")]
    Unanswered(#[source] kube::Error),
    #[error("its answer broke off")]
    BrokenOff,
    #[error("it answers {0} {1}")]
    Refused(StatusCode, String),
    #[error("what it answers is no review")]
    Unreadable,
}

impl Judge {
    /// A judge that takes tokens for this audience; without one, those for the API server itself. Nothing is asked yet.
    ///
    /// # Errors
    /// The client can't be made from its configuration.
    pub fn new(mut config: Config, audience: Option<String>) -> Result<Self, kube::Error> {
        config.default_retry = false; // whoever waits is told to come back instead
        config.connect_timeout = Some(SILENCE);
        config.read_timeout = Some(SILENCE);
        config.write_timeout = Some(SILENCE);
        Ok(Self::with(Client::try_from(config)?, audience))
    }

    pub(super) fn with(client: Client, audience: Option<String>) -> Self {
        Self(Arc::new(Inside { client, audience, verdicts: Verdicts::default() }))
    }

    pub(super) async fn judge(&self, token: &str, path: &str) -> Verdict {
        self.0.verdicts.of(key(token, path), self.0.ask(token, path)).await
    }
}

fn key(token: &str, path: &str) -> Key {
    Sha256::new().chain_update(path).chain_update([0]).chain_update(token).finalize().into()
}

impl Inside {
    async fn ask(&self, token: &str, path: &str) -> Verdict {
        match self.verdict(token, path).await {
            Ok(verdict) => {
                UNJUDGED.settle();
                verdict
            }
            Err(silent) => {
                UNJUDGED.raise(&shown(&silent.to_string(), token));
                Verdict::Away
            }
        }
    }

    async fn verdict(&self, token: &str, path: &str) -> Result<Verdict, Silent> {
        let audiences = self.audience.clone().map(|audience| vec![audience]);
        let spec = TokenReviewSpec { audiences, token: Some(token.to_owned()) };
        let review: TokenReview = self.create(TOKEN_REVIEWS, &TokenReview { spec, ..TokenReview::default() }).await?;
        let Some(user) = self.known(review.status) else { return Ok(Verdict::Unknown) };
        let question = SubjectAccessReview { spec: may(user, path), ..SubjectAccessReview::default() };
        let review: SubjectAccessReview = self.create(ACCESS_REVIEWS, &question).await?;
        let allowed = review.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if allowed { Verdict::Permitted } else { Verdict::Forbidden })
    }

    /// Who it is, if the token is good, and good for us.
    fn known(&self, status: Option<TokenReviewStatus>) -> Option<UserInfo> {
        let status = status.filter(|status| status.authenticated == Some(true))?;
        let ours =
            self.audience.as_ref().is_none_or(|audience| status.audiences.iter().flatten().any(|one| one == audience));
        status.user.filter(|user| ours && user.username.as_ref().is_some_and(|name| !name.is_empty()))
    }

    /// One call. Read by hand, since the client's own reading logs an answer that it cannot read, and a TokenReview
    /// repeats the token.
    async fn create<T: DeserializeOwned>(&self, path: &str, asked: &impl Serialize) -> Result<T, Silent> {
        let asked = serde_json::to_vec(asked).expect("a review is JSON");
        let request =
            Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(asked.into()).expect("a constant path is a URI");
        let (head, answer) = self.client.send(request).await.map_err(Silent::Unanswered)?.into_parts();
        let answer = body::to_bytes(Body::new(answer), LARGEST).await.map_err(|_| Silent::BrokenOff)?;
        if head.status.is_success() {
            serde_json::from_slice(&answer).map_err(|_| Silent::Unreadable)
        } else {
            Err(Silent::Refused(head.status, words(&answer)))
        }
    }
}

/// May he post there? A path is no object, so the right is one of `nonResourceURLs`.
fn may(user: UserInfo, path: &str) -> SubjectAccessReviewSpec {
    let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("post".to_owned()) };
    SubjectAccessReviewSpec {
        extra: user.extra,
        groups: user.groups,
        non_resource_attributes: Some(attributes),
        uid: user.uid,
        user: user.username,
        ..SubjectAccessReviewSpec::default()
    }
}

/// What a Status says.
fn words(answer: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
    }
    serde_json::from_slice::<Status>(answer).unwrap_or_default().message
}

/// Words of the API server as they may stand in a log: it might repeat what it was asked, and say more than a line.
fn shown(words: &str, token: &str) -> String {
    let bare = words.replace(token, "***");
    bare.chars().take(WORDS).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o07_what_the_api_server_says_is_told_in_a_line_without_the_token() {
        let token = "t".repeat(1000);
        let told = shown(&format!("{}\r\n\u{1b}[31m invalid {token}", "x".repeat(WORDS - 40)), &token);
        assert!(told.ends_with("   [31m invalid ***") && !told.contains("tt"), "{told}");
        assert_eq!(shown(&"x".repeat(10_000), &token).len(), WORDS);
    }
}
