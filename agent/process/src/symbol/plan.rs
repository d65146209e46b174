//! Where each address of a batch lies, and which distinct places must be looked up.

use super::symbolize::RawStack;
use crate::maps::{Identity, Module, Snapshot};
use remora_common::unwind::EXACT;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The place of one frame: equal places have equal frames.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Site {
    /// Offset in a module.
    Code(Arc<Identity>, u64),
    /// Address in the code that a run-time compiler made, by the token of its snapshot.
    Jit(usize, u64),
    /// Kernel address.
    Kernel(u64),
    /// Anonymous code without a name.
    Anonymous,
    /// No mapping holds it.
    Unmapped,
}

/// The address to look up. All but the leaf's are return addresses: the instruction behind the
/// call, which may belong to the next line, the next inlined function or the next function. User
/// frames that are none say so by [`EXACT`], which no user address has.
fn looked_up(addresses: &[u64]) -> impl Iterator<Item = u64> {
    addresses
        .iter()
        .enumerate()
        .map(|(index, address)| code_address(index, *address))
}

/// Where the code of a user frame lies; `index` counts from the leaf.
pub fn code_address(index: usize, address: u64) -> u64 {
    if index == 0 || address & EXACT != 0 {
        address & !EXACT
    } else {
        address.saturating_sub(1)
    }
}

/// The same of a kernel frame: these have the bit by nature.
fn looked_up_in_kernel(addresses: &[u64]) -> impl Iterator<Item = u64> {
    let callers = addresses.iter().skip(1).map(|it| it.saturating_sub(1));
    addresses.first().copied().into_iter().chain(callers)
}

/// Addresses in code made at run time, by process.
#[derive(Default)]
pub(super) struct JitAddresses<'a>(pub HashMap<usize, (&'a Snapshot, HashSet<u64>)>);

impl<'a> JitAddresses<'a> {
    pub(super) fn collect(stacks: &[RawStack<'a>]) -> Self {
        let mut found = Self::default();
        for stack in stacks {
            let Some(space) = stack.space else { continue };
            for address in looked_up(stack.user) {
                if space.find(address).is_some_and(|mapping| mapping.jit) {
                    let entry = found.0.entry(space.token());
                    entry
                        .or_insert_with(|| (space, HashSet::new()))
                        .1
                        .insert(address);
                }
            }
        }
        found
    }
}

/// The sites of a stack, and the modules that they lie in.
pub(super) struct Plan {
    /// Distinct offsets by module.
    pub modules: HashMap<Arc<Identity>, (Arc<Module>, HashSet<u64>)>,
    /// Distinct kernel addresses.
    pub kernel: HashSet<u64>,
    /// Of each stack, leaf first: user sites, kernel sites.
    pub stacks: Vec<(Vec<Site>, Vec<Site>)>,
}

impl Plan {
    /// Plans a batch; `is_jit` says whether a perf map named an address.
    pub(super) fn of(stacks: &[RawStack<'_>], is_jit: impl Fn(&Site) -> bool) -> Self {
        let mut plan = Self {
            modules: HashMap::new(),
            kernel: HashSet::new(),
            stacks: Vec::new(),
        };
        for stack in stacks {
            let user = looked_up(stack.user)
                .map(|address| plan.user_site(stack.space, address, &is_jit))
                .collect();
            let kernel: Vec<u64> = looked_up_in_kernel(stack.kernel).collect();
            plan.kernel.extend(&kernel);
            plan.stacks
                .push((user, kernel.into_iter().map(Site::Kernel).collect()));
        }
        plan
    }

    fn user_site(
        &mut self,
        space: Option<&Snapshot>,
        address: u64,
        is_jit: impl Fn(&Site) -> bool,
    ) -> Site {
        let Some((space, mapping)) = space.and_then(|space| Some((space, space.find(address)?)))
        else {
            return Site::Unmapped;
        };
        let jit = Site::Jit(space.token(), address);
        if mapping.jit && is_jit(&jit) {
            return jit;
        }
        let Some(module) = &mapping.module else {
            return Site::Anonymous;
        };
        let offset = mapping.offset_of(address);
        let entry = self.modules.entry(module.identity.clone());
        let (_, offsets) = entry.or_insert_with(|| (module.clone(), HashSet::new()));
        offsets.insert(offset);
        Site::Code(module.identity.clone(), offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leaf_is_looked_up_where_it_is() {
        assert_eq!(looked_up(&[10, 20, 0]).collect::<Vec<_>>(), [10, 19, 0]);
        let interrupted = [10 | EXACT, 20, 30 | EXACT];
        assert_eq!(looked_up(&interrupted).collect::<Vec<_>>(), [10, 19, 30]);
        let kernel = [u64::MAX - 9, u64::MAX - 19];
        let found: Vec<_> = looked_up_in_kernel(&kernel).collect();
        assert_eq!(found, [u64::MAX - 9, u64::MAX - 20]);
    }

    #[test]
    fn without_a_snapshot_nothing_is_mapped() {
        let stack = RawStack {
            space: None,
            user: &[1],
            kernel: &[7, 8],
            stand_ins: &[],
            truncated: false,
        };
        let plan = Plan::of(&[stack], |_| false);
        assert_eq!(plan.stacks[0].0, [Site::Unmapped]);
        assert_eq!(plan.stacks[0].1, [Site::Kernel(7), Site::Kernel(7)]);
        assert_eq!(plan.kernel.len(), 1);
    }
}
