//! A file of tokens, one a line. What is kept of each is its SHA-256.

use std::{fmt, hint::black_box, path::Path, sync::Arc};

use super::{LONGEST_TOKEN, Verdict, digest, may_stand_in_a_token};
use crate::ingest::followed::{Content, Followed};

/// What can be guessed is no token.
const SHORTEST: usize = 16;

/// Tokens that open the door, as their file says now.
#[derive(Clone, Debug)]
pub struct Tokens(pub(in crate::ingest) Arc<Followed<Known>>);

/// The SHA-256 of each token.
pub(in crate::ingest) struct Known(Vec<[u8; 32]>);

impl fmt::Debug for Known {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Reads a file with a token in each line; blank lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// The file, the line, and what is wrong with it; never what stands there.
    pub fn open(file: &Path) -> Result<Self, String> {
        let followed = Followed::open(vec![file.to_owned()], |contents| contents.iter().map(known).collect())?;
        Ok(Self(Arc::new(followed)))
    }

    pub(super) fn judge(&self, token: &str) -> Verdict {
        if self.0.now().has(&digest(token)) { Verdict::Permitted } else { Verdict::Unknown }
    }
}

impl FromIterator<Known> for Known {
    fn from_iter<I: IntoIterator<Item = Self>>(files: I) -> Self {
        Self(files.into_iter().flat_map(|known| known.0).collect())
    }
}

impl Known {
    /// Every one is compared, and to its end, so that the time it takes tells nothing.
    fn has(&self, shown: &[u8; 32]) -> bool {
        let differs = |one: &[u8; 32]| one.iter().zip(shown).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
        self.0.iter().fold(false, |found, one| black_box(found | (differs(one) == 0)))
    }
}

fn known(content: &Content) -> Result<Known, String> {
    let file = &content.file;
    let text = std::str::from_utf8(&content.bytes).map_err(|_| format!("{file} is not UTF-8 text"))?;
    let mut known = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.bytes().all(may_stand_in_a_token) {
            return Err(format!("{file}:{number}: this is no token; write one a line, of letters, digits and -._~+/="));
        }
        if !(SHORTEST..=LONGEST_TOKEN).contains(&line.len()) {
            let length = line.len();
            return Err(format!(
                "{file}:{number}: a token must have {SHORTEST} to {LONGEST_TOKEN} characters, not {length}"
            ));
        }
        known.push(digest(line));
    }
    if known.is_empty() { Err(format!("{file} has no token; write one a line")) } else { Ok(Known(known)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "first-token-0123456789";
    const OTHER: &str = "other-token-0123456789";

    fn read(text: impl AsRef<[u8]>) -> Result<Known, String> {
        known(&Content { file: "tokens".to_owned(), bytes: text.as_ref().to_vec() })
    }

    #[test]
    fn o01_a_file_of_tokens_is_read_line_by_line_and_its_faults_show_no_token() {
        let known = read(format!("# Alertmanager\n{ONE}\n\n  {OTHER}\r\n")).unwrap();
        assert!(known.has(&digest(ONE)) && known.has(&digest(OTHER)));
        assert!(!known.has(&digest("first-token-012345678")) && !known.has(&digest("")));
        assert_eq!(format!("{known:?}"), "2 tokens");
        for (text, fault) in [
            ("", "tokens has no token"),
            ("# only a comment\n", "tokens has no token"),
            ("first-token-0123456789\nhunter2", "tokens:2: a token must have 16 to 8192 characters, not 7"),
            ("hunter2 hunter2 hunter2", "tokens:1: this is no token"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.starts_with(fault) && !told.contains("hunter2"), "{told}");
        }
        assert_eq!(read([0xff, 0xfe]).unwrap_err(), "tokens is not UTF-8 text");
    }
}
