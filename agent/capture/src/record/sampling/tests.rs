//! The choice of CPUs on made-up hosts.

use super::*;
use std::fs;
use tempfile::TempDir;

fn cpus(text: &str) -> Cpus {
    text.parse().unwrap()
}

/// A host with CPUs 0 to 3, of which 2 and 3 are `nohz_full`.
fn host() -> TempDir {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("sys/devices/system/cpu");
    for cpu in 0..4 {
        fs::create_dir_all(folder.join(format!("cpu{cpu}/topology"))).unwrap();
    }
    fs::write(folder.join("online"), "0-3\n").unwrap();
    fs::write(folder.join("nohz_full"), "2-3\n").unwrap();
    root
}

fn sampling(root: &Path, choice: CpuChoice, reach: &str) -> Sampling {
    let mut sampling = Sampling::new(root, &choice);
    sampling.reach = cpus(reach);
    sampling
}

fn on_cpu() -> Signal {
    Signal {
        id: SignalId::OnCpu,
        hook: "perf_event/cpu-clock".to_owned(),
        state: HookState::On,
    }
}

#[test]
fn only_cpus_that_targets_may_use_are_sampled() {
    let root = host();
    let mut sampling = sampling(root.path(), CpuChoice::default(), "0");
    assert_eq!(sampling.wanted(), cpus("0"));
    sampling.opened(&cpus("0"));
    let all = sampling.finish();
    assert_eq!((all.sampled.clone(), all.missing()), (cpus("0"), cpus("")));
    let mut signals = [on_cpu()];
    sampling.tell(&mut signals);
    assert_eq!(signals[0].state, HookState::On);
}

#[test]
fn a_cpu_without_a_tick_is_sampled_on_demand_alone() {
    let root = host();
    let mut quiet = sampling(root.path(), CpuChoice::default(), "0-2");
    assert_eq!(quiet.wanted(), cpus("0-1"));
    quiet.opened(&cpus("0-1"));
    assert_eq!(
        quiet.finish().not_sampled,
        [(Unsampled::NohzFull, cpus("2"))]
    );
    let mut signals = [on_cpu()];
    quiet.tell(&mut signals);
    assert!(
        matches!(&signals[0].state, HookState::Degraded(why) if why.contains("CPU 2 not sampled: nohz_full")),
        "{signals:?}"
    );
    let isolated = CpuChoice {
        isolated: true,
        ..CpuChoice::default()
    };
    let loud = sampling(root.path(), isolated, "0-2");
    assert_eq!(loud.wanted(), cpus("0-2"));
}

#[test]
fn targets_on_cpus_without_a_tick_alone_leave_nothing_and_it_is_said() {
    let root = host();
    let mut quiet = sampling(root.path(), CpuChoice::default(), "2-3");
    assert_eq!(quiet.wanted(), cpus(""));
    quiet.opened(&cpus(""));
    let mut signals = [on_cpu()];
    quiet.tell(&mut signals);
    assert!(
        matches!(&signals[0].state, HookState::Off(why) if why.contains("CPUs 2,3 not sampled: nohz_full")),
        "{signals:?}"
    );
}

#[test]
fn chosen_cpus_are_sampled_whatever_they_are() {
    let root = host();
    let choice = |list: &str| CpuChoice {
        only: Some(cpus(list)),
        isolated: false,
    };
    let mut chosen = sampling(root.path(), choice("1,3,9"), "0-3");
    assert_eq!(chosen.wanted(), cpus("1,3"));
    chosen.opened(&cpus("1"));
    assert_eq!(
        chosen.finish().not_sampled,
        [
            (Unsampled::NotChosen, cpus("0,2")),
            (Unsampled::Refused, cpus("3"))
        ]
    );
    assert!(choice("3,9").check(&cpus("0-3")).is_ok());
    let nothing = choice("8-9").check(&cpus("0-3")).unwrap_err();
    assert!(
        nothing.contains("8,9") && nothing.contains("0-3"),
        "{nothing}"
    );
}

#[test]
fn a_cpu_that_went_or_came_back_has_lost_its_event() {
    let root = host();
    let mut sampling = sampling(root.path(), CpuChoice::default(), "0-1");
    sampling.opened(&cpus("0-1"));
    assert_eq!(sampling.gone(), [] as [u32; 0]);
    // Off and on again: its node is another one.
    let node = root.path().join("sys/devices/system/cpu/cpu1/topology");
    fs::rename(&node, root.path().join("old")).unwrap();
    fs::create_dir(&node).unwrap();
    assert_eq!(sampling.gone(), [1]);
    sampling.open.remove(&1);
    sampling.is_open(1, cpus::generation(root.path(), 1));
    assert_eq!((sampling.reopened(), sampling.gone()), (1, vec![]));
    sampling.topology.online = cpus("0");
    assert_eq!(sampling.gone(), [1]);
    assert_eq!(
        sampling.finish().missing(),
        cpus(""),
        "it was sampled while it ran"
    );
}

#[test]
fn each_thread_is_asked_in_its_turn() {
    let root = host();
    let mut sampling = Sampling::new(root.path(), &CpuChoice::default());
    let threads: Vec<u32> = (1..=600).collect();
    let turns: Vec<usize> = (0..4).map(|_| sampling.turn(&threads).len()).collect();
    assert_eq!(turns, [256, 256, 88, 256]);
    assert_eq!(sampling.turn(&[]), [] as [u32; 0]);
}

#[test]
fn the_reach_of_threads_is_what_the_kernel_says() {
    let mut sampling = Sampling::new(Path::new("/"), &CpuChoice::default());
    sampling.ask(&[std::process::id(), u32::MAX >> 2]);
    assert_eq!(sampling.reach, cpus::affinity(None).unwrap());
}
