//! The lines of a piece of code: a record of entries, each an address, a line and a path.
//!
//! V8 writes paths of scripts from memory that it has given back: the bytes of such a path may be
//! anything, zeros among them, and an entry's end cannot be found by its zero. So a record is
//! believed only as a whole: all of its entries lie in the code, and fill it. When that fails for
//! V8, the entries are taken by their length, if the path in the function's own name has the length
//! that fills the record.

use super::super::window::Window;
use super::{Load, MAX_NAME};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a record before its entries, with its head.
const FIRST: u64 = 32;
/// Bytes of an entry before its path, and of the path's zero.
const ENTRY: u64 = 16;
/// Writers may fill a record up to a multiple of this, in bytes.
const PADDING: u64 = 8;
/// V8 gives addresses in the file that `perf inject` makes of the code, behind its header of this
/// many bytes (`src/diagnostics/perf-jit.cc`).
const V8_SHIFT: u64 = 0x40;

/// Path and line.
pub(super) type Place = (Arc<str>, u32);

/// The record of the lines of one piece of code.
pub(super) struct Lines<'a> {
    load: &'a Load,
    name: &'a str,
    /// What addresses in it count from.
    first: u64,
    begin: u64,
    end: u64,
    count: u64,
}

/// How the entry before an address was found: its distance, its line, where its path lies.
type Entry = (u64, u32, u64);

impl<'a> Lines<'a> {
    /// The record at `at`, of the code of `load`, which has the raw name `name`.
    pub(super) fn new(
        window: &mut Window<'_>,
        at: u64,
        load: &'a Load,
        name: &'a str,
    ) -> Option<Self> {
        let shift = if is_v8(name) { V8_SHIFT } else { 0 };
        let size = u64::from(window.u32(at + 4)?);
        Some(Self {
            load,
            name,
            first: load.address.saturating_add(shift),
            begin: at + FIRST,
            end: at + size,
            count: window.u64(at + 24)?,
        })
    }

    /// Path and line at each of `distances` (ascending) from the beginning of the code: those of
    /// the entry with the highest address that is not above it. `None` when the record is damaged.
    pub(super) fn places(
        &self,
        window: &mut Window<'_>,
        distances: &[u64],
    ) -> Option<Vec<Option<Place>>> {
        let own = self.walk(window, distances, None);
        if let Some(places) = own.and_then(|entries| read(window, &entries)) {
            return Some(places);
        }
        let path = self.script()?;
        let entries = self.walk(window, distances, Some(path.len() as u64))?;
        let path: Arc<str> = path.into();
        let place = |(_, line, _): Entry| (path.clone(), line);
        Some(entries.into_iter().map(|entry| entry.map(place)).collect())
    }

    /// The entry of each of `distances`; with paths of a known length, or up to their zeros.
    fn walk(
        &self,
        window: &mut Window<'_>,
        distances: &[u64],
        path_length: Option<u64>,
    ) -> Option<Vec<Option<Entry>>> {
        // Of the entries between the distance before and each.
        let mut last: Vec<Option<Entry>> = vec![None; distances.len()];
        let (mut at, mut path) = (self.begin, None);
        for _ in 0..self.count {
            let (address, line) = (window.u64(at)?, window.u32(at + 8)?);
            let distance = address.checked_sub(self.first)?;
            let length = match path_length {
                Some(length) => length,
                None => {
                    let text = window.bytes(at + ENTRY, MAX_NAME);
                    let length = text.iter().position(|byte| *byte == 0)?;
                    // A path of one byte, 255, is the one of the entry before.
                    if text[..length] != [0xff] {
                        path = Some(at + ENTRY);
                    }
                    length as u64
                }
            };
            let place = path.or(path_length.map(|_| at + ENTRY))?;
            at += ENTRY + length + 1;
            if distance > self.load.size || at > self.end {
                return None;
            }
            let slot = distances.partition_point(|wanted| *wanted < distance);
            if let Some(slot) = last.get_mut(slot)
                && slot.is_none_or(|(known, ..)| known <= distance)
            {
                *slot = Some((distance, line, place));
            }
        }
        let mut before = None;
        for entry in &mut last {
            before = entry.or(before);
            *entry = before;
        }
        (self.end - at < PADDING).then_some(last)
    }

    /// The path in a name of V8's, `JS:*function path:line:column`, when entries with a path of its
    /// length fill the record.
    fn script(&self) -> Option<&'a str> {
        let name = self.name.trim_end();
        let path = name.rsplitn(3, ':').nth(2).filter(|_| is_v8(name))?;
        let paths = path.match_indices(' ').map(|(at, _)| &path[at + 1..]);
        let bytes = self.end.checked_sub(self.begin)?;
        let fills = |path: &&str| {
            let entries = self.count.checked_mul(ENTRY + path.len() as u64 + 1);
            entries
                .and_then(|entries| bytes.checked_sub(entries))
                .is_some_and(|rest| rest < PADDING)
        };
        paths.filter(|path| !path.is_empty()).find(fills)
    }
}

fn is_v8(name: &str) -> bool {
    name.starts_with("JS:")
}

/// The places of entries, each path once; `None` when one is no text.
fn read(window: &mut Window<'_>, entries: &[Option<Entry>]) -> Option<Vec<Option<Place>>> {
    let mut paths: HashMap<u64, Arc<str>> = HashMap::new();
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some((_, line, at)) = *entry else {
            places.push(None);
            continue;
        };
        let path = match paths.get(&at) {
            Some(known) => known.clone(),
            None => text(window.bytes(at, MAX_NAME))?,
        };
        paths.insert(at, path.clone());
        places.push(Some((path, line)));
    }
    Some(places)
}

/// The bytes up to their zero, if they are a text.
fn text(bytes: &[u8]) -> Option<Arc<str>> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.into())
}
