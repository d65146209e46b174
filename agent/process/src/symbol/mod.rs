//! From raw addresses to names.
//!
//! It happens after the capture, in batches: thousands of stacks share few distinct addresses, so
//! these are collected first, and each file is opened, parsed and dropped once (`symbolize`).
//! What names contain was chosen by the target and is hostile until proven otherwise: files are
//! copied section by section before a parser sees them (`copy`), compressed sections are measured
//! before (`crate::elf`), demangled names are cut (`demangle`), and each string is cleaned (`text`).
//!
//! Names are remembered while a symboliser lives (`cache`), and not on disk: 2,000
//! addresses spread over a program of 96 MB take 0.4 s with lines and inlined functions, over libc
//! 0.1 s, and a file of names would have to be distrusted like those that it spares.

mod cache;
mod copy;
mod debug_file;
mod demangle;
mod go;
mod jit;
pub mod jitdump;
mod kernel;
pub mod pclntab;
mod perf_map;
mod plan;
mod resolve;
mod start;
mod symbolize;
mod text;
pub mod trim;
mod window;

#[cfg(test)]
mod tests;

pub use plan::code_address;
pub use start::is_thread_start;
pub use symbolize::{Limits, RawStack, StandIn, SymbolLosses, Symbolizer};
pub(crate) use text::clean;
