//! Several Redis servers that are one memory: a master whose replica Sentinel promotes, and a cluster of three.

use super::process::free_port;
use super::servers::{Server, connection, connects, drawn, folder};
use super::wait::until_ok;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A master, its replica, and a Sentinel that promotes the replica a second after the master is gone.
pub struct Watched {
    /// Both, the first master first.
    pub servers: Vec<Server>,
    /// Their ports.
    pub ports: Vec<u16>,
    /// The Sentinel.
    pub sentinel: Server,
    /// What our binary is told.
    pub url: String,
    folder: TempDir,
}

impl Watched {
    /// Starts the three.
    pub async fn start() -> Self {
        drawn("redis", async || Self::attempt().await).await
    }

    async fn attempt() -> Result<Self, String> {
        let (folder, ports, watch) = (folder("watched"), vec![free_port(), free_port()], free_port());
        let mut servers = vec![server(folder.path(), ports[0], &[]).await?];
        let master = ["--replicaof", "127.0.0.1", &ports[0].to_string()].map(str::to_owned);
        servers.push(server(folder.path(), ports[1], &master).await?);
        let mut eyes = connection(&format!("redis://127.0.0.1:{}", ports[1])).await;
        until_ok(PATIENCE, "the replica to follow", async || {
            let info: String =
                redis::cmd("INFO").arg("replication").query_async(&mut eyes).await.expect("redis answers");
            if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
        })
        .await;
        let file = folder.path().join("sentinel.conf");
        let lines = format!(
            "port {watch}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n",
            folder.path().display(),
            ports[0]
        );
        std::fs::write(&file, lines).expect("the server's folder can be written");
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        let ready = connects(&format!("127.0.0.1:{watch}"));
        let sentinel = Server::first("sentinel", command, folder.path().join("sentinel.log"), ready).await?;
        let mut eyes = connection(&format!("redis://127.0.0.1:{watch}")).await;
        until_ok(PATIENCE, "the Sentinel to know the replica", async || {
            let info: String = redis::cmd("INFO").arg("sentinel").query_async(&mut eyes).await.expect("redis answers");
            if info.contains("slaves=1") { Ok(()) } else { Err(info) }
        })
        .await;
        Ok(Self { servers, ports, sentinel, url: format!("redis+sentinel://127.0.0.1:{watch}/main"), folder })
    }

    /// Waits until the server of this number is master.
    pub async fn promoted(&self, number: usize) {
        let url = format!("redis://127.0.0.1:{}", self.ports[number]);
        until_ok(PATIENCE, "the replica to be promoted", async || {
            let mut eyes = connection(&url).await; // each time anew: it hangs up when its role changes
            let role: redis::RedisResult<redis::Value> = redis::cmd("ROLE").query_async(&mut eyes).await;
            let role = format!("{role:?}");
            if role.contains("master") { Ok(()) } else { Err(role) }
        })
        .await;
    }
}

/// A cluster of three masters without replicas.
pub struct Sharded {
    /// The three.
    pub servers: Vec<Server>,
    /// Their ports.
    pub ports: Vec<u16>,
    /// What our binary is told.
    pub url: String,
    folder: TempDir,
}

impl Sharded {
    /// Starts the three and joins them.
    pub async fn start() -> Self {
        drawn("redis", async || Self::attempt().await).await
    }

    async fn attempt() -> Result<Self, String> {
        let folder = folder("sharded");
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let mut servers = Vec::new();
        for port in &ports {
            let file = format!("nodes-{port}.conf");
            let bus = free_port().to_string();
            let args = [
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                &file,
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "2000",
                "--cluster-require-full-coverage",
                "no",
            ];
            servers.push(server(folder.path(), *port, &args.map(str::to_owned)).await?);
        }
        let nodes: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let sharded = Self { servers, url: format!("redis+cluster://{}", nodes.join(",")), ports, folder };
        let mut words = vec!["create"];
        words.extend(nodes.iter().map(String::as_str));
        words.extend(["--cluster-replicas", "0", "--cluster-yes"]);
        sharded.cluster(&words);
        sharded.whole().await;
        Ok(sharded)
    }

    /// A command of `redis-cli --cluster`, which must succeed; what it printed.
    pub fn cluster(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("--cluster").args(words).output().expect("there is a redis-cli");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "redis-cli --cluster {words:?}\n{printed}");
        printed
    }

    /// Waits until every server sees all of them at work.
    pub async fn whole(&self) {
        for port in &self.ports {
            let mut eyes = connection(&format!("redis://127.0.0.1:{port}")).await;
            until_ok(PATIENCE, "the cluster to be whole", async || {
                let info: String =
                    redis::cmd("CLUSTER").arg("INFO").query_async(&mut eyes).await.expect("redis answers");
                let fits = ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"];
                if fits.iter().all(|line| info.contains(line)) { Ok(()) } else { Err(info) }
            })
            .await;
        }
    }

    /// What a node calls itself.
    pub async fn id(&self, number: usize) -> String {
        let mut eyes = connection(&format!("redis://127.0.0.1:{}", self.ports[number])).await;
        redis::cmd("CLUSTER").arg("MYID").query_async(&mut eyes).await.expect("it has an id")
    }
}

async fn server(folder: &Path, port: u16, args: &[String]) -> Result<Server, String> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--dir"]).arg(folder).args(["--dbfilename", &format!("{port}.rdb")]).args(args);
    let ready = connects(&format!("127.0.0.1:{port}"));
    Server::first("redis", command, folder.join(format!("{port}.log")), ready).await
}
