//! Address spaces. A process has one until it execs; a forked child has its parent's until it
//! execs itself. So they are named by (process, generation), the generation counting the execs.

use remora_model::AgentLoss;
use remora_process::maps::{Files, Snapshot};
use std::collections::HashMap;

/// Address spaces kept at the most: a target that forks and execs without end must not fill the
/// agent's memory.
const MAX_SPACES: usize = 4096;

/// Name of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SpaceKey {
    /// Process id.
    pub(crate) tgid: u32,
    /// Execs before it.
    pub(crate) generation: u32,
}

/// The mappings of every address space that was seen.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    files: Files,
    by_key: HashMap<SpaceKey, Snapshot>,
    /// As they were read last, without what was there before.
    latest: HashMap<SpaceKey, Snapshot>,
    unreadable: u64,
    dropped: u64,
}

impl Spaces {
    /// Reads the mappings of a living process, and joins them with what was read before.
    pub(crate) fn read(&mut self, key: SpaceKey, now_ns: u64) {
        match Snapshot::read(key.tgid, now_ns, &mut self.files) {
            Ok(now) => {
                if self.latest.len() < MAX_SPACES || self.latest.contains_key(&key) {
                    self.latest.insert(key, now.clone());
                }
                let joined = self.by_key.get(&key).map(|before| before.merged(&now));
                self.insert(key, joined.unwrap_or(now));
            }
            Err(_) if self.by_key.contains_key(&key) => {}
            Err(_) => self.unreadable += 1,
        }
    }

    /// Reads the mappings of a living process again, once: libraries may have been loaded since.
    pub(crate) fn refresh(&mut self, key: SpaceKey, now_ns: u64) {
        let fresh = self
            .by_key
            .get(&key)
            .is_some_and(|snapshot| snapshot.read_at_ns() >= now_ns && snapshot.pid() == key.tgid);
        if !fresh {
            self.read(key, now_ns);
        }
    }

    /// The latest generation of a process that was seen, 0 when none was.
    pub(crate) fn latest(&self, tgid: u32) -> u32 {
        let generations = self.by_key.keys().filter(|key| key.tgid == tgid);
        generations.map(|key| key.generation).max().unwrap_or(0)
    }

    /// A child starts with its parent's mappings.
    pub(crate) fn inherit(&mut self, child: SpaceKey, parent: SpaceKey, now_ns: u64) {
        match self.by_key.get(&parent).cloned() {
            Some(snapshot) => {
                if let Some(latest) = self.latest.get(&parent).cloned() {
                    self.latest.insert(child, latest);
                }
                self.insert(child, snapshot);
            }
            None => self.read(child, now_ns),
        }
    }

    fn insert(&mut self, key: SpaceKey, snapshot: Snapshot) {
        if self.by_key.len() >= MAX_SPACES && !self.by_key.contains_key(&key) {
            self.dropped += 1;
            return;
        }
        self.by_key.insert(key, snapshot);
    }

    /// The mappings of an address space as they were read last: what code lies there now.
    pub(crate) fn now(&self, key: SpaceKey) -> Option<&Snapshot> {
        self.latest.get(&key)
    }

    /// An address space that is used no more: its mappings stay, for names.
    pub(crate) fn ended(&mut self, key: SpaceKey) {
        self.latest.remove(&key);
    }

    /// Forgets a process that has ended, whose id was given to another.
    pub(crate) fn forget(&mut self, tgid: u32) {
        self.by_key.retain(|key, _| key.tgid != tgid);
        self.latest.retain(|key, _| key.tgid != tgid);
    }

    /// All mappings that an address space has had, if they could be read.
    pub(crate) fn get(&self, key: SpaceKey) -> Option<&Snapshot> {
        self.by_key.get(&key)
    }

    /// What could not be read or kept, by name in `report.json`.
    pub(crate) fn losses(&self) -> [(AgentLoss, u64); 4] {
        let files = self.files.losses();
        [
            (AgentLoss::MappingsUnreadable, self.unreadable),
            (AgentLoss::AddressSpacesDropped, self.dropped),
            (AgentLoss::FilesUnreadable, files.unreadable),
            (AgentLoss::FilesRefused, files.refused),
        ]
    }
}
