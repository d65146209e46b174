//! The limit of a cgroup that throttled a process: how much CPU time it may use in each period, and for how much of the
//! capture it was not let run.

use crate::Scene;
use remora_model::CpuLimit;
use remora_model::display::text::{clean, count, duration, share};

/// The limit of a cgroup matters when it throttled in that share of its periods, and so many.
const THROTTLED: (f64, u64) = (0.25, 5);

/// The limit that throttled a process, if one did.
pub(super) fn throttling<'a>(scene: &Scene<'a>, pid: u32) -> Option<&'a CpuLimit> {
    let limit = scene.capture.conditions.of(pid)?.limit.as_ref()?;
    let often = limit.throttled as f64 >= THROTTLED.0 * limit.periods as f64;
    (often && limit.throttled >= THROTTLED.1).then_some(limit)
}

/// `cpu.max 20 ms in each 100 ms`.
pub(super) fn headline(limit: &CpuLimit) -> String {
    match (limit.quota, limit.period, limit.quota_cpus) {
        (Some(quota), Some(period), _) => {
            format!("cpu.max {} in each {}", duration(quota), duration(period))
        }
        (.., Some(cpus)) => format!("quota {cpus:.2} CPUs"),
        _ => "quota unknown".to_owned(),
    }
}

/// `cgroup /box, cpu.max 20 ms in each 100 ms (0.20 CPUs); throttled in 28 of 30 periods, for 2.4 s (80 % of the time)`.
pub(super) fn words(scene: &Scene<'_>, limit: &CpuLimit) -> String {
    let quota = headline(limit);
    let cpus = match (limit.quota, limit.quota_cpus) {
        (Some(_), Some(cpus)) => format!(" ({cpus:.2} CPUs)"),
        _ => String::new(),
    };
    let length = scene.capture.duration;
    // The kernel adds up what each CPU was not let run.
    let time = match limit.time <= length {
        true => format!("{} of the time", share(limit.time, length)),
        false => "summed over CPUs".to_owned(),
    };
    format!(
        "cgroup {}, {quota}{cpus}; throttled in {} of {} periods, for {} ({time})",
        clean(&limit.cgroup),
        count(limit.throttled),
        count(limit.periods),
        duration(limit.time),
    )
}
