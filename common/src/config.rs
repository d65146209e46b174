//! Read-only globals of the kernel side, set before it is loaded.
//!
//! The verifier knows frozen globals as constants: a branch on a feature that is off is removed,
//! and a kernel structure member is read by plain loads: of its offset, then of the member.

/// A member that this kernel's BTF does not have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of kernel structure members on the running kernel, from its BTF.
///
/// Absent ones are [`ABSENT`]; what depends on one is off, by name.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Offsets {
    /// `task_struct.pid`: the thread id.
    pub task_pid: u32,
    /// `task_struct.tgid`: the process id.
    pub task_tgid: u32,
    /// `task_struct.__state` (`state` before 5.14).
    pub task_state: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `task_struct.files`.
    pub task_files: u32,
    /// `task_struct.stack`.
    pub task_stack: u32,
    /// `task_struct.on_cpu`.
    pub task_on_cpu: u32,
    /// `task_struct.se.exec_start`.
    pub task_exec_start: u32,
    /// `task_struct.se.sum_exec_runtime`.
    pub task_run_time: u32,
    /// `task_struct.se.prev_sum_exec_runtime`.
    pub task_run_time_before: u32,
    /// `task_struct.prio`.
    pub task_prio: u32,
    /// `task_struct.sched_info.last_arrival`.
    pub task_last_arrival: u32,
    /// `task_struct.se.nr_migrations`.
    pub task_migrations: u32,
    /// `task_struct.se.cfs_rq`.
    pub task_cfs_rq: u32,
    /// `cfs_rq.rq`.
    pub cfs_rq_rq: u32,
    /// `rq.clock`.
    pub rq_clock: u32,
    /// `rq.clock_task`.
    pub rq_clock_task: u32,
    /// `task_struct.group_leader`.
    pub task_group_leader: u32,
    /// `task_struct.start_boottime`.
    pub task_start_boottime: u32,
    /// Byte of the bit field `task_struct.in_iowait`.
    pub task_in_iowait: u32,
    /// Mask of `in_iowait` in that byte.
    pub task_in_iowait_mask: u32,
    /// `files_struct.fdt`.
    pub files_fdt: u32,
    /// `fdtable.fd`.
    pub fdtable_fd: u32,
    /// `fdtable.max_fds`.
    pub fdtable_max_fds: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `inode.i_mode`.
    pub inode_mode: u32,
    /// `pt_regs`: system call number at entry (`orig_ax`; arm64 `syscallno`).
    pub regs_syscall: u32,
    /// `pt_regs`: the six system call arguments.
    pub regs_args: [u32; 6],
    /// `pt_regs`: instruction pointer.
    pub regs_ip: u32,
    /// `pt_regs`: stack pointer.
    pub regs_sp: u32,
    /// `pt_regs`: frame pointer.
    pub regs_fp: u32,
    /// `pt_regs`: what tells a 32-bit task (x86-64 `cs`; arm64 `pstate`).
    pub regs_mode: u32,
    /// `pt_regs`: link register (arm64).
    pub regs_lr: u32,
    /// `task_struct.thread.fsbase` (x86-64), `.thread.uw.tp_value` (arm64): the thread's TLS base.
    pub task_tls: u32,
    /// `task_struct.pagefault_disabled`.
    pub task_pagefault_disabled: u32,
    /// `task_struct.restart_block.fn`.
    pub task_restart: u32,
}

const _: () = assert!(size_of::<Offsets>() == 4 * 41);

impl Offsets {
    /// Nothing known.
    pub const ALL_ABSENT: Self = Self {
        task_pid: ABSENT,
        task_tgid: ABSENT,
        task_state: ABSENT,
        task_comm: ABSENT,
        task_files: ABSENT,
        task_stack: ABSENT,
        task_on_cpu: ABSENT,
        task_exec_start: ABSENT,
        task_run_time: ABSENT,
        task_run_time_before: ABSENT,
        task_prio: ABSENT,
        task_last_arrival: ABSENT,
        task_migrations: ABSENT,
        task_cfs_rq: ABSENT,
        cfs_rq_rq: ABSENT,
        rq_clock: ABSENT,
        rq_clock_task: ABSENT,
        task_group_leader: ABSENT,
        task_start_boottime: ABSENT,
        task_in_iowait: ABSENT,
        task_in_iowait_mask: 0,
        files_fdt: ABSENT,
        fdtable_fd: ABSENT,
        fdtable_max_fds: ABSENT,
        file_inode: ABSENT,
        inode_mode: ABSENT,
        regs_syscall: ABSENT,
        regs_args: [ABSENT; 6],
        regs_ip: ABSENT,
        regs_sp: ABSENT,
        regs_fp: ABSENT,
        regs_mode: ABSENT,
        regs_lr: ABSENT,
        task_tls: ABSENT,
        task_pagefault_disabled: ABSENT,
        task_restart: ABSENT,
    };
}

/// The programs' parameters.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Params {
    /// Waits from this length on are long: they get a stack.
    pub min_block_ns: u64,
    /// Length of a bank of the aggregate table, a power of two.
    pub aggregates_per_bank: u32,
    /// Length of a bank of the stack table, a power of two.
    pub stacks_per_bank: u32,
    /// 1: children of targets become targets.
    pub follow_children: u32,
    /// 1: `sched_switch` has the task's state as its fourth argument (5.18).
    pub switch_has_state: u32,
    /// 1: the helper `bpf_task_pt_regs` is there (5.15).
    pub has_task_pt_regs: u32,
    /// Without that helper: bytes from `task_struct.stack` to the saved registers.
    pub regs_from_stack: u32,
    /// 0: stacks of waits are taken on return; N: at switch-out, of one wait in N.
    pub switch_out_one_in: u32,
    /// Mask of the mode register that tells a 32-bit task, and the value it then has.
    pub compat_mask: u32,
    /// See `compat_mask`.
    pub compat_value: u32,
    /// 1: user stacks are walked by tables (needs the helper `bpf_loop`, 5.17, and
    /// `bpf_task_pt_regs`); 0: by the kernel, along frame pointers.
    pub unwind: u32,
    /// Bits of a code address: the others may hold a signature (arm64 pointer authentication).
    pub code_mask: u64,
    /// 1: arm64.
    pub is_arm64: u32,
    /// 1: frames of Python interpreters are walked.
    pub python: u32,
    /// Iterations of event loops from this length on are late.
    pub late_ns: u64,
    /// Of the page faults of a thread, one in so many at the least is sampled; never 0.
    pub fault_period: u32,
    /// Numbers of the system calls that go on in a restart block: `futex`, `clock_nanosleep`, `poll`.
    pub restart_calls: [u32; 3],
    /// Kernel functions by which these go on, in the same order; 0 where its address is not known.
    pub restarts: [u64; 3],
    /// Of allocated bytes, one in so many is sampled in the mean; up to 1: each allocation is.
    pub heap_sample: u64,
}

const _: () = assert!(size_of::<Params>() == 120);

impl Params {
    /// Every parameter zero: what the object holds before the agent sets them.
    pub const ZERO: Self = Self {
        min_block_ns: 0,
        aggregates_per_bank: 0,
        stacks_per_bank: 0,
        follow_children: 0,
        switch_has_state: 0,
        has_task_pt_regs: 0,
        regs_from_stack: 0,
        switch_out_one_in: 0,
        compat_mask: 0,
        compat_value: 0,
        unwind: 0,
        code_mask: 0,
        is_arm64: 0,
        python: 0,
        late_ns: 0,
        fault_period: 1,
        restart_calls: [0; 3],
        restarts: [0; 3],
        heap_sample: 0,
    };
}

#[cfg(feature = "loader")]
mod loader {
    // SAFETY: both are `repr(C)` of plain integers without padding (their sizes are asserted).
    unsafe impl aya::Pod for super::Offsets {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Params {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::aggregate::StackEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::unwind::Chunk {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::unwind::Space {}
}
