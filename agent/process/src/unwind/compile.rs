//! Makes a table of a file: finds the functions, puts them in order, and executes one after the
//! other.
//!
//! Functions lie in a section in the order of the linker's input, not of their addresses, so there
//! are two passes: the first notes where each begins and ends (16 bytes a function), the second
//! writes the rows straight in their final order. Nothing is held twice.

use super::image::{EhFrame, Image, Segment};
use super::rows::{Full, Rows};
use super::rule::{Cause, Numbers, Rule};
use super::section::{Found, Function, Section};
use super::stubs::{Stub, stubs};
use super::{CompileError, Limits};
use crate::maps::Content;
use remora_common::unwind::{Machine, Row};

/// Bytes of code at the most. The row behind them has this address, and `u32::MAX` marks entries
/// that are not used.
const MAX_CODE: u64 = u32::MAX as u64 - 1;

/// Linkers align functions to this, in bytes.
const ALIGNMENT: u64 = 16;

/// A part of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Pieces of functions with one rule each.
    pub pieces: u64,
    /// Bytes of code.
    pub bytes: u64,
}

impl Share {
    fn add(&mut self, bytes: u64) {
        self.pieces += 1;
        self.bytes += bytes;
    }
}

/// What a table was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries for functions that were used.
    pub functions: usize,
    /// Entries for functions that lie outside the code: linkers leave some of removed functions.
    pub ignored: usize,
    /// Damaged entries, or of an unknown version.
    pub malformed: usize,
    /// A section was there and could not be read.
    pub damaged: bool,
    /// Code that call frame information covers.
    pub covered: Share,
    /// The part of it whose rule a row cannot say, by the place of its cause in [`Cause::ALL`].
    unsupported: [Share; Cause::ALL.len()],
}

impl Stats {
    /// Code whose rule a row cannot say, by cause.
    pub fn unsupported(&self) -> impl Iterator<Item = (Cause, Share)> {
        Cause::ALL.iter().copied().zip(self.unsupported)
    }
}

/// The rows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What rows were made for.
    pub machine: Machine,
    /// What the rows' addresses are relative to: where the file's first executable segment begins.
    pub base: u64,
    /// By address, no two with the same. The first has address 0: each address has a row.
    pub rows: Vec<Row>,
    /// What it was made of.
    pub stats: Stats,
    code: Vec<Segment>,
}

impl Table {
    /// What to take off an address in a mapping of the file to get the `pc` of a row
    /// (`remora_common::unwind::Mapping::bias`), for a mapping of `len` bytes of the file from
    /// `offset` on at `start`. `None` when no executable segment lies there.
    pub fn bias(&self, start: u64, len: u64, offset: u64) -> Option<u64> {
        let end = offset.saturating_add(len);
        let segment = self.code.iter().find(|segment| {
            segment.offset < end && offset < segment.offset.saturating_add(segment.size)
        })?;
        // The mapping begins at a page, which may be before the segment.
        let address = segment
            .address
            .wrapping_sub(segment.offset)
            .wrapping_add(offset);
        Some(start.wrapping_sub(address.wrapping_sub(self.base)))
    }

    /// The row that holds for an address relative to the base.
    pub fn row(&self, pc: u32) -> Option<Row> {
        let behind = self.rows.partition_point(|row| row.pc <= pc);
        self.rows.get(behind.checked_sub(1)?).copied()
    }
}

/// Makes the table of a file.
///
/// A file without call frame information has a table of one row, which says so.
///
/// # Errors
/// When it is no ELF file of a known machine, has no code, or exceeds the limits.
pub fn compile(content: &Content, limits: &Limits) -> Result<Table, CompileError> {
    let mut image = Image::read(content, limits)?;
    let base = image.code().map(|segment| segment.address).min();
    let base = base.ok_or(CompileError::NoCode)?;
    let end = image
        .code()
        .map(|segment| segment.address + segment.size)
        .max();
    let end = end.unwrap_or(base).min(base.saturating_add(MAX_CODE));
    let numbers = Numbers::of(image.machine);
    let (eh_frame, debug_frame) = (image.eh_frame.take(), image.debug_frame.take());
    let stubs = stubs(&image, content);
    let mut compiler = Compiler {
        eh_frame: eh_frame.as_ref().map(|eh_frame: &EhFrame| {
            Section::eh_frame(&eh_frame.bytes, eh_frame.bases.clone(), numbers)
        }),
        debug_frame: debug_frame
            .as_ref()
            .map(|bytes| Section::debug_frame(bytes, numbers)),
        stubs: &stubs,
        plan: Plan {
            base,
            end,
            limit: limits.functions,
            spans: Vec::new(),
            too_many: false,
            stats: Stats {
                damaged: image.damaged,
                ..Stats::default()
            },
        },
    };
    compiler.find(
        eh_frame
            .as_ref()
            .is_some_and(|eh_frame| eh_frame.until_zero),
    );
    if compiler.plan.too_many {
        return Err(CompileError::TooLarge("functions"));
    }
    compiler.plan.order();
    let rows = compiler.rows(limits.rows);
    Ok(Table {
        machine: image.machine,
        base,
        rows: rows.map_err(|Full| CompileError::TooLarge("rows"))?,
        stats: compiler.plan.stats,
        code: image.code().copied().collect(),
    })
}

/// Where a span's rules come from; of two that overlap, the first in this order holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// Instructions that can only be a return from a signal.
    SignalReturn,
    EhFrame,
    DebugFrame,
    /// A procedure linkage table, told by its instructions.
    Stub,
}

/// Code from one source, in addresses relative to the base.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    /// Which one of its source: offset of an entry, place of a stub.
    at: u32,
    source: Source,
}

/// The spans of a file.
struct Plan {
    base: u64,
    /// Address behind the last that a row can have.
    end: u64,
    limit: usize,
    spans: Vec<Span>,
    too_many: bool,
    stats: Stats,
}

impl Plan {
    /// Adds a span; `false` when there are too many.
    fn add(&mut self, start: u64, len: u64, at: usize, source: Source) -> bool {
        let end = start.saturating_add(len).min(self.end);
        if start < self.base || start >= end {
            self.stats.ignored += 1;
            return true;
        }
        if self.spans.len() == self.limit {
            self.too_many = true;
            return false;
        }
        // Both are below `self.end`, and sections below 4 GiB.
        self.spans.push(Span {
            start: (start - self.base) as u32,
            end: (end - self.base) as u32,
            at: at as u32,
            source,
        });
        true
    }

    fn add_found(&mut self, found: Found, source: Source) -> bool {
        match found {
            Found::Function(Function { at, start, len }) => {
                self.stats.functions += 1;
                self.add(start, len, at, source)
            }
            Found::Common => true,
            Found::Malformed => {
                self.stats.malformed += 1;
                true
            }
        }
    }

    /// Puts the spans in the order of their addresses, without overlaps: each ends where one of a
    /// better or of the same source begins, and begins behind what a better source covers.
    fn order(&mut self) {
        let key = |span: &Span| (span.start, span.source, span.at);
        self.spans.sort_unstable_by_key(key);
        let mut next = [u32::MAX; Source::Stub as usize + 1];
        for span in self.spans.iter_mut().rev() {
            let cut = next[..=span.source as usize].iter().min();
            span.end = span.end.min(cut.copied().unwrap_or(u32::MAX));
            next[span.source as usize] = span.start;
        }
        let mut covered = 0;
        self.spans.retain_mut(|span| {
            span.start = span.start.max(covered);
            covered = covered.max(span.end);
            span.start < span.end
        });
    }
}

struct Compiler<'a> {
    eh_frame: Option<Section<'a, gimli::EhFrame<super::frame::Slice<'a>>>>,
    debug_frame: Option<Section<'a, gimli::DebugFrame<super::frame::Slice<'a>>>>,
    stubs: &'a [Stub],
    plan: Plan,
}

impl Compiler<'_> {
    fn find(&mut self, until_zero: bool) {
        let plan = &mut self.plan;
        if let Some(section) = &mut self.eh_frame {
            section.entries(until_zero, |found| plan.add_found(found, Source::EhFrame));
        }
        if let Some(section) = &mut self.debug_frame {
            section.entries(false, |found| plan.add_found(found, Source::DebugFrame));
        }
        for (place, stub) in self.stubs.iter().enumerate() {
            let source = if stub.is_signal_return {
                Source::SignalReturn
            } else {
                Source::Stub
            };
            plan.add(stub.address, stub.len, place, source);
        }
    }

    fn rows(&mut self, limit: usize) -> Result<Vec<Row>, Full> {
        let mut rows = Rows::new(limit);
        let spans = std::mem::take(&mut self.plan.spans);
        let mut behind = 0;
        for span in spans {
            // No code runs in the padding before an aligned function: no row for it.
            let aligned = (self.plan.base + u64::from(span.start)).is_multiple_of(ALIGNMENT);
            let padding = aligned && u64::from(span.start - behind) < ALIGNMENT;
            if behind < span.start && (rows.is_empty() || !padding) {
                rows.push(behind, Rule::NONE)?;
            }
            self.span(span, &mut rows)?;
            behind = span.end;
        }
        rows.push(behind, Rule::NONE)?;
        Ok(rows.finish())
    }

    fn span(&mut self, span: Span, rows: &mut Rows) -> Result<(), Full> {
        let Plan { base, stats, .. } = &mut self.plan;
        let base = *base;
        let range = (base + u64::from(span.start), base + u64::from(span.end));
        let mut full = Ok(());
        let emit = |from: u64, to: u64, rule: Result<Rule, Cause>| {
            stats.covered.add(to - from);
            let rule = rule.unwrap_or_else(|cause| {
                stats.unsupported[cause as usize].add(to - from);
                Rule::UNSUPPORTED
            });
            full = full.and_then(|()| rows.push((from - base) as u32, rule));
        };
        match span.source {
            Source::EhFrame => {
                if let Some(section) = &mut self.eh_frame {
                    section.execute(span.at as usize, range, emit);
                }
            }
            Source::DebugFrame => {
                if let Some(section) = &mut self.debug_frame {
                    section.execute(span.at as usize, range, emit);
                }
            }
            Source::SignalReturn | Source::Stub => {
                if let Some(stub) = self.stubs.get(span.at as usize) {
                    stub.rules(range, emit);
                }
            }
        }
        full
    }
}
