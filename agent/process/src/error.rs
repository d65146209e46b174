//! Why a process cannot be watched: one line each that says what, why and what to do.

use super::{describe, proc_fs};
use rustix::io::Errno;
use std::io;

/// Containers named in one message at the most.
const MAX_INSIDE: usize = 3;

/// A process that has the wanted pid inside its own PID namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Its pid on the host.
    pub host_pid: u32,
    /// Its name, escaped.
    pub comm: String,
}

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Neither a pid nor a name was given.
    #[error("no target: nothing says which process to watch: give --pid PID or --comm NAME")]
    NothingSelected,
    /// Nothing has this pid.
    #[error("{}", no_such_process_text(*.pid, .inside))]
    NoSuchProcess {
        /// The pid as given.
        pid: u32,
        /// Processes that have it inside a container, a few at most.
        inside: Vec<Inside>,
    },
    /// The pid is a thread's.
    #[error(
        "thread {tid} belongs to process {pid} ({comm}): a target is a whole process: use --pid {pid}"
    )]
    Thread {
        /// The thread id as given.
        tid: u32,
        /// Its process.
        pid: u32,
        /// Name of that process, escaped.
        comm: String,
    },
    /// The kernel's own thread.
    #[error(
        "{pid} ({comm}) is a kernel thread: it has no user code to watch: choose the pid of a process"
    )]
    KernelThread {
        /// Its pid.
        pid: u32,
        /// Its name, escaped.
        comm: String,
    },
    /// Exited, and still in the process table.
    #[error(
        "process {pid} ({comm}) is a zombie: it has exited, its parent {parent} ({parent_comm}) has \
         not reaped it: choose a living process"
    )]
    Zombie {
        /// Its pid.
        pid: u32,
        /// Its name, escaped.
        comm: String,
        /// Its parent.
        parent: u32,
        /// The parent's name, escaped.
        parent_comm: String,
    },
    /// The agent itself.
    #[error("process {pid} is remora itself: it does not watch itself: choose another process")]
    Ourselves {
        /// Its pid.
        pid: u32,
    },
    /// The process exists, but `/proc` does not show it.
    #[error(
        "process {pid} is hidden: it exists, but /proc does not show it to us (hidepid): run as root, \
         or remount /proc with hidepid=0"
    )]
    Hidden {
        /// Its pid.
        pid: u32,
    },
    /// No process has this name.
    #[error("{}", no_match_text(.name, *.kernel_thread, .near))]
    NoMatch {
        /// The name as given.
        name: String,
        /// A kernel thread has it.
        kernel_thread: bool,
        /// Names like it, the nearest first; escaped.
        near: Vec<String>,
    },
    /// `/proc` cannot be listed.
    #[error(
        "/proc cannot be read ({0}): processes are found there: mount it with `mount -t proc proc /proc`"
    )]
    Proc(#[source] io::Error),
    /// The kernel gave no handle on a process that exists.
    #[error("no handle on process {pid} ({errno}): {}", handle_advice(*.errno))]
    Handle {
        /// Its pid.
        pid: u32,
        /// What `pidfd_open` said.
        errno: Errno,
    },
}

impl TargetError {
    /// Whether the process is simply not there any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::NoSuchProcess { .. } | Self::Zombie { .. })
    }

    /// Looks for the missing pid inside of containers, where people read it.
    pub(super) fn explained(self) -> Self {
        match self {
            Self::NoSuchProcess { pid, .. } => Self::NoSuchProcess {
                pid,
                inside: inside_containers(pid),
            },
            other => other,
        }
    }
}

/// Nothing has this pid, and nobody has searched the containers.
pub(super) fn no_such_process(pid: u32) -> TargetError {
    TargetError::NoSuchProcess {
        pid,
        inside: Vec::new(),
    }
}

/// `tid` is a thread of `pid`.
pub(super) fn thread(tid: u32, pid: u32) -> TargetError {
    TargetError::Thread {
        tid,
        pid,
        comm: name_of(pid),
    }
}

/// The process has exited: whether its parent has taken note.
pub(super) fn ended(pid: u32) -> TargetError {
    match proc_fs::stat(pid) {
        Some(stat) if stat.state == b'Z' => TargetError::Zombie {
            pid,
            comm: describe::escape(&stat.comm),
            parent: stat.parent,
            parent_comm: name_of(stat.parent),
        },
        _ => no_such_process(pid),
    }
}

fn name_of(pid: u32) -> String {
    describe::name(pid).unwrap_or_else(|| "?".to_owned())
}

fn inside_containers(pid: u32) -> Vec<Inside> {
    let processes = proc_fs::processes().unwrap_or_default();
    let inside = processes
        .into_iter()
        .filter(|host_pid| proc_fs::status(host_pid).is_ok_and(|status| has_inside(&status, pid)));
    inside
        .map(|host_pid| Inside {
            host_pid,
            comm: name_of(host_pid),
        })
        .take(MAX_INSIDE)
        .collect()
}

/// Whether a process has the pid in a namespace below ours.
fn has_inside(status: &[u8], pid: u32) -> bool {
    proc_fs::namespace_pids(status)
        .iter()
        .skip(1)
        .any(|inner| *inner == pid)
}

fn no_such_process_text(pid: u32, inside: &[Inside]) -> String {
    match inside {
        [] => format!("no process {pid}. List processes: ps -e"),
        [Inside { host_pid, comm }] => format!(
            "no process {pid} here; inside a container pid {pid} is {comm} (host pid {host_pid}): \
             use --pid {host_pid}"
        ),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|Inside { host_pid, comm }| format!("{comm} (host pid {host_pid})"))
                .collect();
            format!(
                "no process {pid} here; inside containers pid {pid} is {}: use --pid with the host \
                 pid of the one you mean",
                names.join(", ")
            )
        }
    }
}

fn no_match_text(name: &str, kernel_thread: bool, near: &[String]) -> String {
    let name = describe::escape(name.as_bytes());
    if kernel_thread {
        return format!(
            "{name} is a kernel thread: it has no user code to watch: choose the name of a process"
        );
    }
    let advice = match near {
        [] => "see `ps -e -o pid,comm` for the names".to_owned(),
        near => format!("did you mean {}?", near.join(", ")),
    };
    format!("no process is named {name}: --comm wants the name as in /proc/PID/comm: {advice}")
}

fn handle_advice(errno: Errno) -> &'static str {
    match errno {
        Errno::MFILE | Errno::NFILE => {
            "each target takes an open file: raise the limit with `ulimit -n`"
        }
        Errno::NOSYS => "pidfd_open is missing: a kernel of 5.3 or later is needed",
        Errno::PERM | Errno::ACCESS => {
            "pidfd_open is forbidden: run as root, without a seccomp filter that blocks it"
        }
        _ => "pidfd_open failed: try again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(host_pid: u32, comm: &str) -> Inside {
        Inside {
            host_pid,
            comm: comm.to_owned(),
        }
    }

    #[test]
    fn a_pid_of_a_container_is_translated() {
        let missing = |inside| TargetError::NoSuchProcess { pid: 17, inside }.to_string();
        assert_eq!(missing(vec![]), "no process 17. List processes: ps -e");
        assert_eq!(
            missing(vec![inside(82133, "python3")]),
            "no process 17 here; inside a container pid 17 is python3 (host pid 82133): \
             use --pid 82133"
        );
        assert_eq!(
            missing(vec![inside(82133, "python3"), inside(90, "redis-server")]),
            "no process 17 here; inside containers pid 17 is python3 (host pid 82133), \
             redis-server (host pid 90): use --pid with the host pid of the one you mean"
        );
    }

    #[test]
    fn only_inner_pids_are_inside() {
        let status = b"Name:\tx\nNSpid:\t17\t5\t1\n";
        assert!(has_inside(status, 5) && has_inside(status, 1));
        assert!(!has_inside(status, 17));
    }

    #[test]
    fn a_hostile_name_cannot_break_the_line() {
        let name = "a\n\u{1b}[2J".to_owned();
        let text = TargetError::NoMatch {
            name,
            kernel_thread: false,
            near: vec![],
        }
        .to_string();
        assert!(!text.contains(char::is_control), "{text}");
    }

    #[test]
    fn the_advice_fits_the_refusal() {
        let text = TargetError::Handle {
            pid: 9,
            errno: Errno::MFILE,
        }
        .to_string();
        assert!(text.contains("ulimit -n"), "{text}");
        let text = TargetError::Handle {
            pid: 9,
            errno: Errno::NOSYS,
        }
        .to_string();
        assert!(text.contains("5.3"), "{text}");
    }
}
