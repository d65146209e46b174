//! What the end-to-end tests share: specimens, the run of remora, its report, and the yardsticks.
//!
//! A specimen is a process that spends its time in one known way and keeps its own account of it,
//! by its own clock. A test starts one, lets `remora` watch it from outside, and compares the
//! report with the specimen's account and with the scheduler's (`/proc/PID/task/TID/schedstat`).
//! No test compares with an absolute time: machines are noisy, and the account is not.
//!
//! The caller is always a test, so what goes wrong here panics with what was expected and found.

pub mod background;
pub mod browser;
pub mod cases;
pub mod chains;
pub mod compile;
pub mod debugger;
pub mod folded;
pub mod gate;
pub mod healthy;
pub mod hostile;
pub mod modes;
pub mod picture;
pub mod prebuilt;
pub mod proc;
pub mod python;
pub mod python_frames;
pub mod remora;
pub mod report;
pub mod schedule;
pub mod servers;
pub mod sockets;
pub mod specimen;
pub mod synthetic;
pub mod tolerance;
pub mod truth;
pub mod waits;
