//! From the columns of a call frame table to the rule of a row: what of DWARF a row can say.
//!
//! Eight bytes cannot hold all that DWARF can say, and need not: compilers and linkers write a
//! handful of rules and four expressions. The rest is counted by cause.

use super::frame::{Cfa, Columns, Saved};
use gimli::{AArch64, Register, X86_64};
use remora_common::unwind::{
    CFA_DEREF_FP, CFA_DEREF_SP, CFA_END, CFA_FP, CFA_NONE, CFA_PLT, CFA_SIGNAL, CFA_SP, CFA_SP_FAR,
    CFA_UNSUPPORTED, FAR_WORDS, Machine, Row, SAVED_FP, SAVED_FP_AT_FP, SAVED_RA,
};
use strum::{IntoStaticStr, VariantArray};

/// Bytes in a word: the unit of a row's offsets.
const WORD: i64 = 8;

/// Why a rule of call frame information could not become a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// The frame address is counted from a register other than the stack and the frame pointer.
    CfaRegister,
    /// The frame address is an expression that is not known.
    CfaExpression,
    /// An offset is not a multiple of a word, or too large for a row.
    Offset,
    /// The frame pointer was saved in a way that rows cannot say.
    FramePointer,
    /// The return address lies where rows cannot say.
    ReturnAddress,
    /// The instructions are damaged or unknown.
    Malformed,
}

impl Cause {
    /// Every cause.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name for people and reports.
    pub fn key(self) -> &'static str {
        self.into()
    }
}

/// A row without its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    cfa_offset: i16,
    fp_offset: i8,
    rule: u8,
}

impl Rule {
    pub(super) const NONE: Self = Self::plain(CFA_NONE);
    pub(super) const SIGNAL: Self = Self::plain(CFA_SIGNAL);
    pub(super) const UNSUPPORTED: Self = Self::plain(CFA_UNSUPPORTED);
    const END: Self = Self::plain(CFA_END);

    const fn plain(rule: u8) -> Self {
        Self {
            cfa_offset: 0,
            fp_offset: 0,
            rule,
        }
    }

    /// `sp` and so many words; the frame pointer is unchanged.
    pub(super) const fn sp(words: i16) -> Self {
        Self {
            cfa_offset: words,
            fp_offset: 0,
            rule: CFA_SP,
        }
    }

    /// `sp` and so many words; arm64: the return address lies `ra` words from there.
    pub(super) const fn sp_with_return_address(words: i16, ra: i8) -> Self {
        Self {
            cfa_offset: words,
            fp_offset: ra,
            rule: CFA_SP | SAVED_RA,
        }
    }

    /// A PLT stub that has pushed a word from its byte `from` on.
    pub(super) const fn plt(from: i16) -> Self {
        Self {
            cfa_offset: from,
            fp_offset: 0,
            rule: CFA_PLT,
        }
    }

    pub(super) const fn at(self, pc: u32) -> Row {
        Row {
            pc,
            cfa_offset: self.cfa_offset,
            fp_offset: self.fp_offset,
            rule: self.rule,
        }
    }
}

/// Numbers of the registers that matter, in DWARF of an architecture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub sp: Register,
    pub fp: Register,
    is_arm64: bool,
}

impl Numbers {
    pub(super) fn of(machine: Machine) -> Self {
        if machine.is_arm64 {
            Self {
                sp: AArch64::SP,
                fp: AArch64::X29,
                is_arm64: true,
            }
        } else {
            Self {
                sp: X86_64::RSP,
                fp: X86_64::RBP,
                is_arm64: false,
            }
        }
    }

    /// Whose extensions the instructions use.
    pub(super) fn vendor(&self) -> gimli::Vendor {
        if self.is_arm64 {
            gimli::Vendor::AArch64
        } else {
            gimli::Vendor::Default
        }
    }

    /// The rule that says what the columns say.
    pub(super) fn rule(&self, columns: &Columns) -> Result<Rule, Cause> {
        if columns.ra == Saved::Undefined {
            return Ok(Rule::END);
        }
        if let Some(far) = self.far(columns)? {
            return Ok(far);
        }
        let (cfa_kind, cfa_offset) = self.cfa(columns.cfa)?;
        let (saved_kind, fp_offset) = if self.is_arm64 {
            saved_arm64(columns)?
        } else {
            saved_x86_64(columns)?
        };
        Ok(Rule {
            cfa_offset,
            fp_offset,
            rule: cfa_kind | saved_kind,
        })
    }

    /// The rule of a frame that is larger than a plain offset can say.
    fn far(&self, columns: &Columns) -> Result<Option<Rule>, Cause> {
        let Cfa::Register(register, offset) = columns.cfa else {
            return Ok(None);
        };
        if self.is_arm64 || register != self.sp || words::<i16>(offset).is_ok() {
            return Ok(None);
        }
        let offset = words::<u32>(offset)?;
        if u64::from(offset) >= FAR_WORDS {
            return Err(Cause::Offset);
        }
        let (saved, slot) = saved_x86_64(columns)?;
        let slot = match saved {
            0 => 0,
            SAVED_FP => u8::try_from(-i16::from(slot)).map_err(|_| Cause::FramePointer)?,
            _ => return Err(Cause::FramePointer),
        };
        if slot > 0x0f {
            return Err(Cause::FramePointer);
        }
        Ok(Some(Rule {
            cfa_offset: (offset as u16).cast_signed(),
            fp_offset: ((offset >> 16) as u8 | slot << 4).cast_signed(),
            rule: CFA_SP_FAR | saved,
        }))
    }

    fn cfa(&self, cfa: Cfa) -> Result<(u8, i16), Cause> {
        let (kind, offset) = match cfa {
            Cfa::Register(register, offset) if register == self.sp => (CFA_SP, offset),
            Cfa::Register(register, offset) if register == self.fp => (CFA_FP, offset),
            Cfa::Register(..) => return Err(Cause::CfaRegister),
            Cfa::DerefFp(offset) => (CFA_DEREF_FP, offset),
            Cfa::DerefSp(offset) => (CFA_DEREF_SP, offset),
            Cfa::Plt(from) => return Ok((CFA_PLT, from.into())),
            Cfa::Unknown => return Err(Cause::CfaExpression),
        };
        Ok((kind, words(offset)?))
    }
}

fn words<T: TryFrom<i64>>(bytes: i64) -> Result<T, Cause> {
    if bytes % WORD != 0 {
        return Err(Cause::Offset);
    }
    T::try_from(bytes / WORD).map_err(|_| Cause::Offset)
}

fn saved_x86_64(columns: &Columns) -> Result<(u8, i8), Cause> {
    if columns.ra != Saved::AtCfa(-WORD) {
        return Err(Cause::ReturnAddress);
    }
    match columns.fp {
        Saved::Same => Ok((0, 0)),
        Saved::AtCfa(offset) => Ok((SAVED_FP, words(offset)?)),
        Saved::AtFp(offset) => Ok((SAVED_FP_AT_FP, words(offset)?)),
        Saved::Undefined | Saved::Unknown => Err(Cause::FramePointer),
    }
}

fn saved_arm64(columns: &Columns) -> Result<(u8, i8), Cause> {
    match (columns.fp, columns.ra) {
        (Saved::Same, Saved::Same) => Ok((0, 0)),
        (Saved::Same, Saved::AtCfa(ra)) => Ok((SAVED_RA, words(ra)?)),
        (Saved::AtCfa(fp), Saved::AtCfa(ra)) if ra.checked_sub(fp) == Some(WORD) => {
            Ok((SAVED_FP, words(fp)?))
        }
        (Saved::Same | Saved::AtCfa(_), Saved::AtFp(_) | Saved::Unknown) => {
            Err(Cause::ReturnAddress)
        }
        _ => Err(Cause::FramePointer),
    }
}

/// What an expression for the frame address says.
///
/// Known are: the PLT's (`elf_x86_64_eh_frame_plt` of binutils `bfd/elfxx-x86.c`), the one of
/// functions that realign their stack (GCC's dynamic realign argument pointer), and that of
/// assembly that keeps the old stack pointer on its aligned stack (OpenSSL's `.cfi_cfa_expression`).
pub(super) fn cfa_expression(code: &[u8], numbers: &Numbers) -> Cfa {
    // breg7 8; breg16 0; lit15; and; litN; ge; lit3; shl; plus
    if let [
        0x77,
        8,
        0x80,
        0,
        0x3f,
        0x1a,
        literal @ 0x30..=0x3f,
        0x2a,
        0x33,
        0x24,
        0x22,
    ] = *code
        && !numbers.is_arm64
    {
        return Cfa::Plt(literal - 0x30);
    }
    let Some((register, offset, rest)) = base_and_offset(code) else {
        return Cfa::Unknown;
    };
    match *rest {
        [DEREF] if register == numbers.fp => Cfa::DerefFp(offset),
        [DEREF, PLUS_UCONST, 8] if register == numbers.sp => Cfa::DerefSp(offset),
        _ => Cfa::Unknown,
    }
}

/// Where an expression says that a register was saved: a constant offset from the frame pointer.
pub(super) fn saved_expression(code: &[u8], numbers: &Numbers) -> Saved {
    match base_and_offset(code) {
        Some((register, offset, [])) if register == numbers.fp => Saved::AtFp(offset),
        _ => Saved::Unknown,
    }
}

const DEREF: u8 = gimli::DW_OP_deref.0;
const PLUS_UCONST: u8 = gimli::DW_OP_plus_uconst.0;

/// `DW_OP_bregN offset` at the beginning, and what follows.
fn base_and_offset(code: &[u8]) -> Option<(Register, i64, &[u8])> {
    use gimli::Reader;
    let (operation, rest) = code.split_first()?;
    let register = operation.checked_sub(gimli::DW_OP_breg0.0)?;
    if register > 31 {
        return None;
    }
    let mut rest = gimli::EndianSlice::new(rest, gimli::LittleEndian);
    let offset = rest.read_sleb128().ok()?;
    Some((Register(register.into()), offset, rest.slice()))
}
