//! Routes, and what every request goes through on its way in and out.

use std::{
    any::Any,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderName, HeaderValue, header};
use opentelemetry::{Context, trace::TraceContextExt};
use tower_http::{catch_panic::CatchPanicLayer, decompression::RequestDecompressionLayer};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    Door, Rules,
    accept::{Received, accept},
    answer::{Accepted, Refused},
    gate::Held,
    request,
};
use crate::{
    alert::{EventTime, Source},
    kafka::carrier,
};

/// Alertmanager's webhook.
const PROMETHEUS: &str = "/api/v1/signals/prometheus";
/// The same, for who has it so in a configuration.
const ALIAS: &str = "/webhook/prometheus";
/// A Kubernetes event.
const KUBERNETES_EVENT: &str = "/api/v1/signals/kubernetes-event";

/// On every answer: a browser has no business here.
const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Whom a request came from; put there by `serve`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(pub(super) IpAddr);

/// All routes of the door, with all that a request goes through.
pub fn router(door: Door) -> Router {
    let signals = Router::new()
        .route(PROMETHEUS, post(prometheus))
        .route(ALIAS, post(prometheus))
        .route(KUBERNETES_EVENT, post(kubernetes_event));
    through(door, signals)
}

fn through(door: Door, signals: Router<Door>) -> Router {
    signals
        .layer(RequestDecompressionLayer::new())
        .route_layer(middleware::from_fn_with_state(door.clone(), admit))
        .method_not_allowed_fallback(async || Refused::WrongMethod)
        .fallback(async || Refused::NoRoute)
        .layer(CatchPanicLayer::custom(broken))
        .layer(middleware::from_fn_with_state(door.clone(), attend))
        .with_state(door)
}

async fn prometheus(State(door): State<Door>, request: Request) -> Result<Accepted, Refused> {
    signal(&door, Source::Prometheus, PROMETHEUS, request).await
}

async fn kubernetes_event(State(door): State<Door>, request: Request) -> Result<Accepted, Refused> {
    signal(&door, Source::KubernetesEvents, KUBERNETES_EVENT, request).await
}

/// Reads the body within half of the time that the request may take, so that Kafka has the other half at least.
async fn signal(door: &Door, source: Source, route: &'static str, request: Request) -> Result<Accepted, Refused> {
    let standing = door.standing();
    let rules: &Rules = &standing.rules;
    let at = EventTime(jiff::Timestamp::now().as_millisecond());
    let (whole, begun) = (rules.policy.timeout, tokio::time::Instant::now());
    let trace = trace(&request);
    let mut held = standing.gate.hold(&door.0.metrics);
    let body = tokio::time::timeout(whole / 2, body(request.into_body(), rules.policy.max_body, &mut held))
        .await
        .unwrap_or(Err(Refused::Slow))?;
    let _place = standing.gate.enter()?;
    let received = Received { source, route, at, trace, body };
    tokio::time::timeout_at(begun + whole, accept(door, rules, received)).await.unwrap_or(Err(Refused::Unacknowledged))
}

/// The trace that the records carry on: of this request's span, or, where spans are switched off, the sender's own.
fn trace(request: &Request) -> Context {
    let here = Span::current().context();
    if here.span().span_context().is_valid() { here } else { carrier::extract(&request::trace(request.headers())) }
}

/// The whole body. One that finds no room is read to its end all the same and thrown away as it comes: who hears the
/// answer only after having sent all must hear it too.
async fn body(body: Body, limit: usize, held: &mut Held) -> Result<Bytes, Refused> {
    let mut pieces = body.into_data_stream();
    let (mut whole, mut length, mut room) = (BytesMut::new(), 0, Ok(()));
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Refused::Unreadable("the body broke off, or is no valid gzip".to_owned()))?;
        length += piece.len();
        if length > limit {
            return Err(Refused::TooLarge { limit });
        }
        if room.is_ok() {
            room = held.more(piece.len());
        }
        if room.is_ok() {
            whole.extend_from_slice(&piece);
        } else if !whole.is_empty() {
            whole = BytesMut::new();
            held.let_go();
        }
    }
    room.map(|()| whole.freeze())
}

/// Lets a request in, if its sender keeps to his rate and may come in, and its form is one that the door reads. Its body
/// was not looked at yet.
async fn admit(State(door): State<Door>, request: Request, next: Next) -> Result<Response, Refused> {
    let standing = door.standing();
    let client = request.extensions().get::<Client>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0);
    standing.gate.knock(client)?;
    let asked = request.extensions().get::<MatchedPath>().map_or("", |path| canonical(path.as_str()));
    door.0.guard.auth.admit(request.headers(), asked, &door.0.metrics).await?;
    request::form(request.headers())?;
    request::fresh(request.headers(), jiff::Timestamp::now())?;
    Ok(next.run(request).await)
}

/// The path that a right speaks of, whichever way a request took.
fn canonical(path: &str) -> &str {
    if path == ALIAS { PROMETHEUS } else { path }
}

/// Counts, names and logs one request, and puts it into its trace.
async fn attend(State(door): State<Door>, request: Request, next: Next) -> Response {
    let _in_flight = door.0.metrics.begun();
    let begun = Instant::now();
    let id = request::id(request.headers()).map_or_else(made_id, str::to_owned);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("ingest.accept", otel.kind = "server", http.route = route, request.id = id);
    if span.set_parent(carrier::extract(&request::trace(request.headers()))).is_err() {
        tracing::debug!("no trace layer, so the span has no parent");
    }
    let mut response = next.run(request).instrument(span).await;
    let status = response.status().as_u16();
    response.headers_mut().extend(SECURITY);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(request::REQUEST_ID, id);
    }
    door.0.metrics.answered(status);
    tracing::info!(id, route, status, ms = milliseconds(begun.elapsed()), "answered");
    response
}

fn made_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn milliseconds(taken: Duration) -> f64 {
    (taken.as_secs_f64() * 1e5).round() / 100.0
}

/// A panic is a defect of ours: the sender comes back, and what it was stays out of the answer.
fn broken(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("of an unknown kind"), "a request met a defect of breakwater and got a 500");
    Refused::Broken.into_response()
}

#[cfg(test)]
pub(super) fn with_route(door: Door, path: &str, route: axum::routing::MethodRouter<Door>) -> Router {
    through(door, Router::new().route(path, route))
}
