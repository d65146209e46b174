//! `--jsonl FILE`: each window of the timeline when it is over. A thread of its own writes, for the file may lie where
//! nobody answers, or be a pipe that nobody reads.

use remora_model::timeline::Window;
use remora_process::deadline::{self, Step, Subject};
use remora_report::jsonl;
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::Instant,
};

/// Windows that may wait to be written.
const MAX_WAITING: usize = 64;

/// The file, seen from the capture.
pub(super) struct Stream {
    path: PathBuf,
    lines: SyncSender<Vec<u8>>,
    /// What became of them, when the writer ends.
    ended: Receiver<Ended>,
    /// Windows that found no room, or are no JSON.
    missed: u64,
}

/// What a writer leaves behind.
#[derive(Default)]
struct Ended {
    failed: Option<io::Error>,
    missed: u64,
}

impl Stream {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// When it cannot be written: known before the capture begins.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let wanted = path.to_owned();
        let made = deadline::run(Step::Report, Subject::Host, move || File::create(wanted));
        let made = made.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        let file =
            made.map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
        let (lines, waiting) = sync_channel(MAX_WAITING);
        let (end, ended) = sync_channel(1);
        let writer = thread::Builder::new().name("remora-jsonl".to_owned());
        writer.spawn(move || drop(end.send(write(file, &waiting))))?;
        Ok(Self {
            path: path.to_owned(),
            lines,
            ended,
            missed: 0,
        })
    }

    /// Has a window written, as far as there is room.
    pub(super) fn write(&mut self, window: &Window) {
        let sent = jsonl::line(window)
            .ok()
            .map(|line| self.lines.try_send(line));
        match sent {
            // After a failure the writer counts.
            Some(Ok(()) | Err(TrySendError::Disconnected(_))) => {}
            Some(Err(TrySendError::Full(_))) | None => self.missed += 1,
        }
    }

    /// Ends the file; what went wrong, in a line, `None` if nothing did.
    pub(super) fn finish(self) -> Option<String> {
        drop(self.lines);
        let until = Instant::now() + Step::Report.limit();
        let ended = deadline::receive(&self.ended, until);
        let path = self.path.display();
        let Some(Ended { failed, missed }) = ended else {
            return Some(format!(
                "{path} does not answer: windows are missing there (report.json has all of them)"
            ));
        };
        let missed = missed + self.missed;
        let why = match failed {
            Some(error) => format!("cannot write {path}: {error}"),
            None if missed > 0 => format!("{path} was written too slowly"),
            None => return None,
        };
        Some(format!(
            "{why}; {missed} windows are missing there (report.json has all of them)"
        ))
    }
}

/// Writes lines until there are no more. After a failure the rest is counted: half a line must stay the last one.
fn write(mut file: File, lines: &Receiver<Vec<u8>>) -> Ended {
    let mut ended = Ended::default();
    while let Ok(line) = lines.recv() {
        if ended.failed.is_none() {
            ended.failed = file.write_all(&line).err();
        }
        ended.missed += u64::from(ended.failed.is_some());
    }
    ended
}
