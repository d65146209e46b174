//! The chain of coroutines below a task: each one suspended at an `await` of the next.
//!
//! A suspended coroutine keeps what it awaits on top of its frame's value stack
//! (`Objects/genobject.c`, `_PyGen_yf`). So the chain is followed without help of the interpreter,
//! through generators, async generators and the wrappers between them, up to what is none of these:
//! a future most of the time.

use super::Reader;
use crate::memory::Memory;
use crate::python::layout::Offset;
use crate::python::object::{Type, word_at};
use remora_common::python::ABSENT;

/// Coroutines of a task that are kept, the innermost ones.
pub const MAX_LINKS: usize = 64;
/// Coroutines that are followed, wrappers among them: as deep as Python's own recursion limit lets
/// them nest.
const MAX_STEPS: usize = 1024;
/// Bytes of a frame that hold all members which are read.
const FRAME_BYTES: usize = 128;
/// Bytes of a generator that hold all members which are read, and from 3.11 on its frame.
const GENERATOR_BYTES: usize = 256;
/// `wrapped` and its like: the first member of each wrapper of a coroutine.
const WRAPPED: usize = 16;
/// A suspended frame's instruction is followed by one of these when it awaits: `YIELD_FROM` up to
/// 3.10, then `RESUME`, as such, specialised (3.11) or instrumented (3.12).
const YIELD_FROM: u8 = 72;
const RESUME: [u8; 3] = [151, 150, 240];
/// The argument of `RESUME` from which on it stands behind a `yield from` or an `await`.
const RESUME_AFTER_AWAIT: u8 = 2;

type Bytes = [u8; GENERATOR_BYTES];

/// How far a coroutine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not begun.
    New,
    /// It awaits, or has yielded.
    Suspended,
    /// It runs.
    Executing,
    /// It has ended.
    Finished,
}

/// A coroutine of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Address of its frame.
    pub frame: u64,
    /// Address of its code object.
    pub code: u64,
    /// The frame's instruction, as it has it.
    pub instruction: u64,
    /// Its qualified name, a `str`; 0 of a plain function, whose code has it.
    pub name: u64,
}

/// A chain of coroutines, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The coroutines.
    pub links: Vec<Link>,
    /// Outer ones were left out.
    pub cut: bool,
    /// The end was met: the last one is the innermost.
    pub whole: bool,
    /// How far the last one is.
    pub stage: Stage,
}

/// What stands at one place of a chain.
enum Step {
    Coroutine(Link, Stage, u64),
    Wrapper(u64),
    End,
}

impl<M: Memory> Reader<'_, M> {
    /// The chain that begins with an awaitable object; `None` when it could not be read.
    pub(super) fn chain(&self, coroutine: u64) -> Option<Chain> {
        let mut chain = Chain {
            links: Vec::new(),
            cut: false,
            whole: false,
            stage: Stage::New,
        };
        let mut object = coroutine;
        for _ in 0..MAX_STEPS {
            match self.step(object)? {
                Step::End => chain.whole = true,
                Step::Wrapper(wrapped) => object = wrapped,
                Step::Coroutine(link, stage, awaited) => {
                    chain.links.push(link);
                    chain.stage = stage;
                    chain.whole = awaited == 0;
                    object = awaited;
                }
            }
            if chain.whole {
                break;
            }
        }
        let outer = chain.links.len().saturating_sub(MAX_LINKS);
        chain.links.drain(..outer);
        chain.cut = outer > 0 || !chain.whole;
        Some(chain)
    }

    fn step(&self, object: u64) -> Option<Step> {
        let (kind, bytes) = self.objects.typed(object)?;
        match kind.name.as_str() {
            "coroutine" | "generator" | "async_generator" => self.coroutine(object, &kind, &bytes),
            "coroutine_wrapper"
            | "anext_awaitable"
            | "async_generator_asend"
            | "async_generator_athrow" => Some(Step::Wrapper(word_at(&bytes, WRAPPED))),
            // A future, its iterator, or what is none of asyncio's.
            _ => Some(Step::End),
        }
    }

    fn coroutine(&self, object: u64, kind: &Type, bytes: &Bytes) -> Option<Step> {
        let generator = &self.layout.generator;
        let inside = usize::from(generator.frame);
        let name = word_at(bytes, generator.qualname.into());
        let frame = if self.minor < 11 {
            word_at(bytes, inside)
        } else {
            object.checked_add(generator.frame.into())?
        };
        let link = Link {
            frame,
            code: 0,
            instruction: 0,
            name,
        };
        if frame == 0 {
            return Some(Step::Coroutine(link, Stage::Finished, 0));
        }
        let apart: [u8; FRAME_BYTES];
        let members = if self.minor < 11 {
            apart = self.objects.memory().bytes(frame)?;
            &apart[..]
        } else {
            bytes.get(inside..)?
        };
        let at = |offset: Offset| word_at(members, offset.into());
        let mut instruction = at(self.layout.frame.instruction);
        if self.layout.instruction_is_index() {
            instruction &= u64::from(u32::MAX);
        }
        let link = Link {
            code: at(self.layout.frame.code),
            instruction,
            ..link
        };
        let stage = self.stage(bytes, members)?;
        let awaits = stage == Stage::Suspended
            && (kind.name == "coroutine" || self.is_awaiting(bytes, &link)?);
        let awaited = if awaits {
            self.stack_top(frame, members)?
        } else {
            0
        };
        Some(Step::Coroutine(link, stage, awaited))
    }

    /// Sources: `gi_running`, `f_stacktop` (3.8, 3.9); `f_state` (3.10, `enum _framestate`);
    /// `gi_frame_state` (from 3.11 on), to which 3.13 added one at -3.
    fn stage(&self, generator: &Bytes, frame: &[u8]) -> Option<Stage> {
        let holder = if self.minor == 10 { frame } else { generator };
        let byte = holder.get(usize::from(self.layout.generator.state))?;
        let byte = byte.cast_signed();
        if self.minor < 10 {
            let top = word_at(frame, self.layout.frame.stack_top.into());
            let last = word_at(frame, self.layout.frame.instruction.into()) as i32;
            return Some(match (byte, last, top) {
                (0, ..0, _) => Stage::New,
                (0, _, 1..) => Stage::Suspended,
                _ => Stage::Executing,
            });
        }
        let new = if self.minor < 13 { -2 } else { -3 };
        Some(match byte {
            _ if byte == new => Stage::New,
            -2 | -1 => Stage::Suspended,
            0 => Stage::Executing,
            _ => Stage::Finished,
        })
    }

    /// Whether a suspended generator awaits or delegates, rather than having yielded a value.
    fn is_awaiting(&self, generator: &Bytes, link: &Link) -> Option<bool> {
        let memory = self.objects.memory();
        if self.minor >= 13 {
            // `FRAME_SUSPENDED_YIELD_FROM`, -1
            let state = generator.get(usize::from(self.layout.generator.state))?;
            return Some(*state == u8::MAX);
        }
        if self.minor >= 11 {
            let [code, argument] = memory.bytes(link.instruction.checked_add(2)?)?;
            return Some(RESUME.contains(&code) && argument >= RESUME_AFTER_AWAIT);
        }
        let last = if self.minor == 10 {
            // In instructions of two bytes, not in bytes.
            link.instruction.checked_mul(2)?
        } else {
            link.instruction
        };
        let code = link
            .code
            .checked_add(self.layout.code.instructions.into())?;
        let next = memory
            .u64(code)?
            .checked_add(self.layout.bytes_data.into())?
            .checked_add(last)?
            .checked_add(2)?;
        Some(memory.bytes(next)? == [YIELD_FROM])
    }

    /// Where the value stack of a suspended frame ends.
    pub(super) fn stack_end(&self, frame: u64) -> Option<u64> {
        let bytes: [u8; FRAME_BYTES] = self.objects.memory().bytes(frame)?;
        self.behind_stack(frame, &bytes)
    }

    /// What lies on top of a suspended frame's value stack.
    fn stack_top(&self, frame: u64, bytes: &[u8]) -> Option<u64> {
        let address = self.behind_stack(frame, bytes)?.checked_sub(8)?;
        // Near the frame's beginning it is among the bytes that were read.
        let near = usize::try_from(address.wrapping_sub(frame)).ok();
        match near.and_then(|near| bytes.get(near..near.checked_add(8)?)) {
            Some(word) => Some(word_at(word, 0)),
            None => self.objects.memory().u64(address),
        }
    }

    fn behind_stack(&self, frame: u64, bytes: &[u8]) -> Option<u64> {
        let at = |offset: Offset| word_at(bytes, offset.into());
        let offsets = &self.layout.frame;
        let top = at(offsets.stack_top);
        match (self.minor, offsets.value_stack) {
            (..10, _) => Some(top),
            // A count of items.
            (_, ABSENT) => frame
                .checked_add(offsets.locals.into())?
                .checked_add(8 * u64::from(top as u32)),
            (_, stack) => at(stack).checked_add(8 * u64::from(top as u32)),
        }
    }

    /// The first `N` local variables of a frame, arguments first; 0 for one that is not bound.
    pub(super) fn locals<const N: usize>(&self, frame: u64) -> Option<[u64; N]> {
        let locals = frame.checked_add(self.layout.frame.locals.into())?;
        self.objects.words(locals)
    }
}
