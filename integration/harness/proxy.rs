//! A reverse proxy before the API server that answers as scripted: a status, a lost answer, silence. All else goes
//! through, with the caller's own token. It notes the time of every request, so that rates can be asserted.

use super::kube::{config, write_kubeconfig};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures::StreamExt;
use kube::Client;
use kube::config::AuthInfo;
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

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
    _stop: oneshot::Sender<()>,
}

struct Desk {
    script: Mutex<Vec<Scripted>>,
    seen: Mutex<Vec<Seen>>,
    /// Writes that are not answered, now and at most.
    open: AtomicUsize,
    most: AtomicUsize,
    /// How often all watches were cut.
    cuts: watch::Sender<usize>,
    server: Client,
}

/// A line, and which of the requests that fit it is the next to meet it.
struct Scripted {
    line: Line,
    every: usize,
    fitted: usize,
}

impl Proxy {
    /// Starts a proxy before the API server of a kubeconfig, on a thread of its own: the times that it notes are not
    /// those at which the test had a moment to spare.
    pub async fn start(kubeconfig: &Path) -> Self {
        // the caller's token goes through, ours is left behind: rights stay those of the caller
        let mut bare = config(kubeconfig).await;
        (bare.auth_info, bare.default_retry) = (AuthInfo::default(), false);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
        listener.set_nonblocking(true).expect("a socket can be told not to block");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (told, desk) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let desk = Arc::new(Desk::before(Client::try_from(bare).expect("a client can be made")));
                let router = axum::Router::new().fallback(serve).with_state(Arc::clone(&desk));
                let listener = TcpListener::from_std(listener).expect("it is bound and does not block");
                let _nobody_waits = told.send(desk);
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.expect("serving never ends"),
                    _ = stopped => {}
                }
            });
        });
        Self { url, desk: desk.await.expect("the thread begins"), _stop: stop }
    }

    /// A kubeconfig that leads through the proxy; `token` is what the caller shows to the server.
    pub fn kubeconfig(&self, file: &Path, token: &str) {
        write_kubeconfig(file, &self.url, json!({ "token": token }));
    }

    /// Adds a line to the script; of several that fit, the oldest is taken.
    pub fn script(&self, line: Line) {
        self.script_every(1, line);
    }

    /// Adds a line that only every so many-th of the requests that fit it meets.
    pub fn script_every(&self, every: usize, line: Line) {
        self.desk.script.lock().expect("nobody panics at the desk").push(Scripted { line, every, fitted: 0 });
    }

    /// Cuts every watch that runs.
    pub fn cut_watches(&self) {
        self.desk.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The most writes (all but GET) that were ever unanswered at once.
    pub fn most_at_once(&self) -> usize {
        self.desk.most.load(Ordering::Relaxed)
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

    /// Between each two writes of objects that came one after the other.
    pub fn gaps(&self) -> Vec<Duration> {
        self.writes().windows(2).map(|two| two[1].duration_since(two[0])).collect()
    }

    /// The most writes of objects that ever came within one span.
    pub fn busiest(&self, span: Duration) -> usize {
        let writes = self.writes();
        let within = |from: &Instant| writes.iter().filter(|at| *at >= from && at.duration_since(*from) < span).count();
        writes.iter().map(within).max().unwrap_or(0)
    }

    /// When each create and each update came; what a stage asks about its rights at its start is none.
    fn writes(&self) -> Vec<Instant> {
        self.seen("", "/remediationrequests").iter().filter(|one| one.method != "GET").map(|one| one.at).collect()
    }
}

impl Scripted {
    fn is_met_by(&mut self, method: &str, path: &str) -> bool {
        let Line { method: of, path: part, times, .. } = &self.line;
        let fits = *times > 0 && (of.is_empty() || *of == method) && path.contains(part);
        self.fitted += usize::from(fits);
        fits && self.fitted.is_multiple_of(self.every)
    }
}

impl Desk {
    fn before(server: Client) -> Self {
        let (open, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (script, seen, cuts) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        Self { script, seen, open, most, cuts, server }
    }

    /// Notes a request; its number, and the fault that the script has for it.
    fn receive(&self, method: &str, path: &str) -> (usize, Option<Fault>) {
        let mut seen = self.seen.lock().expect("nobody panics at the desk");
        seen.push(Seen { at: Instant::now(), method: method.to_owned(), path: path.to_owned(), status: None });
        let mut script = self.script.lock().expect("nobody panics at the desk");
        let fault = script.iter_mut().find_map(|scripted| {
            let met = scripted.is_met_by(method, path);
            met.then(|| {
                scripted.line.times -= 1;
                scripted.line.fault.clone()
            })
        });
        (seen.len() - 1, fault)
    }

    fn answered(&self, number: usize, status: StatusCode) {
        if let Some(seen) = self.seen.lock().expect("nobody panics at the desk").get_mut(number) {
            seen.status = Some(status.as_u16());
        }
    }

    async fn forward(&self, request: Request) -> Response {
        let watches =
            request.uri().query().is_some_and(|query| query.contains("watch=")).then(|| self.cuts.subscribe());
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
                let body = Body::new(body); // a watch streams through
                let mut back = Response::new(match watches {
                    Some(mut cuts) => Body::from_stream(body.into_data_stream().take_until(async move {
                        let _cut = cuts.changed().await;
                    })),
                    None => body,
                });
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
    let _open = Open::begin(&desk, &request);
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

/// One write on its way; it ends with its answer, or when the caller hangs up.
struct Open(Arc<Desk>, usize);

impl Open {
    fn begin(desk: &Arc<Desk>, request: &Request) -> Self {
        let one = usize::from(request.method() != "GET");
        let now = desk.open.fetch_add(one, Ordering::Relaxed) + one;
        desk.most.fetch_max(now, Ordering::Relaxed);
        Self(Arc::clone(desk), one)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(self.1, Ordering::Relaxed);
    }
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
