//! What a watch on allocators left: sampled blocks become bytes by stack.

use super::StackIndex;
use crate::{
    record::heap::HeapRecord,
    store::{aggregates::AggregateStore, spaces::Spaces},
};
use remora_common::heap::Block;
use remora_model::{AgentLoss, HeapSite, HeapWatch, Losses};
use std::{cmp::Reverse, collections::HashMap, time::Duration};

/// The watch, with what is outstanding by stack.
pub(crate) fn heap(
    record: HeapRecord,
    aggregates: &AggregateStore,
    spaces: &Spaces,
    stacks: &mut StackIndex,
    losses: &mut Losses,
) -> HeapWatch {
    let HeapRecord {
        mut watch,
        blocks,
        ended_ns,
        in_flight,
        processes_skipped,
    } = record;
    losses.add(AgentLoss::HeapInFlight, in_flight);
    losses.add(AgentLoss::HeapProcessesSkipped, processes_skipped);
    losses.add(AgentLoss::HeapSitesDropped, aggregates.heap_sites_dropped);
    let mut by_stack: HashMap<(u32, usize), Vec<Block>> = HashMap::new();
    let mut unknown = 0;
    for (key, block) in blocks {
        // An exec took the blocks of the program before with it.
        if key.generation != spaces.latest(key.tgid) {
            continue;
        }
        let stack = aggregates.heap_sites.get(&block.site).copied();
        unknown += u64::from(stack.is_none() && block.site != 0);
        let index = stacks.of(key.tgid, key.generation, stack.flatten());
        by_stack.entry((key.tgid, index)).or_default().push(block);
    }
    losses.add(AgentLoss::HeapStacksUnknown, unknown);
    watch.sites = by_stack
        .into_iter()
        .map(|((pid, stack), blocks)| site((pid, stack), &blocks, ended_ns, watch.sample_bytes))
        .collect();
    watch
        .sites
        .sort_by_key(|site| (Reverse(site.bytes), site.pid, site.stack));
    watch
}

/// The blocks of one stack; there is one at the least.
fn site((pid, stack): (u32, usize), blocks: &[Block], ended_ns: u64, interval: u64) -> HeapSite {
    let mut ages: Vec<u64> = blocks
        .iter()
        .map(|block| ended_ns.saturating_sub(block.at_ns))
        .collect();
    ages.sort_unstable();
    let age = |at: usize| Duration::from_nanos(ages.get(at).copied().unwrap_or(0));
    let (mut bytes, mut count) = (0.0, 0.0);
    for block in blocks {
        let stands_for = stands_for(block.bytes, interval);
        bytes += block.bytes as f64 * stands_for;
        count += stands_for;
    }
    HeapSite {
        pid,
        stack,
        bytes: bytes.round() as u64,
        blocks: count.round() as u64,
        samples: blocks.len() as u64,
        oldest: age(ages.len().saturating_sub(1)),
        median: age(ages.len() / 2),
        youngest: age(0),
    }
}

/// Blocks of its size that a sampled one stands for: the reciprocal of how likely it was to be sampled, with one
/// byte in `interval` in the mean. So that the sums are right in the mean, whatever the sizes.
fn stands_for(bytes: u64, interval: u64) -> f64 {
    if interval <= 1 {
        return 1.0;
    }
    let share = bytes as f64 / interval as f64;
    let likely = -(-share).exp_m1();
    if likely > 0.0 { likely.recip() } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_common::heap::distance;

    #[test]
    fn samples_stand_for_what_was_allocated_whatever_its_size() {
        for size in [16_u64, 1_000, 65_536, 1 << 20] {
            const INTERVAL: u64 = 65_536;
            let allocations = (1_u64 << 28) / size;
            let mut random = 0x9e37_79b9_u64;
            let mut next = || {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                distance((random >> 16) as u32, INTERVAL)
            };
            let (mut left, mut estimated) = (next(), 0.0);
            for _ in 0..allocations {
                if left > size {
                    left -= size;
                } else {
                    left = next();
                    estimated += size as f64 * stands_for(size, INTERVAL);
                }
            }
            let ratio = estimated / (allocations * size) as f64;
            assert!((ratio - 1.0).abs() < 0.06, "{size} bytes: {ratio}");
        }
    }

    #[test]
    fn a_site_sums_up_its_blocks_and_knows_their_ages() {
        let block = |bytes, at_ns| Block {
            bytes,
            at_ns,
            site: 1,
        };
        let blocks = [block(100, 900), block(300, 200), block(50, 700)];
        let found = site((7, 3), &blocks, 1_000, 0);
        assert_eq!((found.bytes, found.blocks, found.samples), (450, 3, 3));
        let ages = [found.youngest, found.median, found.oldest];
        assert_eq!(ages.map(|age| age.as_nanos()), [100, 300, 800]);
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(stands_for(0, 1000), 1.0);
        assert_eq!(stands_for(u64::MAX, 1000), 1.0);
        assert_eq!(stands_for(10, 0), 1.0);
    }
}
