//! Group R on real servers: the API server is away for as long as one likes while alerts arrive, and Redis forgets
//! everything in the middle of it. `just outage` runs it at its full size; here it is a fiftieth of that.

use super::torrents::on_own_redis;
use crate::harness::alerts::{at_severity, strangers};
use crate::harness::case::{Case, SOON, count};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::product::Product;
use crate::harness::proxy::{Fault, Line, Proxy};
use crate::harness::wait::{until_eq, until_passed};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Alerts of one webhook.
const WEBHOOK: usize = 100;
/// The shipped budget of writes in a second, and a second as the proxy notes it.
const BUDGET: (usize, Duration) = (20, Duration::from_millis(950));
/// In KiB: what a process may grow by while it waits, however long that is.
const GROWTH: u64 = 64 * 1024;

fn given(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// How long the slowest hundredth of these took.
fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[(took.len() * 99 / 100).min(took.len() - 1)]
}

/// What arrives: so many incidents, a tenth of them P0, in turn.
struct Torrent<'a> {
    case: &'a Case,
    incidents: Vec<Value>,
    sent: Vec<u64>,
    next: usize,
}

impl<'a> Torrent<'a> {
    fn of(case: &'a Case, incidents: usize) -> Self {
        let urgent = incidents / 10;
        let mut all: Vec<Value> = (strangers("Urgent", &case.namespace("prod"), urgent).iter())
            .map(|alert| at_severity(alert, "critical"))
            .collect();
        all.extend(strangers("Waits", &case.namespace("shop"), incidents - urgent));
        fastrand::Rng::with_seed(4).shuffle(&mut all);
        Self { case, sent: vec![0; incidents], incidents: all, next: 0 }
    }

    /// Sends so many alerts, evenly over a span; how long each answer took. All are taken.
    async fn send(&mut self, alerts: usize, span: Duration) -> Vec<Duration> {
        let (begun, mut took) = (Instant::now(), Vec::new());
        let webhooks = alerts / WEBHOOK;
        for number in 0..webhooks {
            let mut some = Vec::with_capacity(WEBHOOK);
            for _ in 0..WEBHOOK {
                let which = self.next % self.incidents.len();
                some.push(self.incidents[which].clone());
                self.sent[which] += 1;
                self.next += 1;
            }
            let asked = Instant::now();
            self.case.post(&some).await;
            took.push(asked.elapsed());
            let share =
                f64::from(u32::try_from(number + 1).expect("few")) / f64::from(u32::try_from(webhooks).expect("few"));
            until_passed(span.mul_f64(share), begun).await; // the pace of the load
        }
        took
    }

    /// Waits until each incident has its one object, which counts every firing.
    async fn told(&self) {
        for word in ["prod", "shop"] {
            let namespace = self.case.namespace(word);
            let mine =
                self.incidents.iter().zip(&self.sent).filter(|(alert, _)| alert["labels"]["namespace"] == *namespace);
            let mut expected: Vec<(String, u64)> = mine
                .map(|(alert, sent)| (alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned(), *sent))
                .collect();
            expected.sort();
            let shown = async || {
                let objects = self.case.kube.list(&namespace).await;
                let one = |object: &Value| {
                    (object["spec"]["signalName"].as_str().unwrap_or_default().to_owned(), count(object))
                };
                let mut shown: Vec<(String, u64)> = objects.iter().map(one).collect();
                shown.sort();
                shown
            };
            until_eq(5 * SOON, &format!("the objects of {word}"), expected, shown).await;
        }
    }
}

fn residents(stages: &Deployment) -> Vec<u64> {
    let all = stages.ingests.iter().chain(&stages.works).chain(&stages.sinks);
    all.map(|stage: &Product| stage.process.resident()).collect()
}

/// Once the server is back: at most the budget in any second, and P0 first.
fn drained(proxy: &Proxy, before: usize, urgent: usize, prod: &str) {
    let busiest = proxy.busiest(BUDGET.1);
    assert!(busiest <= BUDGET.0, "{busiest} writes within a second");
    let creates = proxy.seen("POST", "/remediationrequests");
    let made: Vec<_> = creates[before..].iter().filter(|one| one.status == Some(201)).collect();
    let last = made.iter().rposition(|one| one.path.contains(prod)).expect("there are some");
    assert!(last < urgent + 5, "create {last} is the last of {urgent} of P0");
}

#[tokio::test]
async fn r04_while_the_api_server_is_away_all_is_taken_little_waits_and_p0_is_first_afterwards() {
    let alerts = given("BREAKWATER_OUTAGE_ALERTS", 4_000) / WEBHOOK * WEBHOOK;
    let incidents = given("BREAKWATER_OUTAGE_INCIDENTS", 40);
    let away = Duration::from_secs(given("BREAKWATER_OUTAGE_SECONDS", 6) as u64);
    let (case, mut stages, redis) = on_own_redis("r04", json!({}), Shape { sink: 0, work: 2, ..Shape::ONE }).await;
    let prod = case.namespace("prod");
    case.kube.namespace(&prod, json!({})).await;
    let proxy = stages.through_proxy().await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let mut torrent = Torrent::of(&case, incidents);
    proxy.script(Line { method: "", path: String::new(), times: usize::MAX, fault: Fault::Cut });
    proxy.cut_watches();
    let mut took = torrent.send(alerts / 2, away / 2).await;
    let mut eyes = redis.connection().await;
    let _: redis::Value = redis::cmd("FLUSHALL").query_async(&mut eyes).await.expect("redis obeys");
    let half = residents(&stages);
    took.extend(torrent.send(alerts / 2, away / 2).await);
    case.settled_by_work().await;
    let (whole, waits) = (residents(&stages), case.kafka.count(&case.remediations).await);
    eprintln!("{alerts} alerts in {away:?}, p99 {:?}; {waits} records wait; KiB {half:?}, then {whole:?}", p99(took));
    assert!(waits < i64::try_from(alerts * 15 / 100).expect("few"), "{waits} records wait for the sink");
    for (before, after) in half.iter().zip(&whole) {
        assert!(*after < before + GROWTH, "from {before} to {after} KiB");
    }
    let tried = proxy.seen("POST", "/remediationrequests").len();
    proxy.heal();
    let back = Instant::now();
    torrent.told().await;
    eprintln!("{incidents} objects {:?} after the server was back", back.elapsed());
    drained(&proxy, tried, incidents / 10, &prod);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}
