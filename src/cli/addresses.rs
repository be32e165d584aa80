//! Where things are: flags and the environment, each declared once, checked before anything is opened.
//!
//! **Invariant:** a secret is never shown: not in `Debug`, not in `Display`, not in a help, not in a complaint.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Failure, files};
use crate::{
    kafka::settings::{Settings, parse_properties},
    memory::redis::link,
    pipeline::{Pipeline, written},
};

/// Where Kafka is.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where Kafka is")]
pub(crate) struct Kafka {
    /// Brokers to begin with
    #[arg(long, env = "BREAKWATER_KAFKA_BROKERS", hide_env_values = true, value_name = "HOST:PORT,…")]
    kafka_brokers: Option<String>,
    /// A file of librdkafka properties, one key=value a line: TLS, SASL
    #[arg(long, env = "BREAKWATER_KAFKA_PROPERTIES", hide_env_values = true, value_name = "FILE")]
    kafka_properties: Option<PathBuf>,
}

/// Where Redis is.
#[derive(clap::Args)]
#[command(next_help_heading = "Where Redis is")]
pub(crate) struct Redis {
    /// Its URL, with its password: redis://:PASSWORD@HOST:PORT/DB, redis+sentinel://HOST:PORT,…/MASTER,
    /// redis+cluster://HOST:PORT,…; rediss for TLS
    #[arg(long, env = "BREAKWATER_REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
}

/// Where the API server is.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where Kubernetes is")]
pub(crate) struct Api {
    /// Who we are to the API server; without it, the service account of the pod
    #[arg(long, env = "KUBECONFIG", hide_env_values = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Where Kubernetes is, and where in it objects go.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where Kubernetes is")]
pub(crate) struct Kubernetes {
    #[command(flatten)]
    pub api: Api,
    /// Namespace of objects whose own is absent, and of what is cluster-scoped
    #[arg(
        long,
        env = "BREAKWATER_FALLBACK_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "breakwater"
    )]
    fallback_namespace: String,
}

/// Which pipeline.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The process")]
pub(crate) struct PipelineFile {
    /// What is done
    #[arg(long, env = "BREAKWATER_PIPELINE", hide_env_values = true, value_name = "FILE", default_value = SHIPPED)]
    pub pipeline: PathBuf,
}

/// How a process runs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The process")]
pub(crate) struct Process {
    #[command(flatten)]
    pub pipeline: PipelineFile,
    #[command(flatten)]
    serving: Serving,
}

/// How a process runs that follows no pipeline.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The process")]
pub(crate) struct Serving {
    /// Address for health, readiness and metrics; :PORT is every interface
    #[arg(
        long,
        env = "BREAKWATER_ADMIN_LISTEN",
        hide_env_values = true,
        value_name = "HOST:PORT",
        default_value = ":9090"
    )]
    admin_listen: String,
    /// Form of the log lines on standard error; what is logged is told by RUST_LOG
    #[arg(long, env = "BREAKWATER_LOG_FORMAT", hide_env_values = true, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,
    /// How long a stop may take until what is unfinished is left for the next start
    #[arg(long, env = "BREAKWATER_GRACE", hide_env_values = true, value_name = "SPAN", default_value = "25s")]
    grace: String,
}

const SHIPPED: &str = "pipelines/alerts.yaml";

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// A URL of Redis. Shown without what stands before the `@`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl(String);

impl RedisUrl {
    /// The URL in whole, secrets included, for the client alone.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Redis({:?})", self.redis_url.as_deref().map(redacted))
    }
}

/// A URL whose user and password are `***`, and whose query is left out.
fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(_, host)| ("***@", host)); // before '?', which a password may hold
    let host = format!("{user}{}", host.split(['?', '#']).next().unwrap_or_default());
    if scheme.is_empty() { "***".to_owned() } else { format!("{scheme}://{host}") }
}

/// Who we are to the API server, and where objects without a namespace go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// None = the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of objects whose own is absent.
    pub fallback_namespace: String,
}

/// How a process runs, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// What the pipeline was read from, to see it change; none where nobody follows it.
    pub found: Option<files::Found>,
    /// Address for health, readiness and metrics.
    pub admin_listen: SocketAddr,
    /// Form of the log lines.
    pub log_format: LogFormat,
    /// How long a stop may take.
    pub grace: Duration,
}

impl Kafka {
    /// A list of brokers, and properties that the client knows and may be given.
    pub(crate) fn check(&self) -> Result<Settings, Failure> {
        let brokers =
            needed(self.kafka_brokers.as_ref(), "BREAKWATER_KAFKA_BROKERS", "HOST:PORT, separated by commas")?;
        for broker in brokers.split(',').map(str::trim) {
            check_broker(broker)?;
        }
        let properties = match &self.kafka_properties {
            None => BTreeMap::new(),
            Some(file) => properties(file)?,
        };
        let brokers: Vec<&str> = brokers.split(',').map(str::trim).collect();
        Settings::new(brokers.join(","), properties)
            .map_err(|error| asked(format!("BREAKWATER_KAFKA_PROPERTIES: {error}")))
    }
}

fn check_broker(broker: &str) -> Result<(), Failure> {
    let wrong = |why: &str| {
        let shown = if broker.contains('@') { "***" } else { broker };
        asked(format!("BREAKWATER_KAFKA_BROKERS: {shown:?} {why}; write HOST:PORT, separated by commas"))
    };
    if broker.contains("://") || broker.contains(['@', '/', ' ']) {
        return Err(wrong("is no broker: there is no scheme, user or path in one"));
    }
    let (host, port) = broker.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
    if host.is_empty() {
        return Err(wrong("has no host"));
    }
    port.parse::<u16>().ok().filter(|port| *port > 0).map(drop).ok_or_else(|| wrong("has no port from 1 to 65535"))
}

fn properties(file: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let name = file.display();
    let text = files::read(file).map_err(|why| asked(format!("BREAKWATER_KAFKA_PROPERTIES: {name} {why}")))?;
    parse_properties(&text).map_err(|error| asked(format!("BREAKWATER_KAFKA_PROPERTIES: {name}: {error}")))
}

impl Redis {
    /// A URL that the client can read, and that leads to what the pipeline asks for.
    pub(crate) fn check(&self, pipeline: &Pipeline) -> Result<RedisUrl, Failure> {
        let url = needed(self.redis_url.as_ref(), "BREAKWATER_REDIS_URL", link::FORMS)?;
        if link::check(url).is_err() {
            let forms = link::FORMS;
            return Err(asked(format!("BREAKWATER_REDIS_URL: {} is no URL of Redis; write {forms}", redacted(url))));
        }
        let replicas = pipeline.topics.wait_replicas;
        if replicas > 0 && link::is_cluster(url) {
            let text =
                format!("BREAKWATER_REDIS_URL: {} is a cluster, where nobody can wait for replicas", redacted(url));
            return Err(asked(format!("{text}; set memory.wait_replicas to 0 in the pipeline file, not {replicas}")));
        }
        Ok(RedisUrl(url.clone()))
    }

    /// As shown: without secrets.
    pub(crate) fn shown(&self) -> Option<String> {
        self.redis_url.as_deref().map(redacted)
    }
}

impl Kubernetes {
    /// A kubeconfig that exists, if one is named, and a namespace that can be one.
    pub(crate) fn check(&self) -> Result<Cluster, Failure> {
        let name = &self.fallback_namespace;
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty()
            || name.len() > 63
            || !name.chars().all(letter)
            || name.starts_with('-')
            || name.ends_with('-')
        {
            let text = format!("BREAKWATER_FALLBACK_NAMESPACE: {name:?} is no namespace");
            return Err(asked(format!("{text}; write at most 63 lower-case letters, digits and dashes")));
        }
        Ok(Cluster { kubeconfig: self.api.check()?, fallback_namespace: name.clone() })
    }
}

impl Api {
    /// A kubeconfig that exists, if one is named.
    pub(crate) fn check(&self) -> Result<Option<PathBuf>, Failure> {
        match self.kubeconfig.as_deref() {
            Some(file) if !file.is_file() => {
                let file = file.display();
                Err(asked(format!("KUBECONFIG: there is no file {file}; name one, or unset it in a pod")))
            }
            named => Ok(named.map(Path::to_owned)),
        }
    }
}

impl Serving {
    /// How the process runs.
    pub(crate) fn check(&self) -> Result<Running, Failure> {
        let grace = written::parse_span(&self.grace).ok_or_else(|| {
            asked(format!("BREAKWATER_GRACE: {:?} is no span of time; write it with its unit, like 25s", self.grace))
        })?;
        let admin_listen = listen("BREAKWATER_ADMIN_LISTEN", &self.admin_listen)?;
        Ok(Running { found: None, admin_listen, log_format: self.log_format, grace })
    }
}

impl Process {
    /// How the process runs.
    pub(crate) fn check(&self) -> Result<Running, Failure> {
        self.serving.check()
    }

    /// The same, and the pipeline, whose file is followed from what it holds now.
    pub(crate) fn all(&self) -> Result<(Running, Pipeline), Failure> {
        let (process, found) = (self.check()?, files::Found::at(&self.pipeline.pipeline));
        let (pipeline, _) = found.check().map_err(|faults| files::told(&faults))?;
        Ok((Running { found: Some(found), ..process }, pipeline))
    }
}

impl PipelineFile {
    /// The pipeline, or all that is wrong with it.
    pub(crate) fn read(&self) -> Result<Pipeline, Failure> {
        files::pipeline(&self.pipeline).map(|(pipeline, _)| pipeline).map_err(|faults| files::told(&faults))
    }

    /// As `read`; where the default file is not there, the shipped pipeline, which is built in.
    pub(crate) fn read_or_shipped(&self) -> Result<Pipeline, Failure> {
        if self.pipeline == Path::new(SHIPPED) && !self.pipeline.exists() {
            return Ok(Pipeline::default());
        }
        self.read()
    }
}

/// Policy has one place, the pipeline. A setting of it among the variables would be ignored, so it is refused instead.
pub(crate) fn refuse_policy_in_environment(names: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let (_, settings) = Pipeline::parse_with_settings(SHIPPED, "storm: {}").unwrap_or_default();
    for name in names.filter_map(|name| name.into_string().ok()) {
        let Some(rest) = name.strip_prefix("BREAKWATER_") else {
            continue;
        };
        let meant = settings.iter().find(|setting| setting.field.to_uppercase().replace('.', "_") == rest);
        if let Some(setting) = meant {
            let text = format!("{name}: what is done has no place in the environment");
            return Err(asked(format!("{text}; set {} in the pipeline file", setting.field)));
        }
    }
    Ok(())
}

pub(super) fn listen(variable: &str, text: &str) -> Result<SocketAddr, Failure> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| {
        asked(format!("{variable}: {text:?} is no address to listen on; write IP:PORT, or :PORT for every interface"))
    })
}

fn needed<'a>(value: Option<&'a String>, variable: &str, form: &str) -> Result<&'a String, Failure> {
    value.filter(|value| !value.trim().is_empty()).ok_or_else(|| {
        let flag = variable.trim_start_matches("BREAKWATER_").to_lowercase().replace('_', "-");
        asked(format!("{variable} is not set; write {form}, there or as --{flag}"))
    })
}

pub(super) fn asked(text: String) -> Failure {
    Failure::Asked(text)
}
