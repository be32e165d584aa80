//! What is said: on standard output, and what is complained of on standard error.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use super::Failure;

/// Writes to standard output. Whoever reads may have had enough: a closed pipe is no failure.
pub(crate) fn say(text: impl Display) -> Result<(), Failure> {
    tell(&mut io::stdout().lock(), text)
}

pub(super) fn tell(out: &mut impl Write, text: impl Display) -> Result<(), Failure> {
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => {
            written.map_err(|error| anyhow::Error::new(error).context("standard output cannot be written").into())
        }
    }
}

/// Lines of cells as columns, two blanks between them; the last one is as wide as it likes.
pub(crate) fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| wide(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Writes a line to standard error; there is nobody to tell if that fails.
pub(super) fn complain(text: impl Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}
