//! What the code addresses of a process mean: a snapshot of its executable mappings, with the
//! mapped files held open.
//!
//! Names are looked up after the capture, when the process may have exited, its binary may have
//! been replaced by an upgrade, and its mount namespace may be gone. So whatever needs the living
//! process is taken here, early and cheaply: the mappings, a handle on each file (shared by all
//! processes, see [`Files`]), its build id, and where its perf map lies.
//!
//! A [`Snapshot`] is cheap to clone: a forked child inherits its parent's.

mod files;
mod layout;
pub(super) mod line;
mod module;
mod perf;

pub use files::{DEFAULT_OPEN_FILES, FileLosses, Files};
pub use layout::Layout;
pub use module::{Content, Identity, Module};
pub use perf::{PerfMapPlace, Stranger};

pub(crate) use files::open_regular;

use super::proc_fs::speaker;
use crate::deadline::{self, Step, Subject};
use files::Opened;
use line::Line;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

/// Executable mappings that are kept of one process: the kernel's default limit of all mappings
/// (`vm.max_map_count`).
pub const MAX_MAPPINGS: usize = 65_536;
/// Bytes that are read of one `/proc/PID/maps`.
const MAX_MAPS_BYTES: u64 = 64 << 20;

/// Why a snapshot could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    /// The process is gone.
    #[error("process {pid} has exited")]
    Gone {
        /// The process.
        pid: u32,
    },
    /// Its mappings could not be read.
    #[error("cannot read /proc/{pid}/maps (CAP_SYS_PTRACE lets it): {source}")]
    Unreadable {
        /// The process.
        pid: u32,
        /// The kernel's reason.
        source: io::Error,
    },
    /// They were not there in time: somebody holds its memory lock.
    #[error("/proc/{pid}/maps does not answer")]
    NoAnswer {
        /// The process.
        pid: u32,
    },
}

/// An executable mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Offset of `start` in the module, in bytes.
    pub offset: u64,
    /// The file behind it; `None` for anonymous memory.
    pub module: Option<Arc<Module>>,
    /// Code made at run time may lie here: anonymous memory, or a memory file.
    pub jit: bool,
}

impl Mapping {
    /// Where `address` lies in the module.
    pub fn offset_of(&self, address: u64) -> u64 {
        address.wrapping_sub(self.start).wrapping_add(self.offset)
    }

    /// What to add to an address of the file to get the process's: by the middle of the mapping, as its
    /// first page may begin in the segment in front.
    pub fn bias(&self) -> Option<u64> {
        let layout = self.module.as_ref()?.layout.as_ref()?;
        let inside = self.end.checked_sub(self.start)? / 2;
        let address = layout.address(self.offset.checked_add(inside)?);
        let (address, inside) = match address {
            Some(address) => (address, inside),
            None => (layout.address(self.offset)?, 0),
        };
        Some(self.start.wrapping_add(inside).wrapping_sub(address))
    }
}

#[derive(Debug)]
struct Space {
    pid: u32,
    read_at_ns: u64,
    mappings: Vec<Mapping>,
    perf_map: Option<Arc<PerfMapPlace>>,
    truncated: bool,
}

/// The executable mappings of one address space.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Space>);

impl Snapshot {
    /// Reads the mappings of `pid` and opens the files behind them, through `files`.
    ///
    /// `now_ns` is the monotonic time that the snapshot will carry. Mappings beyond
    /// [`MAX_MAPPINGS`] are left out: [`Snapshot::truncated`] says so.
    pub fn read(pid: u32, now_ns: u64, files: &mut Files) -> Result<Self, MapsError> {
        let read = deadline::run(Step::Mappings, Subject::Process(pid), move || {
            let (lines, truncated) = read_lines(pid)?;
            let vdso = lines.iter().find(|line| is_vdso(line));
            let vdso = vdso.and_then(|line| files::read_memory(pid, line.start, line.end).ok());
            Ok((lines, truncated, vdso))
        });
        let read = read.ok_or(MapsError::NoAnswer { pid })?;
        let (lines, truncated, vdso) =
            read.map_err(|source: io::Error| match source.raw_os_error() {
                // ENOENT at open, ESRCH at read of a process that exits in between.
                Some(2 | 3) => MapsError::Gone { pid },
                _ => MapsError::Unreadable { pid, source },
            })?;
        let vdso = lines
            .iter()
            .find(|line| is_vdso(line))
            .map(|line| files.vdso(line, vdso));
        let opened = files.open(pid, lines.iter().filter(|line| is_file(line)));
        let mappings = lines
            .into_iter()
            .map(|line| mapping(line, &opened, vdso.as_ref()))
            .collect();
        // A root whose file system does not answer says nothing of the process.
        let perf_map = deadline::run(Step::OpenFiles, Subject::Host, move || {
            PerfMapPlace::read(pid).ok().map(Arc::new)
        })
        .flatten();
        Ok(Self(Arc::new(Space {
            pid,
            read_at_ns: now_ns,
            mappings,
            perf_map,
            truncated,
        })))
    }

    /// The union with a later snapshot of the same address space (a library was loaded during the
    /// capture). Where both map an address, the later one holds: code that was unmapped and whose
    /// addresses were used again is named wrongly, code that was only unmapped is named right.
    pub fn merged(&self, later: &Self) -> Self {
        let mut mappings = later.0.mappings.clone();
        for earlier in &self.0.mappings {
            mappings.extend(uncovered(earlier, &later.0.mappings));
        }
        mappings.sort_by_key(|mapping| mapping.start);
        let truncated = self.0.truncated || later.0.truncated || mappings.len() > MAX_MAPPINGS;
        mappings.truncate(MAX_MAPPINGS);
        Self(Arc::new(Space {
            pid: later.0.pid,
            read_at_ns: later.0.read_at_ns,
            mappings,
            perf_map: later.0.perf_map.clone().or_else(|| self.0.perf_map.clone()),
            truncated,
        }))
    }

    /// The process it was read from; a child that inherited it has another.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// When it was read, in monotonic nanoseconds.
    pub fn read_at_ns(&self) -> u64 {
        self.0.read_at_ns
    }

    /// Mappings were left out.
    pub fn truncated(&self) -> bool {
        self.0.truncated
    }

    /// The mappings, by address.
    pub fn mappings(&self) -> &[Mapping] {
        &self.0.mappings
    }

    /// Where its perf map lies.
    pub fn perf_map(&self) -> Option<&PerfMapPlace> {
        self.0.perf_map.as_deref()
    }

    /// The mapping that holds `address`.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let behind = self
            .0
            .mappings
            .partition_point(|mapping| mapping.start <= address);
        let mapping = self.0.mappings.get(behind.checked_sub(1)?)?;
        (address < mapping.end).then_some(mapping)
    }

    /// A number that two snapshots share only if one is a clone of the other, while both live.
    pub(crate) fn token(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// The executable mappings, by address, and whether some were left out.
fn read_lines(pid: u32) -> io::Result<(Vec<Line>, bool)> {
    let mut reader =
        BufReader::new(File::open(format!("/proc/{}/maps", speaker(pid)))?.take(MAX_MAPS_BYTES));
    let (mut lines, mut text) = (Vec::new(), Vec::new());
    while reader.read_until(b'\n', &mut text)? > 0 {
        if let Some(line) = line::parse_executable(&text) {
            if lines.len() == MAX_MAPPINGS {
                return Ok((lines, true));
            }
            lines.push(line);
        }
        text.clear();
    }
    // A list that changes while it is read may repeat itself.
    lines.sort_by_key(|line| line.start);
    lines.dedup_by_key(|line| line.start);
    Ok((lines, reader.get_ref().limit() == 0))
}

fn mapping(line: Line, opened: &Opened, vdso: Option<&Arc<Module>>) -> Mapping {
    let path = line.path.to_string_lossy();
    let module = match &*path {
        "[vdso]" => vdso.cloned(),
        "[vsyscall]" => Some(Arc::new(Module::new(
            line.path.clone(),
            0,
            0,
            Content::Missing,
        ))),
        _ => opened.of(&line),
    };
    let jit = module.is_none() || path.starts_with("/memfd:");
    Mapping {
        start: line.start,
        end: line.end,
        offset: line.offset,
        module,
        jit,
    }
}

fn is_vdso(line: &Line) -> bool {
    line.path.as_os_str() == "[vdso]"
}

/// Whether a file lies behind a mapping.
fn is_file(line: &Line) -> bool {
    let path = line.path.to_string_lossy();
    line.inode != 0 && !path.starts_with('[') && !is_anonymous(&path)
}

/// Memory without a file that the kernel shows under a path all the same.
fn is_anonymous(path: &str) -> bool {
    ["/dev/zero", "/SYSV", "/anon_hugepage", "//anon"]
        .iter()
        .any(|name| path.starts_with(name))
}

/// The parts of `earlier` that no mapping of `later` (by address) overlaps.
fn uncovered(earlier: &Mapping, later: &[Mapping]) -> Vec<Mapping> {
    let mut parts = Vec::new();
    let mut start = earlier.start;
    let first = later.partition_point(|mapping| mapping.end <= earlier.start);
    let overlapping = later[first..]
        .iter()
        .take_while(|mapping| mapping.start < earlier.end);
    for cover in overlapping {
        if start < cover.start {
            parts.push(part(earlier, start, cover.start));
        }
        start = cover.end;
    }
    if start < earlier.end {
        parts.push(part(earlier, start, earlier.end));
    }
    parts
}

fn part(whole: &Mapping, start: u64, end: u64) -> Mapping {
    Mapping {
        start,
        end,
        offset: whole.offset_of(start),
        ..whole.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anonymous(start: u64, end: u64, offset: u64) -> Mapping {
        Mapping {
            start,
            end,
            offset,
            module: None,
            jit: true,
        }
    }

    fn snapshot(mappings: Vec<Mapping>, read_at_ns: u64) -> Snapshot {
        let space = Space {
            pid: 1,
            read_at_ns,
            mappings,
            perf_map: None,
            truncated: false,
        };
        Snapshot(Arc::new(space))
    }

    fn shape(snapshot: &Snapshot) -> Vec<(u64, u64, u64)> {
        let mappings = snapshot.mappings().iter();
        mappings
            .map(|mapping| (mapping.start, mapping.end, mapping.offset))
            .collect()
    }

    #[test]
    fn find_respects_both_ends() {
        let snapshot = snapshot(vec![anonymous(10, 20, 0), anonymous(30, 40, 100)], 0);
        assert!(snapshot.find(9).is_none());
        assert_eq!(snapshot.find(10).unwrap().start, 10);
        assert!(snapshot.find(20).is_none());
        assert_eq!(snapshot.find(39).unwrap().offset_of(39), 109);
        assert!(snapshot.find(u64::MAX).is_none());
    }

    #[test]
    fn later_mappings_hold_and_earlier_ones_fill_the_gaps() {
        let earlier = snapshot(vec![anonymous(10, 50, 0), anonymous(90, 99, 7)], 1);
        let later = snapshot(vec![anonymous(20, 30, 500), anonymous(40, 60, 600)], 2);
        let merged = earlier.merged(&later);
        let expected = [
            (10, 20, 0),
            (20, 30, 500),
            (30, 40, 20),
            (40, 60, 600),
            (90, 99, 7),
        ]
        .to_vec();
        assert_eq!(shape(&merged), expected);
        assert_eq!(merged.read_at_ns(), 2);
        assert_eq!(shape(&later.merged(&later)), shape(&later));
    }

    #[test]
    fn own_mappings_hold_own_code_in_open_files() {
        let mut files = Files::default();
        let own = Snapshot::read(std::process::id(), 5, &mut files).unwrap();
        let address = own_mappings_hold_own_code_in_open_files as *const () as u64;
        let module = own.find(address).unwrap().module.clone().unwrap();
        assert_eq!(module.path, std::env::current_exe().unwrap());
        assert!(module.layout.as_ref().unwrap().address(0).is_some());
        let vdso = own.mappings().iter().find_map(|mapping| {
            mapping
                .module
                .clone()
                .filter(|module| &*module.name == "[vdso]")
        });
        assert!(matches!(vdso.unwrap().content, Content::Bytes(_)));
        // A second look shares the handles, and dropping all closes them.
        let open = files.open_files();
        let again = Snapshot::read(std::process::id(), 6, &mut files).unwrap();
        assert_eq!(files.open_files(), open);
        assert!(Arc::ptr_eq(
            &module,
            again.find(address).unwrap().module.as_ref().unwrap()
        ));
        drop((own, again, module));
        assert_eq!(files.open_files(), 0);
    }

    #[test]
    fn no_such_process() {
        let error = Snapshot::read(u32::MAX / 2, 0, &mut Files::default()).unwrap_err();
        assert!(matches!(error, MapsError::Gone { .. }), "{error}");
    }
}
