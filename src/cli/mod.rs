//! The wiring: subcommands and flags, each declared once. Leans on all, and nothing leans on it.
//!
//! What was asked wrongly ends with 64 and names the flag, the variable, or the place in the file; what failed ends
//! with 1 and is told with its causes.

mod addresses;
mod canary;
mod check;
mod dead_letters;
mod demo;
mod entrance;
mod explain;
mod files;
mod house;
mod moment;
mod policy;
mod print;
mod progress;
mod reload;
mod replay;
mod say;
mod schemas;
mod stages;
mod test;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind as Refusal};

pub(crate) use self::say::{columns, say};
use self::{
    addresses::{Api, Kafka, Kubernetes, Process, Redis},
    entrance::{Door, Guarding},
    say::complain,
};
use crate::pipeline::Pipeline;

/// How long what still blocks at the end may take: a broker that hangs holds the last commit for ten seconds.
const LAST_RESORT: Duration = Duration::from_secs(2);
/// What a command line that cannot be followed ends with (EX_USAGE of sysexits.h).
const ASKED_WRONGLY: u8 = 64;

/// Takes alerts in at any rate and lets calm `RemediationRequest` objects out.
///
/// Where things are is told by flags or by the environment; what is done stands in the pipeline file.
/// Ends with 0, with 64 for what was asked wrongly, with 1 for what failed.
#[derive(Debug, Parser)]
#[command(name = "breakwater", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the program can be asked for.
#[derive(Debug, Subcommand)]
enum Command {
    /// Shows itself, with no server: an own Kafka, an own memory, objects as files; sends itself a load and tells what came of it
    Demo(Demo),
    /// Runs all three stages in one process
    Run(Run),
    /// Runs the door: webhooks and events in, acknowledged records out
    Ingest(Ingest),
    /// Runs the judge: records in, drafts out
    Work(Work),
    /// Runs the way out: drafts in, objects on the Kubernetes API
    Sink(Sink),
    /// Sends test alerts through the door, and tells how long their objects take; deletes them again
    Canary(Box<canary::Canary>),
    /// Tells what is wrong with pipelines, and where
    Check {
        /// Pipelines to check
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Tests pipelines: alerts with times go in, and the incidents that come out are held against those expected
    Test(test::Test),
    /// Reads a range of the log again and tells what would have come of it, beside the objects that exist; may publish what is missing
    Replay(Box<replay::Replay>),
    /// Tells the story of an alert or an incident: its records, what each of them was, what decided, what came of it
    Explain(Box<explain::Explain>),
    /// Policy over real traffic
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Topics on Kafka
    #[command(subcommand)]
    Topics(Topics),
    /// What was set aside: looked at, put back, thrown away
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Prints what is generated from the program itself
    #[command(subcommand)]
    Print(Print),
}

/// Where a demonstration writes, and whether it stays.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Folder for the objects, one YAML file each; a temporary one if it is not given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Stays up when its own load is through, and takes more
    #[arg(long)]
    pub serve: bool,
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    process: Process,
}

#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    kafka: Kafka,
    #[command(flatten)]
    redis: Redis,
    #[command(flatten)]
    kubernetes: Kubernetes,
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    guarding: Guarding,
    #[command(flatten)]
    process: Process,
}

#[derive(Debug, clap::Args)]
struct Ingest {
    #[command(flatten)]
    kafka: Kafka,
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    guarding: Guarding,
    // asked only where the API server judges tokens
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    process: Process,
}

#[derive(Debug, clap::Args)]
struct Work {
    #[command(flatten)]
    kafka: Kafka,
    #[command(flatten)]
    redis: Redis,
    #[command(flatten)]
    kubernetes: Kubernetes,
    #[command(flatten)]
    process: Process,
}

#[derive(Debug, clap::Args)]
struct Sink {
    #[command(flatten)]
    kafka: Kafka,
    #[command(flatten)]
    kubernetes: Kubernetes,
    #[command(flatten)]
    process: Process,
}

#[derive(Debug, Subcommand)]
enum Topics {
    /// Makes the topics of the pipeline; those that are there stay as they are, and what differs is told
    Create {
        #[command(flatten)]
        kafka: Kafka,
        #[command(flatten)]
        pipeline: addresses::PipelineFile,
    },
}

#[derive(Debug, Subcommand)]
enum Print {
    /// The CustomResourceDefinition, for kubectl apply
    Crd,
    /// A schema as JSON; without a name, the names that there are
    Schemas {
        /// Which one
        name: Option<schemas::Name>,
    },
    /// Every metric: name, type, labels, meaning
    Metrics,
    /// What is in force, each value with where it comes from; secrets as ***
    Config(Box<Run>),
    /// The help of every subcommand
    Help,
}

/// Form of a report on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked wrongly: this is what to mend.
    Asked(String),
    /// It was asked rightly, and it failed.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Reads the command line, does what it asks, and tells how it ended.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // kube, redis and the exporter all speak TLS through this one; a second call finds it installed, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    match Cli::command().try_get_matches_from(args) {
        Ok(matches) => ended(obey(&matches)),
        Err(refusal) if matches!(refusal.kind(), Refusal::DisplayHelp | Refusal::DisplayVersion) => {
            ended(say(refusal.render()))
        }
        Err(refusal) => {
            complain(refusal.render().to_string().trim_end());
            ExitCode::from(ASKED_WRONGLY)
        }
    }
}

fn ended(end: Result<(), Failure>) -> ExitCode {
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Asked(text)) => {
            complain(text);
            ExitCode::from(ASKED_WRONGLY)
        }
        Err(Failure::Failed(error)) => {
            complain(format!("breakwater: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn obey(matches: &ArgMatches) -> Result<(), Failure> {
    addresses::refuse_policy_in_environment(std::env::vars_os().map(|(name, _)| name))?;
    let cli = Cli::from_arg_matches(matches).map_err(|error| Failure::Asked(error.render().to_string()))?;
    match cli.command {
        Command::Check { files } => check::check(&files),
        Command::Print(Print::Crd) => say(print::crd()?),
        Command::Print(Print::Schemas { name }) => say(name.map_or_else(schemas::names, schemas::Name::print)),
        Command::Print(Print::Metrics) => say(crate::telemetry::metrics::table()),
        Command::Print(Print::Config(asked)) => say(print::config(&asked, matches)?),
        Command::Print(Print::Help) => say(print::help(Cli::command())),
        Command::Demo(_)
        | Command::Run(_)
        | Command::Ingest(_)
        | Command::Work(_)
        | Command::Sink(_)
        | Command::Canary(_)
        | Command::DeadLetters(_)
        | Command::Test(_)
        | Command::Replay(_)
        | Command::Explain(_)
        | Command::Policy(_)
        | Command::Topics(_) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let end = runtime.block_on(Box::pin(start(cli.command)));
            runtime.shutdown_timeout(LAST_RESORT);
            end
        }
    }
}

/// Hands over to the stages. The wiring's futures are large, and there is one of each: they live on the heap.
async fn start(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(asked) => Box::pin(asked.start()).await,
        Command::Run(asked) => Box::pin(asked.start()).await,
        Command::Ingest(asked) => Box::pin(asked.start()).await,
        Command::Work(asked) => Box::pin(asked.start()).await,
        Command::Sink(asked) => Box::pin(asked.start()).await,
        Command::Canary(asked) => Box::pin(asked.start()).await,
        Command::Topics(asked) => Box::pin(asked.start()).await,
        Command::DeadLetters(asked) => Box::pin(asked.start()).await,
        Command::Test(asked) => Box::pin(asked.start()).await,
        Command::Replay(asked) => Box::pin(asked.start()).await,
        Command::Explain(asked) => Box::pin(asked.start()).await,
        Command::Policy(asked) => Box::pin(asked.start()).await,
        Command::Check { .. } | Command::Print(_) => Ok(()),
    }
}

// Each checks everything that can be checked before anything is opened.

impl Demo {
    async fn start(self) -> Result<(), Failure> {
        let (process, door) = (self.process.check()?, self.door.check()?);
        let pipeline = self.process.pipeline.read_or_shipped()?;
        demo::demo(self, door, process, pipeline).await
    }
}

impl Run {
    async fn start(self) -> Result<(), Failure> {
        let (process, pipeline) = self.process.all()?;
        let (kafka, redis) = (self.kafka.check()?, self.redis.check(&pipeline)?);
        let (kubernetes, door) = (self.kubernetes.check()?, self.guarding.check(&self.door, &self.kubernetes.api)?);
        let everything = stages::Everything { kafka, redis, kubernetes, door };
        Ok(stages::run(everything, process, pipeline).await?)
    }
}

impl Ingest {
    async fn start(self) -> Result<(), Failure> {
        let (process, pipeline) = self.process.all()?;
        let (kafka, door) = (self.kafka.check()?, self.guarding.check(&self.door, &self.api)?);
        Ok(stages::ingest((kafka, door), process, pipeline).await?)
    }
}

impl Work {
    async fn start(self) -> Result<(), Failure> {
        let (process, pipeline) = self.process.all()?;
        let addresses = (self.kafka.check()?, self.redis.check(&pipeline)?, self.kubernetes.check()?);
        Ok(stages::work(addresses, process, pipeline).await?)
    }
}

impl Sink {
    async fn start(self) -> Result<(), Failure> {
        let (process, pipeline) = self.process.all()?;
        Ok(stages::sink((self.kafka.check()?, self.kubernetes.check()?), process, pipeline).await?)
    }
}

impl Topics {
    async fn start(self) -> Result<(), Failure> {
        let Self::Create { kafka, pipeline } = self;
        let pipeline: Pipeline = pipeline.read()?;
        stages::create_topics(kafka.check()?, pipeline).await
    }
}

#[cfg(test)]
mod tests;
