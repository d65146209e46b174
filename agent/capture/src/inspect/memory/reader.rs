//! Reads mappings in a thread of its own: a large process takes a second. One whose memory is locked by a device that
//! does not answer is given up, and not asked at all where an earlier step about it hangs.

use super::{counters, smaps::Smaps};
use remora_process::deadline::{self, Step, Subject};
use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::Instant,
};

/// Requests that may wait, and answers: when nobody takes them, the thread waits, requests find no room,
/// and who asks counts that.
const MAX_WAITING: usize = 256;

/// For which of its two readings, of which process (its start in clock ticks) and which of its address
/// spaces (execs before it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Start(u64, u32),
    End(u64, u32),
}

/// What was read.
#[derive(Debug)]
pub(super) struct Answer {
    pub pid: u32,
    pub phase: Phase,
    /// `None`: it is gone, or another process by now.
    pub smaps: Option<Smaps>,
}

/// The thread, seen from outside.
pub(super) struct Reader {
    requests: Option<SyncSender<(u32, Phase)>>,
    answers: Receiver<Answer>,
    waiting: u64,
}

impl Reader {
    /// Starts it.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (requests, wanted) = sync_channel(MAX_WAITING);
        let (given, answers) = sync_channel(MAX_WAITING);
        thread::Builder::new()
            .name("remora-smaps".to_owned())
            .spawn(move || work(&wanted, &given))?;
        Ok(Self {
            requests: Some(requests),
            answers,
            waiting: 0,
        })
    }

    /// Asks for the mappings of a process; whether there was room.
    pub(super) fn ask(&mut self, pid: u32, phase: Phase) -> bool {
        let sent = match &self.requests {
            Some(requests) => requests.try_send((pid, phase)),
            None => Err(TrySendError::Disconnected((pid, phase))),
        };
        self.waiting += u64::from(sent.is_ok());
        sent.is_ok()
    }

    /// An answer, if there is one.
    pub(super) fn answered(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.waiting = self.waiting.saturating_sub(1);
        Some(answer)
    }

    /// Waits for the rest, within reason; the answers, and how many did not come.
    pub(super) fn finish(mut self) -> (Vec<Answer>, u64) {
        self.requests = None;
        let mut answers = Vec::new();
        let until = Instant::now() + Step::MappingSizes.limit();
        while self.waiting > 0 {
            let Some(answer) = deadline::receive(&self.answers, until) else {
                deadline::gave_up(Step::MappingSizes, Subject::Host);
                break;
            };
            self.waiting -= 1;
            answers.push(answer);
        }
        (answers, self.waiting)
    }
}

fn work(wanted: &Receiver<(u32, Phase)>, given: &SyncSender<Answer>) {
    while let Ok((pid, phase)) = wanted.recv() {
        let (Phase::Start(start_ticks, _) | Phase::End(start_ticks, _)) = phase;
        let read = move || Smaps::read(pid).ok();
        let smaps = deadline::run(Step::MappingSizes, Subject::Process(pid), read).flatten();
        // After the reading: a process that is still the same then was so before.
        let same = counters::read(pid).is_some_and(|(_, ticks)| ticks == start_ticks);
        let smaps = smaps.filter(|_| same);
        if given.send(Answer { pid, phase, smaps }).is_err() {
            break;
        }
    }
}
