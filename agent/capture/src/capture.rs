//! One capture: recorded, then assembled.

use crate::{
    assemble::{self, unanswered},
    inspect::{descriptors, thread_limits},
    record::{self, CaptureError, Plan, Progress, Recording},
};
use remora_model::Capture;
use remora_process::deadline::{self, Step, Subject};

/// Records until the plan's time is over, `interrupt` completes, or no target is left, and names what was seen.
///
/// # Errors
/// When the targets cannot be found or the kernel cannot be observed. What goes wrong later costs
/// a part of the report, never the report.
pub async fn record(
    plan: &Plan,
    interrupt: impl Future<Output = ()>,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Capture, CaptureError> {
    let Recording {
        raw,
        mut descriptors,
        process_trees,
        pids,
        programs,
    } = record::record(plan, interrupt, &mut progress).await?;
    let mut capture = assemble::capture(raw);
    capture.families = process_trees;
    descriptors::end(&mut descriptors);
    capture.descriptors = descriptors;
    // `/proc/PID/cgroup` takes a lock of the kernel.
    let limits = deadline::run(Step::Constraints, Subject::Host, move || {
        thread_limits::read(&pids)
    });
    capture.thread_limits = limits.unwrap_or_default();
    drop(programs);
    unanswered::note(&mut capture, deadline::take_given_up());
    Ok(capture)
}
