//! The stack of a long wait, taken when the thread comes back, in its own context and still
//! inside the same system call: the same frames as while it slept, and paid for only when the wait
//! was worth it. Three hooks for one idea; the agent loads the best that the kernel has.

use crate::{
    bank::Bank,
    stack::{self, Taker},
    table,
};
use aya_ebpf::{
    EbpfContext,
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, fentry, kprobe},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext},
};

/// 6.16 and later: the end of `__schedule`.
#[btf_tracepoint(function = "sched_exit_tp")]
pub fn wait_stack_exit(context: BtfTracePointContext) -> i32 {
    let switched = context.arg::<u64>(0) & 1 != 0;
    if switched { returned(&context) } else { 0 }
}

/// Earlier, where the function has BTF: what every resumed thread runs first.
#[fentry(function = "finish_task_switch")]
pub fn wait_stack_fentry(context: FEntryContext) -> i32 {
    returned(&context)
}

/// Earlier, by the symbol's name.
#[kprobe]
pub fn wait_stack_kprobe(context: ProbeContext) -> u32 {
    returned(&context);
    0
}

#[inline(always)]
fn returned(context: &impl EbpfContext) -> i32 {
    let Some(slot) = table::find(bpf_get_current_pid_tgid() as u32) else {
        return 0;
    };
    if slot.pending_ns == 0 || !table::recording() {
        return 0;
    }
    let Some(bank) = Bank::active() else { return 0 };
    let stacks = stack::take(context.as_ptr(), Taker::Return, slot, bank);
    table::book_wait(slot, bank, stacks);
    0
}
