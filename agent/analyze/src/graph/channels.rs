//! What threads wait for of other processes: bytes of a socket or pipe, or room in one, a child, a lock on a
//! file.
//!
//! A socket's peer is who holds its other end, and a pipe's too: any thread of any of these processes could
//! write. So two processes that each wait for a word of the other are a cycle only where no other thread of
//! either could say it.

use super::{Clue, Needs, Party, Role, Thing, Wait};
use crate::{Scene, words};
use remora_model::display::text::clean;
use remora_model::{Awaited, Dependency, Reason, State, Subject, Thread};
use std::collections::HashMap;

/// What was looked up of threads that sleep, by thread id.
pub(super) fn by_thread<'a>(scene: &Scene<'a>) -> HashMap<u32, &'a Dependency> {
    let all = scene.capture.dependencies.iter();
    all.map(|dependency| (dependency.tid, dependency)).collect()
}

/// What a thread waits for outside of its process.
pub(super) fn wait(
    scene: &Scene<'_>,
    looked_up: &HashMap<u32, &Dependency>,
    thread: &Thread,
) -> Option<Wait> {
    let now = &thread.now;
    if now.state != State::Blocked {
        return None;
    }
    let mut wait = match (looked_up.get(&thread.tid), now.reason?) {
        (Some(dependency), _) => on_dependency(scene, dependency, thread)?,
        (None, Reason::SocketReceive | Reason::SocketSend) => on_socket(
            scene,
            thread.pid,
            u32::try_from(now.args[0]).ok()?,
            now.reason?,
        )?,
        _ => return None,
    };
    wait.since = now.since;
    wait.at_least = now.since_inferred;
    Some(wait)
}

fn new(what: Thing, role: Role, parties: Vec<Party>) -> Wait {
    Wait {
        what,
        role,
        subject: None,
        parties,
        other_end: None,
        needs: Needs::Any,
        certain: true,
        how: None,
        since: std::time::Duration::ZERO,
        at_least: false,
        timed: false,
    }
}

fn on_dependency(scene: &Scene<'_>, dependency: &Dependency, thread: &Thread) -> Option<Wait> {
    let mut parties: Vec<Party> = dependency
        .parties
        .iter()
        .map(|(pid, name)| party(scene, *pid, name))
        .collect();
    if dependency.cut {
        parties.push(Party::Stranger(0, "others".to_owned()));
    }
    let mut wait = match &dependency.on {
        Awaited::Pipe {
            fd,
            inode,
            name,
            reads,
        } => {
            let channel = format!("fd {fd} {}", clean(name));
            let (what, role) = match reads {
                true => (Thing::Data(channel), Role::Writes),
                false => (Thing::Space(channel), Role::Reads),
            };
            Wait {
                subject: (*inode != 0).then_some(Subject::Pipe(*inode)),
                ..new(what, role, parties)
            }
        }
        Awaited::Socket { fd } => on_socket(scene, thread.pid, *fd, Reason::SocketReceive)?,
        Awaited::Child => new(Thing::ChildExit, Role::Exits, parties),
        Awaited::File { name } => {
            let path = clean(name).into_owned();
            new(Thing::FileLock(path), Role::Holds, parties)
        }
    };
    wait.timed = dependency.timed;
    (!wait.parties.is_empty()).then_some(wait)
}

fn on_socket(scene: &Scene<'_>, pid: u32, fd: u32, reason: Reason) -> Option<Wait> {
    let socket = scene.socket(pid, fd)?;
    let peer = socket.peer_process.as_ref()?;
    let sends = reason == Reason::SocketSend;
    if !sends && (socket.receive.last > 0 || socket.receive_shut) {
        // It has just got something.
        return None;
    }
    let mut parties: Vec<Party> = peer
        .held_by
        .iter()
        .map(|pid| party(scene, *pid, &peer.comm))
        .collect();
    if peer.held_by.len() >= 16 || !peer.accepted {
        parties.push(Party::Stranger(peer.pid, peer.comm.clone()));
    }
    let channel = words::channel(scene, socket);
    let (what, role) = match sends {
        true => (Thing::Space(channel), Role::Reads),
        false => (Thing::Data(channel), Role::Writes),
    };
    let how = peer.inferred.then_some(Clue::Addresses);
    Some(Wait {
        subject: Some(Subject::Socket(socket.inode)),
        other_end: (peer.inode != 0).then_some(peer.inode),
        certain: !peer.inferred,
        how,
        ..new(what, role, parties)
    })
}

fn party(scene: &Scene<'_>, pid: u32, name: &str) -> Party {
    match scene.process(pid).filter(|process| !process.exited) {
        Some(_) => Party::Process(pid),
        None => Party::Stranger(pid, name.to_owned()),
    }
}
