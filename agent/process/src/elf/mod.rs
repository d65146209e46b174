//! The one reader of ELF files. Who wants something of such a file asks here, and gets plain data:
//! no class, no byte order, no parser's types.
//!
//! A file may be hostile and may change or shrink while it is read. So it is read, never mapped (a
//! mapping of a file that shrinks raises SIGBUS), in pieces of bounded size: each number that a file
//! says of itself is a claim, and has a limit below or at the caller. Whatever a file says, an answer
//! or an error comes, in bounded time and memory.

mod cursor;
mod dynamic;
mod header;
mod inflate;
mod notes;
mod sections;
mod segments;
mod symbols;

#[cfg(test)]
mod tests;

pub use cursor::{Range, read};
pub use dynamic::needs_libraries;
pub use header::{Elf, Tables};
pub use inflate::unpack_xz;
pub use sections::Section;
pub use segments::{Segment, offset_of};
pub use symbols::{SYMBOL_BYTES, Symbol, name_at, symbols, table};

/// More program headers than any linker writes.
pub const MAX_SEGMENTS: usize = 128;
/// More sections than any linker writes into a program or a library.
pub const MAX_SECTIONS: usize = 4096;
/// Longer names of sections are cut, in bytes; those that are looked for are shorter.
const MAX_SECTION_NAME: usize = 64;
/// Notes larger than this are not read, in bytes.
const MAX_NOTES: u64 = 64 << 10;
/// Lengths of a build id that are believed, in bytes: shorter ones collide, linkers write 8 to 32.
const BUILD_ID_LENGTHS: std::ops::RangeInclusive<usize> = 8..=64;
/// Bytes that the decoders may take for themselves, as a power of two: windows that a hostile stream
/// asks for.
const DECODER_MEMORY_LOG: u32 = 27;

/// Why a file cannot be read as ELF.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// No ELF file, or a malformed one.
    #[error("malformed ELF file: {0}")]
    Malformed(#[from] object::read::Error),
    /// It has more of something than the limits allow.
    #[error("more {0} than the limit")]
    TooMany(&'static str),
}
