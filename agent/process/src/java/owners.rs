//! Who holds a lock: the owner that a synchronizer of `java.util.concurrent` notes, and that of a monitor.
//!
//! A monitor names the thread by the address of its `JavaThread`, or of something on its stack (up to 23), or by its id
//! (from 24 on); or by nobody, while the owner has not yet seen that its lock became a monitor (`ANONYMOUS_OWNER`,
//! from 21 on): then the object stands in the owner's lock stack.

use super::layout::LockStack;
use super::objects::{Objects, Wanted};
use super::threads::{JavaWait, Native, On, Owner, name};
use crate::memory::Memory;
use std::collections::HashMap;

/// `ObjectMonitor::ANONYMOUS_OWNER` (from 21 on), and before that `DEFLATER_MARKER`: no owner is called so.
const ANONYMOUS: u64 = 1;
/// Objects in a lock stack (`LockStack::CAPACITY`).
const MAX_LOCK_STACK: u64 = 8;
/// Bytes of a stack, at the most: more is none.
const MAX_STACK: u64 = 1 << 32;

/// `java.util.concurrent.locks.AbstractOwnableSynchronizer`, the parent of all that note an owner.
const OWNER: Wanted = Wanted {
    class: "java/util/concurrent/locks/AbstractOwnableSynchronizer",
    name: "exclusiveOwnerThread",
    kind: "Ljava/lang/Thread;",
};
/// In a `java.lang.Thread`: the address of the `JavaThread`, 0 when it has ended.
const NATIVE: Wanted = Wanted {
    class: "java/lang/Thread",
    name: "eetop",
    kind: "J",
};
/// A thread that is none of the kernel's.
const VIRTUAL: &str = "java.lang.BaseVirtualThread";

/// Knows who is who.
pub(super) struct Owners<'o, 'm, M> {
    objects: &'o Objects<'m, M>,
    natives: &'o [Native],
    tids: HashMap<u64, u32>,
}

impl<'o, 'm, M: Memory> Owners<'o, 'm, M> {
    pub(super) fn new(objects: &'o Objects<'m, M>, natives: &'o [Native]) -> Self {
        let tids = natives.iter().map(|it| (it.address, it.tid)).collect();
        Self {
            objects,
            natives,
            tids,
        }
    }

    /// The owner that a synchronizer notes.
    pub(super) fn synchronizer(&self, object: u64) -> Owner {
        let owner = self.objects.refers(object, OWNER).unwrap_or(0);
        if owner == 0 {
            return Owner::Unknown;
        }
        let native = self.objects.field(owner, NATIVE);
        match native.and_then(|place| self.objects.memory().u64(place)) {
            Some(0) if !self.is_virtual(owner) => Owner::Ended(name(self.objects, owner)),
            Some(native) => self.thread(native),
            None => Owner::Unknown,
        }
    }

    fn is_virtual(&self, thread: u64) -> bool {
        let kinds = self.objects.kinds(thread);
        kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind == VIRTUAL))
    }

    fn thread(&self, native: u64) -> Owner {
        let tid = self.tids.get(&native);
        tid.map_or(Owner::Unknown, |tid| Owner::Thread(*tid))
    }

    /// What a thread that stands at a monitor waits for; `None`: it is none any more.
    pub(super) fn monitor(&self, monitor: u64, on: On) -> Option<JavaWait> {
        if monitor == 0 || !monitor.is_multiple_of(8) {
            return None;
        }
        let layout = self.objects.layout().monitor;
        // It holds its object weakly, through a handle.
        let handle = self.objects.pointer(monitor.checked_add(layout.object)?)?;
        let object = self.objects.memory().u64(handle)?;
        let word = self
            .objects
            .memory()
            .u64(monitor.checked_add(layout.owner)?)?;
        Some(JavaWait {
            on,
            object,
            classes: self.objects.kinds(object)?,
            owner: match on {
                // Who notifies need not hold it now.
                On::Notify | On::Park => Owner::Unknown,
                On::Monitor => self.named(word, object),
            },
        })
    }

    /// The owner that a monitor's word names.
    fn named(&self, word: u64, object: u64) -> Owner {
        let layout = self.objects.layout().thread;
        let holds = |native: &&Native| match (word, layout.owner_id, layout.lock_stack) {
            (0, ..) => false,
            (ANONYMOUS, _, Some(stack)) => self.has_locked(native, stack, object) == Some(true),
            (ANONYMOUS, ..) => false,
            (_, Some(id), _) => self.word(native, id) == Some(word),
            (..) => word == native.address || self.is_on_stack(native, word) == Some(true),
        };
        let found = self.natives.iter().find(holds);
        found.map_or(Owner::Unknown, |native| Owner::Thread(native.tid))
    }

    fn word(&self, native: &Native, at: u64) -> Option<u64> {
        self.objects.memory().u64(native.address.checked_add(at)?)
    }

    fn is_on_stack(&self, native: &Native, address: u64) -> Option<bool> {
        let layout = self.objects.layout().thread;
        let base = self.word(native, layout.stack_base)?;
        let size = self.word(native, layout.stack_size)?;
        let below = base.checked_sub(address)?;
        Some(below > 0 && below <= size && size <= MAX_STACK)
    }

    fn has_locked(&self, native: &Native, stack: LockStack, object: u64) -> Option<bool> {
        let memory = self.objects.memory();
        let at = native.address.checked_add(stack.at)?;
        // The end is an offset from the thread's beginning.
        let top = memory.u32(at.checked_add(stack.top)?)?;
        let first = stack.at.checked_add(stack.base)?;
        let count = u64::from(top).checked_sub(first)? / 8;
        let base = at.checked_add(stack.base)?;
        let mut objects = (0..count.min(MAX_LOCK_STACK)).map(|number| {
            let place = base.checked_add(number * 8)?;
            memory.u64(place)
        });
        Some(objects.any(|it| it == Some(object)))
    }
}
