//! What a process made: ended with it, by ids and the times at which they began, never by a name.

use crate::specimen::send;
use rustix::process::Signal;

/// The processes of a session, and the children of those, also where they made a session of their own.
#[derive(Debug)]
pub(super) struct Family(Vec<(u32, Option<String>)>);

impl Family {
    /// Of the leader of a session, without itself.
    pub(super) fn of(pid: u32) -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let all: Vec<(u32, u32, u32)> = pids
            .filter_map(|pid: u32| Some((pid, number(pid, 1)?, number(pid, 3)?)))
            .collect();
        let mut found = vec![pid];
        let mut at = 0;
        while let Some(of) = found.get(at).copied() {
            for (pid, parent, session) in &all {
                if (*parent == of || *session == of) && !found.contains(pid) {
                    found.push(*pid);
                }
            }
            at += 1;
        }
        let others = found.into_iter().skip(1);
        Self(others.map(|pid| (pid, beginning(pid))).collect())
    }

    /// Ends those that are left: the same processes, not later ones with their ids.
    pub(super) fn end(self) {
        for (pid, began) in self.0 {
            if began.is_some() && beginning(pid) == began {
                send(pid, Signal::KILL);
            }
        }
    }
}

/// A number of `/proc/PID/stat`, counted from the state on.
fn number(pid: u32, at: usize) -> Option<u32> {
    field(pid, at)?.parse().ok()
}

fn beginning(pid: u32) -> Option<String> {
    field(pid, 19)
}

fn field(pid: u32, at: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(at).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn what_a_session_started_ends_with_it_also_when_its_parent_is_gone() {
        let line = "sleep 1000 & echo $!; exec sleep 1000";
        let mut leader = Command::new("setsid")
            .args(["sh", "-c", line])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        std::thread::sleep(Duration::from_millis(300));
        let family = Family::of(leader.id());
        crate::proc::end(&mut leader);
        let [(child, _)] = family.0[..] else {
            panic!("{family:?}");
        };
        assert!(beginning(child).is_some());
        family.end();
        std::thread::sleep(Duration::from_millis(300));
        let state = crate::proc::state(child, child);
        assert!(matches!(state, None | Some('Z')), "{state:?}");
    }
}
