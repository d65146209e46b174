//! The flamegraphs: who, how long, how often; width is time; user, kernel and reason by colour.

use remora_tests::gate::privileged;
use remora_tests::picture::{self, Frame};
use remora_tests::remora::Remora;
use remora_tests::specimen::Specimen;
use remora_tests::tolerance::{SAME_FIGURE, assert_share};

/// The widest frame of this name.
fn widest(frames: &[Frame], name: &str) -> Frame {
    let named = frames.iter().filter(|frame| frame.name == name);
    let widest = named.max_by(|a, b| a.share.total_cmp(&b.share));
    widest
        .unwrap_or_else(|| panic!("no {name} in {frames:#?}"))
        .clone()
}

fn is_reddish(frame: &Frame) -> bool {
    frame.colour[0] > frame.colour[2]
}

#[test]
fn on_the_cpu() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let (run, report) = Remora::record(&[specimen.pid()], 2)
        .args(&["--freq", "199"])
        .capture();
    let svg = run.file("cpu.svg");
    let title = picture::text(&svg, "title");
    let length = format!("{:.1} s", report.capture.duration_s);
    for word in ["burn", &specimen.pid().to_string(), &length, "199 Hz"] {
        assert!(title.contains(word), "{word:?} is not in {title:?}");
    }
    assert!(svg.contains("id=\"search\""), "it cannot be searched");
    let (frames, cpu) = (picture::frames(&svg), run.folded("cpu"));
    for name in ["burn_hot", "burn_warm"] {
        let drawn = widest(&frames, name);
        let share = cpu.share(|_| true, |line| line.has(name));
        assert_share(name, drawn.share, share, SAME_FIGURE);
        assert!(is_reddish(&drawn), "{drawn:?}");
    }
}

#[test]
fn off_the_cpu() {
    let Some(_turn) = privileged() else { return };
    let specimens = ["pipe-read", "nanosleep"].map(Specimen::start);
    let pids = specimens.each_ref().map(Specimen::pid);
    let (run, report) = Remora::record(&pids, 2).capture();
    let svg = run.file("offcpu.svg");
    let title = picture::text(&svg, "title");
    let length = format!("{:.1} s", report.capture.duration_s);
    for word in ["pipe-read", &pids[0].to_string(), &length, "off CPU"] {
        assert!(title.contains(word), "{word:?} is not in {title:?}");
    }
    let (frames, offcpu) = (picture::frames(&svg), run.folded("offcpu"));
    for reason in ["pipe read", "sleep"] {
        let drawn = widest(&frames, reason);
        let share = offcpu.share(|_| true, |line| line.reason() == reason);
        assert_share(reason, drawn.share, share, SAME_FIGURE);
    }
    let (user, kernel) = (
        widest(&frames, "outer_read_pipe"),
        widest(&frames, "ksys_read"),
    );
    assert!(
        is_reddish(&user) && !is_reddish(&kernel),
        "{user:?} {kernel:?}"
    );
    // What is a thread's normal idle is named in the picture that leaves it out.
    assert!(picture::text(&svg, "subtitle").contains("idle"), "{svg}");
}

#[test]
fn profiles_of_speedscope_have_the_sums_of_the_folded_stacks() {
    let Some(_turn) = privileged() else { return };
    let specimens = ["burn", "nanosleep"].map(Specimen::start);
    let pids = specimens.each_ref().map(Specimen::pid);
    let (run, _report) = Remora::record(&pids, 2).capture();
    for (name, unit, pid) in [("cpu", "none", pids[0]), ("offcpu", "nanoseconds", pids[1])] {
        let folded = run.file(&format!("{name}.folded"));
        let values = folded.lines().filter_map(|line| line.rsplit_once(' '));
        let values = values.map(|(_, value)| value.parse::<u64>().expect("a value"));
        let profiles = run.file(&format!("{name}.speedscope.json"));
        let file: serde_json::Value = serde_json::from_str(&profiles).expect("JSON");
        let profiles = file["profiles"].as_array().expect("profiles");
        let sum = |profile: &serde_json::Value| -> u64 {
            let weights = profile["weights"].as_array().expect("weights");
            weights.iter().filter_map(serde_json::Value::as_u64).sum()
        };
        assert_eq!(
            profiles.iter().map(sum).sum::<u64>(),
            values.sum::<u64>(),
            "{name}"
        );
        let of_pid = profiles.iter().find(|profile| {
            let thread = profile["name"].as_str().unwrap_or_default();
            thread.ends_with(&format!("-{pid}"))
        });
        let of_pid = of_pid.unwrap_or_else(|| panic!("{name}: no profile of {pid}: {file}"));
        assert!(sum(of_pid) > 0);
        assert!(profiles.iter().all(|profile| profile["unit"] == unit));
    }
}
