//! From raw addresses to names.
//!
//! It happens after the capture, in batches: thousands of stacks share few distinct addresses, so
//! these are collected first, and each file is opened, parsed and dropped once (`symbolize`).
//! What names contain was chosen by the target and is hostile until proven otherwise: files are
//! copied section by section before a parser sees them (`copy`), compressed sections are measured
//! (`inflate`), demangled names are cut (`demangle`), and each string is cleaned (`text`).

mod cache;
mod copy;
mod debug_file;
mod demangle;
pub mod frame_pointer;
mod inflate;
mod kernel;
mod perf_map;
mod plan;
mod resolve;
mod symbolize;
mod text;
pub mod trim;

#[cfg(test)]
mod tests;

pub use symbolize::{Limits, RawStack, SymbolLosses, Symbolizer, UNMAPPED};
