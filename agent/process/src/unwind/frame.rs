//! Executes call frame instructions, for the three columns that unwinding needs: the frame address,
//! the frame pointer, the return address.
//!
//! gimli decodes them; its own table evaluator keeps every register of every row, and a file that
//! wants it to can make it copy kilobytes a byte of input, and execute a common entry anew for each
//! function. Here a row costs a copy of 64 bytes, a common entry is executed once, and the time is
//! linear in the size of the section. Semantics: DWARF 5 section 6.4.2.

use super::rule::{Numbers, cfa_expression, saved_expression};
use gimli::{
    CallFrameInstruction, CallFrameInstructionIter, EndianSlice, LittleEndian, Register,
    UnwindExpression,
};

/// Bytes of a file.
pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// States that may be remembered at a time; compilers nest two.
const MAX_REMEMBERED: usize = 16;

/// How the canonical frame address is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cfa {
    /// A register and bytes.
    Register(Register, i64),
    /// A PLT stub that pushes from this byte on.
    Plt(u8),
    /// The word at the frame pointer and bytes.
    DerefFp(i64),
    /// The word at the stack pointer and bytes, and 8.
    DerefSp(i64),
    /// Another expression, or none.
    Unknown,
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// Still in the register.
    Same,
    /// In memory, bytes from the frame address.
    AtCfa(i64),
    /// In memory, bytes from the frame pointer.
    AtFp(i64),
    /// Gone.
    Undefined,
    /// Elsewhere.
    Unknown,
}

/// The columns of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub cfa: Cfa,
    pub fp: Saved,
    pub ra: Saved,
}

impl Columns {
    const EMPTY: Self = Self {
        cfa: Cfa::Unknown,
        fp: Saved::Same,
        ra: Saved::Same,
    };
}

/// What the instructions of an entry need to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub numbers: Numbers,
    /// The column of the return address; some entries name another than the architecture's.
    pub ra: Register,
    pub code_factor: u64,
    pub data_factor: i64,
    /// The section, which expressions lie in.
    pub section: &'a [u8],
}

impl Context<'_> {
    fn factored(&self, offset: i64) -> i64 {
        offset.wrapping_mul(self.data_factor)
    }

    fn expression(&self, place: &UnwindExpression<usize>) -> &[u8] {
        let end = place.offset.saturating_add(place.length);
        self.section.get(place.offset..end).unwrap_or(&[])
    }
}

/// Damaged or unknown instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

type Instructions<'a, 'i> = CallFrameInstructionIter<'i, Slice<'a>>;

/// The columns after the initial instructions of a common entry.
pub(super) fn initial_columns(
    context: &Context<'_>,
    mut instructions: Instructions<'_, '_>,
) -> Result<Columns, Malformed> {
    let mut state = State::new(None);
    while let Some(instruction) = instructions.next().map_err(|_| Malformed)? {
        state.apply(context, &instruction)?;
    }
    Ok(state.now)
}

/// Executes a function's instructions and shows `emit` each piece of its range, in order: first
/// address, address behind the last, columns. After an error the rest of the range was not shown.
pub(super) fn execute(
    context: &Context<'_>,
    mut instructions: Instructions<'_, '_>,
    initial: &Columns,
    (start, end): (u64, u64),
    mut emit: impl FnMut(u64, u64, &Columns),
) -> Result<(), (u64, Malformed)> {
    let mut state = State::new(Some(*initial));
    let mut location = start;
    while location < end {
        let instruction = instructions.next().map_err(|_| (location, Malformed))?;
        let next = match instruction {
            None => end,
            Some(CallFrameInstruction::SetLoc { address }) if address >= location => address,
            Some(CallFrameInstruction::SetLoc { .. }) => return Err((location, Malformed)),
            Some(CallFrameInstruction::AdvanceLoc { delta }) => {
                let delta = u64::from(delta).saturating_mul(context.code_factor);
                location.saturating_add(delta)
            }
            Some(instruction) => {
                let applied = state.apply(context, &instruction);
                applied.map_err(|malformed| (location, malformed))?;
                continue;
            }
        };
        let next = next.min(end);
        if next > location {
            emit(location, next, &state.now);
            location = next;
        }
    }
    Ok(())
}

struct State {
    now: Columns,
    /// `None` while they are being made.
    initial: Option<Columns>,
    remembered: Vec<Columns>,
}

impl State {
    fn new(initial: Option<Columns>) -> Self {
        Self {
            now: initial.unwrap_or(Columns::EMPTY),
            initial,
            remembered: Vec::new(),
        }
    }

    fn apply(
        &mut self,
        context: &Context<'_>,
        instruction: &CallFrameInstruction<usize>,
    ) -> Result<(), Malformed> {
        use CallFrameInstruction as I;
        let (register, saved) = match *instruction {
            I::Undefined { register } => (register, Saved::Undefined),
            I::SameValue { register } => (register, Saved::Same),
            I::Offset {
                register,
                factored_offset,
            } => {
                let offset = context.factored(factored_offset.cast_signed());
                (register, Saved::AtCfa(offset))
            }
            I::OffsetExtendedSf {
                register,
                factored_offset,
            } => (register, Saved::AtCfa(context.factored(factored_offset))),
            I::Expression {
                register,
                ref expression,
            } => {
                let code = context.expression(expression);
                (register, saved_expression(code, &context.numbers))
            }
            I::ValOffset { register, .. }
            | I::ValOffsetSf { register, .. }
            | I::ValExpression { register, .. }
            | I::Register {
                dest_register: register,
                ..
            } => (register, Saved::Unknown),
            I::Restore { register } => {
                let initial = self.initial.ok_or(Malformed)?;
                let is_fp = register == context.numbers.fp;
                (register, if is_fp { initial.fp } else { initial.ra })
            }
            _ => return self.apply_to_frame(context, instruction),
        };
        if register == context.numbers.fp {
            self.now.fp = saved;
        } else if register == context.ra {
            self.now.ra = saved;
        }
        Ok(())
    }

    /// The instructions that are not about one register.
    fn apply_to_frame(
        &mut self,
        context: &Context<'_>,
        instruction: &CallFrameInstruction<usize>,
    ) -> Result<(), Malformed> {
        use CallFrameInstruction as I;
        match *instruction {
            I::DefCfa { register, offset } => {
                self.now.cfa = Cfa::Register(register, offset.cast_signed());
            }
            I::DefCfaSf {
                register,
                factored_offset,
            } => self.now.cfa = Cfa::Register(register, context.factored(factored_offset)),
            I::DefCfaRegister { register } => match &mut self.now.cfa {
                Cfa::Register(now, _) => *now = register,
                _ => return Err(Malformed),
            },
            I::DefCfaOffset { offset } => self.set_cfa_offset(offset.cast_signed())?,
            I::DefCfaOffsetSf { factored_offset } => {
                self.set_cfa_offset(context.factored(factored_offset))?;
            }
            I::DefCfaExpression { ref expression } => {
                let code = context.expression(expression);
                self.now.cfa = cfa_expression(code, &context.numbers);
            }
            I::RememberState if self.remembered.len() < MAX_REMEMBERED => {
                self.remembered.push(self.now);
            }
            I::RestoreState => self.now = self.remembered.pop().ok_or(Malformed)?,
            // The signature of a return address is masked off when it is read.
            I::NegateRaState | I::ArgsSize { .. } | I::Nop => {}
            // Too many states, and addresses in a common entry; a function's are taken before.
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn set_cfa_offset(&mut self, offset: i64) -> Result<(), Malformed> {
        match &mut self.now.cfa {
            Cfa::Register(_, now) => *now = offset,
            _ => return Err(Malformed),
        }
        Ok(())
    }
}
