//! The registers that a task saved when it entered the kernel: where its system call number and
//! arguments are.

use crate::{
    config,
    task::{self, Task},
};
use aya_ebpf::helpers::generated::bpf_task_pt_regs;
use remora_common::config::ABSENT;

/// Saved user registers of a task.
#[derive(Clone, Copy)]
pub struct Registers(*const u8);

/// Finds the saved registers: with the helper (5.15), or below the top of the kernel stack.
#[inline(always)]
pub fn of(task: Task) -> Option<Registers> {
    if config::regs_syscall() == ABSENT {
        return None;
    }
    if config::has_task_pt_regs() != 0 {
        // SAFETY: a trusted task.
        let registers = unsafe { bpf_task_pt_regs(task as *mut _) };
        return (registers != 0).then_some(Registers(registers as *const u8));
    }
    if config::task_stack() == ABSENT {
        return None;
    }
    // SAFETY: member of task_struct.
    let stack: u64 = unsafe { task::member(task, config::task_stack()) };
    (stack != 0).then_some(Registers(
        (stack + config::regs_from_stack() as u64) as *const u8,
    ))
}

impl Registers {
    /// A register by its offset: a typed load with the helper, a probe without.
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: u32) -> T {
        if config::has_task_pt_regs() != 0 {
            // SAFETY: `bpf_task_pt_regs` gives a typed pointer; callers know the member's type.
            unsafe { task::member(self.0, offset) }
        } else {
            task::probe(self.0 as u64, offset).unwrap_or_default()
        }
    }

    /// System call number; negative when the task entered by a fault or an interrupt.
    #[inline(always)]
    pub fn syscall(self) -> i32 {
        // The low half of `orig_ax` on x86-64, all of `syscallno` on arm64.
        self.read(config::regs_syscall())
    }

    /// Whether the task entered the kernel by a fault or an interrupt.
    #[inline(always)]
    pub fn interrupted(self) -> bool {
        self.syscall() < 0
    }

    /// Whether the task is a 32-bit one.
    #[inline(always)]
    pub fn is_compat(self) -> bool {
        // `cs` has 16 bits, and the bit of arm64's `pstate` lies in its first 16.
        let mode: u16 = self.read(config::regs_mode());
        mode as u32 & config::compat_mask() == config::compat_value()
    }

    /// System call argument `N`.
    #[inline(always)]
    pub fn arg<const N: usize>(self) -> u64 {
        self.read(config::regs_arg::<N>())
    }

    /// What an unwinder starts from.
    #[inline(always)]
    pub fn all(self) -> remora_common::unwind::Registers {
        remora_common::unwind::Registers {
            ip: self.read(config::regs_ip()),
            sp: self.read(config::regs_sp()),
            fp: self.read(config::regs_fp()),
            lr: if config::regs_lr() == ABSENT {
                0
            } else {
                self.read(config::regs_lr())
            },
        }
    }
}
