//! Where a Go program keeps its table of functions (`pclntab`), and where its code begins.
//!
//! The linker of Go gives the table a section; the system's linker, which Go calls for programs
//! with C in them, may put it among other read-only data, where it is found by its header. Functions
//! are relative to the beginning of Go's code, and that is told, in the order of belief: by the
//! table's header (Go 1.18 to 1.25), by the relocation that will write it there when the program may
//! be loaded anywhere, by the module's description (`.go.module`, since Go 1.26), and at last by the
//! section of code, which begins with it unless there is C in front of it.

use super::pclntab::Table;
use super::symbolize::Limits;
use crate::elf::{Elf, Range, Section, read};
use crate::maps::Content;
use object::elf::SHT_RELA;

/// Offset of the beginning of Go's code in a module's description, in pointers: `text` of
/// `moduledata` in `src/runtime/symtab.go` of Go 1.26.
const MODULE_TEXT: u64 = 22;
/// Bytes of a relocation of a 64-bit program (`Elf64_Rela`: address, kind and symbol, value).
const RELOCATION: usize = 24;
/// A table in read-only data begins at a multiple of this, in bytes.
const TABLE_ALIGN: usize = 16;

/// A table was there and could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// The sections that matter.
#[derive(Default)]
struct Sections {
    table: Option<Section>,
    read_only: Option<Section>,
    text: Option<Section>,
    module: Option<Section>,
    relocations: Vec<Range>,
    /// The linker of Go left its mark.
    is_go: bool,
    pointer_size: u64,
}

/// The names of those of `addresses` that lie in Go code, in their order. `Ok(None)` when the file
/// is no Go program.
pub(super) fn names(
    content: &Content,
    limits: &Limits,
    addresses: &[u64],
) -> Result<Option<Vec<Option<String>>>, Damaged> {
    let Some(sections) = Sections::of(content) else {
        return Ok(None);
    };
    let Some((data, address)) = sections.table(content, limits)? else {
        return Ok(None);
    };
    let mut table = Table::parse(&data).ok_or(Damaged)?;
    if let Some(field) = table.text_field() {
        let text = sections.text(content, limits, address.wrapping_add(field), table.text());
        table = table.with_text(text.ok_or(Damaged)?);
    }
    let name = |address: &u64| Some(String::from_utf8_lossy(table.find(*address)?).into_owned());
    Ok(Some(addresses.iter().map(name).collect()))
}

impl Sections {
    fn of(content: &Content) -> Option<Self> {
        let elf = Elf::open(content).ok()?;
        let mut found = Self {
            pointer_size: elf.pointer_size(),
            ..Self::default()
        };
        for (name, section) in elf.named_sections().ok()? {
            match &name[..] {
                b".gopclntab" | b".data.rel.ro.gopclntab" => found.table = Some(section),
                b".data.rel.ro" => found.read_only = Some(section),
                b".text" => found.text = Some(section),
                b".go.buildinfo" | b".note.go.buildid" => found.is_go = true,
                b".go.module" => found.module = Some(section),
                _ if section.kind == SHT_RELA => found.relocations.push(section.range),
                _ => {}
            }
        }
        Some(found)
    }

    /// The table's bytes, and its address.
    fn table(&self, content: &Content, limits: &Limits) -> Result<Option<(Vec<u8>, u64)>, Damaged> {
        if let Some(Section { range, address, .. }) = self.table {
            let data = read(content, range, limits.symbol_bytes).ok_or(Damaged)?;
            return Ok(Some((data, address)));
        }
        let Some(Section { range, address, .. }) = self.read_only.filter(|_| self.is_go) else {
            return Ok(None);
        };
        let Some(mut data) = read(content, range, limits.symbol_bytes) else {
            return Ok(None);
        };
        let starts = (0..data.len()).step_by(TABLE_ALIGN);
        let start = starts
            .into_iter()
            .find(|start| Table::parse(&data[*start..]).is_some());
        Ok(start.map(|start| (data.split_off(start), address.wrapping_add(start as u64))))
    }

    /// Where Go's code begins; `field` is the address of the word in the table's header that may
    /// say it, `stored` what that word holds in the file.
    fn text(&self, content: &Content, limits: &Limits, field: u64, stored: u64) -> Option<u64> {
        let in_module = self.module.and_then(|module| {
            let at = MODULE_TEXT * self.pointer_size;
            let range = (module.range.0.checked_add(at)?, self.pointer_size);
            let bytes = read(content, range, limits.symbol_bytes)?;
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(&bytes);
            Some((module.address.wrapping_add(at), u64::from_le_bytes(word)))
        });
        let words = [Some((field, stored)), in_module];
        let told = words.into_iter().flatten().find_map(|(at, stored)| {
            let relocated = || self.relocated(content, limits, at);
            (stored != 0).then_some(stored).or_else(relocated)
        });
        told.or_else(|| Some(self.text?.address))
    }

    /// What a relocation that names no symbol writes to `address`. Only 64-bit programs keep that
    /// beside the word; others keep it in the word.
    fn relocated(&self, content: &Content, limits: &Limits, address: u64) -> Option<u64> {
        self.relocations.iter().find_map(|range| {
            let bytes = read(content, *range, limits.symbol_bytes)?;
            let found = bytes
                .chunks_exact(RELOCATION)
                .map(|entry| entry.as_chunks::<8>().0)
                .find(|words| {
                    u64::from_le_bytes(words[0]) == address
                        && u64::from_le_bytes(words[1]) >> 32 == 0
                })?;
            Some(u64::from_le_bytes(found[2]))
        })
    }
}
