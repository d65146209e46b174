//! The parts of an ELF file that hold symbols, copied into memory for a parser that maps its input.
//!
//! blazesym maps the file that it reads. A mapping of a file that somebody else shortens raises
//! SIGBUS, which would end the agent: any user whose process is profiled could do that to a daemon
//! of root's. And blazesym follows the paths that a file names (debug links, supplementary files),
//! wherever they lead. So it never sees the file itself, but an anonymous copy of the symbol tables
//! and, if they are not too large, the debug information, at the same offsets; every other section
//! is marked as empty. The copy is sparse: it takes the memory of what it holds, while it is used.

use super::symbolize::Limits;
use crate::elf::{self, Elf, ElfError, Range, Section, read};
use crate::maps::Content;
use object::Endianness;
use object::elf::SHT_NOBITS;
use object::endian::U32;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;
/// A debug link is a file name and a checksum; longer ones are not read, in bytes.
const MAX_LINK: u64 = 4096;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    /// No ELF file, or a malformed one.
    #[error("malformed ELF file: {0}")]
    Malformed(#[from] object::read::Error),
    /// It has more symbols or sections than the limits allow.
    #[error("its symbol tables are larger than the limit")]
    TooLarge,
    /// Its packed symbol table is damaged, or larger than the limits allow.
    #[error("its packed symbol table is damaged or larger than the limit")]
    Packed,
    /// Reading failed, or the file ended before its sections do.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<ElfError> for CopyError {
    fn from(error: ElfError) -> Self {
        match error {
            ElfError::Malformed(why) => Self::Malformed(why),
            ElfError::TooMany(_) => Self::TooLarge,
        }
    }
}

/// Whether a file had debug information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DebugInfo {
    /// None, or it was not asked for.
    Absent,
    /// The copy holds it.
    Present,
    /// It is larger than the limit, or damaged: the copy does not hold it.
    LeftOut,
}

/// The copy; it is gone when this is dropped.
#[derive(Debug)]
pub(super) struct SymbolCopy {
    memory: File,
    /// Whether it holds debug information.
    pub debug: DebugInfo,
    /// Name of a separate debug file, without a folder, that the file asks for.
    pub debug_link: Option<String>,
    /// Where the packed symbol table (`.gnu_debugdata`) lies.
    packed: Option<Range>,
}

impl SymbolCopy {
    /// Copies the symbols of `content`.
    pub(super) fn of(content: &Content, limits: &Limits) -> Result<Self, CopyError> {
        Plan::of(content, limits)?.carry_out(content)
    }

    /// The symbols that `content`, which this is a copy of, carries packed: distributions strip a
    /// binary of its symbol table and put the functions that its dynamic one lacks into an ELF file
    /// within, packed by xz ("MiniDebugInfo" of GDB's manual). `None` when it carries none.
    pub(super) fn of_packed(
        &self,
        content: &Content,
        limits: &Limits,
    ) -> Option<Result<Self, CopyError>> {
        let packed = read(content, self.packed?, limits.symbol_bytes);
        let unpacked = packed.and_then(|packed| elf::unpack_xz(&packed, limits.symbol_bytes));
        Some(match unpacked {
            Some(unpacked) => Self::of(&Content::Bytes(unpacked.into()), limits),
            None => Err(CopyError::Packed),
        })
    }

    /// Where the copy can be opened. Valid as long as this lives.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.memory.as_raw_fd()).into()
    }
}

/// What to do with a section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Symbols,
    Debug,
    /// Not needed, or not wanted.
    None,
}

fn role(name: &[u8]) -> Role {
    match name {
        b".symtab" | b".strtab" | b".dynsym" | b".dynstr" => Role::Symbols,
        // It names a file to open.
        b".debug_sup" => Role::None,
        _ if name.starts_with(b".debug_") => Role::Debug,
        _ => Role::None,
    }
}

/// What is copied, and what is marked as empty.
struct Plan {
    ranges: Vec<Range>,
    /// Offsets of the headers of sections that are marked as empty.
    emptied: Vec<u64>,
    endian: Endianness,
    debug: DebugInfo,
    debug_link: Option<String>,
    packed: Option<Range>,
}

impl Plan {
    fn of(content: &Content, limits: &Limits) -> Result<Self, CopyError> {
        let elf = Elf::open(content)?;
        let sections = elf.named_sections()?;
        let tables = elf.tables()?;
        let mut sorter = Sorter {
            content,
            elf,
            limits,
            symbols: Bucket::default(),
            debug: Bucket::default(),
        };
        let mut plan = Self {
            ranges: tables.ranges.to_vec(),
            emptied: Vec::new(),
            endian: elf.endian(),
            debug: DebugInfo::Absent,
            debug_link: None,
            packed: None,
        };
        for (index, (name, section)) in sections.iter().enumerate() {
            match &name[..] {
                b".gnu_debuglink" => plan.debug_link = debug_link(content, section.range),
                b".gnu_debugdata" => plan.packed = Some(section.range),
                _ => {}
            }
            if index == tables.names_index {
                sorter.symbols.add(section.header, section.range, 0);
            } else if index > 0 && !sorter.sort(name, section) {
                plan.emptied.push(section.header);
            }
        }
        plan.settle(sorter)
    }

    /// Applies the limits to what was sorted.
    fn settle(mut self, sorter: Sorter<'_>) -> Result<Self, CopyError> {
        let Sorter {
            limits,
            symbols,
            debug,
            ..
        } = sorter;
        if symbols.bytes > limits.symbol_bytes {
            return Err(CopyError::TooLarge);
        }
        self.ranges.extend(symbols.ranges);
        if debug.damaged || debug.bytes > limits.debug_bytes {
            self.debug = DebugInfo::LeftOut;
            self.emptied.extend(debug.headers);
        } else if !debug.ranges.is_empty() {
            self.debug = DebugInfo::Present;
            self.ranges.extend(debug.ranges);
        }
        Ok(self)
    }

    fn carry_out(self, content: &Content) -> Result<SymbolCopy, CopyError> {
        let memory: File = rustix::fs::memfd_create("remora-symbols", MemfdFlags::CLOEXEC)
            .map_err(io::Error::from)?
            .into();
        let mut chunk = vec![0; CHUNK];
        for (offset, len) in self.ranges {
            copy_range(content, &memory, (offset, len), &mut chunk)?;
        }
        for header in self.emptied {
            // The first two words of a section header, in both classes: sh_name, sh_type.
            memory.write_all_at(object::pod::bytes_of(&U32::new(self.endian, 0)), header)?;
            memory.write_all_at(
                object::pod::bytes_of(&U32::new(self.endian, SHT_NOBITS)),
                header + 4,
            )?;
        }
        Ok(SymbolCopy {
            memory,
            debug: self.debug,
            debug_link: self.debug_link,
            packed: self.packed,
        })
    }
}

/// Sections of one role.
#[derive(Default)]
struct Bucket {
    headers: Vec<u64>,
    ranges: Vec<Range>,
    /// What they take: packed and unpacked.
    bytes: u64,
    /// One of them could not be unpacked within the limit.
    damaged: bool,
}

impl Bucket {
    fn add(&mut self, header: u64, range: Range, unpacked: u64) {
        self.headers.push(header);
        self.ranges.push(range);
        self.bytes = self.bytes.saturating_add(range.1).saturating_add(unpacked);
    }
}

struct Sorter<'a> {
    content: &'a Content,
    elf: Elf<'a>,
    limits: &'a Limits,
    symbols: Bucket,
    debug: Bucket,
}

impl Sorter<'_> {
    /// Puts a section where it belongs; `false` when it must not be seen.
    fn sort(&mut self, name: &[u8], section: &Section) -> bool {
        let (bucket, limit) = match role(name) {
            Role::Symbols => (&mut self.symbols, self.limits.symbol_bytes),
            Role::Debug if self.limits.debug_info => (&mut self.debug, self.limits.debug_bytes),
            _ => return false,
        };
        if section.is_empty() {
            return false;
        }
        let unpacked = if section.is_compressed() {
            read(self.content, section.range, limit)
                .and_then(|bytes| self.elf.unpacked_size(&bytes, limit))
        } else {
            Some(0)
        };
        match unpacked {
            Some(unpacked) => bucket.add(section.header, section.range, unpacked),
            None => bucket.damaged = true,
        }
        unpacked.is_some()
    }
}

fn debug_link(content: &Content, range: Range) -> Option<String> {
    let bytes = read(content, range, MAX_LINK)?;
    let name = bytes.split(|byte| *byte == 0).next()?;
    let name = std::str::from_utf8(name).ok()?;
    let plain = !name.is_empty() && !name.contains('/') && name != "..";
    plain.then(|| name.to_owned())
}

fn copy_range(
    content: &Content,
    memory: &File,
    (mut offset, mut len): Range,
    chunk: &mut [u8],
) -> io::Result<()> {
    while len > 0 {
        let step = len.min(chunk.len() as u64);
        let piece = &mut chunk[..step as usize];
        content.read_exact_at(piece, offset)?;
        memory.write_all_at(piece, offset)?;
        offset = offset.checked_add(step).ok_or(io::ErrorKind::InvalidData)?;
        len -= step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn the_limit_of_debug_information_leaves_the_symbols() {
        let content = Content::Bytes(own().into());
        let whole = SymbolCopy::of(&content, &Limits::default()).unwrap();
        assert_eq!(whole.debug, DebugInfo::Present);
        let limits = Limits {
            debug_bytes: 1000,
            ..Limits::default()
        };
        assert_eq!(
            SymbolCopy::of(&content, &limits).unwrap().debug,
            DebugInfo::LeftOut
        );
        let limits = Limits {
            debug_info: false,
            ..Limits::default()
        };
        assert_eq!(
            SymbolCopy::of(&content, &limits).unwrap().debug,
            DebugInfo::Absent
        );
        let limits = Limits {
            symbol_bytes: 1000,
            ..Limits::default()
        };
        let refused = SymbolCopy::of(&content, &limits);
        assert!(matches!(refused, Err(CopyError::TooLarge)), "{refused:?}");
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        let mut image = own();
        let table = u64::from_le_bytes(image[40..48].try_into().unwrap());
        image.truncate(table as usize);
        assert!(SymbolCopy::of(&Content::Bytes(image.into()), &Limits::default()).is_err());
        let script = Content::Bytes((*b"#!/bin/sh\n").into());
        assert!(SymbolCopy::of(&script, &Limits::default()).is_err());
    }
}
