//! The strings and bytes that a code object refers to.

use crate::memory::Memory;
use crate::python::layout::{Layout, Unicode};

/// `Py_TPFLAGS_BYTES_SUBCLASS`, `Py_TPFLAGS_UNICODE_SUBCLASS` (`Include/object.h`).
const BYTES: u64 = 1 << 27;
const UNICODE: u64 = 1 << 28;
/// Bits behind those of `kind` in a string's state.
const COMPACT: u32 = 1 << 3;
const ASCII: u32 = 1 << 4;
const KIND: u32 = 7;

/// The text of a compact `str` (all names and paths are), cut behind `max_chars` with `…`.
pub(super) fn string(
    memory: &impl Memory,
    layout: &Layout,
    address: u64,
    max_chars: usize,
) -> Option<String> {
    is_kind(memory, layout, address, UNICODE)?;
    let Unicode {
        length,
        state,
        kind_shifts,
        ascii_data,
        compact_data,
    } = layout.unicode;
    let length = memory.u64(address.wrapping_add(length.into()))?;
    let state = memory.u32(address.wrapping_add(state.into()))?;
    let places = kind_shifts.iter().map(|shift| state >> shift);
    let form = places.into_iter().find(|form| form & COMPACT != 0)?;
    let data = if form & ASCII != 0 {
        ascii_data
    } else {
        compact_data
    };
    let chars = usize::try_from(length).unwrap_or(usize::MAX).min(max_chars);
    let width = match form & KIND {
        kind @ (1 | 2 | 4) => kind as usize,
        _ => return None,
    };
    let mut bytes = vec![0; chars * width];
    memory.read(address.wrapping_add(data.into()), &mut bytes)?;
    let mut text = decode(&bytes, width);
    if length > chars as u64 {
        text.push('…');
    }
    Some(text)
}

/// The content of a `bytes` of at most `max` bytes.
pub(super) fn bytes(
    memory: &impl Memory,
    layout: &Layout,
    address: u64,
    max: u64,
) -> Option<Box<[u8]>> {
    is_kind(memory, layout, address, BYTES)?;
    let length = memory.u64(address.wrapping_add(layout.object.items.into()))?;
    if length > max {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    memory.read(address.wrapping_add(layout.bytes_data.into()), &mut bytes)?;
    Some(bytes.into())
}

/// Whether an object's type has a flag.
fn is_kind(memory: &impl Memory, layout: &Layout, address: u64, flag: u64) -> Option<()> {
    let kind = memory.u64(address.wrapping_add(layout.object.type_.into()))?;
    let flags = memory.u64(kind.wrapping_add(layout.object.type_flags.into()))?;
    (flags & flag != 0).then_some(())
}

/// Code points of a width of 1, 2 or 4 bytes; what is none (a lone surrogate) is replaced.
fn decode(bytes: &[u8], width: usize) -> String {
    let points = bytes.chunks_exact(width).map(|point| {
        let mut whole = [0; 4];
        whole[..width].copy_from_slice(point);
        u32::from_le_bytes(whole)
    });
    points
        .map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
