//! A section of call frame information (`.eh_frame`, `.debug_frame`): finds its entries, and
//! executes those that are asked for.
//!
//! Layout: Linux Standard Base 5.0, "Exception Frames"; DWARF 5 section 6.4.1. Entries are found by
//! their length words here, not by gimli's iterator, because that one ends at the first damaged
//! entry, and at the first terminator even where a linker left one in the middle.

use super::frame::{Columns, Context, Malformed, Slice, execute, initial_columns};
use super::rule::{Cause, Numbers, Rule};
use gimli::{BaseAddresses, CommonInformationEntry, LittleEndian, UnwindOffset, UnwindSection};
use std::collections::HashMap;

/// Common entries of a section at the most: linkers merge equal ones, a large program has a few
/// hundred.
const MAX_COMMON: usize = 1 << 16;
/// Length of a common entry at the most, in bytes; compilers write about 20. With the limit above,
/// it bounds what overlapping ones can cost.
const MAX_COMMON_LENGTH: usize = 4096;

/// A function's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Offset of the entry in the section.
    pub at: usize,
    /// First address.
    pub start: u64,
    /// Bytes of code.
    pub len: u64,
}

/// What stands at an offset.
pub(super) enum Found {
    Function(Function),
    /// A common entry.
    Common,
    /// A damaged one, or of an unknown version.
    Malformed,
}

/// A common entry, and what it begins with.
struct Common<'a> {
    entry: CommonInformationEntry<Slice<'a>>,
    initial: Result<Columns, Malformed>,
}

/// A section.
pub(super) struct Section<'a, S> {
    section: S,
    bytes: &'a [u8],
    bases: BaseAddresses,
    numbers: Numbers,
    common: Vec<Common<'a>>,
    /// Offset of a common entry, to its place in `common`; `None` for a damaged one.
    known: HashMap<usize, Option<usize>>,
    /// The one that was asked for last: most entries have the same one as their neighbour.
    last: Option<(usize, usize)>,
}

impl<'a> Section<'a, gimli::EhFrame<Slice<'a>>> {
    /// An `.eh_frame` that is loaded at the address that `bases` names.
    pub(super) fn eh_frame(bytes: &'a [u8], bases: BaseAddresses, numbers: Numbers) -> Self {
        let mut section = gimli::EhFrame::new(bytes, LittleEndian);
        section.set_vendor(numbers.vendor());
        section.set_address_size(8);
        Self::new(section, bytes, bases, numbers)
    }
}

impl<'a> Section<'a, gimli::DebugFrame<Slice<'a>>> {
    /// A `.debug_frame`.
    pub(super) fn debug_frame(bytes: &'a [u8], numbers: Numbers) -> Self {
        let mut section = gimli::DebugFrame::new(bytes, LittleEndian);
        section.set_vendor(numbers.vendor());
        section.set_address_size(8);
        Self::new(section, bytes, BaseAddresses::default(), numbers)
    }
}

impl<'a, S: UnwindSection<Slice<'a>>> Section<'a, S> {
    fn new(section: S, bytes: &'a [u8], bases: BaseAddresses, numbers: Numbers) -> Self {
        Self {
            section,
            bytes,
            bases,
            numbers,
            common: Vec::new(),
            known: HashMap::new(),
            last: None,
        }
    }

    /// Visits the entries in the order of the file, until `visit` returns `false`.
    ///
    /// `until_zero`: a length of zero ends the section (its true size is not known).
    pub(super) fn entries(&mut self, until_zero: bool, mut visit: impl FnMut(Found) -> bool) {
        let mut at = 0;
        while at < self.bytes.len() {
            let Some(end) = entry_end(self.bytes, at) else {
                visit(Found::Malformed);
                return;
            };
            let is_zero = end - at == 4;
            if is_zero && until_zero {
                return;
            }
            if !is_zero && !visit(self.entry(at)) {
                return;
            }
            at = end;
        }
    }

    fn entry(&mut self, at: usize) -> Found {
        let partial = match self.section.partial_fde_from_offset(&self.bases, at.into()) {
            Ok(partial) => partial,
            Err(gimli::Error::NotCiePointer(_)) => return Found::Common,
            Err(_) => return Found::Malformed,
        };
        let common = UnwindOffset::into(partial.cie_offset());
        let Some(common) = self.common(common) else {
            return Found::Malformed;
        };
        // Borrowed anew: `common` had to be found in between.
        let partial = self.section.partial_fde_from_offset(&self.bases, at.into());
        let entry = &self.common[common].entry;
        match partial.and_then(|partial| partial.parse(|_, _, _| Ok(entry.clone()))) {
            Ok(function) => Found::Function(Function {
                at,
                start: function.initial_address(),
                len: function.len(),
            }),
            Err(_) => Found::Malformed,
        }
    }

    /// Executes the function whose entry is at an offset, and shows `emit` each piece of `range`,
    /// in order.
    pub(super) fn execute(
        &mut self,
        at: usize,
        range: (u64, u64),
        mut emit: impl FnMut(u64, u64, Result<Rule, Cause>),
    ) {
        let (start, end) = range;
        let mut clipped = |from: u64, to: u64, rule| {
            let (from, to) = (from.max(start), to.min(end));
            if from < to {
                emit(from, to, rule);
            }
        };
        let executed = self.try_execute(at, end, &mut clipped);
        if let Err((from, Malformed)) = executed {
            clipped(from, end, Err(Cause::Malformed));
        }
    }

    fn try_execute(
        &mut self,
        at: usize,
        end: u64,
        emit: &mut impl FnMut(u64, u64, Result<Rule, Cause>),
    ) -> Result<(), (u64, Malformed)> {
        let lost = (0, Malformed);
        let partial = self.section.partial_fde_from_offset(&self.bases, at.into());
        let partial = partial.map_err(|_| lost)?;
        let common = UnwindOffset::into(partial.cie_offset());
        let common = self.common(common).ok_or(lost)?;
        let common = &self.common[common];
        let partial = self.section.partial_fde_from_offset(&self.bases, at.into());
        let function = partial
            .and_then(|partial| partial.parse(|_, _, _| Ok(common.entry.clone())))
            .map_err(|_| lost)?;
        if function.is_signal_trampoline() {
            emit(0, end, Ok(Rule::SIGNAL));
            return Ok(());
        }
        let initial = common.initial.map_err(|malformed| (0, malformed))?;
        let context = context(&common.entry, self.bytes, self.numbers);
        let numbers = self.numbers;
        let range = (function.initial_address(), end);
        let instructions = function.instructions(&self.section, &self.bases);
        execute(
            &context,
            instructions,
            &initial,
            range,
            |from, to, columns| {
                emit(from, to, numbers.rule(columns));
            },
        )
    }

    /// The place of the common entry at an offset.
    fn common(&mut self, at: usize) -> Option<usize> {
        if let Some((offset, index)) = self.last
            && offset == at
        {
            return Some(index);
        }
        let index = match self.known.get(&at) {
            Some(index) => *index,
            None if self.known.len() < MAX_COMMON => {
                let index = self.read_common(at);
                self.known.insert(at, index);
                index
            }
            None => None,
        }?;
        self.last = Some((at, index));
        Some(index)
    }

    fn read_common(&mut self, at: usize) -> Option<usize> {
        let end = entry_end(self.bytes, at)?;
        if end - at > MAX_COMMON_LENGTH {
            return None;
        }
        let entry = self.section.cie_from_offset(&self.bases, at.into()).ok()?;
        let context = context(&entry, self.bytes, self.numbers);
        let instructions = entry.instructions(&self.section, &self.bases);
        let initial = initial_columns(&context, instructions);
        self.common.push(Common { entry, initial });
        Some(self.common.len() - 1)
    }
}

fn context<'a>(
    entry: &CommonInformationEntry<Slice<'a>>,
    section: &'a [u8],
    numbers: Numbers,
) -> Context<'a> {
    Context {
        numbers,
        ra: entry.return_address_register(),
        code_factor: entry.code_alignment_factor(),
        data_factor: entry.data_alignment_factor(),
        section,
    }
}

/// Where the entry at an offset ends: behind its length word of 4 bytes, or of 12 after an escape.
fn entry_end(bytes: &[u8], at: usize) -> Option<usize> {
    const ESCAPE: u32 = 0xffff_ffff;
    let word = |at: usize| bytes.get(at..at.checked_add(4)?)?.try_into().ok();
    let short = u32::from_le_bytes(word(at)?);
    let (begin, len) = if short == ESCAPE {
        let low = u32::from_le_bytes(word(at + 4)?);
        let high = u32::from_le_bytes(word(at + 8)?);
        (
            at + 12,
            usize::try_from(u64::from(high) << 32 | u64::from(low)).ok()?,
        )
    } else {
        (at + 4, usize::try_from(short).ok()?)
    };
    begin.checked_add(len).filter(|end| *end <= bytes.len())
}
