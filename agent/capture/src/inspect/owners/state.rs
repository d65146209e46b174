//! What is known of registers and memory on the way through a function.

use iced_x86::{Instruction, MemorySize, OpKind, Register};
use remora_process::{memory::Memory, pages::Pages};
use std::collections::BTreeMap;

/// Words that are remembered as written on a way.
const MAX_STORES: usize = 128;
/// Number of the stack pointer among the registers.
const RSP: usize = 4;
/// Number of the frame pointer.
const RBP: usize = 5;
/// Registers that a call leaves as they were, but for the stack pointer: `rbx`, `rbp`, `r12` to `r15`
/// (System V ABI, x86-64).
const KEPT: [usize; 6] = [3, RBP, 12, 13, 14, 15];

/// Bytes that are not the lowest one of their register.
const HIGH: [Register; 4] = [Register::AH, Register::BH, Register::CH, Register::DH];

/// Registers and written words: what is known of them.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    registers: [Option<u64>; 16],
    stores: BTreeMap<u64, Option<u64>>,
}

/// The number of the 64-bit register that a register is a part of.
pub(super) fn number(register: Register) -> Option<usize> {
    register
        .is_gpr()
        .then(|| register.full_register().number())
        .filter(|number| *number < 16)
}

impl State {
    /// A caller's, whose callee's registers are these at its return.
    pub(super) fn returned(&self, sp: u64, fp: u64) -> Self {
        let mut state = Self::default();
        for kept in KEPT {
            state.registers[kept] = self.registers[kept];
        }
        state.registers[RSP] = Some(sp);
        state.registers[RBP] = Some(fp);
        state
    }

    /// What a register holds.
    pub(super) fn get(&self, register: Register) -> Option<u64> {
        let whole = (*self.registers.get(number(register)?)?)?;
        match register.size() {
            8 => Some(whole),
            4 => Some(whole & 0xffff_ffff),
            1 if !HIGH.contains(&register) => Some(whole & 0xff),
            _ => None,
        }
    }

    /// Writes a register; one of 32 bits clears the upper half.
    pub(super) fn set(&mut self, register: Register, value: Option<u64>) {
        let Some(slot) = number(register).and_then(|at| self.registers.get_mut(at)) else {
            return;
        };
        *slot = match register.size() {
            8 => value,
            4 => value.map(|value| value & 0xffff_ffff),
            _ => None,
        };
    }

    /// The stack pointer.
    pub(super) fn sp(&self) -> Option<u64> {
        self.registers[RSP]
    }

    /// Moves the stack pointer.
    pub(super) fn move_sp(&mut self, by: i32) {
        let moved = |sp: u64| sp.wrapping_add_signed(by.into());
        self.registers[RSP] = self.registers[RSP].map(moved);
    }

    /// After a call: what a callee need not keep is not known.
    pub(super) fn forget_called(&mut self) {
        for (number, value) in self.registers.iter_mut().enumerate() {
            if number != RSP && !KEPT.contains(&number) {
                *value = None;
            }
        }
    }

    /// The address of an instruction's operand in memory.
    pub(super) fn address(&self, instruction: &Instruction) -> Option<u64> {
        if instruction.is_ip_rel_memory_operand() {
            return Some(instruction.ip_rel_memory_address());
        }
        // Those are thread-local storage.
        if instruction.segment_prefix() != Register::None {
            return None;
        }
        let part = |register: Register| match register {
            Register::None => Some(0),
            register => self.get(register),
        };
        let base = part(instruction.memory_base())?;
        let index = part(instruction.memory_index())?;
        let scaled = index.wrapping_mul(instruction.memory_index_scale().into());
        Some(
            base.wrapping_add(scaled)
                .wrapping_add(instruction.memory_displacement64()),
        )
    }

    /// A word of memory, as it will be here.
    pub(super) fn load<M: Memory>(&self, pages: &mut Pages<'_, M>, address: u64) -> Option<u64> {
        match self.stores.get(&address) {
            Some(written) => *written,
            None => pages.bytes(address).map(u64::from_ne_bytes),
        }
    }

    /// Notes a write of a word.
    pub(super) fn store(&mut self, address: u64, value: Option<u64>) {
        if self.stores.len() < MAX_STORES || self.stores.contains_key(&address) {
            self.stores.insert(address, value);
        }
    }

    /// What the second operand of an instruction is.
    pub(super) fn source<M: Memory>(
        &self,
        pages: &mut Pages<'_, M>,
        instruction: &Instruction,
    ) -> Option<u64> {
        match instruction.op1_kind() {
            OpKind::Register => self.get(instruction.op1_register()),
            OpKind::Memory if instruction.memory_size() == MemorySize::UInt64 => {
                self.load(pages, self.address(instruction)?)
            }
            OpKind::Memory => None,
            _ => instruction.try_immediate(1).ok(),
        }
    }
}
