//! The way through one list.

use super::{MAX_OBJECTS, Tally};
use crate::{Budget, memory::Memory, pages::Pages};
use std::thread::sleep;
use std::time::Duration;

/// Objects between two looks at the clock.
const CLOCK: u64 = 1024;
/// How often a step is tried: while the collector runs, the words that point back hold something else.
const TRIES: u32 = 20;
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(1);
/// Steps of one list that needed a second look, at the most.
const MAX_MENDED: u64 = 10_000;
/// Bits of both words that are no part of an address (`_PyGC_PREV_MASK`, `NEXT_MASK_UNREACHABLE`).
const FLAGS: u64 = 7;

/// A `PyGC_Head`, and the object behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    next: u64,
    previous: u64,
    /// Address of its type, 0: no living object.
    kind: u64,
}

/// Counts the objects of a list, until `end`.
pub(super) fn walk<M: Memory>(
    pages: &mut Pages<'_, M>,
    head: u64,
    budget: Budget,
    tally: &mut Tally,
) {
    let Some(first) = fresh(pages, head) else {
        tally.torn += 1;
        return;
    };
    let (mut previous, mut at, mut mended) = (head, first.next, 0);
    // A list that is woven into itself has no end: it comes back to a mark that is set ever later
    // (R. P. Brent, BIT 20 (1980), 176-184).
    let (mut mark, mut steps) = (head, 0_u64);
    while at != head {
        steps += 1;
        if at == mark {
            tally.torn += 1;
            return;
        }
        if steps.is_power_of_two() {
            mark = at;
        }
        let late = tally.objects.is_multiple_of(CLOCK) && budget.is_spent();
        if late || tally.objects >= MAX_OBJECTS {
            tally.cut = true;
            return;
        }
        let node = match read(pages, at).filter(|node| node.previous == previous) {
            Some(node) => node,
            None => {
                mended += 1;
                let found = mend(pages, previous, at, head).filter(|_| mended <= MAX_MENDED);
                let Some((now, node)) = found else {
                    tally.torn += 1;
                    return;
                };
                at = now;
                node
            }
        };
        if at == head {
            return;
        }
        tally.count(node.kind);
        (previous, at) = (at, node.next);
    }
}

/// What follows `previous` now, where `at` does not point back to it.
fn mend<M: Memory>(
    pages: &mut Pages<'_, M>,
    previous: u64,
    at: u64,
    head: u64,
) -> Option<(u64, Node)> {
    let mut at = at;
    for attempt in 0..TRIES {
        if attempt > 1 {
            sleep(PAUSE);
        }
        if let Some(node) = fresh(pages, at) {
            // Between the two something was taken out, which we have seen as the previous one.
            let leads_here = |near: Node| near.next == at;
            if node.previous == previous
                || at == head
                || fresh(pages, node.previous).is_some_and(leads_here)
            {
                return Some((at, node));
            }
        }
        at = fresh(pages, previous)?.next;
    }
    None
}

fn read<M: Memory>(pages: &mut Pages<'_, M>, at: u64) -> Option<Node> {
    pages.bytes::<32>(at).map(|bytes| node(&bytes))
}

fn fresh<M: Memory>(pages: &mut Pages<'_, M>, at: u64) -> Option<Node> {
    pages.fresh::<32>(at).map(|bytes| node(&bytes))
}

fn node(bytes: &[u8; 32]) -> Node {
    let word = |at| crate::python::object::word_at(bytes, at);
    let living = word(16) != 0;
    Node {
        next: word(0) & !FLAGS,
        previous: word(8) & !FLAGS,
        kind: if living { word(24) } else { 0 },
    }
}
