//! Captures made by hand, for tests: only what a test is about has to be said.

use super::*;
use std::sync::Arc;

/// Milliseconds as a duration.
pub const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// A named frame without source.
pub fn frame(kind: FrameKind, name: &str) -> Frame {
    let module = match kind {
        FrameKind::Kernel => "[kernel]",
        FrameKind::Jit => "[jit]",
        FrameKind::Native | FrameKind::Inlined => "/usr/bin/target",
        FrameKind::Python => "[python]",
    };
    Frame {
        name: Arc::from(name),
        module: Some(Arc::from(module)),
        file: None,
        line: None,
        kind,
        named: true,
    }
}

/// A stack from short words, root first: `name`, `name@file:line`; `k:`, `i:`, `j:`, `p:` before it for
/// kernel, inlined, JIT and Python frames.
pub fn stack(words: &[&str]) -> Stack {
    let frames = words.iter().map(|word| {
        let (kind, rest) = match word.split_at_checked(2) {
            Some(("k:", rest)) => (FrameKind::Kernel, rest),
            Some(("i:", rest)) => (FrameKind::Inlined, rest),
            Some(("j:", rest)) => (FrameKind::Jit, rest),
            Some(("p:", rest)) => (FrameKind::Python, rest),
            _ => (FrameKind::Native, *word),
        };
        let Some((name, place)) = rest.split_once('@') else {
            return frame(kind, rest);
        };
        let (file, line) = place.rsplit_once(':').expect("a place is file:line");
        let mut frame = frame(kind, name);
        frame.file = Some(Arc::from(file));
        frame.line = line.parse().ok();
        frame
    });
    Stack {
        frames: frames.collect(),
        truncated: false,
        walk: Some(Walk {
            outcome: Outcome::Complete,
            python: None,
        }),
    }
}

/// A capture in the making: 30 s at 99 Hz of nothing, until told.
pub struct Builder(pub Capture);

impl Builder {
    /// One process with one thread of the same id.
    pub fn new(pid: u32, comm: &str) -> Self {
        let capture = Capture {
            started_unix_s: 1_700_000_000.5,
            duration: Duration::from_secs(30),
            end: End::Elapsed,
            freq_hz: 99,
            sampling: CpuSampling::default(),
            min_block: ms(1),
            kernel: "6.18.5".into(),
            processes: Vec::new(),
            families: Vec::new(),
            descriptors: Vec::new(),
            thread_limits: Vec::new(),
            threads: Vec::new(),
            stacks: Vec::new(),
            samples: Vec::new(),
            waits: Vec::new(),
            wakes: Vec::new(),
            loops: Vec::new(),
            polls: Vec::new(),
            locks: Vec::new(),
            dependencies: Vec::new(),
            python_waits: Vec::new(),
            java: Vec::new(),
            java_waits: Vec::new(),
            python_pools: Vec::new(),
            slot_pools: Vec::new(),
            timeline: Timeline::default(),
            tasks: Vec::new(),
            sockets: Vec::new(),
            socket_counts: SocketCounts::default(),
            memory: Vec::new(),
            conditions: Constraints::default(),
            python_objects: Vec::new(),
            heaps: Vec::new(),
            heap_watch: None,
            signals: Vec::new(),
            losses: Losses::default(),
            unanswered: Vec::new(),
            overhead: Overhead::default(),
        };
        let mut builder = Self(capture);
        builder.process(pid, comm);
        builder
    }

    /// Adds a process with its main thread; gives that thread's index.
    pub fn process(&mut self, pid: u32, comm: &str) -> usize {
        let exe = format!("/usr/bin/{comm}");
        let comm_of_process = comm.to_owned();
        self.0.processes.push(Process {
            pid,
            comm: comm_of_process,
            was: None,
            exe,
            threads: 0,
            exited: false,
            parent: None,
            related: None,
            followed: None,
            python: None,
        });
        self.thread(pid, pid, comm)
    }

    /// Adds a thread that was watched for the whole capture; gives its index.
    pub fn thread(&mut self, pid: u32, tid: u32, comm: &str) -> usize {
        for process in self
            .0
            .processes
            .iter_mut()
            .filter(|process| process.pid == pid)
        {
            process.threads += 1;
        }
        self.0.threads.push(Thread {
            tid,
            pid,
            comm: comm.to_owned(),
            python_name: None,
            java_name: None,
            summed: 0,
            observed: self.0.duration,
            on_cpu: Duration::ZERO,
            run_queue: RunQueue::default(),
            migrations: None,
            waits: Vec::new(),
            now: Now {
                state: State::Unknown,
                since: Duration::ZERO,
                since_inferred: false,
                reason: None,
                syscall: None,
                args: [0; 6],
                waker_tid: 0,
                stack: None,
            },
        });
        self.0.threads.len() - 1
    }

    /// Interns a stack; gives its index.
    pub fn stack(&mut self, words: &[&str]) -> usize {
        let stack = stack(words);
        self.0
            .stacks
            .iter()
            .position(|known| *known == stack)
            .unwrap_or_else(|| {
                self.0.stacks.push(stack);
                self.0.stacks.len() - 1
            })
    }

    /// CPU samples, and the time they stand for.
    pub fn samples(&mut self, thread: usize, words: &[&str], count: u64) {
        let stack = self.stack(words);
        self.0.samples.push(Sample {
            thread,
            stack,
            count,
            late: 0,
        });
        let per_sample = Duration::from_secs(1) / self.0.freq_hz;
        self.0.threads[thread].on_cpu += per_sample * u32::try_from(count).expect("few samples");
    }

    /// Waits with a stack.
    pub fn wait(&mut self, thread: usize, reason: Reason, words: &[&str], total: Duration) {
        let site = Site::Stack(self.stack(words));
        self.wait_at(thread, reason, site, 1, total);
    }

    /// Waits at a site, counted in the thread's totals too.
    pub fn wait_at(
        &mut self,
        thread: usize,
        reason: Reason,
        site: Site,
        count: u64,
        total: Duration,
    ) {
        self.0.waits.push(Wait {
            thread,
            reason,
            syscall: None,
            site,
            event_form: false,
            count,
            total,
            late: Duration::ZERO,
            idle: Idleness::Busy,
        });
        let short = site == Site::Short;
        let totals = &mut self.0.threads[thread].waits;
        let at = totals
            .iter()
            .position(|known| known.reason == reason)
            .unwrap_or_else(|| {
                let none = Duration::ZERO;
                totals.push(ReasonTotals {
                    reason,
                    total: none,
                    count: 0,
                    short: none,
                    short_count: 0,
                });
                totals.len() - 1
            });
        totals[at].total += total;
        totals[at].count += count;
        totals[at].short += if short { total } else { Duration::ZERO };
        totals[at].short_count += if short { count } else { 0 };
    }

    /// Growth of a thread's process in one stack, beside some that has none, in bytes.
    pub fn grown(&mut self, thread: usize, words: &[&str], bytes: u64, without: u64) {
        let stack = self.stack(words);
        let start = Resident {
            anon_bytes: 20 << 20,
            file_bytes: 4 << 20,
            ..Resident::default()
        };
        let growth = Growth {
            thread,
            stack,
            bytes,
            samples: 3,
            faults: 180,
        };
        self.0.memory.push(Memory {
            pid: self.0.threads[thread].pid,
            source: MemorySource::Mappings,
            start,
            end: Resident {
                anon_bytes: start.anon_bytes + bytes + without,
                ..start
            },
            faults: Some(200),
            samples: 3,
            huge_page_bytes: Some(2 << 20),
            mappings: vec![Mapping {
                name: "[heap]".into(),
                kind: MappingKind::Heap,
                start: 0x5500_0000,
                end: 0x6500_0000,
                start_bytes: 20 << 20,
                end_bytes: (20 << 20) + bytes + without,
                huge_bytes: 2 << 20,
            }],
            stacks: vec![growth],
            unattributed_bytes: without,
            returned_bytes: 5 << 20,
            released_bytes: Some(0),
            limits: Vec::new(),
            age: None,
        });
    }

    /// The wait added last.
    pub fn last_wait(&mut self) -> &mut Wait {
        self.0.waits.last_mut().expect("a wait was added")
    }

    /// The capture, with its waits classified.
    pub fn finish(mut self) -> Capture {
        classify(&mut self.0.waits, &self.0.stacks, &self.0.threads);
        self.0
    }
}

/// An established TCP connection of which there is nothing to say.
pub fn socket(pid: u32, fd: u32) -> Socket {
    Socket {
        id: fd,
        pid,
        fd,
        inode: 1000 + u64::from(fd),
        namespace: 4_026_531_840,
        family: Family::Ipv4,
        kind: Kind {
            number: 1,
            protocol: 6,
        },
        state: SocketState::Established,
        local: None,
        peer: None,
        peer_inode: None,
        open: true,
        first_seen: Duration::ZERO,
        last_seen: Duration::from_secs(30),
        samples: 61,
        receive: Depth::default(),
        receive_is_lower_bound: false,
        receive_messages: 0,
        send: Depth::default(),
        receive_limit: 131_072,
        send_limit: 16_384,
        backlog: None,
        tcp: None,
        drops: 0,
        drops_in_capture: 0,
        error: 0,
        receive_shut: false,
        send_shut: false,
        oldest_unread: None,
        not_read_for: Duration::ZERO,
        not_taken_for: Duration::ZERO,
        watched_by: Vec::new(),
        peer_process: None,
    }
}

/// A mutex of which there is nothing to say.
pub fn lock(pid: u32, address: u64) -> Lock {
    Lock {
        keepers: Vec::new(),
        readers: 0,
        parked_at: None,
        pid,
        address,
        place: "heap".into(),
        shared: false,
        kind: LockKind::Mutex,
        kind_inferred: false,
        operations: vec![FutexOperation::Wait],
        waits: 0,
        total: Duration::ZERO,
        longest: Duration::ZERO,
        waiters: Vec::new(),
        owner: None,
        wakers: Vec::new(),
        holders: Vec::new(),
        waiter_stacks: Vec::new(),
        holder_stacks: Vec::new(),
    }
}

/// An event loop in which nothing happens.
pub fn event_loop(thread: usize) -> ThreadLoop {
    ThreadLoop {
        thread,
        kind: Reason::Epoll,
        epoll_fd: None,
        exact: true,
        waits: 0,
        timeouts: Some(0),
        events: Some(0),
        blocked: Duration::ZERO,
        iterations: 0,
        busy: Duration::ZERO,
        longest: Duration::ZERO,
        late: 0,
        late_time: Duration::ZERO,
        late_queued: Duration::ZERO,
        late_from: ms(100),
        lengths: Histogram::default(),
        busy_now: None,
    }
}
