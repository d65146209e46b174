//! The CPU sampler: one timer a CPU, filtered here. Never one a thread: those are switched in and
//! out with their threads.

use crate::{
    aggregate,
    bank::Bank,
    event_loop, futex,
    stack::{self, Taker},
    table,
};
use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::perf_event,
    programs::PerfEventContext,
};
use remora_common::{aggregate::KIND_CPU, thread::STATE_RUNNING};

#[perf_event]
pub fn cpu_sample(context: PerfEventContext) -> u32 {
    let Some(slot) = table::find(bpf_get_current_pid_tgid() as u32) else {
        return 0;
    };
    if !table::recording() {
        return 0;
    }
    if slot.state != STATE_RUNNING {
        table::came_back(slot);
    }
    let Some(bank) = Bank::active() else { return 0 };
    let stacks = stack::take(context.as_ptr(), Taker::Sampler, slot, bank);
    let key = aggregate::key(slot, KIND_CPU, stacks);
    futex::did(slot, bank, &key, 0);
    let Some(index) = aggregate::add(bank, &key, 0) else {
        return 0;
    };
    if slot.event_loop != 0 {
        // SAFETY: the helper has no preconditions.
        event_loop::did(slot, bank, index, 0, unsafe { bpf_ktime_get_ns() });
    }
    0
}
