//! The door behind TLS, on a socket: who gets through, and how long others are waited for.

#[path = "../../../integration/harness/certificates.rs"]
#[expect(unreachable_pub, reason = "shared with the real ring")]
mod certificates;

use std::{io, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use self::certificates::{Pair, authority, client};
use super::*;
use crate::ingest::{
    Guard,
    tests::{Open, alone_with, open, policy},
};

const ASKED: &[u8] = b"POST /webhook/prometheus HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx";

fn files(own: &Pair, clients: Option<&Pair>) -> TlsFiles {
    TlsFiles {
        certificate: own.certificate.clone(),
        key: own.key.clone(),
        client_authorities: clients.map(|authority| authority.certificate.clone()),
    }
}

/// A door that speaks TLS and publishes nothing.
async fn secure(files: TlsFiles, patience: Duration) -> Open {
    let guard = Guard { tls: Some(Tls::open(files).unwrap()), ..Guard::default() };
    open(alone_with(crate::pipeline::ingest::IngestPolicy { timeout: patience, ..policy() }, guard)).await
}

/// What a request hears; an error if the two found no common TLS.
async fn ask(door: &Open, client: TlsConnector) -> io::Result<String> {
    let conversation = async {
        let stream = TcpStream::connect(door.address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = client.connect(name, stream).await?;
        stream.write_all(ASKED).await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.map(|_| heard)
    };
    tokio::time::timeout(Duration::from_secs(30), conversation).await.expect("it ends")
}

#[tokio::test]
async fn o11_the_door_speaks_tls_and_a_foreign_authority_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (authority(folder.path(), "ours"), authority(folder.path(), "foreign"));
    let door = secure(files(&ours.signs(folder.path(), "door"), None), Duration::from_secs(10)).await;
    let heard = ask(&door, client(&ours, None)).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 400 ") && heard.contains("content-security-policy"), "{heard}");
    let refused = ask(&door, client(&foreign, None)).await.unwrap_err();
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    let mut plain = TcpStream::connect(door.address).await.unwrap();
    plain.write_all(ASKED).await.unwrap();
    let mut heard = Vec::new();
    let _closed = plain.read_to_end(&mut heard).await;
    assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    door.stop.cancel();
    door.ended().await;
}

#[tokio::test]
async fn o11_where_clients_need_a_certificate_it_must_be_of_the_right_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (authority(folder.path(), "ours"), authority(folder.path(), "foreign"));
    let (own, known) = (ours.signs(folder.path(), "door"), ours.signs(folder.path(), "known"));
    let stranger = foreign.signs(folder.path(), "stranger");
    let door = secure(files(&own, Some(&ours)), Duration::from_secs(10)).await;
    assert!(ask(&door, client(&ours, Some(&known))).await.unwrap().starts_with("HTTP/1.1 400 "));
    assert!(ask(&door, client(&ours, Some(&stranger))).await.is_err());
    assert!(ask(&door, client(&ours, None)).await.is_err());
    door.stop.cancel();
    door.ended().await;
}

#[tokio::test]
async fn m02_who_is_slow_within_tls_is_closed_and_a_handshake_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority(folder.path(), "ours");
    let files = files(&ours.signs(folder.path(), "door"), None);
    let door = secure(files.clone(), Duration::from_secs(1)).await;
    let mut slow = Vec::new();
    for begin in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"].iter().cycle().take(30) {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        slow.push(stream);
    }
    let shaken = TcpStream::connect(door.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut half = client(&ours, None).connect(name, shaken).await.unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nhost:").await.unwrap();
    assert!(ask(&door, client(&ours, None)).await.unwrap().starts_with("HTTP/1.1 400 "));
    let ends = async {
        let mut rest = Vec::new();
        for stream in &mut slow {
            let _closed = stream.read_to_end(&mut rest).await;
        }
        let _closed = half.read_to_end(&mut rest).await;
    };
    tokio::time::timeout(Duration::from_secs(30), ends).await.expect("the slow ones are closed");
    door.stop.cancel();
    door.ended().await;

    let patient = secure(files, Duration::from_secs(600)).await;
    let _silent = TcpStream::connect(patient.address).await.unwrap();
    patient.stop.cancel();
    patient.ended().await;
}

#[test]
fn o11_files_that_cannot_be_used_are_named_and_no_key_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority(folder.path(), "ours");
    let (own, other) = (ours.signs(folder.path(), "door"), ours.signs(folder.path(), "other"));
    let told = |files: TlsFiles| Tls::open(files).unwrap_err();
    let mixed = TlsFiles { key: other.key.clone(), ..files(&own, None) };
    assert!(told(mixed).contains("other.key do not fit"));
    let swapped = TlsFiles { certificate: own.key.clone(), ..files(&own, None) };
    assert!(told(swapped).ends_with("door.key has no certificate in PEM"));
    let swapped = TlsFiles { key: own.certificate.clone(), ..files(&own, None) };
    assert!(told(swapped).ends_with("door.crt has no private key in PEM"));
    let none = TlsFiles { client_authorities: Some(own.key.clone()), ..files(&own, None) };
    assert!(told(none).ends_with("door.key has no certificate in PEM"));
    assert!(told(TlsFiles { key: folder.path().join("absent"), ..files(&own, None) }).ends_with("absent is not there"));
}
