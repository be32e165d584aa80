//! The architecture is a test: a wrong `use` fails with file, room and target.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Who may lean on whom. A room that is missing here leans on nobody; everybody leans on `crash`.
const ARROWS: &[(&str, &[&str])] = &[
    ("remediation", &["alert"]),
    ("pipeline", &["alert"]),
    ("decide", &["alert", "remediation", "pipeline"]),
    ("kafka", &["alert", "decide", "telemetry"]),
    ("ingest", &["alert", "pipeline", "kafka", "telemetry"]),
    ("memory", &["alert", "remediation", "pipeline", "decide", "telemetry"]),
    ("work", &["alert", "remediation", "pipeline", "decide", "kafka", "memory", "lifecycle", "telemetry"]),
    ("sink", &["alert", "remediation", "pipeline", "decide", "kafka", "lifecycle", "telemetry"]),
    ("replay", &["alert", "remediation", "pipeline", "decide", "kafka", "memory", "work", "sink", "telemetry"]),
    ("canary", &["remediation", "telemetry", "lifecycle"]),
    ("telemetry", &["decide"]),
    ("lifecycle", &["telemetry"]),
    (
        "cli",
        &[
            "alert",
            "remediation",
            "pipeline",
            "decide",
            "kafka",
            "ingest",
            "memory",
            "work",
            "sink",
            "replay",
            "canary",
            "telemetry",
            "lifecycle",
        ],
    ),
    ("main", &["cli"]),
];

/// Rooms without a clock, IO, chance, `async`, or any client in sight.
const PURE: &[&str] = &["alert", "remediation", "pipeline", "decide"];
const IMPURE: &[&str] = &[
    "tokio::",
    "rdkafka::",
    "redis::",
    "fastrand::",
    "std::net",
    "std::fs",
    "SystemTime",
    "Timestamp::now",
    "async fn",
    ".await",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The room of a file: the folder or file right below `src`.
fn room(src: &Path, file: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// A file without its comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The rooms named after each `crate::` (or `breakwater::`, in `main`): by path, or in braces.
fn targets(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["crate::", "breakwater::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                None => found.push(word(rest)),
                Some(list) => found.extend(heads(list)),
            }
        }
    }
    found.retain(|target| !target.is_empty());
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

/// The first word of each entry of a list in braces, whatever is nested in it.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut heads, mut fresh) = (0, Vec::new(), true);
    for (at, char) in list.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            char if fresh && (char.is_alphanumeric() || char == '_') => {
                heads.push(word(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

#[test]
fn who_may_lean_on_whom() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: Vec<String> = files(&src).iter().map(|file| room(&src, file)).collect();
    let mut wrong = Vec::new();
    for file in files(&src).into_iter().filter(|file| !file.ends_with("tests.rs")) {
        let from = room(&src, &file);
        let allowed = ARROWS.iter().find(|(room, _)| *room == from).map_or(&[][..], |(_, allowed)| allowed);
        for target in targets(&code(&file)) {
            let known = rooms.contains(&target) && target != from && target != "crash";
            if known && !allowed.contains(&target.as_str()) {
                wrong.push(format!("{}: {from} may not lean on {target}", file.display()));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_is_pure_stays_pure() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in files(&src).iter().filter(|file| PURE.contains(&room(&src, file).as_str())) {
        let code = code(file);
        wrong.extend(
            IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", file.display())),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_list_of_targets_is_read_however_it_is_nested() {
    let code = "use crate::{\n alert::{Alert, EventTime},\n decide::outcome::Outcome, };\nlet x = crate::memory::form::read();";
    assert_eq!(targets(code), ["alert", "decide", "memory"]);
}
