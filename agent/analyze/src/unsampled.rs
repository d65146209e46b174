//! Not a finding, but what keeps some from being found: threads that used a CPU which nobody sampled. Whether they spin, or sit
//! in one callback of a loop, stands in samples alone.

use super::{Findings, Scene};
use remora_model::display::text::{count, duration};
use remora_model::{FindingKind, Process, SkipReason, Skipped};

/// What is told from the samples of a thread that does not sleep.
const BY_SAMPLES: [FindingKind; 2] = [FindingKind::BusySpin, FindingKind::LoopBlocked];

/// A thread that ran for a smaller share of its time is found by its waits.
const SHARE: f64 = 0.5;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let capture = scene.capture;
    let sampling = &capture.sampling;
    let unsampled = sampling.unsampled(capture.freq_hz, &capture.threads, &capture.samples);
    let mut missed = unsampled.iter().filter_map(|(index, time)| {
        let thread = capture.threads.get(*index)?;
        let target = scene.process(thread.pid).is_none_or(Process::is_target);
        let mostly = time.as_secs_f64() >= SHARE * thread.observed.as_secs_f64();
        (target && mostly).then_some((thread, *time))
    });
    let Some((thread, time)) = missed.next() else {
        return;
    };
    let more = match missed.count() {
        0 => String::new(),
        more => format!(" and {} more", count(more as u64)),
    };
    let why = format!(
        "{}-{}{more} ran for {} without samples: {}",
        thread.comm,
        thread.tid,
        duration(time),
        sampling.why().unwrap_or_default(),
    );
    for kind in BY_SAMPLES {
        let thread = why.clone();
        findings.skipped.push(Skipped {
            kind,
            why: SkipReason::NotSampled { thread },
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::{Thresholds, judge};
    use remora_model::{
        FindingKind, Unsampled,
        fixture::{Builder, ms},
    };

    fn burner() -> Builder {
        let mut builder = Builder::new(7, "poller");
        builder.0.threads[0].on_cpu = ms(30_000);
        builder.0.threads[0].observed = ms(30_000);
        builder
    }

    #[test]
    fn who_ran_where_nobody_samples_is_not_judged_by_samples() {
        let mut builder = burner();
        let cpus = "2-3".parse().unwrap();
        builder.0.sampling.not_sampled = vec![(Unsampled::NohzFull, cpus)];
        let judgement = judge(&builder.finish(), &Thresholds::default());
        let kinds = judgement.skipped.iter().map(|skipped| skipped.kind);
        let kinds: Vec<FindingKind> = kinds.collect();
        assert_eq!(kinds, [FindingKind::BusySpin, FindingKind::LoopBlocked]);
        let why = remora_model::display::skipped::why(&judgement.skipped[0].why);
        assert!(
            why.contains("poller-7 ran for 30") && why.contains("CPUs 2,3 not sampled: nohz_full"),
            "{why}"
        );
    }

    #[test]
    fn who_was_sampled_is_judged() {
        let judgement = judge(&burner().finish(), &Thresholds::default());
        assert_eq!(judgement.skipped, []);
    }
}
