//! What was lost on the way, by name.

use super::threads::Threads;
use crate::{record::raw::RawLosses, store::aggregates::AggregateStore};
use remora_model::{AgentLoss, CpuSampling, Losses, Sample, Thread};

/// In the recording itself.
pub(crate) fn recorded(lost: &RawLosses) -> Losses {
    let mut losses = Losses {
        kernel: lost.kernel.clone(),
        ..Losses::default()
    };
    losses.add(AgentLoss::CpuEventsReopened, lost.reopened);
    losses.add(AgentLoss::ProgramRunsSkipped, lost.skipped_runs);
    losses.add(AgentLoss::UnreadAtTheEnd, lost.unread);
    add_all(&mut losses, &lost.tables);
    losses
}

/// Of what came out of the kernel's tables.
pub(crate) fn gathered(aggregates: &AggregateStore, threads: &Threads, losses: &mut Losses) {
    let orphans = aggregates.serials();
    let orphans = orphans.filter(|serial| threads.find(*serial).is_none());
    losses.add(AgentLoss::AggregatesWithoutThread, orphans.count() as u64);
    for (loss, count) in [
        (AgentLoss::AggregatesUnknown, aggregates.unknown_kinds),
        (AgentLoss::EndedThreadsDropped, aggregates.ended_dropped),
        (AgentLoss::EndedThreadsSummed, aggregates.threads_summed()),
        (AgentLoss::FutexesMerged, aggregates.futexes_merged),
        (AgentLoss::EndedLoopsDropped, aggregates.ended_loops_dropped),
        (AgentLoss::StacksUnreadable, aggregates.stacks_unreadable),
        (AgentLoss::StacksDropped, aggregates.stacks_dropped),
        (AgentLoss::AggregatesDropped, aggregates.sums_dropped),
        (
            AgentLoss::FaultRegionsMerged,
            aggregates.fault_regions_merged,
        ),
        (
            AgentLoss::FaultSamplesDropped,
            aggregates.fault_samples_dropped,
        ),
    ] {
        losses.add(loss, count);
    }
}

/// Those that have their names already.
pub(crate) fn add_all(losses: &mut Losses, more: &[(AgentLoss, u64)]) {
    for (loss, count) in more {
        losses.add(*loss, *count);
    }
}

/// CPU samples of threads that ran where nobody samples.
pub(crate) fn samples_not_taken(
    sampling: &CpuSampling,
    freq_hz: u32,
    threads: &[Thread],
    samples: &[Sample],
) -> u64 {
    let unsampled = sampling.unsampled(freq_hz, threads, samples);
    let unsampled: f64 = unsampled.iter().map(|(_, time)| time.as_secs_f64()).sum();
    (unsampled * f64::from(freq_hz)) as u64
}
