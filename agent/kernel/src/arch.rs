//! What differs between the processor architectures that remora runs on, in one place: everything
//! else asks an [`Arch`], so that both are tested on either machine.

use remora_common::unwind::Machine;

/// A supported processor architecture, 64-bit little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// arm64.
    Aarch64,
}

impl Arch {
    /// The architecture that this program was built for.
    pub const fn current() -> Self {
        #[cfg(all(target_arch = "x86_64", target_endian = "little"))]
        {
            Self::X86_64
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        {
            Self::Aarch64
        }
        #[cfg(not(any(
            all(target_arch = "x86_64", target_endian = "little"),
            all(target_arch = "aarch64", target_endian = "little")
        )))]
        compile_error!("remora knows the registers and system calls of x86-64 and arm64 only")
    }

    /// Bits of the mode register (`Offsets::regs_mode`) that tell a 32-bit task.
    ///
    /// x86-64: the selector in `cs`, 16 bits; above it, newer kernels keep other state.
    /// arm64: `PSR_MODE32_BIT` of `pstate` (`arch/arm64/include/uapi/asm/ptrace.h`).
    pub const fn compat_mask(self) -> u32 {
        match self {
            Self::X86_64 => 0xffff,
            Self::Aarch64 => 0x10,
        }
    }

    /// Value of those bits in a 32-bit task.
    ///
    /// x86-64: `__USER32_CS` (`arch/x86/include/asm/segment.h`). A 64-bit program that enters by
    /// `int $0x80` runs on the 64-bit selector and is not told by it.
    pub const fn compat_value(self) -> u32 {
        match self {
            Self::X86_64 => 0x23,
            Self::Aarch64 => 0x10,
        }
    }

    /// Bits of a code address; the others of a return address may hold its signature.
    ///
    /// arm64: pointer authentication signs above the 48 bits of a user address; where addresses
    /// have 52, they must be asked for (`arch/arm64/include/asm/processor.h`).
    pub const fn code_mask(self) -> u64 {
        match self {
            Self::X86_64 => u64::MAX,
            Self::Aarch64 => (1 << 48) - 1,
        }
    }

    /// Symbol of the function that serves a system call, which takes its caller's registers
    /// (`arch/*/include/asm/syscall_wrapper.h`).
    pub fn syscall_symbol(self, call: &str) -> String {
        let prefix = match self {
            Self::X86_64 => "__x64_sys_",
            Self::Aarch64 => "__arm64_sys_",
        };
        format!("{prefix}{call}")
    }

    /// What a walk of stacks needs to know.
    pub const fn machine(self) -> Machine {
        Machine {
            is_arm64: matches!(self, Self::Aarch64),
            code_mask: self.code_mask(),
        }
    }

    /// Bytes of a kernel stack, `THREAD_SIZE`, in a kernel without KASAN.
    ///
    /// x86-64: four pages (`arch/x86/include/asm/page_64_types.h`). arm64: 16 KiB, and at least a
    /// page (`arch/arm64/include/asm/memory.h`).
    pub(super) const fn thread_size(self, page_size: u32) -> u32 {
        const BYTES: u32 = 16 * 1024;
        match self {
            Self::X86_64 => BYTES,
            Self::Aarch64 if page_size > BYTES => page_size,
            Self::Aarch64 => BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_one_of_the_two() {
        let expected = if cfg!(target_arch = "x86_64") {
            Arch::X86_64
        } else {
            Arch::Aarch64
        };
        assert_eq!(Arch::current(), expected);
    }

    #[test]
    fn mode_registers_tell_32_bit_tasks() {
        let compat = |arch: Arch, mode: u32| mode & arch.compat_mask() == arch.compat_value();
        assert!(compat(Arch::X86_64, 0x23));
        assert!(!compat(Arch::X86_64, 0x33), "__USER_CS is 64-bit");
        assert!(
            compat(Arch::X86_64, 0x0001_0023),
            "state above the selector does not matter"
        );
        assert!(
            compat(Arch::Aarch64, 0x6000_0010),
            "AArch32 user mode with flags"
        );
        assert!(!compat(Arch::Aarch64, 0x6000_0000), "EL0t");
    }

    #[test]
    fn a_64_kib_page_makes_the_arm64_stack_as_large() {
        assert_eq!(Arch::Aarch64.thread_size(4096), 16384);
        assert_eq!(Arch::Aarch64.thread_size(65536), 65536);
        assert_eq!(Arch::X86_64.thread_size(4096), 16384);
    }
}
