//! Descendants of targets.
//!
//! A list of parents is out of date while it is read. So it only proposes: a proposed child is
//! taken hold of, its parent is read again, and the parent must still be alive after that. Then the
//! parent's pid cannot have meant another process. Lists are read until one proposes nothing new.
//!
//! A process whose parent has ended belongs to init, or to a subreaper: from outside nothing tells
//! any more who started it, and it is not found here.

use super::{Target, TargetError, is_ourselves, proc_fs};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Lists read at the most: a family that forks without end is left to the kernel side's fork hook.
const MAX_ROUNDS: usize = 8;

/// A process and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descent {
    pub(super) child: u32,
    pub(super) parent: u32,
}

/// Adds all living descendants, by pid. Ourselves and what we started are not among them.
pub(super) fn add_descendants(targets: &mut BTreeMap<u32, Target>) -> Result<(), TargetError> {
    for _ in 0..MAX_ROUNDS {
        let roots: BTreeSet<u32> = targets.keys().copied().collect();
        let mut found = false;
        for proposed in descendants(&parents()?, &roots) {
            found |= add(targets, proposed)?;
        }
        if !found {
            break;
        }
    }
    Ok(())
}

/// Adds one proposed child, when it still is one.
pub(super) fn add(
    targets: &mut BTreeMap<u32, Target>,
    proposed: Descent,
) -> Result<bool, TargetError> {
    let target = match Target::of(proposed.child) {
        Ok(target) => target,
        Err(error) if error.is_gone() => return Ok(false),
        Err(error) => return Err(error),
    };
    let parent = targets.get(&proposed.parent);
    let related = target.parent == proposed.parent && parent.is_some_and(Target::is_same);
    if related {
        targets.insert(proposed.child, target);
    }
    Ok(related)
}

/// Each process and its parent, but for ourselves.
fn parents() -> Result<Vec<Descent>, TargetError> {
    let processes = proc_fs::processes().map_err(TargetError::Proc)?;
    let others = processes.into_iter().filter(|pid| !is_ourselves(*pid));
    Ok(others
        .filter_map(|child| {
            Some(Descent {
                child,
                parent: proc_fs::stat(child)?.parent,
            })
        })
        .collect())
}

/// Descendants of the roots, each once, parents before their children. Each process is expanded
/// once, so a torn list that forms a ring ends too.
fn descendants(list: &[Descent], roots: &BTreeSet<u32>) -> Vec<Descent> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for Descent { child, parent } in list {
        children.entry(*parent).or_default().push(*child);
    }
    let mut seen = roots.clone();
    let mut queue: VecDeque<u32> = roots.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(parent) = queue.pop_front() {
        for child in children.remove(&parent).unwrap_or_default() {
            if seen.insert(child) {
                found.push(Descent { child, parent });
                queue.push_back(child);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::{self, Running};
    use proptest::prelude::*;

    fn family(root: &Running) -> BTreeMap<u32, Target> {
        let mut targets = BTreeMap::from([(root.pid(), Target::of(root.pid()).unwrap())]);
        add_descendants(&mut targets).unwrap();
        targets
    }

    #[test]
    fn grandchildren_are_found_and_siblings_are_not() {
        let stranger = Running::new("sleep", &["300"]);
        let root = Running::new("sh", &["-c", "sh -c 'sleep 300 & sleep 301 & wait' & wait"]);
        let names = || {
            let targets = family(&root);
            let mut names: Vec<_> = targets.into_values().map(|target| target.comm).collect();
            names.sort_unstable();
            names
        };
        // A child has its parent's name until it execs.
        specimen::until("the family", || names() == ["sh", "sh", "sleep", "sleep"]);
        let targets = family(&root);
        assert!(!targets.contains_key(&stranger.pid()));
    }

    #[test]
    fn we_are_not_our_parents_descendant() {
        let parent = std::os::unix::process::parent_id();
        let child = Running::new("sleep", &["300"]);
        let mut targets = BTreeMap::from([(parent, Target::of(parent).unwrap())]);
        add_descendants(&mut targets).unwrap();
        assert!(!targets.contains_key(&std::process::id()));
        assert!(!targets.contains_key(&child.pid()));
    }

    #[test]
    fn a_proposal_that_is_out_of_date_is_refused() {
        let child = Running::new("sleep", &["300"]);
        let other = Running::new("sleep", &["300"]);
        let mut targets = BTreeMap::from([(other.pid(), Target::of(other.pid()).unwrap())]);
        let wrong = Descent {
            child: child.pid(),
            parent: other.pid(),
        };
        assert!(!add(&mut targets, wrong).unwrap(), "it has another parent");
        let zombie = Running::new("true", &[]);
        zombie.await_death();
        let dead = Descent {
            child: zombie.pid(),
            parent: std::process::id(),
        };
        assert!(!add(&mut targets, dead).unwrap(), "it has exited");
        assert_eq!(targets.len(), 1);
    }

    #[test]
    fn parents_come_before_children() {
        let list =
            [(5, 4), (4, 3), (3, 1), (9, 1)].map(|(child, parent)| Descent { child, parent });
        let found = descendants(&list, &BTreeSet::from([3]));
        assert_eq!(found, [list[1], list[0]]);
    }

    proptest! {
        #[test]
        fn rings_end_and_each_is_found_once(
            pairs in prop::collection::vec((0_u32..12, 0_u32..12), 0..60),
            roots in prop::collection::btree_set(0_u32..12, 0..4),
        ) {
            let list: Vec<Descent> =
                pairs.iter().map(|&(child, parent)| Descent { child, parent }).collect();
            let mut known = roots.clone();
            for descent in descendants(&list, &roots) {
                prop_assert!(known.contains(&descent.parent));
                prop_assert!(known.insert(descent.child));
            }
            for descent in list {
                prop_assert!(known.contains(&descent.child) || !known.contains(&descent.parent));
            }
        }
    }
}
