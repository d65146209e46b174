//! Time lost for locks: who waits, and beside it what the holder did meanwhile.

use super::{Class, Folded, label};
use crate::nanos;
use remora_model::{Capture, Lock, LockKind, LockStack};

/// The frames that tell the two sides of a lock apart.
const WAITS: &str = "[waits]";
const HOLDS: &str = "[holder meanwhile]";

impl Folded {
    /// Stacks of waiters and holders by lock, in nanoseconds. Waits for conditions and semaphores, which
    /// is how workers idle, only when told.
    pub fn locks(capture: &Capture, idle: bool) -> Self {
        let mut folded = Self::default();
        let owners = label::Owners::new(capture);
        let held_up = |lock: &&Lock| idle || lock.kind != LockKind::Event;
        for lock in capture.locks.iter().filter(held_up) {
            let sides = [(WAITS, &lock.waiter_stacks), (HOLDS, &lock.holder_stacks)];
            for (side, stacks) in sides {
                for stack in stacks {
                    folded.lock_stack(capture, &owners, lock, side, stack);
                }
            }
        }
        folded
    }

    fn lock_stack(
        &mut self,
        capture: &Capture,
        owners: &label::Owners<'_>,
        lock: &Lock,
        side: &str,
        stack: &LockStack,
    ) {
        let mut line = String::new();
        let name = format!(
            "{} {:#x} in {}",
            lock.kind.label(),
            lock.address,
            lock.place
        );
        self.push(&mut line, &name, Class::Reason);
        self.push(&mut line, side, Class::Note);
        self.place(capture, owners, &mut line, stack.thread, Some(stack.stack));
        self.add(line, nanos(stack.total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::fixture::{Builder, lock, ms};

    #[test]
    fn both_sides_of_a_lock_stand_under_it_and_idle_waits_only_when_told() {
        let mut builder = Builder::new(7, "server");
        let waiter = builder.thread(7, 8, "waiter");
        let (waits, holds) = (
            builder.stack(&["main", "take"]),
            builder.stack(&["main", "hold"]),
        );
        let of = |thread: usize, stack: usize, total: u64| LockStack {
            thread,
            stack,
            count: 1,
            total: ms(total),
        };
        let held = Lock {
            waiter_stacks: vec![of(waiter, waits, 30)],
            holder_stacks: vec![of(0, holds, 20)],
            ..lock(7, 0x1000)
        };
        let idle = Lock {
            kind: LockKind::Event,
            place: "a;b\n".into(),
            waiter_stacks: vec![of(waiter, waits, 50)],
            ..lock(7, 0x2000)
        };
        builder.0.locks = vec![held, idle];
        let capture = builder.finish();
        insta::assert_snapshot!("held", Folded::locks(&capture, false).text());
        insta::assert_snapshot!("with_idle", Folded::locks(&capture, true).text());
    }
}
