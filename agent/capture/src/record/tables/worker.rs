//! Compiles unwind tables beside the capture: a large binary takes a while, and nobody waits for it.

use remora_process::deadline::{self, Step, Subject};
use remora_process::maps::{Identity, Module};
use remora_process::unwind::{self, CompileError, Limits, Table};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};
use tokio::sync::mpsc;

/// Files that may wait to be compiled: more than any process maps.
const MAX_WAITING: usize = 4096;

/// Tables that may wait to be taken, each some megabytes: the thread goes on when one is.
const MAX_DONE: usize = 16;

/// What was compiled.
pub(crate) struct Compiled {
    /// The file.
    pub identity: Arc<Identity>,
    /// Its table, or why there is none.
    pub table: Result<Table, CompileError>,
}

/// The thread that compiles. It ends when this is dropped.
pub(super) struct Worker {
    jobs: SyncSender<Arc<Module>>,
    done: mpsc::Receiver<Compiled>,
    waiting: usize,
}

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, todo) = sync_channel::<Arc<Module>>(MAX_WAITING);
        let (finished, done) = mpsc::channel(MAX_DONE);
        thread::Builder::new()
            .name("unwind-tables".to_owned())
            .spawn(move || {
                for module in todo {
                    let identity = Arc::clone(&module.identity);
                    let about = Subject::Device(module.device);
                    let table = deadline::run(Step::UnwindTable, about, move || {
                        unwind::compile(&module.content, &Limits::default())
                    });
                    let table = table.unwrap_or(Err(CompileError::NoAnswer));
                    let compiled = Compiled { identity, table };
                    if finished.blocking_send(compiled).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self {
            jobs,
            done,
            waiting: 0,
        })
    }

    /// Asks for a file's table; whether there was room for that.
    pub(super) fn compile(&mut self, module: &Arc<Module>) -> bool {
        let sent = self.jobs.try_send(Arc::clone(module)).is_ok();
        self.waiting += usize::from(sent);
        sent
    }

    /// Files that are not compiled yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The next that is done; never, when nothing is waited for.
    pub(super) async fn next(&mut self) -> Compiled {
        if self.waiting > 0
            && let Some(compiled) = self.done.recv().await
        {
            self.waiting -= 1;
            return compiled;
        }
        std::future::pending().await
    }

    /// One that is done already.
    pub(super) fn try_next(&mut self) -> Option<Compiled> {
        let compiled = self.done.try_recv().ok()?;
        self.waiting -= 1;
        Some(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_process::maps::Content;

    fn module(inode: u64) -> Arc<Module> {
        Arc::new(Module {
            name: "no ELF file".into(),
            path: "a".into(),
            identity: Arc::new(Identity::Inode(0, inode, "a".into())),
            device: 0,
            inode,
            content: Content::Bytes([].into()),
            layout: None,
        })
    }

    #[test]
    fn what_finds_no_room_is_refused_and_what_was_taken_is_done() {
        let mut worker = Worker::start().unwrap();
        // Nobody takes a table: the thread stops, then the queue is full.
        let most = MAX_WAITING + MAX_DONE + 1;
        let taken = (0..=most as u64).take_while(|inode| worker.compile(&module(*inode)));
        let taken = taken.count();
        assert!((MAX_WAITING..=most).contains(&taken), "{taken}");
        assert_eq!(worker.waiting(), taken);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        for _ in 0..taken {
            assert!(runtime.block_on(worker.next()).table.is_err());
        }
        assert_eq!(worker.waiting(), 0);
        assert!(worker.compile(&module(0)), "there is room again");
    }
}
