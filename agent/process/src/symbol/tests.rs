//! Symbolisation of living and dead processes, end to end but for the kernel side.

mod go_programs;
mod hostile;
mod lost_files;
mod names;
mod packed;
mod runtimes;
mod specimen;

use super::{Limits, RawStack, Symbolizer};
use crate::maps::{Files, Snapshot};
use remora_model::{Frame, Stack};

/// A snapshot of a process, with a store of its own.
fn snapshot(pid: u32) -> Snapshot {
    Snapshot::read(pid, 0, &mut Files::default()).unwrap()
}

fn own() -> Snapshot {
    snapshot(std::process::id())
}

/// The frames of user addresses, leaf first as given, root first as returned.
fn frames(space: &Snapshot, user: &[u64]) -> Vec<Frame> {
    symbolize(&mut Symbolizer::new(Limits::default()), space, user).frames
}

fn symbolize(symbolizer: &mut Symbolizer, space: &Snapshot, user: &[u64]) -> Stack {
    let space = Some(space);
    symbolizer.symbolize(RawStack {
        space,
        user,
        kernel: &[],
        stand_ins: &[],
        truncated: false,
    })
}

fn single(space: &Snapshot, address: u64) -> Frame {
    let mut frames = frames(space, &[address]);
    assert_eq!(frames.len(), 1, "{frames:?}");
    frames.remove(0)
}
