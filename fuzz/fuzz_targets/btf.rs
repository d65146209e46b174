//! BTF from anywhere: reading it and asking it everything ends, without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_kernel::btf::Btf;
use remora_kernel::{Arch, Kernel};

fuzz_target!(|data: &[u8]| {
    let Ok(btf) = Btf::parse(data) else { return };
    for arch in [Arch::X86_64, Arch::Aarch64] {
        // Looks up every member, tracepoint, function and enumerator that remora needs.
        let kernel = Kernel::from_btf(&btf, arch);
        let _ = kernel.require();
    }
    for name in ["sched_entity", "a", "int", ""] {
        let _ = btf.size_of(name);
        let _ = btf.tracepoint_args(name);
        let _ = btf.has_function(name);
        let _ = btf.enum_value(name, "a");
        for path in ["a", "b", "a.b", "a.a.a.a.a.a.a.a", "", ".", "a..b"] {
            let _ = btf.member(name, path);
        }
    }
});
