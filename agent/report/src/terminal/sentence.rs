//! How busy the targets are, what their busiest thread does, and what the others do. One sum over all threads would call a server with one busy thread and many
//! workers idle.

use super::{Page, verdict::Lines};
use crate::label::{self, RUN_QUEUE};
use crate::shares::{Shares, longest_first};
use crate::text::{clean, counted, duration, seconds, share};
use crate::totals;
use anstyle::Style;
use remora_model::{Capture, Thread, ThreadLoop, is_event_loop};
use std::cmp::Reverse;
use std::time::Duration;

/// Processes named with their part of the CPU time.
const PROCESSES: usize = 8;

/// Loops that get a line.
const LOOPS: usize = 2;

/// States named beside the time on a CPU.
const STATES: usize = 3;

/// How busy the targets are, then their busiest thread, then the others.
pub(super) fn load(page: &mut Page, capture: &Capture) {
    let mut lines = Lines::default();
    let mut say = |page: &mut Page, text: &str| lines.row(page, Style::new(), "load", text);
    if capture.processes.is_empty() {
        say(page, "no target process was seen");
        return;
    }
    let shares = Shares::of_threads(capture);
    let mut threads: Vec<_> = capture.threads.iter().zip(&shares).collect();
    threads.sort_by_key(|(thread, shares)| (Reverse(shares.on_cpu), thread.tid));
    let all = threads.len();
    let busiest = threads
        .first()
        .filter(|(_, shares)| all == 1 || !shares.on_cpu.is_zero());
    let whole = processes(capture);
    match busiest {
        Some((thread, shares)) => {
            let thread = name(capture, thread);
            say(page, &format!("{whole}; {thread} {}", states(shares)));
        }
        None => say(page, &whole),
    }
    let others = &threads[usize::from(busiest.is_some())..];
    if !others.is_empty() {
        let sum = Shares::sum(others.iter().map(|(_, shares)| *shares));
        let other = if busiest.is_some() { "other " } else { "" };
        let number = counted(others.len() as u64, &format!("{other}thread"));
        say(page, &format!("{number}: {}", states(&sum)));
    }
}

/// The longest iteration of the loops, and over which time that is known: a wait of a handler that ended before the
/// capture left no trace.
pub(super) fn loops(page: &mut Page, capture: &Capture) {
    let loops = capture.loops.iter();
    let mut loops: Vec<&ThreadLoop> = loops.filter(|it| it.iterations > 0).collect();
    loops.sort_by_key(|it| (Reverse(it.longest), it.thread));
    let mut lines = Lines::default();
    for own in loops.iter().take(LOOPS) {
        let Some(thread) = capture.threads.get(own.thread) else {
            continue;
        };
        let most = if own.exact { "" } else { "≤ " };
        let text = format!(
            "{}: longest iteration {most}{} in the {} watched, before that unknown",
            name(capture, thread),
            duration(own.longest),
            seconds(thread.observed)
        );
        lines.row(page, Style::new(), "loop", &text);
    }
}

/// `0.93 CPUs`; of several processes also what each of the busiest used.
fn processes(capture: &Capture) -> String {
    let targets = capture.processes.iter().filter(|it| it.is_target());
    let mut processes: Vec<_> = targets
        .map(|process| {
            let name = format!("{} ({})", clean(&process.comm), process.pid);
            let threads = capture.threads.iter();
            let own = threads.filter(|thread| thread.pid == process.pid);
            let used = own.fold(Duration::ZERO, |sum, t| sum.saturating_add(t.on_cpu));
            (used, process.pid, name)
        })
        .collect();
    processes.sort_by_key(|(used, pid, _)| (Reverse(*used), *pid));
    let busy = format!("{} CPUs", cpus(totals::on_cpu(capture), capture.duration));
    if processes.len() < 2 {
        return busy;
    }
    let named = processes.iter().take(PROCESSES);
    let mut words: Vec<_> = named
        .map(|(used, _, name)| format!("{name} {}", cpus(*used, capture.duration)))
        .collect();
    let more = processes.len().saturating_sub(PROCESSES);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    format!(
        "{busy} in {} processes: {}",
        processes.len(),
        words.join(", ")
    )
}

/// CPU time as a number of CPUs: `0.93`; what is there but rounds to nothing is `<0.01`.
fn cpus(used: Duration, length: Duration) -> String {
    if length.is_zero() {
        return "0.00".to_owned();
    }
    let cpus = used.as_secs_f64() / length.as_secs_f64();
    if cpus > 0.0 && cpus < 0.005 {
        "<0.01".to_owned()
    } else {
        format!("{cpus:.2}")
    }
}

/// A thread's name, with its process where that is not clear.
fn name(capture: &Capture, thread: &Thread) -> String {
    let name = label::thread_name(thread);
    let name = clean(&name);
    if capture.processes.len() > 1 && thread.tid != thread.pid {
        format!("{name} of process {}", thread.pid)
    } else {
        name.into_owned()
    }
}

/// `on CPU 90.2 %, idle in epoll 8.1 %, run queue 1.5 %`: time on a CPU first, then the longest
/// states, none that rounds to nothing.
fn states(shares: &Shares) -> String {
    let idle = longest_first(&shares.idle).into_iter();
    let idle = idle.map(|(reason, time)| {
        let inferred = if is_event_loop(reason) {
            ""
        } else {
            " (inferred)"
        };
        (time, format!("idle in {}{inferred}", reason.label()))
    });
    let blocked = longest_first(&shares.blocked).into_iter();
    let mut states: Vec<_> = idle
        .chain(blocked.map(|(reason, time)| (time, reason.label().to_owned())))
        .collect();
    states.push((shares.run_queue, RUN_QUEUE.to_owned()));
    states.push((shares.unaccounted(), "unaccounted".to_owned()));
    states.retain(|(time, _)| time.as_secs_f64() >= shares.observed.as_secs_f64() * 0.0005);
    states.retain(|(time, _)| !time.is_zero());
    states.sort_by_key(|(time, _)| Reverse(*time));
    states.truncate(STATES);
    if !shares.on_cpu.is_zero() {
        states.insert(0, (shares.on_cpu, "on CPU".to_owned()));
    }
    if states.is_empty() {
        return "not observed".to_owned();
    }
    let states = states.into_iter();
    let words = states.map(|(time, what)| format!("{what} {}", share(time, shares.observed)));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::{RenderOptions, summary};
    use remora_model::Reason;
    use remora_model::fixture::{Builder, ms};

    fn first_lines(capture: &Capture) -> Vec<String> {
        let options = RenderOptions {
            width: 200,
            ..RenderOptions::default()
        };
        let page = summary(&capture.clone().into(), None, options);
        let lines = page.lines().take_while(|line| !line.is_empty());
        lines.map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn a_busy_thread_is_not_hidden_by_idle_workers() {
        let mut builder = Builder::new(4711, "redis-server");
        builder.0.threads[0].on_cpu = ms(27_060);
        builder.0.threads[0].run_queue.preempted = ms(450);
        builder.wait(0, Reason::Epoll, &["main"], ms(2_490));
        for tid in 4712..4717 {
            let worker = builder.thread(4711, tid, "bio");
            builder.wait(worker, Reason::Futex, &["pthread_cond_wait"], ms(30_000));
            builder.last_wait().event_form = true;
        }
        builder.0.threads[3].on_cpu = ms(840);
        let expected = [
            "load     0.93 CPUs; redis-server-4711 on CPU 90.2 %, idle in epoll 8.3 %, run queue 1.5 %",
            "5 other threads: on CPU 0.6 %, idle in futex (inferred) 100.0 %",
        ];
        assert_eq!(first_lines(&builder.finish()), expected);
    }

    #[test]
    fn no_thread_is_the_busiest_of_a_process_that_sleeps() {
        let mut builder = Builder::new(1, "asleep");
        let other = builder.thread(1, 2, "other");
        builder.wait(0, Reason::Sleep, &["main"], ms(30_000));
        builder.wait(other, Reason::Disk, &["main"], ms(30_000));
        let expected = ["load     0.00 CPUs", "2 threads: disk 50.0 %, sleep 50.0 %"];
        assert_eq!(first_lines(&builder.finish()), expected);
    }

    #[test]
    fn the_busiest_thread_of_several_processes_says_whose_it_is() {
        let mut builder = Builder::new(1, "quiet");
        builder.process(20, "busy");
        let worker = builder.thread(20, 21, "worker");
        builder.0.threads[worker].on_cpu = ms(60);
        let lines = first_lines(&builder.finish());
        assert_eq!(
            lines[0],
            "load     <0.01 CPUs in 2 processes: busy (20) <0.01, quiet (1) 0.00; worker-21 of \
             process 20 on CPU 0.2 %, unaccounted 99.8 %"
        );
        assert_eq!(lines.len(), 2);
    }
}
