//! Two processes: one works, the other waits for it and for nothing else.
//!
//! A thread may hang in the kernel where not even SIGKILL ends its wait, and then its process cannot end either: whoever
//! waits for it, a shell or a supervisor, would hang with it. So the one that was started only forwards signals and
//! passes the exit code on. It opens nothing of a target, and so it can always end.

use super::{FAILED, INTERRUPTED, leave, output};
use remora_process as process;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process,
    set_parent_process_death_signal, setpgid, waitpid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// How long the worker may take to end once it has said its exit code.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long after the second signal it is killed.
const PATIENCE: Duration = Duration::from_millis(1200);
/// How long a killed one may take.
const LAST: Duration = Duration::from_millis(500);

/// Events that may wait: whoever sends more signals than these waits with them.
const MAX_WAITING: usize = 16;

/// Something that the waiting process hears of.
enum Event {
    /// It got a signal.
    Signal(i32),
    /// The worker is done, with this exit code.
    Done(u8),
    /// The worker has ended.
    Ended(WaitStatus),
}

/// Runs `work` in a process of its own, and returns its exit code. To be called before there are threads.
pub(super) fn run(work: impl FnOnce() -> u8) -> u8 {
    let parent = getpid();
    let Ok((said, say)) = pipe() else {
        return work();
    };
    // SAFETY: there is one thread, so the child may go on as this process would have.
    match unsafe { libc::fork() } {
        0 => work_as_child(parent, say, work),
        // No room for another process: then without one that waits.
        ..0 => work(),
        child => match Pid::from_raw(child) {
            Some(child) => {
                drop(say);
                wait(child, said)
            }
            None => work(),
        },
    }
}

fn work_as_child(parent: Pid, mut say: PipeWriter, work: impl FnOnce() -> u8) -> ! {
    // A terminal's Ctrl-C comes by way of the parent, once.
    let _own_group = setpgid(None, None);
    let _with_it = set_parent_process_death_signal(Some(Signal::KILL));
    if getppid() != Some(parent) {
        leave::at_once(INTERRUPTED);
    }
    process::waits_for_us(parent.as_raw_nonzero().get().cast_unsigned());
    let code = work();
    let _nobody_listens = say.write_all(&[code]);
    leave::if_something_hangs(code);
    leave::as_usual(code)
}

/// Waits for the worker, within limits once it is done or the user has lost patience.
fn wait(child: Pid, said: PipeReader) -> u8 {
    let Ok(events) = listen(child, said) else {
        // No threads to be had: without forwarding.
        return waitpid(Some(child), WaitOptions::empty()).map_or(FAILED, |status| {
            status.map_or(FAILED, |(_, status)| code(status))
        });
    };
    let (mut done, mut signals, mut until) = (None, 0, None);
    loop {
        match next(&events, until) {
            Some(Event::Ended(status)) => return code(status),
            Some(Event::Done(code)) => {
                done = Some(code);
                until = Some(Instant::now() + FAREWELL);
            }
            Some(Event::Signal(signal)) => {
                forward(child, signal);
                signals += u32::from(signal != SIGHUP);
                if signals == 2 {
                    until = Some(Instant::now() + PATIENCE);
                }
            }
            None => return abandon(child, done, &events),
        }
    }
}

/// The worker does not end: it is killed, and left to itself if not even that helps.
fn abandon(child: Pid, done: Option<u8>, events: &Receiver<Event>) -> u8 {
    let _gone = kill_process(child, Signal::KILL);
    let until = Instant::now() + LAST;
    while let Some(event) = next(events, Some(until)) {
        if let Event::Ended(_) = event {
            return done.unwrap_or(INTERRUPTED as u8);
        }
    }
    output::complain(&format!(
        "process {} hangs in the kernel and is left behind: it ends when what it waits for answers",
        child.as_raw_nonzero()
    ));
    done.unwrap_or(INTERRUPTED as u8)
}

/// The next event; `None` when there is none until then.
fn next(events: &Receiver<Event>, until: Option<Instant>) -> Option<Event> {
    let Some(until) = until else {
        return events.recv().ok();
    };
    let left = until.saturating_duration_since(Instant::now());
    events.recv_timeout(left).ok()
}

fn forward(child: Pid, signal: i32) {
    let signal = match signal {
        SIGINT => Signal::INT,
        SIGHUP => Signal::HUP,
        _ => Signal::TERM,
    };
    let _it_has_ended = kill_process(child, signal);
}

/// A thread for each thing that is waited for.
fn listen(child: Pid, mut said: PipeReader) -> std::io::Result<Receiver<Event>> {
    let (send, events) = sync_channel(MAX_WAITING);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let tell: SyncSender<Event> = send.clone();
    thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            let _nobody_waits = tell.send(Event::Signal(signal));
        }
    })?;
    let tell = send.clone();
    thread::Builder::new().spawn(move || {
        let mut code = [0];
        if said.read_exact(&mut code).is_ok() {
            let _nobody_waits = tell.send(Event::Done(code[0]));
        }
    })?;
    thread::Builder::new().spawn(move || {
        while let Ok(waited) = waitpid(Some(child), WaitOptions::empty()) {
            if let Some((_, status)) = waited {
                let _nobody_waits = send.send(Event::Ended(status));
                return;
            }
        }
    })?;
    Ok(events)
}

/// The exit code that stands for how a process ended: as shells have it.
fn code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => FAILED.into(),
    };
    u8::try_from(code).unwrap_or(FAILED)
}
