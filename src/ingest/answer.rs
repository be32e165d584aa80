//! What became of a request → status, problem+json, Retry-After: one table.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::alert::{Fingerprint, Position};

/// Every alert that could be used is a record now.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Accepted {
    /// How many.
    pub(super) accepted: usize,
    /// Where each stands, in the order of the request.
    pub(super) alerts: Vec<Placed>,
    /// Those that were set aside.
    pub(super) rejected: Vec<Rejected>,
}

/// Where one alert stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Placed {
    pub(super) fingerprint: Fingerprint,
    #[serde(flatten)]
    pub(super) position: Position,
}

/// One alert that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rejected {
    /// Its place in the request, from 0.
    pub(super) index: usize,
    /// What is wrong with it.
    pub(super) reason: String,
}

/// Why a request was not accepted. The text is for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The body is not what the route takes; nothing of it was kept.
    #[error("{0}")]
    Unreadable(String),
    /// Not one alert of it can be used; they were set aside.
    #[error("no alert of this request can be used; each was set aside with its reason")]
    NothingUsable(Vec<Rejected>),
    /// X-Timestamp is outside its bounds.
    #[error("{0}")]
    Stale(String),
    /// The body is larger than allowed.
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// More alerts than allowed.
    #[error("{count} alerts in one request, the limit is {limit}")]
    TooMany {
        /// How many came.
        count: usize,
        /// How many may.
        limit: usize,
    },
    /// Content-Type or Content-Encoding is none that the door reads.
    #[error("{0}")]
    WrongType(&'static str),
    /// No such route.
    #[error("no such path; signals go to /api/v1/signals/prometheus or /api/v1/signals/kubernetes-event")]
    NoRoute,
    /// Another method than POST.
    #[error("only POST is taken here")]
    WrongMethod,
    /// The body did not come in time.
    #[error("the body did not arrive in time")]
    Slow,
    /// As many requests as allowed are under way.
    #[error("too many requests are under way; try again")]
    Full,
    /// The bodies under way weigh as much as they may.
    #[error("the requests under way are as large as they may be together; try again")]
    Crowded,
    /// No token was shown, or one that nobody knows.
    #[error("this door is for those who show a valid token: Authorization: Bearer TOKEN")]
    Unauthenticated,
    /// The sender is known, and has no right to send this.
    #[error("this sender is known, and may not post here")]
    Forbidden,
    /// Whoever judges tokens gives no answer.
    #[error("the token cannot be judged now; nothing was taken, send all of it again")]
    Unjudged,
    /// One address sends faster than allowed.
    #[error("this client sends more requests than it may; try again")]
    TooFast,
    /// Kafka did not acknowledge every record in time.
    #[error("not every alert could be stored in time; nothing is promised, send all of it again")]
    Unacknowledged,
    /// A defect of ours.
    #[error("an error of breakwater itself; it is in its log under this request's id")]
    Broken,
}

impl Refused {
    /// The table: status, and after how many seconds to try again.
    fn row(&self) -> (StatusCode, Option<u32>) {
        match self {
            Self::Unreadable(_) | Self::NothingUsable(_) | Self::Stale(_) => (StatusCode::BAD_REQUEST, None),
            Self::TooLarge { .. } | Self::TooMany { .. } => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Self::WrongType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
            Self::NoRoute => (StatusCode::NOT_FOUND, None),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, None),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, None),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, None),
            Self::Forbidden => (StatusCode::FORBIDDEN, None),
            Self::Full | Self::Crowded | Self::TooFast => (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
            Self::Unacknowledged | Self::Unjudged => (StatusCode::SERVICE_UNAVAILABLE, Some(5)),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, None),
        }
    }

    /// What was set aside, for the problem's `rejected`.
    fn rejected(&self) -> &[Rejected] {
        if let Self::NothingUsable(rejected) = self { rejected } else { &[] }
    }

    /// Whether the rest of the body is not worth waiting for.
    fn hangs_up(&self) -> bool {
        matches!(self, Self::Slow | Self::TooLarge { .. })
    }
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "<[Rejected]>::is_empty")]
    rejected: &'a [Rejected],
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self)).into_response()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, retry_after) = self.row();
        let problem = Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.to_string(),
            rejected: self.rejected(),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"breakwater\""));
        }
        if self.hangs_up() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
