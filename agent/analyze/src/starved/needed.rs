//! Whether somebody waits for a thread that was told to give way.
//!
//! A batch that runs when nobody else wants the CPU is well, however long that takes. It is not where others depend on
//! it: another finding is because of it, a thread waits for a lock that it holds, or a client for its request to be taken.

use crate::graph::{Graph, Node, Party, Wait};
use crate::readers::Readers;
use crate::{Scene, words};
use remora_model::display::text::queue_bytes;
use remora_model::{Finding, FindingKind, Socket, SocketState, Subject, Thread};
use std::time::Duration;

/// Findings that say that the thread which they name is late.
const LATE: [FindingKind; 2] = [FindingKind::LoopBlocked, FindingKind::HeartbeatMissed];
/// Waits that are shown.
const SHOWN: usize = 3;

/// Who waits for whom, made when it is first asked for.
pub(super) struct Needed<'a> {
    scene: &'a Scene<'a>,
    graph: Option<Graph<'a>>,
}

impl<'a> Needed<'a> {
    /// Of a capture.
    pub(super) fn new(scene: &'a Scene<'a>) -> Self {
        Self { scene, graph: None }
    }

    /// What waits for a thread, beside what is found already; `None`: nothing does.
    pub(super) fn by(&mut self, found: &[Finding], of: (usize, &Thread)) -> Option<Vec<String>> {
        let subject = Subject::Thread(of.1.tid);
        let names = |it: &Finding| {
            let late = LATE.contains(&it.kind) && it.about.contains(&subject);
            late || it.because_of.contains(&subject)
        };
        let mut waiting = self.lock_waiters(of.0);
        waiting.extend(self.requests(of.1));
        waiting.truncate(SHOWN);
        (!waiting.is_empty() || found.iter().any(names)).then_some(waiting)
    }

    /// Threads that wait for a lock that this one holds, for as long as a wait for a CPU has to last.
    fn lock_waiters(&mut self, index: usize) -> Vec<String> {
        let scene = self.scene;
        let graph = self.graph.get_or_insert_with(|| Graph::of(scene));
        let holds = |wait: &&Wait| {
            matches!(wait.subject, Some(Subject::Lock(..)))
                && wait.since >= scene.thresholds.starved_stretch
                && wait.parties.contains(&Party::Node(Node::Thread(index)))
        };
        let waits = scene.living().filter_map(|(at, thread)| {
            let wait = graph.wait(Node::Thread(at)).filter(holds)?;
            let since = words::since(wait.since, wait.at_least);
            let who = words::thread(thread);
            Some(format!("{who} waits for a lock that it holds for {since}"))
        });
        waits.collect()
    }

    /// What clients sent or asked for and that has not been taken, on sockets that this thread serves.
    fn requests(&self, thread: &Thread) -> Vec<String> {
        let scene = self.scene;
        let readers = Readers::of(scene, thread.pid);
        let serves = |socket: &Socket| {
            let mut loops = socket.watched_by.iter();
            let own = loops.any(|watch| {
                let runs = readers.of_loop(watch);
                runs.is_some_and(|it| it.thread.tid == thread.tid)
            });
            own || readers.count() == 1
        };
        let late = scene.thresholds.loop_blocked;
        let sockets = scene.sockets_of(thread.pid);
        let waiting = sockets.filter(|it| age(scene, it) >= late && serves(it));
        let line = |socket: &Socket| {
            let what = match &socket.backlog {
                Some(backlog) => format!("backlog {}", backlog.now),
                None => format!("{} unread", queue_bytes(socket.unread_bytes().into())),
            };
            let since = words::since(age(scene, socket), true);
            format!("{}: {what} for {since}", words::socket(scene, socket))
        };
        waiting.map(line).collect()
    }
}

/// For how long a client has waited; zero where none does.
fn age(scene: &Scene<'_>, socket: &Socket) -> Duration {
    let oldest = socket.oldest_unread.map_or(Duration::ZERO, |it| it.min);
    match &socket.backlog {
        Some(backlog) if backlog.now > 0 => oldest,
        None if socket.state == SocketState::Established
            && socket.receive.min > 0
            && scene.is_accepted(socket) =>
        {
            oldest
        }
        _ => Duration::ZERO,
    }
}
