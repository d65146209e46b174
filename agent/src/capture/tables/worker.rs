//! Compiles unwind tables beside the capture: a large binary takes a while, and nobody waits for it.

use crate::{
    deadline::{self, Step, Subject},
    target::maps::{Identity, Module},
    unwind::{self, CompileError, Limits, Table},
};
use std::{io, sync::Arc, thread};
use tokio::sync::mpsc;

/// What was compiled.
pub struct Compiled {
    /// The file.
    pub identity: Arc<Identity>,
    /// Its table, or why there is none.
    pub table: Result<Table, CompileError>,
}

/// The thread that compiles. It ends when this is dropped.
pub struct Worker {
    jobs: std::sync::mpsc::Sender<Arc<Module>>,
    done: mpsc::UnboundedReceiver<Compiled>,
    waiting: usize,
}

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, todo) = std::sync::mpsc::channel::<Arc<Module>>();
        let (finished, done) = mpsc::unbounded_channel();
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
                    if finished.send(Compiled { identity, table }).is_err() {
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

    /// Asks for a file's table.
    pub fn compile(&mut self, module: &Arc<Module>) {
        if self.jobs.send(Arc::clone(module)).is_ok() {
            self.waiting += 1;
        }
    }

    /// Files that are not compiled yet.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The next that is done; never, when nothing is waited for.
    pub async fn next(&mut self) -> Compiled {
        if self.waiting > 0
            && let Some(compiled) = self.done.recv().await
        {
            self.waiting -= 1;
            return compiled;
        }
        std::future::pending().await
    }

    /// One that is done already.
    pub fn try_next(&mut self) -> Option<Compiled> {
        let compiled = self.done.try_recv().ok()?;
        self.waiting -= 1;
        Some(compiled)
    }
}
