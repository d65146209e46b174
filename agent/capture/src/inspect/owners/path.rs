//! What a function will do once the call it stands in returns: which locks it frees.
//!
//! A thread that holds a guard has the code before it that drops it. So each frame's code is followed from its
//! return address, over both ways of every branch, with what is known of the registers and of the stack. A
//! lock that is freed on one of the ways, and was not taken anew before, is held by that frame. An address that the
//! frame merely knows (an argument, an `Arc`, a lock that lives in the frame itself) is nothing of that kind.

use super::state::{State, number};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};
use remora_process::{memory::Memory, pages::Pages};
use std::collections::HashSet;

/// Instructions that are followed in a frame.
const MAX_INSTRUCTIONS: usize = 3000;
/// Ways that are open at a time.
const MAX_OPEN: usize = 256;
/// Words of a guard: the lock comes first, or what it protects.
const GUARD_WORDS: u64 = 2;
/// Words behind them that are looked at in what may have a guard in it.
const MORE_WORDS: u64 = 30;
/// How deep calls that drop parts are followed.
const DEEPEST: u8 = 3;
/// What a reader adds to the word of `parking_lot`'s `RwLock` as it goes: one of those that are counted by 16.
const READER_GOES: u64 = 0_u64.wrapping_sub(16);
/// The longest instruction of x86-64, in bytes.
const LONGEST: usize = 15;
/// Locks that are looked for at a time: bits of a mask.
pub(super) const MAX_LOCKS: usize = 64;

/// What a function that is called does to a lock that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It takes the lock that it is given, or that of the guard that it is given.
    Takes,
    /// It frees it.
    Frees,
    /// It drops the guard that it is given: frees the lock.
    Drops,
    /// It drops what it is given, part by part.
    DropsParts,
    /// It waits for a condition: has given up the lock of its guard, and takes it again.
    Waits,
    /// Something else.
    Other,
}

/// What functions do, by their addresses.
pub(super) trait Names {
    /// Of the function at an address.
    fn act(&mut self, address: u64) -> Act;
}

/// What the ways from a return address on have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// How often each lock is freed on one way, without being taken before: up to 2.
    pub freed: Vec<u8>,
    /// The registers at a return to the caller.
    pub returned: Option<State>,
}

/// A way that is open: where it goes on.
#[derive(Clone)]
struct Way {
    ip: u64,
    state: State,
    /// Locks that are taken anew on it: what frees them later says nothing.
    taken: u64,
    once: u64,
    twice: u64,
}

/// Follows code.
pub(super) struct Follower<'f, 'm, M> {
    /// The target's memory.
    pub pages: &'f mut Pages<'m, M>,
    /// Addresses of locks.
    pub locks: &'f [u64],
    /// Those of them that are `parking_lot`'s, as a mask: they are free as soon as a comparison puts 0 into them. Of others
    /// nobody knows what such a comparison means.
    pub compared: u64,
    /// What called functions do.
    pub names: &'f mut dyn Names,
    /// Calls that are followed at this moment.
    pub depth: u8,
}

impl<M: Memory> Follower<'_, '_, M> {
    /// From a return address on. `caller_sp` is the stack pointer behind the return of this frame, where it is
    /// known.
    pub(super) fn follow(&mut self, ip: u64, state: State, caller_sp: Option<u64>) -> Found {
        let mut found = Found {
            freed: vec![0; self.locks.len()],
            returned: None,
        };
        let mut open = vec![Way {
            ip,
            state,
            taken: 0,
            once: 0,
            twice: 0,
        }];
        let mut visits: HashSet<(u64, u64, u64, u64)> = HashSet::new();
        let mut info = InstructionInfoFactory::new();
        let mut left = MAX_INSTRUCTIONS;
        while let Some(mut way) = open.pop() {
            loop {
                // Each instruction once in each state of the locks.
                if left == 0 || !visits.insert((way.ip, way.taken, way.once, way.twice)) {
                    break;
                }
                left -= 1;
                let Some(instruction) = self.decode(way.ip) else {
                    break;
                };
                self.lock_word(&instruction, &mut way);
                if !self.step(
                    &instruction,
                    &mut way,
                    &mut open,
                    &mut found,
                    &mut info,
                    caller_sp,
                ) {
                    break;
                }
            }
            note(&way, &mut found);
        }
        found
    }

    fn decode(&mut self, ip: u64) -> Option<Instruction> {
        let bytes: [u8; LONGEST] = self.pages.bytes(ip)?;
        let mut decoder = Decoder::with_ip(64, &bytes, ip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    /// Bit of the lock at an address.
    fn lock(&self, address: u64) -> u64 {
        let at = self.locks.iter().position(|lock| *lock == address);
        at.filter(|at| *at < MAX_LOCKS).map_or(0, |at| 1 << at)
    }

    /// An atomic instruction on a lock's word.
    fn lock_word(&mut self, instruction: &Instruction, way: &mut Way) {
        let is_memory = instruction.op0_kind() == OpKind::Memory;
        let exchanges = instruction.mnemonic() == Mnemonic::Xchg;
        if !is_memory || !(exchanges || instruction.has_lock_prefix()) {
            return;
        }
        let Some(bit) = way.state.address(instruction).map(|at| self.lock(at)) else {
            return;
        };
        let mut value = || way.state.source(self.pages, instruction);
        if bit & self.compared != 0 && instruction.mnemonic() != Mnemonic::Xchg {
            match instruction.mnemonic() {
                Mnemonic::Cmpxchg => {
                    let frees = value() == Some(0);
                    way.lock(bit, frees);
                }
                // Other sums are of one that gives up its wait, or goes on as a reader.
                Mnemonic::Xadd | Mnemonic::Add if value() == Some(READER_GOES) => {
                    way.lock(bit, true);
                }
                Mnemonic::Sub if value() == Some(READER_GOES.wrapping_neg()) => {
                    way.lock(bit, true);
                }
                _ => {}
            }
            return;
        }
        let frees = match instruction.mnemonic() {
            // A mutex is free with 0 in its word.
            Mnemonic::Xchg => value() == Some(0),
            // A read-write lock counts down.
            Mnemonic::Xadd | Mnemonic::Add => {
                value().is_none_or(|value| value as u32 & (1 << 31) != 0)
            }
            Mnemonic::Sub | Mnemonic::Dec => true,
            Mnemonic::Cmpxchg => false,
            _ => return,
        };
        way.lock(bit, frees);
    }

    /// One instruction; whether the way goes on.
    fn step(
        &mut self,
        instruction: &Instruction,
        way: &mut Way,
        open: &mut Vec<Way>,
        found: &mut Found,
        info: &mut InstructionInfoFactory,
        caller_sp: Option<u64>,
    ) -> bool {
        let next = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::Next => {
                self.change(instruction, &mut way.state, info);
                way.ip = next;
                true
            }
            FlowControl::ConditionalBranch => {
                if open.len() < MAX_OPEN {
                    open.push(Way {
                        ip: instruction.near_branch_target(),
                        ..way.clone()
                    });
                }
                way.ip = next;
                true
            }
            FlowControl::UnconditionalBranch => {
                way.ip = instruction.near_branch_target();
                true
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                if instruction.code() != Code::Syscall
                    && let Some(target) = self.target(instruction, &way.state)
                {
                    self.call(target, way);
                }
                way.state.forget_called();
                way.ip = next;
                true
            }
            FlowControl::IndirectBranch => {
                if let Some(target) = self.target(instruction, &way.state) {
                    self.call(target, way);
                }
                false
            }
            FlowControl::Return => {
                let behind = way.state.sp().map(|sp| sp.wrapping_add(8));
                if found.returned.is_none() && behind.is_some() && behind == caller_sp {
                    found.returned = Some(way.state.clone());
                }
                false
            }
            _ => false,
        }
    }

    /// Where a call or jump goes.
    fn target(&mut self, instruction: &Instruction, state: &State) -> Option<u64> {
        match instruction.op0_kind() {
            OpKind::Register => state.get(instruction.op0_register()),
            OpKind::Memory => {
                let at = state.address(instruction)?;
                state.load(self.pages, at)
            }
            _ => Some(instruction.near_branch_target()),
        }
    }

    /// A call, with a lock or what holds a guard as its argument.
    fn call(&mut self, target: u64, way: &mut Way) {
        let first = way.state.get(Register::RDI);
        let second = way.state.get(Register::RSI);
        let direct = first.map_or(0, |it| self.lock(it));
        let aside = second.map_or(0, |it| self.lock(it));
        let (near, far) = match first.filter(|it| it % 8 == 0 && direct == 0) {
            Some(object) => self.held_in(object, &way.state),
            None => (0, 0),
        };
        if direct | aside | near | far == 0 {
            return;
        }
        let function = self.behind_stub(target);
        match self.names.act(function) {
            Act::Takes => way.lock(direct | aside | near, false),
            Act::Frees => way.lock(direct | near, true),
            Act::Drops => {
                way.lock(direct, true);
                // The guard is there already: it is not that of a lock which is waited for.
                way.lock(near, true);
                way.lock(near, true);
            }
            Act::DropsParts if near | far != 0 && self.depth < DEEPEST => {
                let mut state = way.state.clone();
                state.move_sp(-8);
                self.depth += 1;
                let within = self.follow(function, state, None);
                self.depth -= 1;
                for (at, times) in within.freed.iter().enumerate().take(MAX_LOCKS) {
                    let bit = (1 << at) & (near | far);
                    if *times > 0 {
                        way.lock(bit, true);
                        way.lock(bit, true);
                    }
                }
            }
            Act::DropsParts | Act::Waits | Act::Other => {}
        }
    }

    /// The locks whose addresses stand where a guard has them, in its first two words, and further behind.
    fn held_in(&mut self, object: u64, state: &State) -> (u64, u64) {
        let (mut near, mut far) = (0, 0);
        for at in 0..GUARD_WORDS + MORE_WORDS {
            let Some(word) = state.load(self.pages, object.wrapping_add(8 * at)) else {
                continue;
            };
            let bit = self.lock(word);
            if at < GUARD_WORDS {
                near |= bit;
            } else {
                far |= bit;
            }
        }
        (near, far)
    }

    /// The function behind a stub of the linker (`endbr64`, `jmp *GOT`).
    fn behind_stub(&mut self, target: u64) -> u64 {
        let mut at = target;
        for _ in 0..2 {
            let Some(instruction) = self.decode(at) else {
                break;
            };
            if instruction.flow_control() == FlowControl::IndirectBranch
                && instruction.is_ip_rel_memory_operand()
            {
                let slot = self.pages.bytes(instruction.ip_rel_memory_address());
                return slot.map_or(target, u64::from_ne_bytes);
            }
            at = instruction.next_ip();
        }
        target
    }

    /// What an instruction without a jump does to registers and stack.
    fn change(
        &mut self,
        instruction: &Instruction,
        state: &mut State,
        info: &mut InstructionInfoFactory,
    ) {
        let to = instruction.op0_register();
        let same = instruction.op_count() == 2
            && instruction.op1_kind() == OpKind::Register
            && instruction.op1_register() == to;
        let value = match instruction.mnemonic() {
            Mnemonic::Mov => state.source(self.pages, instruction),
            Mnemonic::Lea => state.address(instruction),
            Mnemonic::Xor | Mnemonic::Sub if same && to != Register::None => Some(0),
            Mnemonic::Add | Mnemonic::Sub if instruction.op0_kind() == OpKind::Register => {
                let by = state.source(self.pages, instruction);
                let from = state.get(to);
                from.zip(by).map(|(from, by)| match instruction.mnemonic() {
                    Mnemonic::Add => from.wrapping_add(by),
                    _ => from.wrapping_sub(by),
                })
            }
            Mnemonic::Pop => state.sp().and_then(|sp| state.load(self.pages, sp)),
            _ => None,
        };
        let source = state.source(self.pages, instruction);
        let store = match instruction.op0_kind() {
            OpKind::Memory => state.address(instruction),
            _ => None,
        };
        let details = info.info(instruction);
        let written = details.used_registers().iter().filter(|used| {
            matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::ReadWrite
                    | OpAccess::CondWrite
                    | OpAccess::ReadCondWrite
            )
        });
        let written: Vec<Register> = written.map(iced_x86::UsedRegister::register).collect();
        let writes_memory = matches!(
            details.op0_access(),
            OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite
        );
        let moves_sp = instruction.is_stack_instruction();
        if moves_sp && instruction.mnemonic() != Mnemonic::Leave {
            state.move_sp(instruction.stack_pointer_increment());
        }
        for register in written {
            let is_sp = number(register) == number(Register::RSP);
            if (is_sp && moves_sp) || number(register) == number(to) {
                continue;
            }
            state.set(register, None);
        }
        if instruction.mnemonic() == Mnemonic::Leave {
            let base = state.get(Register::RBP);
            let old = base.and_then(|base| state.load(self.pages, base));
            state.set(Register::RSP, base.map(|base| base.wrapping_add(8)));
            state.set(Register::RBP, old);
            return;
        }
        if instruction.mnemonic() == Mnemonic::Push {
            if let Some(sp) = state.sp() {
                state.store(sp, None);
            }
            return;
        }
        if let (Some(at), true) = (store, writes_memory) {
            let is_word = instruction.memory_size().size() == 8;
            let plain = instruction.mnemonic() == Mnemonic::Mov && is_word;
            state.store(at & !7, source.filter(|_| plain && at % 8 == 0));
        } else if instruction.op0_kind() == OpKind::Register && writes_memory {
            state.set(to, value);
        }
    }
}

impl Way {
    fn lock(&mut self, bits: u64, frees: bool) {
        if frees {
            let bits = bits & !self.taken;
            self.twice |= self.once & bits;
            self.once |= bits;
        } else {
            self.taken |= bits;
        }
    }
}

fn note(way: &Way, found: &mut Found) {
    for (at, freed) in found.freed.iter_mut().enumerate().take(MAX_LOCKS) {
        let bit = 1 << at;
        let times = u8::from(way.once & bit != 0) + u8::from(way.twice & bit != 0);
        *freed = (*freed).max(times);
    }
}

#[cfg(test)]
mod tests;
