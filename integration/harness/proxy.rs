//! A reverse proxy before the API server that answers as scripted: a status, a lost answer, silence. All else goes
//! through, with the caller's own token. It notes the time of every request, so that rates can be asserted.

use super::kube::{config, write_kubeconfig};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use kube::Client;
use kube::config::AuthInfo;
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What happens to a request instead of the usual.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It never reaches the server: this status, these headers and this body come back.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// It reaches the server, and the answer is lost: the connection is cut.
    LoseAnswer,
    /// It never reaches the server: the connection is cut.
    Cut,
    /// It is answered, but only after a while.
    Late(Duration),
}

impl Fault {
    /// An API server's own refusal, with a Status body.
    pub fn status(code: u16, reason: &str) -> Self {
        let body = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                           "message": format!("scripted: {reason}") });
        Self::Answer(code, vec![("content-type", "application/json".to_owned())], body.to_string())
    }

    /// A throttled answer as max-in-flight gives it: plain text, and how long to wait.
    pub fn throttled(retry_after: &str) -> Self {
        let headers = vec![("content-type", "text/plain".to_owned()), ("retry-after", retry_after.to_owned())];
        Self::Answer(429, headers, "Too many requests, please try again later.\n".to_owned())
    }
}

/// One line of the script: the next `times` requests of that method whose path and query contain `path`.
#[derive(Clone, Debug)]
pub struct Line {
    /// The method; empty for any.
    pub method: &'static str,
    /// A part of path and query; empty for any.
    pub path: String,
    /// How often; `usize::MAX` for ever.
    pub times: usize,
    /// What happens.
    pub fault: Fault,
}

/// A request that came by.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// What was answered; nothing while it is on its way, and when the answer was lost.
    pub status: Option<u16>,
}

/// The proxy; it ends when it is dropped.
pub struct Proxy {
    /// Where it listens, `http://127.0.0.1:PORT`.
    pub url: String,
    desk: Arc<Desk>,
    _task: JoinSet<()>,
}

struct Desk {
    script: Mutex<Vec<Line>>,
    seen: Mutex<Vec<Seen>>,
    server: Client,
}

impl Proxy {
    /// Starts a proxy before the API server of a kubeconfig.
    pub async fn start(kubeconfig: &Path) -> Self {
        // the caller's token goes through, ours is left behind: rights stay those of the caller
        let mut bare = config(kubeconfig).await;
        (bare.auth_info, bare.default_retry) = (AuthInfo::default(), false);
        let server = Client::try_from(bare).expect("a client can be made");
        let desk = Arc::new(Desk { script: Mutex::default(), seen: Mutex::default(), server });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port can be bound");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let router = axum::Router::new().fallback(serve).with_state(Arc::clone(&desk));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.expect("serving never ends") });
        Self { url, desk, _task: task }
    }

    /// A kubeconfig that leads through the proxy; `token` is what the caller shows to the server.
    pub fn kubeconfig(&self, file: &Path, token: &str) {
        write_kubeconfig(file, &self.url, json!({ "token": token }));
    }

    /// Adds a line to the script; of several that fit, the oldest is taken.
    pub fn script(&self, line: Line) {
        self.desk.script.lock().expect("nobody panics at the desk").push(line);
    }

    /// Forgets the script: everything goes through.
    pub fn heal(&self) {
        self.desk.script.lock().expect("nobody panics at the desk").clear();
    }

    /// The requests so far of a method whose path contains a part; both may be empty.
    pub fn seen(&self, method: &str, path: &str) -> Vec<Seen> {
        let seen = self.desk.seen.lock().expect("nobody panics at the desk");
        let fits = |one: &&Seen| (method.is_empty() || one.method == method) && one.path.contains(path);
        seen.iter().filter(fits).cloned().collect()
    }

    /// Between each two writes (all but GET) that came one after the other.
    pub fn gaps(&self) -> Vec<Duration> {
        let writes: Vec<Instant> = self.seen("", "").iter().filter(|s| s.method != "GET").map(|s| s.at).collect();
        writes.windows(2).map(|two| two[1].duration_since(two[0])).collect()
    }

    /// The most writes (all but GET) that ever came within one span.
    pub fn busiest(&self, span: Duration) -> usize {
        let writes: Vec<Instant> = self.seen("", "").iter().filter(|s| s.method != "GET").map(|s| s.at).collect();
        let within = |from: &Instant| writes.iter().filter(|at| *at >= from && at.duration_since(*from) < span).count();
        writes.iter().map(within).max().unwrap_or(0)
    }
}

impl Desk {
    /// Notes a request; its number, and the fault that the script has for it.
    fn receive(&self, method: &str, path: &str) -> (usize, Option<Fault>) {
        let mut seen = self.seen.lock().expect("nobody panics at the desk");
        seen.push(Seen { at: Instant::now(), method: method.to_owned(), path: path.to_owned(), status: None });
        let mut script = self.script.lock().expect("nobody panics at the desk");
        let fits = |line: &&mut Line| {
            line.times > 0 && (line.method.is_empty() || line.method == method) && path.contains(&line.path)
        };
        let fault = script.iter_mut().find(fits).map(|line| {
            line.times -= 1;
            line.fault.clone()
        });
        (seen.len() - 1, fault)
    }

    fn answered(&self, number: usize, status: StatusCode) {
        if let Some(seen) = self.seen.lock().expect("nobody panics at the desk").get_mut(number) {
            seen.status = Some(status.as_u16());
        }
    }

    async fn forward(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(body, 16 << 20).await else {
            return cut();
        };
        let mut onward = axum::http::Request::new(kube::client::Body::from(body));
        (*onward.method_mut(), *onward.uri_mut()) = (head.method, head.uri);
        *onward.headers_mut() = end_to_end(head.headers);
        match self.server.send(onward).await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let mut back = Response::new(Body::new(body)); // a watch streams through
                (*back.status_mut(), *back.headers_mut()) = (head.status, end_to_end(head.headers));
                back
            }
            Err(_) => cut(), // what is behind us is away, and looks away from before us too
        }
    }
}

async fn serve(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let (number, fault) = desk.receive(request.method().as_str(), &path);
    let answer = match fault {
        None => desk.forward(request).await,
        Some(Fault::Cut) => return cut(),
        Some(Fault::LoseAnswer) => {
            let lost = desk.forward(request).await;
            let _whole = to_bytes(lost.into_body(), 16 << 20).await; // the server has done it
            return cut();
        }
        Some(Fault::Late(rest)) => {
            tokio::time::sleep(rest).await;
            desk.forward(request).await
        }
        Some(Fault::Answer(status, headers, body)) => {
            let mut scripted = Response::builder().status(status);
            for (name, value) in headers {
                scripted = scripted.header(name, value);
            }
            scripted.body(Body::from(body)).expect("a scripted answer is valid")
        }
    };
    desk.answered(number, answer.status());
    answer
}

/// A body that fails at once: the connection is closed before a byte of the answer has left.
fn cut() -> Response {
    let broken = futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("cut by the script")) });
    Response::new(Body::from_stream(broken))
}

/// Without the headers that are about one connection only.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::CONNECTION, header::HOST, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::UPGRADE] {
        headers.remove(name);
    }
    headers
}
