//! The parts of an ELF file that hold symbols, copied into memory for a parser that maps its input.
//!
//! blazesym maps the file that it reads. A mapping of a file that somebody else shortens raises
//! SIGBUS, which would end the agent: any user whose process is profiled could do that to a daemon
//! of root's. And blazesym follows the paths that a file names (debug links, supplementary files),
//! wherever they lead. So it never sees the file itself, but an anonymous copy of the symbol tables
//! and, if they are not too large, the debug information, at the same offsets; every other section
//! is marked as empty. The copy is sparse: it takes the memory of what it holds, while it is used.

use super::inflate;
use super::symbolize::Limits;
use crate::maps::{Content, Cursor};
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, SHF_COMPRESSED, SHT_NOBITS};
use object::endian::U32;
use object::read::elf::{FileHeader, SectionHeader};
use object::read::{ReadCache, ReadRef};
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// More sections than any linker writes into a program or a library.
pub(super) const MAX_SECTIONS: u32 = 4096;
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
        let cache = ReadCache::new(Cursor::new(content));
        let magic = (&cache).read_bytes_at(0, 5).unwrap_or_default();
        let plan = match magic {
            b"\x7fELF\x01" => Plan::of::<FileHeader32<Endianness>>(&cache, content, limits)?,
            // Anything else fails in there, with the right words.
            _ => Plan::of::<FileHeader64<Endianness>>(&cache, content, limits)?,
        };
        plan.carry_out(content)
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
        let unpacked = packed.and_then(|packed| inflate::unpack_xz(&packed, limits.symbol_bytes));
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

/// Offset and length of a piece of the file.
pub(super) type Range = (u64, u64);

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
    fn of<H: FileHeader<Endian = Endianness>>(
        data: &ReadCache<Cursor<'_>>,
        content: &Content,
        limits: &Limits,
    ) -> Result<Self, CopyError> {
        let header = H::parse(data)?;
        let endian = header.endian()?;
        if header.shnum(endian, data)? > MAX_SECTIONS as usize {
            return Err(CopyError::TooLarge);
        }
        let sections = header.section_headers(endian, data)?;
        let strings = header.section_strings(endian, data, sections)?;
        let names_index = header.shstrndx(endian, data)? as usize;
        let mut sorter = Sorter {
            content,
            limits,
            symbols: Bucket::default(),
            debug: Bucket::default(),
        };
        let mut plan = Self {
            ranges: headers::<H>(header, endian, sections.len(), data)?,
            emptied: Vec::new(),
            endian,
            debug: DebugInfo::Absent,
            debug_link: None,
            packed: None,
        };
        let table: u64 = header.e_shoff(endian).into();
        for (index, section) in sections.iter().enumerate() {
            let at = table + (index * size_of::<H::SectionHeader>()) as u64;
            let name = section.name(endian, strings).unwrap_or_default();
            match name {
                b".gnu_debuglink" => {
                    plan.debug_link = debug_link(content, extent::<H>(section, endian));
                }
                b".gnu_debugdata" => plan.packed = Some(extent::<H>(section, endian)),
                _ => {}
            }
            if index == names_index {
                sorter.symbols.add(at, extent::<H>(section, endian), 0);
            } else if index > 0 && !sorter.sort::<H>(name, section, endian, at) {
                plan.emptied.push(at);
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
    limits: &'a Limits,
    symbols: Bucket,
    debug: Bucket,
}

impl Sorter<'_> {
    /// Puts a section where it belongs; `false` when it must not be seen.
    fn sort<H: FileHeader<Endian = Endianness>>(
        &mut self,
        name: &[u8],
        section: &H::SectionHeader,
        endian: Endianness,
        header: u64,
    ) -> bool {
        let (bucket, limit) = match role(name) {
            Role::Symbols => (&mut self.symbols, self.limits.symbol_bytes),
            Role::Debug if self.limits.debug_info => (&mut self.debug, self.limits.debug_bytes),
            _ => return false,
        };
        if section.sh_type(endian) == SHT_NOBITS {
            return false;
        }
        let range = extent::<H>(section, endian);
        let flags: u64 = section.sh_flags(endian).into();
        let unpacked = if flags & u64::from(SHF_COMPRESSED) != 0 {
            read(self.content, range, limit)
                .and_then(|bytes| inflate::section_size::<H>(endian, &bytes, limit))
        } else {
            Some(0)
        };
        match unpacked {
            Some(unpacked) => bucket.add(header, range, unpacked),
            None => bucket.damaged = true,
        }
        unpacked.is_some()
    }
}

/// The file's own headers, which any reader needs.
fn headers<H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    sections: usize,
    data: &ReadCache<Cursor<'_>>,
) -> Result<Vec<Range>, CopyError> {
    let segments = header.phnum(endian, data)?.min(MAX_SECTIONS as usize);
    let segment_bytes = (segments * size_of::<H::ProgramHeader>()) as u64;
    let section_bytes = (sections * size_of::<H::SectionHeader>()) as u64;
    Ok(vec![
        (0, size_of::<H>() as u64),
        (header.e_phoff(endian).into(), segment_bytes),
        (header.e_shoff(endian).into(), section_bytes),
    ])
}

pub(super) fn extent<H: FileHeader<Endian = Endianness>>(
    section: &H::SectionHeader,
    endian: Endianness,
) -> Range {
    (
        section.sh_offset(endian).into(),
        section.sh_size(endian).into(),
    )
}

fn debug_link(content: &Content, range: Range) -> Option<String> {
    let bytes = read(content, range, MAX_LINK)?;
    let name = bytes.split(|byte| *byte == 0).next()?;
    let name = std::str::from_utf8(name).ok()?;
    let plain = !name.is_empty() && !name.contains('/') && name != "..";
    plain.then(|| name.to_owned())
}

/// A piece of the file; `None` when it is longer than `limit`, or the file ends before it does.
pub(super) fn read(content: &Content, (offset, len): Range, limit: u64) -> Option<Vec<u8>> {
    if len > limit || offset.checked_add(len)? > content.len().ok()? {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    content.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
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
