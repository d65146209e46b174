//! Symbols of files of 64 bits: what a file calls its parts.

use super::Section;
use object::elf::{SHN_UNDEF, STT_FUNC, Sym64};
use object::read::elf::Sym;
use object::{Endianness, pod};

/// Bytes of a symbol.
pub const SYMBOL_BYTES: usize = size_of::<Sym64<Endianness>>();

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where its name begins in the table of names.
    pub name: u32,
    /// Its address.
    pub address: u64,
    /// Bytes of what it names.
    pub size: u64,
    /// It names a function.
    pub is_function: bool,
    /// It is in this file.
    pub is_defined: bool,
}

/// The first symbol table of a kind (`SHT_…`), and its names.
pub fn table(sections: &[Section], kind: u32) -> Option<(Section, Section)> {
    let table = sections.iter().find(|section| section.kind == kind)?;
    Some((*table, *sections.get(table.link as usize)?))
}

/// The symbols in a piece of a table.
pub fn symbols(bytes: &[u8], endian: Endianness) -> impl Iterator<Item = Symbol> + '_ {
    bytes.chunks_exact(SYMBOL_BYTES).filter_map(move |bytes| {
        let (symbol, _) = pod::from_bytes::<Sym64<Endianness>>(bytes).ok()?;
        Some(Symbol {
            name: symbol.st_name(endian),
            address: symbol.st_value(endian),
            size: symbol.st_size(endian),
            is_function: symbol.st_type() == STT_FUNC,
            is_defined: symbol.st_shndx(endian) != SHN_UNDEF,
        })
    })
}

/// A name of fewer than `longest` bytes in a table of names.
pub fn name_at(names: &[u8], at: u32, longest: usize) -> Option<&str> {
    let here = names.get(at as usize..)?;
    let end = here
        .iter()
        .take(longest)
        .position(|byte| *byte == 0)
        .filter(|end| *end > 0)?;
    std::str::from_utf8(here.get(..end)?).ok()
}
