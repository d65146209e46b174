//! Names for people: of threads, of whoever woke them; safe to print whatever a process is called.

use super::proc_fs;

/// Names have 15 bytes, those of kernel workers up to 63 (`proc_task_name`, `fs/proc/array.c`).
const MAX_COMM_BYTES: u64 = 80;

/// Text from outside as one harmless line: control, formatting and invisible characters, `\` and
/// bytes that are no UTF-8 are escaped, so a name can neither drive a terminal nor look like
/// another. Different bytes give different text.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                // Harmless, though not within a Rust literal.
                '"' | '\'' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            text.extend(std::ascii::escape_default(*byte).map(char::from));
        }
    }
    text
}

/// Name of a thread of a process, escaped; `None`: it is gone, or hidden.
pub fn thread_name(pid: u32, tid: u32) -> Option<String> {
    comm(&format!("/proc/{pid}/task/{tid}/comm"))
}

/// Name of any process or thread on the host, by its id alone; escaped. `None`: it is gone, or
/// hidden. An id may have been given to another since it was seen: for a waker, not for a target.
pub fn name(id: u32) -> Option<String> {
    comm(&format!("/proc/{id}/comm"))
}

fn comm(path: &str) -> Option<String> {
    let bytes = proc_fs::read(path, MAX_COMM_BYTES).ok()?;
    Some(escape(bytes.strip_suffix(b"\n").unwrap_or(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in [
            "python3",
            "kworker/0:1-ev",
            "Web Content",
            "größe",
            "o'neil \"x\"",
            "",
        ] {
            assert_eq!(escape(name.as_bytes()), name);
        }
    }

    #[test]
    fn what_could_drive_a_terminal_is_escaped() {
        assert_eq!(escape(b"\x1b[2J\n\0"), "\\u{1b}[2J\\n\\0");
        assert_eq!(
            escape("a\u{202e}b\u{200b}".as_bytes()),
            "a\\u{202e}b\\u{200b}"
        );
        assert_eq!(escape(b"\xffz\xc3"), "\\xffz\\xc3");
        assert_eq!(escape(b"\\xff"), "\\\\xff");
    }

    #[test]
    fn a_thread_has_the_name_it_gave_itself() {
        let own = std::process::id();
        specimen::with_thread(|tid| {
            rustix::thread::set_name(c"its\nown name").unwrap();
            assert_eq!(thread_name(own, tid).unwrap(), "its\\nown name");
            assert_eq!(name(tid).unwrap(), "its\\nown name");
        });
        assert_eq!(thread_name(own, u32::MAX), None);
        assert_eq!(name(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn one_printable_line_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let text = escape(&bytes);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert!(text.len() <= 10 * bytes.len());
        }

        #[test]
        fn different_names_look_different(
            names in prop::collection::vec(prop::collection::vec(prop::sample::select(
                b"\\x\xff\xc3\xbcfu{}1b\x1b\n".to_vec()), 0..6), 2..40),
        ) {
            let mut seen: HashMap<String, Vec<u8>> = HashMap::new();
            for bytes in names {
                let first = seen.entry(escape(&bytes)).or_insert_with(|| bytes.clone());
                prop_assert_eq!(&*first, &bytes);
            }
        }
    }
}
