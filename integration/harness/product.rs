//! Our binary as processes: a stage started, awaited until it is ready, asked, ended as Kubernetes or a crash does.

use super::http::{self, Answer};
use super::process::{Process, free_port};
use super::wait::until_ok;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

/// How long a stage may take to become ready; a frozen machine is slow, a group's first join takes seconds.
const READY: Duration = Duration::from_secs(60);
/// How long a command that ends by itself may take.
const COMMAND: Duration = Duration::from_secs(120);

/// Where things are, for a stage or a command. A test changes what it wants before it starts one.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Brokers.
    pub kafka: String,
    /// Redis' URL.
    pub redis: String,
    /// Who we are to the API server.
    pub kubeconfig: PathBuf,
    /// What is done.
    pub pipeline: PathBuf,
    /// Where objects without a namespace go.
    pub fallback_namespace: String,
    /// Where logs go.
    pub folder: PathBuf,
    /// Further variables; these win.
    pub env: Vec<(String, String)>,
}

impl Setting {
    /// The same with one more variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakwater"));
        command
            .env("BREAKWATER_KAFKA_BROKERS", &self.kafka)
            .env("BREAKWATER_REDIS_URL", &self.redis)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("BREAKWATER_PIPELINE", &self.pipeline)
            .env("BREAKWATER_FALLBACK_NAMESPACE", &self.fallback_namespace)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(super::repository(""));
        command
    }

    /// Runs a command that ends by itself, such as `["topics", "create"]`.
    pub async fn run(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(self.command());
        let output = command.args(args).kill_on_drop(true).stdin(std::process::Stdio::null()).output();
        let ended = tokio::time::timeout(COMMAND, output).await;
        ended
            .unwrap_or_else(|_| panic!("breakwater {args:?} did not end within {COMMAND:?}"))
            .expect("our binary starts")
    }

    /// The same, which must succeed; what it printed on stdout.
    pub async fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "breakwater {args:?}: {}\n{told}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A stage that runs: `run`, `ingest`, `work` or `sink`. It is killed when it is dropped.
pub struct Product {
    /// The process, for `kill`, `stop`, `cont` and `terminate`.
    pub process: Process,
    /// Where alerts are posted, `127.0.0.1:PORT`.
    pub address: String,
    /// Where health, readiness and metrics are told, `127.0.0.1:PORT`.
    pub admin: String,
    stage: String,
}

impl Product {
    /// Starts a stage and waits until it is ready. Ports lost between drawing and binding are drawn again.
    pub async fn start(stage: &str, setting: &Setting) -> Self {
        for _ in 0..5 {
            let mut product = Self::spawn(stage, setting);
            match product.ready(READY).await {
                Ok(()) => return product,
                Err(()) if product.process.printed().to_lowercase().contains("address already in use") => {}
                Err(()) => panic!("{stage} ended before it was ready\n{}", product.process.last_lines()),
            }
        }
        panic!("{stage} lost its ports five times")
    }

    /// Starts a stage and does not wait.
    pub fn spawn(stage: &str, setting: &Setting) -> Self {
        let (address, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let mut command = setting.command();
        command.arg(stage);
        let given = |name: &str| setting.env.iter().any(|(key, _)| key == name);
        for (name, value) in [("BREAKWATER_LISTEN", &address), ("BREAKWATER_ADMIN_LISTEN", &admin)] {
            if !given(name) {
                command.env(name, value);
            }
        }
        let log = setting.folder.join(format!("{stage}-{}.log", admin.trim_start_matches("127.0.0.1:")));
        Self { process: Process::start(stage, &command, &log), address, admin, stage: stage.to_owned() }
    }

    /// Waits until it says that it is ready; an error if it ended instead.
    pub async fn ready(&mut self, deadline: Duration) -> Result<(), ()> {
        let what = format!("{} to be ready", self.stage);
        let (process, admin) = (&mut self.process, &self.admin);
        until_ok(deadline, &what, async || match http::get(admin, "/readyz").await {
            Ok(answer) if answer.status == 200 => Ok(Ok(())),
            _ if process.ended().is_some() => Ok(Err(())),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Posts a body to a path of the door.
    pub async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        http::post(&self.address, path, body).await.expect("the door answers")
    }

    /// Posts an Alertmanager webhook.
    pub async fn webhook(&self, body: &Value) -> Answer {
        self.post("/api/v1/signals/prometheus", body.to_string()).await
    }

    /// A page of the admin address.
    pub async fn page(&self, path: &str) -> Answer {
        http::get(&self.admin, path).await.expect("the admin address answers")
    }

    /// One sample of `/metrics`: the sum over all series of that name that bear all of these labels, each written
    /// as `name="value"`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.page("/metrics").await.text();
        let of_ours = |line: &&str| {
            let series = line.split([' ', '{']).next();
            series == Some(name) && labels.iter().all(|label| line.contains(label))
        };
        let value = |line: &str| {
            line.rsplit_once('}')
                .map_or(line, |(_, rest)| rest)
                .split(' ')
                .filter(|w| !w.is_empty())
                .find_map(|word| word.parse::<f64>().ok())
        };
        text.lines().filter(of_ours).filter_map(value).sum()
    }

    /// Asks it to end and waits: within the grace of Kubernetes, less a margin.
    pub async fn stop(mut self) -> ExitStatus {
        self.process.terminate();
        self.process.exit(Duration::from_secs(28)).await
    }
}
