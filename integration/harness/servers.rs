//! Servers of a test's own, for the tests that break them: killed, frozen, flagged, restarted on the same port with
//! the same data. They die with the test.

use super::kube::write_kubeconfig;
use super::process::{Process, free_port};
use super::told;
use super::wait::until_ok;
use futures::future::BoxFuture;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(240);

type Question = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A server process that can be started again as it was.
pub struct Server {
    name: String,
    command: Command,
    log: PathBuf,
    ready: Question,
    process: Process,
}

impl Server {
    /// Ends it at once: connections are refused from now on.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Freezes it: connections stay open and nothing is answered.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// Wakes it after `stop`.
    pub fn cont(&self) {
        self.process.cont();
    }

    /// Starts it again on the same port with the same data, and waits until it is ready.
    pub async fn restart(&mut self) {
        if self.process.ended().is_none() {
            self.process.kill();
        }
        self.begin();
        self.up().await;
    }

    /// Starts it again after `kill`, and does not wait: it may need another that is yet to come.
    pub fn begin(&mut self) {
        self.process = Process::start(&self.name, &self.command, &self.log);
    }

    /// Waits until it is ready; one that gave up meanwhile is started again, as Kubernetes does.
    pub async fn up(&mut self) {
        for _ in 0..5 {
            match self.ready().await {
                Ok(()) => return,
                Err(_) => self.begin(),
            }
        }
        panic!("{} did not come back\n{}", self.name, self.process.last_lines());
    }

    /// All that it has printed.
    pub fn printed(&self) -> String {
        self.process.printed()
    }

    pub(super) async fn first(name: &str, command: Command, log: PathBuf, ready: Question) -> Result<Self, String> {
        let process = Process::start(name, &command, &log);
        let mut server = Self { name: name.to_owned(), command, log, ready, process };
        server.ready().await.map(|()| server)
    }

    async fn ready(&mut self) -> Result<(), String> {
        let (process, ready) = (&mut self.process, &self.ready);
        let what = format!("{} to be ready", self.name);
        until_ok(PATIENCE, &what, async || match ready().await {
            Err(_) if process.ended().is_some() => Ok(Err(process.last_lines())),
            answer => answer.map(Ok),
        })
        .await
    }
}

/// Between drawing a port and binding it the port may be lost: then a whole new set is drawn.
pub(super) async fn drawn<T>(name: &str, mut start: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..5 {
        match start().await {
            Ok(server) => return server,
            Err(printed) if printed.to_lowercase().contains("address already in use") => last = printed,
            Err(printed) => panic!("{name} did not start\n{printed}"),
        }
    }
    panic!("{name} lost its ports five times\n{last}")
}

pub(super) fn folder(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().expect("a folder for a server")
}

/// A broker of one's own.
pub struct OwnKafka {
    /// The process; dropped before its folder.
    pub server: Server,
    /// Its address.
    pub brokers: String,
    folder: TempDir,
}

impl OwnKafka {
    /// Starts a broker; `settings` are lines of its properties beside the usual ones.
    pub async fn start(settings: &[&str]) -> Self {
        drawn("kafka", async || Self::attempt(settings).await).await
    }

    async fn attempt(settings: &[&str]) -> Result<Self, String> {
        let (folder, port, controller) = (folder("kafka"), free_port(), free_port());
        let server = node(folder.path(), (1, port), controller, settings).await?;
        let brokers = format!("127.0.0.1:{port}");
        Ok(Self { server, brokers, folder })
    }
}

/// Two brokers, of which the second may go: then there are fewer replicas in sync than two.
pub struct TwoKafkas {
    /// The one that stays: it is the controller as well.
    pub first: Server,
    /// The one that a test takes away.
    pub second: Server,
    /// The address of the first.
    pub brokers: String,
    folders: [TempDir; 2],
}

impl TwoKafkas {
    /// Starts both. What is not said otherwise is replicated twice, offsets and the state of producers too.
    pub async fn start() -> Self {
        drawn("kafka", async || {
            let (folders, ports) = ([folder("kafka"), folder("kafka")], [free_port(), free_port()]);
            let controller = free_port();
            let twice = [
                "offsets.topic.replication.factor=2",
                "transaction.state.log.replication.factor=2",
                "default.replication.factor=2",
            ];
            let first = node(folders[0].path(), (1, ports[0]), controller, &twice).await?;
            let second = node(folders[1].path(), (2, ports[1]), controller, &twice).await?;
            Ok(Self { first, second, brokers: format!("127.0.0.1:{}", ports[0]), folders })
        })
        .await
    }
}

/// One node of a cluster: the first is broker and controller, any other a broker.
async fn node(folder: &Path, (id, port): (u32, u16), controller: u16, settings: &[&str]) -> Result<Server, String> {
    let (properties, data) = (folder.join("server.properties"), folder.join("data"));
    let (roles, own) = match id {
        1 => ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}")),
        _ => ("broker", String::new()),
    };
    let lines = format!(
        "process.roles={roles}\nnode.id={id}\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port}{own}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ndefault.replication.factor=1\ngroup.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=500\noffsets.topic.num.partitions=4\nauto.create.topics.enable=false\n\
         broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=3000\n{}\n",
        data.display(),
        settings.join("\n")
    );
    std::fs::write(&properties, lines).expect("the server's folder can be written");
    let mut format = java("kafka.tools.StorageTool");
    format.args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"]).arg(&properties);
    let formatted = format.output().expect("there is a java");
    assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    let mut command = java("kafka.Kafka");
    command.arg(&properties);
    Server::first("kafka", command, folder.join("log"), connects(&format!("127.0.0.1:{port}"))).await
}

fn java(class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx320m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.arg(format!("{}/*", told("BREAKWATER_TEST_KAFKA_LIBS"))).arg(class);
    command
}

/// Kafka opens its door only when it can serve. Its clients ask again while a partition has no leader yet.
pub(super) fn connects(address: &str) -> Question {
    let address = address.to_owned();
    Box::new(move || {
        let address = address.clone();
        Box::pin(async move {
            tokio::net::TcpStream::connect(&address).await.map(|_| ()).map_err(|error| error.to_string())
        })
    })
}

/// A Redis of one's own.
pub struct OwnRedis {
    /// The process; dropped before its folder.
    pub server: Server,
    /// Its URL.
    pub url: String,
    folder: TempDir,
}

impl OwnRedis {
    /// Starts a Redis without persistence; `args` come after the usual ones, such as `["--maxmemory", "1mb"]`.
    pub async fn start(args: &[&str]) -> Self {
        drawn("redis", async || Self::attempt(args, &[]).await).await
    }

    /// Starts one whose clock is so many seconds ahead; less than 0 = behind.
    pub async fn with_clock_ahead(seconds: i64) -> Self {
        let folder = folder("clock");
        let (source, library) = (folder.path().join("clock.c"), folder.path().join("clock.so"));
        let text = "#define _GNU_SOURCE\n#include <sys/time.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
            int gettimeofday(struct timeval *now, void *zone) {\n\
            int answer = syscall(SYS_gettimeofday, now, zone);\n\
            now->tv_sec += AHEAD;\n return answer;\n}\n";
        std::fs::write(&source, text).expect("the test's folder can be written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", &format!("-DAHEAD={seconds}"), "-o"]).arg(&library).arg(&source);
        let output = compiler.output().expect("there is a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let preloaded = [("LD_PRELOAD", library.to_str().expect("a folder in UTF-8"))];
        drawn("redis", async || Self::attempt(&[], &preloaded).await).await
    }

    async fn attempt(args: &[&str], env: &[(&str, &str)]) -> Result<Self, String> {
        let (folder, port) = (folder("redis"), free_port());
        let mut command = Command::new("redis-server");
        command.envs(env.iter().copied());
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--maxmemory-policy", "noeviction", "--dir"]).arg(folder.path()).args(args);
        let ready = connects(&format!("127.0.0.1:{port}"));
        let server = Server::first("redis", command, folder.path().join("log"), ready).await?;
        Ok(Self { server, url: format!("redis://127.0.0.1:{port}"), folder })
    }

    /// One figure of `INFO`, such as `used_memory`.
    pub async fn figure(&self, name: &str) -> u64 {
        let info: String = redis::cmd("INFO")
            .arg("everything")
            .query_async(&mut self.connection().await)
            .await
            .expect("redis answers");
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in\n{info}")).trim().parse().expect("a number")
    }

    /// How often each command was called, by name in lower case.
    pub async fn calls(&self) -> BTreeMap<String, u64> {
        let mut call = redis::cmd("INFO");
        let info: String =
            call.arg("commandstats").query_async(&mut self.connection().await).await.expect("redis answers");
        let one = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        info.lines().filter_map(one).collect()
    }

    /// Every key, with the milliseconds after which Redis forgets it: -1 = never.
    pub async fn lifetimes(&self) -> BTreeMap<Vec<u8>, i64> {
        let mut eyes = self.connection().await;
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut eyes).await.expect("redis answers");
        let mut pipe = redis::pipe();
        keys.iter().for_each(|key| {
            pipe.cmd("PTTL").arg(key);
        });
        let lives: Vec<i64> = pipe.query_async(&mut eyes).await.expect("redis answers");
        // -2: it went between the two calls
        keys.into_iter().zip(lives).filter(|(_, lives)| *lives != -2).collect()
    }

    /// Takes its dump away: what it forgets now, it does not find again.
    pub fn lose_dump(&self) {
        match std::fs::remove_file(self.folder.path().join("dump.rdb")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("the dump cannot be removed: {error}"),
            _ => {}
        }
    }

    /// A connection for the test itself.
    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        connection(&self.url).await
    }

    /// Empties it.
    pub async fn flush(&self) {
        let done: String =
            redis::cmd("FLUSHALL").query_async(&mut self.connection().await).await.expect("redis answers");
        assert_eq!(done, "OK");
    }
}

/// A connection to any Redis, for the test itself.
pub async fn connection(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a Redis URL");
    until_ok(PATIENCE, "redis to answer", async || client.get_multiplexed_async_connection().await).await
}

/// An API server of one's own, with its etcd.
pub struct OwnApi {
    /// The API server.
    pub server: Server,
    /// Its etcd.
    pub etcd: Server,
    /// The admin's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Where it listens, `https://127.0.0.1:PORT`.
    pub url: String,
    /// What it was asked, one JSON line a request.
    pub audit: PathBuf,
    folder: TempDir,
}

/// How an API server of one's own differs from the shared one.
#[derive(Clone, Debug, Default)]
pub struct ApiPlan {
    /// Flags beside the usual ones; a repeated flag wins.
    pub args: Vec<String>,
    /// Tokens beside the admin's: token, user, groups.
    pub tokens: Vec<(String, String, Vec<String>)>,
}

impl OwnApi {
    /// Starts etcd and an API server.
    pub async fn start(plan: &ApiPlan) -> Self {
        drawn("kube-apiserver", async || Self::attempt(plan).await).await
    }

    /// A kubeconfig for one of the plan's tokens.
    pub fn kubeconfig_of(&self, token: &str) -> PathBuf {
        let file = self.folder.path().join(format!("kubeconfig-{:08x}", fastrand::u32(..)));
        write_kubeconfig(&file, &self.url, json!({ "token": token }));
        file
    }

    /// The server's own certificate, which is its CA as well. It names 127.0.0.1.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certs/apiserver.crt")
    }

    async fn attempt(plan: &ApiPlan) -> Result<Self, String> {
        let folder = folder("kube-apiserver");
        let (etcd, etcd_url) = etcd(folder.path()).await?;
        let port = free_port();
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = folder.path().join("kubeconfig");
        write_kubeconfig(&kubeconfig, &url, json!({ "token": "admins-token" }));
        let command = apiserver(folder.path(), &etcd_url, port, plan);
        let server = Server::first("kube-apiserver", command, folder.path().join("log"), answers(&kubeconfig)).await?;
        Ok(Self { server, etcd, kubeconfig, url, audit: folder.path().join("audit.log"), folder })
    }
}

fn answers(kubeconfig: &Path) -> Question {
    let file = kubeconfig.to_owned();
    Box::new(move || {
        let file = file.clone();
        Box::pin(async move {
            let client = super::kube::client(&file).await;
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            client.request_text(request).await.map(|_| ()).map_err(|error| error.to_string())
        })
    })
}

async fn etcd(folder: &Path) -> Result<(Server, String), String> {
    let (port, peer) = (free_port(), format!("http://127.0.0.1:{}", free_port()));
    let url = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(told("BREAKWATER_TEST_ETCD"));
    command.arg("--data-dir").arg(folder.join("etcd")).arg("--unsafe-no-fsync");
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url, "--listen-peer-urls", &peer]);
    command.args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")]);
    let ready = connects(&format!("127.0.0.1:{port}"));
    Ok((Server::first("etcd", command, folder.join("etcd.log"), ready).await?, url))
}

fn apiserver(folder: &Path, etcd: &str, port: u16, plan: &ApiPlan) -> Command {
    let (key, tokens, audit) = (folder.join("sa.key"), folder.join("tokens.csv"), folder.join("audit.yaml"));
    let made =
        Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").output().expect("there is openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut lines = "admins-token,admin,admin,\"system:masters\"\n".to_owned();
    for (token, user, groups) in &plan.tokens {
        lines.push_str(&format!("{token},{user},{user},\"{}\"\n", groups.join(",")));
    }
    std::fs::write(&tokens, lines).expect("the server's folder can be written");
    let policy =
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{ level: Metadata }]\n";
    std::fs::write(&audit, policy).expect("the server's folder can be written");
    let (folder, key, tokens, audit) = (folder.display(), key.display(), tokens.display(), audit.display());
    let mut command = Command::new(told("BREAKWATER_TEST_KUBE_APISERVER"));
    command.args([
        format!("--etcd-servers={etcd}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--cert-dir={folder}/certs"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
        format!("--token-auth-file={tokens}"),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        format!("--audit-policy-file={audit}"),
        format!("--audit-log-path={folder}/audit.log"),
    ]);
    command.args(&plan.args);
    command
}
