//! The asyncio tasks of a process at one moment: which loops run them, where each one stands, and
//! what it awaits. Identities are addresses in the target: the same object, the same number.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// A look at the tasks of one process.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Tasks {
    /// Event loops that run, or that tasks belong to.
    pub loops: Vec<EventLoop>,
    /// Tasks that are not done, in the order of their identities.
    pub tasks: Vec<Task>,
    /// What was not seen, and why.
    pub loss: TaskLoss,
    /// How long the look took.
    pub took: Duration,
}

/// An event loop.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct EventLoop {
    /// Address of the loop object.
    pub id: u64,
    /// Its class, such as `_UnixSelectorEventLoop` or `uvloop.Loop`; empty when it could not be read.
    pub class: String,
    /// Thread that runs it now, by the target's own number for it (`threading.get_ident()`).
    pub ident: Option<u64>,
    /// That thread's id in the initial PID namespace.
    pub tid: Option<u32>,
    /// That thread's name, escaped.
    pub thread: Option<String>,
    /// The task that it is in the middle of.
    pub current: Option<u64>,
    /// Callbacks were seen to end, one after the other, while it did not seem to come back to its wait.
    #[serde(default)]
    pub turns: bool,
}

/// What a task does now.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum TaskState {
    /// It is the one that its loop runs.
    Running,
    /// It awaits something that has not come.
    Waiting,
    /// It has what it awaited, or nothing to await, and its loop has not come to it yet.
    Ready,
}

impl TaskState {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Task {
    /// Address of the task object.
    pub id: u64,
    /// Its name (`Task.get_name()`).
    pub name: String,
    /// Its class: `Task` or one derived from it.
    pub class: String,
    /// Its loop.
    pub loop_id: u64,
    /// What it does.
    pub state: TaskState,
    /// It was told to cancel itself and has not come to it.
    pub cancelling: bool,
    /// Its stack, outermost first: the coroutine that it runs, then what that one awaits, and so on;
    /// of a running one, also the plain functions called from there.
    pub frames: Vec<TaskFrame>,
    /// Outermost frames beyond the bound were left out.
    pub frames_cut: bool,
    /// What it awaits; `None` unless it is waiting.
    pub awaits: Option<Await>,
    /// Addresses of the locks in the body of whose `async with` it stands: it holds them.
    pub holds: Vec<u64>,
    /// So long before the end of the capture it was seen to await the same; `None`: it was not looked at then,
    /// or awaited something else.
    pub same_for: Option<Duration>,
    /// It moved each time that it was read: no frames and no `awaits` are shown.
    pub torn: bool,
}

/// A Python frame of a task.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct TaskFrame {
    /// Its function, qualified.
    pub function: String,
    /// Its source file; empty when it could not be read.
    pub file: String,
    /// The line that it is in.
    pub line: Option<u32>,
}

/// The kind of what a task awaits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum AwaitKind {
    /// Another task, by itself or behind `wait_for` or `shield`.
    Task,
    /// All of several (`gather`).
    Gather,
    /// Some or all of several (`asyncio.wait`).
    Wait,
    /// The tasks of a `TaskGroup`.
    TaskGroup,
    /// Time (`asyncio.sleep`).
    Sleep,
    /// An `asyncio.Lock`.
    Lock,
    /// An `asyncio.Event`.
    Event,
    /// An `asyncio.Condition`.
    Condition,
    /// An `asyncio.Semaphore`.
    Semaphore,
    /// An `asyncio.Barrier`.
    Barrier,
    /// An `asyncio.Queue`: something in it, room in it, or that all of it is done.
    Queue,
    /// Bytes from or to a peer, by `asyncio.streams`.
    Stream,
    /// A socket, by the loop's `sock_…` calls, or a connection being made.
    Socket,
    /// Clients of a server, or its end.
    Server,
    /// The end of a child process.
    Process,
    /// A thread or process of an executor.
    Executor,
    /// A future of unknown making.
    Future,
    /// An awaitable that is no future.
    Other,
}

impl AwaitKind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What a task awaits.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Await {
    /// Its kind.
    pub kind: AwaitKind,
    /// The function of asyncio that waits, such as `Queue.get`; empty for others.
    pub call: String,
    /// Class of the object that is awaited (`Lock`, `Future`); empty when it could not be read.
    pub class: String,
    /// Address of that object, the same for all who await it.
    pub object: u64,
    /// Tasks that must get on before this one does.
    pub tasks: Vec<u64>,
    /// Time that a sleep still has to go, in seconds; below 0 it is over, and the loop has not come
    /// to it.
    pub left_s: Option<f64>,
}

/// Functions of asyncio that wait until bytes can be sent.
const SENDING: [&str; 7] = [
    "drain",
    "_drain_helper",
    "sock_sendall",
    "sock_sendto",
    "sock_sendfile",
    "sendfile",
    "_sock_sendfile_native",
];

impl Await {
    /// Whether it waits for a peer to take what was sent: for room in a stream or socket.
    pub fn sends(&self) -> bool {
        let function = self.call.rsplit('.').next().unwrap_or_default();
        matches!(self.kind, AwaitKind::Stream | AwaitKind::Socket) && SENDING.contains(&function)
    }
}

/// What a look at tasks did not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct TaskLoss {
    /// Tasks that moved each time that they were read.
    pub torn: u64,
    /// Tasks that ended during the look.
    pub vanished: u64,
    /// Tasks beyond the bound on their number, or on what is read.
    pub tasks_cut: u64,
    /// Tasks with frames beyond the bound.
    pub frames_cut: u64,
    /// Tasks of which something could not be read.
    pub unreadable: u64,
    /// Interpreters whose asyncio could not be read, though it is imported.
    pub interpreters: u64,
    /// Sets of tasks that were rebuilt each time that they were read: some tasks may be missing.
    pub sets_torn: u64,
}

impl TaskLoss {
    /// Each counter with its name in reports.
    pub fn counters(&self) -> [(&'static str, u64); 7] {
        let Self {
            torn,
            vanished,
            tasks_cut,
            frames_cut,
            unreadable,
            interpreters,
            sets_torn,
        } = *self;
        [
            ("tasks_torn", torn),
            ("tasks_vanished", vanished),
            ("tasks_cut", tasks_cut),
            ("task_frames_cut", frames_cut),
            ("tasks_unreadable", unreadable),
            ("interpreters_unreadable", interpreters),
            ("task_sets_torn", sets_torn),
        ]
    }
}
