//! The threads of a machine: what Java calls them, and what those that sleep wait for.
//!
//! Whether a thread is parked, is about to enter a monitor, or waits in `Object.wait` says `java.lang.Thread` itself
//! (`threadStatus`); on which object, `LockSupport`'s blocker or the monitor.

use super::Java;
use super::objects::{Objects, Wanted};
use super::owners::Owners;
use crate::memory::Memory;

/// Threads that are looked at.
const MAX_THREADS: u64 = 16_384;
/// Bytes that are read of one machine for all this.
const ALLOWANCE: u64 = 64 << 20;
/// How often something is read before it is said to be torn.
const READINGS: usize = 4;

/// `threadStatus` is that of JVMTI (`javaThreadStatus.hpp`): about to enter a monitor.
const BLOCKED: u32 = 0x400;
/// In `Object.wait`.
const IN_WAIT: u32 = 0x100;
/// In `LockSupport.park`.
const PARKED: u32 = 0x200;

/// A class of the library, in which most of the fields are.
const THREAD: &str = "java/lang/Thread";

const fn of_thread(name: &'static str, kind: &'static str) -> Wanted {
    Wanted {
        class: THREAD,
        name,
        kind,
    }
}

/// Up to 18.
const STATUS: Wanted = of_thread("threadStatus", "I");
/// From 19 on the status is in there.
const HOLDER: Wanted = of_thread("holder", "Ljava/lang/Thread$FieldHolder;");
/// See [`HOLDER`].
const HELD_STATUS: Wanted = Wanted {
    class: "java/lang/Thread$FieldHolder",
    name: "threadStatus",
    kind: "I",
};
const NAME: Wanted = of_thread("name", "Ljava/lang/String;");
const BLOCKER: Wanted = of_thread("parkBlocker", "Ljava/lang/Object;");

/// How a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// It is parked (`LockSupport.park`), as all of `java.util.concurrent` does it.
    Park,
    /// It is about to enter a monitor (`synchronized`).
    Monitor,
    /// It waits to be notified (`Object.wait`).
    Notify,
}

/// Who holds what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody, or it is not noted.
    Unknown,
    /// The thread with this id, in the machine's own PID namespace.
    Thread(u32),
    /// A thread that has ended; its name.
    Ended(Option<String>),
}

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JavaWait {
    /// How.
    pub on: On,
    /// Address of the object, while it is not moved; 0 where there is none (`LockSupport.park()`).
    pub object: u64,
    /// The classes that the object is of, its own first.
    pub classes: Vec<String>,
    /// Who holds it.
    pub owner: Owner,
}

/// A thread of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JavaThread {
    /// Its id in the machine's own PID namespace.
    pub tid: u32,
    /// What Java calls it.
    pub name: Option<String>,
    /// What it waits for, if it does.
    pub wait: Option<JavaWait>,
}

/// All threads of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// In the order of the machine's list.
    pub threads: Vec<JavaThread>,
    /// So many changed each time that they were read, or were on their way in or out: their names and waits are not
    /// known.
    pub unread: usize,
    /// Some are missing: the list changed each time that it was read.
    pub torn: bool,
    /// There are more than are looked at.
    pub truncated: bool,
}

/// A thread as the machine's own memory has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Native {
    /// Address of the `JavaThread`.
    pub(super) address: u64,
    pub(super) tid: u32,
}

/// Reads all threads of `java`.
pub fn threads(java: &Java, memory: &impl Memory) -> Threads {
    let objects = Objects::new(memory, &java.layout, ALLOWANCE);
    let mut all = Threads::default();
    let natives = natives(&objects, &mut all);
    let owners = Owners::new(&objects, &natives);
    for native in &natives {
        match agreed(|| thread(&objects, &owners, native)) {
            Some(thread) => all.threads.push(thread),
            None => all.unread += 1,
        }
    }
    all
}

/// What two readings in a row agree on.
fn agreed<T: PartialEq>(read: impl Fn() -> Option<T>) -> Option<T> {
    let mut last = read();
    for _ in 1..READINGS {
        let again = read();
        if again.is_some() && again == last {
            return again;
        }
        last = again;
    }
    None
}

fn natives<M: Memory>(objects: &Objects<'_, M>, all: &mut Threads) -> Vec<Native> {
    let list = agreed(|| list(objects));
    let Some((list, truncated)) = list else {
        all.torn = true;
        return Vec::new();
    };
    all.truncated = truncated;
    let found: Vec<Native> = list
        .iter()
        .filter_map(|thread| native(objects, *thread))
        .collect();
    all.unread += list.len() - found.len();
    found
}

/// The list of threads: a new one is made for each that comes or goes. And whether it was cut.
fn list<M: Memory>(objects: &Objects<'_, M>) -> Option<(Vec<u64>, bool)> {
    let (memory, layout) = (objects.memory(), objects.layout().list);
    let list = objects.pointer(layout.at)?;
    let length = memory.u32(list.checked_add(layout.length)?)?.into();
    let first = memory.u64(list.checked_add(layout.threads)?)?;
    let count = usize::try_from(MAX_THREADS.min(length)).ok()?;
    let mut threads = vec![0_u64; count];
    memory.read(first, bytemuck::cast_slice_mut(&mut threads))?;
    (objects.pointer(layout.at)? == list).then_some((threads, length > MAX_THREADS))
}

fn native<M: Memory>(objects: &Objects<'_, M>, address: u64) -> Option<Native> {
    let layout = objects.layout();
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    let os_thread = objects.pointer(address.checked_add(layout.thread.os_thread)?)?;
    let tid = objects
        .memory()
        .u32(os_thread.checked_add(layout.os_thread_id)?)?;
    (tid != 0).then_some(Native { address, tid })
}

fn thread<M: Memory>(
    objects: &Objects<'_, M>,
    owners: &Owners<'_, '_, M>,
    native: &Native,
) -> Option<JavaThread> {
    let layout = objects.layout().thread;
    let handle = objects.pointer(native.address.checked_add(layout.object)?)?;
    let object = objects.memory().u64(handle)?;
    let name = objects.refers(object, NAME)?;
    Some(JavaThread {
        tid: native.tid,
        name: objects.text(name),
        wait: wait(objects, owners, native, object)?,
    })
}

/// What a thread waits for; `None`: it could not be read, or is on its way.
#[expect(
    clippy::option_option,
    reason = "not to be read, and not to wait, are two things"
)]
fn wait<M: Memory>(
    objects: &Objects<'_, M>,
    owners: &Owners<'_, '_, M>,
    native: &Native,
    object: u64,
) -> Option<Option<JavaWait>> {
    let status = status(objects, object)?;
    let layout = objects.layout().thread;
    let monitor = |at: u64| objects.memory().u64(native.address.checked_add(at)?);
    if status & BLOCKED != 0 {
        // One that was notified stands in line for the monitor that it waited on.
        let monitor = match monitor(layout.pending)? {
            0 => monitor(layout.waiting)?,
            pending => pending,
        };
        return owners.monitor(monitor, On::Monitor).map(Some);
    }
    if status & IN_WAIT != 0 {
        return owners
            .monitor(monitor(layout.waiting)?, On::Notify)
            .map(Some);
    }
    if status & PARKED == 0 {
        return Some(None);
    }
    let blocker = objects.refers(object, BLOCKER)?;
    Some(Some(match blocker {
        0 => JavaWait {
            on: On::Park,
            object: 0,
            classes: Vec::new(),
            owner: Owner::Unknown,
        },
        blocker => JavaWait {
            on: On::Park,
            object: blocker,
            classes: objects.kinds(blocker)?,
            owner: owners.synchronizer(blocker),
        },
    }))
}

fn status<M: Memory>(objects: &Objects<'_, M>, object: u64) -> Option<u32> {
    let place = objects.field(object, STATUS).or_else(|| {
        let holder = objects.refers(object, HOLDER)?;
        objects.field(holder, HELD_STATUS)
    });
    objects.memory().u32(place?)
}

/// The name of the thread that an object is.
pub(super) fn name<M: Memory>(objects: &Objects<'_, M>, object: u64) -> Option<String> {
    objects.text(objects.refers(object, NAME)?)
}
