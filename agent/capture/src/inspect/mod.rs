//! What is read of the targets and of the host, from outside.
//!
//! | module | what |
//! | --- | --- |
//! | `blocked` | stacks of the threads that are asleep at the end |
//! | `constraints` | what holds the processes: tracers, freezers, limits, file locks |
//! | `dependencies` | which processes sleeping threads wait for |
//! | `descriptors` | what the descriptors are of |
//! | `futexes` | where futexes lie, and what stands in their memory |
//! | `interpreters` | Python interpreters: threads, locks, tasks |
//! | `memory` | resident memory and mappings, from `/proc` |
//! | `objects` | objects of interpreters and blocks of malloc |
//! | `owners` | who owns locks that note no owner |
//! | `polls` | whether a loop that seems stuck comes back to its wait |
//! | `sockets` | queues, peers, the loops that watch them |
//! | `thread_limits` | how many threads a process may have |

pub mod blocked;
pub mod constraints;
pub mod dependencies;
pub mod descriptors;
pub mod futexes;
pub mod interpreters;
pub mod memory;
pub mod objects;
pub mod owners;
pub mod polls;
pub mod sockets;
pub mod thread_limits;
