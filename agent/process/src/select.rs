//! From what was typed to the processes that are meant.

use super::{Target, TargetError, escape, family, is_ourselves, proc_fs, workers};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a name that the kernel keeps: `TASK_COMM_LEN` without its NUL
/// (`include/linux/sched.h`).
const COMM_BYTES: usize = 15;
/// Names proposed when none matches.
const MAX_NEAR: usize = 5;
/// Jaro-Winkler similarity from which on a name is proposed.
const NEAR: f64 = 0.75;

/// Targets as typed on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Process ids (`--pid`); one may be given twice.
    pub pids: Vec<u32>,
    /// All processes of this name (`--comm`). Beyond 15 bytes it is compared by its first 15: the
    /// kernel keeps no more.
    pub comm: Option<String>,
    /// Their descendants too (`--children`).
    pub children: bool,
    /// The children of those that have no work of their own, a shell or the master of workers, as far as they share
    /// its program or its process group.
    pub workers: bool,
}

/// Takes hold of every selected process: each once, in the order of their pids, at least one.
///
/// What forks between this and the attachment of the kernel side is missed: with `children`,
/// resolve again once the fork hook is in place.
///
/// # Errors
/// When nothing is selected, when a pid is no target, when no process has the name, or when `/proc`
/// cannot be read. Processes that vanish while they are found by name or descent are left out.
pub fn resolve(selection: &Selection) -> Result<Vec<Target>, TargetError> {
    // Without /proc every process would look hidden.
    proc_fs::status("self").map_err(TargetError::Proc)?;
    let mut targets = BTreeMap::new();
    for pid in selection.pids.iter().copied() {
        if let Entry::Vacant(slot) = targets.entry(pid) {
            slot.insert(Target::of(pid).map_err(TargetError::explained)?);
        }
    }
    if let Some(name) = &selection.comm {
        add_named(&mut targets, name)?;
    }
    if targets.is_empty() {
        return Err(TargetError::NothingSelected);
    }
    if selection.children {
        family::add_descendants(&mut targets)?;
    } else if selection.workers {
        workers::add(&mut targets)?;
    }
    Ok(targets.into_values().collect())
}

/// Adds all processes of this name, but for ourselves.
fn add_named(targets: &mut BTreeMap<u32, Target>, name: &str) -> Result<(), TargetError> {
    let wanted = kept(name);
    let (mut matched, mut kernel_thread) = (false, false);
    let mut others = BTreeSet::new();
    for pid in proc_fs::processes().map_err(TargetError::Proc)? {
        let Some(stat) = proc_fs::stat(pid).filter(|_| !is_ourselves(pid)) else {
            continue;
        };
        if stat.is_kernel_thread() {
            // Workers have longer names: whole ones, as `ps` shows them.
            kernel_thread |= stat.comm == name.as_bytes();
        } else if stat.comm != wanted {
            others.insert(escape(&stat.comm));
        } else {
            matched |= add_living(targets, pid)?;
        }
    }
    if matched {
        return Ok(());
    }
    Err(TargetError::NoMatch {
        name: name.to_owned(),
        kernel_thread,
        near: near(wanted, &others),
    })
}

/// Adds a process unless it has just ended: whether it is among the targets now.
fn add_living(targets: &mut BTreeMap<u32, Target>, pid: u32) -> Result<bool, TargetError> {
    if let Entry::Vacant(slot) = targets.entry(pid) {
        match Target::of(pid) {
            Ok(target) => slot.insert(target),
            Err(error) if error.is_gone() => return Ok(false),
            Err(error) => return Err(error),
        };
    }
    Ok(true)
}

/// What the kernel keeps of a name.
fn kept(name: &str) -> &[u8] {
    let name = name.as_bytes();
    name.get(..COMM_BYTES).unwrap_or(name)
}

/// The names most like the wanted one, the nearest first.
fn near(wanted: &[u8], names: &BTreeSet<String>) -> Vec<String> {
    let wanted = escape(wanted).to_lowercase();
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut scored: Vec<(f64, &String)> = names
        .iter()
        .map(|name| (likeness(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= NEAR)
        .collect();
    scored.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    scored
        .into_iter()
        .take(MAX_NEAR)
        .map(|(_, name)| name.clone())
        .collect()
}

fn likeness(wanted: &str, name: &str) -> f64 {
    if name.contains(wanted) {
        1.0
    } else {
        strsim::jaro_winkler(wanted, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::{self, Running};

    fn of_pids(pids: &[u32]) -> Selection {
        Selection {
            pids: pids.to_vec(),
            ..Selection::default()
        }
    }

    fn of_name(name: &str) -> Selection {
        Selection {
            comm: Some(name.to_owned()),
            ..Selection::default()
        }
    }

    fn pids(selection: &Selection) -> Vec<u32> {
        resolve(selection)
            .unwrap()
            .iter()
            .map(Target::pid)
            .collect()
    }

    #[test]
    fn nothing_selected_is_an_error() {
        let error = resolve(&Selection {
            children: true,
            ..Selection::default()
        })
        .unwrap_err();
        assert!(matches!(error, TargetError::NothingSelected), "{error}");
    }

    #[test]
    fn pids_are_sorted_and_duplicates_folded() {
        let one = Running::new("sleep", &["300"]);
        let two = Running::new("sleep", &["300"]);
        let (one, two) = (one.pid().min(two.pid()), one.pid().max(two.pid()));
        assert_eq!(pids(&of_pids(&[two, one, two])), [one, two]);
    }

    #[test]
    fn one_missing_pid_is_an_error() {
        let here = Running::new("sleep", &["300"]);
        let mut gone = Running::new("true", &[]);
        gone.reap();
        let error = resolve(&of_pids(&[here.pid(), gone.pid()])).unwrap_err();
        assert!(matches!(error, TargetError::NoSuchProcess { pid, .. } if pid == gone.pid()));
    }

    #[test]
    fn a_name_matches_wholly_and_long_ones_by_15_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let long = specimen::copy_of_sleep(folder.path(), "remora-specimen-long");
        let short = specimen::copy_of_sleep(folder.path(), "remora-specim");
        let long = [(); 2].map(|()| Running::new(long.to_str().unwrap(), &["300"]));
        let short = Running::new(short.to_str().unwrap(), &["300"]);
        let mut both = long.each_ref().map(Running::pid);
        both.sort_unstable();
        for name in [
            "remora-specimen",
            "remora-specimen-long",
            "remora-specimen-lost",
        ] {
            assert_eq!(pids(&of_name(name)), both, "{name}");
        }
        assert_eq!(pids(&of_name("remora-specim")), [short.pid()]);
        let named_twice = Selection {
            pids: vec![both[0]],
            ..of_name("remora-specimen")
        };
        assert_eq!(pids(&named_twice), both);

        let error = resolve(&of_name("remora-spexim")).unwrap_err();
        let TargetError::NoMatch {
            near,
            kernel_thread,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert!(near.iter().any(|name| name == "remora-specim"), "{near:?}");
        assert!(!kernel_thread);
    }

    #[test]
    fn neither_we_nor_the_dead_match_a_name() {
        let own = proc_fs::stat(std::process::id()).unwrap().comm;
        let own = String::from_utf8(own).unwrap();
        // Another run of these tests may have the same name.
        match resolve(&of_name(&own)) {
            Ok(targets) => assert!(
                targets
                    .iter()
                    .all(|target| target.pid() != std::process::id())
            ),
            Err(error) => assert!(matches!(error, TargetError::NoMatch { .. }), "{error}"),
        }
        let folder = tempfile::tempdir().unwrap();
        let path = specimen::copy_of_sleep(folder.path(), "remora-dead");
        let dead = Running::new(path.to_str().unwrap(), &["0"]);
        dead.await_death();
        let error = resolve(&of_name("remora-dead")).unwrap_err();
        assert!(matches!(error, TargetError::NoMatch { .. }), "{error}");
    }

    #[test]
    fn a_kernel_threads_name_is_told_from_a_wrong_one() {
        if proc_fs::stat(2).is_none_or(|stat| stat.comm != b"kthreadd") {
            remora_testing::skip("pid 2 is not kthreadd here");
            return;
        }
        let text = resolve(&of_name("kthreadd")).unwrap_err().to_string();
        assert!(text.starts_with("kthreadd is a kernel thread"), "{text}");
    }

    #[test]
    fn children_are_targets_when_asked_for() {
        let root = Running::new("sh", &["-c", "sleep 300 & sleep 301 & wait"]);
        let mut selection = of_pids(&[root.pid()]);
        assert_eq!(pids(&selection), [root.pid()]);
        selection.children = true;
        specimen::until("three processes", || pids(&selection).len() == 3);
    }

    #[test]
    fn children_of_a_shell_that_only_waits_are_targets_too() {
        let root = Running::new("sh", &["-c", "sleep 300 & sleep 301 & wait"]);
        let mut selection = of_pids(&[root.pid()]);
        selection.workers = true;
        specimen::until("three processes", || pids(&selection).len() == 3);
        let found = resolve(&selection).unwrap();
        let followed = found.iter().filter(|it| it.followed == Some(root.pid()));
        assert_eq!(followed.count(), 2);
        // One that is named is not followed, and has no children.
        let child = found.iter().find(|it| it.followed.is_some()).unwrap();
        let own = of_pids(&[child.pid()]);
        assert_eq!(resolve(&own).unwrap()[0].followed, None);
    }

    #[test]
    fn a_pid_inside_a_container_is_translated() {
        let Some((container, inner)) = specimen::container_with_foreign_pid() else {
            return;
        };
        let error = resolve(&of_pids(&[inner])).unwrap_err();
        let TargetError::NoSuchProcess { inside, .. } = &error else {
            panic!("{error}");
        };
        let [inside] = inside.as_slice() else {
            panic!("{error}");
        };
        assert_eq!(inside.comm, "sleep");
        let target = Target::of(inside.host_pid).unwrap();
        let status = proc_fs::status(target.pid()).unwrap();
        assert_eq!(proc_fs::namespace_pids(&status), [target.pid(), inner]);
        drop(container);
    }

    #[test]
    fn near_names_are_few_and_ordered() {
        let names: BTreeSet<String> = ["python3", "python3.11", "redis-server", "Python", "sshd"]
            .map(str::to_owned)
            .into();
        assert_eq!(near(b"pyton3", &names)[0], "python3");
        assert_eq!(near(b"redis", &names), ["redis-server"]);
        assert!(near(b"", &names).is_empty());
        assert!(near(b"zzzz", &names).is_empty());
        let many: BTreeSet<String> = (0..100).map(|index| format!("worker{index}")).collect();
        assert_eq!(near(b"worker", &many).len(), MAX_NEAR);
    }
}
