//! What a line of evidence is about.

macro_rules! topics {
    ($($(#[$doc:meta])* $name:ident, $key:literal, $label:literal;)*) => {
        /// What a line of evidence is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Topic {
            $($(#[$doc])* $name,)*
        }

        impl Topic {
            /// Every topic.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in `report.json`; two topics may share one.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// The word in front of the line, on the terminal and the page.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

topics! {
    /// What is waited for, and who can end that.
    Waits, "waits", "why";
    /// Why a loop, or whoever reads, does not.
    Reason, "loop", "why";
    /// Who at the other end of a connection waits for it.
    PeerWaits, "waits", "peer";
    /// The innermost functions of a stack.
    Where, "code", "where";
    /// The one at the end of a chain of waits, which could make progress.
    Blocker, "blame", "blocker";
    /// A thread that waited for a lock.
    Waiter, "waits", "waiter";
    /// Who holds a lock.
    Holder, "holds", "holder";
    /// Who waits for those that a finding is about.
    Blocked, "behind", "blocked";
    /// A wait that ends by itself.
    Timeout, "limit", "timeout";
    /// A limit, and what is left of it.
    Limit, "limit", "limit";
    /// What was not read but concluded, and from what.
    Inferred, "inferred", "inferred";
    /// What is not known, and why.
    Unknown, "unknown", "unknown";
    /// An event loop, and what it does.
    Loop, "loop", "loop";
    /// Polls for events that were counted.
    Polls, "polls", "polls";
    /// An asyncio task.
    Task, "task", "task";
    /// Use of CPUs.
    Cpu, "cpu", "cpu";
    /// Where CPU samples lie.
    Samples, "cpu", "samples";
    /// Time ready but without a CPU.
    RunQueue, "queue", "run queue";
    /// Who uses the CPUs meanwhile.
    Competitor, "runs", "running";
    /// A socket's queue.
    Queue, "queue", "queue";
    /// A system call with its arguments.
    Syscall, "call", "syscall";
    /// Functions of the kernel.
    Kernel, "kernel", "kernel";
    /// How many threads.
    Threads, "threads", "threads";
    /// A socket.
    Socket, "socket", "socket";
    /// How many sockets.
    Sockets, "sockets", "sockets";
    /// Who is at the other end of a connection.
    Peer, "peer", "peer";
    /// Something by time.
    Rate, "rate", "rate";
    /// Descriptors by type.
    Types, "types", "types";
    /// A file that is open several times.
    File, "file", "file";
    /// How sure a leak is.
    Level, "level", "level";
    /// How memory grew.
    Trend, "trend", "trend";
    /// A mapping that grew.
    Mapping, "mapping", "mapping";
    /// Python objects by type.
    Objects, "objects", "objects";
    /// Blocks of malloc by size.
    Sizes, "sizes", "sizes";
    /// Memory that does not count.
    Cache, "cache", "cache";
    /// A picture of the report folder.
    Plot, "plot", "plot";
    /// A connection's segments and intervals.
    Feed, "feed", "feed";
    /// Whether this side reads.
    Reader, "reader", "reader";
    /// Lengths of iterations.
    Cycle, "cycle", "cycle";
    /// Iterations over their target.
    Overruns, "overruns", "overruns";
    /// A cgroup.
    Cgroup, "cgroup", "cgroup";
    /// Who traces a process.
    Tracer, "tracer", "tracer";
    /// A signal.
    Signal, "signal", "signal";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_into_their_column() {
        for topic in Topic::ALL {
            assert!(topic.label().len() <= 9, "{topic:?}");
        }
    }
}
