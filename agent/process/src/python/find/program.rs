//! What an ELF file says about an interpreter in it: the symbols of its state, its version and its
//! evaluation loop.
//!
//! `_PyRuntime` is exported wherever extension modules can be loaded, so `.dynsym` is looked at in
//! every file, and `.symtab` only for a program that may hold an interpreter for itself alone.
//! Files are hostile: every table has a limit, and a table that is longer is not looked at.

use super::pieces::pieces;
use super::split::{self, Bytes, Machine};
use super::text;
use crate::elf::{self, Elf, Section, Segment, Symbol, offset_of, read, symbols};
use crate::maps::{Content, Module};
use crate::python::Version;
use object::Endianness;
use object::elf::{
    EM_AARCH64, EM_X86_64, PT_GNU_EH_FRAME, PT_INTERP, SHT_DYNSYM, SHT_PROGBITS, SHT_SYMTAB,
};
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

impl Program {
    /// Reads it; `None` when neither interpreter nor libc is in the file.
    pub(super) fn read(module: &Module) -> Option<Self> {
        module.layout.as_ref()?;
        let content = &module.content;
        let elf = Elf::open_64(content).ok()?;
        if elf.endian() != Endianness::default() {
            return None;
        }
        let sections = elf.sections().ok()?;
        let mut program = Self::default();
        program.take_symbols(&elf, content, &sections, SHT_DYNSYM);
        if program.pthread_size_at.is_some() && program.runtime.is_none() {
            return Some(program);
        }
        let exported = program.runtime.is_some();
        let segments = elf.segments().ok()?;
        let alone = || {
            segments.iter().any(|segment| segment.kind == PT_INTERP)
                || !sections.iter().any(|section| section.kind == SHT_DYNSYM)
        };
        if exported || alone() {
            program.evaluation_complete =
                program.take_symbols(&elf, content, &sections, SHT_SYMTAB);
        }
        if program.runtime.is_none() {
            let named = elf.named_sections().ok()?;
            let section = named.iter().find(|(name, _)| name == SECTION);
            program.runtime = Some(section?.1.address);
        }
        if !program.evaluation_complete {
            let file = File {
                content,
                segments: &segments,
            };
            program.take_split(&file, elf.machine());
        }
        if program.version_at.is_none() {
            program.version = text::version(content, constants(&sections), &module.path);
        }
        Some(program)
    }

    /// Takes what a symbol table of a kind has; whether there was one that could be read.
    fn take_symbols(
        &mut self,
        elf: &Elf<'_>,
        content: &Content,
        sections: &[Section],
        kind: u32,
    ) -> bool {
        let Some((table, names)) = elf::table(sections, kind) else {
            return false;
        };
        let part = |section: Section, limit| {
            let (start, size) = section.range;
            (size <= limit).then(|| Some(start..start.checked_add(size)?))?
        };
        let (Some(names), Some(table)) = (part(names, MAX_NAMES), part(table, MAX_SYMBOLS)) else {
            return false;
        };
        let mut wanted = Wanted::default();
        let seen = pieces(content, names, LONGEST, |at, names| wanted.take(at, names));
        if seen.is_none() || wanted.is_empty() {
            return seen.is_some();
        }
        let seen = pieces(content, table, 0, |_, piece| {
            for symbol in symbols(piece, elf.endian()).filter(|symbol| symbol.is_defined) {
                self.take(symbol, &wanted);
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
        let header = segments.find(|segment| segment.kind == PT_GNU_EH_FRAME);
        let (Some(header), [code]) = (header, &self.evaluation[..]) else {
            return;
        };
        let parts = split::parts(file, machine, header.address, code);
        self.evaluation_complete = parts.is_some();
        self.evaluation.extend(parts.unwrap_or_default());
    }

    fn take(&mut self, symbol: Symbol, wanted: &Wanted) {
        let Symbol { name, address, .. } = symbol;
        if wanted.runtime.contains(&name) {
            self.runtime = Some(address);
        } else if wanted.version.contains(&name) {
            self.version_at = Some(address);
        } else if wanted.pthread_size.contains(&name) {
            self.pthread_size_at = Some(address);
        } else if symbol.is_function && wanted.evaluation.contains(&name) {
            let code = address..address.saturating_add(symbol.size);
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
}

impl Bytes for File<'_> {
    fn at(&self, address: u64, len: u64) -> Option<Vec<u8>> {
        let offset = offset_of(self.segments, address, len)?;
        read(self.content, (offset, len), len)
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
fn constants(sections: &[Section]) -> impl Iterator<Item = Range<u64>> {
    let constants = sections.iter().filter(|section| {
        section.kind == SHT_PROGBITS && section.address != 0 && !section.is_code()
    });
    constants.map(|section| {
        let (start, size) = section.range;
        start..start.saturating_add(size)
    })
}
