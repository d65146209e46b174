//! What crosses the border between remora's kernel side and its agent: each record, key and
//! constant, defined once.
//!
//! Everything here is `repr(C)`, without hidden padding (asserted beside each type), flags and
//! enumerations travel as `u32`, and time is `CLOCK_MONOTONIC` nanoseconds (`_ns`).
//!
//! | module | what |
//! | --- | --- |
//! | [`reason`] | why a thread is off the CPU |
//! | [`thread`] | the thread state table: one slot a target thread |
//! | [`aggregate`] | stacks, and time by (thread, reason, stack) |
//! | [`config`] | read-only globals: kernel offsets, thresholds, features |
//! | [`event_loop`] | iterations of event loops |
//! | [`futex`] | locks that are futexes: who owns them |
//! | [`heap`] | blocks that the targets allocate, and how they are sampled |
//! | [`event`] | rare events (ring buffer) and iterator records |
//! | [`loss`] | one counter for each way to lose something |
//! | [`unwind`] | unwind tables, and a step from a frame to its caller |
//! | [`python`] | how an interpreter is laid out, and its frames |
//! | [`socket`] | what the iterator over descriptors writes of each socket |
#![no_std]

pub mod aggregate;
pub mod config;
pub mod event;
pub mod event_loop;
pub mod futex;
pub mod heap;
pub mod loss;
pub mod python;
pub mod reason;
pub mod socket;
pub mod thread;
pub mod unwind;
