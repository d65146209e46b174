//! What is kept of a capture under way, before it has names.
//!
//! | module | what |
//! | --- | --- |
//! | `aggregates` | what came out of the kernel's tables, over all their fillings |
//! | `spaces` | address spaces by process and generation |
//! | `threads` | records of threads, as they stand at a time |

pub(crate) mod aggregates;
pub(crate) mod spaces;
pub(crate) mod threads;
