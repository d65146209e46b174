//! Unwind tables: call frame information, compiled into the rows that the kernel side walks by.
//!
//! Compilers describe in `.eh_frame` how to get from any instruction of a function to its caller,
//! for exceptions, and leave the frame pointer out because of it. The description is a byte code
//! for each function, far too much for a kernel to interpret while a thread waits. So
//! [`compile`] executes it ahead, once a file: a [`Table`] of rows of 8 bytes, sorted by address.
//! [`pack`] cuts it into chunks of a page that form a search tree, and [`walk`] walks a stack here,
//! in the agent, by the same rows and the same step (`remora_common::unwind::step`) as the kernel
//! side does.
//!
//! What a file says is hostile: each reader here is bounded in time and memory by [`Limits`].

mod compile;
mod frame;
mod image;
mod pack;
mod rows;
mod rule;
mod section;
mod stubs;
mod walk;

#[cfg(test)]
mod tests;

pub use compile::{Share, Stats, Table, compile};
pub use pack::{Root, find, pack};
pub use rule::Cause;
pub use walk::{frames, walk};

use crate::elf::ElfError;

/// Bounds of what is read and made of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one section of call frame information, unpacked; there may be two. 300 MB of code
    /// have 30 to 60 MB.
    pub section_bytes: u64,
    /// Functions; each takes 16 bytes while a table is made.
    pub functions: usize,
    /// Rows of 8 bytes.
    pub rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            section_bytes: 128 << 20,
            functions: 4 << 20,
            rows: 16 << 20,
        }
    }
}

impl From<ElfError> for CompileError {
    fn from(error: ElfError) -> Self {
        match error {
            ElfError::Malformed(why) => Self::Malformed(why),
            ElfError::TooMany(what) => Self::TooLarge(what),
        }
    }
}

/// Why a file has no table.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// No ELF file, or a malformed one.
    #[error("malformed ELF file: {0}")]
    Malformed(#[from] object::read::Error),
    /// Neither x86-64 nor arm64, 64 bits, little-endian.
    #[error("made for another kind of machine")]
    Machine,
    /// It has no executable segment.
    #[error("no code in it")]
    NoCode,
    /// It has more of something than [`Limits`] allow.
    #[error("more {0} than the limit")]
    TooLarge(&'static str),
    /// The file was not read in time.
    #[error("the file does not answer")]
    NoAnswer,
}
