//! Entries and returns of a target's allocator. Loaded and attached only when asked for (`--heap`): these
//! probes patch the text of the process that they are attached to.

use crate::heap::Caller;
use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_attach_cookie,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use remora_common::heap::Arguments;

/// `PROT_READ | PROT_WRITE` and `MAP_ANONYMOUS`, the same on both architectures.
const USABLE: u64 = 3;
const ANONYMOUS: u64 = 0x20;

/// A function that allocates was entered; the cookie says which argument is what.
#[uprobe]
pub fn heap_enter(context: ProbeContext) -> u32 {
    enter(&context);
    0
}

/// It returns.
#[uretprobe]
pub fn heap_return(context: RetProbeContext) -> u32 {
    if let Some(mut caller) = Caller::find() {
        caller.returns(context.ret());
        caller.done();
    }
    0
}

/// A function that frees its first argument was entered.
#[uprobe]
pub fn heap_free(context: ProbeContext) -> u32 {
    if let Some(mut caller) = Caller::find()
        && let Some(address) = context.arg::<u64>(0)
    {
        // SAFETY: the context of a probe.
        let wanted = Arguments::of(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
        caller.frees(address, wanted.stepped);
        caller.done();
    }
    0
}

#[inline(always)]
fn enter(context: &ProbeContext) {
    let Some(mut caller) = Caller::find() else {
        return;
    };
    // SAFETY: the context of a probe.
    let wanted = Arguments::of(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
    let all = Four::read(context);
    let mut bytes = all.argument(wanted.size);
    if wanted.count != 0 {
        bytes = bytes.wrapping_mul(all.argument(wanted.count));
    }
    caller.entered(wanted.stepped);
    let (old, out) = (all.argument(wanted.old), all.argument(wanted.out));
    if wanted.mapping == 0 || (all.2 & USABLE != 0 && all.3 & ANONYMOUS != 0) {
        caller.enters(context.as_ptr(), bytes, old, out);
    }
    caller.done();
}

/// The first four arguments, each read at its own place: the verifier lets no program read its context at a
/// place that it works out.
struct Four(u64, u64, u64, u64);

impl Four {
    #[inline(always)]
    fn read(context: &ProbeContext) -> Self {
        let zero = 0;
        Self(
            context.arg(0).unwrap_or(zero),
            context.arg(1).unwrap_or(zero),
            context.arg(2).unwrap_or(zero),
            context.arg(3).unwrap_or(zero),
        )
    }

    /// The argument with this number, counted from 1; 0 for none.
    #[inline(always)]
    fn argument(&self, number: u8) -> u64 {
        match number {
            1 => self.0,
            2 => self.1,
            3 => self.2,
            4 => self.3,
            _ => 0,
        }
    }
}
