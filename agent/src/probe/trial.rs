//! Tries every hook on its own, as `remora doctor` shows them: what works, what the kernel says
//! where it does not, and what that costs.

use super::{
    ProbeError, cost, hooks,
    load::{Loaded, Settings, online_cpus},
};
use crate::kernel::{self, Kernel};
use aya::{Btf, Ebpf};

/// One hook, tried.
#[derive(Clone, Debug)]
pub struct Trial {
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

type Attempt<'a> = Box<dyn Fn(&mut Ebpf, &Btf) -> Result<(), ProbeError> + 'a>;

struct Candidate<'a> {
    hook: String,
    serves: &'static str,
    cost: &'static str,
    required: bool,
    attempt: Attempt<'a>,
}

/// Tries every hook; nothing stays attached. Also returns the kernel memory of the maps, in bytes.
///
/// # Errors
/// When not even the maps can be made.
pub fn trials(kernel: &Kernel) -> Result<(Vec<Trial>, u64), ProbeError> {
    if !super::has_kernel_side() {
        return Err(ProbeError::NoKernelSide);
    }
    let btf = Btf::from_sys_fs().map_err(|error| ProbeError::Load(error.to_string()))?;
    let mut loaded = Loaded::new(kernel, &Settings::default(), &btf, 0)?;
    let map_bytes = cost::map_bytes(&loaded.ebpf);
    let symbol = kernel::finish_task_switch_symbol().ok().flatten();
    let symbol = symbol.unwrap_or_else(|| "finish_task_switch".to_owned());
    let trials = candidates(&symbol)
        .into_iter()
        .map(|candidate| Trial {
            refusal: (candidate.attempt)(&mut loaded.ebpf, &btf).err().map(why),
            hook: candidate.hook,
            serves: candidate.serves,
            cost: candidate.cost,
            required: candidate.required,
        })
        .chain([statistics()])
        .collect();
    Ok((trials, map_bytes))
}

fn why(error: ProbeError) -> String {
    match error {
        ProbeError::Hook { why, .. } => why,
        other => other.to_string(),
    }
}

fn statistics() -> Trial {
    let refusal = super::StatisticsOn::enable()
        .err()
        .map(|error| hooks::innermost(&error));
    Trial {
        hook: "BPF_ENABLE_STATS".to_owned(),
        serves: "what the kernel side costs",
        cost: "overhead.bpf_cpu_pct stays 0 and says nothing",
        required: false,
        refusal,
    }
}

fn candidates(symbol: &str) -> Vec<Candidate<'_>> {
    let tracepoint =
        |program: &'static str, name: &'static str, serves, cost, required| Candidate {
            hook: format!("tp_btf/{name}"),
            serves,
            cost,
            required,
            attempt: Box::new(move |ebpf: &mut Ebpf, btf: &Btf| {
                hooks::tracepoint(ebpf, btf, program, name)
            }),
        };
    let nothing = "nothing can be recorded";
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
        tracepoint(
            "sched_switch",
            "sched_switch",
            "time off the CPU and why",
            nothing,
            true,
        ),
        tracepoint(
            "sched_waking",
            "sched_waking",
            "who wakes whom, and the wait for a CPU, apart",
            nothing,
            true,
        ),
        tracepoint(
            "wait_stack_exit",
            "sched_exit_tp",
            "stacks of waits, on return (6.16 and later)",
            "the next hook is used",
            false,
        ),
        Candidate {
            hook: "fentry/finish_task_switch".to_owned(),
            serves: "stacks of waits, on return",
            cost: "the next hook is used",
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
            attempt: Box::new(move |ebpf, _| hooks::kprobe(ebpf, "wait_stack_kprobe", symbol)),
        },
        Candidate {
            hook: "perf_event/cpu-clock".to_owned(),
            serves: "CPU samples",
            cost: "cpu.svg stays empty; time on the CPU is still counted",
            required: false,
            attempt: Box::new(|ebpf, _| hooks::cpu_clock(ebpf, "cpu_sample", &online_cpus()?, 99)),
        },
        tracepoint(
            "process_fork",
            "sched_process_fork",
            "threads and children born later",
            "they are not seen",
            false,
        ),
        tracepoint(
            "process_exec",
            "sched_process_exec",
            "a target that replaces its program",
            "its functions get wrong names",
            false,
        ),
        tracepoint(
            "process_exit",
            "sched_process_exit",
            "names and slots of threads that end",
            "they are listed without a name, and the thread table fills",
            false,
        ),
    ]
}
