//! One capture: from processes to [`remora_model::Capture`].
//!
//! | module | what |
//! | --- | --- |
//! | `session` | the time of the recording: events, beats, the end |
//! | `pythons` | their Python interpreters |
//! | `javas` | their Java virtual machines, at the end |
//! | `tables` | unwind tables for those, in the kernel |
//! | `sockets` | their sockets: queues, peers, the loops that watch them |
//! | `spaces` | address spaces by process and generation |
//! | `gather` | what came out of the kernel's tables, before it has names |
//! | `blocked` | stacks of the threads that are asleep at the end |
//! | `timeline` | the flight recorder: window by window |
//! | `holders` | who holds locks that note no owner |
//! | `locks` | what is looked up of futexes at the end |
//! | `descriptors` | what the descriptors are of |
//! | `memory` | resident memory and mappings, from `/proc` |
//! | `conditions` | what holds the processes: tracers, freezers, limits, file locks |
//! | `heap` | a watch on the allocators, where it is asked for |
//! | `polls` | whether a loop that seems stuck comes back to its wait |
//! | `meter` | what the capture itself costs |
//! | `assemble` | names for everything, and the plain data of the model |

mod assemble;
mod blocked;
mod conditions;
mod dependencies;
mod descriptors;
mod gather;
mod heap;
mod holders;
mod javas;
mod locks;
mod memory;
mod meter;
mod objects;
mod polls;
mod pythons;
mod sampling;
mod session;
mod sockets;
mod spaces;
mod tables;
mod thread_limits;
mod timeline;

pub use heap::HeapPlan;
pub use sampling::CpuChoice;
pub use session::{CaptureError, Plan, Progress, PythonMode, record};
pub use timeline::Keep;
