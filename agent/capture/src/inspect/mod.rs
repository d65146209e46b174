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
//! | `java` | Java virtual machines, at the end: names of threads, what they wait for |
//! | `memory` | resident memory and mappings, from `/proc` |
//! | `objects` | objects of interpreters and blocks of malloc |
//! | `owners` | who owns locks that note no owner |
//! | `polls` | whether a loop that seems stuck comes back to its wait |
//! | `sockets` | queues, peers, the loops that watch them |
//! | `thread_limits` | how many threads a process may have |

pub(crate) mod blocked;
pub(crate) mod constraints;
pub(crate) mod dependencies;
pub(crate) mod descriptors;
pub(crate) mod futexes;
pub(crate) mod interpreters;
pub(crate) mod java;
pub(crate) mod memory;
pub(crate) mod objects;
pub(crate) mod owners;
pub(crate) mod polls;
pub(crate) mod sockets;
pub(crate) mod thread_limits;
