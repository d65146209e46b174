//! The files of a report, and where they went; who writes them is not told here.

use std::path::PathBuf;

/// A file of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its name in the folder.
    pub name: &'static str,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Where a report went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The folder.
    pub folder: PathBuf,
    /// Its files, in the order in which they were given.
    pub files: Vec<PathBuf>,
    /// It is not where the user wanted it: the places tried before and why each failed.
    pub refused: Vec<Refusal>,
}

/// A place that did not take the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The folder that was to be.
    pub folder: PathBuf,
    /// The system's words.
    pub why: String,
}
