//! Group I on real servers: an API server that is small, slow, frozen, or not to be reached.

use crate::harness::alerts::strangers;
use crate::harness::audit::asked_by;
use crate::harness::case::{Case, SOON, at_once};
use crate::harness::deployment::Shape;
use crate::harness::gate::{Gate, Way};
use crate::harness::kube::{token_in, write_kubeconfig};
use crate::harness::pipeline::merge;
use crate::harness::product::Product;
use crate::harness::proxy::{Fault, Line};
use crate::harness::servers::{ApiPlan, OwnApi};
use crate::harness::wait::{until, until_eq, until_ok};
use serde_json::{Value, json};
use std::time::Duration;

/// No hold and no budget, and rests that fit a test.
fn brisk(sink: Value) -> Value {
    let mut overlay = at_once();
    merge(&mut overlay, json!({ "sink": { "backoff_floor": "50ms", "backoff_ceiling": "1s" } }));
    merge(&mut overlay, json!({ "sink": sink }));
    overlay
}

async fn refusals(sink: &Product, class: &str) -> f64 {
    sink.metric("breakwater_sink_refusals_total", &[&format!("class=\"{class}\"")]).await
}

#[tokio::test]
async fn i06_a_server_that_takes_one_write_at_a_time_gets_them_all_in_time() {
    let one = ["--enable-priority-and-fairness=false", "--max-mutating-requests-inflight=1"].map(str::to_owned);
    let own = OwnApi::start(&ApiPlan { args: one.into(), ..ApiPlan::default() }).await;
    let (case, mut stages) = Case::on_own_api("i06", &own, brisk(json!({}))).await;
    case.post(&strangers("Many", &case.namespace("shop"), 100)).await;
    until_eq(SOON, "a hundred drafts", 100, async || case.kafka.count(&case.remediations).await).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.counted("shop", 100, 1).await;
    case.settled().await;
    let codes: Vec<u64> =
        asked_by(&own.audit, "breakwater-sink", "/remediationrequests").iter().map(|a| a.code).collect();
    assert!(codes.contains(&429), "the server was never too small: {codes:?}");
    assert!(codes.iter().all(|code| [200, 201, 429].contains(code)), "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 100);
    assert!(refusals(&stages.sinks[0], "throttled").await > 0.0);
    assert_eq!(stages.sinks[0].metric("breakwater_sink_outcomes_total", &["outcome=\"created\""]).await, 100.0);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

#[tokio::test]
async fn i08_refused_reset_and_garbled_connections_lose_nothing() {
    let (case, mut stages) = Case::own("i08", &["shop"], brisk(json!({})), Shape { sink: 0, ..Shape::ONE }).await;
    let server = case.kube.server().await;
    let mut gate = Gate::before(server.trim_start_matches("https://")).await;
    let token = token_in(&stages.sink.kubeconfig);
    stages.sink.kubeconfig = case.scope.path("kubeconfig-gated");
    write_kubeconfig(&stages.sink.kubeconfig, &format!("https://{}", gate.address), json!({ "token": token }));
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let (watch, shop) = (case.record("shop").await, case.namespace("shop"));
    case.post(&strangers("Open", &shop, 3)).await;
    case.counted("shop", 3, 1).await;
    case.settled().await;
    let committed = case.kafka.committed(&case.groups[1], &case.remediations).await;
    let mut drafted = case.kafka.count(&case.remediations).await;
    for way in [Way::Refused, Way::Reset, Way::Garbled] {
        gate.turn(way).await;
        let before = refusals(&stages.sinks[0], "transient").await;
        case.post(&strangers(&format!("{way:?}"), &shop, 3)).await;
        drafted += 3;
        until_eq(SOON, "work to draft on", drafted, async || case.kafka.count(&case.remediations).await).await;
        until_ok(SOON, "the sink to try in vain", async || match refusals(&stages.sinks[0], "transient").await {
            tried if tried >= before + 4.0 => Ok(()),
            tried => Err(format!("{way:?}: {before} failures, then {tried}")),
        })
        .await;
        assert_eq!(case.kafka.committed(&case.groups[1], &case.remediations).await, committed, "{way:?}");
        case.objects("shop", 3).await;
    }
    gate.turn(Way::Open).await;
    case.counted("shop", 12, 1).await;
    case.settled().await;
    assert_eq!(watch.names().len(), 12);
    assert_eq!(stages.sinks[0].metric("breakwater_sink_outcomes_total", &["outcome=\"created\""]).await, 12.0);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

/// Resident memory of a process, in MiB.
fn resident(sink: &Product) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sink.process.id())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

#[tokio::test]
async fn i18_a_slow_and_then_a_frozen_server_is_never_crowded_and_loses_nothing() {
    const BOUND: usize = 16;
    let own = OwnApi::start(&ApiPlan::default()).await;
    let (case, mut stages) = Case::on_own_api("i18", &own, brisk(json!({ "timeout": "1s", "in_flight": BOUND }))).await;
    let proxy = stages.through_proxy().await;
    let shop = case.namespace("shop");
    // the first answers come after the deadline of a call, as a server's does that needs 10 s against the shipped one
    let line = |method, times, rest| Line { method, path: shop.clone(), times, fault: Fault::Late(rest) };
    proxy.script(line("POST", BOUND, Duration::from_millis(1_500)));
    proxy.script(line("POST", 4 * BOUND, Duration::from_millis(200)));
    let watch = case.record("shop").await;
    case.post(&strangers("Slow", &shop, 300)).await;
    until_eq(SOON, "300 drafts", 300, async || case.kafka.count(&case.remediations).await).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let passed = async || proxy.seen("POST", &shop).iter().filter(|seen| seen.status == Some(201)).count();
    until(SOON, "some to pass", async || (passed().await >= 3 * BOUND).then_some(())).await;
    let before = resident(&stages.sinks[0]);
    own.server.stop();
    let failed = refusals(&stages.sinks[0], "transient").await;
    let many = (BOUND + 4) as f64; // all that were on their way, and then one asks for all
    let failing = async || (refusals(&stages.sinks[0], "transient").await >= failed + many).then_some(());
    until(SOON, "every call of the frozen server to time out", failing).await;
    assert!(resident(&stages.sinks[0]) <= before + 16, "{} MiB, then {}", before, resident(&stages.sinks[0]));
    own.server.cont();
    case.counted("shop", 300, 1).await;
    case.settled().await;
    assert!(proxy.most_at_once() <= BOUND, "{} writes at once", proxy.most_at_once());
    assert_eq!(watch.names().len(), 300);
    assert_eq!(stages.sinks[0].metric("breakwater_sink_outcomes_total", &["outcome=\"created\""]).await, 300.0);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}
