//! May we observe at all? The facts of this host and of our privileges, and what stands in the way.
//!
//! Facts are read once ([`Preflight::read`], which cannot fail: what cannot be read is `None`) and
//! judged apart ([`Preflight::problems`], a pure function), so each verdict is tested on made-up
//! facts and `remora doctor` shows the same facts that `remora record` is refused by.

mod capability;
mod problem;
mod sources;

pub(crate) use capability::{CapState, Capability};
pub(crate) use problem::CannotObserve;

use remora_process::{escape, proc_fs};
use rustix::process::Resource;

/// The inode of the initial PID namespace: `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// The inode of the initial user namespace: `PROC_USER_INIT_INO`, there too.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Kernel lockdown, kernel_lockdown(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lockdown {
    /// Off.
    None,
    /// The kernel may not be changed from user space: no harm to us.
    Integrity,
    /// Nor may its memory be read: BPF programs and performance events are refused.
    Confidentiality,
    /// Not built in, or not to be read.
    Unavailable,
}

/// What decides whether we can observe, and how well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preflight {
    /// Effective user id.
    pub uid: u32,
    /// Capabilities that matter; `None` when `/proc` cannot be read.
    pub caps: Option<Vec<CapState>>,
    /// Kernel lockdown.
    pub lockdown: Lockdown,
    /// We run in the initial PID namespace; `None`: not known.
    pub pid_namespace_initial: Option<bool>,
    /// We run in the initial user namespace; `None`: not known.
    pub user_namespace_initial: Option<bool>,
    /// The `hidepid` option of `/proc`, unless it is off.
    pub hidepid: Option<String>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i64>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i64>,
    /// `kernel.perf_event_max_stack`: frames in one stack at the most.
    pub perf_event_max_stack: Option<i64>,
    /// `kernel.kptr_restrict`: from 2 on kernel functions have no names, for anyone.
    pub kptr_restrict: Option<i64>,
    /// Kernel release, `uname -r`.
    pub kernel: String,
    /// Machine, `uname -m`.
    pub arch: String,
    /// CPUs that are online, 0 = not known.
    pub cpus: usize,
    /// Soft limit of locked memory in bytes (maps count against it before 5.11); `None`: unlimited.
    pub memlock_bytes: Option<u64>,
    /// Soft limit of open files (each target takes two); `None`: unlimited.
    pub open_files: Option<u64>,
}

impl Preflight {
    /// Reads the facts of this host and this process.
    pub(crate) fn read() -> Self {
        let uname = rustix::system::uname();
        let status = proc_fs::status("self").ok();
        Self {
            uid: rustix::process::geteuid().as_raw(),
            caps: status
                .as_deref()
                .and_then(sources::effective)
                .map(capability::states),
            lockdown: sources::lockdown(),
            pid_namespace_initial: sources::namespace("pid").map(|ns| ns == INITIAL_PID_NAMESPACE),
            user_namespace_initial: sources::namespace("user")
                .map(|ns| ns == INITIAL_USER_NAMESPACE),
            hidepid: sources::hidepid(),
            unprivileged_bpf_disabled: sources::sysctl("unprivileged_bpf_disabled"),
            perf_event_paranoid: sources::sysctl("perf_event_paranoid"),
            perf_event_max_stack: sources::sysctl("perf_event_max_stack"),
            kptr_restrict: sources::sysctl("kptr_restrict"),
            kernel: escape(uname.release().to_bytes()),
            arch: escape(uname.machine().to_bytes()),
            cpus: sources::cpus(),
            memlock_bytes: rustix::process::getrlimit(Resource::Memlock).current,
            open_files: rustix::process::getrlimit(Resource::Nofile).current,
        }
    }

    /// Whether a capability is granted; `false` when that is not known.
    pub(crate) fn has(&self, capability: Capability) -> bool {
        let states = self.caps.as_deref().unwrap_or_default();
        states
            .iter()
            .any(|state| state.capability == capability && state.granted)
    }
}

/// The facts, when nothing stands in the way.
///
/// To be called before targets are resolved: in a PID namespace or without privileges a pid can
/// look missing that is there.
///
/// # Errors
/// All that stands in the way.
pub(crate) fn check() -> Result<Preflight, CannotObserve> {
    let preflight = Preflight::read();
    let problems = preflight.problems();
    if problems.is_empty() {
        Ok(preflight)
    } else {
        Err(CannotObserve { problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_this_host_are_read() {
        let facts = Preflight::read();
        assert_eq!(
            facts.caps.as_ref().map(Vec::len),
            Some(Capability::ALL.len())
        );
        assert!(facts.pid_namespace_initial.is_some() && facts.user_namespace_initial.is_some());
        assert!(facts.perf_event_paranoid.is_some());
        assert!(
            facts
                .kernel
                .starts_with(|first: char| first.is_ascii_digit()),
            "{}",
            facts.kernel
        );
        assert_eq!(facts.arch, std::env::consts::ARCH);
        let usable = std::thread::available_parallelism().unwrap().get();
        assert!(
            facts.cpus >= usable,
            "{} CPUs online, {usable} usable",
            facts.cpus
        );
    }

    #[test]
    fn check_and_facts_agree() {
        let problems = Preflight::read().problems();
        match check() {
            Ok(_) => assert!(problems.is_empty()),
            Err(refused) => assert_eq!(refused.problems, problems),
        }
    }
}
