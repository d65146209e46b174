//! Processes that the targets wait for: looked at as well, so that a request is followed to whoever does not
//! answer it.

use super::Session;
use crate::inspect::dependencies;
use remora_common::{
    aggregate::UNFOLLOWED,
    thread::{STATE_BLOCKED, ThreadSlot},
};
use remora_kernel::Arch;
use remora_model::{Awaited, Reason};
use remora_process::{self as process, Target};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Looks: each finds whom those that the one before found wait for.
const LOOKS: u32 = 4;
/// When the first one is, and from one to the next.
const PERIOD: Duration = Duration::from_millis(250);
/// Processes that are looked at beside the targets.
const MAX_RELATED: usize = UNFOLLOWED;

/// The looks for processes that are waited for.
pub(super) struct Related {
    left: u32,
    found: usize,
    due: Instant,
}

impl Related {
    /// None if not `on`.
    pub(super) fn new(on: bool) -> Self {
        Self {
            left: if on { LOOKS } else { 0 },
            found: 0,
            due: Instant::now() + PERIOD,
        }
    }

    /// When the next look is; `None`: there is none.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.left > 0).then_some(self.due)
    }
}

impl Session {
    /// Enlists the processes that some thread waits for.
    pub(super) fn follow_waits(&mut self, related: &mut Related, start_ns: u64, arch: Arch) {
        self.interpreters.note_tasks();
        related.left = related.left.saturating_sub(1);
        related.due = Instant::now() + PERIOD;
        let wanted = self.waited_for(start_ns, arch);
        for (pid, waiter) in wanted {
            if self.processes.contains_key(&pid) || related.found >= MAX_RELATED {
                continue;
            }
            // What ends meanwhile, or may not be looked at, is left out.
            let Ok(found) = Target::of(pid) else { continue };
            // What it starts is no target's doing: the builds of an editor that has a language server, say.
            self.probe.do_not_follow(related.found, pid);
            if self.enlist(&[found]).is_err() {
                continue;
            }
            related.found += 1;
            if let Some(process) = self.processes.get_mut(&pid) {
                let name = process::name(waiter).unwrap_or_default();
                process.related = Some(format!("{name} ({waiter}) waits for it"));
            }
        }
    }

    /// Processes that are not watched and that a thread of one that is waits for; by which process.
    fn waited_for(&self, start_ns: u64, arch: Arch) -> BTreeMap<u32, u32> {
        let slots = self.probe.threads();
        let process_of: BTreeMap<u32, u32> =
            slots.iter().map(|slot| (slot.tid, slot.tgid)).collect();
        let mut wanted = BTreeMap::new();
        let mut sockets: Vec<(u32, u32)> = slots.iter().filter_map(in_socket).collect();
        for dependency in dependencies::inspect(&slots, arch) {
            let Some(waiter) = process_of.get(&dependency.tid) else {
                continue;
            };
            for (pid, _) in &dependency.parties {
                wanted.entry(*pid).or_insert(*waiter);
            }
            if let Awaited::Socket { fd } = dependency.on {
                sockets.push((*waiter, fd));
            }
        }
        for (waiter, peer) in self.sockets.peers_of(&sockets, start_ns) {
            wanted.entry(peer).or_insert(waiter);
        }
        wanted.retain(|pid, _| !self.processes.contains_key(pid));
        wanted
    }
}

/// Process and descriptor of a thread that waits for bytes of a socket, or for room in one.
fn in_socket(slot: &ThreadSlot) -> Option<(u32, u32)> {
    let reason = Reason::from_u8(slot.reason as u8);
    let waits = slot.state == STATE_BLOCKED
        && !slot.is_woken()
        && matches!(reason, Reason::SocketReceive | Reason::SocketSend);
    waits.then_some((slot.tgid, u32::try_from(slot.args[0]).ok()?))
}
