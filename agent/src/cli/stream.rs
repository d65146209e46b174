//! `--jsonl FILE`: each window of the timeline when it is over.

use crate::{model::timeline::Window, report::jsonl};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The file, until it refuses a line.
pub struct Stream {
    path: PathBuf,
    file: File,
    failed: Option<io::Error>,
    missed: u64,
}

impl Stream {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// When it cannot be written: known before the capture begins.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path)
            .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            failed: None,
            missed: 0,
        })
    }

    /// Writes a window. After a failure the rest is counted: half a line must stay the last one.
    pub fn write(&mut self, window: &Window) {
        if self.failed.is_some() {
            self.missed += 1;
            return;
        }
        let written = jsonl::line(window)
            .map_err(io::Error::other)
            .and_then(|line| self.file.write_all(&line));
        if let Err(error) = written {
            self.failed = Some(error);
            self.missed += 1;
        }
    }

    /// What went wrong, in a line; `None` if nothing did.
    pub fn complaint(&self) -> Option<String> {
        let error = self.failed.as_ref()?;
        Some(format!(
            "cannot write {}: {error}; {} windows are missing there (report.json has all of them)",
            self.path.display(),
            self.missed
        ))
    }
}
