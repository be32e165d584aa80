//! Group I on real servers: what the sink knows of the objects that are there, at its start and when its watch is cut.

use crate::harness::case::{Case, at_once, count, name};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::drafts::{bare, draft, like, make};
use crate::harness::proxy::{Fault, Line, Proxy};
use crate::harness::servers::{ApiPlan, OwnApi};
use crate::harness::wait::until;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const KIND: &str = "/remediationrequests";

/// Objects that a sink has made once, and the draft after which the drafts for all of them are made: as work makes them
/// when its memory is empty.
struct Crowd {
    case: Case,
    stages: Deployment,
    proxy: Proxy,
    draft: Value,
    names: BTreeSet<String>,
}

impl Crowd {
    async fn of(scenario: &str, own: &OwnApi, size: usize) -> Self {
        let (case, mut stages) = Case::on_own_api(scenario, own, at_once()).await;
        let first = case.alert("First", "shop", "p");
        case.post(&[first]).await;
        stages.add(Shape { sink: 1, ..Shape::NONE }).await;
        let object = bare(&case.counted("shop", 1, 1).await[0]);
        case.settled().await;
        assert!(stages.sinks.remove(0).stop().await.success());
        make(&case, "shop", (1..size).map(|n| like(&object, n, &format!("stands-{n}")))).await;
        let names = names(&case.objects("shop", size).await);
        let (draft, proxy) = (draft(&case).await, stages.through_proxy().await);
        Self { case, stages, proxy, draft, names }
    }

    /// Publishes a draft of a newer generation for each of these fingerprints.
    async fn publish(&self, of: impl Iterator<Item = usize>) {
        let newer = |n: usize| {
            let mut draft = like(&self.draft, n, &format!("again-{n}"));
            draft["incident"]["generation"]["position"]["offset"] = json!(1_000_000 + n);
            draft.to_string()
        };
        let values: Vec<String> = of.map(newer).collect();
        let key = self.draft["incident"]["group"].as_str().expect("a draft has a group").as_bytes();
        let records: Vec<_> = values.iter().map(|value| (Some(key), value.as_bytes())).collect();
        self.case.kafka.produce(&self.case.remediations, &records).await;
    }
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().map(|object| name(object).to_owned()).collect()
}

#[tokio::test]
async fn i20_nothing_is_made_before_the_index_is_whole_and_nothing_anew_after() {
    const ALL: usize = 1_000; // of 10 000 the writes alone take a debug build over a minute
    const FRESH: usize = 5;
    let own = OwnApi::start(&ApiPlan::default()).await;
    let mut crowd = Crowd::of("i20", &own, ALL).await;
    crowd.publish((ALL..ALL + FRESH).chain(1..ALL)).await;
    crowd.stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    crowd.case.settled().await;
    let asked = crowd.proxy.seen("", KIND);
    let listed = asked.iter().rposition(|one| one.method == "GET" && one.path.contains("limit=100"));
    let made = asked.iter().position(|one| one.method == "POST");
    assert!(
        listed.is_some() && listed < made,
        "the last page is asked for at {listed:?}, the first create at {made:?}"
    );
    assert_eq!(crowd.proxy.seen("POST", KIND).len(), FRESH);
    let objects = crowd.case.objects("shop", ALL + FRESH).await;
    let fresh = (ALL..ALL + FRESH).map(|n| format!("again-{n}"));
    assert_eq!(names(&objects), crowd.names.into_iter().chain(fresh).collect());
    assert!(objects.iter().all(|object| count(object) > 0), "each draft is counted on its object");
    assert_eq!(crowd.case.kafka.count(&crowd.case.dead_letters).await, 0);
}

/// A watch that is told at once that its version is too old.
fn expired() -> Fault {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
                         "reason": "Expired", "message": "too old resource version" });
    let event = json!({ "type": "ERROR", "object": status });
    Fault::Answer(200, vec![("content-type", "application/json".to_owned())], format!("{event}\n"))
}

#[tokio::test]
async fn i19_a_watch_that_is_gone_is_taken_up_again_and_nothing_is_made_twice_meanwhile() {
    const ALL: usize = 1_000;
    let own = OwnApi::start(&ApiPlan::default()).await;
    let mut crowd = Crowd::of("i19", &own, ALL).await;
    crowd.stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let pages = |crowd: &Crowd| crowd.proxy.seen("GET", "limit=100").len();
    let before = pages(&crowd);
    let line = |path: &str, times, fault| Line { method: "GET", path: path.to_owned(), times, fault };
    // as an answer, and as an event of a watch that began, which is how an API server of today says it
    crowd.proxy.script(line("watch=true", 1, Fault::status(410, "Expired")));
    crowd.proxy.script(line("watch=true", 1, expired()));
    crowd.proxy.script(line("limit=100", usize::MAX, Fault::Late(Duration::from_millis(60))));
    crowd.proxy.cut_watches();
    let relisting = async || (pages(&crowd) > before).then_some(());
    until(Duration::from_secs(60), "the list to be asked for again", relisting).await;
    crowd.publish(1..ALL).await;
    crowd.case.settled().await;
    assert_eq!(pages(&crowd), before + 2 * ALL / 100, "the list was read again twice, and whole");
    assert_eq!(crowd.proxy.seen("POST", KIND).len(), 0);
    let objects = crowd.case.objects("shop", ALL).await;
    assert_eq!(names(&objects), crowd.names);
    assert!(objects.iter().all(|object| count(object) > 0), "each draft is counted on its object");
    // and the watch runs again: what goes now is noticed
    crowd.case.kube.delete(&crowd.case.namespace("shop"), "stands-7").await;
    let closed = crowd.case.closed(1).await;
    assert_eq!(closed[0]["object"], json!(format!("{}/stands-7", crowd.case.namespace("shop"))));
    assert_eq!(crowd.case.kafka.count(&crowd.case.dead_letters).await, 0);
}
