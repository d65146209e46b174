//! What must be so on each kernel: the hooks that work, and the tests that run and pass.
//!
//! A test of the list that is absent, skipped or excused without need fails the run, so that nothing
//! falls silent. To add a test, add a line to [`TESTS`]; to add a hook that `remora doctor` tells, a
//! line to [`HOOKS`].

/// Debian 12's kernel.
pub(super) const V6_1: &str = "6.1";
/// The kernel of Debian 13, and of Debian 12's later ones.
pub(super) const V6_12: &str = "6.12";
/// The newest that Debian has for its stable release.
pub(super) const NEWEST: &str = "newest";

/// Before 6.16: no tracepoint at the exit of the scheduler.
const OLD: &[&str] = &[V6_1, V6_12];

const EVERY: &[&str] = &[V6_1, V6_12, NEWEST];

/// A kernel to boot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel {
    /// How it is called here.
    pub name: &'static str,
    /// Its version begins so; the newest of these is taken. Empty: the newest of all.
    pub series: &'static str,
    /// The hooks that a capture uses there: its signal, and how the hook's name begins.
    pub signals: &'static [(&'static str, &'static str)],
}

const OLD_SIGNALS: &[(&str, &str)] = &[
    ("wait_stacks", "kprobe/finish_task_switch"),
    ("event_loops", "fexit"),
];

/// In the order in which they are booted.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: V6_1,
        series: "6.1.",
        signals: OLD_SIGNALS,
    },
    Kernel {
        name: V6_12,
        series: "6.12.",
        signals: OLD_SIGNALS,
    },
    Kernel {
        name: NEWEST,
        series: "",
        signals: &[
            ("wait_stacks", "tp_btf/sched_exit_tp"),
            ("event_loops", "fexit"),
        ],
    },
];

/// A hook of `remora doctor`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// Its name begins so: compilers add suffixes.
    pub name: &'static str,
    /// The kernels that refuse it; on all others it must work.
    pub refused_by: &'static [&'static str],
}

const fn hook(name: &'static str) -> Hook {
    Hook {
        name,
        refused_by: &[],
    }
}

/// Every hook that `remora doctor` tells, each to be found on each kernel.
pub(super) const HOOKS: &[Hook] = &[
    hook("iter/task"),
    hook("iter.s/task"),
    hook("tp_btf/sched_switch"),
    hook("tp_btf/sched_waking"),
    Hook {
        name: "tp_btf/sched_exit_tp",
        refused_by: OLD,
    },
    // The compiler's `.isra.0` hides the function: BTF does not know it, or not its address.
    Hook {
        name: "fentry/finish_task_switch",
        refused_by: EVERY,
    },
    hook("kprobe/finish_task_switch"),
    hook("fexit/__x64_sys_epoll_wait"),
    hook("kretprobe/__x64_sys_epoll_wait"),
    hook("tp_btf/sys_enter"),
    hook("perf_event/cpu-clock"),
    hook("iter/task_file"),
    hook("iter/task_file (pid)"),
    hook("tp_btf/page_fault_user, page_fault_kernel"),
    hook("perf_event/page-faults"),
    hook("tp_btf/sched_process_fork"),
    hook("tp_btf/sched_process_exec"),
    hook("tp_btf/sched_process_exit"),
    hook("uprobe, uretprobe"),
    hook("bpf_loop"),
    hook("BPF_ENABLE_STATS"),
];

/// A test, and what it must do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// Its file and its own name: `state::a_stop_in_the_middle_is_timed`.
    pub name: &'static str,
    /// Kernels on which it says that it is skipped, and words of the reason that it gives.
    pub skipped: (&'static [&'static str], &'static str),
    /// Words of what it may leave out, of several things that it tries: `python3.9 is not installed`.
    pub parts_skipped: Option<&'static str>,
}

impl Test {
    /// On these kernels it must be skipped, by itself, with these words.
    pub(super) const fn skipped_on(
        mut self,
        kernels: &'static [&'static str],
        words: &'static str,
    ) -> Self {
        self.skipped = (kernels, words);
        self
    }

    /// It may leave parts out whose reason holds these words.
    pub(super) const fn without_parts(mut self, words: &'static str) -> Self {
        self.parts_skipped = Some(words);
        self
    }
}

/// A test that must run and pass on each kernel.
pub(super) const fn passes(name: &'static str) -> Test {
    Test {
        name,
        skipped: (&[], ""),
        parts_skipped: None,
    }
}

/// One line a test.
pub(super) const TESTS: &[Test] = &[
    passes("bad_input::a_kernel_thread"),
    passes("bad_input::a_zombie"),
    passes("bad_input::no_such_process"),
    passes("cpus::sleepers_of_each_class_are_never_said_to_sleep_longer_than_they_do"),
    passes("fallback::iterations_by_probes"),
    passes("fallback::iterations_by_the_tracepoints_of_system_calls"),
    passes("fallback::iterations_by_trampolines"),
    passes("fallback::stacks_at_switch_out"),
    passes("fallback::stacks_at_the_exit_of_the_scheduler").skipped_on(OLD, "sched_exit_tp"),
    passes("fallback::stacks_when_the_switch_is_finished"),
    passes("lifecycle::a_recycled_pid_is_not_the_target"),
    passes("lifecycle::an_early_exit_ends_the_capture_with_its_report"),
    passes("lifecycle::exec_changes_program_and_names_in_the_middle"),
    passes("lifecycle::threads_born_later_are_seen_for_their_life"),
    passes("findings::a_process_that_sleeps_is_idle_and_the_contract_is_kept"),
    passes("findings::nonsense_is_refused_in_one_line"),
    passes("locks::a_futex_that_is_no_mutex_has_no_owner"),
    passes("locks::a_lock_that_processes_share_is_one_lock"),
    passes("loops::a_loop_that_is_late_right_now_says_for_how_long"),
    passes("loops::a_thread_that_sits_in_one_wait_has_a_loop_without_iterations"),
    passes("loops::exact_iterations_are_those_of_the_programs_own_clock"),
    passes("loops::the_windows_add_up_to_the_capture"),
    passes("heap::what_is_kept_is_told_by_whom_how_much_and_how_old"),
    passes("heap::nothing_is_patched_unless_it_is_asked_for"),
    passes(
        "loops::without_exact_hooks_an_iteration_ends_with_a_wait_that_blocks_and_the_report_says_so",
    ),
    passes("memory::growth_is_that_of_smaps_and_each_function_has_its_part"),
    passes("memory::without_faults_growth_has_no_stacks_and_is_right_all_the_same"),
    passes("off_cpu::a_32_bit_task_is_told_apart"),
    passes("off_cpu::a_waker_is_named"),
    passes("off_cpu::short_waits_are_counted_and_timed_without_a_stack"),
    passes("off_cpu::waits_for_a_disk"),
    passes("off_cpu::waits_for_events_and_bytes"),
    passes("off_cpu::waits_for_time_locks_signals_pages_and_children"),
    passes("off_cpu::waits_on_sockets"),
    passes("on_cpu::code_made_at_run_time_has_the_name_of_its_map"),
    passes("on_cpu::two_threads_on_one_cpu_wait_for_it"),
    passes("python_frames::blocked_threads").without_parts("python3."),
    passes("sockets::the_age_of_the_oldest_unread_byte_has_bounds_that_hold"),
    passes("state::a_thread_stopped_before_the_capture_says_so"),
    passes("state::a_thread_that_never_wakes_counts_with_its_stack"),
    passes("state::a_wait_counts_with_the_part_inside_the_capture"),
    passes("state::running_and_runnable_are_told_apart_from_blocked"),
    passes("surroundings::a_kernel_in_confidential_lockdown"),
    passes("surroundings::a_kernel_whose_btf_is_damaged"),
    passes("surroundings::a_kernel_without_btf"),
    passes("surroundings::inside_a_pid_namespace"),
    passes("surroundings::inside_a_user_namespace"),
    passes("surroundings::without_privileges_doctor_names_what_is_missing"),
    passes("surroundings::without_privileges_it_names_the_capabilities"),
    passes("tasks::all_that_a_program_says_of_its_tasks_is_seen_from_outside"),
    passes("unwinding::a_program_that_becomes_another_in_the_middle"),
    passes("unwinding::chains_of_threads_that_were_blocked_before"),
    passes("unwinding::chains_of_waits"),
    passes("unwinding::chains_on_the_cpu"),
];

/// Tests that run on no other kernel, by how their names begin, and why: three guests are to take ten
/// minutes. A test that is in neither list fails the run.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "sockets::a_socket_in",
        "`ip netns add` does not work in the guest yet",
    ),
    (
        "sockets::queues",
        "without the kernel's modules for it, ss knows no queue of a listening unix socket",
    ),
    (
        "sockets::a_number",
        "a sample falls between close and open in an emulated machine",
    ),
    (
        "findings_",
        "judgements are functions of what is seen, which the other tests see; the sick programs are not in the guest",
    ),
    (
        "triage_bad_input::",
        "who is refused, and when a look ends: the agent's side, the same on each kernel; exec, end and containers as in \
         `lifecycle` and `on_cpu`",
    ),
    ("triage_cost::", "a cost"),
    (
        "hostile_hosts::",
        "what the agent does while it is let wait is the same on each kernel; a guest has one file system and no FUSE",
    ),
    (
        "healthy::",
        "servers and their load are too much for an emulated machine",
    ),
    (
        "socket_programs::",
        "their load is too much for an emulated machine",
    ),
    (
        "heap::",
        "a slow-down, and how soon the kernel takes probes out, say nothing of an emulated machine",
    ),
    ("memory::", "as the two in the list: by the same hooks"),
    (
        "sockets::twenty_thousand",
        "a table's size, and minutes in an emulated machine",
    ),
    ("sockets::without_samples", "a matter of the report"),
    (
        "index_html::",
        "a matter of the report, and there is no browser in the guest",
    ),
    ("locks::a_mutex_of_rust", "as `a_futex_that_is_no_mutex`"),
    (
        "bad_input::",
        "refused before the kernel is asked, or a matter of files",
    ),
    (
        "cpus::",
        "where events are opened is the agent's side; there is no strace in the guest",
    ),
    (
        "kept_cpus::",
        "sysfs is shown changed, and what follows is the agent's side",
    ),
    (
        "doctor::",
        "it is run beside the tests, and its hooks are compared",
    ),
    ("ending::", "signals and files: the same on each kernel"),
    ("gdb_agreement::", "there is no gdb in the guest"),
    (
        "lifecycle::children_are_followed",
        "a fork takes too large a share of an emulated CPU",
    ),
    ("lifecycle::children_are_left", "as `only_the_target`"),
    (
        "lifecycle::what_a_process_starts",
        "as `children_are_followed`",
    ),
    (
        "lifecycle::five_hundred_threads",
        "a minute in an emulated machine",
    ),
    ("lifecycle::several_pids", "as `an_early_exit`"),
    (
        "lifecycle::targets_by_name",
        "the names are read from /proc",
    ),
    (
        "locks::the_owner",
        "six kinds of locks take a minute in an emulated machine",
    ),
    (
        "locks::waits_for_each",
        "six kinds of locks take a minute in an emulated machine",
    ),
    ("off_cpu::an_event_loop", "a matter of the report"),
    ("off_cpu::every_wait_mode", "a test of the list of modes"),
    ("on_cpu::a_binary_in", "a matter of names"),
    ("on_cpu::a_deleted", "a matter of names"),
    (
        "on_cpu::a_frequency",
        "compares samples with time: an emulated CPU misses ticks",
    ),
    ("on_cpu::a_replaced", "a matter of names"),
    (
        "on_cpu::only_the_target",
        "the other tests watch one of several processes",
    ),
    (
        "on_cpu::the_split",
        "compares samples with time: an emulated CPU misses ticks",
    ),
    ("pictures::", "a matter of the report"),
    ("python_frames::stacks_that_differ", "as `blocked_threads`"),
    (
        "python_frames::the_interpreter_lock",
        "as `blocked_threads`",
    ),
    (
        "python_frames::threads_on_the_cpu",
        "half a minute in an emulated machine",
    ),
    (
        "real_programs::",
        "their load is too much for an emulated machine",
    ),
    ("rest::", "a cost"),
    (
        "soak::",
        "memory over time, and a load that an emulated machine does not carry",
    ),
    ("specimens::", "a test of the specimens"),
    ("state::a_stop", "as `a_thread_stopped_before`"),
    (
        "state::the_states_of_each_thread",
        "half a minute in an emulated machine",
    ),
    (
        "tasks::",
        "each kernel reads the targets' memory in the same way",
    ),
    ("unwinding::a_recursion", "a matter of the walk's limit"),
    ("unwinding::a_stripped", "a matter of names"),
    (
        "unwinding::chains_of_musl",
        "the standard library for musl is not everywhere",
    ),
    (
        "unwinding::code_that_is_loaded",
        "as `a_program_that_becomes_another`",
    ),
    ("wrong_report::", "a test of the tests"),
];
