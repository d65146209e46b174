//! Functions that an ELF file defines, by name, with their place in the file. Files are hostile: every table
//! has a limit, and one that is longer is not looked at.

use crate::elf::{self, Elf, Section, offset_of, read};
use crate::maps::Content;
use object::Endianness;
use object::elf::{PT_INTERP, SHT_DYNSYM, SHT_SYMTAB};

/// Symbols, or names, of more bytes than this are not looked at.
const MAX_TABLE: u64 = 64 << 20;
/// Longest name that is compared.
const LONGEST: usize = 32;

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name.
    pub name: String,
    /// Where its code begins in the file, in bytes.
    pub offset: u64,
    /// Other files see it.
    pub exported: bool,
}

/// What a file defines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Defined {
    /// The functions whose names were wanted.
    pub functions: Vec<Function>,
    /// It asks for a dynamic linker.
    pub is_dynamic: bool,
}

/// Reads the functions of a file whose names `wanted` agrees to; of a program (not a library) those that it
/// keeps to itself too. `None` where the file cannot be read as ELF for 64 bits.
pub(super) fn defined(
    content: &Content,
    program: bool,
    wanted: impl Fn(&str) -> bool,
) -> Option<Defined> {
    let elf = Elf::open_64(content).ok()?;
    if elf.endian() != Endianness::default() {
        return None;
    }
    let sections = elf.sections().ok()?;
    let segments = elf.segments().ok()?;
    let mut defined = Defined {
        functions: Vec::new(),
        is_dynamic: segments.iter().any(|one| one.kind == PT_INTERP),
    };
    let kinds: &[u32] = match program {
        true => &[SHT_DYNSYM, SHT_SYMTAB],
        false => &[SHT_DYNSYM],
    };
    for kind in kinds {
        let Some((symbols, names)) = tables(content, &sections, *kind) else {
            continue;
        };
        for symbol in elf::symbols(&symbols, elf.endian()) {
            if !symbol.is_defined || !symbol.is_function {
                continue;
            }
            let name = elf::name_at(&names, symbol.name, LONGEST);
            let Some(name) = name.filter(|name| wanted(name)) else {
                continue;
            };
            let known = |one: &Function| one.name == name;
            if let Some(offset) = offset_of(&segments, symbol.address, 1)
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
fn tables(content: &Content, sections: &[Section], kind: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    let (symbols, names) = elf::table(sections, kind)?;
    let part = |section: Section| read(content, section.range, MAX_TABLE);
    Some((part(symbols)?, part(names)?))
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
