//! One test's eyes and hands: its own namespaces, alerts posted at the doors, objects and records awaited.

use super::Scope;
use super::alerts;
use super::deployment::{Deployment, Shape};
use super::http;
use super::kafka::{Kafka, Record};
use super::kube::{Kube, Recorder};
use super::servers::OwnApi;
use super::wait::until_ok;
use breakwater::alert::Fingerprint;
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long anything may take that takes a few seconds on a calm machine: others have two cores and seven servers to share.
pub const SOON: Duration = Duration::from_secs(180);

/// A webhook's path.
pub const PROMETHEUS: &str = "/api/v1/signals/prometheus";
/// An event's path.
pub const EVENTS: &str = "/api/v1/signals/kubernetes-event";

/// The stages that most tests share: the shipped pipeline, two doors, three judges, two ways out. Only what would make
/// a test slow is changed: no budget of writes, and counts are told within a second.
async fn shared() -> &'static Deployment {
    static STAGES: OnceCell<Deployment> = OnceCell::const_new();
    let shape = Shape { ingest: 2, work: 3, sink: 2 };
    STAGES.get_or_init(|| Deployment::start(Scope::new("shared"), unlimited(), shape)).await
}

/// The stages of tests that watch single writes: one of each, no hold.
async fn quick() -> &'static Deployment {
    static STAGES: OnceCell<Deployment> = OnceCell::const_new();
    STAGES.get_or_init(|| Deployment::start(Scope::new("quick"), at_once(), Shape::ONE)).await
}

/// No hold, no budget, changes told within a second: for rows that speak of none of these.
pub fn at_once() -> Value {
    json!({ "storm": { "hold": "0s", "update_interval": "1s" }, "dedup": { "update_interval": "1s" },
            "sink": { "writes_per_second": "unlimited" } })
}

/// The shipped pipeline without a budget of writes.
pub fn unlimited() -> Value {
    json!({ "sink": { "writes_per_second": "unlimited" }, "dedup": { "update_interval": "1s" },
            "storm": { "update_interval": "1s" } })
}

/// What one test sees and does.
pub struct Case {
    /// The test's own names.
    pub scope: Scope,
    /// The broker.
    pub kafka: Kafka,
    /// The API server, as its admin.
    pub kube: Kube,
    /// Where alerts are posted.
    pub doors: Vec<String>,
    /// The topic of what comes in.
    pub alerts: String,
    /// The topic of what goes out.
    pub remediations: String,
    /// The topic of what is set aside.
    pub dead_letters: String,
    /// Where objects without a namespace go.
    pub fallback: String,
    /// Consumer groups of work and sink.
    pub groups: [String; 2],
    shared: Option<&'static Deployment>,
}

impl Case {
    /// A test on the shared stages, with a namespace for each of these words.
    pub async fn shared(scenario: &str, namespaces: &[&str]) -> Self {
        let stages = shared().await;
        let mut case = Self::of(scenario, namespaces, stages).await;
        case.shared = Some(stages);
        case
    }

    /// A test on the quick stages: without hold, with one of each.
    pub async fn quick(scenario: &str, namespaces: &[&str]) -> Self {
        let stages = quick().await;
        let mut case = Self::of(scenario, namespaces, stages).await;
        case.shared = Some(stages);
        case
    }

    /// A test with stages of its own, which it may break.
    pub async fn own(scenario: &str, namespaces: &[&str], overlay: Value, shape: Shape) -> (Self, Deployment) {
        let stages = Deployment::start(Scope::new(scenario), overlay, shape).await;
        let case = Self::of(scenario, namespaces, &stages).await;
        (case, stages)
    }

    /// A test before an API server of its own; its ways out are yet to be started.
    pub async fn on_own_api(scenario: &str, own: &OwnApi, overlay: Value) -> (Self, Deployment) {
        let scope = Scope::new(scenario);
        let mut setting = scope.setting(overlay);
        setting.kubeconfig.clone_from(&own.kubeconfig);
        let stages = Deployment::of(scope, setting, Shape { sink: 0, ..Shape::ONE }).await;
        let case = Self::of(scenario, &["shop"], &stages).await;
        (case, stages)
    }

    /// A test on stages that it has started itself.
    pub async fn of(scenario: &str, namespaces: &[&str], stages: &Deployment) -> Self {
        Self::named(Scope::new(scenario), namespaces, stages).await
    }

    /// The same under names that were drawn before.
    pub async fn named(scope: Scope, namespaces: &[&str], stages: &Deployment) -> Self {
        let case = Self::on(scope, stages).await;
        for word in namespaces {
            case.kube.namespace(&case.namespace(word), json!({})).await;
        }
        case
    }

    async fn on(scope: Scope, stages: &Deployment) -> Self {
        Self {
            scope,
            kafka: Kafka::at(&stages.ingest.kafka),
            kube: Kube::of(&stages.ingest.kubeconfig).await,
            doors: stages.doors(),
            alerts: stages.scope.alerts.clone(),
            remediations: stages.scope.remediations.clone(),
            dead_letters: stages.scope.dead_letters.clone(),
            fallback: stages.ingest.fallback_namespace.clone(),
            groups: ["work", "sink"].map(|stage| stages.group(stage)),
            shared: None,
        }
    }

    /// One of the ways out that tests share.
    pub fn way_out(&self) -> &'static super::product::Product {
        let stages = self.shared.expect("a test on the shared stages");
        stages.sinks.first().expect("there is one")
    }

    /// A namespace of this test.
    pub fn namespace(&self, word: &str) -> String {
        self.scope.namespace(word)
    }

    /// A firing alert about a pod in a namespace of this test.
    pub fn alert(&self, name: &str, word: &str, pod: &str) -> Value {
        alerts::alert(name, &self.namespace(word), pod)
    }

    /// Posts a webhook of these alerts, which must be accepted whole; the answer.
    pub async fn post(&self, alerts: &[Value]) -> Value {
        self.post_at(0, alerts).await
    }

    /// The same at one of several doors.
    pub async fn post_at(&self, door: usize, alerts: &[Value]) -> Value {
        let answer = self.send(door, PROMETHEUS, alerts::webhook(alerts).to_string()).await;
        assert_eq!(answer["accepted"], json!(alerts.len()), "{answer}");
        answer
    }

    /// Posts an event, which must be accepted; the answer.
    pub async fn event(&self, event: &Value) -> Value {
        self.send(0, EVENTS, event.to_string()).await
    }

    /// Posts any body, which must be accepted; the answer.
    pub async fn send(&self, door: usize, path: &str, body: impl AsRef<[u8]>) -> Value {
        let address = self.doors.get(door % self.doors.len().max(1)).expect("a door is open");
        let answer = http::post(address, path, body).await.expect("the door answers");
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()
    }

    /// Posts each of these alerts in a webhook of its own, all at once, over all doors.
    pub async fn post_each(&self, alerts: &[Value]) -> Vec<Value> {
        let posts = alerts.iter().enumerate().map(|(door, alert)| self.post_at(door, std::slice::from_ref(alert)));
        join_all(posts).await
    }

    /// Waits until a namespace of this test holds exactly so many objects.
    pub async fn objects(&self, word: &str, count: usize) -> Vec<Value> {
        self.kube.wait_for(&self.namespace(word), count, SOON).await
    }

    /// Waits until a namespace of this test holds exactly one object.
    pub async fn object(&self, word: &str) -> Value {
        self.objects(word, 1).await.pop().expect("there is one")
    }

    /// Waits until a namespace holds an object of a signal's name, and exactly one.
    pub async fn object_of(&self, word: &str, signal: &str) -> Value {
        let namespace = self.namespace(word);
        until_ok(SOON, &format!("one object of {signal}"), async || {
            let mut seen = self.kube.list(&namespace).await;
            seen.retain(|object| object["spec"]["signalName"] == signal);
            if seen.len() == 1 { Ok(seen.remove(0)) } else { Err(told(&seen)) }
        })
        .await
    }

    /// Waits until the objects of a namespace are as they shall be.
    pub async fn until(&self, word: &str, what: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let namespace = self.namespace(word);
        until_ok(SOON, what, async || {
            let seen = self.kube.list(&namespace).await;
            if fits(&seen) { Ok(seen) } else { Err(told(&seen)) }
        })
        .await
    }

    /// Waits until a namespace holds so many objects, each of which counts so many firings.
    pub async fn counted(&self, word: &str, objects: usize, count: u64) -> Vec<Value> {
        let what = format!("{objects} objects that count {count}");
        self.until(word, &what, |seen| seen.len() == objects && seen.iter().all(|object| self::count(object) == count))
            .await
    }

    /// Begins to note every object that is ever seen in a namespace of this test.
    pub async fn record(&self, word: &str) -> Recorder {
        self.kube.record(&self.namespace(word)).await
    }

    /// Waits until everything that is in the log now has had its effect: read, drafted, and written.
    pub async fn settled(&self) {
        self.settled_by_work().await;
        self.settled_by_sink().await;
    }

    /// Waits until every alert that is in the log now is read, and drafted if it is to be.
    pub async fn settled_by_work(&self) {
        self.committed(0, &self.alerts).await;
    }

    /// Waits until every draft and update that is in the log now is written.
    pub async fn settled_by_sink(&self) {
        self.committed(1, &self.remediations).await;
    }

    async fn committed(&self, group: usize, topic: &str) {
        let group = &self.groups[group];
        let ends = self.kafka.ends(topic).await;
        until_ok(SOON, &format!("{group} to commit all of {topic}"), async || {
            let committed = self.kafka.committed(group, topic).await;
            let short = |(partition, end): &(&i32, &i64)| committed.get(*partition).unwrap_or(&0) < *end;
            match ends.iter().find(short) {
                None => Ok(()),
                Some(_) => Err(format!("{committed:?} of {ends:?}")),
            }
        })
        .await;
    }

    /// The fingerprints of objects that ended, as this deployment's log was told. The API server is shared, and a sink
    /// tells of every object that bears our label: of other tests' too.
    pub async fn ended(&self) -> std::collections::BTreeSet<Vec<u8>> {
        let closed = |record: &Record| record.header("breakwater-kind").as_deref() == Some("closed");
        let records = self.kafka.read(&self.alerts).await;
        records.into_iter().filter(closed).filter_map(|record| record.key).collect()
    }

    /// The records of `alerts` that speak of this test.
    pub async fn records(&self) -> Vec<Record> {
        self.about_us(&self.alerts).await
    }

    /// The records of a topic that speak of this test.
    pub async fn about_us(&self, topic: &str) -> Vec<Record> {
        let name = self.scope.name.as_bytes();
        let ours = |record: &Record| {
            let value = record.value.as_deref().unwrap_or_default();
            value.windows(name.len()).any(|window| window == name)
        };
        let mut all = self.kafka.read(topic).await;
        all.retain(ours);
        all
    }

    /// Waits for so many `closed` records of this test.
    pub async fn closed(&self, count: usize) -> Vec<Value> {
        until_ok(SOON, &format!("{count} closed records"), async || {
            let of_kind = |record: &Record| record.header("breakwater-kind").as_deref() == Some("closed");
            let told: Vec<Value> = self.records().await.iter().filter(|r| of_kind(r)).map(Record::json).collect();
            if told.len() == count { Ok(told) } else { Err(format!("there are {}", told.len())) }
        })
        .await
    }

    /// Brings an object to its end, as whoever remediates does, and waits until work has heard of it.
    pub async fn finish(&self, word: &str, object: &Value, phase: &str) {
        let before = self.closed_so_far().await;
        self.kube.phase(&self.namespace(word), name(object), phase).await;
        self.closed(before + 1).await;
        self.settled().await;
    }

    /// How many `closed` records this test has so far.
    pub async fn closed_so_far(&self) -> usize {
        let records = self.records().await;
        records.iter().filter(|record| record.header("breakwater-kind").as_deref() == Some("closed")).count()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if let (true, Some(stages)) = (std::thread::panicking(), self.shared) {
            eprintln!("{}", stages.last_lines());
        }
    }
}

/// The fingerprints that a door has answered, cut short and quoted as `closed` records name them.
pub fn briefs(answer: &Value) -> std::collections::BTreeSet<String> {
    let brief = |one: &Value| {
        let whole: Fingerprint = one["fingerprint"].as_str().and_then(|hex| hex.parse().ok()).expect("a fingerprint");
        format!("\"{}\"", whole.brief())
    };
    answer["alerts"].as_array().expect("a list").iter().map(brief).collect()
}

/// `status.deduplication.occurrenceCount`; 0 while there is none.
pub fn count(object: &Value) -> u64 {
    object["status"]["deduplication"]["occurrenceCount"].as_u64().unwrap_or(0)
}

/// An object's name.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("an object has a name")
}

/// A moment in milliseconds, as objects write it.
pub fn rfc3339(milliseconds: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(milliseconds).expect("a moment within years of four digits");
    format!("{moment:.3}")
}

/// Objects in a few words, for a failure's message.
pub fn told(objects: &[Value]) -> String {
    let one = |object: &Value| format!("{} status={}", name(object), object["status"]);
    let all: Vec<String> = objects.iter().map(one).collect();
    format!("{} objects: {}", objects.len(), all.join("; ").chars().take(2000).collect::<String>())
}
