//! Group I on real servers: a token that is no longer taken.

use crate::harness::account::Account;
use crate::harness::alerts::strangers;
use crate::harness::case::{Case, SOON, at_once};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kube::write_kubeconfig;
use crate::harness::product::Product;
use serde_json::json;
use std::path::Path;

/// Stages without a sink, and an account of the test's own that may do what the sink may.
async fn without_sink(scenario: &str) -> (Case, Deployment, Account) {
    let (case, stages) = Case::own(scenario, &["shop"], at_once(), Shape { sink: 0, ..Shape::ONE }).await;
    let account = Account::like(&case.kube, "sink", &format!("sink-{}", case.scope.name)).await;
    (case, stages, account)
}

#[tokio::test]
async fn i11_a_token_that_is_not_taken_ends_the_sink_in_order_and_a_good_one_goes_on() {
    let (case, mut stages, account) = without_sink("i11").await;
    let good = stages.sink.kubeconfig.clone();
    let token = account.token("first").await;
    stages.sink.kubeconfig = case.scope.path("kubeconfig-revoked");
    write_kubeconfig(&stages.sink.kubeconfig, &case.kube.server().await, json!({ "token": token.text }));
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let (watch, shop) = (case.record("shop").await, case.namespace("shop"));
    case.post(&strangers("Before", &shop, 3)).await;
    case.counted("shop", 3, 1).await;
    case.settled().await;
    let committed = case.kafka.committed(&case.groups[1], &case.remediations).await;

    account.revoke(&token, &case.scope.path("")).await;
    case.post(&strangers("After", &shop, 20)).await;
    let mut sink = stages.sinks.remove(0);
    let end = sink.process.exit(SOON).await;
    assert_eq!(end.code(), Some(1), "{}", sink.process.last_lines());
    assert!(sink.process.printed().contains("does not know the sink's token any more (401)"));
    assert_eq!(case.kafka.committed(&case.groups[1], &case.remediations).await, committed);
    case.objects("shop", 3).await;

    let mut again = Product::spawn("sink", &stages.sink);
    let end = again.process.exit(SOON).await;
    assert_eq!(end.code(), Some(1), "{}", again.process.last_lines());
    assert!(again.process.printed().contains("mend its credentials"));
    assert_eq!(case.kafka.committed(&case.groups[1], &case.remediations).await, committed);

    stages.sink.kubeconfig = good;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.counted("shop", 23, 1).await;
    case.settled().await;
    assert_eq!(watch.names().len(), 23);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

#[tokio::test]
async fn i12_a_token_that_is_rotated_on_disk_is_read_anew_without_a_restart() {
    let (case, mut stages, account) = without_sink("i12").await;
    let (first, second) = (account.token("first").await, account.token("second").await);
    let (file, shop) = (case.scope.path("token"), case.namespace("shop"));
    rotate(&file, &first.text);
    stages.sink.kubeconfig = case.scope.path("kubeconfig-rotated");
    write_kubeconfig(&stages.sink.kubeconfig, &case.kube.server().await, json!({ "tokenFile": file }));
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let watch = case.record("shop").await;
    case.post(&strangers("Before", &shop, 3)).await;
    case.counted("shop", 3, 1).await;

    rotate(&file, &second.text);
    account.revoke(&first, &case.scope.path("")).await;
    let repeated = strangers("Before", &shop, 3);
    case.post(&[&repeated[..], &strangers("After", &shop, 20)].concat()).await;
    let both = |seen: &[serde_json::Value]| {
        let mut counts: Vec<u64> = seen.iter().map(crate::harness::case::count).collect();
        counts.sort_unstable();
        counts == [&[1; 20][..], &[2; 3]].concat()
    };
    case.until("shop", "the old ones to count 2 and the new ones 1", both).await;
    case.settled().await;
    assert_eq!(watch.names().len(), 23);
    let sink = &mut stages.sinks[0];
    assert_eq!(sink.process.ended(), None);
    assert_eq!(sink.metric("breakwater_sink_refusals_total", &["class=\"fatal\""]).await, 0.0);
    assert_eq!(sink.metric("breakwater_sink_refusals_total", &["class=\"transient\""]).await, 0.0);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

/// Replaces a token as the kubelet does: by renaming, so that nobody reads half of one.
fn rotate(file: &Path, token: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, token).expect("the test's folder can be written");
    std::fs::rename(&beside, file).expect("a file can be renamed");
}
