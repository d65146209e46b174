//! The `conditions` of `report.json`: what holds the processes besides themselves.

use remora_model::{self as model, Awaited, Capture, Dependency};
use serde::Serialize;

/// The machine and the processes.
#[derive(Serialize)]
pub(super) struct View<'a> {
    cpus: u32,
    load_1min: f64,
    /// Empty unless a thread lacked a CPU.
    busiest: Vec<Busy<'a>>,
    processes: Vec<Process<'a>>,
}

#[derive(Serialize)]
struct Actor<'a> {
    pid: u32,
    comm: &'a str,
}

#[derive(Serialize)]
struct Busy<'a> {
    #[serde(flatten)]
    actor: Actor<'a>,
    used_cpus: f64,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    tracer: Option<Actor<'a>>,
    frozen_cgroup: Option<&'a str>,
    cpu_limit: Option<Limit<'a>>,
    scheduling: Vec<Scheduling>,
    inherited_loops: bool,
    calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
struct Limit<'a> {
    cgroup: &'a str,
    quota_cpus: Option<f64>,
    quota_ns: Option<u64>,
    period_ns: Option<u64>,
    periods: u64,
    throttled_periods: u64,
    throttled_ns: u64,
}

#[derive(Serialize)]
struct Scheduling {
    tid: u32,
    nice: i32,
    policy: &'static str,
    cpus: u32,
}

#[derive(Serialize)]
struct Call<'a> {
    tid: u32,
    fd: Option<u32>,
    path: &'a str,
    /// The parties of its wait, as in `dependencies`.
    lock_holders: Vec<Actor<'a>>,
    /// The same.
    pipe_readers: Vec<Actor<'a>>,
}

/// All of it.
pub(super) fn view(capture: &Capture) -> View<'_> {
    let conditions = &capture.conditions;
    let waits = &capture.dependencies;
    View {
        cpus: conditions.cpus,
        load_1min: conditions.load,
        busiest: conditions.busiest.iter().map(busy).collect(),
        processes: conditions
            .processes
            .iter()
            .map(|it| process(it, waits))
            .collect(),
    }
}

fn actor(actor: &model::Actor) -> Actor<'_> {
    Actor {
        pid: actor.pid,
        comm: &actor.comm,
    }
}

fn busy(busy: &model::Busy) -> Busy<'_> {
    Busy {
        actor: actor(&busy.actor),
        used_cpus: busy.cpus,
    }
}

fn parties(waits: &[Dependency], tid: u32, on: impl Fn(&Awaited) -> bool) -> Vec<Actor<'_>> {
    let own = waits.iter().filter(|wait| wait.tid == tid && on(&wait.on));
    let parties = own.flat_map(|wait| &wait.parties);
    parties
        .map(|(pid, comm)| Actor { pid: *pid, comm })
        .collect()
}

fn process<'a>(process: &'a model::Constraint, waits: &'a [Dependency]) -> Process<'a> {
    let scheduling = process.scheduling.iter().map(|it| Scheduling {
        tid: it.tid,
        nice: it.nice,
        policy: it.policy.name(),
        cpus: it.cpus,
    });
    let calls = process.calls.iter().map(|call| Call {
        tid: call.tid,
        fd: call.fd,
        path: &call.path,
        lock_holders: parties(waits, call.tid, |on| matches!(on, Awaited::File { .. })),
        pipe_readers: parties(waits, call.tid, |on| {
            matches!(on, Awaited::Pipe { reads: false, .. })
        }),
    });
    Process {
        pid: process.pid,
        tracer: process.tracer.as_ref().map(actor),
        frozen_cgroup: process.frozen.as_deref(),
        cpu_limit: process.limit.as_ref().map(|limit| Limit {
            cgroup: &limit.cgroup,
            quota_cpus: limit.quota_cpus,
            quota_ns: limit.quota.map(super::nanos),
            period_ns: limit.period.map(super::nanos),
            periods: limit.periods,
            throttled_periods: limit.throttled,
            throttled_ns: super::nanos(limit.time),
        }),
        scheduling: scheduling.collect(),
        inherited_loops: process.inherited_loops,
        calls: calls.collect(),
    }
}
