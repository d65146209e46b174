//! CPUs, of both sides: where our own threads run, and where samples are taken.

use super::{Failure, USAGE, output, units};
use remora_capture::CpuChoice;
use remora_kernel::cpus::{self, Topology};
use remora_model::Cpus;
use rustix::process::setpriority_process;
use std::path::Path;

/// A claim to a CPU a little less than that of the targets: setpriority(2). More would cost the answer on a busy host: what was
/// measured stands in `docs/internals-agent.md`.
const NICE: i32 = 1;

/// Which CPUs are sampled.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SampledCpus {
    /// CPUs to sample, such as 0-3,8 [default: those that the targets may use]
    #[arg(help_heading = "CPU and stacks", long, value_name = "LIST", value_parser = units::cpus, allow_hyphen_values = true)]
    cpus: Option<Cpus>,
    /// Also sample nohz_full CPUs, which then have a timer tick
    #[arg(help_heading = "CPU and stacks", long)]
    sample_isolated: bool,
}

impl SampledCpus {
    /// The choice, if it leaves a CPU.
    pub(super) fn choice(&self) -> Result<CpuChoice, Failure> {
        let choice = CpuChoice {
            only: self.cpus.clone(),
            isolated: self.sample_isolated,
        };
        let checked = choice.check(&cpus::online(Path::new("/")));
        checked.map_err(|why| Failure::new(USAGE, anyhow::Error::msg(why)))?;
        Ok(choice)
    }
}

/// Keeps this process off the CPUs that are kept for others, before it has any other thread, and gives way a little.
/// Where it is allowed no others it runs there, and says so.
pub(super) fn step_aside() {
    // Who may not lower his own claim keeps it.
    let _as_it_was = setpriority_process(None, NICE);
    // A host with more CPUs than the call has room for: everything stays as it is.
    let Ok(allowed) = cpus::affinity(None) else {
        return;
    };
    let topology = Topology::read(Path::new("/"));
    let wanted = topology.housekeeping(&allowed);
    if wanted.is_empty() {
        output::complain(&format!(
            "running on isolated {}: its cpuset or affinity allows no other CPU",
            allowed.named()
        ));
    } else if wanted != allowed
        && let Err(error) = cpus::stay_on(&wanted)
    {
        output::complain(&format!(
            "running on {}, isolated ones among them: it cannot be kept on {wanted} ({error})",
            allowed.named()
        ));
    }
}
