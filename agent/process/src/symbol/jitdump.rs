//! A reader of jitdumps: what run-time compilers write for `perf inject`, with `node --perf-prof`
//! or by an agent of the Java machine (`tools/perf/Documentation/jitdump-specification.txt` of the
//! kernel). Unlike a perf map it says when code came, what moved, and which lines it has.
//!
//! A dump holds the code itself and grows to gigabytes. It is read in one pass over the heads of
//! its records, which keeps for each address that was asked for the last record that covers it;
//! names and lines are read at the end, of the records that won. Code that moved has its name from
//! the record of its loading, by its number: that takes a second pass, when there is such code.
//!
//! The file is the target's, hostile, and may grow or shrink while it is read.

mod lines;

use super::window::Window;
use crate::maps::Content;
use lines::{Lines, Place};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// `JiTD`, in the byte order of this machine.
const MAGIC: u32 = 0x4a69_5444;
/// Longer names and paths are cut, in bytes.
const MAX_NAME: usize = 4096;
/// Assignments of a record to an address: a hostile dump of a million records that cover everything
/// must end.
const MAX_ASSIGNMENTS: u64 = 50_000_000;
/// Bytes of the head of every record: kind, size, time.
const HEAD: u64 = 16;
/// Bytes of a `JIT_CODE_LOAD` before its name, with its head.
const LOAD: u64 = 56;
/// Bytes of a `JIT_CODE_MOVE`, with its head.
const MOVE: u64 = 64;
/// What a dump says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JitSymbol {
    /// Raw name of the function.
    pub name: Arc<str>,
    /// Raw path of its source, and the line in it.
    pub place: Option<(Arc<str>, u32)>,
}

/// What a dump says of the addresses that were asked for.
#[derive(Debug, Default)]
pub struct Dump {
    /// By address.
    pub symbols: HashMap<u64, JitSymbol>,
    /// Pieces of code among them whose lines could not be read.
    pub damaged_lines: u64,
    /// It was not read to its end: malformed, too long, or reading failed.
    pub cut: bool,
}

/// Looks up `addresses` in a dump, of which at most `limit` bytes are read.
pub fn look_up(content: &Content, limit: u64, addresses: &[u64]) -> Dump {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    // What is written from now on is left for the next time.
    let length = content.len().unwrap_or(0);
    let mut search = Search {
        window: Window::new(content, length.min(limit)),
        end: length.min(limit),
        winners: vec![None; addresses.len()],
        addresses,
        assignments: 0,
        damaged_lines: 0,
    };
    let whole = search.run().is_some();
    let symbols = search.symbols();
    Dump {
        symbols,
        damaged_lines: search.damaged_lines,
        cut: !whole || length > limit,
    }
}

/// The record that covers an address, the last so far.
#[derive(Clone, Copy)]
struct Winner {
    /// When the code came.
    time: u64,
    /// Number of the code.
    index: u64,
    /// Distance of the address from the beginning of the code.
    distance: u64,
    /// Its loading; `None` for code that moved here, until the second pass.
    load: Option<Load>,
}

/// The loading of code.
#[derive(Clone, Copy)]
struct Load {
    /// Where its record lies.
    at: u64,
    /// Where the record of its lines lies.
    lines: Option<u64>,
    /// Where the code was.
    address: u64,
    /// How long it is, in bytes.
    size: u64,
}

struct Search<'a> {
    window: Window<'a>,
    /// Where the file ends, or the limit.
    end: u64,
    addresses: Vec<u64>,
    winners: Vec<Option<Winner>>,
    assignments: u64,
    damaged_lines: u64,
}

/// A record's head.
struct Record {
    kind: u32,
    size: u64,
    time: u64,
}

const JIT_CODE_LOAD: u32 = 0;
const JIT_CODE_MOVE: u32 = 1;
const JIT_CODE_DEBUG_INFO: u32 = 2;

impl Search<'_> {
    /// Reads to the end; `None` when it had to stop before.
    fn run(&mut self) -> Option<()> {
        self.each_record(|search, at, record, lines| match record.kind {
            JIT_CODE_LOAD => search.take_load(at, &record, lines),
            JIT_CODE_MOVE => search.take_move(at, &record),
            _ => Some(()),
        })?;
        let moved = |winner: &&Winner| winner.load.is_none();
        let moved = self.winners.iter().flatten().filter(moved);
        let mut wanted: HashMap<u64, Option<Load>> =
            moved.map(|winner| (winner.index, None)).collect();
        if !wanted.is_empty() {
            self.each_record(|search, at, record, lines| {
                if record.kind == JIT_CODE_LOAD {
                    let index = search.window.u64(at + 48)?;
                    if let Some(load) = wanted.get_mut(&index) {
                        *load = Some(search.load(at, lines)?);
                    }
                }
                Some(())
            })?;
        }
        for winner in self.winners.iter_mut().flatten() {
            winner.load = winner.load.or(wanted.get(&winner.index).copied().flatten());
        }
        Some(())
    }

    /// Calls `take` for each loading and moving of code, with where its record lies, and where that
    /// of its lines does, which stands before it; ends with the last whole record.
    fn each_record(
        &mut self,
        mut take: impl FnMut(&mut Self, u64, Record, Option<u64>) -> Option<()>,
    ) -> Option<()> {
        if self.window.u32(0)? != MAGIC {
            return None;
        }
        let mut at = u64::from(self.window.u32(8)?);
        let mut lines = None;
        while let Some(kind) = self.window.u32(at) {
            let (Some(size), Some(time)) = (self.window.u32(at + 4), self.window.u64(at + 8))
            else {
                break;
            };
            let size = u64::from(size);
            if size < HEAD {
                return None;
            }
            let record = Record { kind, size, time };
            match kind {
                JIT_CODE_DEBUG_INFO => lines = Some((at, self.window.u64(at + HEAD))),
                JIT_CODE_LOAD => {
                    let address = self.window.u64(at + 32);
                    let own = lines.take().filter(|(_, of)| *of == address);
                    if self.fits(at, &record) {
                        take(self, at, record, own.map(|(place, _)| place))?;
                    }
                }
                JIT_CODE_MOVE if self.fits(at, &record) => take(self, at, record, None)?,
                _ => {}
            }
            at = at.checked_add(size)?;
        }
        Some(())
    }

    /// Whether a record is as long as its kind, and all there: the last may be half written.
    fn fits(&self, at: u64, record: &Record) -> bool {
        let least = match record.kind {
            JIT_CODE_LOAD => LOAD,
            JIT_CODE_MOVE => MOVE,
            _ => return false,
        };
        record.size >= least && at.saturating_add(record.size) <= self.end
    }

    fn load(&mut self, at: u64, lines: Option<u64>) -> Option<Load> {
        Some(Load {
            at,
            lines,
            address: self.window.u64(at + 32)?,
            size: self.window.u64(at + 40)?,
        })
    }

    fn take_load(&mut self, at: u64, record: &Record, lines: Option<u64>) -> Option<()> {
        let load = self.load(at, lines)?;
        let index = self.window.u64(at + 48)?;
        self.assign(load.address, load.size, |distance| Winner {
            time: record.time,
            index,
            distance,
            load: Some(load),
        })
    }

    fn take_move(&mut self, at: u64, record: &Record) -> Option<()> {
        let (to, size) = (self.window.u64(at + 40)?, self.window.u64(at + 48)?);
        let index = self.window.u64(at + 56)?;
        self.assign(to, size, |distance| Winner {
            time: record.time,
            index,
            distance,
            load: None,
        })
    }

    /// The addresses in a piece of code have a new winner, unless they have a later one.
    fn assign(&mut self, start: u64, size: u64, winner: impl Fn(u64) -> Winner) -> Option<()> {
        let end = start.saturating_add(size);
        let first = self.addresses.partition_point(|address| *address < start);
        let behind = self.addresses.partition_point(|address| *address < end);
        let behind = behind.max(first);
        for (slot, address) in self.winners[first..behind]
            .iter_mut()
            .zip(&self.addresses[first..behind])
        {
            let new = winner(address - start);
            if slot.is_none_or(|known| known.time <= new.time) {
                *slot = Some(new);
            }
        }
        self.assignments += (behind - first) as u64;
        (self.assignments <= MAX_ASSIGNMENTS).then_some(())
    }

    /// Names and lines of the winners.
    fn symbols(&mut self) -> HashMap<u64, JitSymbol> {
        // In the order of the file.
        let mut by_load: BTreeMap<u64, (Load, Vec<(u64, u64)>)> = BTreeMap::new();
        for (address, winner) in self.addresses.iter().zip(&self.winners) {
            let Some(Winner { distance, load, .. }) = winner else {
                continue;
            };
            if let Some(load) = load {
                let entry = by_load.entry(load.at).or_insert((*load, Vec::new()));
                entry.1.push((*distance, *address));
            }
        }
        let mut symbols = HashMap::new();
        for (load, mut wanted) in by_load.into_values() {
            wanted.sort_unstable();
            let name = self.text(load.at + LOAD);
            let distances: Vec<u64> = wanted.iter().map(|(distance, _)| *distance).collect();
            let places = self.places(&load, &name, &distances);
            for ((_, address), place) in wanted.into_iter().zip(places) {
                let name = name.clone();
                symbols.insert(address, JitSymbol { name, place });
            }
        }
        symbols
    }

    /// Path and line at each of `distances` in a piece of code.
    fn places(&mut self, load: &Load, name: &str, distances: &[u64]) -> Vec<Option<Place>> {
        let none = vec![None; distances.len()];
        let Some(at) = load.lines else {
            return none;
        };
        let lines = Lines::new(&mut self.window, at, load, name);
        let places = lines.and_then(|lines| lines.places(&mut self.window, distances));
        self.damaged_lines += u64::from(places.is_none());
        places.unwrap_or(none)
    }

    /// The text at `at`, up to its zero.
    fn text(&mut self, at: u64) -> Arc<str> {
        let bytes = self.window.bytes(at, MAX_NAME);
        let end = bytes.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into()
    }
}

#[cfg(test)]
mod tests;
