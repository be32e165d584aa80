//! `print …`: what is generated from the program itself. `schemas/` keeps it, and CI compares.

use clap::{ArgMatches, parser::ValueSource};
use kube::CustomResourceExt;

use super::{Failure, Run, files};
use crate::{pipeline::Setting, remediation::crd::RemediationRequest};

/// The CustomResourceDefinition as YAML.
pub(crate) fn crd() -> Result<String, Failure> {
    let crd = serde_json::to_value(RemediationRequest::crd())?;
    let yaml = serde_saphyr::to_string(&crd)?;
    Ok(format!("# Printed by `breakwater print crd`. Do not edit.\n{yaml}"))
}

/// The help of the program and of each subcommand, one after the other.
pub(crate) fn help(root: clap::Command) -> String {
    let mut root = root.term_width(100).disable_version_flag(true);
    root.build();
    let mut text = String::new();
    append(&mut root, "breakwater", &mut text);
    text
}

fn append(command: &mut clap::Command, name: &str, text: &mut String) {
    text.push_str(&format!("## {name}\n\n"));
    for line in command.render_long_help().to_string().trim_end().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    for inner in command.get_subcommands_mut() {
        let name = format!("{name} {}", inner.get_name());
        append(inner, &name, text);
    }
}

/// What is in force: addresses, then the pipeline; each value with where it comes from.
pub(crate) fn config(asked: &Run, matches: &ArgMatches) -> Result<String, Failure> {
    let checked = files::pipeline(&asked.process.pipeline.pipeline);
    let (_, settings) = checked.map_err(|faults| files::told(&faults))?;
    let where_things_are = addresses(asked, matches);
    let mut lines = vec!["# Where things are".to_owned()];
    lines.extend(where_things_are.iter().map(line));
    lines.push("\n# What is done".to_owned());
    lines.extend(settings.iter().map(line));
    Ok(lines.join("\n") + "\n")
}

fn line(setting: &Setting) -> String {
    format!("{} = {} ({})", setting.field, setting.value, setting.origin)
}

/// Each address under its variable's name.
fn addresses(asked: &Run, matches: &ArgMatches) -> Vec<Setting> {
    let Some(leaf) = matches.subcommand_matches("print").and_then(|print| print.subcommand_matches("config")) else {
        return Vec::new();
    };
    let command = <Run as clap::Args>::augment_args(clap::Command::new("config"));
    let told = command.get_arguments().filter_map(|argument| {
        let variable = argument.get_env()?.to_str()?;
        let id = argument.get_id().as_str();
        let origin = match leaf.value_source(id) {
            Some(ValueSource::CommandLine) => "flag",
            Some(ValueSource::EnvVariable) => "environment",
            Some(_) => "default",
            None => "not set",
        };
        let value = match id {
            "redis_url" => asked.redis.shown().unwrap_or_default(),
            "kafka_brokers" if raw(leaf, id).contains('@') => "***".to_owned(),
            _ => raw(leaf, id),
        };
        Some(Setting { field: variable.to_owned(), value, origin: origin.to_owned() })
    });
    told.collect()
}

fn raw(leaf: &ArgMatches, id: &str) -> String {
    let mut values = leaf.get_raw(id).into_iter().flatten();
    values.next().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}
