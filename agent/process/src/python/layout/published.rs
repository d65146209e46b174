//! The offsets that an interpreter from 3.13 on publishes at the beginning of `_PyRuntime`.
//!
//! `_Py_DebugOffsets` (`pycore_runtime.h` in 3.13, `pycore_debug_offsets.h` in 3.14) is a run of
//! words: a cookie, the version, whether the build is free-threaded, then for each structure its
//! size and the offsets of some members. Which words follow each other depends on the minor
//! version, and other versions are refused. A hostile process may have made the block up, so it
//! is checked against itself: each member lies inside its structure.

use super::{Code, Frame, Gil, InterpreterState, Layout, Object, Offset, Runtime, Unicode, table};
use crate::memory::Memory;
use crate::python::Version;

/// First word of the block.
pub const COOKIE: u64 = u64::from_ne_bytes(*b"xdebugpy");
/// Words in front of the first structure.
const HEAD: usize = 3;
/// More words than any block that is known has.
const WORDS: usize = 160;
/// What a free-threaded build adds in front of its GIL (`int enabled`, padded), in bytes.
const GIL_ENABLED: u16 = 8;
/// Bits of a reference on the stack that are no part of the address (`pycore_stackref.h`).
const TAG_BITS: u16 = 3;

/// A structure and those of its members that the block has, in the block's order; a word with its
/// size precedes them.
type Structure = (&'static str, &'static [&'static str]);

const V3_13: &[Structure] = &[
    ("runtime", &["finalizing", "interpreters_head"]),
    (
        "interpreter",
        &[
            "id",
            "next",
            "threads_head",
            "gc",
            "modules",
            "sysdict",
            "builtins",
            "ceval_gil",
            "gil",
            "gil_enabled",
            "gil_locked",
            "gil_holder",
        ],
    ),
    (
        "thread",
        &[
            "prev",
            "next",
            "interp",
            "frame",
            "thread_id",
            "native_thread_id",
            "chunk",
            "status",
        ],
    ),
    (
        "frame",
        &["previous", "executable", "instr_ptr", "localsplus", "owner"],
    ),
    (
        "code",
        &[
            "filename",
            "name",
            "qualname",
            "linetable",
            "firstlineno",
            "argcount",
            "localsplusnames",
            "localspluskinds",
            "instructions",
        ],
    ),
    ("object", &["ob_type"]),
    ("type", &["name", "repr", "flags"]),
    ("tuple", &["items", "size"]),
    ("list", &["items", "size"]),
    ("dict", &["keys", "values"]),
    ("float", &["value"]),
    ("long", &["tag", "digit"]),
    ("bytes", &["size", "data"]),
    ("unicode", &["state", "length", "ascii_size"]),
];

const V3_14: &[Structure] = &[
    V3_13[0],
    (
        "interpreter",
        &[
            "id",
            "next",
            "threads_head",
            "threads_main",
            "gc",
            "modules",
            "sysdict",
            "builtins",
            "ceval_gil",
            "gil",
            "gil_enabled",
            "gil_locked",
            "gil_holder",
            "code_generation",
            "tlbc_generation",
        ],
    ),
    V3_13[2],
    (
        "frame",
        &[
            "previous",
            "executable",
            "instr_ptr",
            "localsplus",
            "owner",
            "stackpointer",
            "tlbc_index",
        ],
    ),
    (
        "code",
        &[
            "filename",
            "name",
            "qualname",
            "linetable",
            "firstlineno",
            "argcount",
            "localsplusnames",
            "localspluskinds",
            "instructions",
            "tlbc",
        ],
    ),
    V3_13[5],
    V3_13[6],
    V3_13[7],
    V3_13[8],
    ("set", &["used", "table", "mask"]),
    V3_13[9],
    V3_13[10],
    V3_13[11],
    V3_13[12],
    V3_13[13],
    ("gc", &["collecting"]),
    ("generator", &["name", "frame", "state"]),
];

/// Reads the version and the layout that the interpreter at `runtime` publishes; `None` when it
/// publishes none, or one that is not known or contradicts itself.
pub fn read(memory: &impl Memory, runtime: u64) -> Option<(Version, Layout)> {
    let bytes = memory.up_to(runtime, WORDS * 8);
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .filter_map(|word| word.try_into().ok())
        .map(u64::from_ne_bytes)
        .collect();
    parse(&words)
}

/// [`read`], from the words of the block.
pub fn parse(words: &[u64]) -> Option<(Version, Layout)> {
    let &[COOKIE, version, free_threaded @ 0..=1, ..] = words else {
        return None;
    };
    let version = Version::from_hex(u32::try_from(version).ok()?);
    let schema = match (version.major, version.minor) {
        (3, 13) => V3_13,
        (3, 14) => V3_14,
        _ => return None,
    };
    let block = Block {
        schema,
        words: words.get(HEAD..)?,
    };
    block.check()?;
    let layout = block.layout(version, free_threaded == 1)?;
    Some((version, layout))
}

struct Block<'a> {
    schema: &'static [Structure],
    words: &'a [u64],
}

impl Block<'_> {
    /// Each structure has a size, and its members lie inside. What a build does not have is zero.
    fn check(&self) -> Option<()> {
        let mut words = self.words.iter();
        for (_, members) in self.schema {
            let size = *words.next()?;
            for _ in *members {
                (*words.next()? < size).then_some(())?;
            }
        }
        Some(())
    }

    /// The size of `structure` and the words of its members.
    fn structure(&self, structure: &str) -> Option<(Structure, u64, &[u64])> {
        let mut at = 0;
        for &entry in self.schema {
            let (name, members) = entry;
            if name == structure {
                let size = *self.words.get(at)?;
                return Some((entry, size, self.words.get(at + 1..=at + members.len())?));
            }
            at += 1 + members.len();
        }
        None
    }

    fn member(&self, structure: &str, member: &str) -> Option<u64> {
        let ((_, members), _, words) = self.structure(structure)?;
        let index = members.iter().position(|name| *name == member)?;
        words.get(index).copied()
    }

    fn offset(&self, structure: &str, member: &str) -> Option<Offset> {
        self.member(structure, member)?.try_into().ok()
    }

    /// The published offsets, and those that follow from them: members that have kept their
    /// distance from a published neighbour since 3.13.
    fn layout(&self, version: Version, free_threaded: bool) -> Option<Layout> {
        let base = table::V3_13;
        let later = version.is_from(14);
        let object_size: u16 = self.structure("object")?.1.try_into().ok()?;
        let first_line = self.offset("code", "firstlineno")?;
        let neighbour = |of: Offset| (first_line + of).checked_sub(base.code.first_line);
        Some(Layout {
            runtime: Runtime {
                interpreters_head: self.offset("runtime", "interpreters_head")?,
                ..base.runtime
            },
            interpreter: self.interpreter()?,
            gil: self.gil(free_threaded)?,
            thread: self.thread()?,
            frame: self.frame(later)?,
            code: Code {
                filename: self.offset("code", "filename")?,
                name: self.offset("code", "name")?,
                qualname: self.offset("code", "qualname")?,
                first_line,
                flags: neighbour(base.code.flags)?,
                locals: neighbour(base.code.locals)?,
                lines: self.offset("code", "linetable")?,
                line_format: base.code.line_format,
                instructions: self.offset("code", "instructions")?,
            },
            object: Object {
                size: object_size,
                type_: self.offset("object", "ob_type")?,
                items: self.offset("bytes", "size")?,
                type_name: self.offset("type", "name")?,
                type_flags: self.offset("type", "flags")?,
            },
            unicode: self.unicode()?,
            bytes_data: self.offset("bytes", "data")?,
            generator: self.generator(object_size, later)?,
            free_threaded,
        })
    }

    fn interpreter(&self) -> Option<InterpreterState> {
        let of = |member| self.offset("interpreter", member);
        Some(InterpreterState {
            id: of("id")?,
            next: of("next")?,
            threads_head: of("threads_head")?,
            modules: of("modules")?,
            gc: of("gc")?,
            gil: of("ceval_gil")?,
        })
    }

    /// The block has the main interpreter's own GIL, by its offset in the interpreter.
    fn gil(&self, free_threaded: bool) -> Option<Gil> {
        let gil = self.member("interpreter", "gil")?;
        let inside = |member| {
            let offset = self.member("interpreter", member)?.checked_sub(gil)?;
            u16::try_from(offset).ok()
        };
        let added = if free_threaded { GIL_ENABLED } else { 0 };
        Some(Gil {
            last_holder: inside("gil_holder")?,
            locked: inside("gil_locked")?,
            size: table::V3_13.gil.size + added,
        })
    }

    fn thread(&self) -> Option<super::ThreadState> {
        let of = |member| self.offset("thread", member);
        Some(super::ThreadState {
            next: of("next")?,
            interpreter: of("interp")?,
            thread_id: of("thread_id")?,
            native_thread_id: of("native_thread_id")?,
            frame: of("frame")?,
            ..table::V3_13.thread
        })
    }

    fn frame(&self, later: bool) -> Option<Frame> {
        let of = |member| self.offset("frame", member);
        let base = table::V3_13.frame;
        Some(Frame {
            code: of("executable")?,
            previous: of("previous")?,
            instruction: of("instr_ptr")?,
            owner: of("owner")?,
            locals: of("localsplus")?,
            stack_top: if later {
                of("stackpointer")?
            } else {
                base.stack_top
            },
            tag_mask: if later { TAG_BITS } else { 0 },
            ..base
        })
    }

    fn unicode(&self) -> Option<Unicode> {
        let base = table::V3_13.unicode;
        let ascii_data = self.offset("unicode", "ascii_size")?;
        Some(Unicode {
            length: self.offset("unicode", "length")?,
            state: self.offset("unicode", "state")?,
            kind_shifts: &[2, 8, 16],
            ascii_data,
            compact_data: ascii_data.checked_add(base.compact_data - base.ascii_data)?,
        })
    }

    /// 3.14 publishes generators; in 3.13 only the object in front of theirs can have grown.
    fn generator(&self, object_size: u16, later: bool) -> Option<super::Generator> {
        let base = table::V3_13.generator;
        let shift = object_size.checked_sub(table::V3_13.object.size)?;
        let moved = |of: Offset| of.checked_add(shift);
        let name = if later {
            self.offset("generator", "name")?
        } else {
            moved(base.name)?
        };
        Some(super::Generator {
            frame: if later {
                self.offset("generator", "frame")?
            } else {
                moved(base.frame)?
            },
            state: if later {
                self.offset("generator", "state")?
            } else {
                moved(base.state)?
            },
            name,
            qualname: name.checked_add(base.qualname - base.name)?,
        })
    }
}
