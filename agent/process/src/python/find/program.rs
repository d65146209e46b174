//! What an ELF file says about an interpreter in it: the symbols of its state, its version and its
//! evaluation loop.
//!
//! `_PyRuntime` is exported wherever extension modules can be loaded, so `.dynsym` is looked at in
//! every file, and `.symtab` only for a program that may hold an interpreter for itself alone.
//! Files are hostile: every table has a limit, and a table that is longer is not looked at.

use super::pieces::pieces;
use super::split::{self, Bytes, Machine};
use super::text;
use crate::maps::{Content, Cursor, Module};
use crate::python::Version;
use object::elf::{
    EM_AARCH64, EM_X86_64, FileHeader64, PT_GNU_EH_FRAME, PT_INTERP, PT_LOAD, SHF_EXECINSTR,
    SHN_UNDEF, SHT_DYNSYM, SHT_PROGBITS, SHT_SYMTAB, STT_FUNC, Sym64,
};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, pod};
use std::ops::Range;

/// The interpreter's state.
const RUNTIME: &[u8] = b"_PyRuntime";
/// Its version as `PY_VERSION_HEX` (3.11 on).
const VERSION: &[u8] = b"Py_Version";
/// The evaluation loop; parts that the compiler split off follow as `.cold`, `.part.0`, … (Where
/// 3.14 has a function for each instruction, they tail-call each other, and this one called the
/// first: it stays on the stack, once for each loop.)
const EVALUATION: &[u8] = b"_PyEval_EvalFrameDefault";
/// In glibc: the size of what `pthread_self` points to, an `unsigned int` for debuggers.
const PTHREAD_SIZE: &[u8] = b"_thread_db_sizeof_pthread";
/// The section that 3.12 and later place `_PyRuntime` in; it outlives symbols.
const SECTION: &[u8] = b".PyRuntime";

/// None of these names is longer, with the byte behind it.
const LONGEST: usize = 32;

/// A symbol table of more bytes is not looked at.
const MAX_SYMBOLS: u64 = 128 << 20;
/// Nor are names of more bytes.
const MAX_NAMES: u64 = 256 << 20;
/// Sections of a file that are believed.
const MAX_SECTIONS: usize = 4096;
/// Parts of an evaluation loop, and places of a name, that are kept.
const MAX_PARTS: usize = 64;

/// What a file says. Addresses are the file's own.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// `_PyRuntime`; libc has none.
    pub runtime: Option<u64>,
    /// `_thread_db_sizeof_pthread`, of libc.
    pub pthread_size_at: Option<u64>,
    /// `Py_Version`.
    pub version_at: Option<u64>,
    /// The version that its constants tell, where there is no `version_at`.
    pub version: Option<Version>,
    /// The code of the evaluation loop.
    pub evaluation: Vec<Range<u64>>,
    /// `evaluation` comes from a full symbol table, or was completed by [`split`].
    pub evaluation_complete: bool,
}

type Header = FileHeader64<Endianness>;
type Segment = object::elf::ProgramHeader64<Endianness>;
type Section = object::elf::SectionHeader64<Endianness>;

impl Program {
    /// Reads it; `None` when neither interpreter nor libc is in the file.
    pub(super) fn read(module: &Module) -> Option<Self> {
        module.layout.as_ref()?;
        let content = &module.content;
        let cache = ReadCache::new(Cursor::new(content));
        let header = Header::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        if endian != Endianness::default() || header.shnum(endian, &cache).ok()? > MAX_SECTIONS {
            return None;
        }
        let sections = header.section_headers(endian, &cache).ok()?;
        let mut program = Self::default();
        program.take_symbols(content, sections, endian, SHT_DYNSYM);
        if program.pthread_size_at.is_some() && program.runtime.is_none() {
            return Some(program);
        }
        let exported = program.runtime.is_some();
        let segments = header.program_headers(endian, &cache).ok()?;
        let alone = || {
            segments
                .iter()
                .any(|segment| segment.p_type(endian) == PT_INTERP)
                || !sections
                    .iter()
                    .any(|section| section.sh_type(endian) == SHT_DYNSYM)
        };
        if exported || alone() {
            program.evaluation_complete =
                program.take_symbols(content, sections, endian, SHT_SYMTAB);
        }
        if program.runtime.is_none() {
            let strings = header.section_strings(endian, &cache, sections).ok()?;
            let section = sections
                .iter()
                .find(|section| section.name(endian, strings) == Ok(SECTION));
            program.runtime = Some(section?.sh_addr(endian));
        }
        if !program.evaluation_complete {
            let file = File {
                content,
                segments,
                endian,
            };
            program.take_split(&file, header.e_machine(endian));
        }
        if program.version_at.is_none() {
            program.version = text::version(content, constants(sections, endian), &module.path);
        }
        Some(program)
    }

    /// Takes what a symbol table of a kind has; whether there was one that could be read.
    fn take_symbols(
        &mut self,
        content: &Content,
        sections: &[Section],
        endian: Endianness,
        kind: u32,
    ) -> bool {
        let Some(table) = sections
            .iter()
            .find(|section| section.sh_type(endian) == kind)
        else {
            return false;
        };
        let Some(names) = sections.get(table.sh_link(endian) as usize) else {
            return false;
        };
        let part = |section: &Section, limit| {
            let size = Some(section.sh_size(endian)).filter(|size| *size <= limit)?;
            let start = section.sh_offset(endian);
            Some(start..start.checked_add(size)?)
        };
        let (Some(names), Some(symbols)) = (part(names, MAX_NAMES), part(table, MAX_SYMBOLS))
        else {
            return false;
        };
        let mut wanted = Wanted::default();
        let seen = pieces(content, names, LONGEST, |at, names| wanted.take(at, names));
        if seen.is_none() || wanted.is_empty() {
            return seen.is_some();
        }
        let seen = pieces(content, symbols, 0, |_, symbols| {
            for symbol in symbols.chunks_exact(size_of::<Sym64<Endianness>>()) {
                if let Ok((symbol, _)) = pod::from_bytes::<Sym64<Endianness>>(symbol)
                    && symbol.st_shndx(endian) != SHN_UNDEF
                {
                    self.take(symbol, endian, &wanted);
                }
            }
        });
        seen.is_some()
    }

    /// Takes the part of the evaluation loop that has no symbol.
    fn take_split(&mut self, file: &File<'_>, machine: u16) {
        let machine = match machine {
            EM_X86_64 => Machine::X86,
            EM_AARCH64 => Machine::Arm,
            _ => return,
        };
        let mut segments = file.segments.iter();
        let header = segments.find(|segment| segment.p_type(file.endian) == PT_GNU_EH_FRAME);
        let (Some(header), [code]) = (header, &self.evaluation[..]) else {
            return;
        };
        let parts = split::parts(file, machine, header.p_vaddr(file.endian), code);
        self.evaluation_complete = parts.is_some();
        self.evaluation.extend(parts.unwrap_or_default());
    }

    fn take(&mut self, symbol: &Sym64<Endianness>, endian: Endianness, wanted: &Wanted) {
        let name = symbol.st_name(endian);
        let address = symbol.st_value(endian);
        if wanted.runtime.contains(&name) {
            self.runtime = Some(address);
        } else if wanted.version.contains(&name) {
            self.version_at = Some(address);
        } else if wanted.pthread_size.contains(&name) {
            self.pthread_size_at = Some(address);
        } else if symbol.st_type() == STT_FUNC && wanted.evaluation.contains(&name) {
            let code = address..address.saturating_add(symbol.st_size(endian));
            if !self.evaluation.contains(&code) && self.evaluation.len() < MAX_PARTS {
                self.evaluation.push(code);
            }
        }
    }
}

/// The content of a file, by its own addresses.
struct File<'a> {
    content: &'a Content,
    segments: &'a [Segment],
    endian: Endianness,
}

impl Bytes for File<'_> {
    fn at(&self, address: u64, len: u64) -> Option<Vec<u8>> {
        let place = |segment: &Segment| {
            let inside = address.checked_sub(segment.p_vaddr(self.endian))?;
            let held = inside.checked_add(len)? <= segment.p_filesz(self.endian);
            let is_loaded = segment.p_type(self.endian) == PT_LOAD;
            (held && is_loaded).then(|| segment.p_offset(self.endian).checked_add(inside))?
        };
        bytes(
            self.content,
            self.segments.iter().find_map(place)?,
            len,
            len,
        )
    }
}

/// Where in a string table the names stand that are looked for.
#[derive(Default)]
struct Wanted {
    runtime: Vec<u32>,
    version: Vec<u32>,
    pthread_size: Vec<u32>,
    evaluation: Vec<u32>,
}

impl Wanted {
    /// Takes a piece of the table. A name may be the end of a longer one, which linkers let share
    /// its bytes.
    fn take(&mut self, offset: u64, names: &[u8]) {
        let begins = |byte: &u8| matches!(byte, b'_' | b'P');
        for (at, _) in names.iter().enumerate().filter(|(_, byte)| begins(byte)) {
            let here = &names[at..];
            let list = if is_name(here, RUNTIME, b"\0") {
                &mut self.runtime
            } else if is_name(here, VERSION, b"\0") {
                &mut self.version
            } else if is_name(here, PTHREAD_SIZE, b"\0") {
                &mut self.pthread_size
            } else if is_name(here, EVALUATION, b"\0.") {
                &mut self.evaluation
            } else {
                continue;
            };
            let place = u32::try_from(offset + at as u64).ok();
            let place = place.filter(|place| !list.contains(place) && list.len() < MAX_PARTS);
            list.extend(place);
        }
    }

    fn is_empty(&self) -> bool {
        let Self {
            runtime,
            version,
            pthread_size,
            evaluation,
        } = self;
        [runtime, version, pthread_size, evaluation]
            .into_iter()
            .all(Vec::is_empty)
    }
}

/// Whether a name stands here, with one of `ends` behind it.
fn is_name(here: &[u8], name: &[u8], ends: &[u8]) -> bool {
    let behind = here.strip_prefix(name).and_then(<[u8]>::first);
    behind.is_some_and(|behind| ends.contains(behind))
}

/// Where the constants of a file lie in it.
fn constants(sections: &[Section], endian: Endianness) -> impl Iterator<Item = Range<u64>> {
    let constants = sections.iter().filter(move |section| {
        section.sh_type(endian) == SHT_PROGBITS
            && section.sh_addr(endian) != 0
            && section.sh_flags(endian) & u64::from(SHF_EXECINSTR) == 0
    });
    constants.map(move |section| {
        let start = section.sh_offset(endian);
        start..start.saturating_add(section.sh_size(endian))
    })
}

/// A part of a file, unless it is longer than `limit` or than the file.
fn bytes(content: &Content, offset: u64, size: u64, limit: u64) -> Option<Vec<u8>> {
    if size > limit || offset.checked_add(size)? > content.len().ok()? {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    content.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}
