//! Whether loops that seem stuck come back to their wait: polls that find something at once are not seen by the
//! scheduler's hooks, so shortly before the capture ends they are counted exactly, where anybody has to know.
//!
//! Counting slows every system call of the host down a little. So it begins only when a thread seems stuck, and it is
//! over as soon as all of those have shown that they turn; else when the capture is.

use crate::sockets::{Sockets, count_instances};
use remora_common::{
    reason::Reason as RawReason,
    thread::{POLLS_EPOLL, POLLS_POLL, PollTotals, STATE_BLOCKED, STATE_EXITED, ThreadSlot},
};
use remora_model::{End, HookState, PollCost, PollCount, ProgramCost, Reason, Signal, SignalId};
use remora_probe::{Probe, StatisticsOn, now_ns};
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
pub struct PollWatch {
    stage: Stage,
    seen: PollsSeen,
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
    /// Serials of the threads that seem stuck.
    suspects: BTreeSet<u32>,
    statistics: Option<(StatisticsOn, Option<ProgramCost>)>,
    next: Instant,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct PollsSeen {
    /// By the thread's serial.
    pub counts: HashMap<u32, PollCount>,
    /// What it cost; `None`: nobody seemed stuck, or the kernel refused.
    pub cost: Option<PollCost>,
    /// Why it was not possible.
    refused: Option<String>,
}

impl PollsSeen {
    /// Says in the signals what was counted.
    pub fn tell(&self, signals: &mut [Signal]) {
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

impl PollWatch {
    /// For a capture that began then.
    pub fn new(probe: &Probe, began: Instant, duration: Duration) -> Self {
        let into = duration.saturating_sub(LEAD).max(duration / 4);
        let stage = match began.checked_add(into) {
            Some(due) if probe.wants_polls_counted() => Stage::Due(due),
            _ => Stage::Over,
        };
        Self {
            stage,
            seen: PollsSeen::default(),
        }
    }

    /// When it wants to be looked at.
    pub const fn due(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Due(due) => Some(*due),
            Stage::Counting(counting) => Some(counting.next),
            Stage::Over => None,
        }
    }

    /// Its time has come: begins, looks, or ends.
    pub fn look(&mut self, probe: &mut Probe, sockets: &Sockets) {
        match &mut self.stage {
            Stage::Due(_) => self.begin(probe, sockets),
            Stage::Counting(counting) => {
                let now = now_ns();
                let counted = now.saturating_sub(counting.from_ns);
                counting.next = Instant::now() + PACE;
                if u128::from(counted) >= SLICE.as_nanos() && counting.all_turn(probe, now) {
                    self.end(probe);
                }
            }
            Stage::Over => {}
        }
    }

    /// The capture is over: what was not due yet is done now, and what has begun gets its time.
    pub async fn catch_up(&mut self, probe: &mut Probe, sockets: &Sockets, end: End) {
        if end == End::TargetsExited {
            return;
        }
        if matches!(self.stage, Stage::Due(_)) {
            self.begin(probe, sockets);
        }
        while let Stage::Counting(counting) = &self.stage
            && now_ns() < counting.until_ns
        {
            tokio::time::sleep(PACE).await;
            self.look(probe, sockets);
        }
    }

    /// The capture is over, and so is the counting.
    pub fn finish(&mut self, probe: &mut Probe) -> PollsSeen {
        self.end(probe);
        std::mem::take(&mut self.seen)
    }

    fn begin(&mut self, probe: &mut Probe, sockets: &Sockets) {
        self.stage = Stage::Over;
        let threads = probe.threads();
        let suspects = suspects(&threads, sockets, now_ns());
        if suspects.is_empty() {
            return;
        }
        let statistics = StatisticsOn::enable().ok();
        let statistics = statistics.map(|on| (on, probe.poll_costs()));
        match probe.count_polls() {
            Ok(from_ns) => {
                self.stage = Stage::Counting(Counting {
                    from_ns,
                    until_ns: from_ns + LEAD.as_nanos() as u64,
                    suspects,
                    statistics,
                    next: Instant::now() + SLICE,
                });
            }
            Err(error) => self.seen.refused = Some(error.to_string()),
        }
    }

    fn end(&mut self, probe: &mut Probe) {
        let Stage::Counting(counting) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        let to_ns = probe.count_no_more_polls();
        let threads = probe.threads();
        let span = (counting.from_ns, to_ns);
        let counts = threads.iter().filter_map(|slot| {
            let count = count(slot, span);
            let matters = count.polls > 0 || counting.suspects.contains(&slot.serial);
            matters.then_some((slot.serial, count))
        });
        self.seen.counts = counts.collect();
        let now = probe.poll_costs();
        let measured = counting.statistics.map(|(_on, before)| (before, now));
        let (runs, run_ns) = match measured {
            Some((before, Some(now))) => {
                let before = before.map_or((0, 0), |cost| (cost.runs, cost.run_ns));
                let (runs, run_ns) = (now.runs, now.run_ns);
                (
                    runs.saturating_sub(before.0),
                    run_ns.saturating_sub(before.1),
                )
            }
            _ => (0, 0),
        };
        self.seen.cost = Some(PollCost {
            length: Duration::from_nanos(to_ns.saturating_sub(counting.from_ns)),
            runs,
            run: Duration::from_nanos(run_ns),
        });
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
