//! What the kernel counts on a CPU: where gaps come from.

use anyhow::{Context, Result};
use std::fs;

/// What [`Sources::all`] gives.
pub(super) const NAMES: [&str; 8] = [
    "timer",
    "reschedule",
    "function call",
    "of them TLB",
    "irq work",
    "device",
    "RCU",
    "preempted",
];

/// Counts so far, or of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// Timer interrupts: the tick, timers, CPU clocks of perf events.
    pub timer: u64,
    /// Requests to reschedule: somebody was woken here.
    pub reschedule: u64,
    /// Calls of functions on other CPUs: patched code, perf events opened and closed, grace periods that are hurried.
    pub function_call: u64,
    /// Of them those that took translations of addresses back.
    pub tlb: u64,
    /// Work that was put off to an interrupt.
    pub irq_work: u64,
    /// Interrupts of devices.
    pub device: u64,
    /// Rounds of callbacks behind grace periods.
    pub rcu: u64,
    /// How often another thread took the CPU from the spinner.
    pub preempted: u64,
}

impl Sources {
    /// Those of a CPU, and of the thread that spins there.
    ///
    /// # Errors
    /// Files of `/proc` that cannot be read.
    pub(super) fn now(cpu: usize, spinner: u32) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
        let status = read(&format!("/proc/{spinner}/status"))?;
        let found = Self::parse(
            &read("/proc/interrupts")?,
            &read("/proc/softirqs")?,
            &status,
            cpu,
        );
        found.with_context(|| format!("/proc/interrupts has no CPU {cpu}"))
    }

    fn parse(interrupts: &str, softirqs: &str, status: &str, cpu: usize) -> Option<Self> {
        let column = column(interrupts, cpu)?;
        let mut sources = Self::default();
        for line in interrupts.lines().skip(1) {
            let Some((name, rest)) = line.split_once(':') else {
                continue;
            };
            let count = rest.split_whitespace().nth(column);
            let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
            match name.trim() {
                "LOC" => sources.timer += count,
                "RES" => sources.reschedule += count,
                "CAL" => sources.function_call += count,
                "TLB" => sources.tlb += count,
                "IWI" => sources.irq_work += count,
                number if number.parse::<u32>().is_ok() => sources.device += count,
                _ => {}
            }
        }
        let rcu = softirqs
            .lines()
            .find_map(|line| line.trim().strip_prefix("RCU:"))?;
        let column = self::column(softirqs, cpu)?;
        sources.rcu = rcu.split_whitespace().nth(column)?.parse().ok()?;
        let preempted = status
            .lines()
            .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"))?;
        sources.preempted = preempted.trim().parse().ok()?;
        Some(sources)
    }

    /// What was counted since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            timer: self.timer.saturating_sub(earlier.timer),
            reschedule: self.reschedule.saturating_sub(earlier.reschedule),
            function_call: self.function_call.saturating_sub(earlier.function_call),
            tlb: self.tlb.saturating_sub(earlier.tlb),
            irq_work: self.irq_work.saturating_sub(earlier.irq_work),
            device: self.device.saturating_sub(earlier.device),
            rcu: self.rcu.saturating_sub(earlier.rcu),
            preempted: self.preempted.saturating_sub(earlier.preempted),
        }
    }

    /// All, in the order of [`NAMES`].
    pub(super) fn all(&self) -> [u64; 8] {
        [
            self.timer,
            self.reschedule,
            self.function_call,
            self.tlb,
            self.irq_work,
            self.device,
            self.rcu,
            self.preempted,
        ]
    }
}

/// Which column of a table by CPU is this one's: CPUs that are offline have none.
fn column(table: &str, cpu: usize) -> Option<usize> {
    let head = table.lines().next()?;
    let name = format!("CPU{cpu}");
    head.split_whitespace().position(|column| column == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERRUPTS: &str = "           CPU0       CPU2       \n  24:          1          4  IO-APIC   5-edge  x\n \
        36:   2   3  PCI-MSIX   1-edge  virtio1-req.0\nLOC:     374974     379190   Local timer interrupts\n\
        RES:   5   6   Rescheduling interrupts\nCAL:  7  8   Function call interrupts\nTLB:  9  10   TLB shootdowns\n\
        IWI:   11   12   IRQ work interrupts\nERR:          0\n";
    const SOFTIRQS: &str = "     CPU0       CPU2\n  TIMER:   1    2\n   RCU:   3     4\n";
    const STATUS: &str =
        "Name:\tjitter\nvoluntary_ctxt_switches:\t1\nnonvoluntary_ctxt_switches:\t13\n";

    #[test]
    fn the_column_of_a_cpu_is_found_by_its_name() {
        let sources = Sources::parse(INTERRUPTS, SOFTIRQS, STATUS, 2).unwrap();
        assert_eq!(sources.all(), [379_190, 6, 8, 10, 12, 7, 4, 13]);
        let first = Sources::parse(INTERRUPTS, SOFTIRQS, STATUS, 0).unwrap();
        assert_eq!(first.all(), [374_974, 5, 7, 9, 11, 3, 3, 13]);
        assert_eq!(Sources::parse(INTERRUPTS, SOFTIRQS, STATUS, 1), None);
    }

    #[test]
    fn a_span_is_a_difference() {
        let before = Sources::parse(INTERRUPTS, SOFTIRQS, STATUS, 0).unwrap();
        let after = Sources {
            timer: before.timer + 5,
            ..before
        };
        let span = after.since(&before);
        assert_eq!(span.all(), [5, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn this_machine_has_its_first_cpu() {
        assert!(Sources::now(0, std::process::id()).is_ok());
    }
}
