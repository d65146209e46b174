//! Walks a stack in memory that can be read, by the same rows and steps as the kernel side.

use crate::memory::Memory;
use remora_common::unwind::{
    CFA_MASK, CFA_SIGNAL, EXACT, MAX_USER_FRAMES, Machine, Outcome, Registers, Row, Stack, Step,
    step,
};

/// Memory as a step reads it.
struct Words<'a, M>(&'a M);

impl<M: Memory> Stack for Words<'_, M> {
    fn pair(&mut self, address: u64) -> Option<[u64; 2]> {
        let bytes: [u8; 16] = self.0.bytes(address)?;
        Some(bytemuck::cast(bytes))
    }

    fn word(&mut self, address: u64) -> Option<u64> {
        self.0.u64(address)
    }
}

/// Walks from `registers` to the thread's start: the addresses, leaf first, and how it ended.
///
/// All but the leaf are return addresses; one that a signal interrupted is not, nor is that of the
/// signal's trampoline before it: these have [`EXACT`] set. `row` answers for an address of code, one of
/// `CFA_NONE` where there is code and no table, and `None` where there is no code. It is asked for
/// the byte before a return address: a call may be the last instruction of its function.
pub fn walk(
    machine: Machine,
    registers: Registers,
    memory: &impl Memory,
    row: impl FnMut(u64) -> Option<Row>,
) -> (Vec<u64>, Outcome) {
    let (frames, outcome) = frames(machine, registers, memory, row);
    (frames.iter().map(|frame| frame.ip).collect(), outcome)
}

/// The same with the registers of each frame: its stack pointer is that behind the return.
pub fn frames(
    machine: Machine,
    mut registers: Registers,
    memory: &impl Memory,
    mut row: impl FnMut(u64) -> Option<Row>,
) -> (Vec<Registers>, Outcome) {
    let mut frames = vec![registers];
    let mut leaf = true;
    let mut found = row(registers.ip);
    loop {
        let Some(current) = found else {
            return (frames, Outcome::Broken);
        };
        leaf = match step(machine, current, leaf, &mut registers, &mut Words(memory)) {
            Step::Caller => false,
            Step::Interrupted => true,
            Step::End(outcome) => return (frames, outcome),
        };
        found = row(if leaf {
            registers.ip
        } else {
            registers.ip.wrapping_sub(1)
        });
        if found.is_none() && !leaf {
            return (frames, Outcome::Broken);
        }
        if frames.len() == MAX_USER_FRAMES {
            return (frames, Outcome::Truncated);
        }
        let signal = found.is_some_and(|row| row.rule & CFA_MASK == CFA_SIGNAL);
        let exact = if leaf || signal { EXACT } else { 0 };
        frames.push(Registers {
            ip: registers.ip | exact,
            ..registers
        });
    }
}
