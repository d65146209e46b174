//! What the descriptors of a target are of: `descriptors` of a target in `report.json`.

use remora_model::{Capture, DescriptorKind};
use serde::Serialize;

/// The descriptors of a process.
#[derive(Serialize)]
pub(super) struct Descriptors<'a> {
    /// `null`: no limit.
    limit: Option<u64>,
    open_start: u64,
    open: u64,
    kinds: Vec<Kind>,
    names: Vec<Name<'a>>,
    /// Not all were looked at.
    cut: bool,
    /// Connections to other hosts.
    external_connections: u64,
}

/// How many there are of a kind.
#[derive(Serialize)]
struct Kind {
    kind: &'static str,
    start: u64,
    end: u64,
}

/// How many there are of one file or object.
#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
    count: u64,
}

/// Those of a process; `None` where they were not looked at.
pub(super) fn of(capture: &Capture, pid: u32) -> Option<Descriptors<'_>> {
    let descriptors = capture.descriptors.iter().find(|it| it.pid == pid)?;
    let (start, end) = (&descriptors.start, &descriptors.end);
    let kinds = DescriptorKind::ALL.iter().map(|&kind| Kind {
        kind: kind.name(),
        start: start.of(kind),
        end: end.of(kind),
    });
    let names = end.names.iter().map(|(name, count)| Name {
        name,
        count: *count,
    });
    let own = capture.sockets.iter().filter(|socket| socket.pid == pid);
    Some(Descriptors {
        limit: descriptors.limit,
        open_start: start.open,
        open: end.open,
        kinds: kinds.filter(|kind| kind.start + kind.end > 0).collect(),
        names: names.collect(),
        cut: start.cut || end.cut,
        external_connections: own.filter(|socket| socket.is_external()).count() as u64,
    })
}
