//! Our stages as `deploy/` runs them: some of each, every one with the rights of its own ServiceAccount.

use super::Scope;
use super::kube::{Kube, token_in};
use super::product::{Product, Setting};
use super::proxy::Proxy;
use futures::future::join_all;
use serde_json::Value;

/// How many of each stage.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Doors.
    pub ingest: usize,
    /// Judges.
    pub work: usize,
    /// Ways out.
    pub sink: usize,
}

impl Shape {
    /// One of each.
    pub const ONE: Self = Self { ingest: 1, work: 1, sink: 1 };
    /// None at all: the test starts them itself.
    pub const NONE: Self = Self { ingest: 0, work: 0, sink: 0 };
}

/// Stages that run, and where a test starts more of them.
pub struct Deployment {
    /// Topics, groups and key prefix; a folder for logs.
    pub scope: Scope,
    /// What ingest is told; it has no rights at the API server.
    pub ingest: Setting,
    /// What work is told.
    pub work: Setting,
    /// What sink is told.
    pub sink: Setting,
    /// The doors that run.
    pub ingests: Vec<Product>,
    /// The judges that run.
    pub works: Vec<Product>,
    /// The ways out that run.
    pub sinks: Vec<Product>,
}

impl Deployment {
    /// Stages under the names of a scope on the shared servers: topics, rights, and so many processes, all ready.
    pub async fn start(scope: Scope, overlay: Value, shape: Shape) -> Self {
        let setting = scope.setting(overlay);
        Self::of(scope, setting, shape).await
    }

    /// The same with a setting of the test's own, such as one that names servers of its own. What reaches the API
    /// server by its kubeconfig must be an admin: it makes what stands in `deploy/`.
    pub async fn of(scope: Scope, setting: Setting, shape: Shape) -> Self {
        let kube = Kube::of(&setting.kubeconfig).await;
        kube.crd().await;
        kube.namespace(&setting.fallback_namespace, serde_json::json!({})).await;
        setting.succeed(&["topics", "create"]).await;
        let mut of_stage = Vec::new();
        for stage in ["work", "sink"] {
            let kubeconfig = scope.path(&format!("kubeconfig-{stage}"));
            kube.kubeconfig_of(stage, &kubeconfig).await;
            of_stage.push(Setting { kubeconfig, ..setting.clone() });
        }
        let (sink, work) =
            (of_stage.pop().expect("two stages have rights"), of_stage.pop().expect("two stages have rights"));
        let mut all =
            Self { scope, ingest: setting, work, sink, ingests: Vec::new(), works: Vec::new(), sinks: Vec::new() };
        all.add(shape).await;
        all
    }

    /// Starts so many more, all at once, and waits until they are ready.
    pub async fn add(&mut self, shape: Shape) {
        let several = async |stage: &str, setting: &Setting, count: usize| {
            join_all((0..count).map(|_| Product::start(stage, setting))).await
        };
        let (ingests, works, sinks) = tokio::join!(
            several("ingest", &self.ingest, shape.ingest),
            several("work", &self.work, shape.work),
            several("sink", &self.sink, shape.sink),
        );
        self.ingests.extend(ingests);
        self.works.extend(works);
        self.sinks.extend(sinks);
    }

    /// Where alerts are posted.
    pub fn doors(&self) -> Vec<String> {
        self.ingests.iter().map(|ingest| ingest.address.clone()).collect()
    }

    /// Members that die are noticed within a second, not within ten: for tests that kill.
    pub fn notice_death_quickly(&mut self) {
        self.kafka_properties("session.timeout.ms=1500\nheartbeat.interval.ms=300\n");
    }

    /// Gives the judges and the ways out that are yet to be started a file of properties for Kafka's client.
    pub fn kafka_properties(&mut self, properties: &str) {
        let file = self.scope.path("kafka.properties");
        std::fs::write(&file, properties).expect("the test's folder can be written");
        for setting in [&mut self.work, &mut self.sink] {
            let told = ("BREAKWATER_KAFKA_PROPERTIES".to_owned(), file.display().to_string());
            setting.env.push(told);
        }
    }

    /// Puts a proxy between the ways out that are yet to be started and the API server; their rights stay.
    pub async fn through_proxy(&mut self) -> Proxy {
        let proxy = Proxy::start(&self.sink.kubeconfig).await;
        let file = self.scope.path("kubeconfig-proxied");
        proxy.kubeconfig(&file, &token_in(&self.sink.kubeconfig));
        self.sink.kubeconfig = file;
        proxy
    }

    /// The consumer group of a stage, `work` or `sink`.
    pub fn group(&self, stage: &str) -> String {
        format!("breakwater-{stage}-{}", self.scope.name)
    }

    /// The last lines of every stage, for a failure's message.
    pub fn last_lines(&self) -> String {
        let stages = self.ingests.iter().chain(&self.works).chain(&self.sinks);
        stages.map(|stage| stage.process.last_lines()).collect()
    }

    /// Ends every stage as Kubernetes does, and waits.
    pub async fn stop(&mut self) {
        let all = self.ingests.drain(..).chain(self.works.drain(..)).chain(self.sinks.drain(..));
        for ended in join_all(all.map(Product::stop)).await {
            assert!(ended.success(), "a stage that is asked to end exits 0, not {ended}");
        }
    }
}
