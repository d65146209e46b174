//! System calls by number: their names, and what each one waits for.
//!
//! Numbers differ between architectures and come from the crate `syscalls`; what a call waits for
//! does not, and stands here once, by name.

use super::Arch;
use remora_common::reason::{NO_SYSCALL, SYSCALL_TABLE, SyscallClass};
use std::str::FromStr as _;
use syscalls::{aarch64, x86_64};

/// What waits for what. A call that is not here is `Other`: the wait then carries its name.
///
/// `sendfile` waits for its first argument, the output, like a write. `splice`, `tee`, `vmsplice`
/// and `copy_file_range` are left out: they wait at either end, which the number does not tell.
const CLASSES: &[(SyscallClass, &[&str])] = &[
    (
        SyscallClass::Epoll,
        &["epoll_wait", "epoll_pwait", "epoll_pwait2"],
    ),
    (SyscallClass::Poll, &["poll", "ppoll"]),
    (SyscallClass::Select, &["select", "pselect6"]),
    (SyscallClass::Futex, &["futex", "futex_wait", "futex_waitv"]),
    (
        SyscallClass::SocketReceive,
        &["recvfrom", "recvmsg", "recvmmsg"],
    ),
    (SyscallClass::SocketSend, &["sendto", "sendmsg", "sendmmsg"]),
    (SyscallClass::SocketAccept, &["accept", "accept4"]),
    (SyscallClass::SocketConnect, &["connect"]),
    (
        SyscallClass::Read,
        &[
            "read",
            "readv",
            "pread64",
            "preadv",
            "preadv2",
            "getdents",
            "getdents64",
        ],
    ),
    (
        SyscallClass::Write,
        &[
            "write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile",
        ],
    ),
    (
        SyscallClass::Sync,
        &[
            "fsync",
            "fdatasync",
            "sync",
            "syncfs",
            "sync_file_range",
            "msync",
        ],
    ),
    (SyscallClass::Sleep, &["nanosleep", "clock_nanosleep"]),
    (
        SyscallClass::WaitChild,
        &["wait4", "waitid", "vfork", "clone", "clone3"],
    ),
    (SyscallClass::Restart, &["restart_syscall"]),
    (SyscallClass::IoUring, &["io_uring_enter"]),
    (
        SyscallClass::SignalWait,
        &["rt_sigtimedwait", "rt_sigsuspend", "pause"],
    ),
];

/// Name of a system call; `None` for a number that is newer than the table.
pub fn name(arch: Arch, number: u32) -> Option<&'static str> {
    let number = number as usize;
    match arch {
        Arch::X86_64 => x86_64::Sysno::new(number).map(|call| call.name()),
        Arch::Aarch64 => aarch64::Sysno::new(number).map(|call| call.name()),
    }
}

/// Number of a system call; `None` when the architecture does not have it.
pub fn number(arch: Arch, name: &str) -> Option<u32> {
    let id = match arch {
        Arch::X86_64 => x86_64::Sysno::from_str(name).ok()?.id(),
        Arch::Aarch64 => aarch64::Sysno::from_str(name).ok()?.id(),
    };
    u32::try_from(id).ok()
}

/// Numbers of the calls with a time limit that go on by `restart_syscall` after a stop: a futex, a sleep, a poll.
/// No number where the architecture lacks it (`poll` on arm64): such a wait is told by its reason alone.
pub fn restarted(arch: Arch) -> [u32; 3] {
    let number = |name| number(arch, name).unwrap_or(NO_SYSCALL.into());
    ["futex", "clock_nanosleep", "poll"].map(number)
}

/// The [`SyscallClass`] of each system call number, as the kernel side reads it.
pub fn class_table(arch: Arch) -> [u8; SYSCALL_TABLE] {
    let mut table = [SyscallClass::Other as u8; SYSCALL_TABLE];
    for (class, names) in CLASSES {
        for number in names.iter().filter_map(|name| number(arch, name)) {
            if let Some(entry) = table.get_mut(number as usize) {
                *entry = *class as u8;
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`.
    #[test]
    fn numbers_are_those_of_the_kernel() {
        for (number, expected) in [
            (0, "read"),
            (7, "poll"),
            (35, "nanosleep"),
            (202, "futex"),
            (232, "epoll_wait"),
        ] {
            assert_eq!(name(Arch::X86_64, number), Some(expected));
        }
        for (number, expected) in [
            (22, "epoll_pwait"),
            (63, "read"),
            (73, "ppoll"),
            (98, "futex"),
            (101, "nanosleep"),
        ] {
            assert_eq!(name(Arch::Aarch64, number), Some(expected));
        }
    }

    #[test]
    fn a_number_nobody_knows_has_no_name() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            assert_eq!(name(arch, 1023), None);
            assert_eq!(name(arch, u32::MAX), None);
        }
    }

    #[test]
    fn classes_stand_at_the_kernels_numbers() {
        let class = |arch, number: usize| class_table(arch)[number];
        assert_eq!(class(Arch::X86_64, 232), SyscallClass::Epoll as u8);
        assert_eq!(class(Arch::X86_64, 202), SyscallClass::Futex as u8);
        assert_eq!(class(Arch::X86_64, 426), SyscallClass::IoUring as u8);
        assert_eq!(class(Arch::X86_64, 39), SyscallClass::Other as u8, "getpid");
        assert_eq!(class(Arch::Aarch64, 22), SyscallClass::Epoll as u8);
        assert_eq!(class(Arch::Aarch64, 98), SyscallClass::Futex as u8);
        assert_eq!(
            class(Arch::Aarch64, 242),
            SyscallClass::SocketAccept as u8,
            "accept4"
        );
        assert_eq!(
            class(Arch::Aarch64, 232),
            SyscallClass::Other as u8,
            "mincore"
        );
    }

    /// A misspelt name would be silently without a class.
    #[test]
    fn every_name_exists_and_only_old_ones_are_missing_on_arm64() {
        let names = || CLASSES.iter().flat_map(|(_, names)| *names);
        let missing = |arch| {
            names()
                .copied()
                .filter(|name| number(arch, name).is_none())
                .collect::<Vec<_>>()
        };
        assert_eq!(missing(Arch::X86_64), [""; 0]);
        assert_eq!(
            missing(Arch::Aarch64),
            ["epoll_wait", "poll", "select", "getdents", "vfork", "pause"]
        );
        let mut unique: Vec<_> = names().collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names().count(), "a call has one class");
    }

    #[test]
    fn both_architectures_agree_by_name() {
        let (x86, arm) = (class_table(Arch::X86_64), class_table(Arch::Aarch64));
        let mut compared = 0;
        for (here, class) in arm.iter().enumerate() {
            let Some(name) = name(Arch::Aarch64, here as u32) else {
                continue;
            };
            let Some(there) = number(Arch::X86_64, name) else {
                continue;
            };
            assert_eq!(*class, x86[there as usize], "{name}");
            compared += 1;
        }
        assert!(compared > 250, "{compared} calls in common");
    }
}
