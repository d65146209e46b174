//! A capture in time, from the first event to the last.
//!
//! | module | what |
//! | --- | --- |
//! | `plan`, `error` | what is asked for, what is told meanwhile, why there is no capture |
//! | `session` | the time itself: events, beats, the end |
//! | `sampling` | on which CPUs samples are taken |
//! | `tables` | unwind tables of the targets, in the kernel |
//! | `timeline` | the flight recorder: window by window |
//! | `heap` | a watch on the allocators, where it is asked for |
//! | `meter` | what the capture itself costs |
//! | `raw` | what it leaves behind |

mod error;
pub(crate) mod heap;
mod meter;
mod plan;
pub(crate) mod raw;
mod sampling;
mod session;
mod tables;
pub(crate) mod timeline;

pub use error::CaptureError;
pub use heap::HeapPlan;
pub use plan::{Plan, Progress, PythonMode};
pub use sampling::CpuChoice;
pub(crate) use session::{Recording, record};
pub use timeline::Keep;
