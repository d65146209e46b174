//! Tries every hook on its own, as `remora doctor` shows them: what works, what the kernel says
//! where it does not, and what that costs.

use super::{
    ProbeError, cost,
    events::{Counts, CpuEvents, DEFAULT_FAULT_PERIOD},
    heap, hooks,
    load::{Loaded, Settings, unwinds},
    loops, sockets,
};
use aya::{Btf, Ebpf};
use remora_kernel::{self as kernel, Arch, Kernel};
use remora_model::HookState;
use remora_process::deadline::{self, Step, Subject};
use std::sync::Arc;

/// Hooks of which the kernel has not said whether they work, before the rest is not tried any more.
const MAX_SILENT: u32 = 2;

/// One hook, tried.
#[derive(Clone, Debug)]
pub struct FeatureProbe {
    /// The hook by name.
    pub hook: String,
    /// What it serves.
    pub serves: &'static str,
    /// What is missing without it.
    pub cost: &'static str,
    /// Without it nothing can be recorded.
    pub required: bool,
    /// `None`: it works; else the kernel's own words.
    pub refusal: Option<String>,
}

type Attempt = Box<dyn Fn(&mut Ebpf, &Btf) -> Result<(), ProbeError> + Send>;

struct Candidate {
    hook: String,
    serves: &'static str,
    cost: &'static str,
    required: bool,
    attempt: Attempt,
}

/// What hooks are tried with. It goes to a thread that may hang with it, and comes back.
struct Bench {
    loaded: Loaded,
    btf: Btf,
}

impl Bench {
    fn make(kernel: &Arc<Kernel>) -> Result<Self, ProbeError> {
        let kernel = Arc::clone(kernel);
        let made = deadline::run(Step::Load, Subject::Host, move || {
            let btf = Btf::from_sys_fs().map_err(|error| ProbeError::Load(error.to_string()))?;
            let loaded = Loaded::new(&kernel, &Settings::default(), &btf, 0)?;
            Ok(Self { loaded, btf })
        });
        let silent = || ProbeError::Load("no answer".to_owned());
        made.unwrap_or_else(|| Err(silent()))
    }

    /// Tries a hook; with the kernel's words where it refuses. `None`: it does not answer.
    fn attempt(mut self, attempt: Attempt) -> Option<(Self, Option<String>)> {
        deadline::run(Step::FeatureProbe, Subject::Host, move || {
            let tried = attempt(&mut self.loaded.ebpf, &self.btf);
            (self, tried.err().map(why))
        })
    }
}

/// Tries every hook; nothing stays attached. Also returns the kernel memory of the maps, in bytes.
///
/// # Errors
/// When not even the maps can be made.
pub fn probe_features(kernel: Kernel) -> Result<(Vec<FeatureProbe>, u64), ProbeError> {
    if !super::has_kernel_side() {
        return Err(ProbeError::NoKernelSide);
    }
    let kernel = Arc::new(kernel);
    let bench = Bench::make(&kernel)?;
    let map_bytes = cost::map_bytes(&bench.loaded.ebpf);
    let symbol = kernel::finish_task_switch_symbol().ok().flatten();
    let symbol = symbol.unwrap_or_else(|| "finish_task_switch".to_owned());
    let mut features = all(bench, candidates(&symbol, &kernel), &kernel);
    features.extend([unwinding(&kernel), statistics()]);
    Ok((features, map_bytes))
}

/// One after the other. A hook that hangs has its thread and its bench; the next gets others.
fn all(bench: Bench, candidates: Vec<Candidate>, kernel: &Arc<Kernel>) -> Vec<FeatureProbe> {
    let (mut bench, mut silent) = (Some(bench), 0);
    let mut one = |candidate: Candidate| {
        let refusal = match bench.take().map(|bench| bench.attempt(candidate.attempt)) {
            Some(Some((back, refusal))) => {
                bench = Some(back);
                refusal
            }
            Some(None) => {
                silent += 1;
                bench = Bench::make(kernel).ok().filter(|_| silent < MAX_SILENT);
                Some(given_up())
            }
            None => Some("not tried: the kernel did not answer before".to_owned()),
        };
        FeatureProbe {
            refusal,
            hook: candidate.hook,
            serves: candidate.serves,
            cost: candidate.cost,
            required: candidate.required,
        }
    };
    let features = candidates.into_iter().map(&mut one).collect();
    let _gone = deadline::run(Step::Detach, Subject::Host, move || drop(bench));
    features
}

fn given_up() -> String {
    let limit = Step::FeatureProbe.limit().as_secs();
    format!("given up: no answer from the kernel in {limit} s")
}

fn why(error: ProbeError) -> String {
    match error {
        ProbeError::Hook { why, .. } => why,
        other => other.to_string(),
    }
}

fn unwinding(kernel: &Kernel) -> FeatureProbe {
    FeatureProbe {
        hook: "bpf_loop".to_owned(),
        serves: "user stacks by unwind tables, Python frames (5.17 and later)",
        cost: "user stacks follow frame pointers: short where code has none",
        required: false,
        refusal: (!unwinds(kernel)).then(|| "this kernel does not have the helper".to_owned()),
    }
}

fn statistics() -> FeatureProbe {
    let tried = deadline::run(Step::FeatureProbe, Subject::Host, || {
        super::StatisticsOn::enable()
            .map(drop)
            .map_err(|error| hooks::innermost(&error))
    });
    let refusal = tried.map_or_else(|| Some(given_up()), Result::err);
    FeatureProbe {
        hook: "BPF_ENABLE_STATS".to_owned(),
        serves: "what the kernel side costs",
        cost: "overhead.bpf_cpu_pct stays 0 and says nothing",
        required: false,
        refusal,
    }
}

fn candidates(symbol: &str, kernel: &Arc<Kernel>) -> Vec<Candidate> {
    let parts = [
        states(),
        stacks(symbol),
        event_loops(kernel.arch),
        faults(),
        life(),
        descriptors(kernel),
        vec![allocators()],
    ];
    parts.into_iter().flatten().collect()
}

/// Probes in user code. Tried on the agent itself.
fn allocators() -> Candidate {
    Candidate {
        hook: "uprobe, uretprobe".to_owned(),
        serves: "blocks that are allocated and not freed (--heap only: it patches the target's text)",
        cost: "--heap says that it is off",
        required: false,
        attempt: Box::new(|ebpf, _| heap::attempt(ebpf)),
    }
}

/// What nothing works without, but for the second.
fn states() -> Vec<Candidate> {
    let nothing = "nothing can be recorded";
    let switch = "time off the CPU and why";
    let waking = "who wakes whom, and the wait for a CPU, apart";
    vec![
        Candidate {
            hook: "iter/task".to_owned(),
            serves: "what threads do that were there before",
            cost: nothing,
            required: true,
            attempt: Box::new(|ebpf, btf| {
                hooks::task_iterator(ebpf, btf, "enlist_tasks")?;
                hooks::task_iterator(ebpf, btf, "blocked_tasks")
            }),
        },
        Candidate {
            hook: "iter.s/task".to_owned(),
            serves: "user stacks of threads that are asleep",
            cost: "the agent reads them, without Python frames; one that moves meanwhile has none",
            required: false,
            attempt: Box::new(|ebpf, btf| hooks::task_iterator(ebpf, btf, "blocked_stacks")),
        },
        tracepoint("sched_switch", "sched_switch", switch, nothing, true),
        tracepoint("sched_waking", "sched_waking", waking, nothing, true),
    ]
}

/// What takes stacks, in the order of preference.
fn stacks(symbol: &str) -> Vec<Candidate> {
    let exit = "stacks of waits, on return (6.16 and later)";
    let next = "the next hook is used";
    let own = symbol.to_owned();
    vec![
        tracepoint("wait_stack_exit", "sched_exit_tp", exit, next, false),
        Candidate {
            hook: "fentry/finish_task_switch".to_owned(),
            serves: "stacks of waits, on return",
            cost: next,
            required: false,
            attempt: Box::new(|ebpf, btf| {
                hooks::fentry(ebpf, btf, "wait_stack_fentry", "finish_task_switch")
            }),
        },
        Candidate {
            hook: format!("kprobe/{symbol}"),
            serves: "stacks of waits, on return",
            cost: "where all three are refused: stacks of one wait in eight, at switch-out",
            required: false,
            attempt: Box::new(move |ebpf, _| hooks::kprobe(ebpf, "wait_stack_kprobe", &own)),
        },
        Candidate {
            hook: "perf_event/cpu-clock".to_owned(),
            serves: "CPU samples",
            cost: "cpu.svg stays empty; time on the CPU is still counted",
            required: false,
            attempt: Box::new(|ebpf, _| CpuEvents::attempt(ebpf, Counts::Clock { freq_hz: 99 })),
        },
    ]
}

/// What tells the iterations of event loops exactly, in the order of preference.
fn event_loops(arch: Arch) -> Vec<Candidate> {
    let serves = "iterations of event loops, exactly";
    let candidate = |hook: &str, cost, attempt: Attempt| Candidate {
        hook: hook.to_owned(),
        serves,
        cost,
        required: false,
        attempt,
    };
    let call = arch.syscall_symbol("epoll_wait");
    vec![
        candidate(
            &format!("fexit/{call}"),
            "the next hook is used",
            Box::new(move |ebpf, btf| loops::trampolines(ebpf, btf, arch)),
        ),
        candidate(
            &format!("kretprobe/{call}"),
            "iterations end where a wait blocks, so one may be several; --loop exact uses the next",
            Box::new(move |ebpf, _| loops::probes(ebpf, arch)),
        ),
        candidate(
            "tp_btf/sys_enter",
            "no --loop exact; where it works it is used on demand only: it costs every system call of the host",
            Box::new(loops::tracepoints),
        ),
    ]
}

/// What shows the queues of sockets.
fn descriptors(kernel: &Arc<Kernel>) -> Vec<Candidate> {
    let candidate = |hook: &str, serves, cost, attempt: Attempt| Candidate {
        hook: hook.to_owned(),
        serves,
        cost,
        required: false,
        attempt,
    };
    let own = Arc::clone(kernel);
    vec![
        candidate(
            "iter/task_file",
            "queues and peers of sockets",
            "sockets are not seen",
            Box::new(move |ebpf, btf| sockets::load(ebpf, btf, &own).map(drop)),
        ),
        candidate(
            "iter/task_file (pid)",
            "the same, visiting the targets only (6.1 and later)",
            "each sample visits every descriptor of the host",
            Box::new(|ebpf, _| match sockets::state(ebpf)? {
                HookState::On => Ok(()),
                HookState::Degraded(why) | HookState::Off(why) => Err(ProbeError::Hook {
                    hook: "iter/task_file".to_owned(),
                    why,
                }),
            }),
        ),
    ]
}

/// What sees memory being touched for the first time.
fn faults() -> Vec<Candidate> {
    vec![
        Candidate {
            hook: "tp_btf/page_fault_user, page_fault_kernel".to_owned(),
            serves: "memory growth by stack; each page fault of the host costs some 75 ns more",
            cost: "the next hook is used",
            required: false,
            attempt: Box::new(hooks::fault_tracepoints),
        },
        Candidate {
            hook: "perf_event/page-faults".to_owned(),
            serves: "memory growth by stack, where there are no such tracepoints",
            cost: "where both are refused: memory grows without stacks",
            required: false,
            attempt: Box::new(|ebpf, _| {
                let period = DEFAULT_FAULT_PERIOD;
                CpuEvents::attempt(ebpf, Counts::Faults { period })
            }),
        },
    ]
}

/// What follows threads and processes as they come and go.
fn life() -> Vec<Candidate> {
    let named = "they are listed without a name, and the thread table fills";
    [
        (
            ("process_fork", "sched_process_fork"),
            ("threads and children born later", "they are not seen"),
        ),
        (
            ("process_exec", "sched_process_exec"),
            (
                "a target that replaces its program",
                "its functions get wrong names",
            ),
        ),
        (
            ("process_exit", "sched_process_exit"),
            ("names and slots of threads that end", named),
        ),
    ]
    .into_iter()
    .map(|((program, name), (serves, cost))| tracepoint(program, name, serves, cost, false))
    .collect()
}

/// A program on a tracepoint with BTF types.
fn tracepoint(
    program: &'static str,
    name: &'static str,
    serves: &'static str,
    cost: &'static str,
    required: bool,
) -> Candidate {
    Candidate {
        hook: format!("tp_btf/{name}"),
        serves,
        cost,
        required,
        attempt: Box::new(move |ebpf: &mut Ebpf, btf: &Btf| {
            hooks::tracepoint(ebpf, btf, program, name)
        }),
    }
}
