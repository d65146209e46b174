//! Code by hand, and code that is none.

use super::*;
use proptest::prelude::*;

const CODE: u64 = 0x10_000;
const STACK: u64 = 0x20_000;
const LOCK: u64 = 0x30_010;
const PAGE: usize = 4096;

/// A page of code and one of stack.
struct Two {
    code: Vec<u8>,
    stack: Vec<u64>,
}

impl Memory for Two {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        let stack: Vec<u8> = self.stack.iter().flat_map(|it| it.to_ne_bytes()).collect();
        let (from, bytes) = match address {
            STACK.. => (address - STACK, &stack),
            CODE.. => (address - CODE, &self.code),
            _ => return None,
        };
        let from = usize::try_from(from).ok()?;
        for (at, byte) in buffer.iter_mut().enumerate() {
            let at = from.checked_add(at).filter(|at| *at < PAGE)?;
            *byte = bytes.get(at).copied().unwrap_or(0);
        }
        Some(())
    }
}

/// What every function does.
struct All(Act);

impl Names for All {
    fn act(&mut self, _: u64) -> Act {
        self.0
    }
}

/// Follows code with the lock in `rbx`.
fn follow(code: &[u8], stack: &[u64], act: Act) -> Found {
    follow_with(code, stack, act, 0)
}

/// The same for a lock that a comparison frees, or not.
fn follow_with(code: &[u8], stack: &[u64], act: Act, compared: u64) -> Found {
    let memory = Two {
        code: code.to_vec(),
        stack: stack.to_vec(),
    };
    let mut state = State::default().returned(STACK, 0);
    state.set(Register::RBX, Some(LOCK));
    let mut follower = Follower {
        pages: &mut Pages::new(&memory),
        locks: &[LOCK],
        compared,
        names: &mut All(act),
        depth: 0,
    };
    follower.follow(CODE, state, Some(STACK + 16))
}

fn freed(code: &[u8], stack: &[u64], act: Act) -> u8 {
    follow(code, stack, act).freed[0]
}

/// `xor eax, eax; xchg [rbx], eax; ret`
const UNLOCK: [u8; 5] = [0x31, 0xc0, 0x87, 0x03, 0xc3];
/// `xor eax, eax; lock cmpxchg [rbx], ecx`
const LOCK_IT: [u8; 6] = [0x31, 0xc0, 0xf0, 0x0f, 0xb1, 0x0b];

#[test]
fn a_lock_that_is_freed_is_held_and_one_that_is_taken_first_is_not() {
    assert_eq!(freed(&UNLOCK, &[], Act::Other), 1);
    let taken = [&LOCK_IT[..], &UNLOCK].concat();
    assert_eq!(freed(&taken, &[], Act::Other), 0);
    let twice = [&UNLOCK[..4], &UNLOCK].concat();
    assert_eq!(freed(&twice, &[], Act::Other), 2);
    // `mov eax, 2; xchg [rbx], eax`: it waits for the lock.
    let waits = [0xb8, 2, 0, 0, 0, 0x87, 0x03, 0xc3];
    assert_eq!(freed(&waits, &[], Act::Other), 0);
    // `lea rbx, [rbx+4]`: another lock beside it.
    let beside = [&[0x48, 0x8d, 0x5b, 0x04][..], &UNLOCK].concat();
    assert_eq!(freed(&beside, &[], Act::Other), 0);
    // `mov eax, -1; lock xadd [rbx], eax`: a reader goes.
    let read = [0xb8, 0xff, 0xff, 0xff, 0xff, 0xf0, 0x0f, 0xc1, 0x03, 0xc3];
    assert_eq!(freed(&read, &[], Act::Other), 1);
    // `je` to the `ret` behind: on the other way it is freed.
    let branch = [&[0x74, 0x04][..], &UNLOCK].concat();
    assert_eq!(freed(&branch, &[], Act::Other), 1);
}

#[test]
fn a_lock_of_parking_lot_is_freed_by_a_comparison() {
    let freed = |code: &[u8], compared| follow_with(code, &[], Act::Other, compared).freed[0];
    // `mov al, 1; xor ecx, ecx; lock cmpxchg byte [rbx], cl`
    let unlock = [0xb0, 1, 0x31, 0xc9, 0xf0, 0x0f, 0xb0, 0x0b];
    // `jne` to a call of what is left to do; `ret`
    let whole = [&unlock[..], &[0x75, 1, 0xc3, 0xe8, 0, 0, 0, 0, 0xc3]].concat();
    assert_eq!(freed(&whole, 1), 1);
    assert_eq!(freed(&whole, 0), 0, "another lock's");
    // The value is a register's upper byte: `lock cmpxchg byte [rbx], ch`.
    let upper = [0xb0, 1, 0x31, 0xc9, 0xf0, 0x0f, 0xb0, 0x2b, 0xc3];
    assert_eq!(freed(&upper, 1), 0);
    // `xor eax, eax; mov cl, 1; lock cmpxchg byte [rbx], cl`: it takes it, so what frees it later says nothing.
    let take = [0x31, 0xc0, 0xb1, 1, 0xf0, 0x0f, 0xb0, 0x0b];
    assert_eq!(freed(&[&take[..], &whole].concat(), 1), 0);
    // A word: `mov eax, 8; xor ecx, ecx; lock cmpxchg [rbx], rcx`.
    let word = [
        0xb8, 8, 0, 0, 0, 0x31, 0xc9, 0xf0, 0x48, 0x0f, 0xb1, 0x0b, 0xc3,
    ];
    assert_eq!(freed(&word, 1), 1);
    // `mov rax, -16; lock xadd [rbx], rax`: a reader goes. With -10 a writer gives up its wait.
    let goes = |by: u8| {
        let add = [0x48, 0xc7, 0xc0, by, 0xff, 0xff, 0xff];
        [&add[..], &[0xf0, 0x48, 0x0f, 0xc1, 0x03, 0xc3]].concat()
    };
    assert_eq!(freed(&goes(0xf0), 1), 1);
    assert_eq!(freed(&goes(0xf6), 1), 0);
    // `lock add qword [rbx], -16`, `lock sub qword [rbx], 16`
    assert_eq!(freed(&[0xf0, 0x48, 0x83, 0x03, 0xf0, 0xc3], 1), 1);
    assert_eq!(freed(&[0xf0, 0x48, 0x83, 0x2b, 0x10, 0xc3], 1), 1);
}

#[test]
fn a_guard_on_the_stack_is_dropped_by_name() {
    // `lea rdi, [rsp+8]; call +0; ret`
    let code = [0x48, 0x8d, 0x7c, 0x24, 0x08, 0xe8, 0, 0, 0, 0, 0xc3];
    let guard = [0, LOCK, 0];
    assert_eq!(freed(&code, &guard, Act::Drops), 2);
    assert_eq!(freed(&code, &guard, Act::Frees), 1);
    assert_eq!(freed(&code, &guard, Act::Takes), 0);
    assert_eq!(freed(&code, &guard, Act::Other), 0);
    assert_eq!(
        freed(&code, &[0, 7, LOCK], Act::Drops),
        2,
        "behind its data"
    );
    assert_eq!(freed(&code, &[0, 7, 7], Act::Drops), 0);
    // `mov qword [rsp+8], rax` before it: what lies there now is old.
    let stale = [&[0x48, 0x89, 0x44, 0x24, 0x08][..], &code].concat();
    assert_eq!(freed(&stale, &guard, Act::Drops), 0);
}

#[test]
fn an_epilogue_gives_the_registers_of_the_caller() {
    // `pop rbx; ret`
    let found = follow(&[0x5b, 0xc3], &[77, 0], Act::Other);
    let caller = found.returned.expect("it returns");
    assert_eq!(caller.get(Register::RBX), Some(77));
    // Without the pop its stack pointer is another than the unwinder's.
    assert!(follow(&[0xc3], &[77, 0], Act::Other).returned.is_none());
}

#[test]
fn a_loop_and_code_that_is_not_there_come_to_an_end() {
    assert_eq!(freed(&[0xeb, 0xfe], &[], Act::Other), 0);
    // `jmp` out of all memory, `call` of itself.
    assert_eq!(freed(&[0xe9, 0, 0, 0, 0x70], &[], Act::Other), 0);
    let own = [0x48, 0x89, 0xe7, 0xe8, 0xf8, 0xff, 0xff, 0xff];
    assert_eq!(freed(&own, &[LOCK; 64], Act::DropsParts), 0);
}

proptest! {
    #[test]
    fn nonsense_is_followed_to_an_end(
        code in proptest::collection::vec(any::<u8>(), 0..PAGE),
        stack in proptest::collection::vec(prop_oneof![Just(LOCK), any::<u64>()], 0..64),
    ) {
        let found = follow(&code, &stack, Act::DropsParts);
        prop_assert!(found.freed[0] <= 2);
    }
}
