//! Whom sleeping threads wait for, found up in `/proc`: the other ends of pipes, children, who holds the lock
//! on a file. Nothing is found up unless a thread waits for such a thing.

mod children;
mod files;
mod pipes;

use remora_common::thread::{STATE_BLOCKED, ThreadSlot};
use remora_kernel::{Arch, syscalls};
use remora_model::{Awaited, Dependency, Reason};
use remora_process::deadline::{self, Step, Subject};
use remora_process::{ResidentMemory, memory::Memory};
use std::time::{Duration, Instant};

/// Threads that are looked at.
const MAX_THREADS: usize = 1024;
/// The search for the other ends of pipes takes so long at the most.
const SEARCH: Duration = Duration::from_millis(300);
/// `P_ALL`, `P_PID`, `P_PIDFD`: `include/uapi/linux/wait.h`.
const P_PID: u64 = 1;

/// What the threads that sleep wait for. Of processes that do not answer nothing is found.
pub(crate) fn inspect(slots: &[ThreadSlot], arch: Arch) -> Vec<Dependency> {
    let answers = slots
        .iter()
        .filter(|slot| !deadline::is_stuck(Subject::Process(slot.tgid)));
    let slots: Vec<ThreadSlot> = answers.copied().collect();
    let found = deadline::run(Step::Dependencies, Subject::Host, move || {
        search(&slots, arch)
    });
    found.unwrap_or_default()
}

fn search(slots: &[ThreadSlot], arch: Arch) -> Vec<Dependency> {
    let asleep = slots
        .iter()
        .filter(|slot| slot.state == STATE_BLOCKED && !slot.is_woken());
    let mut found: Vec<Dependency> = asleep
        .filter_map(|slot| dependency(slot, arch))
        .take(MAX_THREADS)
        .collect();
    let deadline = Instant::now() + SEARCH;
    pipes::find_other_ends(&mut found, deadline);
    files::find_holders(&mut found, slots);
    found.retain(|it| !it.parties.is_empty() || matches!(it.on, Awaited::Socket { .. }));
    found
}

fn dependency(slot: &ThreadSlot, arch: Arch) -> Option<Dependency> {
    let name = syscalls::name(arch, u32::from(slot.syscall as u16));
    let new = |on| Dependency {
        tid: slot.tid,
        on,
        timed: false,
        parties: Vec::new(),
        cut: false,
    };
    let fd = || u32::try_from(slot.args[0]).ok();
    match (Reason::from_u8(slot.reason as u8), name) {
        (Reason::PipeRead, Some("read" | "readv" | "splice")) => {
            pipes::pipe(slot.tgid, fd()?, true).map(new)
        }
        (Reason::PipeWrite, Some("write" | "writev")) => {
            pipes::pipe(slot.tgid, fd()?, false).map(new)
        }
        (Reason::Poll, Some(call)) => {
            let (fd, timed) = polled(slot, call)?;
            let pipe = pipes::pipe(slot.tgid, fd.0, fd.1);
            let on = pipe.or_else(|| {
                pipes::is_socket(slot.tgid, fd.0).then_some(Awaited::Socket { fd: fd.0 })
            })?;
            Some(Dependency { timed, ..new(on) })
        }
        (Reason::WaitChild, Some(call)) => {
            let one = match call {
                "waitid" => (slot.args[0] == P_PID).then_some(slot.args[1]),
                _ => Some(slot.args[0]).filter(|pid| (*pid as i32) > 0),
            };
            let parties = children::waited_for(slot.tgid, one.map(|pid| pid as u32));
            let all = matches!((call, one), (_, Some(_)))
                || (call == "wait4" && slot.args[0] as i32 == -1)
                || (call == "waitid" && slot.args[0] == 0);
            Some(Dependency {
                cut: !all,
                parties,
                ..new(Awaited::Child)
            })
        }
        (_, Some("flock" | "fcntl")) => files::file(slot.tgid, fd()?).map(new),
        _ => None,
    }
}

/// The descriptor that a poll of one is about, whether it is to be read, and whether the poll has a time limit.
fn polled(slot: &ThreadSlot, call: &str) -> Option<((u32, bool), bool)> {
    let timed = match call {
        "poll" => slot.args[2] as i32 >= 0,
        "ppoll" => slot.args[2] != 0,
        _ => return None,
    };
    if slot.args[1] != 1 {
        return None;
    }
    let memory = ResidentMemory::open(slot.tgid).ok()?;
    let polled: [u8; 8] = memory.bytes(slot.args[0])?;
    let [a, b, c, d, low, high, _, _] = polled;
    let fd = u32::try_from(i32::from_ne_bytes([a, b, c, d])).ok()?;
    // POLLIN | POLLRDNORM, include/uapi/asm-generic/poll.h
    let reads = u16::from_ne_bytes([low, high]) & 0x41 != 0;
    Some(((fd, reads), timed))
}
