//! The Java virtual machines of the targets at the end of a recording: what their threads are called, and what those
//! that sleep wait for. Nothing is read before: a machine costs nothing while its process is recorded.

use crate::store::spaces::{SpaceKey, Spaces};
use remora_common::thread::{STATE_BLOCKED, ThreadSlot};
use remora_model as model;
use remora_process::deadline::{self, Step, Subject};
use remora_process::java::{self, Owner, Refused, Threads};
use remora_process::memory::ProcessMemory;
use remora_process::{maps::Snapshot, namespace_thread_ids};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct JavaStates {
    /// The machines, by process.
    pub machines: Vec<model::Java>,
    /// What those of their threads wait for that slept before and after they were read.
    pub waits: Vec<model::JavaWait>,
    /// What Java calls its threads, by thread id.
    pub names: HashMap<u32, String>,
}

/// What one machine says, with its thread ids in ours.
type Look = (String, Threads, HashMap<u32, u32>);

/// Inspects the machines of the processes that these threads are of; `after` gives them anew, to tell which have
/// slept on meanwhile.
pub(crate) fn inspect(
    spaces: &Spaces,
    before: &[ThreadSlot],
    after: impl FnOnce() -> Vec<ThreadSlot>,
) -> JavaStates {
    let keys: BTreeSet<SpaceKey> = before.iter().map(key).collect();
    let mut states = JavaStates::default();
    for key in keys {
        let Some(snapshot) = spaces.now(key).or_else(|| spaces.get(key)) else {
            continue;
        };
        if java::is_mapped(snapshot) {
            states.take(key.tgid, ask(key.tgid, snapshot.clone()));
        }
    }
    if !states.waits.is_empty() {
        let asleep = asleep_in_both(before, &after());
        // Who stands at a monitor wakes up to ask again, and the machine says all the while where it stands.
        let stays = |wait: &model::JavaWait| {
            wait.on == model::JavaAwaited::Monitor || asleep.contains(&wait.tid)
        };
        states.waits.retain(stays);
    }
    states
}

fn key(slot: &ThreadSlot) -> SpaceKey {
    SpaceKey {
        tgid: slot.tgid,
        generation: slot.generation,
    }
}

/// Threads that slept in the same wait at both moments.
fn asleep_in_both(before: &[ThreadSlot], after: &[ThreadSlot]) -> HashSet<u32> {
    let asleep = |slot: &&ThreadSlot| slot.state == STATE_BLOCKED && !slot.is_woken();
    let before: HashMap<u32, u64> = before
        .iter()
        .filter(asleep)
        .map(|slot| (slot.serial, slot.since_ns))
        .collect();
    let after = after.iter().filter(asleep);
    let same = after.filter(|slot| before.get(&slot.serial) == Some(&slot.since_ns));
    same.map(|slot| slot.tid).collect()
}

fn ask(pid: u32, snapshot: Snapshot) -> Result<Look, Refused> {
    let answer = deadline::run(Step::JavaMachine, Subject::Process(pid), move || {
        let memory = ProcessMemory::open(pid).map_err(|_| Refused::NoAnswer)?;
        let java = java::find(&snapshot, &memory).unwrap_or(Err(Refused::NoTables))?;
        let threads = java::threads(&java, &memory);
        Ok((java.version, threads, namespace_thread_ids(pid)))
    });
    answer.unwrap_or(Err(Refused::NoAnswer))
}

impl JavaStates {
    fn take(&mut self, pid: u32, look: Result<Look, Refused>) {
        let (version, threads, ids) = match look {
            Ok(look) => look,
            Err(refused) => {
                self.machines.push(model::Java {
                    pid,
                    version: None,
                    threads: 0,
                    unread: 0,
                    refused: Some(refused.to_string()),
                });
                return;
            }
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let nothing = threads.threads.is_empty();
        self.machines.push(model::Java {
            pid,
            version: Some(version),
            threads: number(threads.threads.len()),
            unread: number(threads.unread),
            refused: nothing.then(|| "its threads could not be read".to_owned()),
        });
        // In a PID namespace of its own it has its own ids.
        let here = |tid: u32| match ids.is_empty() {
            true => Some(tid),
            false => ids.get(&tid).copied(),
        };
        for thread in threads.threads {
            let Some(tid) = here(thread.tid) else {
                continue;
            };
            self.names.extend(thread.name.map(|name| (tid, name)));
            let wait = thread.wait.map(|wait| model::JavaWait {
                tid,
                on: match wait.on {
                    java::On::Park => model::JavaAwaited::Park,
                    java::On::Monitor => model::JavaAwaited::Monitor,
                    java::On::Notify => model::JavaAwaited::Notify,
                },
                object: wait.object,
                classes: wait.classes,
                holder: match &wait.owner {
                    Owner::Thread(tid) => here(*tid),
                    Owner::Unknown | Owner::Ended(_) => None,
                },
                ended_holder: match wait.owner {
                    Owner::Ended(name) => Some(name.unwrap_or_default()),
                    Owner::Unknown | Owner::Thread(_) => None,
                },
            });
            self.waits.extend(wait);
        }
    }
}
