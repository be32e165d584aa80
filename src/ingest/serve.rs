//! Connections: how many, how patiently, and how they end.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use futures::FutureExt as _;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    Door, Guard,
    gate::network,
    router::{Client, router},
};
use crate::telemetry::complaint::Complaint;

/// Connections at once; who comes later waits in the kernel's queue. With `READ` it bounds what they hold.
const MOST_CONNECTIONS: usize = 4096;
/// Of these, so many from one client at most: who holds more is closed at once.
const MOST_OF_ONE_CLIENT: usize = MOST_CONNECTIONS / 4;
/// Bytes that one connection reads ahead; no request's headers may be longer.
const READ: usize = 64 * 1024;
/// How long to rest when the system has no descriptor left.
const BREATH: Duration = Duration::from_millis(100);

static NOT_TAKEN: Complaint = Complaint::new("connections can't be taken, trying again");

/// What all connections share.
#[derive(Clone)]
struct Hall {
    router: Router,
    guard: Guard,
    patience: Duration,
    stop: CancellationToken,
}

/// Serves the door until stop is told; then takes no more, answers what is under way, and returns.
///
/// A client has `policy.timeout` for the handshake of TLS, and as long for the headers of a request, counted from the
/// moment at which the connection is idle: slow and idle ones are closed then, a busy one never is.
pub async fn serve(listener: TcpListener, door: Door, stop: CancellationToken) {
    let (patience, guard) = (door.standing().rules.policy.timeout, door.0.guard.clone());
    let hall = Hall { router: router(door), guard, patience, stop };
    let (mut connections, mut of) = (JoinSet::new(), HashMap::<IpAddr, usize>::new());
    loop {
        let taken = tokio::select! {
            () = hall.stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                ended.into_iter().flatten().for_each(|client| leave(&mut of, client));
                continue;
            }
            taken = listener.accept(), if connections.len() < MOST_CONNECTIONS => taken,
        };
        match taken {
            Ok((stream, peer)) => {
                NOT_TAKEN.settle();
                // a trusted proxy stands for many clients, so it is none of them
                let client = (!hall.guard.proxies.trust(peer.ip())).then(|| network(peer.ip()));
                if client.is_none_or(|client| arrive(&mut of, client)) {
                    connections.spawn(attend(stream, peer, hall.clone()).map(move |()| client));
                }
            }
            Err(error) => rest(&error).await,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Whether one more connection of this client may be kept; if so it is counted.
fn arrive(of: &mut HashMap<IpAddr, usize>, client: IpAddr) -> bool {
    let held = of.entry(client).or_default();
    let room = *held < MOST_OF_ONE_CLIENT;
    *held += usize::from(room);
    room
}

fn leave(of: &mut HashMap<IpAddr, usize>, client: IpAddr) {
    if let Some(held) = of.get_mut(&client) {
        *held -= 1;
        if *held == 0 {
            of.remove(&client);
        }
    }
}

/// A connection that was gone before it was taken is no matter; anything else is ours, and passes.
async fn rest(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        NOT_TAKEN.raise(error);
        tokio::time::sleep(BREATH).await;
    }
}

async fn attend(stream: TcpStream, peer: SocketAddr, hall: Hall) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone at once");
        return;
    }
    match &hall.guard.tls {
        None => converse(stream, peer, hall).await,
        Some(tls) => {
            let shaken = tokio::time::timeout(hall.patience, tls.acceptor().accept(stream));
            match hall.stop.run_until_cancelled(shaken).await {
                Some(Ok(Ok(stream))) => converse(stream, peer, hall).await,
                Some(Ok(Err(error))) => tracing::debug!(%error, "a client and the door found no common TLS"),
                Some(Err(_)) => tracing::debug!("a client took too long for the handshake"),
                None => {} // nothing was asked yet
            }
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, hall: Hall) {
    let Hall { router, guard, patience, stop } = hall;
    let service = service_fn(move |mut request: Request<Incoming>| {
        let client = guard.proxies.client(peer.ip(), request.headers());
        request.extensions_mut().insert(Client(client));
        answer(router.clone(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(READ)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    router.oneshot(request.map(Body::new)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m08_one_client_leaves_connections_for_others() {
        let (mut of, client, other) = (HashMap::new(), IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let taken = (0..MOST_CONNECTIONS).filter(|_| arrive(&mut of, client)).count();
        assert_eq!((taken, arrive(&mut of, other)), (MOST_OF_ONE_CLIENT, true));
        leave(&mut of, client);
        assert!(arrive(&mut of, client) && !arrive(&mut of, client));
        leave(&mut of, other);
        assert!(!of.contains_key(&other));
    }
}
