//! What stands in the way, told from the facts alone.

use super::{Capability, Lockdown, Preflight};
use std::fmt;

/// Something without which nothing can be observed; one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong.
    pub what: String,
    /// Why that stands in the way.
    pub why: String,
    /// What to do.
    pub todo: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: {}", self.what, self.why, self.todo)
    }
}

/// All that stands in the way: one line each, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.problems))]
pub(crate) struct CannotObserve {
    /// The gravest first.
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn problem(what: &str, why: impl Into<String>, todo: &str) -> Problem {
    Problem {
        what: what.to_owned(),
        why: why.into(),
        todo: todo.to_owned(),
    }
}

impl Preflight {
    /// What stands in the way, the gravest first; empty: we may observe.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let checks = [
            self.proc_unreadable(),
            self.inside_pid_namespace(),
            self.inside_user_namespace(),
            self.missing_capabilities(),
            self.locked_down(),
            self.processes_hidden(),
        ];
        checks.into_iter().flatten().collect()
    }

    fn proc_unreadable(&self) -> Option<Problem> {
        self.caps.is_none().then(|| {
            problem(
                "/proc cannot be read",
                "processes and our own privileges are found there",
                "mount it with `mount -t proc proc /proc`, that of the PID namespace we run in",
            )
        })
    }

    fn inside_pid_namespace(&self) -> Option<Problem> {
        (self.pid_namespace_initial == Some(false)).then(|| {
            problem(
                "remora runs inside a PID namespace",
                "the kernel's process ids are those of the host and would not match ours",
                "run it on the host, or the container with --pid=host (hostPID: true)",
            )
        })
    }

    fn inside_user_namespace(&self) -> Option<Problem> {
        (self.user_namespace_initial == Some(false)).then(|| {
            problem(
                "remora runs inside a user namespace",
                "capabilities count only inside of it, and kernel programs need the host's",
                "run it as root on the host, or in a container that is not rootless",
            )
        })
    }

    fn missing_capabilities(&self) -> Option<Problem> {
        let missing: Vec<&str> = self
            .caps
            .iter()
            .flatten()
            .filter(|state| state.capability.is_required() && !state.granted)
            .map(|state| state.capability.name())
            .collect();
        let todo = if self.uid == 0 {
            "root was stripped of them: give them back (--cap-add of the container, \
             CapabilityBoundingSet= of the service)"
        } else {
            "run as root, with `sudo`"
        };
        let why = format!("missing {}", missing.join(", "));
        (!missing.is_empty()).then(|| problem("not enough privileges", why, todo))
    }

    fn locked_down(&self) -> Option<Problem> {
        (self.lockdown == Lockdown::Confidentiality).then(|| {
            problem(
                "kernel lockdown is set to confidentiality",
                "BPF programs may not read kernel memory then",
                "boot with lockdown=integrity, or without it",
            )
        })
    }

    fn processes_hidden(&self) -> Option<Problem> {
        let option = self.hidepid.as_ref()?;
        (!self.has(Capability::SysPtrace)).then(|| {
            problem(
                "/proc hides processes",
                format!("it is mounted with hidepid={option} and CAP_SYS_PTRACE is missing"),
                "run as root, or remount it: `mount -o remount,hidepid=0 /proc`",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::capability::states;
    use super::*;

    /// A host where all is well.
    fn well() -> Preflight {
        Preflight {
            uid: 0,
            caps: Some(states(u64::MAX)),
            lockdown: Lockdown::Integrity,
            pid_namespace_initial: Some(true),
            user_namespace_initial: Some(true),
            hidepid: None,
            unprivileged_bpf_disabled: Some(2),
            perf_event_paranoid: Some(4),
            perf_event_max_stack: Some(127),
            kptr_restrict: Some(1),
            kernel: "6.1.0".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 4,
            memlock_bytes: Some(8 << 20),
            open_files: Some(1024),
        }
    }

    fn only(facts: &Preflight) -> String {
        let problems = facts.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    }

    #[test]
    fn root_on_an_open_host_may_observe() {
        assert_eq!(well().problems(), []);
        let hidden = Preflight {
            hidepid: Some("invisible".to_owned()),
            ..well()
        };
        assert_eq!(hidden.problems(), [], "CAP_SYS_PTRACE sees all");
        let unknown = Preflight {
            lockdown: Lockdown::Unavailable,
            pid_namespace_initial: None,
            user_namespace_initial: None,
            ..well()
        };
        assert_eq!(unknown.problems(), [], "what is not known is no problem");
    }

    #[test]
    fn missing_capabilities_are_named() {
        let user = Preflight {
            uid: 1000,
            caps: Some(states(0)),
            ..well()
        };
        assert_eq!(
            only(&user),
            "not enough privileges: missing CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE: \
             run as root, with `sudo`"
        );
        let stripped = Preflight {
            caps: Some(states(!(1 << 19))),
            ..well()
        };
        let text = only(&stripped);
        assert!(
            text.contains("missing CAP_SYS_PTRACE: root was stripped"),
            "{text}"
        );
        let enough = Preflight {
            uid: 1000,
            caps: Some(states(1 << 21 | 1 << 19)),
            ..well()
        };
        assert_eq!(enough.problems(), []);
    }

    #[test]
    fn namespaces_and_lockdown_stand_in_the_way() {
        let pid = only(&Preflight {
            pid_namespace_initial: Some(false),
            ..well()
        });
        assert!(pid.contains("--pid=host"), "{pid}");
        let user = only(&Preflight {
            user_namespace_initial: Some(false),
            ..well()
        });
        assert!(user.contains("user namespace"), "{user}");
        let locked = only(&Preflight {
            lockdown: Lockdown::Confidentiality,
            ..well()
        });
        assert!(locked.contains("confidentiality"), "{locked}");
    }

    #[test]
    fn without_proc_no_capability_is_called_missing() {
        let blind = only(&Preflight {
            caps: None,
            ..well()
        });
        assert!(blind.starts_with("/proc cannot be read"), "{blind}");
    }

    #[test]
    fn problems_are_one_line_each() {
        let problems = Preflight {
            uid: 1000,
            caps: Some(states(0)),
            lockdown: Lockdown::Confidentiality,
            pid_namespace_initial: Some(false),
            hidepid: Some("2".to_owned()),
            ..well()
        }
        .problems();
        assert_eq!(problems.len(), 4);
        assert!(
            problems[0].what.contains("PID namespace"),
            "the gravest first"
        );
        let text = CannotObserve { problems }.to_string();
        assert_eq!(text.lines().count(), 4);
    }
}
