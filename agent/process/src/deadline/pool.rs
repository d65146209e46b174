//! The threads that may hang. There are a few, made when they are needed; one that hangs is replaced until there are
//! [`MAX_THREADS`], then nothing more is begun.

use super::{Subject, stuck};
use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread,
};

/// Threads at the most, hanging ones included.
const MAX_THREADS: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    ready: Condvar,
}

static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

/// What is known from outside of a job under way.
pub(super) struct Ticket {
    about: Subject,
    /// The thread that runs it; 0: none does yet.
    tid: Arc<AtomicU32>,
    /// Set by whoever comes first: the job when it ends, or the waiter who gives it up.
    settled: Arc<AtomicBool>,
    /// It waits for a step of its own, which has a limit too.
    asks: Arc<AtomicBool>,
}

thread_local! {
    /// `asks` of the job that this thread does.
    static ASKS: RefCell<Arc<AtomicBool>> = RefCell::default();
}

/// While a job waits for a step of its own.
pub(super) struct Asking(Arc<AtomicBool>);

impl Asking {
    pub(super) fn begins() -> Self {
        let asks = ASKS.with_borrow(Arc::clone);
        asks.store(true, SeqCst);
        Self(asks)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

impl Ticket {
    /// Whether its thread runs, waits for a CPU or for a step of its own; one that has not begun waits for a CPU.
    pub(super) fn is_runnable(&self) -> bool {
        if self.asks.load(SeqCst) {
            return true;
        }
        match self.tid.load(SeqCst) {
            0 => true,
            tid => state(tid) == Some(b'R'),
        }
    }

    /// Gives it up; `false`: it has just ended.
    pub(super) fn abandon(&self) -> bool {
        stuck::hangs(self.about);
        let late = self.settled.swap(true, SeqCst);
        if late {
            stuck::came_back(self.about);
        }
        !late
    }
}

/// The state of a thread of ours, as its `stat` has it.
fn state(tid: u32) -> Option<u8> {
    let stat = std::fs::read(format!("/proc/self/task/{tid}/stat")).ok()?;
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(name_end + 2).copied()
}

/// Has a thread do `work`; `None` where there is none and none can be had.
pub(super) fn submit(about: Subject, work: impl FnOnce() + Send + 'static) -> Option<Ticket> {
    let ticket = Ticket {
        about,
        tid: Arc::default(),
        settled: Arc::default(),
        asks: Arc::default(),
    };
    let (tid, settled) = (Arc::clone(&ticket.tid), Arc::clone(&ticket.settled));
    let asks = Arc::clone(&ticket.asks);
    let job = move || {
        ASKS.set(asks);
        tid.store(
            rustix::thread::gettid().as_raw_nonzero().get() as u32,
            SeqCst,
        );
        let end = End { about, settled };
        work();
        drop(end);
    };
    POOL.take(Box::new(job)).then_some(ticket)
}

/// Says that a job has ended, whichever way.
struct End {
    about: Subject,
    settled: Arc<AtomicBool>,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.settled.swap(true, SeqCst) {
            stuck::came_back(self.about);
        }
    }
}

/// Makes threads before they are needed; whether there are so many now.
pub(super) fn reserve(threads: usize) -> bool {
    let mut state = POOL.state();
    while state.threads < threads && POOL.grow(&mut state) {}
    state.threads >= threads
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread will do the job.
    fn take(&'static self, job: Job) -> bool {
        let mut state = self.state();
        if state.idle <= state.waiting.len() && !self.grow(&mut state) {
            // What it holds may be what blocks when it is let go: that ends with the process.
            let _kept = Box::leak(job);
            return false;
        }
        state.waiting.push_back(job);
        self.ready.notify_one();
        true
    }

    fn grow(&'static self, state: &mut State) -> bool {
        if state.threads >= MAX_THREADS {
            return false;
        }
        let thread = thread::Builder::new().name("remora-patient".to_owned());
        let made = thread.spawn(|| self.work()).is_ok();
        if made {
            state.threads += 1;
            state.idle += 1;
        }
        made
    }

    /// What a thread does. A job that panics takes its thread along.
    fn work(&self) {
        let _gone = Gone(self);
        let mut state = self.state();
        loop {
            let Some(job) = state.waiting.pop_front() else {
                let waited = self.ready.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.idle -= 1;
            drop(state);
            job();
            state = self.state();
            state.idle += 1;
        }
    }
}

/// A thread that panicked is none any more.
struct Gone<'a>(&'a Pool);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.state().threads -= 1;
    }
}
