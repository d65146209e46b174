//! What a process executes: its file and its arguments.

use super::{escape, proc_fs};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Arguments are for people to read: more than this is cut.
const MAX_CMDLINE_BYTES: u64 = 4096;
/// Threads that are asked when the main thread has ended and left no image behind.
const MAX_THREADS_ASKED: usize = 16;
/// What the kernel appends to the path of a file that is unlinked (`d_path`, `fs/d_path.c`).
const DELETED: &[u8] = b" (deleted)";

/// The file that a process executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exe {
    /// Its path as the process sees it, not escaped.
    pub path: PathBuf,
    /// It is no longer there under this path.
    pub deleted: bool,
}

/// File and arguments, as far as they could be read.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub exe: Option<Exe>,
    pub cmdline: Vec<String>,
}

/// Reads them from the main thread, or from another one when that has ended.
pub(super) fn read(pid: u32, threads: &[u32]) -> Image {
    std::iter::once(&pid)
        .chain(
            threads
                .iter()
                .filter(|tid| **tid != pid)
                .take(MAX_THREADS_ASKED),
        )
        .map(|tid| of_thread(pid, *tid))
        .find(|image| image.exe.is_some())
        .unwrap_or_default()
}

fn of_thread(pid: u32, tid: u32) -> Image {
    let task = format!("/proc/{pid}/task/{tid}");
    let exe = std::fs::read_link(format!("{task}/exe"));
    Image {
        exe: exe.ok().map(|link| exe_of(pid, Path::new(&task), link)),
        cmdline: arguments(
            &proc_fs::read(format!("{task}/cmdline"), MAX_CMDLINE_BYTES).unwrap_or_default(),
        ),
    }
}

/// A link that ends in ` (deleted)` means an unlinked file, unless that is its very name: then the
/// file is there, in the process's own root.
fn exe_of(pid: u32, task: &Path, link: PathBuf) -> Exe {
    let Some(path) = link.as_os_str().as_bytes().strip_suffix(DELETED) else {
        return Exe {
            path: link,
            deleted: false,
        };
    };
    let path = PathBuf::from(OsStr::from_bytes(path));
    let mut visible =
        PathBuf::from(format!("/proc/{}/root", proc_fs::speaker(pid))).into_os_string();
    visible.push(&link);
    let there = std::fs::metadata(&visible).is_ok_and(|seen| {
        std::fs::metadata(task.join("exe"))
            .is_ok_and(|executed| (seen.dev(), seen.ino()) == (executed.dev(), executed.ino()))
    });
    if there {
        Exe {
            path: link,
            deleted: false,
        }
    } else {
        Exe {
            path,
            deleted: true,
        }
    }
}

fn arguments(cmdline: &[u8]) -> Vec<String> {
    let cmdline = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    if cmdline.is_empty() {
        return Vec::new();
    }
    cmdline.split(|byte| *byte == 0).map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::{self, Running};

    fn exe(child: &Running) -> Exe {
        read(child.pid(), &[]).exe.unwrap()
    }

    #[test]
    fn a_deleted_file_is_told_from_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = specimen::copy_of_sleep(folder.path(), "gone");
        let child = Running::new(path.to_str().unwrap(), &["300"]);
        assert_eq!(
            exe(&child),
            Exe {
                path: path.clone(),
                deleted: false
            }
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            exe(&child),
            Exe {
                path,
                deleted: true
            }
        );
    }

    #[test]
    fn a_file_may_be_called_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = specimen::copy_of_sleep(folder.path(), "here (deleted)");
        let child = Running::new(path.to_str().unwrap(), &["300"]);
        assert_eq!(
            exe(&child),
            Exe {
                path: path.clone(),
                deleted: false
            }
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            exe(&child),
            Exe {
                path,
                deleted: true
            }
        );
    }

    #[test]
    fn arguments_are_split_and_escaped() {
        assert_eq!(arguments(b"a\0\0b\x1b\0"), ["a", "", "b\\u{1b}"]);
        assert_eq!(arguments(b"cut in the mid"), ["cut in the mid"]);
        assert!(arguments(b"").is_empty());
    }

    #[test]
    fn what_is_gone_has_no_image() {
        let image = read(u32::MAX, &[1, 2, 3]);
        assert!(image.exe.is_none() && image.cmdline.is_empty());
    }
}
