//! The admin address: `/healthz`, `/readyz`, `/metrics` and a status page, on a runtime and a thread of their own, so
//! that they answer while the data plane is busy.
//!
//! **Invariant:** no address is shown here; what alerts brought is shown on the page alone, as text.

use std::{io, sync::Arc, thread::JoinHandle};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    health::{Health, Readiness},
    metrics::{CONTENT_TYPE, Registry},
    page::{self, Page},
    recent::Recent,
};

/// On every answer; the page and what belongs to it say another policy, for their own style and script.
const SECURITY: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

#[derive(Clone)]
struct Shown {
    registry: Arc<Registry>,
    healths: Arc<[Health]>,
    page: Page,
}

/// Serves until `stop` on a thread of its own, which is up when this returns. `healths` are the stages of this process:
/// readiness speaks of all of them. Tell `stop` after the stages have drained, so that "stopping" can be read meanwhile.
pub fn serve(
    listener: std::net::TcpListener,
    (registry, recent): (Arc<Registry>, Recent),
    healths: Vec<Health>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let healths: Arc<[Health]> = healths.into();
    let page = Page::new(Arc::clone(&registry), Arc::clone(&healths), recent);
    let router = router(Shown { registry, healths, page: page.clone() });
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let ended = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                ended = axum::serve(listener, router).into_future() => ended,
                () = page.beat() => Ok(()),
                () = stop.cancelled() => Ok(()), // an open scrape is not worth waiting for
            }
        });
        if let Err(error) = ended {
            tracing::error!(%error, "the admin address no longer answers");
        }
    })
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/", get(|State(shown): State<Shown>| async move { shown.page.html() }))
        .route("/events", get(|State(shown): State<Shown>| async move { shown.page.events() }))
        .route("/page.js", get(page::script))
        .route("/style.css", get(page::style))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(map_response(secured))
        .with_state(shown)
}

async fn secured(mut response: Response) -> Response {
    for (name, value) in SECURITY {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn healthz() -> Response {
    let now = jiff::Timestamp::now();
    axum::Json(json!({ "status": "ok", "time": format!("{now:.3}") })).into_response()
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let all: Vec<Readiness> = shown.healths.iter().map(Health::readiness).collect();
    let ready = all.iter().all(|one| one.status == "ready");
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = match all.as_slice() {
        [one] => json!(one),
        many => json!({ "status": if ready { "ready" } else { "not ready" }, "stages": many }),
    };
    (code, axum::Json(body)).into_response()
}

async fn metrics(State(shown): State<Shown>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shown.registry.exposition()).into_response()
}

async fn nothing() -> Response {
    problem(StatusCode::NOT_FOUND, "there is /, /healthz, /readyz and /metrics")
}

async fn not_so() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "everything here is read with GET")
}

fn problem(code: StatusCode, detail: &str) -> Response {
    let title = code.canonical_reason().unwrap_or_default();
    let body = json!({ "type": "about:blank", "title": title, "status": code.as_u16(), "detail": detail });
    (code, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(healths: &[Health], path: &str) -> (StatusCode, String, String, Response) {
        let mut registry = Registry::new();
        drop(crate::telemetry::metrics::IngestMetrics::register(&mut registry));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (registry, healths) = (Arc::new(registry), Arc::from(healths));
        let page = Page::new(Arc::clone(&registry), Arc::clone(&healths), Recent::default());
        let response = router(Shown { registry, healths, page }).oneshot(request).await.unwrap();
        let media = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (parts.status, media, text, Response::from_parts(parts, Body::empty()))
    }

    fn json_of(text: &str) -> serde_json::Value {
        serde_json::from_str(text).unwrap()
    }

    #[tokio::test]
    async fn n01_healthz_is_200_whatever_is_missing() {
        let health = Health::new("work");
        health.condition("kafka").missing("gone");
        let (code, media, text, _) = ask(&[health], "/healthz").await;
        assert_eq!((code, media.as_str()), (StatusCode::OK, "application/json"));
        assert_eq!(json_of(&text)["status"], "ok");
        assert!(json_of(&text)["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[tokio::test]
    async fn n01_readyz_names_a_reason_for_each_thing_missing() {
        let health = Health::new("work");
        let (kafka, memory) = (health.condition("kafka"), health.condition("memory"));
        kafka.met();
        memory.missing("connection refused");
        let (code, _, text, _) = ask(std::slice::from_ref(&health), "/readyz").await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        let told = json!({ "stage": "work", "status": "not ready", "missing": { "memory": "connection refused" } });
        assert_eq!(json_of(&text), told);
        memory.met();
        assert_eq!(ask(std::slice::from_ref(&health), "/readyz").await.0, StatusCode::OK);
        health.stopping();
        let (code, _, text, _) = ask(&[health], "/readyz").await;
        assert_eq!((code, json_of(&text)["status"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("stopping")));
    }

    #[tokio::test]
    async fn readyz_of_several_stages_needs_all_of_them() {
        let (ready, other) = (Health::new("ingest"), Health::new("sink"));
        other.condition("kubernetes").missing("gone");
        let (code, _, text, _) = ask(&[ready, other], "/readyz").await;
        assert_eq!(
            (code, json_of(&text)["stages"][0]["status"].as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("ready"))
        );
    }

    #[tokio::test]
    async fn p01_metrics_are_openmetrics() {
        let (code, media, text, _) = ask(&[], "/metrics").await;
        assert_eq!((code, media.as_str()), (StatusCode::OK, CONTENT_TYPE));
        assert!(text.ends_with("# EOF\n") && text.contains("breakwater_ingest_alerts_accepted_total 0\n"), "{text}");
    }

    #[tokio::test]
    async fn o04_every_answer_has_the_security_headers() {
        const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
            base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        for path in ["/", "/style.css", "/page.js", "/healthz", "/readyz", "/metrics", "/nothing-here"] {
            let response = ask(&[Health::new("work")], path).await.3;
            for (name, value) in SECURITY {
                let of_page = ["/", "/style.css", "/page.js"].contains(&path);
                let value = if of_page && name == header::CONTENT_SECURITY_POLICY { PAGE } else { value };
                assert_eq!(response.headers()[&name], value, "{path} {name}");
            }
        }
    }

    #[tokio::test]
    async fn o12_the_page_escapes_what_it_shows() {
        let health = Health::new("work");
        health.condition("kafka").missing("<script>");
        let (_, media, text, _) = ask(&[health], "/").await;
        assert!(media.starts_with("text/html") && text.contains("&lt;script&gt;"), "{text}");
        assert!(!text.contains("<script>"), "{text}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_problem() {
        let (code, media, text, _) = ask(&[], "/api/v1/signals/prometheus").await;
        assert_eq!((code, media.as_str()), (StatusCode::NOT_FOUND, "application/problem+json"));
        assert_eq!(json_of(&text)["status"], 404);
    }

    #[test]
    fn n05_it_answers_from_a_thread_of_its_own_and_ends_when_told() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let thread =
            serve(listener, (Arc::new(Registry::new()), Recent::default()), vec![Health::new("work")], stop.clone())
                .unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        stop.cancel();
        thread.join().unwrap();
    }
}
