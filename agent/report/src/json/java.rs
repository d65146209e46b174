//! `java` and `java_waits` of `report.json`: the Java virtual machines of the targets, and what their threads that
//! sleep wait for.

use remora_model::{Capture, JavaAwaited};
use serde::Serialize;

/// A machine.
#[derive(Serialize)]
pub(super) struct Machine<'a> {
    pid: u32,
    /// `null` where it was not read.
    version: Option<&'a str>,
    threads: u32,
    unread_threads: u32,
    /// Why nothing was read of it.
    refused: Option<&'a str>,
}

/// A thread that sleeps.
#[derive(Serialize)]
pub(super) struct Wait<'a> {
    tid: u32,
    /// `park`, `monitor` or `notify`.
    on: &'static str,
    /// Class of the object.
    class: Option<&'a str>,
    /// `null`: no object is noted.
    address: Option<String>,
    holder_tid: Option<u32>,
    /// The holder has ended: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_holder: Option<&'a str>,
}

/// All machines.
pub(super) fn machines(capture: &Capture) -> Vec<Machine<'_>> {
    let machines = capture.java.iter().map(|java| Machine {
        pid: java.pid,
        version: java.version.as_deref(),
        threads: java.threads,
        unread_threads: java.unread,
        refused: java.refused.as_deref(),
    });
    machines.collect()
}

/// All waits.
pub(super) fn waits(capture: &Capture) -> Vec<Wait<'_>> {
    let waits = capture.java_waits.iter().map(|wait| Wait {
        tid: wait.tid,
        on: match wait.on {
            JavaAwaited::Park => "park",
            JavaAwaited::Monitor => "monitor",
            JavaAwaited::Notify => "notify",
        },
        class: wait.classes.first().map(String::as_str),
        address: (wait.object != 0).then(|| format!("{:#x}", wait.object)),
        holder_tid: wait.holder,
        ended_holder: wait.ended_holder.as_deref(),
    });
    waits.collect()
}
