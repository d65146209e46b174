//! One capture: from processes to [`remora_model::Capture`].
//!
//! | folder | does | knows |
//! | --- | --- | --- |
//! | `store` | keeps what came out of the kernel's tables, before it has names | |
//! | `inspect` | reads the targets and the host from outside | `store` |
//! | `record` | the capture in time: beat, events, windows, the end | `inspect`, `store` |
//! | `assemble` | gives everything its name, and makes the plain data of the model | what the others left |
//! | `capture` | one after the other | all |

mod assemble;
mod capture;
mod inspect;
mod record;
mod store;

pub use capture::record;
pub use record::{CaptureError, CpuChoice, HeapPlan, Keep, Plan, Progress, PythonMode};
