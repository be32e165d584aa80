//! The page over figures, health and incidents that are rigged.

use std::time::{Duration, Instant};

use axum::body::Body;
use futures::StreamExt as _;

use super::*;
use crate::{
    decide::outcome::Outcome,
    telemetry::{
        metrics::{IngestMetrics, SinkMetrics, WorkMetrics},
        recent::{Pause, Seen, Storm},
    },
};

struct Rig {
    page: Page,
    ingest: IngestMetrics,
    work: WorkMetrics,
    sink: SinkMetrics,
    health: Health,
    recent: Recent,
}

fn rig() -> Rig {
    let mut registry = Registry::new();
    let (ingest, work) = (IngestMetrics::register(&mut registry), WorkMetrics::register(&mut registry));
    let sink = SinkMetrics::register(&mut registry);
    let (health, recent) = (Health::new("sink"), Recent::default());
    health.condition("kafka").met();
    let page = Page::new(Arc::new(registry), Arc::from([health.clone()]), recent.clone());
    Rig { page, ingest, work, sink, health, recent }
}

fn seen(alert: &str, storm: Option<u64>) -> Seen {
    let now = Timestamp::now();
    let storm = storm.map(|resources| Storm { resources, joined: now, until: now + Duration::from_mins(1) });
    Seen {
        object: ("shop".to_owned(), "podcrashlooping-1".to_owned()),
        fingerprint: "ab".repeat(32),
        alert: alert.to_owned(),
        about: "Pod/payment-1".to_owned(),
        priority: "P0".to_owned(),
        over: None,
        firings: 7,
        begun: now,
        storm,
    }
}

async fn html(page: &Page) -> String {
    let body = axum::body::to_bytes(page.html().into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The next event's data, without the prefixes of its lines.
async fn event(body: &mut axum::body::BodyDataStream) -> String {
    let bytes = tokio::time::timeout(Duration::from_secs(10), body.next()).await.unwrap().unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<_>>().join("\n")
}

fn listen(page: &Page) -> (StatusCode, axum::body::BodyDataStream) {
    let response = page.events();
    (response.status(), Body::into_data_stream(response.into_body()))
}

#[tokio::test]
async fn o12_hostile_names_are_text_on_the_page_and_in_its_events() {
    let Rig { page, health, recent, .. } = rig();
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u{1b}[31m\r\ndata: x";
    let mut storm = seen(hostile, Some(3));
    (storm.about, storm.object.1, storm.priority) = (hostile.to_owned(), hostile.to_owned(), hostile.to_owned());
    storm.over = Some(hostile.to_owned());
    recent.note(storm.clone());
    recent.note(Seen { over: None, object: ("shop".to_owned(), "b".to_owned()), ..storm });
    recent.pause(Pause { why: hostile.to_owned(), until: Instant::now() + Duration::from_mins(1) });
    health.condition("kubernetes").missing(hostile);
    let told = event(&mut listen(&page).1).await;
    for text in [html(&page).await, told] {
        assert!(!text.contains("<script>") && !text.contains("<img") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(text.matches("&lt;script&gt;alert(1)").count(), 9, "{text}");
    }
}

#[tokio::test]
async fn the_outcomes_on_the_page_add_up_or_it_says_so() {
    let Rig { page, work, .. } = rig();
    work.consumed(1234);
    work.finished_many(Outcome::Duplicate, 1200);
    let sums = |text: &str| (text.matches("It adds up.").count(), text.matches("It does not add up.").count());
    let text = html(&page).await;
    assert_eq!(sums(&text), (2, 0), "{text}");
    assert!(text.contains("in flight</th><td class=\"number\">34</td>"), "{text}");
    work.finished_many(Outcome::Created, 35);
    assert_eq!(sums(&html(&page).await), (1, 1));
}

#[tokio::test]
async fn it_tells_storms_the_budget_the_pause_dead_letters_and_how_to_explain() {
    let Rig { page, ingest, sink, recent, work, .. } = rig();
    recent.note(seen("PodCrashLooping", Some(15)));
    recent
        .pause(Pause { why: "the API server answered 429".to_owned(), until: Instant::now() + Duration::from_secs(9) });
    sink.budget(Some(20.0));
    sink.refused("throttled");
    ingest.rejected("malformed");
    work.dead_lettered("too_large");
    sink.dead_lettered("gave_up");
    let text = html(&page).await;
    for told in [
        "Storms under way: 1",
        "data-is=\"Resources\">15</td>",
        "15 resources, a storm",
        &format!("<code>breakwater explain {}</code>", "ab".repeat(32)),
        "of 20 a second",
        "the API server answered 429",
        "Refused: throttled 1.",
        "ingest: malformed</th><td class=\"number\">1</td>",
        "work: too_large</th><td class=\"number\">1</td>",
        "sink: gave_up</th><td class=\"number\">1</td>",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
}

#[tokio::test]
async fn whoever_looks_on_sees_a_storm_grow_and_rates_move() {
    let Rig { page, ingest, recent, .. } = rig();
    let (_, mut events) = listen(&page);
    assert!(event(&mut events).await.contains("Storms under way: 0"));
    for resources in [10, 15] {
        recent.note(seen("PodCrashLooping", Some(resources)));
        ingest.accepted(resources);
        page.look();
        let told = event(&mut events).await;
        assert!(told.contains(&format!("data-is=\"Resources\">{resources}</td>")), "{told}");
    }
    assert!(event(&mut listen(&page).1).await.contains("25 in all"));
}

#[tokio::test]
async fn no_more_look_on_than_there_are_places_and_a_place_is_given_back() {
    let page = rig().page;
    let mut all: Vec<_> = (0..LISTENERS).map(|_| listen(&page)).collect();
    assert!(all.iter().all(|(code, _)| *code == StatusCode::OK));
    let refused = page.events();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "5");
    assert!(html(&page).await.contains("Budget of writes"), "the page itself is always there");
    all.pop();
    assert_eq!(listen(&page).0, StatusCode::OK);
}

#[tokio::test]
async fn it_works_without_a_script_and_asks_nobody_else() {
    let text = html(&rig().page).await;
    assert!(text.contains("<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>"));
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("style="), "{text}");
    assert!(!text.contains("{{"), "{text}");
}
