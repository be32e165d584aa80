//! Pipeline files, each with the file that it names. What was found is kept as it was, so that whoever follows a file
//! can tell a change from what the process began with.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::pipeline::{Fault, MAX_TEXT, Pipeline, Setting, priority::Attached};

/// What a pipeline's file and the one that it names hold, or why they cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The file, as it was named to us.
    pub file: PathBuf,
    text: Result<String, Fault>,
    attached: Option<Attached>,
}

impl Found {
    /// Reads both. Blocks for as long as the file system does.
    pub(crate) fn at(file: &Path) -> Self {
        let text = text(file).map(|(_, text)| text);
        let attached = text.as_ref().ok().and_then(|text| attached(file, text));
        Self { file: file.to_owned(), text, attached }
    }

    /// The pipeline and its settings, or all that is wrong with either file.
    pub(crate) fn check(&self) -> Result<(Pipeline, Vec<Setting>), Vec<Fault>> {
        let text = self.text.as_ref().map_err(|fault| vec![fault.clone()])?;
        Pipeline::parse_with(&self.file.display().to_string(), text, self.attached.as_ref())
    }
}

/// A pipeline with the file that it names, and its settings; or all that is wrong with either.
pub(crate) fn pipeline(file: &Path) -> Result<(Pipeline, Vec<Setting>), Vec<Fault>> {
    Found::at(file).check()
}

/// A file's text and how faults call it. What cannot be read is a fault at its beginning.
pub(crate) fn text(file: &Path) -> Result<(String, String), Fault> {
    let name = file.display().to_string();
    match read(file) {
        Ok(text) => Ok((name, text)),
        Err(why) => {
            let hint = "name a pipeline, such as pipelines/alerts.yaml".to_owned();
            Err(Fault { file: name, line: 1, column: 1, text: format!("the file {why}"), hint })
        }
    }
}

/// The file that a pipeline's text names, read from beside it.
fn attached(file: &Path, text: &str) -> Option<Attached> {
    let beside = file.parent().unwrap_or(Path::new("")).join(Pipeline::names_file(text)?);
    Some(Attached { name: beside.display().to_string(), text: read(&beside) })
}

/// The text of a file of at most the size of a pipeline; else why not, as the rest of a sentence about it.
pub(super) fn read(file: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| match error.kind() == std::io::ErrorKind::NotFound {
        true => "is not there".to_owned(),
        false => format!("cannot be read: {error}"),
    };
    if file.is_dir() {
        return Err("is a folder".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes)).map_err(told)?;
    if bytes.len() > MAX_TEXT {
        return Err(format!("is larger than {MAX_TEXT} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

/// All faults, a line each.
pub(crate) fn told(faults: &[Fault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Failure::Asked(lines.join("\n"))
}
