//! The frames of a thread, where each stands, and what its value stack holds for the blocks around that place.
//!
//! Which slots of the stack count is known from the blocks: from 3.11 on the code's exception table says how deep
//! the stack is for the handler of the innermost block; before, the frame has a list of its blocks, each with its
//! depth. What lies above may be left over from earlier, and is not looked at.

use super::super::stack::{self, Walk};
use super::super::{Circle, at};
use super::Reader;
use crate::memory::Memory;
use remora_common::python::ABSENT;

/// Frames of a thread that are looked at.
const MAX_FRAMES: usize = 256;
/// Bytes of an exception table.
const MAX_TABLE: usize = 4096;
/// `f_iblock` before `f_blockstack`: 8 bytes in all versions; blocks, and `b_level` in one of 12 bytes.
const MAX_BLOCKS: u64 = 20;
const BLOCK_BYTES: u64 = 12;
const BLOCK_LEVEL: u64 = 8;

/// A frame, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub frame: u64,
    pub code: u64,
    /// Offset of its instruction in bytes.
    pub instruction: u32,
    /// Local variables, cells among them.
    pub locals: usize,
}

impl<M: Memory> Reader<'_, M> {
    /// The frames of a thread, leaf first.
    pub(super) fn frames(&self, state: u64) -> Vec<Place> {
        let walk = Walk {
            layout: self.layout,
            memory: self.objects.memory(),
            limit: MAX_FRAMES,
        };
        let mut places = Vec::new();
        let mut circle = Circle::default();
        let mut next = walk.first(state).unwrap_or(0);
        let mut steps = 0;
        while next != 0 && steps < 2 * MAX_FRAMES && !circle.closes_at(next) {
            steps += 1;
            let Some(frame) = stack::Frame::read(&walk, next) else {
                break;
            };
            let address = next;
            next = frame.previous;
            let begins = self.layout.frame.entry_owner;
            if begins != 0 && u16::from(frame.owner) >= begins {
                continue;
            }
            let Some(place) = self.place(address, &frame) else {
                break;
            };
            places.push(place);
        }
        places
    }

    /// The frame of a suspended generator.
    pub(super) fn frame_at(&self, address: u64) -> Option<Place> {
        let walk = Walk {
            layout: self.layout,
            memory: self.objects.memory(),
            limit: 1,
        };
        let frame = stack::Frame::read(&walk, address)?;
        self.place(address, &frame)
    }

    fn place(&self, address: u64, frame: &stack::Frame) -> Option<Place> {
        let memory = self.objects.memory();
        let layout = self.layout;
        let instruction = match (layout.instruction_is_index(), self.minor) {
            // In bytes, and in instructions of two.
            (true, ..10) => frame.instruction as u32,
            (true, _) => (frame.instruction as u32).wrapping_mul(2),
            (false, _) => {
                let first = at(frame.code, layout.code.instructions);
                u32::try_from(frame.instruction.wrapping_sub(first)).unwrap_or(u32::MAX)
            }
        };
        let locals = match layout.frame.value_stack {
            ABSENT => u64::from(memory.u32(at(frame.code, layout.code.locals))?),
            offset => {
                let stack = memory.u64(at(address, offset))?;
                stack.checked_sub(at(address, layout.frame.locals))? / 8
            }
        };
        Some(Place {
            frame: address,
            code: frame.code,
            instruction,
            locals: usize::try_from(locals).ok().filter(|it| *it < 1 << 16)?,
        })
    }

    /// Slots of a frame: local variables, then the value stack.
    pub(super) fn slots(&self, place: &Place, first: usize, count: usize) -> Vec<u64> {
        let begin = at(place.frame, self.layout.frame.locals).wrapping_add(8 * first as u64);
        let bytes = self.objects.memory().up_to(begin, 8 * count);
        let words = bytes.chunks_exact(8);
        words
            .filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
            .collect()
    }

    /// How many values of a frame's stack the handler of its innermost block needs; `None` outside of one.
    pub(super) fn depth(&self, place: &Place) -> Option<usize> {
        let memory = self.objects.memory();
        if self.minor < 11 {
            let blocks =
                at(place.frame, self.layout.frame.locals).checked_sub(MAX_BLOCKS * BLOCK_BYTES)?;
            let count = u64::from(memory.u32(blocks.checked_sub(8)?)?);
            let last = count.checked_sub(1).filter(|last| *last < MAX_BLOCKS)?;
            let level = blocks.checked_add(last * BLOCK_BYTES + BLOCK_LEVEL)?;
            return usize::try_from(memory.u32(level)?).ok();
        }
        // `co_exceptiontable` stands before `co_flags` in all of these versions.
        let flags = self.layout.code.flags.checked_sub(8)?;
        let table = memory.u64(at(place.code, flags))?;
        let size = memory.u64(at(table, self.layout.object.items))?;
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= MAX_TABLE)?;
        let bytes = memory.up_to(at(table, self.layout.bytes_data), size);
        depth_at(&bytes, place.instruction / 2)
    }
}

/// The stack depth of the handler for an instruction, in a table as `Objects/exception_handling_notes.txt` of
/// CPython has it: entries of start, length, target, and depth with a flag below it, in digits of six bits.
fn depth_at(table: &[u8], instruction: u32) -> Option<usize> {
    let mut bytes = table.iter();
    let mut number = || {
        let mut value: u32 = 0;
        loop {
            let byte = bytes.next()?;
            value = value.checked_shl(6)? | u32::from(byte & 0x3f);
            if byte & 0x40 == 0 {
                return Some(value);
            }
        }
    };
    loop {
        let (start, length, _target, depth) = (number()?, number()?, number()?, number()?);
        if (start..start.saturating_add(length)).contains(&instruction) {
            return usize::try_from(depth >> 1).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_of_a_handler_is_read_from_its_table() {
        // 20 to 99 at depth 4 with the flag, 100 to 101 at depth 0.
        let table = [0x80 | 20, 0x41, 16, 0x42, 5, 9, 0x80 | 0x41, 36, 2, 7, 0];
        assert_eq!(depth_at(&table, 19), None);
        assert_eq!(depth_at(&table, 20), Some(4));
        assert_eq!(depth_at(&table, 99), Some(4));
        assert_eq!(depth_at(&table, 101), Some(0));
        assert_eq!(depth_at(&table, 102), None);
        assert_eq!(depth_at(&table[..3], 20), None);
        assert_eq!(depth_at(&[0x7f; 64], 0), None);
    }
}
