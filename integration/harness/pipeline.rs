//! The pipeline of a test: the shipped `pipelines/alerts.yaml` under the test's names and with the number of its
//! partitions, with an overlay.
//! It is written as JSON, which is YAML as well.

use super::{PARTITIONS, Scope, repository};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where the shipped pipeline spells a name that two tests must not share. What it does not spell is left alone.
const NAMES: [&str; 6] = [
    "/topics/alerts",
    "/topics/remediations",
    "/topics/dead_letters",
    "/groups/work",
    "/groups/sink",
    "/memory/prefix",
];

/// Writes the pipeline of a test into its folder, a new file for each call.
pub fn write(scope: &Scope, overlay: Value) -> PathBuf {
    let file = scope.path(&format!("pipeline-{:08x}.yaml", fastrand::u32(..)));
    let text = serde_json::to_string_pretty(&of(scope, overlay)).expect("JSON can be written");
    std::fs::write(&file, text).expect("the test's folder can be written");
    file
}

/// The pipeline of a test as a value.
pub fn of(scope: &Scope, overlay: Value) -> Value {
    let shipped = repository("pipelines/alerts.yaml");
    let text = std::fs::read_to_string(&shipped).unwrap_or_else(|error| panic!("{}: {error}", shipped.display()));
    let mut pipeline: Value = serde_saphyr::from_str(&text).expect("the shipped pipeline is YAML");
    for place in NAMES {
        if let Some(Value::String(word)) = pipeline.pointer_mut(place) {
            *word = format!("{}-{}", word.trim_end_matches(':'), scope.name);
        }
    }
    merge(&mut pipeline, json!({ "topics": { "partitions": PARTITIONS }, "dedup": { "shards": PARTITIONS } }));
    merge(&mut pipeline, overlay);
    pipeline
}

/// Lays one value over another: objects are merged key by key, null takes a key away, all else replaces.
pub fn merge(base: &mut Value, overlay: Value) {
    match (base, overlay) {
        (Value::Object(base), Value::Object(overlay)) => {
            for (key, value) in overlay {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, overlay) => *base = overlay,
    }
}
