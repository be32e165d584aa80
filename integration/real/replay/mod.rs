//! The log read again: what would have come of it, beside what there is; and what is missing, published. Group L.

mod files;
mod hour;
mod million;
mod missing;
mod same;
mod shadow;
mod walks;

/// Runs alone, as all of [`crate::measured`].
mod measured {
    use super::*;

    mod beside;
}

use crate::harness::case::{Case, SOON, name};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kafka::Record;
use crate::harness::past::Past;
use crate::harness::process::Process;
use crate::harness::product::Setting;
use crate::harness::wait::until_ok;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SINK: Shape = Shape { sink: 1, ..Shape::NONE };

/// A report of `replay`, with these flags; it must succeed.
async fn replay(setting: &Setting, flags: &[&str]) -> Value {
    let told = setting.succeed(&[&["replay", "--output", "json"], flags].concat()).await;
    serde_json::from_str(&told).expect("one JSON document")
}

/// The counts of a report: would create, exist, differ, over.
fn counts(report: &Value) -> [u64; 4] {
    ["would_create", "exist", "differ", "over"].map(|key| report[key].as_u64().expect("a count"))
}

/// The counts of a report, and how many drafts were published.
fn found(report: &Value) -> ([u64; 4], u64) {
    (counts(report), report["published"].as_u64().expect("a count"))
}

/// Objects by name, with their specs.
fn specs(objects: &[Value]) -> BTreeMap<String, Value> {
    objects.iter().map(|object| (name(object).to_owned(), object["spec"].clone())).collect()
}

/// Versions of objects, and what the topics hold of this test: nothing of it moves where nothing is written.
pub(crate) async fn everything(case: &Case) -> (Vec<Value>, Vec<usize>) {
    everything_in(case, &case.namespace("shop")).await
}

async fn everything_in(case: &Case, namespace: &str) -> (Vec<Value>, Vec<usize>) {
    let versions = case.kube.list(namespace).await;
    let mut ends = Vec::new();
    for topic in [&case.alerts, &case.remediations, &case.dead_letters] {
        let all = case.kafka.read(topic).await;
        let about =
            |value: &Option<Vec<u8>>| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).contains(namespace);
        ends.push(all.iter().filter(|record| about(&record.value)).count());
    }
    (versions.iter().map(|object| object["metadata"]["resourceVersion"].clone()).collect(), ends)
}

/// The sink is stopped, and these objects are deleted while nobody watches; then it starts again.
async fn delete_unseen(case: &Case, stages: &mut Deployment, objects: &[String]) {
    for sink in stages.sinks.drain(..) {
        assert!(sink.stop().await.success());
    }
    let shop = case.namespace("shop");
    for some in objects.chunks(20) {
        join_all(some.iter().map(|object| case.kube.delete(&shop, object))).await;
    }
    stages.add(SINK).await;
}

/// Waits until the newest record of `alerts` is older than the hold: until then its incident is the live run's.
pub(crate) async fn past_the_hold(case: &Case) {
    let newest = case.kafka.read(&case.alerts).await.iter().map(|record| record.timestamp).max().unwrap_or(0);
    until_ok(SOON, "the hold to be over", async || {
        let now = jiff::Timestamp::now().as_millisecond();
        if now > newest + 4_000 { Ok(()) } else { Err(format!("{now} after {newest}")) }
    })
    .await;
}

/// Each of these alerts once, all at the same moment.
fn at(moment: i64, alerts: &[Value]) -> Vec<Past> {
    alerts.iter().map(|alert| Past::new(moment, alert)).collect()
}

/// `replay` as a command that does not end by itself soon.
fn begin(setting: &Setting, args: &[&str], case: &Case) -> Process {
    begin_of(env!("CARGO_BIN_EXE_breakwater"), setting, args, case)
}

fn begin_of(program: &str, setting: &Setting, args: &[&str], case: &Case) -> Process {
    let mut command = std::process::Command::new(program);
    environment(&mut command, setting).arg("replay").args(args);
    Process::start("replay", &command, &case.scope.path(&format!("replay-{:08x}.log", fastrand::u32(..))))
}

fn environment<'a>(command: &'a mut std::process::Command, setting: &Setting) -> &'a mut std::process::Command {
    command
        .env("BREAKWATER_KAFKA_BROKERS", &setting.kafka)
        .env("KUBECONFIG", &setting.kubeconfig)
        .env("BREAKWATER_PIPELINE", &setting.pipeline)
        .env("BREAKWATER_FALLBACK_NAMESPACE", &setting.fallback_namespace)
}

/// How large a test is: what this variable says, for the commands of the justfile, else what a ring has room for.
fn size(variable: &str, small: usize) -> usize {
    let told = std::env::var(variable).ok();
    told.map_or(small, |text| text.parse().expect("a number"))
}

/// The drafts in `remediations` from these offsets on.
async fn drafts(case: &Case, from: &BTreeMap<i32, i64>) -> Vec<Record> {
    let mut records = case.kafka.read(&case.remediations).await;
    records.retain(|record| record.offset >= from.get(&record.partition).copied().unwrap_or(0));
    records.retain(|record| record.json()["type"] == "draft");
    records
}
