//! CPUs that are kept for somebody (`isolcpus`, `nohz_full`): shown to remora by files over those of sysfs, in a mount
//! namespace of its own.

use remora_tests::{
    gate::{privileged, skip},
    hostile::group::Group,
    proc,
    remora::{Remora, Run},
    specimen::{Specimen, Start},
};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;

const CPUS: &str = "/sys/devices/system/cpu";

/// A host on which these CPUs are kept.
struct Host {
    folder: TempDir,
}

impl Host {
    /// With two CPUs; `None`, and it is said, where this machine cannot show one.
    fn with(isolated: &str, nohz_full: &str) -> Option<Self> {
        let cpus = sched_getaffinity(None).expect("a thread has an affinity");
        if !(cpus.is_set(0) && cpus.is_set(1)) {
            skip("CPUs 0 and 1 are not both there");
            return None;
        }
        let folder = TempDir::new().expect("a temporary folder");
        for (name, text) in [("isolated", isolated), ("nohz_full", nohz_full)] {
            fs::write(folder.path().join(name), format!("{text}\n")).expect("own folder");
        }
        for name in ["online", "possible", "present"] {
            let text = fs::read_to_string(Path::new(CPUS).join(name)).expect("sysfs has it");
            fs::write(folder.path().join(name), text).expect("own folder");
        }
        for cpu in ["cpu0", "cpu1"] {
            fs::create_dir_all(folder.path().join(cpu).join("topology")).expect("own folder");
        }
        Some(Self { folder })
    }

    /// What a command is run by to see it so.
    fn prefix(&self) -> Vec<String> {
        let script = format!(
            "mount --bind '{}' {CPUS} && exec \"$@\"",
            self.folder.path().display()
        );
        ["unshare", "--mount", "sh", "-c", &script, "sh"]
            .map(str::to_owned)
            .to_vec()
    }

    fn run(&self, arguments: &[&str], before: &[String]) -> Run {
        let prefix = [before, &self.prefix()].concat();
        let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
        Remora::with(arguments).under(&prefix).run()
    }
}

/// A process that burns, all its threads on one CPU.
fn burner_on(cpu: usize) -> Specimen {
    let specimen = Start::mode("burn").start();
    let mut set = CpuSet::new();
    set.set(cpu);
    for tid in proc::tids(specimen.pid()) {
        sched_setaffinity(Pid::from_raw(tid.cast_signed()), &set).expect("a CPU that is there");
    }
    specimen
}

fn document(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[test]
fn a_cpuset_or_affinity_without_a_cpu_that_is_kept_for_nobody_is_said_in_one_line() {
    let Some(_turn) = privileged() else { return };
    let Some(host) = Host::with("1", "") else {
        return;
    };
    let specimen = burner_on(0);
    let pid = specimen.pid().to_string();
    let triage = ["triage", "--json", "--pid", &pid, "--duration", "1"];
    let one_line = |run: &Run, what: &str| {
        assert!(
            matches!(run.status.code(), Some(0 | 10)),
            "{what}: {}",
            run.stderr
        );
        let said: Vec<&str> = run.stderr.lines().collect();
        assert_eq!(
            said,
            ["remora: running on isolated CPU 1: its cpuset or affinity allows no other CPU"],
            "{what}"
        );
    };
    let affinity = ["taskset", "-c", "1"].map(str::to_owned);
    one_line(&host.run(&triage, &affinity), "affinity");
    let group = match Group::with("cpuset") {
        Ok(group) => group,
        Err(why) => return skip(&why),
    };
    let set = group
        .set("cpuset.mems", "0")
        .and_then(|()| group.set("cpuset.cpus", "1"));
    if let Err(why) = set {
        return skip(&why);
    }
    one_line(&host.run(&triage, &group.prefix()), "cpuset");
}

#[test]
fn where_cpus_are_kept_statistics_are_switched_at_the_beginning_alone() {
    let Some(_turn) = privileged() else { return };
    let Some(host) = Host::with("1", "") else {
        return;
    };
    let specimen = burner_on(0);
    let pid = specimen.pid().to_string();
    let triage = ["triage", "--json", "--pid", &pid, "--duration", "7"];
    let measured = |run: &Run| {
        let overhead = &document(run)["overhead"];
        overhead["bpf_measured_s"].as_f64().expect("a figure")
    };
    let kept = measured(&host.run(&triage, &[]));
    let others = measured(&Remora::with(&triage).run());
    // A tenth of a second each: one, and two.
    assert!(
        kept > 0.0 && kept < 0.75 * others,
        "{kept} s and {others} s"
    );
}

#[test]
fn a_target_that_may_use_no_other_cpu_than_a_quiet_one_is_not_sampled_and_it_is_said() {
    let Some(_turn) = privileged() else { return };
    let Some(host) = Host::with("", "1") else {
        return;
    };
    let specimen = burner_on(1);
    let pid = specimen.pid().to_string();
    let triage = ["triage", "--json", "--pid", &pid, "--duration", "1"];
    let quiet = document(&host.run(&triage, &[]));
    assert_eq!(quiet["signals"]["on_cpu"]["state"], "off", "{quiet}");
    let missing = serde_json::json!([{"cpus": "1", "why": "nohz_full"}]);
    assert_eq!(quiet["capture"]["cpus_not_sampled"], missing, "{quiet}");
    let asked = [&triage[..], &["--sample-isolated"]].concat();
    let asked = document(&host.run(&asked, &[]));
    assert_eq!(asked["signals"]["on_cpu"]["state"], "on", "{asked}");
}
