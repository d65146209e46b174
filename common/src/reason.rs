//! Why a thread is off the CPU: one byte, decided in the kernel when the thread goes to sleep.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $label:literal;)*) => {
        /// Why a thread left the CPU.
        ///
        /// The kernel side decides it at switch-out, from the task's state and the system call in
        /// its saved registers; see `ebpf/src/reason.rs` for the order of the rules.
        #[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name = $value,)*
        }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The words that a person reads, the first frame of an off-CPU stack.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// Registers could not be read, or the thread slept before the agent could tell.
    Unknown = 0, "unknown";
    /// `epoll_wait` and its relatives: an event loop that waits for something to do.
    Epoll = 1, "epoll";
    /// `poll`, `ppoll`, `select`, `pselect6` with descriptors.
    Poll = 2, "poll";
    /// `futex` wait: a lock, a condition variable, a semaphore, a join.
    Futex = 3, "futex";
    /// Waits for bytes from a socket.
    SocketReceive = 4, "socket receive";
    /// Waits for room in a socket's send buffer.
    SocketSend = 5, "socket send";
    /// Waits for a connection.
    SocketAccept = 6, "socket accept";
    /// Waits for a connection to be made.
    SocketConnect = 7, "socket connect";
    /// Waits for bytes from a pipe.
    PipeRead = 8, "pipe read";
    /// Waits for room in a pipe.
    PipeWrite = 9, "pipe write";
    /// Reads an eventfd, timerfd, signalfd or another anonymous file.
    EventRead = 10, "eventfd read";
    /// Writes an eventfd or another anonymous file.
    EventWrite = 11, "eventfd write";
    /// Reads a regular file or directory (interruptible: most file waits are `Disk`).
    FileRead = 12, "file read";
    /// Writes a regular file.
    FileWrite = 13, "file write";
    /// Reads a character device: a terminal, for one.
    DeviceRead = 14, "device read";
    /// Writes a character device.
    DeviceWrite = 15, "device write";
    /// Uninterruptible, for storage: block I/O, write-back, `fsync`.
    Disk = 16, "disk";
    /// Uninterruptible, for something else inside the kernel.
    Uninterruptible = 17, "uninterruptible";
    /// `nanosleep`, or a poll without descriptors.
    Sleep = 18, "sleep";
    /// `wait4`, `waitid`, `vfork`.
    WaitChild = 19, "wait for child";
    /// A user-mode page fault that had to wait.
    PageFault = 20, "page fault";
    /// `io_uring_enter` waiting for completions.
    IoUring = 21, "io_uring";
    /// `sigtimedwait`, `sigsuspend`, `pause`.
    SignalWait = 22, "signal wait";
    /// Job control, a tracer, a frozen cgroup.
    Stopped = 23, "stopped";
    /// Another system call: its number travels beside the reason.
    Syscall = 24, "syscall";
    /// A 32-bit task: its system call numbers are another table, not interpreted.
    Compat32 = 25, "32-bit task";
}

/// How many reasons there are: the length of a table indexed by [`Reason`].
pub const REASONS: usize = 26;

const _: () = assert!(Reason::ALL.len() == REASONS);

impl Reason {
    /// The reason of a number that crossed the border; `Unknown` for one that nobody defined.
    pub const fn from_u8(value: u8) -> Self {
        if (value as usize) < REASONS {
            Self::ALL[value as usize]
        } else {
            Self::Unknown
        }
    }
}

/// What a system call waits for, as far as its number tells: the value of the table that the agent
/// fills for the running architecture and the kernel side reads by system call number. Most are a
/// [`Reason`]'s number; those from [`SyscallClass::ASK`] on depend on the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SyscallClass {
    /// Waits for what its name says, nothing more is known.
    Other = 0,
    /// `epoll_wait`, `epoll_pwait`, `epoll_pwait2`.
    Epoll = Reason::Epoll as u8,
    /// `poll`, `ppoll`: descriptor count in argument 1.
    Poll = Self::ASK,
    /// `select`, `pselect6`: highest descriptor plus one in argument 0.
    Select = Self::ASK + 1,
    /// `futex` and `futex_wait`, `futex_waitv`.
    Futex = Reason::Futex as u8,
    /// `recv*`.
    SocketReceive = Reason::SocketReceive as u8,
    /// `send*`.
    SocketSend = Reason::SocketSend as u8,
    /// `accept`, `accept4`.
    SocketAccept = Reason::SocketAccept as u8,
    /// `connect`.
    SocketConnect = Reason::SocketConnect as u8,
    /// `read`, `readv`, `pread64`…: the kind of the descriptor in argument 0 decides.
    Read = Self::ASK + 2,
    /// `write`, `writev`…: the kind of the descriptor in argument 0 decides.
    Write = Self::ASK + 3,
    /// `restart_syscall`: a call with a time limit that a stop interrupted goes on; the task's restart block
    /// decides.
    Restart = Self::ASK + 4,
    /// `fsync`, `fdatasync`, `sync`, `msync`…
    Sync = Reason::Disk as u8,
    /// `nanosleep`, `clock_nanosleep`.
    Sleep = Reason::Sleep as u8,
    /// `wait4`, `waitid`, `vfork`, and `clone`, which waits only for `CLONE_VFORK`.
    WaitChild = Reason::WaitChild as u8,
    /// `io_uring_enter`.
    IoUring = Reason::IoUring as u8,
    /// `rt_sigtimedwait`, `rt_sigsuspend`, `pause`.
    SignalWait = Reason::SignalWait as u8,
}

impl SyscallClass {
    /// From here on the arguments decide.
    pub const ASK: u8 = 128;
}

/// Entries of the class table: larger than any system call number of the 64-bit architectures.
pub const SYSCALL_TABLE: usize = 1024;

/// The system call number of a thread that is in none.
pub const NO_SYSCALL: u16 = u16::MAX;
