//! Where the collector's lists begin.
//!
//! `struct _gc_runtime_state` (`pycore_gc.h`, in 3.8 `pycore_pymem.h`) has, from 3.8 to 3.13, an array of three
//! generations, then a pointer to the first of them, then the generation of what was frozen. What stands in
//! front of the array differs between versions; the pointer that leads back to it does not, and tells where
//! it is.

use crate::memory::Memory;
use crate::python::Python;
use remora_common::python::ABSENT;

/// Bytes of `struct gc_generation`: the list's head (two words), a threshold and a count.
const GENERATION: u64 = 24;
/// Generations.
const GENERATIONS: u64 = 3;
/// Where `generation0` stands, from the first generation on; `permanent_generation` follows.
const FIRST: u64 = GENERATION * GENERATIONS;
const PERMANENT: u64 = FIRST + 8;
/// In front of the generations in the collector's state, at the most.
const STATE: usize = 128;
/// In 3.8 that state is a part of the runtime, at an offset that nothing publishes.
const RUNTIME: usize = 4096;
/// Interpreters of a process that are looked at.
const MAX_INTERPRETERS: usize = 64;

/// Addresses of the heads of all lists; none where they cannot be told.
pub(super) fn heads<M: Memory>(python: &Python, memory: &M) -> Vec<u64> {
    let offset = python.layout.interpreter.gc;
    if offset == ABSENT {
        return of_state(memory, python.runtime(), RUNTIME).unwrap_or_default();
    }
    let states = interpreters(python, memory);
    let of_each = states.iter().filter_map(|state| {
        let state = state.checked_add(offset.into())?;
        of_state(memory, state, STATE)
    });
    of_each.flatten().collect()
}

fn interpreters<M: Memory>(python: &Python, memory: &M) -> Vec<u64> {
    let read = |at: Option<u64>| at.and_then(|at| memory.u64(at)).filter(|state| *state != 0);
    let offsets = &python.layout;
    let head = python
        .runtime()
        .checked_add(offsets.runtime.interpreters_head.into());
    let next = |state: &u64| read(state.checked_add(offsets.interpreter.next.into()));
    std::iter::successors(read(head), next)
        .take(MAX_INTERPRETERS)
        .collect()
}

/// The heads in the collector's state that begins within so many bytes from an address.
fn of_state<M: Memory>(memory: &M, state: u64, within: usize) -> Option<Vec<u64>> {
    let bytes = memory.up_to(state, within + (PERMANENT + GENERATION) as usize);
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .filter_map(|word| word.try_into().ok())
        .map(u64::from_ne_bytes)
        .collect();
    let at = (0..within / 8).find(|at| {
        let here = state.wrapping_add(*at as u64 * 8);
        words.get(at + (FIRST / 8) as usize) == Some(&here)
    })?;
    let first = state.checked_add(at as u64 * 8)?;
    let offsets = (0..GENERATIONS).map(|number| number * GENERATION);
    let heads = offsets
        .chain([PERMANENT])
        .map(|offset| first.checked_add(offset));
    heads.collect()
}
