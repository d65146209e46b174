//! The store of open files: each mapped file once, however many processes map it, and never more
//! than a stated number.

use super::super::proc_fs::speaker;
use super::line::Line;
use super::module::{Content, Module};
use crate::deadline::{self, Step, Subject};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Files held open at the most, unless the caller says otherwise. Each takes a descriptor.
pub const DEFAULT_OPEN_FILES: usize = 4096;
/// The vDSO is two to four pages; this is more than any kernel maps, in bytes.
const MAX_VDSO: u64 = 256 << 10;
/// Distinct vDSO images that are kept: native, 32-bit, x32.
const MAX_VDSOS: usize = 4;

/// Files that could not be held, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileLosses {
    /// The store was full.
    pub refused: u64,
    /// Opening failed, or the path led to another file than the one that is mapped.
    pub unreadable: u64,
}

type FileId = (u64, u64, PathBuf);

/// All open modules.
#[derive(Debug)]
pub struct Files {
    modules: HashMap<FileId, Weak<Module>>,
    vdsos: Vec<Arc<Module>>,
    limit: usize,
    losses: FileLosses,
}

impl Default for Files {
    fn default() -> Self {
        Self::new(DEFAULT_OPEN_FILES)
    }
}

impl Files {
    /// A store of at most `limit` open files. A file is closed when the last snapshot that maps
    /// it is dropped.
    pub fn new(limit: usize) -> Self {
        Self {
            modules: HashMap::new(),
            vdsos: Vec::new(),
            limit,
            losses: FileLosses::default(),
        }
    }

    /// What could not be held so far.
    pub fn losses(&self) -> FileLosses {
        self.losses
    }

    /// Files that are open now.
    pub fn open_files(&self) -> usize {
        self.modules
            .values()
            .filter(|module| module.strong_count() > 0)
            .count()
    }

    /// The modules behind mappings of `pid`: those that are open already, the others opened now, the files of one
    /// file system at a time. Where that does not answer, they are there without content.
    ///
    /// The kernel's device and inode numbers identify the file; the path is part of the key
    /// because overlay file systems show numbers that are not unique.
    pub(super) fn open<'a>(&mut self, pid: u32, lines: impl Iterator<Item = &'a Line>) -> Opened {
        let mut opened = Opened::default();
        let mut missing: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
        for line in lines {
            let id = id(line);
            if opened.0.contains_key(&id) {
                continue;
            }
            match self.modules.get(&id).and_then(Weak::upgrade) {
                Some(module) => drop(opened.0.insert(id, module)),
                None => missing.entry(line.device).or_default().push(line.clone()),
            }
        }
        for (device, mut lines) in missing {
            lines.sort_by_key(id);
            lines.dedup_by_key(|line| id(line));
            for module in self.open_of(pid, device, lines) {
                let id = (device, module.inode, module.path.clone());
                if matches!(module.content, Content::File(_)) {
                    self.modules.insert(id.clone(), Arc::downgrade(&module));
                }
                opened.0.insert(id, module);
            }
        }
        opened
    }

    /// Opens files of one file system.
    fn open_of(&mut self, pid: u32, device: u64, mut lines: Vec<Line>) -> Vec<Arc<Module>> {
        if self.modules.len() + lines.len() > self.limit {
            self.modules.retain(|_, module| module.strong_count() > 0);
        }
        let room = self.limit.saturating_sub(self.modules.len());
        let refused = lines.split_off(lines.len().min(room));
        self.losses.refused += refused.len() as u64;
        let wanted = lines.clone();
        let modules = deadline::run(Step::OpenFiles, Subject::Device(device), move || {
            let open = |line: &Line| {
                let content = open_mapped(pid, line).map_or(Content::Missing, Content::File);
                Arc::new(module(line, content))
            };
            wanted.iter().map(open).collect::<Vec<_>>()
        });
        let without = |line: &Line| Arc::new(module(line, Content::Missing));
        let mut modules = modules.unwrap_or_else(|| lines.iter().map(without).collect());
        let missing = modules
            .iter()
            .filter(|it| matches!(it.content, Content::Missing));
        self.losses.unreadable += missing.count() as u64;
        modules.extend(refused.iter().map(without));
        modules
    }

    /// The vDSO, copied from the memory of a process: it has no file. Equal images are kept once.
    pub(super) fn vdso(&mut self, line: &Line, bytes: Option<Box<[u8]>>) -> Arc<Module> {
        self.losses.unreadable += u64::from(bytes.is_none());
        let content = bytes.map_or(Content::Missing, Content::Bytes);
        if let Some(known) = self
            .vdsos
            .iter()
            .find(|known| same_bytes(&known.content, &content))
        {
            return known.clone();
        }
        let module = Arc::new(Module::new(
            line.path.clone(),
            0,
            line.end - line.start,
            content,
        ));
        if self.vdsos.len() < MAX_VDSOS {
            self.vdsos.push(module.clone());
        }
        module
    }
}

/// The files behind the mappings of one process.
#[derive(Debug, Default)]
pub(super) struct Opened(HashMap<FileId, Arc<Module>>);

impl Opened {
    /// The file behind a mapping; `None` where there is none.
    pub(super) fn of(&self, line: &Line) -> Option<Arc<Module>> {
        self.0.get(&id(line)).cloned()
    }
}

fn id(line: &Line) -> FileId {
    (line.device, line.inode, line.path.clone())
}

fn module(line: &Line, content: Content) -> Module {
    Module::new(line.path.clone(), line.device, line.inode, content)
}

fn same_bytes(left: &Content, right: &Content) -> bool {
    matches!((left, right), (Content::Bytes(left), Content::Bytes(right)) if left == right)
}

/// Opens the file that is mapped, not the one that its path leads to now.
///
/// `/proc/PID/map_files` gives just that, across mount namespaces and after deletion, and needs
/// CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE. Without them the path inside the process's root is
/// taken when it still leads to the same device and inode.
fn open_mapped(pid: u32, line: &Line) -> io::Result<File> {
    let pid = speaker(pid);
    let link = format!("/proc/{pid}/map_files/{:x}-{:x}", line.start, line.end);
    open_regular(Path::new(&link), |_| true).or_else(|_| {
        let mut path = std::ffi::OsString::from(format!("/proc/{pid}/root"));
        path.push(line.path.as_os_str());
        open_regular(Path::new(&path), |stat| is_same_file(stat, line))
    })
}

fn is_same_file(stat: &Stat, line: &Line) -> bool {
    let device =
        u64::from(rustix::fs::major(stat.st_dev)) << 32 | u64::from(rustix::fs::minor(stat.st_dev));
    device == line.device && stat.st_ino == line.inode
}

/// Opens a regular file that `accept` agrees to, to read. Devices and pipes are not opened: that
/// could block or have an effect.
pub(crate) fn open_regular(path: &Path, accept: impl Fn(&Stat) -> bool) -> io::Result<File> {
    open_regular_with(path, OFlags::empty(), accept)
}

/// [`open_regular`], and a symbolic link at the end of the path is refused.
pub(super) fn open_regular_no_link(
    path: &Path,
    accept: impl Fn(&Stat) -> bool,
) -> io::Result<File> {
    open_regular_with(path, OFlags::NOFOLLOW, accept)
}

fn open_regular_with(
    path: &Path,
    flags: OFlags,
    accept: impl Fn(&Stat) -> bool,
) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
    let place = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&place)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !accept(&stat) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

pub(super) fn read_memory(pid: u32, start: u64, end: u64) -> io::Result<Box<[u8]>> {
    let size = end - start;
    if size > MAX_VDSO {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; size as usize];
    File::open(format!("/proc/{}/mem", speaker(pid)))?.read_exact_at(&mut bytes, start)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open_regular(&pipe, |_| true).is_err());
        assert!(open_regular(Path::new("/dev/zero"), |_| true).is_err());
        assert!(open_regular(Path::new("/proc/self/exe"), |_| true).is_ok());
    }

    #[test]
    fn a_full_store_refuses_and_counts() {
        let mut files = Files::new(0);
        let line = Line {
            start: 0x1000,
            end: 0x2000,
            offset: 0,
            device: 1,
            inode: 2,
            shared: false,
            path: "/bin/true".into(),
            deleted: false,
        };
        let opened = files.open(std::process::id(), [&line].into_iter());
        let module = opened.of(&line).unwrap();
        assert!(matches!(module.content, Content::Missing));
        assert_eq!(
            files.losses(),
            FileLosses {
                refused: 1,
                unreadable: 0
            }
        );
    }
}
