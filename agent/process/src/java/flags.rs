//! The machine's options (`-XX:…`): `JVMFlag` (`runtime/flags/jvmFlag.hpp`). They say what objects look like.

use super::tables::text;
use super::{Refused, Tables};
use crate::memory::Memory;
use crate::pages::Pages;
use std::collections::HashMap;

/// There are about 1,300.
const MAX_FLAGS: u64 = 8192;
/// Bytes of an entry: it has three words.
const MAX_ENTRY: u64 = 128;

/// The options that matter here, which are all truth values.
const WANTED: [&str; 5] = [
    "UseCompressedOops",
    "UseCompressedClassPointers",
    "UseCompactObjectHeaders",
    "UseZGC",
    "UseShenandoahGC",
];

/// Those of [`WANTED`] that are on; what a version does not have is off.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags(HashMap<String, bool>);

impl Flags {
    /// Reads them.
    pub(super) fn read(memory: &impl Memory, tables: &Tables) -> Result<Self, Refused> {
        let table = tables.address("JVMFlag", "flags");
        let number = tables.address("JVMFlag", "numFlags");
        let name = tables.offset("JVMFlag", "_name");
        let value = tables.offset("JVMFlag", "_addr");
        let size = tables.size("JVMFlag");
        let (Some(table), Some(number), Some(name), Some(value), Some(size)) =
            (table, number, name, value, size)
        else {
            return Err(Refused::Missing("JVMFlag"));
        };
        let mut pages = Pages::new(memory);
        let first = memory.u64(table);
        let number = memory.u64(number);
        let (Some(first), Some(number)) = (first, number) else {
            return Err(Refused::Unreadable("table of options"));
        };
        if number > MAX_FLAGS || !(8..=MAX_ENTRY).contains(&size) {
            return Err(Refused::Unreadable("table of options"));
        }
        let mut flags = HashMap::new();
        for entry in (0..number).map(|at| first.wrapping_add(at * size)) {
            let word = |pages: &mut Pages<'_, _>, at: u64| {
                pages.bytes(entry.wrapping_add(at)).map(u64::from_ne_bytes)
            };
            let Some(name) = word(&mut pages, name) else {
                return Err(Refused::Unreadable("table of options"));
            };
            let Some(name) = text(&mut pages, name).filter(|it| WANTED.contains(&it.as_str()))
            else {
                continue;
            };
            let place = word(&mut pages, value).filter(|place| *place != 0);
            let Some([on]) = place.and_then(|place| memory.bytes(place)) else {
                return Err(Refused::Unreadable("table of options"));
            };
            flags.insert(name, on != 0);
        }
        match flags.contains_key(WANTED[0]) {
            true => Ok(Self(flags)),
            false => Err(Refused::Missing(WANTED[0])),
        }
    }

    /// Whether one is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or(false)
    }
}
