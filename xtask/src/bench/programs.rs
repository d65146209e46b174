//! Run time of the kernel programs that a process holds, from the kernel's own statistics.
//!
//! The figures come from `/proc/PID/fdinfo`, which needs no tool; names are not there and come
//! from `bpftool` when it is installed, else from the hook. The kernel measures the program alone:
//! what it costs to reach it (the trampoline, some tens of nanoseconds) shows in throughput only.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// BPF run-time statistics are on while this lives; then they are as before.
pub(super) struct Statistics {
    before: String,
}

impl Statistics {
    /// Switches them on.
    pub(super) fn enable() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, self.before.trim()) {
            eprintln!(
                "bench: cannot set {SWITCH} back to {}: {error}",
                self.before.trim()
            );
        }
    }
}

/// Runs and run time of one program so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    /// How often it ran while statistics were on.
    pub runs: u64,
    /// Time in it, in nanoseconds.
    pub run_ns: u64,
}

/// Costs by program id.
pub(super) type Costs = BTreeMap<u32, Cost>;

/// The programs that `pid` holds open.
pub(super) fn costs(pid: u32) -> Result<Costs> {
    let infos = fdinfo(pid)?;
    Ok(infos.iter().filter_map(|info| program(info)).collect())
}

/// What ran between two readings, by program.
pub(super) fn since(earlier: &Costs, now: &Costs) -> Costs {
    let difference = |(id, now): (&u32, &Cost)| {
        let before = earlier.get(id).copied().unwrap_or_default();
        let cost = Cost {
            runs: now.runs.saturating_sub(before.runs),
            run_ns: now.run_ns.saturating_sub(before.run_ns),
        };
        (*id, cost)
    };
    now.iter().map(difference).collect()
}

/// Names of the programs that `pid` holds: as `bpftool` says, else the hook, else the id.
pub(super) fn names(pid: u32) -> Result<BTreeMap<u32, String>> {
    let infos = fdinfo(pid)?;
    let ids = infos
        .iter()
        .filter_map(|info| program(info))
        .map(|(id, _)| id);
    let mut names: BTreeMap<u32, String> = ids.map(|id| (id, format!("program {id}"))).collect();
    for (id, hook) in infos.iter().filter_map(|info| hook(info)) {
        names.entry(id).and_modify(|name| *name = hook);
    }
    for (id, known) in bpftool_names() {
        names.entry(id).and_modify(|name| *name = known);
    }
    Ok(names)
}

/// The `fdinfo` of each descriptor; one that was closed meanwhile is left out.
fn fdinfo(pid: u32) -> Result<Vec<String>> {
    let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    Ok(entries.collect())
}

/// Parses the `fdinfo` of a program (`bpf_prog_show_fdinfo` in `kernel/bpf/syscall.c`).
fn program(info: &str) -> Option<(u32, Cost)> {
    field(info, "prog_type")?;
    let id = field(info, "prog_id")?.parse().ok()?;
    let runs = field(info, "run_cnt")?.parse().ok()?;
    let run_ns = field(info, "run_time_ns")?.parse().ok()?;
    Some((id, Cost { runs, run_ns }))
}

/// The hook of a link's program, from the link's `fdinfo`.
fn hook(info: &str) -> Option<(u32, String)> {
    let kind = field(info, "link_type")?;
    let id = field(info, "prog_id")?.parse().ok()?;
    let hook = field(info, "tp_name")
        .or_else(|| field(info, "name"))
        .unwrap_or(kind);
    Some((id, hook.to_owned()))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn bpftool_names() -> BTreeMap<u32, String> {
    let listed = Command::new("bpftool")
        .args(["prog", "show", "-j"])
        .output();
    let programs: Vec<serde_json::Value> = listed
        .ok()
        .and_then(|o| serde_json::from_slice(&o.stdout).ok())
        .unwrap_or_default();
    let named = |program: &serde_json::Value| {
        let id = u32::try_from(program.get("id")?.as_u64()?).ok()?;
        Some((id, program.get("name")?.as_str()?.to_owned()))
    };
    programs.iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "pos:\t0\nflags:\t02000002\nprog_type:\t26\nprog_jited:\t1\n\
        prog_tag:\t6896d07dd3e1383c\nmemlock:\t4096\nprog_id:\t109\nrun_time_ns:\t306305\n\
        run_cnt:\t358\nrecursion_misses:\t0\nverified_insns:\t138\n";
    const LINK: &str = "pos:\t0\nlink_type:\traw_tracepoint\nlink_id:\t90\n\
        prog_tag:\t6896d07dd3e1383c\nprog_id:\t109\ntp_name:\tsched_switch\ncookie:\t0\n";

    #[test]
    fn a_program_is_told_from_a_link_to_it() {
        assert_eq!(
            program(PROGRAM),
            Some((
                109,
                Cost {
                    runs: 358,
                    run_ns: 306_305
                }
            ))
        );
        assert_eq!(program(LINK), None);
        assert_eq!(hook(LINK), Some((109, "sched_switch".to_owned())));
        assert_eq!(hook(PROGRAM), None);
    }

    #[test]
    fn a_program_that_came_later_counts_from_zero() {
        let earlier = Costs::from([(
            1,
            Cost {
                runs: 10,
                run_ns: 1000,
            },
        )]);
        let now = Costs::from([
            (
                1,
                Cost {
                    runs: 12,
                    run_ns: 1500,
                },
            ),
            (2, Cost { runs: 1, run_ns: 7 }),
        ]);
        let expected = Costs::from([
            (
                1,
                Cost {
                    runs: 2,
                    run_ns: 500,
                },
            ),
            (2, Cost { runs: 1, run_ns: 7 }),
        ]);
        assert_eq!(since(&earlier, &now), expected);
    }
}
