//! What the tests of the real ring lean on: the shared servers of the run, names that never meet, servers of a
//! test's own, our binary as processes, and eyes on topics, objects and answers.
//!
//! A test that *changes* a server (kill, freeze, FLUSHALL, CONFIG SET, quotas, flags) starts one of its own from
//! `servers`. The rest share one broker, one Redis and one API server, under the names of a `Scope`.
#![allow(dead_code, reason = "the tests use it piece by piece; a tool that waits for its test is no fault")]
#![allow(unreachable_pub, reason = "a test's crate exports nothing: here `pub` says what the tests may use")]
#![allow(clippy::panic, reason = "a harness fails a test by panicking, with a message")]

pub mod account;
pub mod alerts;
pub mod audit;
pub mod case;
pub mod certificates;
pub mod deployment;
pub mod drafts;
pub mod failure;
pub mod faults;
pub mod gate;
pub mod hook;
pub mod http;
pub mod kafka;
pub mod kube;
pub mod lives;
pub mod load;
pub mod oracle;
pub mod past;
pub mod pipeline;
pub mod process;
pub mod product;
pub mod proxy;
pub mod redises;
pub mod servers;
pub mod stand;
pub mod wait;

use self::kafka::Kafka;
use self::kube::Kube;
use self::product::Setting;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Partitions of a test's topics, and shards of its memory, unless it says otherwise.
pub const PARTITIONS: i32 = 4;

/// The servers that all tests of a run share; `integration/test` starts them and tells their addresses.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Address of the broker.
    pub kafka: String,
    /// URL of Redis.
    pub redis: String,
    /// The API server's admin.
    pub kubeconfig: PathBuf,
    /// What the API server was asked, one JSON line a request.
    pub audit: PathBuf,
}

impl Shared {
    /// Reads the addresses. Without servers the test fails, and says how to get them.
    pub fn get() -> Self {
        failure::tell_at_once();
        Self {
            kafka: told("BREAKWATER_TEST_KAFKA"),
            redis: told("BREAKWATER_TEST_REDIS"),
            kubeconfig: told("BREAKWATER_TEST_KUBECONFIG").into(),
            audit: told("BREAKWATER_TEST_AUDIT").into(),
        }
    }
}

/// A variable that `integration/test` sets.
pub fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set, so there are no real servers: run integration/test, or \
             integration/servers up DIR and then eval \"$(integration/servers env DIR)\""
        )
    })
}

/// A path inside the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names of one test: topics, groups, key prefix and namespaces that no other test meets, and a folder.
pub struct Scope {
    /// The scenario and some letters of chance, so that a run may be repeated on the same servers.
    pub name: String,
    /// The topic of what comes in.
    pub alerts: String,
    /// The topic of what goes out.
    pub remediations: String,
    /// The topic of what is set aside.
    pub dead_letters: String,
    folder: TempDir,
}

impl Scope {
    /// Names for a test; `scenario` is a short word in lower case, such as `a01`.
    pub fn new(scenario: &str) -> Self {
        let chance: String = std::iter::repeat_with(|| char::from(fastrand::lowercase() as u8)).take(6).collect();
        let name = format!("{scenario}-{chance}");
        Self {
            alerts: format!("alerts-{name}"),
            remediations: format!("remediations-{name}"),
            dead_letters: format!("dead-letters-{name}"),
            folder: tempfile::Builder::new().prefix(&format!("{scenario}-")).tempdir().expect("a folder for a test"),
            name,
        }
    }

    /// A namespace of this test.
    pub fn namespace(&self, word: &str) -> String {
        format!("{word}-{}", self.name)
    }

    /// A path in this test's folder, which goes when the test ends.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The shared servers and the shipped pipeline under this test's names, with `overlay` merged over it.
    pub fn setting(&self, overlay: Value) -> Setting {
        let shared = Shared::get();
        Setting {
            kafka: shared.kafka,
            redis: shared.redis,
            kubeconfig: shared.kubeconfig,
            pipeline: pipeline::write(self, overlay),
            fallback_namespace: self.namespace("fallback"),
            folder: self.folder.path().to_owned(),
            env: Vec::new(),
        }
    }

    /// The three topics on a broker, `alerts` with the broker's time.
    pub async fn topics(&self, kafka: &Kafka, partitions: i32) {
        kafka.create(&self.alerts, partitions, &[("message.timestamp.type", "LogAppendTime")]).await;
        kafka.create(&self.remediations, partitions, &[]).await;
        kafka.create(&self.dead_letters, 1, &[]).await;
    }

    /// What nearly every test begins with, on the shared servers: the topics, the CRD, the fallback
    /// namespace and one namespace for each of these words.
    pub async fn prepare(&self, namespaces: &[&str]) -> (Kafka, Kube) {
        let shared = Shared::get();
        let (kafka, kube) = (Kafka::at(&shared.kafka), Kube::of(&shared.kubeconfig).await);
        self.topics(&kafka, PARTITIONS).await;
        kube.crd().await;
        for word in namespaces.iter().chain(&["fallback"]) {
            kube.namespace(&self.namespace(word), json!({})).await;
        }
        (kafka, kube)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // what a failed test leaves behind is what one wants to read
        self.folder.disable_cleanup(std::thread::panicking());
    }
}
