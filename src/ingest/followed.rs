//! Files that are read anew when they change: credentials, which others rotate while we run.

use std::{
    fmt,
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::telemetry::metrics::IngestMetrics;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// No file of credentials is larger.
const LARGEST: usize = 1 << 20;

/// One file as it was found.
pub(super) struct Content {
    /// As it is named in a complaint.
    pub(super) file: String,
    /// All of it.
    pub(super) bytes: Vec<u8>,
}

/// Makes of the files what is in force, or says which of them is wrong, and why.
type Reading<T> = fn(&[Content]) -> Result<T, String>;

/// The files as they were last seen: the SHA-256 of all, or why they can't be used.
type Seen = Result<[u8; 32], String>;

/// What some files say together. A mounted Secret changes by a swap of symlinks, so contents are compared; kept of them is a
/// digest.
pub(super) struct Followed<T> {
    files: Vec<PathBuf>,
    reading: Reading<T>,
    first: [u8; 32],
    now: ArcSwap<T>,
}

impl<T: fmt::Debug> fmt::Debug for Followed<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} of {:?}", self.now.load(), self.files)
    }
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Reads the files for the first time.
    pub(super) fn open(files: Vec<PathBuf>, reading: Reading<T>) -> Result<Self, String> {
        let contents = contents(&files)?;
        let now = ArcSwap::from_pointee(reading(&contents)?);
        Ok(Self { first: digest(&contents), files, reading, now })
    }

    /// What is in force.
    pub(super) fn now(&self) -> Arc<T> {
        self.now.load_full()
    }

    /// Looks at the files until told to stop. What can't be used leaves in force what was: a file that is half written
    /// must not turn away senders who never come again after a 401.
    pub(super) async fn follow(self: Arc<Self>, metrics: IngestMetrics, stop: CancellationToken) {
        let mut seen = Ok(self.first);
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let (this, last) = (Arc::clone(&self), seen.clone());
            // off the runtime's threads, as a file system may hang; none if looking broke off, which says nothing
            let Ok(found) = tokio::task::spawn_blocking(move || this.look(&last)).await else { continue };
            if found != seen {
                metrics.credentials_reloaded(found.is_ok());
                seen = found;
            }
        }
    }

    /// Puts in force what the files say, if that is not what they said before; a word about it to the log.
    fn look(&self, last: &Seen) -> Seen {
        let found = self.find(last);
        if found != *last {
            match &found {
                Ok(_) => tracing::info!(files = ?self.files, "the changed credentials of the door are in force"),
                Err(why) => {
                    tracing::warn!(
                        why,
                        "the changed credentials of the door are refused, the last good ones stay in force"
                    );
                }
            }
        }
        found
    }

    fn find(&self, last: &Seen) -> Seen {
        let contents = contents(&self.files)?;
        let found = Ok(digest(&contents));
        if found != *last {
            self.now.store(Arc::new((self.reading)(&contents)?));
        }
        found
    }
}

fn contents(files: &[PathBuf]) -> Result<Vec<Content>, String> {
    files.iter().map(|file| content(file)).collect()
}

fn content(path: &Path) -> Result<Content, String> {
    let (file, mut bytes) = (path.display().to_string(), Vec::new());
    let read = File::open(path).and_then(|open| open.take(LARGEST as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() > LARGEST => Err(format!("{file} is larger than {LARGEST} bytes")),
        Ok(_) => Ok(Content { file, bytes }),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!("{file} is not there")),
        Err(error) => Err(format!("{file} cannot be read: {error}")),
    }
}

fn digest(contents: &[Content]) -> [u8; 32] {
    let mut all = Sha256::new();
    for Content { bytes, .. } in contents {
        all.update(bytes.len().to_le_bytes());
        all.update(bytes);
    }
    all.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn number(contents: &[Content]) -> Result<u32, String> {
        String::from_utf8_lossy(&contents[0].bytes).parse().map_err(|_| "it is no number".to_owned())
    }

    #[test]
    fn what_changed_is_in_force_and_what_is_broken_leaves_the_last_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let gone = format!("{} is not there", file.display());
        assert_eq!(Followed::open(vec![file.clone()], number).unwrap_err(), gone);
        fs::write(&file, "1").unwrap();
        let followed = Followed::open(vec![file.clone()], number).unwrap();
        let mut seen = Ok(followed.first);
        let mut after = |content: Option<&str>| {
            match content {
                Some(content) => fs::write(&file, content).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            seen = followed.look(&seen);
            (*followed.now(), seen.clone().err())
        };
        assert_eq!(after(Some("2")), (2, None));
        assert_eq!(after(Some("")), (2, Some("it is no number".to_owned())));
        assert_eq!(after(None), (2, Some(gone)));
        assert_eq!(after(Some("2")), (2, None));
        assert_eq!(after(Some("3")), (3, None));
    }
}
