//! Where each fact is read: one small total parser a source.

use super::Lockdown;
use remora_process::proc_fs;
use std::path::Path;

/// Mounts are listed one a line; `/proc` is among the first. More than this is not looked at.
const MAX_MOUNTS_BYTES: u64 = 1 << 20;
/// 16,384 CPUs and a line of interrupt counts.
const MAX_CPUS_BYTES: u64 = 4 << 20;
/// A number, or a few words.
const MAX_SETTING_BYTES: u64 = 256;

/// The effective capabilities of a `status` file.
pub(super) fn effective(status: &[u8]) -> Option<u64> {
    u64::from_str_radix(proc_fs::status_value(status, "CapEff")?, 16).ok()
}

/// The inode of one of our namespaces.
pub(super) fn namespace(kind: &str) -> Option<u64> {
    namespace_inode(&std::fs::read_link(format!("/proc/self/ns/{kind}")).ok()?)
}

/// Reads `pid:[4026531836]`, namespaces(7).
fn namespace_inode(link: &Path) -> Option<u64> {
    link.to_str()?
        .split_once(":[")?
        .1
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The lockdown in force.
pub(super) fn lockdown() -> Lockdown {
    text("/sys/kernel/security/lockdown").map_or(Lockdown::Unavailable, |text| lockdown_of(&text))
}

/// Reads `none [integrity] confidentiality`: the one in force stands in brackets.
fn lockdown_of(text: &str) -> Lockdown {
    match text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
    {
        Some(("none", _)) => Lockdown::None,
        Some(("integrity", _)) => Lockdown::Integrity,
        Some(("confidentiality", _)) => Lockdown::Confidentiality,
        _ => Lockdown::Unavailable,
    }
}

/// A number under `/proc/sys/kernel`.
pub(super) fn sysctl(name: &str) -> Option<i64> {
    text(&format!("/proc/sys/kernel/{name}"))?
        .trim()
        .parse()
        .ok()
}

/// CPUs that are online: those that `/proc/stat` counts for.
pub(super) fn cpus() -> usize {
    cpus_of(&proc_fs::read("/proc/stat", MAX_CPUS_BYTES).unwrap_or_default())
}

/// Counts `cpu0 …`, `cpu1 …`; the line `cpu  …` is their sum.
fn cpus_of(stat: &[u8]) -> usize {
    let lines = stat.split(|byte| *byte == b'\n');
    let numbers = lines.filter_map(|line| line.strip_prefix(b"cpu")?.first());
    numbers.filter(|byte| byte.is_ascii_digit()).count()
}

/// The `hidepid` option of `/proc`, unless it is off.
pub(super) fn hidepid() -> Option<String> {
    let mounts = proc_fs::read("/proc/self/mountinfo", MAX_MOUNTS_BYTES).ok()?;
    hidepid_of(&String::from_utf8_lossy(&mounts))
}

/// Reads it from the last mount on `/proc`, the one on top, proc_pid_mountinfo(5).
fn hidepid_of(mounts: &str) -> Option<String> {
    let on_proc = |line: &&str| line.split(' ').nth(4) == Some("/proc");
    let (_, filesystem) = mounts.lines().rfind(on_proc)?.split_once(" - ")?;
    let value = filesystem
        .split([' ', ','])
        .find_map(|option| option.strip_prefix("hidepid="))?;
    (!matches!(value, "0" | "off")).then(|| value.to_owned())
}

fn text(path: &str) -> Option<String> {
    String::from_utf8(proc_fs::read(path, MAX_SETTING_BYTES).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        assert_eq!(
            lockdown_of("[none] integrity confidentiality\n"),
            Lockdown::None
        );
        assert_eq!(
            lockdown_of("none [integrity] confidentiality\n"),
            Lockdown::Integrity
        );
        assert_eq!(
            lockdown_of("none integrity [confidentiality]\n"),
            Lockdown::Confidentiality
        );
        assert_eq!(
            lockdown_of("none integrity confidentiality\n"),
            Lockdown::Unavailable
        );
    }

    #[test]
    fn capabilities_are_hexadecimal() {
        assert_eq!(
            effective(b"CapPrm:\t3\nCapEff:\t000001fffeffffff\n"),
            Some(0x1ff_feff_ffff)
        );
        assert_eq!(effective(b"CapEff:\t\n"), None);
    }

    #[test]
    fn only_cpus_with_a_number_count() {
        assert_eq!(
            cpus_of(b"cpu  9 9\ncpu0 4 4\ncpu17 5 5\nintr 1\ncpufoo\n"),
            2
        );
    }

    #[test]
    fn hidepid_is_that_of_the_mount_on_top() {
        let open = "22 27 0:21 / /proc rw,relatime - proc proc rw\n";
        let hidden = "40 22 0:21 / /proc rw shared:1 - proc proc rw,gid=7,hidepid=invisible\n";
        let other = "41 22 0:30 / /x/proc rw - proc proc rw,hidepid=2\n";
        assert_eq!(
            hidepid_of(&[open, hidden, other].concat()).as_deref(),
            Some("invisible")
        );
        assert_eq!(hidepid_of(&[hidden, open, other].concat()), None);
        assert_eq!(
            hidepid_of("22 27 0:21 / /proc rw - proc proc rw,hidepid=off\n"),
            None
        );
    }

    #[test]
    fn a_new_pid_namespace_is_not_the_initial_one() {
        let mut inside = Command::new("unshare");
        inside.args(["--pid", "--fork", "readlink", "/proc/self/ns/pid"]);
        let output = inside.output().unwrap();
        if !output.status.success() {
            remora_testing::skip(String::from_utf8_lossy(&output.stderr).trim());
            return;
        }
        let link = String::from_utf8(output.stdout).unwrap();
        let inode = namespace_inode(Path::new(link.trim())).unwrap();
        assert_ne!(inode, super::super::INITIAL_PID_NAMESPACE);
        assert_ne!(Some(inode), namespace("pid"));
    }

    #[test]
    fn namespaces_are_numbers_in_brackets() {
        assert_eq!(
            namespace_inode(Path::new("pid:[4026531836]")),
            Some(0xEFFF_FFFC)
        );
        assert_eq!(
            namespace_inode(Path::new("user:[4026531837]")),
            Some(0xEFFF_FFFD)
        );
        assert_eq!(namespace_inode(Path::new("pid:[]")), None);
        assert_eq!(namespace("nonsense"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in ".{0,200}", mounts in "[0-9/a-z= ,\n-]{0,200}") {
            let _ = lockdown_of(&text);
            let _ = namespace_inode(Path::new(&text));
            let _ = effective(text.as_bytes());
            let _ = cpus_of(text.as_bytes());
            let _ = hidepid_of(&mounts);
        }
    }
}
