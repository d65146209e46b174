//! A system call with its arguments, as `strace` writes it.

use remora_model::display::text::clean;
use remora_model::{Reason, Syscall, Thread};

/// `AT_FDCWD` of `include/uapi/linux/fcntl.h`.
const CURRENT_FOLDER: i32 = -100;

/// `O_*` of x86-64 and arm64 that are the same on both; the access mode is told apart.
const OPEN_FLAGS: [(u64, &str); 9] = [
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10000, "O_DSYNC"),
    (0o1_000_000, "O_NOATIME"),
    (0o2_000_000, "O_CLOEXEC"),
];

/// `openat(AT_FDCWD, "/run/queue", O_WRONLY|O_CREAT|O_CLOEXEC)`, with what stands behind the path.
pub(super) fn of(thread: &Thread, path: &str) -> String {
    let now = &thread.now;
    let Some(call) = now.syscall.map(Syscall::name) else {
        return match now.reason {
            Some(Reason::PageFault) => "none: a page fault".to_owned(),
            _ => "none".to_owned(),
        };
    };
    let args = now.args.iter().take(arity(call)).enumerate();
    let args: Vec<String> = args
        .map(|(at, arg)| match (at, call) {
            _ if Some(at) == path_at(call) && !path.is_empty() => format!("\"{}\"", clean(path)),
            (1, "open") | (2, "openat") => open_flags(*arg),
            (1, "flock") => lock_operation(*arg),
            (0, _) if takes_folder(call) && *arg as i32 == CURRENT_FOLDER => "AT_FDCWD".to_owned(),
            _ => number(*arg),
        })
        .collect();
    format!("{call}({})", args.join(", "))
}

fn number(arg: u64) -> String {
    match arg {
        small if small < 4096 => small.to_string(),
        // An `int` below zero, extended or not; a pointer whose lower half looks like one has an upper half.
        other => match (other >> 32, other as i32) {
            (0 | 0xffff_ffff, below @ -4096..0) => below.to_string(),
            _ => format!("{other:#x}"),
        },
    }
}

fn open_flags(flags: u64) -> String {
    let mode = match flags & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        _ => "O_RDWR",
    };
    let named = OPEN_FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let mut words: Vec<String> = vec![mode.to_owned()];
    words.extend(named.map(|(_, name)| (*name).to_owned()));
    let known = OPEN_FLAGS.iter().fold(3, |bits, (bit, _)| bits | bit);
    if flags & !known != 0 {
        words.push(format!("{:#x}", flags & !known));
    }
    words.join("|")
}

/// `LOCK_*` of `flock(2)`.
fn lock_operation(operation: u64) -> String {
    let what = match operation & !4 {
        1 => "LOCK_SH",
        2 => "LOCK_EX",
        8 => "LOCK_UN",
        _ => return number(operation),
    };
    let flag = if operation & 4 != 0 { "|LOCK_NB" } else { "" };
    format!("{what}{flag}")
}

/// Which argument is a path.
fn path_at(call: &str) -> Option<usize> {
    match call {
        "open" | "creat" | "stat" | "lstat" | "access" | "truncate" | "unlink" | "mkdir"
        | "rmdir" | "chmod" | "chown" | "readlink" | "getxattr" | "setxattr" | "statfs"
        | "execve" => Some(0),
        _ if takes_folder(call) => Some(1),
        _ => None,
    }
}

/// Whether the first argument is the descriptor of a folder, and the second a path.
fn takes_folder(call: &str) -> bool {
    matches!(
        call,
        "openat"
            | "openat2"
            | "newfstatat"
            | "statx"
            | "faccessat"
            | "faccessat2"
            | "unlinkat"
            | "mkdirat"
            | "readlinkat"
            | "fchmodat"
            | "fchownat"
            | "utimensat"
    )
}

/// Arguments that are worth showing.
fn arity(name: &str) -> usize {
    match name {
        "close" | "fsync" | "fdatasync" | "unlink" | "rmdir" | "brk" => 1,
        "flock" | "open" | "munmap" | "stat" | "mkdir" => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_pointer_is_no_number_below_zero() {
        assert_eq!(number(0x7ffd_ffff_f010), "0x7ffdfffff010");
        assert_eq!(number(0xffff_ff9c), "-100");
        assert_eq!(number(u64::MAX), "-1");
        assert_eq!(number(5), "5");
    }
}
