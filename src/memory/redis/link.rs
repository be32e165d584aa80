//! The way to Redis: one server, the one of several that Sentinel calls master, or the shards of a cluster.
//!
//! Nothing is connected before it is needed, and what is gone is sought again at the next call; so a Redis that is away
//! at the start, or moves, is no more than a call that failed.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError,
    RedisFuture, RedisResult, RetryMethod, TlsMode, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

/// How long an answer may take. A call that timed out may have been applied: it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// How long replicas may take for a change: less than an answer may, as what comes behind it waits too.
const REPLICAS_WITHIN_MS: u64 = 1000;

/// The forms that a URL may have.
pub const FORMS: &str = "redis://[[USER]:PASSWORD@]HOST:PORT[/DB], redis+sentinel://[…@]HOST:PORT[,HOST:PORT…]/MASTER[/DB] or \
                         redis+cluster://[…@]HOST:PORT[,HOST:PORT…]; rediss for TLS";

/// A way to Redis. Clones share it: one connection to each server.
#[derive(Clone)]
pub struct Link(Kind);

#[derive(Clone)]
enum Kind {
    One(ConnectionManager),
    Sentinel(Arc<Mutex<Master>>),
    Cluster(Arc<Sharded>),
}

/// Whoever is master now, as Sentinel says.
struct Master {
    client: SentinelClient,
    connection: Option<MultiplexedConnection>,
}

struct Sharded {
    client: ClusterClient,
    connection: Mutex<Option<ClusterConnection>>,
}

/// What a call goes over.
enum Way {
    One(ConnectionManager),
    Master(MultiplexedConnection),
    Shards(ClusterConnection),
}

/// A URL, taken apart.
struct Url {
    nodes: Vec<ConnectionInfo>,
    master: Option<String>,
    cluster: bool,
}

/// Whether a URL that [`check`] takes leads to a cluster.
#[must_use]
pub fn is_cluster(url: &str) -> bool {
    take_apart(url).is_ok_and(|url| url.cluster)
}

/// Whether this is a URL that [`Link::open`] takes.
///
/// # Errors
/// It is none; what is wrong with it is said without its password.
pub fn check(url: &str) -> RedisResult<()> {
    take_apart(url).map(|_| ())
}

impl Link {
    /// Prepares the way without going it.
    ///
    /// # Errors
    /// The URL is none of [`FORMS`].
    pub fn open(url: &str) -> RedisResult<Self> {
        let Url { mut nodes, master, cluster } = take_apart(url)?;
        Ok(Self(match master {
            Some(master) => {
                Kind::Sentinel(Arc::new(Mutex::new(Master { client: sentinel(nodes, &master)?, connection: None })))
            }
            None if cluster => {
                let client =
                    ClusterClient::builder(nodes).response_timeout(ANSWER_WITHIN).connection_timeout(CONNECT_WITHIN);
                Kind::Cluster(Arc::new(Sharded { client: client.retries(2).build()?, connection: Mutex::default() }))
            }
            None => {
                let config = ConnectionManagerConfig::new()
                    .set_response_timeout(Some(ANSWER_WITHIN))
                    .set_connection_timeout(Some(CONNECT_WITHIN))
                    .set_number_of_retries(1);
                let client = Client::open(nodes.remove(0))?;
                Kind::One(ConnectionManager::new_lazy_with_config(client, config)?)
            }
        }))
    }

    /// A change, and how many replicas have it by the time that `wanted` have it or that time is up. Both go
    /// over one connection in one go: on a new connection WAIT would know of no change to wait for.
    ///
    /// # Errors
    /// The change was refused, or nothing was heard.
    pub async fn replicated(&self, change: &Cmd, wanted: u32) -> RedisResult<(Value, u32)> {
        let mut both = redis::pipe();
        both.add_command(change.clone()).cmd("WAIT").arg(wanted).arg(REPLICAS_WITHIN_MS);
        let (made, have): (RedisResult<Value>, RedisResult<u32>) =
            both.ignore_errors().query_async(&mut self.clone()).await?;
        Ok((self.heard(made).await?, self.heard(have).await?))
    }

    async fn way(&self) -> RedisResult<Way> {
        match &self.0 {
            Kind::One(manager) => Ok(Way::One(manager.clone())),
            Kind::Sentinel(master) => master.lock().await.connection().await.map(Way::Master),
            Kind::Cluster(sharded) => {
                let mut held = sharded.connection.lock().await;
                if held.is_none() {
                    *held = Some(sharded.client.get_async_connection().await?);
                }
                held.clone().map(Way::Shards).ok_or_else(|| (ErrorKind::Io, "no connection to the cluster").into())
            }
        }
    }

    /// After a failure that a new connection may mend, the next call makes one.
    async fn heard<T>(&self, answer: RedisResult<T>) -> RedisResult<T> {
        let Err(error) = &answer else { return answer };
        match &self.0 {
            Kind::One(_) => {}
            Kind::Sentinel(master) if moved(error) => master.lock().await.connection = None,
            Kind::Cluster(sharded) if moved(error) => *sharded.connection.lock().await = None,
            Kind::Sentinel(_) | Kind::Cluster(_) => {}
        }
        answer
    }
}

impl Master {
    async fn connection(&mut self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_connection_timeout(Some(CONNECT_WITHIN));
        let connection = self.client.get_async_connection_with_config(&config).await?;
        Ok(self.connection.insert(connection).clone())
    }
}

/// A master that became a replica says READONLY; one that is gone says nothing in time.
fn moved(error: &RedisError) -> bool {
    let read_only = error.code() == Some("READONLY");
    let reconnect =
        matches!(error.retry_method(), RetryMethod::Reconnect | RetryMethod::ReconnectFromInitialConnections);
    read_only || reconnect || error.is_timeout() || error.is_io_error()
}

fn sentinel(nodes: Vec<ConnectionInfo>, master: &str) -> RedisResult<SentinelClient> {
    let Some(first) = nodes.first().cloned() else {
        return Err((ErrorKind::InvalidClientConfig, "no host").into());
    };
    let tls = matches!(first.addr(), redis::ConnectionAddr::TcpTls { .. });
    let addresses = nodes.into_iter().map(|node| node.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
    let settings = first.redis_settings();
    builder = builder.set_client_to_redis_db(settings.db());
    if let Some(username) = settings.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if tls {
        builder =
            builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
    }
    builder.build()
}

/// Each host becomes a URL of one server, which the client's own parser reads.
fn take_apart(url: &str) -> RedisResult<Url> {
    let refused = || -> RedisError { (ErrorKind::InvalidClientConfig, "no URL of Redis").into() };
    let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
    let (base, form) = scheme.split_once('+').unwrap_or((scheme, ""));
    if !matches!(base, "redis" | "rediss") || !matches!(form, "" | "sentinel" | "cluster") {
        return Err(refused());
    }
    if form.is_empty() {
        return Ok(Url { nodes: vec![url.into_connection_info()?], master: None, cluster: false });
    }
    let (secret, rest) = rest.rsplit_once('@').map_or(("", rest), |(secret, rest)| (secret, rest));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (master, db) = match form {
        "sentinel" => path.split_once('/').unwrap_or((path, "0")),
        _ if path.is_empty() => ("", "0"),
        _ => return Err(refused()),
    };
    let at = if secret.is_empty() { "" } else { "@" };
    let one = |host: &str| format!("{base}://{secret}{at}{host}/{db}").into_connection_info();
    let nodes = hosts.split(',').map(one).collect::<RedisResult<Vec<_>>>()?;
    if hosts.is_empty() || (form == "sentinel") == master.is_empty() {
        return Err(refused());
    }
    Ok(Url { nodes, master: Some(master.to_owned()).filter(|master| !master.is_empty()), cluster: form == "cluster" })
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let answer = match self.way().await {
                Ok(Way::One(mut way)) => way.req_packed_command(cmd).await,
                Ok(Way::Master(mut way)) => way.req_packed_command(cmd).await,
                Ok(Way::Shards(mut way)) => way.req_packed_command(cmd).await,
                Err(error) => Err(error),
            };
            self.heard(answer).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let answer = match self.way().await {
                Ok(Way::One(mut way)) => way.req_packed_commands(pipeline, offset, count).await,
                Ok(Way::Master(mut way)) => way.req_packed_commands(pipeline, offset, count).await,
                Ok(Way::Shards(mut way)) => way.req_packed_commands(pipeline, offset, count).await,
                Err(error) => Err(error),
            };
            self.heard(answer).await
        })
    }

    fn get_db(&self) -> i64 {
        match &self.0 {
            Kind::One(manager) => manager.get_db(),
            Kind::Sentinel(_) | Kind::Cluster(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn taken(url: &str) -> (usize, Option<String>, bool) {
        let url = take_apart(url).unwrap();
        (url.nodes.len(), url.master, url.cluster)
    }

    #[test]
    fn a_url_names_one_server_several_sentinels_or_a_cluster() {
        assert_eq!(taken("redis://:secret@redis:6379/3"), (1, None, false));
        assert_eq!(taken("rediss://redis"), (1, None, false));
        assert_eq!(taken("redis+sentinel://:p@a:1,b:2,c:3/main/2"), (3, Some("main".to_owned()), false));
        assert_eq!(taken("rediss+cluster://user:p%40ss@a:1,b:2"), (2, None, true));
        let url = take_apart("redis+sentinel://user:p%40ss@a:1/main/2").unwrap();
        let settings = url.nodes[0].redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("user"), Some("p@ss"), 2));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in
            ["", "redis", "http://a", "redis+x://a", "redis+sentinel://a:1", "redis+cluster://", "redis+cluster://a/1"]
        {
            assert!(check(url).is_err(), "{url}");
        }
    }
}
