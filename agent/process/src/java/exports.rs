//! What `libjvm.so` exports for debuggers: the symbols `gHotSpotVM…` (`runtime/vmStructs.cpp`, the lists at its end).

use super::Refused;
use crate::elf::{self, Elf, name_at, read, symbols};
use crate::maps::{Content, Mapping, Module, Snapshot};
use object::Endianness;
use object::elf::SHT_DYNSYM;
use std::collections::HashMap;

/// The library's name.
const LIBRARY: &str = "libjvm.so";
/// What the names begin with.
const PREFIX: &str = "gHotSpotVM";
/// None of them is longer.
const LONGEST: usize = 64;
/// The library exports a few hundred symbols: a table of more bytes is none of its.
const MAX_TABLE: u64 = 4 << 20;
/// Symbols that are kept.
const MAX_KEPT: usize = 256;

/// Addresses of exported variables by name, without the prefix that all have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exports(HashMap<String, u64>);

impl Exports {
    /// The address of one.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    fn moved(mut self, bias: u64) -> Self {
        for address in self.0.values_mut() {
            *address = address.wrapping_add(bias);
        }
        self
    }
}

impl FromIterator<(String, u64)> for Exports {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(all: I) -> Self {
        Self(all.into_iter().take(MAX_KEPT).collect())
    }
}

/// The mapping of the library's code.
pub(super) fn library(snapshot: &Snapshot) -> Option<&Mapping> {
    snapshot.mappings().iter().find(|mapping| {
        let module = mapping.module.as_ref();
        module.is_some_and(|module| is_jvm(module))
    })
}

/// Those of a process; `None`: the library is not there.
pub(super) fn of_process(snapshot: &Snapshot) -> Option<Result<Exports, Refused>> {
    let mapping = library(snapshot)?;
    let module = mapping.module.as_ref()?;
    let found = exports(&module.content).zip(mapping.bias());
    Some(match found {
        Some((exports, bias)) => Ok(exports.moved(bias)),
        None => Err(Refused::NoTables),
    })
}

fn is_jvm(module: &Module) -> bool {
    module
        .path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(LIBRARY.as_bytes()))
}

/// Those of a file, by its own addresses; `None` when it has none.
pub fn exports(content: &Content) -> Option<Exports> {
    let elf = Elf::open_64(content).ok()?;
    if elf.endian() != Endianness::default() {
        return None;
    }
    let sections = elf.sections().ok()?;
    let (table, names) = elf::table(&sections, SHT_DYNSYM)?;
    let table = read(content, table.range, MAX_TABLE)?;
    let names = read(content, names.range, MAX_TABLE)?;
    let defined = symbols(&table, elf.endian()).filter(|symbol| symbol.is_defined);
    let wanted = defined.filter_map(|symbol| {
        let name = name_at(&names, symbol.name, LONGEST)?;
        Some((name.strip_prefix(PREFIX)?.to_owned(), symbol.address))
    });
    let found: Exports = wanted.collect();
    (!found.0.is_empty()).then_some(found)
}
