//! `remora doctor`: what this kernel and these privileges allow, hook by hook, with the kernel's own
//! words where it refuses, and what each missing one costs.

use super::{CANNOT_OBSERVE, FAILED, Failure, output};
use crate::preflight::{Lockdown, Preflight};
use anyhow::anyhow;
use remora_kernel::{Absent, Kernel};
use remora_probe::{self as probe, FeatureProbe};
use remora_process::deadline;
use serde::Serialize;
use std::fmt::Write;

/// How to print it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Args {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document {
    schema: u32,
    can_observe: bool,
    kernel: String,
    arch: String,
    cpus: usize,
    lockdown: &'static str,
    /// The kernel describes its own types.
    btf: bool,
    /// What stands in the way altogether.
    problems: Vec<String>,
    capabilities: Vec<CapabilityState>,
    /// Kernel structure members that this kernel lacks.
    absent_members: Vec<AbsentMember>,
    hooks: Vec<HookState>,
    bpf_map_bytes: u64,
}

#[derive(Debug, Serialize)]
struct CapabilityState {
    name: &'static str,
    granted: bool,
    required: bool,
    purpose: &'static str,
}

#[derive(Debug, Serialize)]
struct AbsentMember {
    member: String,
    cost: &'static str,
}

#[derive(Debug, Serialize)]
struct HookState {
    hook: String,
    serves: &'static str,
    works: bool,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<&'static str>,
}

impl From<FeatureProbe> for HookState {
    fn from(feature: FeatureProbe) -> Self {
        let FeatureProbe {
            hook,
            serves,
            cost,
            required,
            refusal,
        } = feature;
        let works = refusal.is_none();
        Self {
            hook,
            serves,
            works,
            required,
            why: refusal,
            cost: (!works).then_some(cost),
        }
    }
}

/// Examines and prints.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    deadline::prepare().map_err(|error| Failure::new(CANNOT_OBSERVE, error))?;
    let document = examine();
    let text = if args.json {
        let json = serde_json::to_string_pretty(&document);
        json.map_err(|error| Failure::new(FAILED, error))? + "\n"
    } else {
        page(&document)
    };
    output::print(text.as_bytes()).map_err(|error| Failure::new(FAILED, error))?;
    if document.can_observe {
        Ok(())
    } else {
        Err(Failure::new(
            CANNOT_OBSERVE,
            anyhow!("nothing can be observed here: see above"),
        ))
    }
}

fn examine() -> Document {
    let facts = Preflight::read();
    let mut problems: Vec<String> = facts.problems().iter().map(ToString::to_string).collect();
    let kernel = Kernel::read();
    let btf = kernel.is_ok();
    let absent = kernel
        .as_ref()
        .map(|kernel| kernel.absent.clone())
        .unwrap_or_default();
    let tried = match kernel {
        Ok(kernel) if problems.is_empty() => {
            probe::probe_features(kernel).map_err(|error| error.to_string())
        }
        Ok(_) => Ok((Vec::new(), 0)),
        Err(error) => Err(error.to_string()),
    };
    let (features, bpf_map_bytes) = tried.unwrap_or_else(|problem| {
        problems.push(problem);
        (Vec::new(), 0)
    });
    let refused = features
        .iter()
        .any(|feature| feature.required && feature.refusal.is_some());
    let fatal = absent.iter().any(|member| member.fatal);
    Document {
        schema: 1,
        can_observe: problems.is_empty() && !refused && !fatal,
        lockdown: lockdown(facts.lockdown),
        btf,
        problems,
        capabilities: capabilities(&facts),
        absent_members: absent.into_iter().map(absent_member).collect(),
        hooks: features.into_iter().map(HookState::from).collect(),
        bpf_map_bytes,
        kernel: facts.kernel,
        arch: facts.arch,
        cpus: facts.cpus,
    }
}

fn lockdown(lockdown: Lockdown) -> &'static str {
    match lockdown {
        Lockdown::None => "none",
        Lockdown::Integrity => "integrity",
        Lockdown::Confidentiality => "confidentiality",
        Lockdown::Unavailable => "not built in",
    }
}

fn capabilities(facts: &Preflight) -> Vec<CapabilityState> {
    let states = facts.caps.as_deref().unwrap_or_default();
    states
        .iter()
        .map(|state| CapabilityState {
            name: state.capability.name(),
            granted: state.granted,
            required: state.capability.is_required(),
            purpose: state.capability.purpose(),
        })
        .collect()
}

fn absent_member(absent: Absent) -> AbsentMember {
    AbsentMember {
        member: absent.member,
        cost: absent.cost,
    }
}

/// The document for a person.
fn page(document: &Document) -> String {
    let mut page = String::new();
    write_page(&mut page, document).expect("a String takes everything");
    page
}

fn write_page(page: &mut String, document: &Document) -> std::fmt::Result {
    let Document {
        kernel,
        arch,
        cpus,
        lockdown,
        ..
    } = document;
    let verdict = if document.can_observe {
        "can be observed"
    } else {
        "CANNOT be observed"
    };
    writeln!(
        page,
        "This host {verdict}: Linux {kernel}, {arch}, {cpus} CPUs, lockdown {lockdown}"
    )?;
    for problem in &document.problems {
        writeln!(page, "  problem  {problem}")?;
    }
    if document.btf {
        writeln!(page, "  BTF      of the kernel's types is there")?;
    }
    writeln!(page, "\nPrivileges")?;
    for CapabilityState {
        name,
        granted,
        required,
        purpose,
    } in &document.capabilities
    {
        let (state, note) = state(*granted, *required);
        writeln!(page, "  {state:7} {name:23} to {purpose}{note}")?;
    }
    if !document.absent_members.is_empty() {
        writeln!(page, "\nMissing in this kernel's structures")?;
    }
    for AbsentMember { member, cost } in &document.absent_members {
        writeln!(page, "  {member}: {cost}")?;
    }
    if !document.hooks.is_empty() {
        writeln!(page, "\nHooks")?;
    }
    for hook in &document.hooks {
        write_hook(page, hook)?;
    }
    if document.bpf_map_bytes > 0 {
        let mib = document.bpf_map_bytes as f64 / f64::from(1 << 20);
        writeln!(
            page,
            "\nA capture takes {mib:.1} MiB of kernel memory for its tables."
        )?;
    }
    Ok(())
}

/// Whether it is there, and what to add where it is not.
const fn state(there: bool, required: bool) -> (&'static str, &'static str) {
    match (there, required) {
        (true, _) => ("yes", ""),
        (false, true) => ("missing", " (required)"),
        (false, false) => ("missing", ""),
    }
}

fn write_hook(page: &mut String, hook: &HookState) -> std::fmt::Result {
    let (state, note) = state(hook.works, hook.required);
    writeln!(page, "  {state:7} {:34} {}{note}", hook.hook, hook.serves)?;
    if let (Some(why), Some(cost)) = (&hook.why, hook.cost) {
        writeln!(page, "       refused: {why}\n       without it: {cost}")?;
    }
    Ok(())
}
