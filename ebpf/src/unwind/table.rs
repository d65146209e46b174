//! From an address to the row that says how to leave its frame.

use super::search;
use crate::maps::{ROWS, SEGMENTS, SPACES};
use core::mem::offset_of;
use remora_common::unwind::{
    CACHED_ROWS, CFA_NONE, CachedRow, Mapping, NO_TABLE, Row, SEGMENT_CHUNKS, Space,
};

/// What is known of an address.
pub struct Found {
    pub row: Row,
    /// The table of the file is not there (yet): nothing is known, not even that there is no row.
    pub pending: bool,
    /// It lies in no known mapping, the first such address since the agent looked.
    pub news: bool,
}

/// Code that belongs to no file with a table: made at run time, mostly.
const NOTHING: Found = Found {
    row: no_row(),
    pending: false,
    news: false,
};

const fn no_row() -> Row {
    Row {
        pc: 0,
        cfa_offset: 0,
        fp_offset: 0,
        rule: CFA_NONE,
    }
}

/// The row of `address`: remembered by this CPU, or searched for.
#[inline(always)]
pub fn find(taker: u32, space_index: u32, address: u64) -> Found {
    let Some(space) = SPACES.get_ptr_mut(space_index) else {
        return NOTHING;
    };
    // SAFETY: a live element.
    let version = unsafe { (&raw const (*space).version).read_volatile() };
    let Some(cache) = ROWS.get_ptr_mut(taker) else {
        return NOTHING;
    };
    let key = address ^ (version as u64) << 48;
    let slot = (address ^ address >> 10) as usize & (CACHED_ROWS - 1);
    // SAFETY: the index is masked.
    let cached = unsafe { cache.cast::<CachedRow>().add(slot) };
    // SAFETY: a live element of this CPU and hook, which nothing interrupts itself.
    unsafe {
        if (*cached).key == key {
            return Found {
                row: unpack((*cached).row),
                pending: false,
                news: false,
            };
        }
    }
    let Some(mapping) = mapping(space, address) else {
        // SAFETY: a live element; read first, not to fight over the line.
        let news = unsafe {
            let news = (*space).unknown == 0;
            if news {
                (*space).unknown = 1;
            }
            news
        };
        // Its file, if it has one, may have a table: nothing is known yet.
        return Found {
            row: no_row(),
            pending: true,
            news,
        };
    };
    // SAFETY: as above.
    let (root, depth, bias) = unsafe {
        if (*mapping).used == 0 {
            (*mapping).used = 1;
        }
        ((*mapping).root, (*mapping).depth as u32, (*mapping).bias)
    };
    if depth == NO_TABLE as u32 {
        return NOTHING;
    }
    if depth == 0 {
        return Found {
            row: no_row(),
            pending: true,
            news: false,
        };
    }
    let Some(row) = descend(root, depth, address.wrapping_sub(bias)) else {
        return NOTHING;
    };
    // SAFETY: as above.
    unsafe {
        (*cached).key = key;
        (*cached).row = row;
    }
    Found {
        row: unpack(row),
        pending: false,
        news: false,
    }
}

#[inline(always)]
fn unpack(word: u64) -> Row {
    Row {
        pc: word as u32,
        cfa_offset: (word >> 32) as i16,
        fp_offset: (word >> 48) as i8,
        rule: (word >> 56) as u8,
    }
}

/// The mapping with a table that holds `address`.
#[inline(always)]
fn mapping(space: *mut Space, address: u64) -> Option<*mut Mapping> {
    // SAFETY: the member lies in the element.
    let mappings = unsafe { space.cast::<u8>().add(offset_of!(Space, mappings)) }.cast::<Mapping>();
    // SAFETY: indices below 512 are inside the array.
    let index = unsafe {
        search::last_not_above(address, |index| {
            (&raw const (*mappings.add(index as usize)).start).read()
        })
    };
    // SAFETY: the index is below 512.
    let mapping = unsafe { mappings.add(index as usize) };
    // SAFETY: a live element.
    let inside = unsafe { address >= (*mapping).start && address < (*mapping).end };
    if inside { Some(mapping) } else { None }
}

/// Goes down the tree to the row of `pc`; 0 (a row that says nothing) before the first.
#[inline(always)]
fn descend(root: u32, depth: u32, pc: u64) -> Option<u64> {
    let mut chunk = root;
    let mut level = depth;
    let mut entry = 0;
    // The tree has three levels at the most.
    for _ in 0..3 {
        entry = lookup(chunk, pc)?;
        level = level.wrapping_sub(1);
        if level == 0 {
            return Some(entry);
        }
        chunk = (entry >> 32) as u32;
    }
    Some(entry)
}

#[inline(always)]
fn lookup(chunk: u32, pc: u64) -> Option<u64> {
    let chunk = SEGMENTS
        .get(chunk / SEGMENT_CHUNKS)?
        .chunk(chunk % SEGMENT_CHUNKS)?;
    let entries = chunk.cast::<u64>();
    // SAFETY: indices below 512 are inside the chunk.
    unsafe {
        let index = search::last_not_above(pc & u32::MAX as u64, |index| {
            entries.add(index as usize).read() & u32::MAX as u64
        });
        let entry = entries.add(index as usize).read();
        Some(if entry & u32::MAX as u64 > pc {
            0
        } else {
            entry
        })
    }
}
