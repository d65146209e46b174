//! What the kernel side costs and what it lost.

use super::{Probe, ProbeError, polls};
use aya::{
    programs::Program,
    sys::{Stats, SyscallError, enable_stats},
};
use remora_common::loss::Loss;
use remora_model::ProgramCost;
use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

/// While this lives the kernel keeps BPF run-time statistics, of all programs on the host.
///
/// They cost about as much as a small program does, so they are sampled, not left on.
pub struct StatisticsOn(#[expect(dead_code, reason = "held for its drop")] OwnedFd);

impl StatisticsOn {
    /// Switches them on.
    ///
    /// # Errors
    /// Where the kernel refuses (before 5.8, or without CAP_SYS_ADMIN).
    pub fn enable() -> Result<Self, SyscallError> {
        enable_stats(Stats::RunTime).map(Self)
    }
}

impl Probe {
    /// Runs and run time of each attached program so far, as far as statistics were on.
    pub fn program_costs(&self) -> Vec<ProgramCost> {
        let programs = self.ebpf.programs();
        // Attached for a moment, and measured there: it is apart.
        let programs = programs.filter(|(name, _)| *name != polls::PROGRAM);
        programs
            .filter_map(|(name, program)| cost(name, program))
            .collect()
    }

    /// The same of one program.
    pub(super) fn cost_of(&self, name: &str) -> Option<ProgramCost> {
        cost(name, self.ebpf.program(name)?)
    }

    /// Runs that the kernel skipped because a program was running already on that CPU.
    pub fn skipped_runs(&self) -> u64 {
        let programs = self
            .ebpf
            .programs()
            .filter_map(|(_, program)| program.fd().ok());
        programs
            .filter_map(|fd| field(&fdinfo(fd.as_fd().as_raw_fd())?, "recursion_misses:"))
            .sum()
    }

    /// Every loss counter of the kernel side, summed over the CPUs.
    pub fn losses(&self) -> Result<BTreeMap<Loss, u64>, ProbeError> {
        Loss::ALL
            .iter()
            .map(|loss| {
                let values =
                    self.loss
                        .get(&(*loss as u32), 0)
                        .map_err(|error| ProbeError::Map {
                            map: "LOSS",
                            why: error.to_string(),
                        })?;
                Ok((*loss, values.iter().sum()))
            })
            .collect()
    }
}

fn cost(name: &str, program: &Program) -> Option<ProgramCost> {
    let text = fdinfo(program.fd().ok()?.as_fd().as_raw_fd())?;
    Some(ProgramCost {
        name: name.to_owned(),
        runs: field(&text, "run_cnt:")?,
        run_ns: field(&text, "run_time_ns:")?,
    })
}

/// Kernel memory of the maps of one object.
pub(super) fn map_bytes(ebpf: &aya::Ebpf) -> u64 {
    ebpf.maps()
        .filter_map(|(_, map)| field(&fdinfo(map_fd(map)?)?, "memlock:"))
        .sum()
}

fn map_fd(map: &aya::maps::Map) -> Option<RawFd> {
    use aya::maps::Map;
    let (Map::Array(data)
    | Map::HashMap(data)
    | Map::PerCpuArray(data)
    | Map::RingBuf(data)
    | Map::Stack(data)) = map
    else {
        return None;
    };
    Some(data.fd().as_fd().as_raw_fd())
}

fn fdinfo(fd: RawFd) -> Option<String> {
    fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}
