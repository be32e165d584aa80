//! Group J, several Redis servers as one memory: a master that Sentinel replaces, a cluster that moves its slots.

use crate::harness::Scope;
use crate::harness::alerts::{kin, strangers};
use crate::harness::case::{Case, SOON, count, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::pipeline::merge;
use crate::harness::redises::{Sharded, Watched};
use crate::harness::servers::connection;
use crate::harness::wait::until_ok;
use serde_json::{Value, json};

async fn stages(scenario: &str, url: &str) -> (Case, Deployment) {
    stages_with(scenario, url, unlimited()).await
}

async fn stages_with(scenario: &str, url: &str, overlay: Value) -> (Case, Deployment) {
    let scope = Scope::new(scenario);
    let mut setting = scope.setting(overlay);
    url.clone_into(&mut setting.redis);
    let stages = Deployment::of(scope, setting, Shape { ingest: 1, work: 2, sink: 1 }).await;
    (Case::of(scenario, &["shop"], &stages).await, stages)
}

async fn told(case: &Case, own: usize, each: u64, storm: u64) -> Vec<Value> {
    let fits = |seen: &[Value]| {
        let (storms, others): (Vec<&Value>, Vec<&Value>) =
            seen.iter().partition(|object| object["spec"]["isStorm"] == true);
        others.len() == own
            && others.into_iter().all(|object| count(object) == each)
            && storms.into_iter().map(count).collect::<Vec<_>>() == [storm]
    };
    case.until("shop", &format!("{own} objects that count {each}, a storm of {storm}"), fits).await
}

async fn judge_is(stages: &Deployment, ready: bool) {
    until_ok(SOON, "the judge's readiness", async || {
        let page = stages.works[0].page("/readyz").await;
        if (page.status == 200) == ready { Ok(()) } else { Err(page.text()) }
    })
    .await;
}

#[tokio::test]
async fn j08_a_promoted_replica_is_found_and_nothing_is_miscounted() {
    let mut redis = Watched::start().await;
    let (case, stages) = stages("j08", &redis.url).await;
    let (own, storm) = (strangers("Own", &case.namespace("shop"), 50), kin("Storm", &case.namespace("shop"), 15));
    case.post(&[&own[..], &storm].concat()).await;
    told(&case, 50, 1, 15).await;
    redis.servers[0].kill();
    case.post(&[&own[..], &storm].concat()).await;
    redis.promoted(1).await;
    case.post(&[&own[..], &storm].concat()).await;
    told(&case, 50, 3, 45).await;
    redis.servers[1].kill(); // nobody is left
    case.post(&own).await;
    judge_is(&stages, false).await;
    redis.servers[1].restart().await; // empty, and by its command line a replica of the first, which is gone
    let mut eyes = connection(&format!("redis://127.0.0.1:{}", redis.ports[1])).await;
    let _: redis::Value = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut eyes).await.unwrap();
    told(&case, 50, 4, 45).await;
    judge_is(&stages, true).await;
    case.settled().await;
    told(&case, 50, 4, 45).await;
}

#[tokio::test]
async fn j10_a_cluster_moves_its_slots_and_loses_a_master_and_nothing_is_miscounted() {
    let mut redis = Sharded::start().await;
    let (case, stages) = stages("j10", &redis.url).await;
    let (own, storm) = (strangers("Own", &case.namespace("shop"), 60), kin("Storm", &case.namespace("shop"), 15));
    case.post(&[&own[..], &storm].concat()).await;
    told(&case, 60, 1, 15).await;
    let (from, to, any) = (redis.id(0).await, redis.id(1).await, format!("127.0.0.1:{}", redis.ports[0]));
    for slots in ["3000", "2461"] {
        redis.cluster(&[
            "reshard",
            &any,
            "--cluster-from",
            &from,
            "--cluster-to",
            &to,
            "--cluster-slots",
            slots,
            "--cluster-yes",
        ]);
        case.post(&[&own[..], &storm].concat()).await;
    }
    told(&case, 60, 3, 45).await;
    redis.servers[1].kill();
    case.post(&[&own[..], &storm].concat()).await;
    redis.servers[1].restart().await; // empty
    redis.whole().await;
    told(&case, 60, 4, 60).await;
    judge_is(&stages, true).await;
    case.post(&[&own[..], &storm].concat()).await;
    told(&case, 60, 5, 75).await;
}

#[tokio::test]
async fn j09_a_change_counts_only_once_the_replica_has_it() {
    let redis = Watched::start().await;
    let mut overlay = unlimited();
    merge(&mut overlay, json!({ "memory": { "wait_replicas": 1 } }));
    let (case, stages) = stages_with("j09w", &redis.url, overlay).await;
    let own = strangers("Own", &case.namespace("shop"), 40);
    case.post(&own[..20]).await;
    case.counted("shop", 20, 1).await;
    redis.servers[1].stop();
    case.post(&own).await;
    until_ok(SOON, "the judge to say how many have it", async || {
        let page = stages.works[0].page("/readyz").await;
        let told = page.json()["missing"]["memory"].as_str().unwrap_or_default().to_owned();
        if page.status == 503 && told.contains("0 of 1 replicas") { Ok(()) } else { Err(page.text()) }
    })
    .await;
    case.counted("shop", 20, 1).await;
    assert!(case.kafka.lag(&case.groups[0], &case.alerts).await > 0, "nothing of it is finished");
    redis.servers[1].cont();
    let fits = |seen: &[Value]| {
        let of = |wanted: u64| seen.iter().filter(|object| count(object) == wanted).count();
        (seen.len(), of(2), of(1)) == (40, 20, 20)
    };
    case.until("shop", "20 objects of 2 and 20 of 1", fits).await;
    judge_is(&stages, true).await;
    case.settled().await;
    let mut eyes = connection(&format!("redis://127.0.0.1:{}", redis.ports[0])).await;
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut eyes).await.unwrap();
    let calls = |name: &str| -> u64 {
        let of = |line: &str| line.strip_prefix(&format!("cmdstat_{name}:calls="))?.split(',').next()?.parse().ok();
        stats.lines().find_map(of).unwrap_or_else(|| panic!("no {name} in\n{stats}"))
    };
    // a change of groups asks once for the lifetime of their index; what is only read is not waited for
    assert!(calls("wait") >= calls("pttl"), "each change is waited for\n{stats}");
}
