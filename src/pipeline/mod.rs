//! What the operator asked for: text → [`Pipeline`], whole and checked; every fault with line, column and reason.
//!
//! **Invariant:** no address and no secret is in here, and nothing below `cli` reads a file: text comes in.

mod change;
pub mod dedup;
pub mod environment;
pub mod expression;
pub mod fault;
pub mod identity;
pub mod ingest;
pub mod priority;
pub mod reading;
pub mod severity;
pub mod sink;
pub mod storm;
pub mod topics;
pub mod written;

#[cfg(test)]
mod tests;

use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_saphyr::{Options, options};

pub use self::{fault::Fault, reading::Setting};
use self::{reading::Reading, written::show_span};

/// The longest text of a pipeline, in bytes.
pub const MAX_TEXT: usize = 256 * 1024;

/// One running pipeline, checked. The default is the shipped one.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    /// Topics, consumer groups, and Redis' key prefix.
    pub topics: topics::Topics,
    /// What the door takes.
    pub ingest: ingest::IngestPolicy,
    /// Whom an alert is about, and what makes two alerts the same.
    pub identity: crate::alert::record::IdentityRules,
    /// When a repeat is a duplicate.
    pub dedup: dedup::DedupPolicy,
    /// When kin are a storm.
    pub storm: storm::StormPolicy,
    /// Namespace → environment.
    pub environment: environment::EnvironmentPolicy,
    /// What is written → severity.
    pub severity: severity::SeverityPolicy,
    /// Environment and severity → priority.
    pub priority: priority::PriorityPolicy,
    /// How objects are written.
    pub sink: sink::SinkPolicy,
}

impl Pipeline {
    /// Reads and checks a pipeline. `file_name` is only how faults call it. Says all that it finds wrong, in the text's order.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, Vec<Fault>> {
        Self::parse_with_settings(file_name, text).map(|(pipeline, _)| pipeline)
    }

    /// As [`Pipeline::parse`]; also tells each setting in force, and where it comes from.
    pub fn parse_with_settings(file_name: &str, text: &str) -> Result<(Self, Vec<Setting>), Vec<Fault>> {
        Self::parse_with(file_name, text, None)
    }

    /// The file that a pipeline's text names, relative to its own, for the loader to attach. None also where the text
    /// is no pipeline: what is wrong with it is told by [`Pipeline::parse_with`].
    #[must_use]
    pub fn names_file(text: &str) -> Option<String> {
        let raw = read("", text).ok()?;
        raw.priority.rego.map(|rego| rego.file.0.value)
    }

    /// As [`Pipeline::parse_with_settings`], with the text of the file that the pipeline names.
    pub fn parse_with(
        file_name: &str,
        text: &str,
        attached: Option<&priority::Attached>,
    ) -> Result<(Self, Vec<Setting>), Vec<Fault>> {
        let mut reading = Reading::new(file_name, text);
        let raw = match read(file_name, text) {
            Ok(raw) => raw,
            Err(fault) => return Err(vec![fault]),
        };
        let pipeline = check(&raw, attached, &mut reading);
        if reading.faults.is_empty() {
            return Ok((pipeline, reading.settings));
        }
        reading.faults.sort_by_key(|fault| (fault.line, fault.column));
        Err(reading.faults)
    }

    /// How far back in event time a rewind reads: whatever is older can no longer touch a decision.
    #[must_use]
    pub fn horizon(&self) -> Duration {
        let storm = self.storm.rules.iter().map(|rule| rule.window).max().unwrap_or_default();
        let storm = storm + self.storm.max_duration + self.storm.quiet;
        self.dedup.ttl.max(storm).max(self.dedup.cooldown) + self.storm.hold
    }
}

/// The form of a pipeline's text, as JSON Schema.
#[must_use]
pub fn schema() -> Schema {
    schemars::schema_for!(RawPipeline)
}

/// One running pipeline: what is done. Where things are is set in the environment. What is not written is as shipped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Breakwater pipeline, version 1", rename = "Pipeline")]
struct RawPipeline {
    /// Topics on Kafka.
    #[serde(default)]
    topics: topics::RawTopics,
    /// Consumer groups on Kafka.
    #[serde(default)]
    groups: topics::RawGroups,
    /// Redis.
    #[serde(default)]
    memory: topics::RawMemory,
    /// What the door takes.
    #[serde(default)]
    ingest: ingest::RawIngest,
    /// Whom an alert is about, and what makes two alerts the same.
    #[serde(default)]
    identity: identity::RawIdentity,
    /// When a repeat is a duplicate.
    #[serde(default)]
    dedup: dedup::RawDedup,
    /// When kin are a storm.
    #[serde(default)]
    storm: storm::RawStorm,
    /// Namespace → environment.
    #[serde(default)]
    environment: environment::RawEnvironment,
    /// What is written → severity.
    #[serde(default)]
    severity: severity::RawSeverity,
    /// Environment and severity → priority.
    #[serde(default)]
    priority: priority::RawPriority,
    /// How objects are written.
    #[serde(default)]
    sink: sink::RawSink,
}

/// Text → as written. An empty text is a fault: an operator who mounts nothing wants to hear of it.
fn read(file_name: &str, text: &str) -> Result<RawPipeline, Fault> {
    let fault =
        |text: String, hint: &str| Fault { file: file_name.into(), line: 1, column: 1, text, hint: hint.into() };
    if text.len() > MAX_TEXT {
        return Err(fault(format!("a pipeline has at most {MAX_TEXT} bytes, got {}", text.len()), "split it"));
    }
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim_end() == "---";
    if text.lines().all(blank) {
        return Err(fault("the pipeline is empty".into(), "write at least one section, such as storm: {}"));
    }
    serde_saphyr::from_str_with_options(text, limits()).map_err(|error| fault::of_yaml(file_name, text, &error))
}

/// No pipeline is deep, or repeats itself: whatever unfolds beyond this is a bomb or a mistake.
fn limits() -> Options {
    options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 100_000, max_nodes: 20_000, max_aliases: 100, max_anchors: 100, max_depth: 16, max_documents: 2,
            max_total_scalar_bytes: MAX_TEXT, max_merge_keys: 100,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000, max_replay_stack_depth: 16 },
    }
}

fn check(raw: &RawPipeline, attached: Option<&priority::Attached>, reading: &mut Reading<'_>) -> Pipeline {
    let topics = topics::check(&raw.topics, &raw.groups, &raw.memory, reading);
    let severity = severity::check(&raw.severity, reading);
    let environment = environment::check(&raw.environment, reading);
    let beside = priority::Beside { severity: &severity, environment: &environment, attached };
    let pipeline = Pipeline {
        ingest: ingest::check(&raw.ingest, reading),
        identity: identity::check(&raw.identity, reading),
        dedup: dedup::check(&raw.dedup, reading),
        storm: storm::check(&raw.storm, reading),
        priority: priority::check(&raw.priority, beside, reading),
        sink: sink::check(&raw.sink, reading),
        topics,
        environment,
        severity,
    };
    if pipeline.topics.retention <= pipeline.horizon() {
        let (kept, back) = (show_span(pipeline.topics.retention), show_span(pipeline.horizon()));
        let text = format!("topics.retention ({kept}) must be longer than a rewind reaches back ({back})");
        let hint = "lengthen it, or shorten dedup.ttl, storm.window, storm.max_duration or storm.quiet";
        reading.fault(raw.topics.retention_place(), text, hint);
    }
    pipeline
}
