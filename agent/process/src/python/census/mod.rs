//! How many objects of each type an interpreter has: those in the lists of its cyclic garbage collector,
//! counted from outside while it runs.
//!
//! Every container that can be part of a cycle stands in one of three lists, by age, or in a fourth when it was
//! frozen (`gc.freeze`). An object there has two words in front of it (`PyGC_Head`: next and previous). What
//! cannot be part of a cycle is in no list: `str`, `bytes`, numbers; nor are tuples and dicts that hold only
//! such, once the collector has looked at them.
//!
//! The lists change while they are walked, so each step is checked: the next object has to point back. Where it
//! does not, the neighbours are read again; what stays torn ends that list and is counted. A look ends after
//! [`MAX_OBJECTS`] objects or its time, whatever the target has made of its lists.

mod lists;
#[cfg(test)]
mod tests;
mod walk;

use super::Python;
use super::object::Objects;
use crate::{Budget, memory::Memory, pages::Pages};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Objects of one process that are counted.
pub const MAX_OBJECTS: u64 = 5_000_000;

/// Types of one process that are told apart.
const MAX_TYPES: usize = 20_000;

/// Bytes that the names of types may take.
const NAME_BYTES: u64 = 16 << 20;

/// Objects of a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub objects: u64,
    /// Bytes of an instance, without items of variable size.
    pub size_bytes: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Objects by the name of their type.
    pub types: BTreeMap<String, Count>,
    /// All of them, those of unknown types included.
    pub objects: u64,
    /// Objects whose type could not be read.
    pub unknown: u64,
    /// There were more than could be counted.
    pub cut: bool,
    /// Lists that changed under the look too often.
    pub torn: u64,
    /// How long it took.
    pub took: Duration,
}

/// Objects by the address of their type.
#[derive(Debug, Default)]
struct Tally {
    by_type: HashMap<u64, u64>,
    objects: u64,
    unknown: u64,
    cut: bool,
    torn: u64,
}

impl Tally {
    fn count(&mut self, kind: u64) {
        self.objects += 1;
        let room = self.by_type.len() < MAX_TYPES;
        match self.by_type.get_mut(&kind) {
            Some(objects) => *objects += 1,
            None if room && kind != 0 => drop(self.by_type.insert(kind, 1)),
            None => self.unknown += 1,
        }
    }
}

/// Counts the objects of all interpreters of a process, for so long on a CPU at the most. `None` when it is not known how
/// this version keeps them, or nothing can be read.
pub fn census<M: Memory>(python: &Python, memory: &M, time: Duration) -> Option<Census> {
    let began = Instant::now();
    let minor = python.version.minor;
    let objects = Objects::new(memory, &python.layout, minor, NAME_BYTES)?;
    let heads = lists::heads(python, memory);
    if heads.is_empty() {
        return None;
    }
    let mut pages = Pages::new(memory);
    let mut tally = Tally::default();
    let budget = Budget::of(time);
    for head in heads {
        walk::walk(&mut pages, head, budget, &mut tally);
    }
    let mut census = Census {
        objects: tally.objects,
        unknown: tally.unknown,
        cut: tally.cut,
        torn: tally.torn,
        ..Census::default()
    };
    for (kind, count) in tally.by_type {
        match objects.full_name(kind) {
            Some((name, size_bytes)) => {
                let sum = census.types.entry(name).or_default();
                sum.objects += count;
                sum.size_bytes = size_bytes;
            }
            None => census.unknown += count,
        }
    }
    census.took = began.elapsed();
    Some(census)
}
