//! `canary`: the fire alarm check as a process of its own, with rights of its own.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use kube::{
    Api, Client, Config,
    config::{AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext},
};

use super::{
    Failure, addresses,
    house::{House, Manner},
    stages,
};
use crate::{
    canary::{self, LEAST},
    pipeline::written,
    remediation::fit,
    telemetry::metrics::CanaryMetrics,
};

/// How long the door and the API server may take to answer, so that one that hangs is told as one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where it sends, and where its objects shall come out.
#[derive(Debug, clap::Args)]
pub(crate) struct Canary {
    /// The door, as its senders reach it
    #[arg(
        long,
        env = "BREAKWATER_CANARY_DOOR",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://breakwater-ingest.breakwater"
    )]
    door: String,
    /// A file with the bearer token that the door asks for; read again when it changes
    #[arg(long, env = "BREAKWATER_CANARY_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificate of who vouches for the door's, where no system does
    #[arg(long, env = "BREAKWATER_CANARY_CA_FILE", hide_env_values = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The namespace of its objects: nobody else's, for they are deleted again
    #[arg(
        long,
        env = "BREAKWATER_CANARY_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "breakwater-canary"
    )]
    namespace: String,
    /// From one test alert to the next, at least 10s; one that takes longer counts as lost
    #[arg(long, env = "BREAKWATER_CANARY_EVERY", hide_env_values = true, value_name = "SPAN", default_value = "1m")]
    every: String,
    #[command(flatten)]
    kubernetes: addresses::Api,
    #[command(flatten)]
    serving: addresses::Serving,
}

impl Canary {
    pub(super) async fn start(self) -> Result<(), Failure> {
        let process = self.serving.check()?;
        let every = written::parse_span(&self.every).filter(|every| *every >= LEAST).ok_or_else(|| {
            let text = format!("BREAKWATER_CANARY_EVERY: {:?} is no span of at least 10s", self.every);
            Failure::Asked(format!("{text}; write it with its unit, like 1m"))
        })?;
        if !fit::is_namespace(&self.namespace) {
            let text = format!("BREAKWATER_CANARY_NAMESPACE: {:?} is no namespace", self.namespace);
            return Err(Failure::Asked(format!("{text}; write at most 63 lower-case letters, digits and dashes")));
        }
        let kubeconfig = self.kubernetes.check()?;
        let door = self.door().await?;
        let mut house = House::open("canary", process, Manner::SERVER)?;
        let objects = client(stages::config_by(kubeconfig.as_deref()).await?)?;
        tracing::info!(namespace = self.namespace, ?every, "starting the canary");
        let canary = canary::Canary {
            door,
            objects: Api::namespaced(objects, &self.namespace),
            namespace: self.namespace,
            every,
            metrics: CanaryMetrics::register(&mut house.registry),
        };
        let stop = house.stop.clone();
        house.tasks.spawn("canary", canary.run(stop));
        Ok(house.run().await?)
    }

    /// A client of the door: any server that speaks HTTP with a token and a certificate will do for this one.
    async fn door(&self) -> Result<Client, Failure> {
        let wrong =
            |why: String| Failure::Asked(format!("BREAKWATER_CANARY_DOOR: {why}; write http://HOST[:PORT], or https"));
        let is_url = ["http://", "https://"].iter().any(|scheme| self.door.starts_with(scheme));
        if !is_url || self.door.contains('@') {
            return Err(wrong("it is no URL, or one with a user".to_owned()));
        }
        let as_text = |path: &PathBuf| path.display().to_string();
        let cluster = Cluster {
            server: Some(self.door.trim_end_matches('/').to_owned()),
            certificate_authority: self.ca_file.as_ref().map(as_text),
            ..Cluster::default()
        };
        let token = AuthInfo { token_file: self.token_file.as_ref().map(as_text), ..AuthInfo::default() };
        let name = || "door".to_owned();
        let context = Context { cluster: name(), user: Some(name()), ..Context::default() };
        let all = Kubeconfig {
            clusters: vec![NamedCluster { name: name(), cluster: Some(cluster), ..NamedCluster::default() }],
            auth_infos: vec![NamedAuthInfo { name: name(), auth_info: Some(token), ..NamedAuthInfo::default() }],
            contexts: vec![NamedContext { name: name(), context: Some(context), ..NamedContext::default() }],
            current_context: Some(name()),
            ..Kubeconfig::default()
        };
        let config = Config::from_custom_kubeconfig(all, &KubeConfigOptions::default()).await;
        let config = config.map_err(|error| wrong(error.to_string()))?;
        Ok(client(config).context("BREAKWATER_CANARY_DOOR")?)
    }
}

/// A client that waits no longer than its patience, and asks once: a server that hangs must not silence the canary.
fn client(mut config: Config) -> Result<Client, kube::Error> {
    let patience = Some(PATIENCE);
    (config.connect_timeout, config.read_timeout, config.write_timeout) = (patience, patience, patience);
    config.default_retry = false;
    Client::try_from(config)
}
