//! Walks user stacks: by unwind tables where there are any, by frame pointers where there are none,
//! frame by frame.
//!
//! | module | what |
//! | --- | --- |
//! | [`search`] | binary search without branches |
//! | [`table`] | address → mapping → row |
//! | [`memory`] | reads of the thread's stack: our own thread's, or another's |
//! | [`walk`] | the loop |
//!
//! The loop's state lives in a map element, not in registers or on the stack: the verifier then
//! sees the same state each time around, and one pass over the step is all that it needs.

mod memory;
mod search;
mod table;
mod walk;

pub use memory::{Current, Memory, Other};
pub use walk::{Walk, user_stack};
