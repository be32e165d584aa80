//! `test FILE…`: what pipelines make of alerts, held against what is expected.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Failure, files, say};
use crate::{
    pipeline::{Fault, Pipeline},
    replay::trial::{self, Coverage, Trial},
};

/// Which tests.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Files of tests; pipelines/tests/alerts.yaml tells their form
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Names the rules of each pipeline that no test touches
    #[arg(long)]
    pub coverage: bool,
}

/// One file of tests with the pipeline that it is about.
struct Loaded {
    file: PathBuf,
    trial: Trial,
    /// How the pipeline is called.
    about: String,
    pipeline: Arc<Pipeline>,
}

impl Test {
    /// Runs every case of every file; ends with 1 if one was missed, with 64 if a file cannot be read.
    pub(crate) async fn start(self) -> Result<(), Failure> {
        let (mut all, mut faults) = (Vec::new(), Vec::new());
        for file in &self.files {
            match load(file) {
                Ok(loaded) => all.push(loaded),
                Err(wrong) => faults.extend(wrong),
            }
        }
        if !faults.is_empty() {
            return Err(files::told(&faults));
        }
        let (mut missed, mut coverage) = (0, BTreeMap::<String, (Arc<Pipeline>, Coverage)>::new());
        for Loaded { file, trial, about, pipeline } in all {
            let before = missed;
            let entry = coverage.entry(about).or_insert_with(|| (Arc::clone(&pipeline), Coverage::default()));
            for case in &trial.cases {
                let ran = trial::run(case, &pipeline, &mut entry.1).await?;
                let ((line, column), name) = (ran.place, &ran.name);
                if let Some(why) = &ran.missed {
                    missed += 1;
                    say(format!("{}:{line}:{column}: missed: {name}\n{why}", file.display()))?;
                }
            }
            say(summary(&file, trial.cases.len(), missed - before))?;
        }
        if self.coverage {
            for (about, (pipeline, coverage)) in &coverage {
                say(told(about, &coverage.untouched(pipeline)))?;
            }
        }
        if missed == 0 { Ok(()) } else { Err(anyhow::anyhow!("{missed} missed").into()) }
    }
}

fn summary(file: &Path, cases: usize, missed: usize) -> String {
    let all = if cases == 1 { "1 case".to_owned() } else { format!("{cases} cases") };
    let ends = if missed == 0 { "as expected".to_owned() } else { format!("{missed} missed") };
    format!("{}: {all}, {ends}\n", file.display())
}

/// A path that is written relative to a file's folder, as one would type it: `tests/a.yaml` and `../b.yaml` are `b.yaml`.
fn beside(file: &Path, relative: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let (above, rest) = (folder.file_name(), relative.strip_prefix(".."));
    match (above, rest) {
        (Some(_), Ok(rest)) if !folder.is_symlink() => beside(folder, rest),
        _ => folder.join(relative),
    }
}

fn told(about: &str, untouched: &[String]) -> String {
    match untouched {
        [] => format!("{about}: every rule is touched\n"),
        some => {
            format!("{about}: no test touches\n{}", some.iter().map(|rule| format!("  {rule}\n")).collect::<String>())
        }
    }
}

fn load(file: &Path) -> Result<Loaded, Vec<Fault>> {
    let (name, text) = files::text(file).map_err(|fault| vec![fault])?;
    let trial = Trial::parse(&name, &text)?;
    let (about, pipeline) = match &trial.pipeline {
        None => ("the shipped pipeline".to_owned(), Pipeline::default()),
        Some(relative) => {
            let path = beside(file, Path::new(relative));
            (path.display().to_string(), files::pipeline(&path)?.0)
        }
    };
    Ok(Loaded { file: file.to_owned(), trial, about, pipeline: Arc::new(pipeline) })
}
