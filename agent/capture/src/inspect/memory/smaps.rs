//! `/proc/PID/smaps` as `show_smap` of `fs/proc/task_mmu.c` writes it: for each mapping a line as in
//! `maps`, then lines `Key:   N kB`.
//!
//! Exact, and not cheap: the kernel walks the page tables of the whole process, some 40 ns a resident
//! page and 10 µs a mapping. So it is read twice, in a thread of its own.

use remora_model::{MappingKind, Resident};
use remora_process::proc_fs::speaker;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

/// Mappings that are read of one process: the kernel's default limit (`vm.max_map_count`) and one.
const MAX_MAPPINGS: usize = 65_536;

/// Bytes that are read of one file: that many mappings with 1 KiB each.
const MAX_BYTES: u64 = 96 << 20;

/// Bytes of a name that are kept.
const MAX_NAME: usize = 512;

/// Where glibc's malloc puts its arenas: at multiples of this, and as large with what is reserved
/// (`HEAP_MAX_SIZE`, `malloc/arena.c`, 64-bit).
const ARENA_BYTES: u64 = 64 << 20;

/// Guards below thread stacks are smaller: a page in glibc, two in musl.
const MAX_GUARD_BYTES: u64 = 64 << 10;

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vma {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Path or pseudo-path, empty for anonymous memory.
    pub name: String,
    /// What it is for.
    pub kind: MappingKind,
    /// Resident, in bytes, as are the rest.
    pub rss: u64,
    /// Of it, anonymous.
    pub anonymous: u64,
    /// Of it, in huge pages, of whatever kind.
    pub huge: u64,
    /// Swapped out.
    pub swap: u64,
    /// It can be neither read nor written nor executed.
    reserved: bool,
}

/// All mappings of a process, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Smaps {
    /// By address.
    pub mappings: Vec<Vma>,
    /// There were more than are read.
    pub truncated: bool,
}

impl Smaps {
    /// Reads a process.
    ///
    /// # Errors
    /// When it is gone, hidden, or its memory is (a zombie, a kernel thread).
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{}/smaps", speaker(pid)))?;
        Self::parse(BufReader::with_capacity(1 << 16, file.take(MAX_BYTES)))
    }

    /// Reads the text of such a file; lines that make no sense are passed over.
    ///
    /// # Errors
    /// Those of the reader.
    pub(crate) fn parse(mut text: impl BufRead) -> io::Result<Self> {
        let mut smaps = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.first().is_some_and(u8::is_ascii_uppercase) {
                if let Some(mapping) = smaps.mappings.last_mut() {
                    note(mapping, &line);
                }
                continue;
            }
            if smaps.mappings.len() >= MAX_MAPPINGS {
                smaps.truncated = true;
                break;
            }
            smaps.mappings.extend(heading(&line));
        }
        smaps.classify();
        Ok(smaps)
    }

    /// What is resident, by kind. Private copies of pages of files are anonymous.
    pub(crate) fn resident(&self) -> Resident {
        let mut sum = Resident::default();
        for mapping in &self.mappings {
            let rest = mapping.rss.saturating_sub(mapping.anonymous);
            sum.anon_bytes = sum.anon_bytes.saturating_add(mapping.anonymous);
            sum.swap_bytes = sum.swap_bytes.saturating_add(mapping.swap);
            let of_kind = match mapping.kind {
                MappingKind::SharedMemory => &mut sum.shmem_bytes,
                _ => &mut sum.file_bytes,
            };
            *of_kind = of_kind.saturating_add(rest);
        }
        sum
    }

    /// Resident in huge pages, in bytes.
    pub(crate) fn huge_bytes(&self) -> u64 {
        let huge = self.mappings.iter().map(|mapping| mapping.huge);
        huge.fold(0, u64::saturating_add)
    }

    /// What only its neighbours tell of an anonymous mapping.
    fn classify(&mut self) {
        for at in 0..self.mappings.len() {
            let [before, this, after] = [at.checked_sub(1), Some(at), Some(at + 1)]
                .map(|at| at.and_then(|at| self.mappings.get(at)));
            let kind = this.and_then(|this| {
                let plain = this.kind == MappingKind::Anonymous && !this.reserved;
                (plain && this.name.is_empty()).then(|| by_place(before, this, after))
            });
            if let (Some(kind), Some(this)) = (kind, self.mappings.get_mut(at)) {
                this.kind = kind;
            }
        }
    }
}

fn by_place(before: Option<&Vma>, this: &Vma, after: Option<&Vma>) -> MappingKind {
    let arena_end = this.start.saturating_add(ARENA_BYTES);
    let reserved_to = after
        .filter(|after| after.reserved && after.start == this.end)
        .map_or(this.end, |after| after.end);
    if this.start.is_multiple_of(ARENA_BYTES) && this.end <= arena_end && reserved_to >= arena_end {
        return MappingKind::Arena;
    }
    let guarded = before.is_some_and(|guard| {
        guard.reserved && guard.end == this.start && guard.end - guard.start <= MAX_GUARD_BYTES
    });
    if guarded {
        MappingKind::ThreadStack
    } else {
        MappingKind::Anonymous
    }
}

/// `start-end perms offset major:minor inode   path`.
fn heading(line: &[u8]) -> Option<Vma> {
    let line = String::from_utf8_lossy(line);
    let mut rest = line.trim_end_matches('\n');
    let mut field = || {
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail.trim_start_matches(' ');
        (!word.is_empty()).then_some(word)
    };
    let (range, permissions) = (field()?, field()?);
    let (_offset, _device, inode) = (field()?, field()?, field()?);
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16));
    let (start, end) = (start.ok()?, end.ok()?);
    let kind = kind(rest, permissions.contains('s'), inode != "0");
    (start < end).then(|| Vma {
        start,
        end,
        name: rest.chars().take(MAX_NAME).collect(),
        kind,
        rss: 0,
        anonymous: 0,
        huge: 0,
        swap: 0,
        reserved: permissions.starts_with("---"),
    })
}

/// What the line alone tells.
fn kind(path: &str, shared: bool, has_file: bool) -> MappingKind {
    const SHARED: [&str; 4] = ["/dev/shm/", "/memfd:", "/SYSV", "/dev/zero"];
    match path {
        "[heap]" => MappingKind::Heap,
        "[stack]" => MappingKind::Stack,
        _ if SHARED.iter().any(|start| path.starts_with(start)) => MappingKind::SharedMemory,
        _ if path.starts_with("[anon_shmem:") => MappingKind::SharedMemory,
        _ if has_file => MappingKind::File,
        _ if shared && path.is_empty() => MappingKind::SharedMemory,
        _ if path.is_empty() || path.starts_with("[anon") => MappingKind::Anonymous,
        _ => MappingKind::Special,
    }
}

/// Takes a line `Key:   N kB` in.
fn note(mapping: &mut Vma, line: &[u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return;
    };
    let (key, value) = line.split_at(colon);
    let to = match key {
        b"Rss" => &mut mapping.rss,
        b"Anonymous" => &mut mapping.anonymous,
        b"AnonHugePages" | b"ShmemPmdMapped" | b"FilePmdMapped" => &mut mapping.huge,
        b"Swap" => &mut mapping.swap,
        _ => return,
    };
    *to = to.saturating_add(kib(value.get(1..).unwrap_or_default()));
}

/// The bytes of `   N kB`; 0 when it is none.
pub(super) fn kib(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests;
