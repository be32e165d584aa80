//! The status page of stages that run: live over one connection, and nothing but text in it.

use crate::harness::case::{Case, SOON};
use crate::harness::http;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Somebody who looks on: one request, and whatever comes after it.
struct Onlooker {
    stream: TcpStream,
    heard: String,
}

impl Onlooker {
    async fn of(admin: &str) -> Self {
        let mut stream = TcpStream::connect(admin).await.expect("the admin address answers");
        let asked = format!("GET /events HTTP/1.1\r\nhost: {admin}\r\naccept: text/event-stream\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.expect("it can be asked");
        Self { stream, heard: String::new() }
    }

    /// Listens until an event tells it; nothing that is told meanwhile is markup of an alert's.
    async fn until(&mut self, what: &str, tells: impl Fn(&str) -> bool) {
        let listening = async {
            let mut bytes = vec![0; 1 << 16];
            loop {
                let read = self.stream.read(&mut bytes).await.expect("it goes on");
                assert!(read > 0, "the stream ended before it told {what}\n{}", self.heard);
                self.heard.push_str(&String::from_utf8_lossy(&bytes[..read]));
                while let Some((event, rest)) = self.heard.split_once("\n\n") {
                    assert!(!event.contains("<script>"), "{event}");
                    let (told, rest) = (tells(event), rest.to_owned());
                    self.heard = rest;
                    if told {
                        return;
                    }
                }
            }
        };
        let told = tokio::time::timeout(SOON, listening).await;
        assert!(told.is_ok(), "waited {SOON:?} for {what}");
    }
}

/// The row of a table that names an object of this namespace, in the section of storms.
fn storm_in<'a>(page: &'a str, namespace: &str) -> Option<&'a str> {
    let (_, storms) = page.split_once("id=\"storms\"")?;
    let (storms, _) = storms.split_once("</section>")?;
    storms.split("<tr>").find(|row| row.contains(&format!("<td>{namespace}/")))
}

#[tokio::test]
async fn o12_the_page_shows_a_storm_growing_and_a_hostile_name_as_text() {
    let case = Case::shared("o12", &["shop"]).await;
    let (shop, hostile) = (case.namespace("shop"), "<script>alert(1)</script>");
    let kin: Vec<Value> = (0..15).map(|pod| case.alert(hostile, "shop", &format!("p{pod}"))).collect();
    let admin = &case.way_out().admin;
    let mut onlooker = Onlooker::of(admin).await;
    for (sent, members) in [(0..10, 10), (10..15, 15)] {
        case.post(&kin[sent]).await;
        let listed = format!("data-is=\"Resources\">{members}</td>");
        let tells = |event: &str| storm_in(event, &shop).is_some_and(|row| row.contains(&listed));
        onlooker.until(&format!("a storm of {members}"), tells).await;
    }
    let page = http::get(admin, "/").await.expect("the admin address answers");
    let row = storm_in(&page.text(), &shop).expect("the storm, without a script too").to_owned();
    assert!(row.contains("<b>&lt;script&gt;alert(1)&lt;/script&gt;</b>"), "{row}");
    let storm = case.object("shop").await;
    let explain = format!("<code>breakwater explain {}</code>", storm["spec"]["signalFingerprint"].as_str().unwrap());
    assert!(row.contains(&explain), "{row}");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
}
