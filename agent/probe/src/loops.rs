//! Event loops: the hooks on their waits, and their records.
//!
//! Exact iterations need the entry to and the return from each wait. Trampolines cost least, probes
//! more; syscall tracepoints make every system call of the host take the slow way in and out.

use super::{Probe, ProbeError, hooks, polls::PollCounter};
use aya::{Btf, Ebpf};
use bytemuck::Zeroable;
use remora_common::event_loop::{EventLoop, LOOP_BLOCKED, LOOP_EXACT, LOOP_OFF};
use remora_kernel::{Arch, syscalls};
use remora_model::{HookState, Signal, SignalId};
use strum::IntoStaticStr;

/// How event loops are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopHook {
    /// Exactly where it costs little, else by the waits that block.
    #[default]
    Auto,
    /// Exactly, by whatever the kernel has.
    Exact,
    /// Exactly, by this hook and no other.
    Only(ExactHook),
    /// By the waits that block.
    Blocked,
    /// Not at all.
    Off,
}

/// A way to see each entry to and return from a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ExactHook {
    /// Trampolines at the functions of the system calls.
    Fexit,
    /// Probes there.
    Kretprobe,
    /// The tracepoints of all system calls.
    #[strum(to_string = "tp_btf/sys_enter")]
    SysEnter,
}

impl ExactHook {
    /// Those that cost others nothing; the better first.
    const CHEAP: [Self; 2] = [Self::Fexit, Self::Kretprobe];

    /// As the report calls it.
    fn name(self) -> &'static str {
        self.into()
    }

    fn attach(self, ebpf: &mut Ebpf, btf: &Btf, arch: Arch) -> Result<(), ProbeError> {
        match self {
            Self::Fexit => trampolines(ebpf, btf, arch),
            Self::Kretprobe => probes(ebpf, arch),
            Self::SysEnter => tracepoints(ebpf, btf),
        }
    }
}

/// What was attached.
pub(super) struct Loops {
    /// `LOOP_*`.
    pub mode: u32,
    /// What is said of it; `None` when loops are off by choice.
    pub signal: Option<Signal>,
    /// How polls are counted where it is asked whether a loop is stuck.
    pub polls: PollCounter,
}

/// The system calls in which threads wait for events, with the programs that trampolines need.
const CALLS: [(&str, &str, &str); 7] = [
    ("epoll_wait", "epoll_wait_fentry", "epoll_wait_fexit"),
    ("epoll_pwait", "epoll_pwait_fentry", "epoll_pwait_fexit"),
    ("epoll_pwait2", "epoll_pwait2_fentry", "epoll_pwait2_fexit"),
    ("poll", "poll_fentry", "poll_fexit"),
    ("ppoll", "ppoll_fentry", "ppoll_fexit"),
    ("select", "select_fentry", "select_fexit"),
    ("pselect6", "pselect6_fentry", "pselect6_fexit"),
];

/// Of those, the ones of epoll come first.
const EPOLL_CALLS: usize = 3;

/// Attaches the best hook that is wanted and that the kernel has.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf, arch: Arch, wanted: LoopHook) -> Loops {
    let on = |mode, hook: &str, state| Loops {
        mode,
        signal: Some(Signal {
            id: SignalId::EventLoops,
            hook: hook.to_owned(),
            state,
        }),
        polls: PollCounter::Needless,
    };
    let blocked = |why: &str| {
        let state = HookState::Degraded(format!(
            "iterations end where a wait blocks; polls that find something at once are not seen, so an \
             iteration may be several{why}"
        ));
        on(LOOP_BLOCKED, "tp_btf/sched_switch", state)
    };
    match wanted {
        LoopHook::Off => {
            return Loops {
                mode: LOOP_OFF,
                signal: None,
                polls: PollCounter::Needless,
            };
        }
        LoopHook::Blocked => return blocked(""),
        LoopHook::Only(hook) => {
            return match hook.attach(ebpf, btf, arch) {
                Ok(()) => on(LOOP_EXACT, hook.name(), HookState::On),
                Err(error) => blocked(&format!("; {error}")),
            };
        }
        LoopHook::Auto | LoopHook::Exact => {}
    }
    // What the kernel says of each, `remora doctor` shows.
    for hook in ExactHook::CHEAP {
        if hook.attach(ebpf, btf, arch).is_ok() {
            return on(LOOP_EXACT, hook.name(), HookState::On);
        }
    }
    if wanted == LoopHook::Auto {
        let polls = PollCounter::load(ebpf, btf);
        let price = " (--loop exact sees them, at a price for every system call of the host)";
        return Loops {
            polls,
            ..blocked(price)
        };
    }
    match ExactHook::SysEnter.attach(ebpf, btf, arch) {
        Ok(()) => on(LOOP_EXACT, ExactHook::SysEnter.name(), HookState::On),
        Err(error) => blocked(&format!("; {error}")),
    }
}

fn calls(arch: Arch) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    CALLS
        .into_iter()
        .filter(move |(call, _, _)| syscalls::number(arch, call).is_some())
}

/// A pair of trampolines for each call.
pub(super) fn trampolines(ebpf: &mut Ebpf, btf: &Btf, arch: Arch) -> Result<(), ProbeError> {
    for (call, enter, exit) in calls(arch) {
        let function = arch.syscall_symbol(call);
        hooks::fentry(ebpf, btf, enter, &function)?;
        hooks::fexit(ebpf, btf, exit, &function)?;
    }
    Ok(())
}

/// The symbols of the calls of epoll, and those of poll.
fn halves(arch: Arch) -> (Vec<String>, Vec<String>) {
    let (epoll, poll): (Vec<_>, Vec<_>) = calls(arch).partition(|(call, _, _)| {
        CALLS[..EPOLL_CALLS]
            .iter()
            .any(|(epoll, _, _)| epoll == call)
    });
    let named = |calls: Vec<(&str, &str, &str)>| {
        calls
            .iter()
            .map(|(call, _, _)| arch.syscall_symbol(call))
            .collect()
    };
    (named(epoll), named(poll))
}

/// Probes at entry and return.
pub(super) fn probes(ebpf: &mut Ebpf, arch: Arch) -> Result<(), ProbeError> {
    let (epoll, poll) = halves(arch);
    for (symbols, enter, exit) in [
        (epoll, "epoll_kprobe", "epoll_kretprobe"),
        (poll, "poll_kprobe", "poll_kretprobe"),
    ] {
        let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
        hooks::kprobes(ebpf, enter, &symbols)?;
        hooks::kprobes(ebpf, exit, &symbols)?;
    }
    Ok(())
}

/// The tracepoints of all system calls.
pub(super) fn tracepoints(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), ProbeError> {
    hooks::tracepoint(ebpf, btf, "loop_sys_enter", "sys_enter")?;
    hooks::tracepoint(ebpf, btf, "loop_sys_exit", "sys_exit")
}

impl Probe {
    /// Gives the kernel side its free elements, and says how to follow loops.
    pub(super) fn follow_loops(&mut self, mode: u32, polls: PollCounter) -> Result<(), ProbeError> {
        self.polls = polls;
        for index in (1..self.loops.len()).rev() {
            self.free_loop(index as u32)?;
        }
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.control.element(0)).event_loops).write_volatile(mode) };
        Ok(())
    }

    /// Whether iterations are followed exactly.
    pub fn loops_are_exact(&self) -> bool {
        self.control.read(0).event_loops == LOOP_EXACT
    }

    /// A thread's event loop as it is at this moment; `None` where it has none. Figures that the thread
    /// is about to change may be one ahead of others.
    pub fn event_loop(&self, index: u32) -> Option<EventLoop> {
        let index = index as usize;
        (index != 0 && index < self.loops.len()).then(|| self.loops.read(index))
    }

    /// Gives an element back.
    pub(super) fn free_loop(&mut self, index: u32) -> Result<(), ProbeError> {
        if index == 0 || index as usize >= self.loops.len() {
            return Ok(());
        }
        self.loops.put(index as usize, EventLoop::zeroed());
        self.free_loops
            .push(index, 0)
            .map_err(|error| ProbeError::Map {
                map: "FREE_LOOPS",
                why: error.to_string(),
            })
    }
}
