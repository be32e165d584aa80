//! Group R on real servers: many senders at once, and two that say the same.

use crate::harness::Scope;
use crate::harness::alerts::{alert, kin, resolved, strangers, webhook, with};
use crate::harness::case::{Case, PROMETHEUS, count, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::http;
use crate::harness::pipeline::merge;
use crate::harness::servers::OwnKafka;
use crate::harness::wait::until_passed;
use futures::future::{join, join_all};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often a sender that got a 503 comes again.
const AGAIN: Duration = Duration::from_millis(300);
/// How many send at once.
const SENDERS: usize = 50;

/// Sends a webhook as Alertmanager does: until it is taken. How often it was told to come again.
async fn until_taken(address: &str, alerts: &[Value]) -> usize {
    let (body, mut refused) = (webhook(alerts).to_string(), 0);
    loop {
        let answer = http::post(address, PROMETHEUS, &body).await.expect("the door answers");
        if answer.status == 202 {
            return refused;
        }
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{}", answer.text());
        refused += 1;
        tokio::time::sleep(AGAIN).await; // as a sender rests
    }
}

#[tokio::test]
async fn r11_two_senders_that_repeat_after_an_outage_of_the_door_count_once() {
    let kafka = OwnKafka::start(&[]).await;
    let mut overlay = unlimited();
    merge(&mut overlay, json!({ "ingest": { "timeout": "2s" }, "dedup": { "twin_window": "10s" } }));
    let scope = Scope::new("r11");
    let mut setting = scope.setting(overlay);
    setting.kafka.clone_from(&kafka.brokers);
    let stages = Deployment::of(scope, setting, Shape { ingest: 2, ..Shape::ONE }).await;
    let case = Case::of("r11", &["shop"], &stages).await;
    let alerts = strangers("Twin", &case.namespace("shop"), 5);
    let away = std::env::var("BREAKWATER_TWINS_SECONDS").map_or(5, |text| text.parse().expect("a number"));
    kafka.server.stop();
    let begun = Instant::now();
    let senders = join(until_taken(&case.doors[0], &alerts), until_taken(&case.doors[1], &alerts));
    let thaw = async {
        until_passed(Duration::from_secs(away), begun).await;
        kafka.server.cont();
    };
    let ((one, two), ()) = join(senders, thaw).await;
    assert!(one > 0 && two > 0, "both were told to come again: {one} and {two} times");
    case.counted("shop", 5, 1).await;
    case.settled().await;
    case.counted("shop", 5, 1).await;
    // what they say next is another firing, and it is one as well
    let next: Vec<Value> =
        alerts.iter().map(|alert| with(alert.clone(), json!({ "startsAt": "2026-11-21T08:00:00Z" }))).collect();
    join(until_taken(&case.doors[0], &next), until_taken(&case.doors[1], &next)).await;
    case.counted("shop", 5, 2).await;
    case.settled().await;
    case.counted("shop", 5, 2).await;
}

/// One alert with a payload between 200 bytes and 200 KB.
fn heavy(name: &str, namespace: &str, sender: usize) -> Value {
    let ballast = [200, 1_000, 5_000, 20_000, 199_000][if sender.is_multiple_of(10) { 4 } else { sender % 4 }];
    with(alert(name, namespace, &format!("pod-{sender}")), json!({ "annotations": { "ballast": "x".repeat(ballast) } }))
}

/// How the records ended: opened something, repeated, resolved; and every other way but `closed`, which the
/// sink tells of other tests' objects too.
async fn ended(stages: &Deployment) -> [f64; 4] {
    let mut all = [0.0; 4];
    for work in &stages.works {
        let of = async |outcome: &str| {
            work.metric("breakwater_work_outcomes_total", &[&format!("outcome=\"{outcome}\"")]).await
        };
        all[0] += of("created").await + of("joined_storm").await;
        all[1] += of("duplicate").await;
        all[2] += of("resolved").await;
        all[3] += of("redelivered").await + of("dead_lettered").await + of("released").await;
    }
    all
}

/// Whether each sender has its object, which counts so many firings and is resolved or not, and the kin their storm.
fn counted(own: u64, kin: u64, ended: bool) -> impl Fn(&[Value]) -> bool {
    move |seen| {
        let (storms, singles): (Vec<&Value>, Vec<&Value>) =
            seen.iter().partition(|object| object["spec"]["isStorm"] == true);
        let right = |object: &&Value| count(object) == own && object["status"]["resolvedAt"].is_string() == ended;
        let whole =
            |storm: &&Value| count(storm) == kin && storm["status"]["stormAggregation"]["totalAffectedResources"] == 20;
        (storms.len(), singles.len()) == (1, SENDERS) && singles.iter().all(right) && storms.iter().all(whole)
    }
}

/// Each object bears what its sender said, whole.
fn faithful(objects: &[Value], shop: &str) {
    for object in objects.iter().filter(|object| object["spec"]["isStorm"] == false) {
        let name = object["spec"]["signalName"].as_str().expect("a name");
        let sender: usize = name.trim_start_matches("Own").parse().expect("a number");
        let payload = object["spec"]["originalPayload"].as_str().expect("a payload");
        assert_eq!(serde_json::from_str::<Value>(payload).expect("JSON"), heavy(name, shop, sender));
    }
}

#[tokio::test]
async fn r12_fifty_senders_a_silence_and_they_again_are_counted_exactly_by_kind() {
    let (case, stages) = Case::own("r12", &["shop"], unlimited(), Shape { ingest: 2, ..Shape::ONE }).await;
    let shop = case.namespace("shop");
    let storm = kin("Storm", &shop, 20);
    let watch = case.record("shop").await;
    let talk = async |sender: usize, again: bool| {
        let own = heavy(&format!("Own{sender}"), &shop, sender);
        if sender == 25 {
            until_taken(&case.doors[1], &storm).await;
        }
        let says =
            if again { vec![own.clone(), own] } else { vec![own.clone(), own.clone(), own.clone(), resolved(&own)] };
        for one in says {
            until_taken(&case.doors[sender % 2], &[one]).await;
        }
    };
    join_all((0..SENDERS).map(|sender| talk(sender, false))).await;
    case.until("shop", "50 of 3, resolved, and a storm of 20", counted(3, 20, true)).await;
    case.settled().await;
    assert_eq!(ended(&stages).await, [70.0, 100.0, 50.0, 0.0], "opened, repeated, resolved, anything else");
    join_all((0..SENDERS).map(|sender| talk(sender, true))).await;
    let objects = case.until("shop", "50 of 5, and a storm of 40", counted(5, 40, false)).await;
    case.settled().await;
    assert_eq!(ended(&stages).await, [70.0, 220.0, 50.0, 0.0], "opened, repeated, resolved, anything else");
    assert_eq!(watch.names().len(), SENDERS + 1);
    faithful(&objects, &shop);
}
