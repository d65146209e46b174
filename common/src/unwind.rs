//! Unwind tables as the kernel side reads them, and one step with a row of them: shared, so that
//! the agent can walk a stack by the same rules.
//!
//! A **row** says how to get from a frame to its caller, from one address of a file on. Rows lie in
//! **chunks** of a page, and the chunks of a file form a search tree: a node's entries are the first
//! address and the number of each child, so that a table needs no contiguous space and its pages
//! can be given back one by one. A **space** is the sorted list of an address space's mappings,
//! each with the root of its file's tree.
//!
//! Sources: System V ABI AMD64 3.4–3.7 and AAPCS64 (frame layout), DWARF 5 section 6.4 (call frame
//! information), `arch/x86/include/asm/sigframe.h`, `arch/arm64/kernel/signal.c` (signal frames).

use crate::python::Interpreter;

/// Entries in a chunk: a page of them.
pub const CHUNK_ENTRIES: usize = 512;

/// Chunks in a segment: 1 MiB, what the pool grows by.
pub const SEGMENT_CHUNKS: u32 = 256;

/// Levels of a table's tree at the most: 512³ rows are more than 32-bit addresses can start.
pub const MAX_DEPTH: u32 = 3;

/// Mappings of one space at the most.
pub const MAX_MAPPINGS: usize = 512;

/// User frames of one stack at the most.
pub const MAX_USER_FRAMES: usize = 512;

/// Set in the address of a user frame that is no return address though it is not the leaf: what a
/// signal interrupted, and the signal's trampoline. User addresses lie below it.
pub const EXACT: u64 = 1 << 63;

/// Rows that each CPU and hook remembers by address, a power of two.
pub const CACHED_ROWS: usize = 1024;

/// A row that was found for an address.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CachedRow {
    /// The address, and the space's version in the upper 16 bits; 0: none.
    pub key: u64,
    /// The [`Row`].
    pub row: u64,
}

/// One row of an unwind table, valid from `pc` up to the next row.
///
/// Eight bytes, so that a chunk holds 512 and a comparison needs one load. Offsets are in words of
/// 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Row {
    /// First address, relative to the table's base.
    pub pc: u32,
    /// Offset of the canonical frame address, in words; see the `CFA_*` for what from.
    pub cfa_offset: i16,
    /// Where the caller's frame pointer was saved, in words; see the `SAVED_*`.
    pub fp_offset: i8,
    /// `CFA_*` and, or-ed to it, `SAVED_*`.
    pub rule: u8,
}

const _: () = assert!(size_of::<Row>() == 8);

/// A hole between functions, or a function without call frame information: frame pointers serve.
pub const CFA_NONE: u8 = 0;
/// `sp + cfa_offset`.
pub const CFA_SP: u8 = 1;
/// `fp + cfa_offset`.
pub const CFA_FP: u8 = 2;
/// `*(fp + cfa_offset)`: functions that realign their stack (GCC's DRAP).
pub const CFA_DEREF_FP: u8 = 3;
/// `*(sp + cfa_offset) + 8`: assembly that switched to an aligned stack (OpenSSL).
pub const CFA_DEREF_SP: u8 = 4;
/// A PLT stub of 16 bytes: `sp + 8`, and 8 more from byte `cfa_offset` of the stub on.
pub const CFA_PLT: u8 = 5;
/// A signal frame: the interrupted registers lie at `sp`, and all of them are restored.
pub const CFA_SIGNAL: u8 = 6;
/// The thread's first function: the return address is undefined, the stack is complete.
pub const CFA_END: u8 = 7;
/// Rules that these rows cannot say: the walk ends here, and says so.
pub const CFA_UNSUPPORTED: u8 = 8;

/// x86-64: `sp` plus more than [`Row::cfa_offset`] can say, as in functions with large arrays. The
/// low 4 bits of `fp_offset` are the offset's bits 16 to 19; with `SAVED_FP` the upper 4 say how many
/// words below the frame address the frame pointer was saved.
pub const CFA_SP_FAR: u8 = 9;

/// Words that [`CFA_SP_FAR`] can say: frames of up to 8 MiB, as large as most stacks.
pub const FAR_WORDS: u64 = 1 << 20;

/// Mask of the `CFA_*` in [`Row::rule`].
pub const CFA_MASK: u8 = 0x0f;

/// The caller's frame pointer lies at `cfa + fp_offset`. On arm64 the return address lies in the
/// word behind it (the frame record of AAPCS64).
pub const SAVED_FP: u8 = 0x10;
/// x86-64: the caller's frame pointer lies at `fp + fp_offset` (realigned stacks).
pub const SAVED_FP_AT_FP: u8 = 0x20;
/// arm64: the return address alone lies at `cfa + fp_offset`; the frame pointer is unchanged.
///
/// Without any of the flags, the frame pointer is unchanged, and the return address lies at
/// `cfa - 8` on x86-64 and in the link register on arm64.
pub const SAVED_RA: u8 = 0x40;

/// One entry of an inner node: a child and the first address below it. Same size as a [`Row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Child {
    /// First address below the child, relative to the table's base.
    pub pc: u32,
    /// Number of the child's chunk in the pool.
    pub chunk: u32,
}

const _: () = assert!(size_of::<Child>() == size_of::<Row>());

/// A page of rows or children, sorted by `pc`. Entries that are not used have `pc` `u32::MAX`, and
/// a search never ends at one: the last used entry is the greatest not above any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Chunk {
    /// [`Row`] or [`Child`]: `pc` in the low half.
    pub entries: [u64; CHUNK_ENTRIES],
}

/// One executable mapping that has a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// What to take off an address to get a row's `pc`.
    pub bias: u64,
    /// Chunk of the tree's root.
    pub root: u32,
    /// Levels of the tree, 1 for a root that holds rows; 0: no table (yet).
    pub depth: u16,
    /// The kernel side sets it to 1 when it looks into the table.
    pub used: u16,
}

const _: () = assert!(size_of::<Mapping>() == 32);

/// `depth` of a mapping that has no table and will have none: code made at run time.
pub const NO_TABLE: u16 = u16::MAX;

/// `start` of a mapping entry that is not used: above every user address, also as a signed number.
pub const NO_MAPPING: u64 = i64::MAX as u64;

/// The executable mappings of an address space, and its interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Space {
    /// Unique number of this content in the capture, never 0: rows that were cached for another are
    /// not this one's. 16 bits.
    pub version: u32,
    /// Mappings that are used.
    pub len: u32,
    /// The kernel side sets it to 1 when it met an address that lies in none of the mappings: they
    /// may have changed.
    pub unknown: u32,
    /// Always zero.
    pub reserved: u32,
    /// The Python interpreter in it, if any.
    pub interpreter: Interpreter,
    /// Sorted by `start`; unused ones start at [`NO_MAPPING`].
    pub mappings: [Mapping; MAX_MAPPINGS],
}

const _: () = assert!(size_of::<Space>() == 16 + size_of::<Interpreter>() + 32 * MAX_MAPPINGS);

/// Registers of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// Instruction pointer; the return address of a frame that is not the leaf.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer: `rbp`, `x29`.
    pub fp: u64,
    /// arm64: link register, valid in a leaf.
    pub lr: u64,
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $key:literal;)*) => {
        /// How the walk of a user stack ended.
        #[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Outcome {
            $($(#[$doc])* $name = $value,)*
        }

        impl Outcome {
            /// Every outcome, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in `report.json`.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// The outcome with this number.
            pub const fn from_u32(number: u32) -> Option<Self> {
                match number { $($value => Some(Self::$name),)* _ => None }
            }
        }
    };
}

outcomes! {
    /// It reached the thread's start.
    Complete = 0, "complete";
    /// The frame limit cut it.
    Truncated = 1, "truncated";
    /// No row covers an address, and its frame pointer leads nowhere.
    NoRow = 2, "no_unwind_row";
    /// The row's rule is one that rows cannot say.
    Unsupported = 3, "unsupported_rule";
    /// Stack memory could not be read (not resident, or not there).
    StackUnreadable = 4, "stack_unreadable";
    /// A return address that lies in no code, or a stack pointer that went backwards.
    Broken = 5, "broken_chain";
    /// It ended along frame pointers: whether it is complete cannot be told.
    FramePointers = 6, "frame_pointers_only";
    /// The registers could not be had.
    NoRegisters = 7, "no_registers";
    /// It reached an end, but some code on the way had no table (yet): frames may have been left out.
    NoTable = 8, "no_unwind_table";
    /// There is no stack: the table had no room, or it could not be read.
    Lost = 9, "lost";
}

/// What one step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The registers are those of the caller.
    Caller,
    /// The same, and the caller was interrupted by a signal: its address is not a return address.
    Interrupted,
    /// There is no caller, or it cannot be found.
    End(Outcome),
}

/// Memory of the thread whose stack is walked.
pub trait Stack {
    /// Two words at an address; `None` where they cannot be read.
    fn pair(&mut self, address: u64) -> Option<[u64; 2]>;

    /// One word at an address.
    fn word(&mut self, address: u64) -> Option<u64>;
}

/// What differs between architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// arm64 rules; x86-64 otherwise.
    pub is_arm64: bool,
    /// Bits of a code address: what is left of a return address that pointer authentication signed.
    pub code_mask: u64,
}

impl Machine {
    /// x86-64.
    pub const X86_64: Self = Self {
        is_arm64: false,
        code_mask: u64::MAX,
    };

    /// arm64 with 48-bit addresses.
    pub const ARM64: Self = Self {
        is_arm64: true,
        code_mask: (1 << 48) - 1,
    };
}

/// Where the kernel leaves the interrupted registers, in bytes from `sp` in the trampoline.
struct SignalFrame {
    fp: u64,
    /// Stack pointer, and the instruction pointer in the next word.
    sp: u64,
}

/// `struct ucontext` begins at `sp`; `uc_mcontext` 40 bytes in it, `bp` 80, `sp` 120, `ip` 128.
const SIGNAL_X86_64: SignalFrame = SignalFrame { fp: 120, sp: 160 };

/// `siginfo` (128 bytes), then `ucontext` with `uc_mcontext` at 176: `regs[29]` at 240, `sp`, `pc`.
const SIGNAL_ARM64: SignalFrame = SignalFrame { fp: 544, sp: 560 };

/// Steps from a frame to its caller by a row.
///
/// `leaf`: the frame was interrupted where `ip` says; otherwise it is in a call.
#[inline(always)]
pub fn step(
    machine: Machine,
    mut row: Row,
    leaf: bool,
    registers: &mut Registers,
    stack: &mut impl Stack,
) -> Step {
    let words = |count: i16| (count as i64 as u64) << 3;
    let offset = words(row.cfa_offset);
    let cfa = match row.rule & CFA_MASK {
        CFA_SP => registers.sp.wrapping_add(offset),
        CFA_FP => registers.fp.wrapping_add(offset),
        CFA_DEREF_FP => match stack.word(registers.fp.wrapping_add(offset)) {
            Some(cfa) => cfa,
            None => return Step::End(Outcome::StackUnreadable),
        },
        CFA_DEREF_SP => match stack.word(registers.sp.wrapping_add(offset)) {
            Some(cfa) => cfa.wrapping_add(8),
            None => return Step::End(Outcome::StackUnreadable),
        },
        CFA_PLT => {
            let pushed = registers.ip & 15 >= row.cfa_offset as u64;
            registers.sp.wrapping_add(8 + 8 * pushed as u64)
        }
        CFA_SP_FAR => {
            let high = (row.fp_offset as u8 & 0x0f) as u64;
            let offset = row.cfa_offset as u16 as u64 | high << 16;
            row.fp_offset = -((row.fp_offset as u8 >> 4) as i8);
            registers.sp.wrapping_add(offset << 3)
        }
        CFA_SIGNAL => return signal(machine, registers, stack),
        CFA_END => return Step::End(Outcome::Complete),
        CFA_NONE => return frame_pointer(machine, registers, stack),
        _ => return Step::End(Outcome::Unsupported),
    };
    if cfa < registers.sp || (cfa == registers.sp && !leaf) {
        return Step::End(Outcome::Broken);
    }
    if machine.is_arm64 {
        restore_arm64(machine, row, leaf, cfa, registers, stack)
    } else {
        restore_x86_64(row, cfa, registers, stack)
    }
}

#[inline(always)]
fn restore_x86_64(row: Row, cfa: u64, registers: &mut Registers, stack: &mut impl Stack) -> Step {
    let saved = ((row.fp_offset as i64) << 3) as u64;
    // One read where the two lie side by side, as after `push rbp`; else the first word is dropped.
    let Some([below, ip]) = stack.pair(cfa.wrapping_sub(16)) else {
        return Step::End(Outcome::StackUnreadable);
    };
    if row.rule & SAVED_FP != 0 && row.fp_offset == -2 {
        registers.fp = below;
    } else if row.rule & (SAVED_FP | SAVED_FP_AT_FP) != 0 {
        let base = if row.rule & SAVED_FP != 0 {
            cfa
        } else {
            registers.fp
        };
        match stack.word(base.wrapping_add(saved)) {
            Some(fp) => registers.fp = fp,
            None => return Step::End(Outcome::StackUnreadable),
        }
    }
    registers.sp = cfa;
    caller(ip, registers)
}

#[inline(always)]
fn restore_arm64(
    machine: Machine,
    row: Row,
    leaf: bool,
    cfa: u64,
    registers: &mut Registers,
    stack: &mut impl Stack,
) -> Step {
    let at = cfa.wrapping_add(((row.fp_offset as i64) << 3) as u64);
    let ip = if row.rule & SAVED_FP != 0 {
        let Some([fp, lr]) = stack.pair(at) else {
            return Step::End(Outcome::StackUnreadable);
        };
        registers.fp = fp;
        lr
    } else if row.rule & SAVED_RA != 0 {
        match stack.word(at) {
            Some(lr) => lr,
            None => return Step::End(Outcome::StackUnreadable),
        }
    } else if leaf {
        registers.lr
    } else {
        return Step::End(Outcome::Broken);
    };
    registers.sp = cfa;
    caller(ip & machine.code_mask, registers)
}

/// Steps by the frame pointer: `[fp]` is the caller's, the word behind it the return address (System
/// V ABI 3.2.2, AAPCS64 6.4.6). A frame pointer of 0 should mark the thread's first frame, but code that
/// uses the register for other things has zeros there too: such an end cannot be trusted.
#[inline(always)]
pub fn frame_pointer(machine: Machine, registers: &mut Registers, stack: &mut impl Stack) -> Step {
    let fp = registers.fp;
    if fp == 0 {
        return Step::End(Outcome::FramePointers);
    }
    if fp < registers.sp || fp & 7 != 0 {
        return Step::End(Outcome::NoRow);
    }
    let Some([next, ip]) = stack.pair(fp) else {
        return Step::End(Outcome::NoRow);
    };
    registers.fp = next;
    registers.sp = fp.wrapping_add(16);
    caller(ip & machine.code_mask, registers)
}

/// Restores what a signal interrupted. The stack may be another one: no order is asked of it.
#[inline(always)]
fn signal(machine: Machine, registers: &mut Registers, stack: &mut impl Stack) -> Step {
    let frame = if machine.is_arm64 {
        SIGNAL_ARM64
    } else {
        SIGNAL_X86_64
    };
    let fp = stack.pair(registers.sp.wrapping_add(frame.fp));
    let place = stack.pair(registers.sp.wrapping_add(frame.sp));
    let (Some([fp, lr]), Some([sp, ip])) = (fp, place) else {
        return Step::End(Outcome::StackUnreadable);
    };
    *registers = Registers { ip, sp, fp, lr };
    if ip == 0 {
        return Step::End(Outcome::Broken);
    }
    Step::Interrupted
}

/// A return address of 0 ends the chain: what clone stubs, fibers and coroutines leave. Memory that
/// is zero by chance looks the same.
#[inline(always)]
fn caller(ip: u64, registers: &mut Registers) -> Step {
    if ip == 0 {
        return Step::End(Outcome::FramePointers);
    }
    registers.ip = ip;
    Step::Caller
}
