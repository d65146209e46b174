//! The Python frames of one thread.
//!
//! Gives the same records as the kernel side, so that one resolver and one merge serve both.

use super::{Circle, READINGS, at};
use crate::memory::Memory;
use crate::python::code::fingerprint;
use crate::python::layout::Layout;
use remora_common::python::{ABSENT, ENTRY_FRAME, FRAME_BYTES, PythonFrame};

/// Frames of one thread that are read; the interpreter's own limit is 1,000 unless it was raised.
const MAX_FRAMES: usize = 8192;

/// The frames of a thread, leaf first.
#[derive(Debug, Default)]
pub(super) struct Stack {
    pub frames: Vec<PythonFrame>,
    pub torn: bool,
    pub truncated: bool,
}

/// Where a frame lies and what it says of its place: equal in two readings of a chain that did not
/// change, while instructions go on.
type Link = (u64, u64);

/// Reads the frames of the thread with this state, `limit` at the most, until two readings agree.
pub(super) fn read(layout: &Layout, memory: &impl Memory, state: u64, limit: usize) -> Stack {
    let walk = Walk {
        layout,
        memory,
        limit: limit.min(MAX_FRAMES),
    };
    let (mut stack, mut links) = walk.walk(state);
    for _ in 1..READINGS {
        let (again, links_again) = walk.walk(state);
        let same = links == links_again;
        (stack, links) = (again, links_again);
        if same {
            return stack;
        }
    }
    stack.torn = true;
    stack
}

pub(super) struct Walk<'a, M> {
    pub layout: &'a Layout,
    pub memory: &'a M,
    pub limit: usize,
}

impl<M: Memory> Walk<'_, M> {
    fn walk(&self, state: u64) -> (Stack, Vec<Link>) {
        let mut stack = Stack::default();
        let mut links = Vec::new();
        let mut circle = Circle::default();
        let Some(mut next) = self.first(state) else {
            stack.torn = true;
            return (stack, links);
        };
        // Frames that only begin a loop are no frames of the stack, and must end as well.
        while next != 0 && links.len() < 2 * self.limit && stack.frames.len() < self.limit {
            let frame = Frame::read(self, next).filter(|_| !circle.closes_at(next));
            let Some(frame) = frame else {
                stack.torn = true;
                return (stack, links);
            };
            links.push((next, frame.code));
            next = frame.previous;
            match self.emit(&frame) {
                Emitted::Frame(frame) => stack.frames.push(frame),
                Emitted::Beginning => mark_entry(&mut stack.frames),
                Emitted::Unreadable => {
                    stack.torn = true;
                    return (stack, links);
                }
            }
        }
        stack.truncated = next != 0;
        if next == 0 {
            mark_entry(&mut stack.frames);
        }
        (stack, links)
    }

    /// The address of the thread's innermost frame, 0 when it runs none.
    pub(super) fn first(&self, state: u64) -> Option<u64> {
        let first = self.memory.u64(at(state, self.layout.thread.frame))?;
        match self.layout.thread.cframe_frame {
            ABSENT => Some(first),
            _ if first == 0 => Some(0),
            offset => self.memory.u64(at(first, offset)),
        }
    }

    fn emit(&self, frame: &Frame) -> Emitted {
        let layout = self.layout;
        let owner = u16::from(frame.owner);
        let is_entry = match (layout.frame.owner, layout.frame.entry_owner) {
            (ABSENT, _) => true,
            (_, 0) => owner != 0,
            (_, beginning) if owner >= beginning => return Emitted::Beginning,
            _ => false,
        };
        let Some(name) = self.memory.u64(at(frame.code, layout.code.name)) else {
            return Emitted::Unreadable;
        };
        let instruction = match layout.instruction_is_index() {
            true => frame.instruction as u32,
            false => {
                let begin = at(frame.code, layout.code.instructions);
                frame.instruction.wrapping_sub(begin) as u32
            }
        };
        Emitted::Frame(PythonFrame {
            code: if is_entry {
                frame.code | ENTRY_FRAME
            } else {
                frame.code
            },
            instruction,
            fingerprint: fingerprint(name),
        })
    }
}

enum Emitted {
    Frame(PythonFrame),
    /// It has no code, and what was read before it was the first of its loop.
    Beginning,
    Unreadable,
}

fn mark_entry(frames: &mut [PythonFrame]) {
    if let Some(last) = frames.last_mut() {
        last.code |= ENTRY_FRAME;
    }
}

/// The members of a frame.
pub(super) struct Frame {
    pub code: u64,
    pub previous: u64,
    pub instruction: u64,
    pub owner: u8,
}

impl Frame {
    /// Reads as much as is needed and no more: a frame may lie at the end of its memory.
    pub(super) fn read<M: Memory>(walk: &Walk<'_, M>, address: u64) -> Option<Self> {
        let layout = &walk.layout.frame;
        let mut bytes = [0; FRAME_BYTES];
        let end = usize::from(layout.bytes());
        walk.memory.read(address, bytes.get_mut(..end)?)?;
        let word = |offset: u16| {
            let at = usize::from(offset);
            let word = bytes.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_ne_bytes(word))
        };
        Some(Self {
            code: word(layout.code)? & !u64::from(layout.tag_mask),
            previous: word(layout.previous)?,
            instruction: word(layout.instruction)?,
            owner: bytes.get(usize::from(layout.owner)).copied().unwrap_or(0),
        })
    }
}
