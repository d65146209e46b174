//! The first thing that one reads: how busy the targets are, what their busiest thread does, and
//! what the others do. One sum over all threads would call a server with one busy thread and many
//! workers idle.

use super::{HEADING, Page};
use crate::model::{Capture, Thread, is_event_loop};
use crate::report::label::{self, RUN_QUEUE};
use crate::report::shares::{Shares, longest_first};
use crate::report::text::{clean, seconds, share};
use crate::report::totals;
use std::cmp::Reverse;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// Processes named with their part of the CPU time.
const PROCESSES: usize = 8;

/// States named beside the time on a CPU.
const STATES: usize = 3;

/// At most three lines.
pub(super) fn write(page: &mut Page, capture: &Capture, shares: &[Shares]) {
    if capture.processes.is_empty() {
        page.line(HEADING, "no target process was seen");
        return;
    }
    let width = page.look.width;
    page.line(HEADING, &processes(capture, width));
    let mut threads: Vec<_> = capture.threads.iter().zip(shares).collect();
    threads.sort_by_key(|(thread, shares)| (Reverse(shares.on_cpu), thread.tid));
    let all = threads.len();
    let busiest = threads
        .first()
        .filter(|(_, shares)| all == 1 || !shares.on_cpu.is_zero());
    if let Some((thread, shares)) = busiest {
        let which = if all == 1 { "its" } else { "busiest" };
        let head = format!("  {which} thread {}: ", name(capture, thread));
        page.line(HEADING, &fill(head, &states(shares), width));
    }
    let (others, which) = match busiest {
        Some(_) => (&threads[1..], "other "),
        None => (&threads[..], ""),
    };
    if !others.is_empty() {
        let sum = Shares::sum(others.iter().map(|(_, shares)| *shares));
        let count = others.len();
        let plural = if count == 1 { "" } else { "s" };
        let head = format!("  {count} {which}thread{plural}: ");
        page.line(HEADING, &fill(head, &states(&sum), width));
    }
}

/// The words behind `head` that fit whole into `width` columns, the first in any case.
fn fill(head: String, words: &[String], width: usize) -> String {
    let mut line = head;
    for (index, word) in words.iter().enumerate() {
        let gap = if index == 0 { "" } else { ", " };
        // Room for the mark that more would follow.
        let mark = if index + 1 < words.len() { 3 } else { 0 };
        if index > 0 && line.width() + gap.len() + word.width() + mark > width {
            line.push_str(", …");
            break;
        }
        line.push_str(gap);
        line.push_str(word);
    }
    line
}

/// `redis-server (4711): 0.93 CPUs busy over 30.0 s`; of several processes also the busiest.
fn processes(capture: &Capture, width: usize) -> String {
    let mut processes: Vec<_> = capture
        .processes
        .iter()
        .filter(|process| process.is_target())
        .map(|process| {
            let name = format!("{} ({})", clean(&process.comm), process.pid);
            let threads = capture.threads.iter();
            let own = threads.filter(|thread| thread.pid == process.pid);
            let used = own.fold(Duration::ZERO, |sum, t| sum.saturating_add(t.on_cpu));
            (used, process.pid, name)
        })
        .collect();
    processes.sort_by_key(|(used, pid, _)| (Reverse(*used), *pid));
    let busy = format!(
        "{} CPUs busy over {}",
        cpus(totals::on_cpu(capture), capture.duration),
        seconds(capture.duration)
    );
    let ended = capture.processes.iter().filter(|p| p.exited).count();
    if let [(_, _, name)] = &processes[..] {
        let ended = if ended > 0 { "; it ended" } else { "" };
        return format!("{name}: {busy}{ended}");
    }
    let named = processes.iter().take(PROCESSES);
    let words: Vec<_> = named
        .map(|(used, _, name)| format!("{name} {}", cpus(*used, capture.duration)))
        .collect();
    let ended = match ended {
        0 => String::new(),
        ended => format!("; {ended} ended"),
    };
    let head = format!("{} processes: {busy}{ended}: ", processes.len());
    fill(head, &words, width)
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

/// `90.2 % on CPU, 8.1 % idle in epoll, 1.5 % run queue`: time on a CPU first, then the longest
/// states, none that rounds to nothing.
fn states(shares: &Shares) -> Vec<String> {
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
    states.push((shares.unaccounted(), "not accounted for".to_owned()));
    states.retain(|(time, _)| time.as_secs_f64() >= shares.observed.as_secs_f64() * 0.0005);
    states.retain(|(time, _)| !time.is_zero());
    states.sort_by_key(|(time, _)| Reverse(*time));
    states.truncate(STATES);
    if !shares.on_cpu.is_zero() {
        states.insert(0, (shares.on_cpu, "on CPU".to_owned()));
    }
    if states.is_empty() {
        return vec!["no time was observed".to_owned()];
    }
    let states = states.into_iter();
    states
        .map(|(time, what)| format!("{} {what}", share(time, shares.observed)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use crate::model::fixture::{Builder, ms};
    use crate::report::terminal::{Look, summary};

    fn first_lines(capture: &Capture) -> Vec<String> {
        let page = summary(&capture.clone().into(), None, Look::default());
        let lines = page.lines().take_while(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
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
            "redis-server (4711): 0.93 CPUs busy over 30.0 s",
            "  busiest thread redis-server-4711: 90.2 % on CPU, 8.3 % idle in epoll, 1.5 % run queue",
            "  5 other threads: 0.6 % on CPU, 100.0 % idle in futex (inferred)",
        ];
        assert_eq!(first_lines(&builder.finish()), expected);
    }

    #[test]
    fn words_that_do_not_fit_are_left_out_whole() {
        let words = ["first", "second", "third"].map(str::to_owned);
        let line = |width| fill("a: ".to_owned(), &words, width);
        assert_eq!(line(23), "a: first, second, third");
        assert_eq!(line(22), "a: first, second, …");
        assert_eq!(line(18), "a: first, …");
        assert_eq!(line(0), "a: first, …");
    }

    #[test]
    fn no_thread_is_the_busiest_of_a_process_that_sleeps() {
        let mut builder = Builder::new(1, "asleep");
        let other = builder.thread(1, 2, "other");
        builder.wait(0, Reason::Sleep, &["main"], ms(30_000));
        builder.wait(other, Reason::Disk, &["main"], ms(30_000));
        let expected = [
            "asleep (1): 0.00 CPUs busy over 30.0 s",
            "  2 threads: 50.0 % disk, 50.0 % sleep",
        ];
        assert_eq!(first_lines(&builder.finish()), expected);
    }

    #[test]
    fn the_busiest_thread_of_several_processes_says_whose_it_is() {
        let mut builder = Builder::new(1, "quiet");
        builder.process(20, "busy");
        let worker = builder.thread(20, 21, "worker");
        builder.0.threads[worker].on_cpu = ms(60);
        builder.0.processes[0].exited = true;
        let lines = first_lines(&builder.finish());
        assert_eq!(
            lines[0],
            "2 processes: <0.01 CPUs busy over 30.0 s; 1 ended: busy (20) <0.01, quiet (1) 0.00"
        );
        assert_eq!(
            lines[1],
            "  busiest thread worker-21 of process 20: 0.2 % on CPU, 99.8 % not accounted for"
        );
        assert_eq!(lines.len(), 3);
    }
}
