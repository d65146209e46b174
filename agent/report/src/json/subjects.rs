//! What a finding is about, for programs: the ids by which other parts of the report have it.

use remora_model::Subject;
use serde::Serialize;

/// A thread, a socket, a lock… Members that do not belong to its kind are left out.
#[derive(Serialize)]
pub(super) struct About {
    /// `process`, `thread`, `lock`, `socket`, `pipe`, `task`, `memory`, `files` or `heartbeat`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    /// Hexadecimal, of a lock or a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    /// Of a heartbeat: its place on the command line, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
}

/// All of them.
pub(super) fn list(subjects: &[Subject]) -> Vec<About> {
    subjects.iter().copied().map(about).collect()
}

fn about(subject: Subject) -> About {
    let of = |kind| About {
        kind,
        pid: None,
        tid: None,
        address: None,
        inode: None,
        index: None,
    };
    let owned = |kind, pid| About {
        pid: Some(pid),
        ..of(kind)
    };
    let at = |kind, pid, address: u64| About {
        address: Some(format!("{address:#x}")),
        ..owned(kind, pid)
    };
    let node = |kind, inode| About {
        inode: Some(inode),
        ..of(kind)
    };
    match subject {
        Subject::Process(pid) => owned("process", pid),
        Subject::Memory(pid) => owned("memory", pid),
        Subject::Files(pid) => owned("files", pid),
        Subject::Threads(pid) => owned("threads", pid),
        Subject::Thread(tid) => About {
            tid: Some(tid),
            ..of("thread")
        },
        Subject::Lock(pid, address) => at("lock", pid, address),
        Subject::Task(pid, address) => at("task", pid, address),
        Subject::Socket(inode) => node("socket", inode),
        Subject::Pipe(inode) => node("pipe", inode),
        Subject::Heartbeat(index) => About {
            index: Some(index),
            ..of("heartbeat")
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_of_its_kind_are_there() {
        let all = list(&[
            Subject::Thread(7),
            Subject::Lock(5, 0xbeef),
            Subject::Socket(9),
        ]);
        assert_eq!(
            serde_json::to_string(&all).expect("JSON"),
            concat!(
                r#"[{"kind":"thread","tid":7},{"kind":"lock","pid":5,"address":"0xbeef"},"#,
                r#"{"kind":"socket","inode":9}]"#
            )
        );
    }
}
