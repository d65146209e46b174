//! Whether somebody in a process does something: then whoever waits for another thread may only have to be patient.

use super::{Kind, Waiting, Waits};
use crate::Scene;
use remora_model::State;

/// A thread that uses this share of a CPU works.
const WORKS: f64 = 0.005;

/// Whether a thread of the process runs, has run, or waits for somebody outside: for a peer's answer, a child, the
/// disk, data.
pub(crate) fn someone_works(scene: &Scene<'_>, waits: &Waits<'_>, pid: u32) -> bool {
    let span = scene.capture.duration.as_secs_f64();
    let mut own = scene.living().filter(|(_, thread)| thread.pid == pid);
    let runs = own.any(|(_, thread)| {
        matches!(thread.now.state, State::Running | State::Runnable)
            || thread.on_cpu.as_secs_f64() > WORKS * span
    });
    let outside = |kind| {
        matches!(
            kind,
            Kind::Handshake | Kind::Answer | Kind::Data | Kind::Child | Kind::Kernel
        )
    };
    // A job that sleeps goes on by itself.
    let in_job = |it: &Waiting<'_>| it.reading.job && !it.kind.wants_a_thread();
    runs || waits
        .of_process(pid)
        .any(|it| outside(it.kind) || in_job(it))
}
