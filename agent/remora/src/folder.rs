//! The report folder: whole or not at all, and somewhere in any case.
//!
//! The place is checked before the capture, so that nobody waits 30 seconds to hear of a typing
//! error. All files are written into a hidden folder beside the place and renamed into it when
//! they are safe on disk: what has the report's name is whole. A disk that is full by then does not
//! cost the capture: other places are tried, and the user is told which and why.

use remora_report::{Artifact, Refusal, Written};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Why there is no place for a report. One line each: what, why, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// Something is there that is not a folder.
    #[error("{} exists and is not a folder: name another with --out", .0.display())]
    NotAFolder(PathBuf),
    /// A folder is there with something in it.
    #[error("{} exists and is not empty: name another with --out, or remove it", .0.display())]
    NotEmpty(PathBuf),
    /// A folder that cannot be replaced as a whole.
    #[error("{} is {what}: name a folder inside it, such as --out {}", .folder.display(),
        .folder.join("report").display())]
    Irreplaceable {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// The folder that it should be in is not there.
    #[error("{} does not exist: create it, or name another place with --out", .0.display())]
    NoParent(PathBuf),
    /// Nothing can be written there.
    #[error("cannot write in {}: {why}: name another place with --out", .folder.display())]
    Unwritable {
        /// The folder that the report should be in.
        folder: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Neither the place nor a fallback took the report.
    #[error("the report could not be written anywhere: {}: make room and capture again",
        .0.iter().map(|no| format!("{}: {}", no.folder.display(), no.why)).collect::<Vec<_>>()
            .join("; "))]
    NoPlace(Vec<Refusal>),
}

/// A place for a report, checked.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    parent: PathBuf,
    name: OsString,
    fallbacks: Vec<PathBuf>,
}

impl Folder {
    /// Checks that a report can be written to `path`, or to `default_name` in the current folder.
    /// Leaves nothing behind, neither now nor when the folder is never written.
    pub(crate) fn prepare(path: Option<&Path>, default_name: &str) -> Result<Self, FolderError> {
        let wanted = path.unwrap_or(Path::new(default_name));
        let refused = |error| unwritable(wanted, &error);
        let absolute = std::path::absolute(wanted).map_err(refused)?;
        let target = check_existing(&absolute)?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(FolderError::NotEmpty(target));
        };
        if !parent.exists() {
            return Err(FolderError::NoParent(parent.to_owned()));
        }
        let name = name.to_owned();
        let folder = Self {
            parent: parent.to_owned(),
            name,
            fallbacks: fallbacks(),
        };
        let probe = partial(parent, &folder.name).and_then(TempDir::close);
        probe.map_err(|error| unwritable(parent, &error))?;
        Ok(folder)
    }

    /// Writes all files: into the folder, or else into one of the same name in `$TMPDIR`,
    /// `/var/tmp` or `/dev/shm`, the first that takes them.
    pub(crate) fn write(&self, artifacts: &[Artifact]) -> Result<Written, FolderError> {
        let mut refused = Vec::new();
        let others = self.fallbacks.iter().filter(|place| **place != self.parent);
        for parent in std::iter::once(&self.parent).chain(others) {
            match write_in(parent, &self.name, artifacts) {
                Ok(folder) => {
                    let files = artifacts
                        .iter()
                        .map(|file| folder.join(file.name))
                        .collect();
                    return Ok(Written {
                        folder,
                        files,
                        refused,
                    });
                }
                Err(error) => {
                    let folder = parent.join(&self.name);
                    refused.push(Refusal {
                        folder,
                        why: error.to_string(),
                    });
                }
            }
        }
        Err(FolderError::NoPlace(refused))
    }
}

fn unwritable(folder: &Path, error: &io::Error) -> FolderError {
    FolderError::Unwritable {
        folder: folder.to_owned(),
        why: words(error),
    }
}

/// The system's words, without the path of the temporary folder that `tempfile` puts behind them.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" at path ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// What stands at the place already: nothing, or an empty folder that can be replaced. Gives the
/// place with links resolved, for a rename would replace the link.
fn check_existing(path: &Path) -> Result<PathBuf, FolderError> {
    let unreadable = |error| unwritable(path, &error);
    if path.symlink_metadata().is_err() {
        return Ok(path.to_owned());
    }
    let real = path.canonicalize().map_err(unreadable)?;
    if !real.is_dir() {
        return Err(FolderError::NotAFolder(path.to_owned()));
    }
    if fs::read_dir(&real).map_err(unreadable)?.next().is_some() {
        return Err(FolderError::NotEmpty(path.to_owned()));
    }
    let irreplaceable = |what| FolderError::Irreplaceable {
        folder: path.to_owned(),
        what,
    };
    if std::env::current_dir().is_ok_and(|current| current.starts_with(&real)) {
        return Err(irreplaceable("the current folder"));
    }
    if is_mount_point(&real).map_err(unreadable)? {
        return Err(irreplaceable("a mount point"));
    }
    Ok(real)
}

fn is_mount_point(folder: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let Some(parent) = folder.parent() else {
        return Ok(true);
    };
    Ok(folder.metadata()?.dev() != parent.metadata()?.dev())
}

/// Places that are often on another file system, in the order in which they are tried.
fn fallbacks() -> Vec<PathBuf> {
    let configured = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    let fixed = ["/var/tmp", "/dev/shm"].map(PathBuf::from);
    let mut places: Vec<PathBuf> = Vec::new();
    for place in configured.map(PathBuf::from).into_iter().chain(fixed) {
        if place.is_absolute() && !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// A hidden folder that removes itself unless it is kept.
fn partial(parent: &Path, name: &OsStr) -> io::Result<TempDir> {
    use std::os::unix::fs::PermissionsExt;
    // The umask decides who may read a report, as for any other file of the user.
    let permissions = fs::Permissions::from_mode(0o777);
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".partial-");
    tempfile::Builder::new()
        .prefix(&prefix)
        .permissions(permissions)
        .tempdir_in(parent)
}

/// Writes all files and gives the folder its name; on any failure nothing is left.
fn write_in(parent: &Path, name: &OsStr, artifacts: &[Artifact]) -> io::Result<PathBuf> {
    let partial = partial(parent, name)?;
    for artifact in artifacts {
        let mut file = File::create_new(partial.path().join(artifact.name))?;
        file.write_all(&artifact.bytes)?;
        file.sync_all()?;
    }
    File::open(partial.path())?.sync_all()?;
    let folder = parent.join(name);
    // Replaces an empty folder; fails on one that was filled since it was checked.
    fs::rename(partial.path(), &folder)?;
    let _renamed = partial.keep();
    // The files are safe and in place: should this fail, only a power cut now could hide the name.
    let _ = File::open(parent).and_then(|parent| parent.sync_all());
    Ok(folder)
}

#[cfg(test)]
mod tests;
