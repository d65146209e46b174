//! Where nothing can be observed: no privileges, no BTF, lockdown, a namespace that hides the host.

use remora_tests::gate::{privileged, remora_binary};
use remora_tests::remora::Remora;
use remora_tests::specimen::Specimen;
use remora_tests::tolerance::AT_ONCE;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Instant;

const CANNOT_OBSERVE: i32 = 3;

/// As the user nobody, without any capability.
const UNPRIVILEGED: [&str; 5] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all",
];

/// A shell in a mount namespace of its own does `script`, then becomes the command behind it.
fn unshared(script: &str) -> Vec<String> {
    let script = format!("{script} && exec \"$@\"");
    let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    words.map(str::to_owned).to_vec()
}

/// A capture under this prefix is refused, at once, in one line with these words.
fn assert_refused_under(prefix: &[&str], words: &[&str]) {
    let specimen = Specimen::start("nanosleep");
    let started = Instant::now();
    let run = Remora::record(&[specimen.pid()], 8).under(prefix).run();
    run.assert_refused(CANNOT_OBSERVE, words);
    assert!(started.elapsed() < AT_ONCE, "it was tried first");
    assert!(!run.out.exists(), "it left a folder");
}

fn assert_refused_after(script: &str, words: &[&str]) {
    let prefix = unshared(script);
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    assert_refused_under(&prefix, words);
}

/// Runs it without privileges, from a place that everyone may read: the build folder may be closed.
fn as_nobody(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open.clone()).expect("own folder");
    let binary = folder.path().join("remora");
    std::fs::copy(remora_binary(), &binary).expect("a copy");
    std::fs::set_permissions(&binary, open).expect("own file");
    Command::new(UNPRIVILEGED[0])
        .args(&UNPRIVILEGED[1..])
        .arg(&binary)
        .args(arguments)
        .current_dir("/tmp")
        .output()
        .expect("setpriv of util-linux")
}

#[test]
fn without_privileges_it_names_the_capabilities() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("nanosleep");
    let output = as_nobody(&["--pid", &specimen.pid().to_string(), "--duration", "1"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(CANNOT_OBSERVE), "{words}");
    for capability in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"] {
        assert!(words.contains(capability), "{capability} is not in {words}");
    }
    assert_eq!(words.lines().count(), 1, "{words}");
}

#[test]
fn without_privileges_doctor_names_what_is_missing() {
    let Some(_turn) = privileged() else { return };
    let output = as_nobody(&["doctor"]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(
        words.contains("CAP_BPF"),
        "{words}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_kernel_without_btf() {
    let Some(_turn) = privileged() else { return };
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    assert_refused_after(hide, &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
}

#[test]
fn a_kernel_whose_btf_is_damaged() {
    let Some(_turn) = privileged() else { return };
    let damage = "head -c 5000 /sys/kernel/btf/vmlinux > \"$PWD/cut\" && \
                  mount --bind \"$PWD/cut\" /sys/kernel/btf/vmlinux";
    assert_refused_after(damage, &["BTF"]);
}

#[test]
fn a_kernel_in_confidential_lockdown() {
    let Some(_turn) = privileged() else { return };
    let lock = "mount -t tmpfs none /sys/kernel/security && \
                echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    assert_refused_after(lock, &["lockdown", "confidentiality", "integrity"]);
}

#[test]
fn inside_a_pid_namespace() {
    let Some(_turn) = privileged() else { return };
    let inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    assert_refused_under(&inside, &["PID namespace", "--pid=host"]);
}

#[test]
fn inside_a_user_namespace() {
    let Some(_turn) = privileged() else { return };
    let inside = ["unshare", "--user", "--map-root-user"];
    assert_refused_under(&inside, &["user namespace"]);
}
