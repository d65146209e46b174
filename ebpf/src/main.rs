//! The kernel side of remora: filters first, aggregates in flat arrays, sends an event only when
//! something rare happened.
//!
//! | module | what |
//! | --- | --- |
//! | [`programs`] | one file a hook: what the kernel calls |
//! | [`table`] | the thread state table: look-up, enlisting, transitions |
//! | [`reason`] | why a thread goes to sleep |
//! | [`stack`] | takes the stacks of a moment |
//! | [`unwind`] | user frames, by unwind tables |
//! | [`python`] | an interpreter's frames |
//! | [`intern`] | equal stacks have one id |
//! | [`aggregate`] | time by (thread, reason, stack) |
//! | [`event_loop`] | iterations of event loops |
//! | [`futex`] | who holds the lock that a thread waits for |
//! | [`atomic`] | the three atomic instructions that the tables need |
//! | [`heap`] | blocks that an allocator gave out and did not get back |
//! | [`socket`] | a socket's queues and counters |
//! | [`clock`] | when a sleeper fell asleep, by the scheduler's clocks |
//! | [`task`], [`registers`] | reading kernel structures at offsets from BTF |
//! | [`bank`] | which bank of the tables is being filled |
//! | [`config`], [`maps`], [`loss`] | globals, maps, loss counters |
//!
//! No slice indexing, no `unwrap`, no policy: thresholds come in through [`config`].
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    unreachable_pub,
    reason = "a program without a library: what modules share is public, and nobody is outside"
)]

mod aggregate;
mod atomic;
mod bank;
mod clock;
mod config;
mod event_loop;
mod futex;
mod heap;
mod intern;
mod loss;
mod maps;
mod programs;
mod python;
mod reason;
mod registers;
mod socket;
mod stack;
mod table;
mod task;
mod unwind;

/// Most tracing helpers are for GPL-compatible programs only; the source is MIT OR Apache-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program that could.
    loop {}
}
