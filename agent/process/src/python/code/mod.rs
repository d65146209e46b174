//! What a frame's code object says: names, file and lines.
//!
//! The kernel side emits an address and an instruction; the object is read once, from the memory
//! of the running process, and kept. It may have been freed meanwhile and its place taken by
//! another, so the reading is compared with the fingerprint that came with the address.

pub mod lines;
#[cfg(test)]
mod tests;
mod text;

use super::layout::{Layout, LineFormat};
use crate::memory::Memory;
use crate::symbol::clean;
use remora_common::python::{ABSENT, ENTRY_FRAME, PythonFrame};
use std::collections::HashMap;
use std::sync::Arc;

/// Code objects of one process that are kept.
const MAX_CODES: usize = 65_536;
/// Characters of a name, and of a path, that are read.
const MAX_NAME: usize = 1024;
const MAX_PATH: usize = 4096;
/// A longer table of lines is not read, in bytes.
const MAX_LINES: u64 = 1 << 20;
/// Bytes of a code object in which all members that are read lie.
const CODE_BYTES: usize = 168;
/// What the type of code objects calls itself.
const TYPE_NAME: [u8; 5] = *b"code\0";

/// A code object, as far as a stack shows it. Its strings are fit for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// With the names of what it is defined in (3.11 on; the bare name before).
    pub qualname: Arc<str>,
    /// `co_name`.
    pub name: Arc<str>,
    /// `co_filename`, as the program gave it: may be relative, or `<string>`.
    pub filename: Arc<str>,
    /// The line where it begins, 0 when it says something else than a line.
    pub first_line: u32,
    format: LineFormat,
    lines: Box<[u8]>,
}

impl Code {
    /// The line of an instruction, counted as in [`PythonFrame::instruction`]; the first line for a
    /// frame that has not begun.
    pub fn line(&self, instruction: u32) -> Option<u32> {
        if instruction.cast_signed() < 0 {
            return Some(self.first_line);
        }
        // 3.10 counts words, the others bytes.
        let scale = if self.format == LineFormat::Pairs {
            2
        } else {
            1
        };
        let offset = instruction.checked_mul(scale)?;
        let first_line = i32::try_from(self.first_line).ok()?;
        lines::line(self.format, &self.lines, first_line, offset)
    }
}

/// Why code objects could not be read, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The memory could not be read: freed, or the process is gone.
    pub unreadable: u64,
    /// Something else stands at the address, or another code object: the code was freed.
    pub replaced: u64,
}

/// The code objects of one process.
#[derive(Clone, Debug)]
pub struct Resolver {
    layout: Layout,
    codes: HashMap<(u64, u32), Option<Arc<Code>>>,
    /// The address of `PyCode_Type`, once an object of it was seen.
    code_type: Option<u64>,
    failures: Failures,
}

/// What a code object is kept by: its address, and what tells it from a later one there.
fn key(frame: &PythonFrame) -> (u64, u32) {
    (frame.code & !ENTRY_FRAME, frame.fingerprint)
}

enum Failure {
    Unreadable,
    Replaced,
}

impl Resolver {
    /// For a process whose interpreter is laid out so.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            codes: HashMap::new(),
            code_type: None,
            failures: Failures::default(),
        }
    }

    /// The code object of a frame; `None` when it is not there any more, which is counted, once for
    /// each code object.
    pub fn resolve(&mut self, memory: &impl Memory, frame: &PythonFrame) -> Option<Arc<Code>> {
        let key = key(frame);
        if let Some(known) = self.codes.get(&key) {
            return known.clone();
        }
        if self.codes.len() >= MAX_CODES {
            self.codes.clear();
        }
        let code = match self.read(memory, key) {
            Ok(code) => Some(Arc::new(code)),
            Err(Failure::Unreadable) => {
                self.failures.unreadable += 1;
                None
            }
            Err(Failure::Replaced) => {
                self.failures.replaced += 1;
                None
            }
        };
        self.codes.insert(key, code.clone());
        code
    }

    /// Whether a frame's code object was asked for already.
    pub fn knows(&self, frame: &PythonFrame) -> bool {
        self.codes.contains_key(&key(frame))
    }

    /// The code object of a frame, if it was there when it was asked for.
    pub fn known(&self, frame: &PythonFrame) -> Option<Arc<Code>> {
        self.codes.get(&key(frame)).cloned().flatten()
    }

    /// What could not be read so far.
    pub fn failures(&self) -> Failures {
        self.failures
    }

    fn read(
        &mut self,
        memory: &impl Memory,
        (address, fingerprint): (u64, u32),
    ) -> Result<Code, Failure> {
        let layout = self.layout;
        let head: [u8; CODE_BYTES] = memory.bytes(address).ok_or(Failure::Unreadable)?;
        let name = word(&head, layout.code.name);
        if self::fingerprint(name) != fingerprint {
            return Err(Failure::Replaced);
        }
        self.check_type(memory, word(&head, layout.object.type_))?;
        let code = decode(&layout, memory, &head).ok_or(Failure::Replaced)?;
        let after: [u8; CODE_BYTES] = memory.bytes(address).ok_or(Failure::Unreadable)?;
        let same = |offset| word(&head, offset) == word(&after, offset);
        match same(layout.code.name) && same(layout.code.lines) && same(layout.code.filename) {
            true => Ok(code),
            false => Err(Failure::Replaced),
        }
    }

    fn check_type(&mut self, memory: &impl Memory, kind: u64) -> Result<(), Failure> {
        if self.code_type == Some(kind) {
            return Ok(());
        }
        let name = memory.u64(kind.wrapping_add(self.layout.object.type_name.into()));
        let name = name.and_then(|name| memory.bytes(name));
        if name != Some(TYPE_NAME) {
            return Err(Failure::Replaced);
        }
        self.code_type = Some(kind);
        Ok(())
    }
}

/// What tells a code object from a later one at its address: see [`PythonFrame::fingerprint`].
pub fn fingerprint(name: u64) -> u32 {
    (name >> 4) as u32
}

/// The word at `offset`, 0 for a member that is absent or lies outside.
fn word(head: &[u8; CODE_BYTES], offset: u16) -> u64 {
    let at = usize::from(offset);
    let bytes = head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}

fn decode(layout: &Layout, memory: &impl Memory, head: &[u8; CODE_BYTES]) -> Option<Code> {
    let string = |offset: u16, max| text::string(memory, layout, word(head, offset), max);
    let name: Arc<str> = clean(&string(layout.code.name, MAX_NAME)?).into();
    let qualname = match layout.code.qualname {
        ABSENT => name.clone(),
        offset => clean(&string(offset, MAX_NAME)?).into(),
    };
    let filename = clean(&string(layout.code.filename, MAX_PATH)?).into();
    let lines = text::bytes(memory, layout, word(head, layout.code.lines), MAX_LINES)?;
    let first_line = word(head, layout.code.first_line) as u32;
    Some(Code {
        qualname,
        name,
        filename,
        first_line: i32::try_from(first_line).map_or(0, |_| first_line),
        format: layout.code.line_format,
        lines,
    })
}
