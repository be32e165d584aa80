//! `check FILE…`: every fault of every file, each with its place.

use std::path::PathBuf;

use super::{Failure, files, say};
use crate::pipeline::Fault;

/// Checks each file; all faults of all of them are told before it ends.
pub(crate) fn check(files: &[PathBuf]) -> Result<(), Failure> {
    let mut all: Vec<Fault> = Vec::new();
    for file in files {
        match files::pipeline(file) {
            Ok(_) => say(format!("{}: good\n", file.display()))?,
            Err(faults) => all.extend(faults),
        }
    }
    if all.is_empty() { Ok(()) } else { Err(files::told(&all)) }
}
