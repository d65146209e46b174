//! Puts the kernel side in place: globals, table sizes, and for each signal the best hook that the
//! kernel has. It tries, sees the refusal, takes the next, and reports what it took.

use super::{
    LoopHook, Probe, ProbeError, cost,
    events::{Counts, CpuEvents, DEFAULT_FAULT_PERIOD, FaultHook},
    heap::{self, HeapMaps, HeapProbes},
    hooks, loops,
    mapped::Mapped,
    object::OBJECT,
    sockets,
    unwind::UnwindMaps,
};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapError},
};
use remora_common::{config::Params, event_loop::LOOPS, heap::BLOCKS, thread::TIDS_PER_CHUNK};
use remora_kernel::{self as kernel, Arch, Kernel, cpus};
use remora_model::{Cpus, HookState, Signal, SignalId as Id};
use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    time::Duration,
};

/// At switch-out, without a hook on return, one wait in this many gives its stack.
const SWITCH_OUT_ONE_IN: u32 = 8;

/// Aggregates in a bank of the table: a thousand long waits and samples a second, several times
/// over.
const AGGREGATES_PER_BANK: u32 = 16_384;

/// Stacks in a bank of the table, at the least.
const STACKS_PER_BANK: u32 = 8_192;

/// The same, at the most: 70 MiB.
const MAX_STACKS_PER_BANK: u32 = 1 << 17;

/// Address spaces that have tables at a time; equal ones (forked workers) share one.
pub(super) const SPACES: u32 = 512;

/// Slots that the table tid → slot can name.
const SLOTS_LIMIT: u32 = 65_535;

/// Where the stacks of waits are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitHook {
    /// The best that the kernel has.
    #[default]
    Auto,
    /// On return, at the tracepoint `sched_exit_tp` (6.16 and later).
    Exit,
    /// On return, at the kernel function `finish_task_switch`.
    Finish,
    /// At switch-out, sampled.
    Switch,
}

/// What to observe, and how much room for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// CPU samples a second and CPU.
    pub freq_hz: u32,
    /// CPUs that are sampled from the start on.
    pub cpus: Cpus,
    /// Waits from this length on get a stack.
    pub min_block: Duration,
    /// Children of targets become targets.
    pub follow_children: bool,
    /// Where the stacks of waits are taken.
    pub wait_hook: WaitHook,
    /// Frames of Python interpreters are walked.
    pub python: bool,
    /// How event loops are followed.
    pub loops: LoopHook,
    /// Iterations of event loops from this length on are late.
    pub late: Duration,
    /// Sockets of the targets are looked at.
    pub sockets: bool,
    /// One page fault in so many is sampled at the least; 0: none is.
    pub fault_period: u32,
    /// Where page faults are seen.
    pub fault_hook: FaultHook,
    /// Threads that the targets have now: the table is made large enough for them and many more.
    pub threads_now: u32,
    /// The targets' allocators may be watched: of allocated bytes, one in so many is sampled in the mean (up to
    /// 1: each allocation is).
    pub heap_sample: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            freq_hz: 99,
            cpus: Cpus::default(),
            min_block: Duration::from_millis(1),
            follow_children: false,
            wait_hook: WaitHook::Auto,
            python: true,
            loops: LoopHook::Auto,
            late: Duration::from_millis(100),
            sockets: true,
            fault_period: DEFAULT_FAULT_PERIOD,
            fault_hook: FaultHook::Auto,
            threads_now: 0,
            heap_sample: None,
        }
    }
}

impl Probe {
    /// Loads and attaches everything; nothing is recorded before [`Probe::start`].
    ///
    /// # Errors
    /// When the kernel refuses what nothing can replace: the maps, `sched_switch`, `sched_waking`,
    /// the iterators. Everything else is reported in [`Probe::signals`].
    pub fn load(kernel: &Kernel, settings: &Settings) -> Result<Self, ProbeError> {
        if OBJECT.is_empty() {
            return Err(ProbeError::NoKernelSide);
        }
        let btf = Btf::from_sys_fs().map_err(|error| ProbeError::Load(error.to_string()))?;
        let on_return = match settings.wait_hook {
            WaitHook::Switch => Err("not asked for".to_owned()),
            wanted => Loaded::with_return_hook(kernel, settings, &btf, wanted),
        };
        let mut loaded = match on_return {
            Ok(loaded) => loaded,
            Err(why) if matches!(settings.wait_hook, WaitHook::Auto | WaitHook::Switch) => {
                Loaded::with_switch_out_stacks(kernel, settings, &btf, &why)?
            }
            Err(why) => {
                return Err(ProbeError::Hook {
                    hook: "the stack hook asked for".into(),
                    why,
                });
            }
        };
        loaded.attach_required(&btf)?;
        loaded.attach_optional(&btf, settings);
        let loops = loops::attach(&mut loaded.ebpf, &btf, kernel.arch, settings.loops);
        loaded.signals.extend(loops.signal);
        let sockets = sockets::attach(&mut loaded.ebpf, &btf, kernel, settings.sockets);
        loaded.signals.push(sockets);
        let mut probe = loaded.into_probe(kernel, settings)?;
        probe.follow_loops(loops.mode, loops.polls)?;
        Ok(probe)
    }
}

/// An object in the kernel, while hooks are being attached.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    signals: Vec<Signal>,
    cpu_events: Vec<CpuEvents>,
    stacks_per_bank: u32,
    /// User stacks are walked by tables.
    unwinds: bool,
    /// The iterator that shows sleeping threads.
    snapshot: &'static str,
}

impl Loaded {
    pub(super) fn new(
        kernel: &Kernel,
        settings: &Settings,
        btf: &Btf,
        switch_out_one_in: u32,
    ) -> Result<Self, ProbeError> {
        let cpus = cpus::online(Path::new("/")).len().max(1) as u32;
        let stacks_per_bank = stacks_per_bank(cpus, settings.freq_hz);
        let slots = thread_slots(settings.threads_now);
        let params = Params {
            min_block_ns: u64::try_from(settings.min_block.as_nanos()).unwrap_or(u64::MAX),
            aggregates_per_bank: AGGREGATES_PER_BANK,
            stacks_per_bank,
            follow_children: settings.follow_children.into(),
            switch_out_one_in,
            switch_has_state: kernel.features.switch_has_state.into(),
            has_task_pt_regs: kernel.features.task_pt_regs.into(),
            regs_from_stack: kernel.regs_from_stack.unwrap_or(0),
            compat_mask: kernel.arch.compat_mask(),
            compat_value: kernel.arch.compat_value(),
            unwind: unwinds(kernel).into(),
            code_mask: kernel.arch.code_mask(),
            is_arm64: (kernel.arch == Arch::Aarch64).into(),
            python: settings.python.into(),
            late_ns: u64::try_from(settings.late.as_nanos()).unwrap_or(u64::MAX),
            fault_period: settings.fault_period.max(1),
            restart_calls: kernel::syscalls::restarted(kernel.arch),
            // Unreadable: such waits stay system calls of their own name.
            restarts: kernel::restart_functions().unwrap_or_default(),
            heap_sample: settings.heap_sample.unwrap_or(0),
        };
        let ebpf = EbpfLoader::new()
            .btf(Some(btf))
            .override_global("OFFSETS", &kernel.offsets, true)
            .override_global("SOCKET_OFFSETS", &kernel.socket_offsets, true)
            .override_global("PARAMS", &params, true)
            .map_max_entries("TIDS", pid_max()?.div_ceil(TIDS_PER_CHUNK))
            .map_max_entries("SLOTS", slots)
            .map_max_entries("FREE_SLOTS", slots)
            .map_max_entries("AGGREGATES", 2 * AGGREGATES_PER_BANK)
            .map_max_entries("STACKS", 2 * stacks_per_bank)
            .map_max_entries("SPACES", SPACES)
            .map_max_entries("HEAP_BLOCKS", settings.heap_sample.map_or(1, |_| BLOCKS))
            .map_max_entries("HEAP_THREADS", settings.heap_sample.map_or(1, |_| slots))
            .load(OBJECT)
            .map_err(|error| ProbeError::Load(hooks::innermost(&error)))?;
        Ok(Self {
            ebpf,
            signals: Vec::new(),
            cpu_events: Vec::new(),
            stacks_per_bank,
            unwinds: unwinds(kernel),
            snapshot: "blocked_tasks",
        })
    }

    /// Stacks of waits on return; the reason where no such hook can be had.
    fn with_return_hook(
        kernel: &Kernel,
        settings: &Settings,
        btf: &Btf,
        wanted: WaitHook,
    ) -> Result<Self, String> {
        let mut loaded = Self::new(kernel, settings, btf, 0).map_err(|error| error.to_string())?;
        let hook = return_hook(&mut loaded.ebpf, btf, wanted)?;
        loaded.signal(Id::WaitStacks, hook, HookState::On);
        Ok(loaded)
    }

    fn with_switch_out_stacks(
        kernel: &Kernel,
        settings: &Settings,
        btf: &Btf,
        why: &str,
    ) -> Result<Self, ProbeError> {
        let mut loaded = Self::new(kernel, settings, btf, SWITCH_OUT_ONE_IN)?;
        let state = HookState::Degraded(format!(
            "stacks of one wait in {SWITCH_OUT_ONE_IN}, taken at switch-out and scaled to the \
             exact totals of their thread and reason; hooks on return: {why}"
        ));
        loaded.signal(Id::WaitStacks, "tp_btf/sched_switch".to_owned(), state);
        Ok(loaded)
    }

    /// Without these there is no thread state table.
    fn attach_required(&mut self, btf: &Btf) -> Result<(), ProbeError> {
        for iterator in ["enlist_tasks", "blocked_tasks"] {
            hooks::task_iterator(&mut self.ebpf, btf, iterator)?;
        }
        self.signal(Id::ThreadStates, "iter/task".to_owned(), HookState::On);
        let walk = match self.unwinds {
            true => HookState::On,
            false => HookState::Degraded(
                "user stacks follow frame pointers, and are short where code has none: this kernel \
                 lacks bpf_loop (5.17)"
                    .to_owned(),
            ),
        };
        self.signal(Id::UserStacks, "bpf_loop".to_owned(), walk);
        self.snapshot_hook(btf);
        for tracepoint in ["sched_switch", "sched_waking"] {
            hooks::tracepoint(&mut self.ebpf, btf, tracepoint, tracepoint)?;
        }
        self.signal(Id::OffCpu, "tp_btf/sched_switch".to_owned(), HookState::On);
        self.signal(
            Id::RunQueue,
            "tp_btf/sched_waking".to_owned(),
            HookState::On,
        );
        self.signal(Id::Wakers, "tp_btf/sched_waking".to_owned(), HookState::On);
        Ok(())
    }

    /// The stacks of sleeping threads: read by the kernel side where it may sleep, else by the agent.
    fn snapshot_hook(&mut self, btf: &Btf) {
        let hook = "iter.s/task".to_owned();
        let state = match hooks::task_iterator(&mut self.ebpf, btf, "blocked_stacks") {
            Ok(()) => {
                self.snapshot = "blocked_stacks";
                HookState::On
            }
            Err(error) => HookState::Degraded(format!(
                "stacks of sleeping threads are walked by the agent: {error}"
            )),
        };
        self.signal(Id::BlockedStacks, hook, state);
    }

    fn attach_optional(&mut self, btf: &Btf, settings: &Settings) {
        self.optional(Id::ThreadsBorn, "tp_btf/sched_process_fork", |ebpf| {
            hooks::tracepoint(ebpf, btf, "process_fork", "sched_process_fork")
        });
        self.optional(Id::Exec, "tp_btf/sched_process_exec", |ebpf| {
            hooks::tracepoint(ebpf, btf, "process_exec", "sched_process_exec")
        });
        self.optional(Id::ThreadsGone, "tp_btf/sched_process_exit", |ebpf| {
            hooks::tracepoint(ebpf, btf, "process_exit", "sched_process_exit")
        });
        let freq_hz = settings.freq_hz;
        let state = match self.on_cpus(Counts::Clock { freq_hz }, &settings.cpus) {
            Ok(()) => HookState::On,
            Err(error) => HookState::Off(error.to_string()),
        };
        self.signal(Id::OnCpu, "perf_event/cpu-clock".to_owned(), state);
        self.faults(btf, settings);
    }

    /// Page faults: at the tracepoints of the fault itself, where there are any (x86-64); elsewhere at
    /// the kernel's count of them.
    fn faults(&mut self, btf: &Btf, settings: &Settings) {
        let period = settings.fault_period;
        const TRACEPOINTS: &str = "tp_btf/page_fault_user, page_fault_kernel";
        if period == 0 {
            let off = HookState::Off("not asked for (--fault-period 0)".to_owned());
            return self.signal(Id::PageFaults, TRACEPOINTS.to_owned(), off);
        }
        let refusal = match settings.fault_hook {
            FaultHook::Counter => "the tracepoints were not asked for".to_owned(),
            FaultHook::Auto => match hooks::fault_tracepoints(&mut self.ebpf, btf) {
                Ok(()) => {
                    return self.signal(Id::PageFaults, TRACEPOINTS.to_owned(), HookState::On);
                }
                Err(error) => error.to_string(),
            },
        };
        let state = match self.on_cpus(Counts::Faults { period }, &settings.cpus) {
            Ok(()) => HookState::Degraded(format!(
                "one fault in {period} on each CPU, and the number of faults from that: {refusal}"
            )),
            Err(error) => HookState::Off(format!("{refusal}; {error}")),
        };
        self.signal(Id::PageFaults, "perf_event/page-faults".to_owned(), state);
    }

    fn on_cpus(&mut self, counts: Counts, cpus: &Cpus) -> Result<(), ProbeError> {
        let events = CpuEvents::open(&mut self.ebpf, counts, cpus)?;
        self.cpu_events.push(events);
        Ok(())
    }

    fn optional(
        &mut self,
        id: Id,
        hook: &str,
        attach: impl FnOnce(&mut Ebpf) -> Result<(), ProbeError>,
    ) {
        let state = match attach(&mut self.ebpf) {
            Ok(()) => HookState::On,
            Err(error) => HookState::Off(error.to_string()),
        };
        self.signal(id, hook.to_owned(), state);
    }

    fn signal(&mut self, id: Id, hook: String, state: HookState) {
        self.signals.push(Signal { id, hook, state });
    }

    fn into_probe(mut self, kernel: &Kernel, settings: &Settings) -> Result<Probe, ProbeError> {
        let slots = thread_slots(settings.threads_now);
        let map_bytes = cost::map_bytes(&self.ebpf);
        let ebpf = &mut self.ebpf;
        let heap_programs = settings.heap_sample.map(|_| heap::load(ebpf));
        fill_syscalls(ebpf, &kernel::syscalls::class_table(kernel.arch))?;
        let mut probe = Probe {
            control: mapped(ebpf, "CONTROL", 1)?,
            slots: mapped(ebpf, "SLOTS", slots)?,
            loops: mapped(ebpf, "EVENT_LOOPS", LOOPS)?,
            free_loops: take(ebpf, "FREE_LOOPS")?,
            polls: super::polls::PollCounter::default(),
            aggregates: mapped(ebpf, "AGGREGATES", 2 * AGGREGATES_PER_BANK)?,
            stacks: take(ebpf, "STACKS")?,
            stacks_per_bank: self.stacks_per_bank,
            free_slots: take(ebpf, "FREE_SLOTS")?,
            targets: take(ebpf, "TARGETS")?,
            events: take(ebpf, "EVENTS")?,
            loss: take(ebpf, "LOSS")?,
            python_seen: Default::default(),
            map_bytes,
            signals: self.signals,
            cpu_events: self.cpu_events,
            #[cfg(feature = "debug-log")]
            log: super::log::KernelLog::attach(ebpf)?,
            unwind: UnwindMaps::take(ebpf)?,
            unwinds: self.unwinds,
            snapshot: self.snapshot,
            heap: HeapMaps::take(ebpf)?,
            heap_programs,
            heap_probes: HeapProbes::default(),
            ebpf: self.ebpf,
        };
        // The last one in is the first one out: low slots first.
        for slot in (1..slots).rev() {
            probe
                .free_slots
                .push(slot, 0)
                .map_err(|error| map_error("FREE_SLOTS", &error))?;
        }
        Ok(probe)
    }
}

/// Blocks of stacks in a bank of the table: what the samples of a second may take, a few blocks each
/// (user, kernel, Python), before the agent looks at the next beat.
fn stacks_per_bank(cpus: u32, freq_hz: u32) -> u32 {
    cpus.saturating_mul(freq_hz)
        .saturating_mul(4)
        .clamp(STACKS_PER_BANK, MAX_STACKS_PER_BANK)
        .next_power_of_two()
}

/// Whether user stacks can be walked by tables on this kernel.
pub(super) fn unwinds(kernel: &Kernel) -> bool {
    kernel.features.bpf_loop && kernel.features.task_pt_regs
}

/// Attaches the best hook on return among those that are wanted; all refusals where there is none.
fn return_hook(ebpf: &mut Ebpf, btf: &Btf, wanted: WaitHook) -> Result<String, String> {
    let mut refusals = Vec::new();
    if wanted != WaitHook::Finish {
        match hooks::tracepoint(ebpf, btf, "wait_stack_exit", "sched_exit_tp") {
            Ok(()) => return Ok("tp_btf/sched_exit_tp".to_owned()),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    if wanted != WaitHook::Exit {
        match hooks::fentry(ebpf, btf, "wait_stack_fentry", "finish_task_switch") {
            Ok(()) => return Ok("fentry/finish_task_switch".to_owned()),
            Err(error) => refusals.push(error.to_string()),
        }
        let symbol = kernel::finish_task_switch_symbol().ok().flatten();
        let symbol = symbol.as_deref().unwrap_or("finish_task_switch");
        match hooks::kprobe(ebpf, "wait_stack_kprobe", symbol) {
            Ok(()) => return Ok(format!("kprobe/{symbol}")),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    Err(refusals.join("; "))
}

/// Room for the threads that are there, as many again, and a thousand more.
fn thread_slots(threads_now: u32) -> u32 {
    threads_now
        .saturating_mul(2)
        .saturating_add(1024)
        .next_power_of_two()
        .clamp(2048, SLOTS_LIMIT)
}

fn fill_syscalls(ebpf: &mut Ebpf, classes: &[u8]) -> Result<(), ProbeError> {
    let mut table: Array<MapData, u8> = take(ebpf, "SYSCALLS")?;
    for (number, class) in (0..).zip(classes) {
        if *class != 0 {
            table
                .set(number, class, 0)
                .map_err(|error| map_error("SYSCALLS", &error))?;
        }
    }
    Ok(())
}

pub(super) fn mapped<T: bytemuck::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    len: u32,
) -> Result<Mapped<T>, ProbeError> {
    let Some(Map::Array(data)) = ebpf.map_mut(name) else {
        return Err(ProbeError::Mismatch(name));
    };
    Mapped::new(&data.fd().as_fd().as_raw_fd(), len, name)
}

/// Takes a map out of the object, as the type that the agent uses.
pub(super) fn take<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, ProbeError> {
    let map = ebpf.take_map(name).ok_or(ProbeError::Mismatch(name))?;
    M::try_from(map).map_err(|error| map_error(name, &error))
}

pub(super) fn map_error(map: &'static str, error: &MapError) -> ProbeError {
    ProbeError::Map {
        map,
        why: hooks::innermost(error),
    }
}

/// One more than the largest thread id that the kernel gives out.
fn pid_max() -> Result<u32, ProbeError> {
    const PATH: &str = "/proc/sys/kernel/pid_max";
    let text = fs::read_to_string(PATH).map_err(|e| ProbeError::Load(format!("{PATH}: {e}")))?;
    text.trim()
        .parse()
        .map_err(|_| ProbeError::Load(format!("{PATH} holds no number")))
}
