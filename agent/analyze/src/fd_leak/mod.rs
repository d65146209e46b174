//! `fd_leak`: descriptors rise and do not come back, or there is nearly no room for more.
//!
//! Healthy programs open descriptors, too. What tells them apart:
//!
//! * a saw-tooth (files that are closed when the collector runs, a pool that is trimmed): the floor rises in
//!   each quarter of the capture, and what is given back is a small part of the growth;
//! * warm-up (a pool that fills): the second half must rise at least half as fast as the first;
//! * more clients: connections that were accepted and are established are the clients' doing; they do not
//!   count, and what is left must still be most of the rise.
//!
//! After the fact a leak shows by its end alone: the process is near its limit.

#[cfg(test)]
mod tests;

use crate::connections::Servers;
use crate::rise::Rise;
use crate::{Findings, Scene, words::Headline};
use remora_model::display::text::{clean, count, counted, duration, percent};
use remora_model::{
    Confidence, DescriptorKind, Descriptors, Finding, FindingKind, Severity, SkipReason, Socket,
    SocketState, Subject, Topic,
};
use std::collections::HashMap;
use std::time::Duration;

/// Names and peers that are shown.
const SHOWN: usize = 3;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let servers = Servers::of(scene.capture);
    let mut short = false;
    for descriptors in &scene.capture.descriptors {
        let full = descriptors.limit.filter(|limit| {
            *limit > 0 && descriptors.end.open as f64 >= scene.thresholds.fd_limit * *limit as f64
        });
        let rise = rise(scene, &servers, descriptors);
        short |= scene.capture.duration < scene.thresholds.fd_leak;
        if full.is_some() || rise.is_some() {
            findings.push(finding(scene, descriptors, full, rise.as_ref()));
        }
    }
    if short {
        let needed = scene.thresholds.fd_leak;
        findings.skip(FindingKind::FdLeak, SkipReason::NoGrowth { needed });
    }
}

/// The rise of a process's descriptors, unless it comes back, slows down, or is its clients' doing.
fn rise(scene: &Scene<'_>, servers: &Servers, descriptors: &Descriptors) -> Option<Rise> {
    if scene.capture.duration < scene.thresholds.fd_leak {
        return None;
    }
    let rise = Rise::of(scene, descriptors.pid, |reading| reading.open_files)?;
    let clients = servers.new_clients(scene, descriptors.pid);
    rise.is_kept_without(clients).then_some(rise)
}

fn finding(
    scene: &Scene<'_>,
    descriptors: &Descriptors,
    full: Option<u64>,
    rise: Option<&Rise>,
) -> Finding {
    let pid = descriptors.pid;
    let open = descriptors.end.open;
    let severity = match full {
        Some(limit) if open >= limit => Severity::Critical,
        _ => Severity::Warning,
    };
    let mut finding = scene.about_process(FindingKind::FdLeak, severity, pid);
    finding.summary = summary(scene, descriptors, full, rise);
    if let Some(rise) = rise {
        finding.since = Some(rise.over);
        finding.since_at_least = true;
        finding = finding.fact(Topic::Rate, rate(rise, descriptors));
        if full.is_none() {
            finding.confidence = Confidence::Inferred;
            finding = finding.fact(Topic::Inferred, "the rise so far is taken to go on");
        }
    }
    if let (Some(limit), None) = (descriptors.limit, rise) {
        let share = percent(open as f64, limit as f64);
        let line = format!("{} open of {} ({share})", count(open), count(limit));
        finding = finding.fact(Topic::Limit, line);
    }
    finding = finding.fact(Topic::Types, types(descriptors));
    for (name, number) in descriptors
        .end
        .names
        .iter()
        .take(SHOWN)
        .filter(|it| it.1 > 1)
    {
        let line = format!("{} × {}", count(*number), clean(name));
        finding = finding.fact(Topic::File, line);
    }
    for line in peers(scene, pid) {
        finding = finding.fact(Topic::Socket, line);
    }
    finding.next = next(scene, descriptors);
    finding.about = vec![Subject::Files(pid)];
    finding
}

fn summary(
    scene: &Scene<'_>,
    descriptors: &Descriptors,
    full: Option<u64>,
    rise: Option<&Rise>,
) -> String {
    let open = descriptors.end.open;
    let what = match (full, rise) {
        (Some(limit), _) => {
            format!("uses {} of {} file descriptors", count(open), count(limit))
        }
        (None, Some(rise)) => format!(
            "leaks file descriptors: +{} in {}",
            count(rise.growth),
            duration(rise.over)
        ),
        (None, None) => format!("has {} open", counted(open, "file descriptor")),
    };
    let headline = Headline {
        who: &scene.process_name(descriptors.pid),
        what: &what,
        ..Headline::default()
    };
    headline.fitted()
}

/// What is open most often is what should be closed.
fn next(scene: &Scene<'_>, descriptors: &Descriptors) -> String {
    let most = peers(scene, descriptors.pid).into_iter().next();
    let file = descriptors.end.names.iter().find(|(_, number)| *number > 1);
    let target = match (file, most) {
        (Some((name, number)), _) if *number > descriptors.end.open / 2 => clean(name).into_owned(),
        (_, Some(_)) => "these sockets".to_owned(),
        (Some((name, _)), None) => clean(name).into_owned(),
        (None, None) => "them".to_owned(),
    };
    format!(
        "Close {target} on every return path, errors too. Until then: raise RLIMIT_NOFILE or restart."
    )
}

fn rate(rise: &Rise, descriptors: &Descriptors) -> String {
    let rate = format!("{:.1}/s", rise.a_second);
    let Some(limit) = descriptors.limit else {
        return format!("{rate}, no limit");
    };
    let left = limit.saturating_sub(descriptors.end.open) as f64 / rise.a_second.max(1e-9);
    match Duration::try_from_secs_f64(left) {
        Ok(left) => format!(
            "{rate}, limit in {} ({} of {} open)",
            duration(left),
            count(descriptors.end.open),
            count(limit)
        ),
        Err(_) => rate,
    }
}

/// `812 sockets (+790), 14 files, 3 pipes`.
fn types(descriptors: &Descriptors) -> String {
    let mut kinds = descriptors.end.kinds.clone();
    kinds.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let kinds = kinds.iter().map(|(kind, number)| {
        let grown = number.saturating_sub(descriptors.start.of(*kind));
        let grown = match grown {
            0 => String::new(),
            grown => format!(" (+{})", count(grown)),
        };
        format!("{}{grown}", counted(*number, what(*kind)))
    });
    let cut = if descriptors.end.cut {
        "; not all were checked"
    } else {
        ""
    };
    kinds.collect::<Vec<_>>().join(", ") + cut
}

/// One descriptor of a kind.
const fn what(kind: DescriptorKind) -> &'static str {
    match kind {
        DescriptorKind::Socket => "socket",
        DescriptorKind::Pipe => "pipe",
        DescriptorKind::File => "file",
        DescriptorKind::Device => "device",
        DescriptorKind::Anonymous => "anonymous file",
        DescriptorKind::MemoryFile => "memory file",
        DescriptorKind::Other => "other file",
    }
}

/// Where most of the sockets lead, with their states.
fn peers(scene: &Scene<'_>, pid: u32) -> Vec<String> {
    let mut places: HashMap<String, (u64, u64)> = HashMap::new();
    for socket in scene.sockets_of(pid) {
        let place = places.entry(place(socket)).or_default();
        place.0 += 1;
        place.1 += u64::from(socket.state == SocketState::CloseWait);
    }
    let mut places: Vec<_> = places.into_iter().filter(|(_, it)| it.0 > 2).collect();
    places.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let shown = places.into_iter().take(SHOWN);
    shown
        .map(|(place, (number, left))| {
            let left = match left {
                0 => String::new(),
                left => format!(", {} in CLOSE-WAIT", count(left)),
            };
            clean(&format!("{} {place}{left}", count(number))).into_owned()
        })
        .collect()
}

fn place(socket: &Socket) -> String {
    let protocol = socket.protocol_name();
    match (&socket.peer_process, &socket.peer) {
        (Some(peer), _) => format!("{protocol} to {} ({})", peer.comm, peer.pid),
        (None, Some(peer)) => format!("{protocol} to {peer}"),
        (None, None) => format!("{protocol}, {}", socket.state.label()),
    }
}
