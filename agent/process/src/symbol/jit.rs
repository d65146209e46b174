//! Names of code made at run time: from what the process's compiler writes, a jitdump, which knows
//! lines, else a perf map.
//!
//! A compiler marks its jitdump by mapping a page of it as code. So it is found wherever it lies,
//! held open since the snapshot like every mapped file, and it is the process's own choice: a
//! stranger's file cannot take its place.

use super::symbolize::{Limits, SymbolLosses};
use super::text::Names;
use super::{jitdump, perf_map};
use crate::maps::{Module, Snapshot};
use remora_model::{Frame, FrameKind};
use std::collections::HashMap;
use std::sync::Arc;

/// Module of code made at run time, and its name when nothing names it.
pub(super) const JIT: &str = "[jit]";
/// Jitdumps of one process that are read at the most: a compiler has one.
const MAX_DUMPS: usize = 4;

/// What may still be read for a batch, in bytes: a thousand children share their parent's dump, and each
/// reads it for its own addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(u64);

impl Room {
    /// All that `limits` give.
    pub(super) fn of(limits: &Limits) -> Self {
        Self(limits.jit_bytes)
    }

    /// How much of a file of `length` bytes may be read, where `most` is the limit of one.
    fn take(&mut self, most: u64, length: u64) -> u64 {
        let limit = most.min(self.0);
        self.0 -= limit.min(length);
        limit
    }
}

/// The frames of those of `addresses` that have a name.
pub(super) fn resolve(
    space: &Snapshot,
    addresses: &[u64],
    (limits, room): (&Limits, &mut Room),
    names: &mut Names,
    losses: &mut SymbolLosses,
) -> HashMap<u64, Frame> {
    let mut frames = HashMap::new();
    for dump in dumps(space) {
        let length = dump.content.len().unwrap_or(0);
        let limit = room.take(limits.jitdump_bytes, length);
        let found = jitdump::look_up(&dump.content, limit, addresses);
        losses.jitdumps_cut += u64::from(found.cut);
        losses.jitdump_lines_damaged += found.damaged_lines;
        for (address, symbol) in found.symbols {
            let place = symbol.place.as_ref();
            let place = place.map(|(path, line)| (&**path, *line));
            frames.insert(address, frame(&symbol.name, place, names));
        }
    }
    let open: Vec<u64> = addresses
        .iter()
        .copied()
        .filter(|address| !frames.contains_key(address))
        .collect();
    if open.is_empty() {
        return frames;
    }
    let file = match space.perf_map().map(|place| place.open()) {
        Some(Ok(Some(file))) => file,
        Some(Ok(None)) | None => return frames,
        Some(Err(_)) => {
            losses.perf_maps_refused += 1;
            return frames;
        }
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let limit = room.take(limits.perf_map_bytes, length);
    let found = perf_map::look_up(&file, limit, &open);
    losses.perf_map_bad_lines += found.bad_lines;
    losses.perf_maps_refused += u64::from(found.cut);
    for (address, name) in found.by_address {
        frames.insert(address, frame(&name, None, names));
    }
    frames
}

/// The jitdumps that the process has mapped, each once.
fn dumps(space: &Snapshot) -> Vec<&Arc<Module>> {
    let mut dumps: Vec<&Arc<Module>> = Vec::new();
    for mapping in space.mappings() {
        if let Some(module) = &mapping.module
            && is_dump(&module.name)
            && !dumps.iter().any(|known| Arc::ptr_eq(known, module))
            && dumps.len() < MAX_DUMPS
        {
            dumps.push(module);
        }
    }
    dumps
}

/// `jit-PID.dump`, whatever the pid: a forked child has its parent's, for the code that it has too.
fn is_dump(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let number = name.strip_prefix("jit-");
    let number = number.and_then(|name| name.strip_suffix(".dump"));
    number.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

fn frame(name: &str, place: Option<(&str, u32)>, names: &mut Names) -> Frame {
    Frame {
        name: names.clean(name),
        module: Some(names.clean(JIT)),
        file: place.map(|(path, _)| names.clean(path)),
        line: place.map(|(_, line)| line),
        kind: FrameKind::Jit,
        named: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_have_a_limit() {
        let limits = Limits {
            jit_bytes: 100,
            ..Limits::default()
        };
        let mut room = Room::of(&limits);
        assert_eq!(room.take(70, 60), 70);
        assert_eq!(room.take(70, 60), 40);
        assert_eq!(room.take(70, 60), 0);
    }

    #[test]
    fn dumps_are_known_by_their_name() {
        assert!(is_dump("/root/.debug/jit/java-jit-1/jit-4711.dump"));
        assert!(is_dump("jit-1.dump"));
        for other in [
            "/tmp/jit-.dump",
            "/tmp/jit-1.dump.so",
            "/tmp/ajit-1.dump",
            "jit-1x.dump",
        ] {
            assert!(!is_dump(other), "{other}");
        }
    }
}
