//! What was not there in time becomes a loss and a note of the capture.

use remora_model::{Capture, Unanswered};
use remora_process::deadline::{GivenUp, Subject};
use remora_process::{escape, proc_fs};

/// Bytes of the list of mounts that are read.
const MAX_MOUNTS_BYTES: u64 = 1 << 20;

/// Notes all that was given up.
pub(crate) fn note(capture: &mut Capture, given_up: Vec<GivenUp>) {
    if given_up.is_empty() {
        return;
    }
    // The kernel makes this list without asking the file systems in it.
    let mounts = proc_fs::read("/proc/self/mountinfo", MAX_MOUNTS_BYTES).unwrap_or_default();
    let mounts = String::from_utf8_lossy(&mounts);
    for GivenUp { step, about, count } in given_up {
        capture.losses.add(step.loss(), count);
        capture.unanswered.push(Unanswered {
            missing: step.missing().to_owned(),
            of: name(capture, about, &mounts),
            count,
        });
    }
}

/// A subject as an operator knows it: a process with its name, a file system by where it is mounted.
fn name(capture: &Capture, about: Subject, mounts: &str) -> String {
    match about {
        Subject::Process(pid) => {
            let process = capture.processes.iter().find(|process| process.pid == pid);
            process.map_or_else(|| about.to_string(), |it| format!("{} ({pid})", it.comm))
        }
        Subject::Device(device) => {
            let place = mount_point(device, mounts);
            place.map_or_else(|| about.to_string(), |place| format!("file system {place}"))
        }
        Subject::Host => about.to_string(),
    }
}

/// Where a device is mounted: fields 3 and 5 of a line, proc_pid_mountinfo(5).
fn mount_point(device: u64, mounts: &str) -> Option<String> {
    let number = format!("{}:{}", device >> 32, device & 0xffff_ffff);
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.nth(2)? == number).then(|| fields.nth(1).map(|place| escape(place.as_bytes())))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::fixture::Builder;
    use remora_process::deadline::Step;

    const MOUNTS: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        40 22 0:57 / /mnt/feed\\040x ro - fuse.feed feed rw\n";

    #[test]
    fn a_file_system_is_named_by_where_it_is_mounted() {
        assert_eq!(
            mount_point(57, MOUNTS).as_deref(),
            Some("/mnt/feed\\\\040x")
        );
        assert_eq!(mount_point(58, MOUNTS), None);
        assert_eq!(mount_point(57, "x\n 0:57"), None);
    }

    #[test]
    fn what_was_given_up_is_a_loss_and_a_note() {
        let mut capture = Builder::new(7, "feed").finish();
        let given_up = GivenUp {
            step: Step::Mappings,
            about: Subject::Process(7),
            count: 2,
        };
        note(&mut capture, vec![given_up]);
        let lost = capture.losses.non_zero();
        let lost: Vec<_> = lost.map(|(loss, count)| (loss.key(), count)).collect();
        assert_eq!(lost, [("gave_up_mappings", 2)]);
        assert_eq!(capture.unanswered[0].of, "feed (7)");
        assert_eq!(capture.unanswered[0].missing, "memory map");
    }
}
