//! Locks of database servers: who holds one stands in the server's own tables, and the server says it.

use crate::{Scene, waits::Kind, waits::Waiting};
use remora_model::Thread;

/// Why nobody knows the holder.
pub(crate) const UNKNOWN: &str =
    "the server knows which session holds it, until its transaction or the session ends";

/// A server whose lock manager is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres,
    /// And `MySQL`.
    MariaDb,
}

/// The server whose lock a thread waits for.
pub(crate) fn of(scene: &Scene<'_>, waiting: &Waiting<'_>) -> Option<Server> {
    let stack = (waiting.kind == Kind::Lock).then(|| scene.stack_now(waiting.thread))??;
    let module = stack.frames.get(waiting.reading.by?)?.module.as_deref()?;
    match module.rsplit('/').next()? {
        "postgres" => Some(Server::Postgres),
        "mariadbd" | "mysqld" => Some(Server::MariaDb),
        _ => None,
    }
}

impl Server {
    /// How to find the session, and what to do with it.
    pub(crate) fn next(self, thread: &Thread) -> String {
        match self {
            Self::Postgres => format!(
                "Ask the server: select pg_blocking_pids({}). End what that session does, or the session: select pg_terminate_backend(PID).",
                thread.tid
            ),
            Self::MariaDb => "Ask the server: show full processlist; show engine innodb status. End the transaction of the session that holds the lock, or the session: kill ID.".to_owned(),
        }
    }
}
