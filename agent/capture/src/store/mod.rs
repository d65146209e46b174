//! What is kept of a capture under way, before it has names.
//!
//! | module | what |
//! | --- | --- |
//! | `aggregates` | what came out of the kernel's tables, over all their fillings |
//! | `spaces` | address spaces by process and generation |

pub mod aggregates;
pub mod spaces;
