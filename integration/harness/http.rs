//! A small HTTP client over a plain connection: one request, one answer, nothing kept, nothing retried.
//! It sends what it is told, so hostile input can be sent as well.

use serde_json::Value;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    /// The body, without the chunks it came in.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in an answer {} that should be JSON: {}", self.status, self.text()))
    }
}

/// Posts bytes as `application/json`.
pub async fn post(address: &str, path: &str, body: impl AsRef<[u8]>) -> io::Result<Answer> {
    request(address, "POST", path, &[("content-type", "application/json")], body.as_ref()).await
}

/// Gets a page.
pub async fn get(address: &str, path: &str) -> io::Result<Answer> {
    request(address, "GET", path, &[], &[]).await
}

/// One request with its own headers; `content-length`, `host` and `connection: close` are added.
pub async fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let length = body.len();
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    raw(address, &bytes).await
}

/// Sends these very bytes and reads until the other side closes.
pub async fn raw(address: &str, bytes: &[u8]) -> io::Result<Answer> {
    converse(TcpStream::connect(address).await?, bytes).await
}

/// The same over a connection that is there.
pub async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> io::Result<Answer> {
    let conversation = async {
        // a server may refuse a body half-way: its answer counts, not that we could not send the rest
        let sent = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer).await {
            Ok(_) => {}
            Err(error) if answer.is_empty() => return Err(sent.err().unwrap_or(error)),
            Err(_) => {}
        }
        parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a whole answer"))
    };
    tokio::time::timeout(PATIENCE, conversation).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = bytes.get(end + 4..)?;
    if (100..200).contains(&status) {
        return parse(rest); // "100 Continue" and the like come before the answer
    }
    let mut answer = Answer { status, headers, body: rest.to_vec() };
    if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        answer.body = unchunk(rest)?;
    } else if let Some(length) = answer.header("content-length") {
        answer.body = rest.get(..length.parse().ok()?)?.to_vec();
    }
    Some(answer)
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(bytes.get(..line)?).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(line + 2..line + 2 + size)?);
        bytes = bytes.get(line + 2 + size + 2..)?;
    }
}
