//! The tables of structures, types and constants in the machine's memory: `VMStructEntry`, `VMTypeEntry`,
//! `VMIntConstantEntry`, `VMLongConstantEntry` (`runtime/vmStructs.hpp`). How their entries are laid out is exported
//! beside them.

use super::{Exports, Refused};
use crate::memory::Memory;
use crate::pages::Pages;
use std::collections::HashMap;

/// Entries of one table that are read: there are some 2,000 in the largest.
const MAX_ENTRIES: u64 = 16_384;
/// An entry has eight words at the most.
const MAX_STRIDE: u64 = 256;
/// Longer names are cut: those of templates are of no use here.
const MAX_NAME: usize = 128;
/// Bytes of a name that are read at once.
const STEP: usize = 32;

/// What the tables say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Offset of a member, by structure and name.
    members: HashMap<(String, String), u64>,
    /// Address of a static member.
    statics: HashMap<(String, String), u64>,
    /// Bytes of a type.
    sizes: HashMap<String, u64>,
    constants: HashMap<String, u64>,
}

impl Tables {
    /// Reads them.
    ///
    /// # Errors
    /// When one of them is not exported or not readable.
    pub fn read(memory: &impl Memory, exports: &Exports) -> Result<Self, Refused> {
        let mut reader = Reader {
            pages: Pages::new(memory),
            exports,
        };
        let mut tables = Self::default();
        tables.take_structs(&mut reader)?;
        tables.take_types(&mut reader)?;
        tables.take_constants(&mut reader, ["IntConstants", "IntConstantEntry"], 4)?;
        tables.take_constants(&mut reader, ["LongConstants", "LongConstantEntry"], 8)?;
        Ok(tables)
    }

    /// The offset of a member.
    pub fn offset(&self, of: &str, name: &str) -> Option<u64> {
        self.members.get(&(of.to_owned(), name.to_owned())).copied()
    }

    /// The address of a static member.
    pub fn address(&self, of: &str, name: &str) -> Option<u64> {
        self.statics.get(&(of.to_owned(), name.to_owned())).copied()
    }

    /// The size of a type, in bytes.
    pub fn size(&self, of: &str) -> Option<u64> {
        self.sizes.get(of).copied()
    }

    /// A constant.
    pub fn constant(&self, name: &str) -> Option<u64> {
        self.constants.get(name).copied()
    }

    fn take_structs<M: Memory>(&mut self, reader: &mut Reader<'_, M>) -> Result<(), Refused> {
        let part = |name: &str| reader.number(&format!("StructEntry{name}Offset"));
        let parts = ["TypeName", "FieldName", "IsStatic", "Offset", "Address"].map(part);
        let [of, name, is_static, offset, address] = parts;
        let (of, name) = (of?, name?);
        let (is_static, offset, address) = (is_static?, offset?, address?);
        let table = reader.table("Structs", "StructEntry")?;
        reader.each(table, of, |reader, entry, of| {
            let name = reader.name(entry.wrapping_add(name));
            let is_static = reader.u32(entry.wrapping_add(is_static));
            let place = match is_static {
                Some(0) => reader.u64(entry.wrapping_add(offset)),
                _ => reader.u64(entry.wrapping_add(address)),
            };
            if let (Some(name), Some(is_static), Some(place)) = (name, is_static, place) {
                let map = match is_static {
                    0 => &mut self.members,
                    _ => &mut self.statics,
                };
                map.insert((of, name), place);
            }
        })
    }

    fn take_types<M: Memory>(&mut self, reader: &mut Reader<'_, M>) -> Result<(), Refused> {
        let name = reader.number("TypeEntryTypeNameOffset")?;
        let size = reader.number("TypeEntrySizeOffset")?;
        let table = reader.table("Types", "TypeEntry")?;
        reader.each(table, name, |reader, entry, name| {
            if let Some(size) = reader.u64(entry.wrapping_add(size)) {
                self.sizes.insert(name, size);
            }
        })
    }

    fn take_constants<M: Memory>(
        &mut self,
        reader: &mut Reader<'_, M>,
        [table, entry]: [&'static str; 2],
        bytes: usize,
    ) -> Result<(), Refused> {
        let name = reader.number(&format!("{entry}NameOffset"))?;
        let value = reader.number(&format!("{entry}ValueOffset"))?;
        let table = reader.table(table, entry)?;
        reader.each(table, name, |reader, entry, name| {
            let place = entry.wrapping_add(value);
            let value = match bytes {
                4 => reader.u32(place).map(u64::from),
                _ => reader.u64(place),
            };
            if let Some(value) = value {
                self.constants.insert(name, value);
            }
        })
    }
}

/// A table: its first entry, and the bytes from one to the next.
#[derive(Clone, Copy)]
struct Table {
    first: u64,
    stride: u64,
    what: &'static str,
}

struct Reader<'m, M> {
    pages: Pages<'m, M>,
    exports: &'m Exports,
}

impl<M: Memory> Reader<'_, M> {
    fn u64(&mut self, address: u64) -> Option<u64> {
        self.pages.bytes(address).map(u64::from_ne_bytes)
    }

    fn u32(&mut self, address: u64) -> Option<u32> {
        self.pages.bytes(address).map(u32::from_ne_bytes)
    }

    /// The value of an exported variable.
    fn exported(&mut self, name: &str) -> Option<u64> {
        let address = self.exports.get(name)?;
        self.u64(address)
    }

    /// That of one that says where something lies in an entry.
    fn number(&mut self, name: &str) -> Result<u64, Refused> {
        let number = self.exported(name).ok_or(Refused::NoTables)?;
        match number < MAX_STRIDE {
            true => Ok(number),
            false => Err(Refused::Unreadable("table of structures")),
        }
    }

    fn table(&mut self, name: &'static str, entry: &str) -> Result<Table, Refused> {
        let stride = self.exported(&format!("{entry}ArrayStride"));
        let first = self.exported(name);
        let (Some(first), Some(stride)) = (first, stride) else {
            return Err(Refused::NoTables);
        };
        if first == 0 || !(8..=MAX_STRIDE).contains(&stride) {
            return Err(Refused::Unreadable("table of structures"));
        }
        Ok(Table {
            first,
            stride,
            what: "table of structures",
        })
    }

    /// Each entry up to the one without a name: its address and its name.
    fn each(
        &mut self,
        table: Table,
        name: u64,
        mut take: impl FnMut(&mut Self, u64, String),
    ) -> Result<(), Refused> {
        for number in 0..MAX_ENTRIES {
            let entry = table.first.wrapping_add(number * table.stride);
            let Some(place) = self.u64(entry.wrapping_add(name)) else {
                return Err(Refused::Unreadable(table.what));
            };
            if place == 0 {
                return Ok(());
            }
            if let Some(name) = self.text(place) {
                take(self, entry, name);
            }
        }
        Err(Refused::Unreadable(table.what))
    }

    /// The text that a member of an entry points to.
    fn name(&mut self, place: u64) -> Option<String> {
        let address = self.u64(place)?;
        self.text(address)
    }

    fn text(&mut self, address: u64) -> Option<String> {
        text(&mut self.pages, address)
    }
}

/// A text of C's; `None` when it is empty, not readable, or none.
pub(super) fn text<M: Memory>(pages: &mut Pages<'_, M>, address: u64) -> Option<String> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_NAME {
        let place = address.wrapping_add(bytes.len() as u64);
        let step = match pages.bytes::<STEP>(place) {
            Some(step) => step.to_vec(),
            // It may end in front of a page that is not there.
            None => pages.memory().up_to(place, STEP),
        };
        let end = step.iter().position(|byte| *byte == 0);
        bytes.extend_from_slice(step.get(..end.unwrap_or(step.len()))?);
        if end.is_some() || step.len() < STEP {
            break;
        }
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty())
}
