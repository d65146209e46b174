//! The end of the process, whatever its threads hang in.
//!
//! A thread that waits in the kernel where not even SIGKILL ends the wait (for a page of a dead file system, say) keeps
//! the process in the list of processes, and with it all that its descriptors hold: programs would stay attached. So
//! what holds them is let go first.

use remora_process::deadline;
use std::{fs::File, os::fd::AsRawFd};
use syscalls::{Sysno, syscall};

/// Ends the process now: no destructor runs, nothing is flushed.
pub(super) fn at_once(code: i32) -> ! {
    let_go_of_descriptors();
    let_go_of_mappings();
    signal_hook::low_level::exit(code)
}

/// Ends a process that was forked: what follows in the program is its parent's.
#[expect(clippy::exit, reason = "there is no main to return to")]
pub(super) fn as_usual(code: u8) -> ! {
    std::process::exit(code.into())
}

/// The same, if a thread hangs; else the caller ends the process as usual.
pub(super) fn if_something_hangs(code: u8) {
    if deadline::anything_hangs() {
        at_once(code.into());
    }
}

/// Puts `/dev/null` in the place of each descriptor of programs, maps, links and performance events. The numbers stay
/// taken, so that a thread which closes one closes nobody else's.
fn let_go_of_descriptors() {
    let (Ok(null), Ok(entries)) = (File::open("/dev/null"), std::fs::read_dir("/proc/self/fd"))
    else {
        return;
    };
    let mut held: Vec<(bool, i32)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let link = std::fs::read_link(entry.path()).ok()?;
            is_of_the_kernel(link.to_str()?).then(|| (is_probe(number), number))
        })
        .collect();
    // Probes last: each waits until no CPU can be in it, and what waits must not keep the rest attached.
    held.sort_unstable();
    for (_, number) in held {
        // SAFETY: the process ends in a moment, and reads of these descriptors may find nothing.
        let _replaced = unsafe { syscall!(Sysno::dup3, null.as_raw_fd(), number, 0) };
    }
}

/// Whether a descriptor is the link of a program to a performance event, as those of probes in user code are.
fn is_probe(number: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
    info.is_ok_and(|info| info.lines().any(is_link_to_an_event))
}

fn is_link_to_an_event(line: &str) -> bool {
    line.strip_prefix("link_type:")
        .is_some_and(|kind| kind.trim() == "perf")
}

/// Puts empty memory in the place of mapped tables, so that a thread which still reads one finds zeros.
fn let_go_of_mappings() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, bytes) in maps.lines().filter_map(mapped_table) {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
        );
        // SAFETY: the process ends in a moment; what stood there is never written by it, and read with suspicion.
        let _replaced =
            unsafe { syscall!(Sysno::mmap, start, bytes, protection, flags, usize::MAX, 0) };
    }
}

/// Start and length of a mapped table, from a line of `/proc/self/maps`.
fn mapped_table(line: &str) -> Option<(usize, usize)> {
    if !line.ends_with("anon_inode:bpf-map") {
        return None;
    }
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let bytes = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    Some((start, bytes))
}

/// Whether a descriptor keeps programs attached.
fn is_of_the_kernel(link: &str) -> bool {
    let kind = link.strip_prefix("anon_inode:").unwrap_or_default();
    kind.starts_with("bpf") || kind == "[perf_event]"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_table_is_told_from_other_memory() {
        let line = "7f00-9f00 rw-s 00000000 00:0e 7    anon_inode:bpf-map";
        assert_eq!(mapped_table(line), Some((0x7f00, 0x2000)));
        assert_eq!(mapped_table("7f00-9f00 rw-p 0 00:0e 7 [heap]"), None);
        assert_eq!(mapped_table("x anon_inode:bpf-map"), None);
        assert_eq!(mapped_table(""), None);
    }

    #[test]
    fn a_link_to_an_event_is_told_from_other_links() {
        assert!(is_link_to_an_event("link_type:\tperf"));
        assert!(!is_link_to_an_event("link_type:\traw_tracepoint"));
        assert!(!is_link_to_an_event("perf"));
    }

    #[test]
    fn what_keeps_programs_attached_is_known_by_its_link() {
        for link in [
            "anon_inode:bpf-prog",
            "anon_inode:bpf-map",
            "anon_inode:bpf_link",
        ] {
            assert!(is_of_the_kernel(link), "{link}");
        }
        assert!(is_of_the_kernel("anon_inode:[perf_event]"));
        for link in [
            "anon_inode:[eventpoll]",
            "/dev/null",
            "pipe:[1]",
            "/x/bpf-prog",
        ] {
            assert!(!is_of_the_kernel(link), "{link}");
        }
    }
}
