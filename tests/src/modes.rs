//! The specimen's wait modes, and what a right attribution of each says.

/// One mode: its main thread does nothing but wait in one function for one reason.
#[derive(Clone, Copy, Debug)]
pub struct WaitMode {
    /// Argument of the specimen, and the name that its main thread takes.
    pub mode: &'static str,
    /// The function that makes the system call; `outer_…` and `run_waits` call it.
    pub function: &'static str,
    /// The label that the waits must carry.
    pub reason: &'static str,
    /// Names of the system call, by architecture; empty: a page fault, in none.
    pub syscalls: &'static [&'static str],
    /// Which thread ends the waits: `waker`, or none of the process.
    pub waker: Option<&'static str>,
    /// Its waits may be shorter than a millisecond, so `--min-block` must be low to see stacks.
    pub short: bool,
}

impl WaitMode {
    /// The first frame of its stacks: the reason, and the name of a system call that has none.
    pub fn first_frame(&self) -> String {
        match self.reason {
            "syscall" => format!("syscall {}", self.syscalls[0]),
            reason => reason.to_owned(),
        }
    }

    /// The function that calls [`WaitMode::function`].
    pub fn outer(&self) -> String {
        self.function.replacen("wait_in_", "outer_", 1)
    }
}

const fn mode(
    mode: &'static str,
    function: &'static str,
    reason: &'static str,
    syscalls: &'static [&'static str],
    waker: Option<&'static str>,
) -> WaitMode {
    WaitMode {
        mode,
        function,
        reason,
        syscalls,
        waker,
        short: false,
    }
}

const fn short(mode: WaitMode) -> WaitMode {
    WaitMode {
        short: true,
        ..mode
    }
}

const WAKER: Option<&str> = Some("waker");
const READ: &[&str] = &["read"];
const WRITE: &[&str] = &["write"];

/// Every mode that waits again and again.
pub const WAIT_MODES: &[WaitMode] = &[
    mode(
        "epoll",
        "wait_in_epoll_wait",
        "epoll",
        &["epoll_wait", "epoll_pwait"],
        WAKER,
    ),
    mode("poll", "wait_in_poll", "poll", &["poll", "ppoll"], WAKER),
    mode(
        "select",
        "wait_in_select",
        "poll",
        &["select", "pselect6"],
        WAKER,
    ),
    mode(
        "poll-nothing",
        "wait_in_poll_nothing",
        "sleep",
        &["ppoll"],
        None,
    ),
    mode(
        "nanosleep",
        "wait_in_nanosleep",
        "sleep",
        &["nanosleep"],
        None,
    ),
    mode(
        "clock-nanosleep",
        "wait_in_clock_nanosleep",
        "sleep",
        &["clock_nanosleep"],
        None,
    ),
    mode(
        "eventfd-read",
        "wait_in_read_eventfd",
        "eventfd read",
        READ,
        WAKER,
    ),
    mode(
        "eventfd-write",
        "wait_in_write_eventfd",
        "eventfd write",
        WRITE,
        WAKER,
    ),
    mode("pipe-read", "wait_in_read_pipe", "pipe read", READ, WAKER),
    mode(
        "pipe-write",
        "wait_in_write_pipe",
        "pipe write",
        WRITE,
        WAKER,
    ),
    mode(
        "io-uring",
        "wait_in_io_uring",
        "io_uring",
        &["io_uring_enter"],
        WAKER,
    ),
    mode(
        "message-queue",
        "wait_in_message_queue",
        "syscall",
        &["mq_timedreceive"],
        WAKER,
    ),
    mode(
        "receive-unix",
        "wait_in_receive",
        "socket receive",
        &["recvfrom"],
        WAKER,
    ),
    mode(
        "receive-tcp",
        "wait_in_receive",
        "socket receive",
        &["recvfrom"],
        WAKER,
    ),
    mode(
        "read-socket",
        "wait_in_read_socket",
        "socket receive",
        READ,
        WAKER,
    ),
    mode(
        "send-unix",
        "wait_in_send",
        "socket send",
        &["sendto"],
        WAKER,
    ),
    mode(
        "send-tcp",
        "wait_in_send",
        "socket send",
        &["sendto"],
        WAKER,
    ),
    mode(
        "accept",
        "wait_in_accept",
        "socket accept",
        &["accept4"],
        WAKER,
    ),
    mode(
        "connect-unix",
        "wait_in_connect",
        "socket connect",
        &["connect"],
        WAKER,
    ),
    mode(
        "connect-tcp",
        "wait_in_connect",
        "socket connect",
        &["connect"],
        None,
    ),
    mode(
        "futex-lock",
        "wait_in_futex_lock",
        "futex",
        &["futex"],
        WAKER,
    ),
    mode(
        "futex-condition",
        "wait_in_futex_condition",
        "futex",
        &["futex"],
        WAKER,
    ),
    mode(
        "sigtimedwait",
        "wait_in_sigtimedwait",
        "signal wait",
        &["rt_sigtimedwait"],
        None,
    ),
    mode(
        "pause",
        "wait_in_pause",
        "signal wait",
        &["pause", "rt_sigsuspend"],
        WAKER,
    ),
    mode("page-fault", "wait_in_page_fault", "page fault", &[], WAKER),
    mode(
        "wait-child",
        "wait_in_wait_child",
        "wait for child",
        &["wait4"],
        None,
    ),
    mode(
        "vfork",
        "wait_in_vfork",
        "wait for child",
        &["vfork", "clone"],
        None,
    ),
    mode(
        "clone-vfork",
        "wait_in_clone",
        "wait for child",
        &["clone"],
        None,
    ),
    mode(
        "clone3-vfork",
        "wait_in_clone3",
        "wait for child",
        &["clone3"],
        None,
    ),
    short(mode("fsync", "wait_in_fsync", "disk", &["fsync"], None)),
    short(mode(
        "disk-read",
        "wait_in_read_disk",
        "disk",
        &["pread64"],
        None,
    )),
];

/// The mode of this name.
///
/// # Panics
/// When there is none.
pub fn wait_mode(name: &str) -> &'static WaitMode {
    let found = WAIT_MODES.iter().find(|mode| mode.mode == name);
    found.unwrap_or_else(|| panic!("no wait mode {name}"))
}
