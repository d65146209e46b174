//! Each way in which a guest can differ from what must be so is found.

use super::super::expect::{V6_1, V6_12, passes};
use super::*;

const KERNEL: Kernel = Kernel {
    name: V6_1,
    series: "6.1.",
    signals: &[("wait_stacks", "fentry/finish_task_switch")],
};

fn ran(code: i32, text: &str) -> Ran {
    Ran {
        code: Some(code),
        lines: text.lines().map(str::to_owned).collect(),
        ..Ran::default()
    }
}

fn passed(text: &str) -> Ran {
    ran(0, &format!("{text}\ntest result: ok. 1 passed; 0 failed;"))
}

fn is_wrong(verdict: &Verdict, word: &str) -> bool {
    matches!(verdict, Verdict::Wrong(why) if why.contains(word))
}

#[test]
fn a_test_must_run_and_pass() {
    let one = passes("a::b");
    let test = |ran: Option<Ran>| test(&KERNEL, &one, ran.as_ref());
    assert_eq!(test(Some(passed(""))), Verdict::Passed);
    let again = Ran {
        attempts: 2,
        ..passed("")
    };
    assert_eq!(test(Some(again)), Verdict::PassedLater);
    assert!(is_wrong(&test(None), "not run"));
    assert!(is_wrong(
        &test(Some(ran(101, "panicked at x"))),
        "panicked at x"
    ));
    assert!(is_wrong(&test(Some(ran(137, ""))), "137"));
    // The runner is content when no test has that name.
    assert!(is_wrong(
        &test(Some(ran(0, "test result: ok. 0 passed;"))),
        "0 passed"
    ));
    let silent = passed("test b ... skipped: b: it needs root");
    assert!(is_wrong(&test(Some(silent)), "needs root"));
}

#[test]
fn a_skip_must_be_the_expected_one() {
    let one = passes("a::b").skipped_on(&[V6_1], "sched_exit_tp");
    let on = |name, ran: &Ran| test(&Kernel { name, ..KERNEL }, &one, Some(ran));
    let skips = passed("skipped: b: refused the hook sched_exit_tp");
    assert_eq!(on(V6_1, &skips), Verdict::Skipped);
    assert!(is_wrong(&on(V6_12, &skips), "sched_exit_tp"));
    assert!(is_wrong(&on(V6_1, &passed("")), "it runs"));
    assert!(is_wrong(&on(V6_1, &passed("skipped: b: other")), "other"));
}

#[test]
fn parts_may_be_left_out() {
    let one = passes("a::b").without_parts("python3.");
    let test = |text: &str| test(&KERNEL, &one, Some(&passed(text)));
    assert_eq!(
        test("skipped: b: python3.9 is not installed"),
        Verdict::Passed
    );
    assert!(is_wrong(
        &test("skipped: b: no interpreter"),
        "no interpreter"
    ));
}

const HOOKS: &[Hook] = &[
    Hook {
        name: "kprobe/finish",
        refused_by: &[],
    },
    Hook {
        name: "tp_btf/exit",
        refused_by: &[V6_1],
    },
];

fn told(hooks: &[(&str, bool)]) -> Ran {
    let hook = |(name, works): &(&str, bool)| format!("{{\"hook\":\"{name}\",\"works\":{works}}}");
    let hooks: Vec<String> = hooks.iter().map(hook).collect();
    let hooks = hooks.join(",");
    ran(
        0,
        &format!("a warning\n{{\"can_observe\":true,\"hooks\":[{hooks}]}}"),
    )
}

#[test]
fn each_hook_must_work_or_be_refused_as_expected() {
    let check = |hooks: &[(&str, bool)]| doctor(&KERNEL, HOOKS, Some(&told(hooks)));
    assert_eq!(
        check(&[("kprobe/finish.isra.0", true), ("tp_btf/exit", false)]),
        Ok(())
    );
    let wrong: [(&[(&str, bool)], &str); 4] = [
        (
            &[("kprobe/finish", false), ("tp_btf/exit", false)],
            "kprobe",
        ),
        (
            &[("kprobe/finish", true), ("tp_btf/exit", true)],
            "it works",
        ),
        (&[("kprobe/finish", true)], "not told"),
        (
            &[
                ("kprobe/finish", true),
                ("tp_btf/exit", false),
                ("new", true),
            ],
            "expect.rs",
        ),
    ];
    for (hooks, word) in wrong {
        let found = check(hooks).unwrap_err();
        assert!(found.contains(word), "{found}");
    }
    assert!(doctor(&KERNEL, HOOKS, None).is_err());
    assert!(doctor(&KERNEL, HOOKS, Some(&ran(3, "refused"))).is_err());
}

#[test]
fn the_capture_must_use_the_best_hook() {
    let check = |hook: &str, state: &str| {
        let text = format!(
            "{{\"signals\":{{\"wait_stacks\":{{\"hook\":\"{hook}\",\"state\":\"{state}\"}}}}}}"
        );
        capture(&KERNEL, Some(&ran(0, &text)))
    };
    assert_eq!(check("fentry/finish_task_switch.isra.0", "on"), Ok(()));
    assert!(check("tp_btf/sched_switch", "degraded").is_err());
    assert!(check("fentry/finish_task_switch", "degraded").is_err());
    assert!(capture(&KERNEL, Some(&ran(0, "{\"signals\":{}}"))).is_err());
}

#[test]
fn a_complaint_of_the_kernel_is_a_fault() {
    let quiet =
        "[    1.0] nvme0n1: p1\n[   99.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!\n";
    assert_eq!(complaints(quiet), Ok(()));
    let loud = format!("{quiet}[  100.0] BUG: scheduling while atomic: swapper/1/0/0x00000002\n");
    assert!(
        complaints(&loud)
            .unwrap_err()
            .contains("scheduling while atomic")
    );
}
