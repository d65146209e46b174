//! Facts about kernels: made up ones, and the one that the tests run on.

use super::*;
use btf::writer::Writer;

fn kernel(build: impl FnOnce(&mut Writer)) -> Kernel {
    let mut writer = Writer::new();
    build(&mut writer);
    let blob = writer.finish();
    Kernel::from_btf(&Btf::parse(&blob).unwrap(), Arch::X86_64)
}

#[test]
fn features_of_an_old_and_of_a_new_kernel() {
    let old = kernel(|w| {
        w.tracepoint("sched_switch", 3);
        w.function("finish_task_switch", 1);
        w.enumeration("bpf_func_id", &[("BPF_FUNC_unspec", 0)]);
        w.structure("pt_regs", 168, &[]);
    });
    let expected = Features {
        switch_has_state: false,
        sched_exit_tp: false,
        finish_task_switch: true,
        task_pt_regs: false,
        bpf_loop: false,
    };
    assert_eq!(old.features, expected);
    assert_eq!(old.regs_from_stack, Some(16384 - 168));

    let new = kernel(|w| {
        w.tracepoint("sched_switch", 4);
        w.tracepoint("sched_exit_tp", 1);
        let helpers = [("BPF_FUNC_task_pt_regs", 175), ("BPF_FUNC_loop", 181)];
        w.enumeration("bpf_func_id", &helpers);
    });
    let expected = Features {
        switch_has_state: true,
        sched_exit_tp: true,
        finish_task_switch: false,
        task_pt_regs: true,
        bpf_loop: true,
    };
    assert_eq!(new.features, expected);
    assert_eq!(new.regs_from_stack, None);
}

#[test]
fn registers_larger_than_the_stack_are_nowhere() {
    assert_eq!(
        kernel(|w| _ = w.structure("pt_regs", 20_000, &[])).regs_from_stack,
        None
    );
}

#[test]
fn a_fatal_absence_is_said_in_one_line() {
    let message = kernel(|_| ()).require().unwrap_err().to_string();
    assert_eq!(
        message,
        "this kernel cannot be observed: task_struct.pid is missing from its BTF, so threads have \
         no identity"
    );
}

#[test]
fn a_kernel_without_btf_says_what_to_do() {
    let path = PathBuf::from(VMLINUX);
    let message = KernelError::NoBtf { path }.to_string();
    assert!(message.contains("/sys/kernel/btf/vmlinux"), "{message}");
    assert!(message.contains("CONFIG_DEBUG_INFO_BTF"), "{message}");
    assert!(
        !message.contains("  ") && !message.contains('\n'),
        "{message}"
    );
}

/// Members of one struct have an order and do not overlap whatever the kernel's configuration.
#[test]
fn the_running_kernel_is_read() {
    let kernel = match Kernel::read() {
        Ok(kernel) => kernel,
        Err(why) => return remora_testing::skip(why),
    };
    println!("{kernel:?}");
    kernel.require().unwrap();
    assert_eq!(kernel.absent, []);
    let offsets = kernel.offsets;
    assert_eq!(
        offsets.task_tgid,
        offsets.task_pid + 4,
        "two neighbouring pid_t"
    );
    assert!(offsets.task_state < offsets.task_pid && offsets.task_pid < offsets.task_comm);
    assert_eq!(offsets.task_in_iowait_mask.count_ones(), 1, "one bit");
    if kernel.arch == Arch::X86_64 {
        // The order of registers is that of the user ABI (`user_regs_struct`).
        assert_eq!(offsets.regs_syscall, 120);
        assert_eq!(offsets.regs_args, [112, 104, 96, 56, 72, 64]);
        assert_eq!(
            (offsets.regs_ip, offsets.regs_mode, offsets.regs_sp),
            (128, 136, 152)
        );
    } else {
        assert_eq!(
            (offsets.regs_args[5], offsets.regs_fp, offsets.regs_ip),
            (40, 232, 256)
        );
    }
}

#[test]
fn a_release_begins_with_its_version() {
    assert_eq!(version("5.10.0-46-cloud-amd64"), Some((5, 10)));
    assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
    assert_eq!(version("7.3-rc1"), Some((7, 3)));
    assert_eq!(version("next"), None);
    assert!(version("5.12.9").unwrap() < OLDEST && version("5.13.0").unwrap() >= OLDEST);
}
