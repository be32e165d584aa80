//! A gate before a TCP server: open, shut, or with something on the line that is no server.

use super::process::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What happens to whoever connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is led to the server.
    Open,
    /// Nobody listens: the connection is refused.
    Refused,
    /// The connection is reset as soon as it is there.
    Reset,
    /// Bytes come back that belong to no protocol.
    Garbled,
}

/// The gate; whoever has come through is cut off when its way changes or when it is dropped.
pub struct Gate {
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
    server: String,
    task: JoinSet<()>,
}

impl Gate {
    /// An open gate before a server at `HOST:PORT`.
    pub async fn before(server: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut gate = Self { address, server: server.to_owned(), task: JoinSet::new() };
        gate.turn(Way::Open).await;
        gate
    }

    /// Cuts all connections; whoever comes from now on goes that way.
    pub async fn turn(&mut self, way: Way) {
        self.task.shutdown().await;
        if way != Way::Refused {
            let listener = TcpListener::bind(&self.address).await.expect("nobody took our port");
            self.task.spawn(serve(listener, way, self.server.clone()));
        }
    }
}

async fn serve(listener: TcpListener, way: Way, server: String) {
    let mut guests = JoinSet::new();
    loop {
        let (guest, _) = listener.accept().await.expect("a listener accepts");
        guests.spawn(lead(guest, way, server.clone()));
        while guests.try_join_next().is_some() {}
    }
}

async fn lead(mut guest: TcpStream, way: Way, server: String) {
    match way {
        Way::Open => {
            if let Ok(mut server) = TcpStream::connect(&server).await {
                let _ended = copy_bidirectional(&mut guest, &mut server).await;
            }
        }
        Way::Reset => guest.set_zero_linger().expect("a socket can be told to reset"),
        Way::Garbled => {
            let mut hello = [0; 512];
            let _read = guest.read(&mut hello).await;
            let _written = guest.write_all(b"220 mail.example.org ESMTP\r\n").await;
        }
        Way::Refused => {}
    }
}
