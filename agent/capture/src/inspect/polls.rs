//! Whether loops that seem stuck come back to their wait: polls that find something at once are not seen by the
//! scheduler's hooks, so shortly before the capture ends they are counted exactly, where anybody has to know.
//!
//! Counting slows every system call of the host down a little. So it begins only when a thread seems stuck, and it is
//! over as soon as all of those have shown that they turn; else when the capture is.

use super::{
    interpreters::Interpreters,
    sockets::{Sockets, count_instances},
};
use remora_common::{
    reason::Reason as RawReason,
    thread::{POLLS_EPOLL, POLLS_POLL, PollTotals, STATE_BLOCKED, STATE_EXITED, ThreadSlot},
};
use remora_model::{
    Cpus, End, HookState, PollCost, PollCount, ProgramCost, Reason, Signal, SignalId, Tasks,
};
use remora_probe::{Probe, StatisticsOn, now_ns};
use remora_process::deadline::{self, Step, Subject};
use remora_process::python::asyncio::ReadyHead;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// From the beginning to the end of the capture, where nobody shows that he turns: a little more than the threshold
/// of a blocked loop, so that one that does not come back all that time is seen not to.
const LEAD: Duration = Duration::from_millis(1_200);
/// Counted at the least.
const SLICE: Duration = Duration::from_millis(200);
/// From one look at the counters to the next.
const PACE: Duration = Duration::from_millis(20);
/// A loop that has not slept in its wait for so long seems stuck.
const SEEMS_NS: u64 = 100_000_000;
/// A loop whose stretches between polls are shorter than this turns; it is not watched on.
const QUICK_NS: u64 = 250_000_000;
/// Polls that show it: the time between two of them at least is that of a whole iteration.
const TURNS: u64 = 3;
/// Share of its time that a thread without a known wait has used a CPU.
const BUSY: f64 = 0.5;
/// Time for finding out how many epoll instances a process has.
const INSTANCES_TIME: Duration = Duration::from_millis(50);

/// The counting, from before it to after it.
pub(crate) struct PollWatch {
    stage: Stage,
    seen: PollsSeen,
    /// No CPU is kept for somebody.
    may_measure: bool,
}

enum Stage {
    /// Begins then, if anybody seems stuck.
    Due(Instant),
    Counting(Counting),
    Over,
}

struct Counting {
    from_ns: u64,
    /// Its longest.
    until_ns: u64,
    /// Polls are counted; else only the loops' own memory is looked at.
    hooked: bool,
    /// Serials of the threads that seem stuck.
    suspects: BTreeSet<u32>,
    /// Where their loops of asyncio stood, by process.
    heads: Vec<(u32, ReadyHead)>,
    statistics: Option<(StatisticsOn, Option<ProgramCost>)>,
    next: Instant,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct PollsSeen {
    /// By the thread's serial.
    pub counts: HashMap<u32, PollCount>,
    /// What it cost; `None`: nobody seemed stuck, or the kernel refused.
    pub cost: Option<PollCost>,
    /// Loops of asyncio that went from callback to callback meanwhile: process and address.
    turned: BTreeSet<(u32, u64)>,
    /// Why it was not possible.
    refused: Option<String>,
}

impl PollsSeen {
    /// Notes with the loops of asyncio which of them turned.
    pub(crate) fn mark(&self, all: &mut [(u32, Tasks)]) {
        for (pid, tasks) in all {
            for own in &mut tasks.loops {
                own.turns = self.turned.contains(&(*pid, own.id));
            }
        }
    }

    /// Says in the signals what was counted.
    pub(crate) fn tell(&self, signals: &mut [Signal]) {
        let words = match (&self.cost, &self.refused) {
            (Some(cost), _) => format!(
                "; at the end of the capture all polls were counted for {:.2} s (tp_btf/sys_enter)",
                cost.length.as_secs_f64()
            ),
            (None, Some(why)) => format!("; polls could not be counted: {why}"),
            (None, None) => return,
        };
        for signal in signals {
            if let (SignalId::EventLoops, HookState::Degraded(text)) =
                (signal.id, &mut signal.state)
            {
                text.push_str(&words);
            }
        }
    }
}

/// What the watch looks at.
pub(crate) struct Senses<'a> {
    pub probe: &'a mut Probe,
    pub sockets: &'a Sockets,
    pub interpreters: &'a Interpreters,
}

impl PollWatch {
    /// For a capture that began then, on a host that keeps these CPUs for somebody.
    pub(crate) fn new(probe: &Probe, kept: &Cpus, began: Instant, duration: Duration) -> Self {
        let into = duration.saturating_sub(LEAD).max(duration / 4);
        let wanted = probe.wants_polls_counted() || probe.loops_are_exact();
        let stage = match began.checked_add(into) {
            Some(due) if wanted => Stage::Due(due),
            _ => Stage::Over,
        };
        Self {
            stage,
            seen: PollsSeen::default(),
            may_measure: kept.is_empty(),
        }
    }

    /// When it wants to be looked at.
    pub(crate) const fn due(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Due(due) => Some(*due),
            Stage::Counting(counting) => Some(counting.next),
            Stage::Over => None,
        }
    }

    /// Its time has come: begins, looks, or ends.
    pub(crate) fn inspect(&mut self, senses: &mut Senses<'_>) {
        match &mut self.stage {
            Stage::Due(_) => self.begin(senses),
            Stage::Counting(counting) => {
                let now = now_ns();
                let counted = now.saturating_sub(counting.from_ns);
                counting.next = Instant::now() + PACE;
                let is_enough = u128::from(counted) >= SLICE.as_nanos();
                if is_enough && counting.hooked && counting.all_turn(senses.probe, now) {
                    self.end(senses);
                }
            }
            Stage::Over => {}
        }
    }

    /// The capture is over: what was not due yet is done now, and what has begun gets its time.
    pub(crate) async fn catch_up(&mut self, senses: &mut Senses<'_>, end: End) {
        if end == End::TargetsExited {
            return;
        }
        if matches!(self.stage, Stage::Due(_)) {
            self.begin(senses);
        }
        while let Stage::Counting(counting) = &self.stage
            && now_ns() < counting.until_ns
        {
            tokio::time::sleep(PACE).await;
            self.inspect(senses);
        }
    }

    /// The capture is over, and so is the counting.
    pub(crate) fn finish(&mut self, senses: &mut Senses<'_>) -> PollsSeen {
        self.end(senses);
        std::mem::take(&mut self.seen)
    }

    fn begin(&mut self, senses: &mut Senses<'_>) {
        self.stage = Stage::Over;
        let probe = &mut *senses.probe;
        let threads = probe.threads();
        let suspects = suspects(&threads, senses.sockets, now_ns());
        if suspects.is_empty() {
            return;
        }
        let own = threads.iter().filter(|it| suspects.contains(&it.serial));
        let pids = own.map(|slot| slot.tgid).collect();
        let heads = senses.interpreters.ready_heads(&pids);
        let (mut before, mut hooked) = (None, None);
        if probe.wants_polls_counted() {
            // Where CPUs are kept for somebody the cost is not measured: it interrupts them.
            let wanted = self
                .may_measure
                .then(|| deadline::run(Step::Statistics, Subject::Host, StatisticsOn::enable));
            let statistics = wanted.flatten().and_then(Result::ok);
            before = statistics.map(|on| (on, probe.poll_costs()));
            hooked = match probe.count_polls() {
                Ok(from_ns) => Some(from_ns),
                Err(error) => {
                    self.seen.refused = Some(error.to_string());
                    None
                }
            };
        }
        let from_ns = hooked.unwrap_or_else(now_ns);
        self.stage = Stage::Counting(Counting {
            from_ns,
            until_ns: from_ns + LEAD.as_nanos() as u64,
            hooked: hooked.is_some(),
            suspects,
            heads,
            statistics: before,
            next: Instant::now() + SLICE,
        });
    }

    fn end(&mut self, senses: &mut Senses<'_>) {
        let Stage::Counting(counting) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        let probe = &mut *senses.probe;
        if counting.hooked {
            let to_ns = probe.count_no_more_polls();
            let threads = probe.threads();
            self.seen.counts = counting.counts(&threads, to_ns);
            self.seen.cost = Some(counting.cost(probe, to_ns));
            if let Some((statistics, _)) = counting.statistics {
                let _off = deadline::run(Step::Statistics, Subject::Host, move || drop(statistics));
            }
        }
        let pids = counting.heads.iter().map(|(pid, _)| *pid).collect();
        for (pid, later) in senses.interpreters.ready_heads(&pids) {
            let mut before = counting.heads.iter();
            if before.any(|(own, head)| *own == pid && head.moved(&later)) {
                self.seen.turned.insert((pid, later.loop_id));
            }
        }
    }
}

impl Counting {
    /// Whether all that seemed stuck have polled meanwhile, and none stays away for long.
    fn all_turn(&self, probe: &Probe, now: u64) -> bool {
        let threads = probe.threads();
        let mut own = threads
            .iter()
            .filter(|slot| self.suspects.contains(&slot.serial) && slot.state != STATE_EXITED);
        own.all(|slot| turns(&count(slot, (self.from_ns, now))))
    }

    /// What was counted, by the thread's serial.
    fn counts(&self, threads: &[ThreadSlot], to_ns: u64) -> HashMap<u32, PollCount> {
        let counts = threads.iter().filter_map(|slot| {
            let count = count(slot, (self.from_ns, to_ns));
            let matters = count.polls > 0 || self.suspects.contains(&slot.serial);
            matters.then_some((slot.serial, count))
        });
        counts.collect()
    }

    fn cost(&self, probe: &Probe, to_ns: u64) -> PollCost {
        let zero = ProgramCost {
            name: String::new(),
            runs: 0,
            run_ns: 0,
        };
        let now = self.statistics.as_ref().and_then(|_| probe.poll_costs());
        let before = self.statistics.as_ref().and_then(|(_, cost)| cost.as_ref());
        let (now, before) = (now.as_ref().unwrap_or(&zero), before.unwrap_or(&zero));
        PollCost {
            length: Duration::from_nanos(to_ns.saturating_sub(self.from_ns)),
            runs: now.runs.saturating_sub(before.runs),
            run: Duration::from_nanos(now.run_ns.saturating_sub(before.run_ns)),
        }
    }
}

/// Whether a count shows that a loop comes back to its wait again and again.
fn turns(count: &PollCount) -> bool {
    let quick = |time: Duration| time.as_nanos() < u128::from(QUICK_NS);
    let waits = count.polls == 0 && count.open.is_zero();
    waits || (count.polls >= TURNS && quick(count.longest) && quick(count.open))
}

/// What was counted of a thread in a span of time.
fn count(slot: &ThreadSlot, (from_ns, to_ns): (u64, u64)) -> PollCount {
    let valid = |polls: &&PollTotals| polls.last_ns >= from_ns && polls.count > 0;
    let epoll = slot.polls.get(POLLS_EPOLL).filter(valid);
    let other = slot.polls.get(POLLS_POLL).filter(valid);
    // A poll inside of an iteration is part of it, where the loop is one of epoll.
    let own = match waited_in(slot, RawReason::Epoll) {
        true => epoll,
        false => epoll.or(other),
    };
    let polls = own.copied().unwrap_or_default();
    let since = from_ns.max(polls.last_ns).max(slot.busy_since_ns);
    let open_ns = match waits_for_events(slot) {
        true => 0,
        false => to_ns.saturating_sub(since),
    };
    PollCount {
        watched: Duration::from_nanos(to_ns.saturating_sub(from_ns)),
        polls: polls.count,
        longest: Duration::from_nanos(polls.longest_ns),
        late: Duration::from_nanos(polls.late_ns),
        open: Duration::from_nanos(open_ns),
    }
}

fn waited_in(slot: &ThreadSlot, reason: RawReason) -> bool {
    let waits = slot.waits.get(reason as usize);
    waits.is_some_and(|it| it.long_count > 0 || it.short_count > 0)
}

/// Whether a thread sleeps in a wait for events.
fn waits_for_events(slot: &ThreadSlot) -> bool {
    let reason = Reason::from_u8(slot.reason as u8);
    let event = reason == Reason::Epoll || (reason == Reason::Poll && slot.wait_form() > 1);
    slot.state == STATE_BLOCKED && event
}

/// Serials of the threads that seem to be loops and to be stuck.
fn suspects(threads: &[ThreadSlot], sockets: &Sockets, now: u64) -> BTreeSet<u32> {
    let mut users: BTreeMap<u32, usize> = BTreeMap::new();
    for slot in threads {
        let uses = waits_for_events(slot) || waited_in(slot, RawReason::Epoll);
        *users.entry(slot.tgid).or_default() += usize::from(uses && slot.state != STATE_EXITED);
    }
    let until = Instant::now() + INSTANCES_TIME;
    let mut left: BTreeMap<u32, bool> = BTreeMap::new();
    let mut unused = |tgid: u32| {
        *left.entry(tgid).or_insert_with(|| {
            let used = users.get(&tgid).copied().unwrap_or_default();
            count_instances(tgid, until).is_none_or(|instances| instances > used)
        })
    };
    let living = threads.iter().filter(|slot| slot.state != STATE_EXITED);
    let seems = living.filter(|slot| {
        let lasts = now.saturating_sub(slot.since_ns);
        let sleeps = slot.state == STATE_BLOCKED && u128::from(lasts) >= LEAD.as_nanos();
        if waits_for_events(slot) || sleeps || sockets.takes_turns(slot) {
            // Idle, in one wait that shows what it is, or no loop.
            false
        } else if slot.busy_since_ns != 0 {
            now.saturating_sub(slot.busy_since_ns) >= SEEMS_NS
        } else {
            let busy = slot.on_cpu_ns as f64 >= BUSY * now.saturating_sub(slot.enlisted_ns) as f64;
            (busy || slot.tid == slot.tgid) && unused(slot.tgid)
        }
    });
    seems.map(|slot| slot.serial).collect()
}

#[cfg(test)]
mod tests;
