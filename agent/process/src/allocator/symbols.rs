//! Functions that an ELF file defines, by name, with their place in the file. Files are hostile: every table
//! has a limit, and one that is longer is not looked at.

use crate::maps::{Content, Cursor};
use object::elf::{
    FileHeader64, PT_INTERP, PT_LOAD, ProgramHeader64, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC,
    SectionHeader64, Sym64,
};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, pod};

/// Symbols, or names, of more bytes than this are not looked at.
const MAX_TABLE: u64 = 64 << 20;
/// Sections and segments of a file that are believed.
const MAX_HEADERS: usize = 4096;
/// Longest name that is compared.
const LONGEST: usize = 32;

type Header = FileHeader64<Endianness>;
type Section = SectionHeader64<Endianness>;
type Segment = ProgramHeader64<Endianness>;

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where its code begins in the file, in bytes.
    pub offset: u64,
    /// Other files see it.
    pub exported: bool,
}

/// What a file defines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defined {
    /// The functions whose names were wanted.
    pub functions: Vec<Function>,
    /// It asks for a dynamic linker.
    pub is_dynamic: bool,
}

/// Reads the functions of a file whose names `wanted` agrees to; of a program (not a library) those that it
/// keeps to itself too. `None` where the file cannot be read as ELF for 64 bits.
pub fn defined(content: &Content, program: bool, wanted: impl Fn(&str) -> bool) -> Option<Defined> {
    let cache = ReadCache::new(Cursor::new(content));
    let header = Header::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    if endian != Endianness::default()
        || header.shnum(endian, &cache).ok()? > MAX_HEADERS
        || header.phnum(endian, &cache).ok()? > MAX_HEADERS
    {
        return None;
    }
    let sections = header.section_headers(endian, &cache).ok()?;
    let segments = header.program_headers(endian, &cache).ok()?;
    let mut defined = Defined {
        functions: Vec::new(),
        is_dynamic: segments
            .iter()
            .any(|segment| segment.p_type(endian) == PT_INTERP),
    };
    let kinds: &[u32] = match program {
        true => &[SHT_DYNSYM, SHT_SYMTAB],
        false => &[SHT_DYNSYM],
    };
    for kind in kinds {
        let Some((symbols, names)) = tables(content, sections, endian, *kind) else {
            continue;
        };
        for symbol in symbols.chunks_exact(size_of::<Sym64<Endianness>>()) {
            let Ok((symbol, _)) = pod::from_bytes::<Sym64<Endianness>>(symbol) else {
                continue;
            };
            if symbol.st_shndx(endian) == SHN_UNDEF || symbol.st_type() != STT_FUNC {
                continue;
            }
            let Some(name) = name_at(&names, symbol.st_name(endian)).filter(|name| wanted(name))
            else {
                continue;
            };
            let known = |one: &Function| one.name == name;
            if let Some(offset) = place(segments, endian, symbol.st_value(endian))
                && !defined.functions.iter().any(known)
            {
                defined.functions.push(Function {
                    name: name.to_owned(),
                    offset,
                    exported: *kind == SHT_DYNSYM,
                });
            }
        }
    }
    Some(defined)
}

/// The symbols of a kind and their names.
fn tables(
    content: &Content,
    sections: &[Section],
    endian: Endianness,
    kind: u32,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let table = sections
        .iter()
        .find(|section| section.sh_type(endian) == kind)?;
    let names = sections.get(table.sh_link(endian) as usize)?;
    let read =
        |section: &Section| bytes(content, section.sh_offset(endian), section.sh_size(endian));
    Some((read(table)?, read(names)?))
}

/// A part of the file, unless it is too long or not there.
fn bytes(content: &Content, offset: u64, size: u64) -> Option<Vec<u8>> {
    if size > MAX_TABLE || offset.checked_add(size)? > content.len().ok()? {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    content.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn name_at(names: &[u8], at: u32) -> Option<&str> {
    let here = names.get(at as usize..)?;
    let end = here
        .iter()
        .take(LONGEST)
        .position(|byte| *byte == 0)
        .filter(|end| *end > 0)?;
    std::str::from_utf8(here.get(..end)?).ok()
}

/// Where in the file the code at an address stands.
fn place(segments: &[Segment], endian: Endianness, address: u64) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .find_map(|segment| {
            let inside = address.checked_sub(segment.p_vaddr(endian))?;
            let held = inside < segment.p_filesz(endian);
            held.then(|| segment.p_offset(endian).checked_add(inside))?
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn all(bytes: Vec<u8>, program: bool) -> Option<Defined> {
        defined(&Content::Bytes(bytes.into()), program, |_| true)
    }

    #[test]
    fn functions_of_this_program_are_found_where_they_are() {
        let own = fs::read("/proc/self/exe").unwrap();
        let found = all(own, true).unwrap();
        let main = found.functions.iter().find(|one| one.name == "main");
        let main = main.unwrap();
        assert!(main.offset > 0 && !main.exported && found.is_dynamic);
    }

    #[test]
    fn what_is_no_elf_file_is_nothing() {
        assert_eq!(all(Vec::new(), true), None);
        assert_eq!(all(b"\x7fELF".to_vec(), true), None);
        assert_eq!(all(vec![0xff; 4096], false), None);
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_no_panic(at in 0usize..4096, byte: u8, cut in 64usize..200_000) {
            let mut bytes = fs::read("/bin/true").unwrap();
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(cut);
            let _found = all(bytes, true);
        }
    }
}
