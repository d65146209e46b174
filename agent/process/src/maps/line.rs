//! Lines of `/proc/PID/maps`, as `show_map_vma` of `fs/proc/task_mmu.c` writes them:
//! `start-end perms offset major:minor inode  path`.
//!
//! The target chooses the path, so it may hold any byte; the kernel escapes only the newline.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mapping as the kernel prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Offset of `start` in the file, in bytes.
    pub offset: u64,
    /// Major number, shifted left by 32, and minor number of the file system's device.
    pub device: u64,
    /// Inode number, 0 without a file.
    pub inode: u64,
    /// Writes to it are seen by others.
    pub shared: bool,
    /// Path or pseudo-path, empty when there is none, without the mark of deletion.
    pub path: PathBuf,
    /// The kernel marked the file as deleted.
    pub deleted: bool,
}

/// Reads one line; `None` when it is malformed or the mapping is not executable.
pub(super) fn parse_executable(line: &[u8]) -> Option<Line> {
    let (_, rest) = field(line)?;
    let (permissions, _) = field(rest)?;
    if permissions.get(2) != Some(&b'x') {
        return None;
    }
    parse(line)
}

/// Reads one line; `None` when it is malformed.
pub(crate) fn parse(line: &[u8]) -> Option<Line> {
    let (range, rest) = field(line)?;
    let (permissions, rest) = field(rest)?;
    let (offset, rest) = field(rest)?;
    let (device, rest) = field(rest)?;
    let (inode, rest) = field(rest)?;
    let (start, end) = pair(range, '-')?;
    let (major, minor) = pair(device, ':')?;
    let (path, deleted) = split_path(rest);
    (start < end).then_some(Line {
        start,
        end,
        offset: hex(offset)?,
        device: major << 32 | minor,
        inode: text(inode)?.parse().ok()?,
        shared: permissions.get(3) == Some(&b's'),
        path,
        deleted,
    })
}

/// The next word and what follows it.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.trim_ascii_start();
    let end = bytes.iter().position(|byte| *byte == b' ');
    let (word, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    (!word.is_empty()).then_some((word, rest))
}

fn pair(bytes: &[u8], separator: char) -> Option<(u64, u64)> {
    let (left, right) = text(bytes)?.split_once(separator)?;
    Some((hex(left.as_bytes())?, hex(right.as_bytes())?))
}

fn hex(bytes: &[u8]) -> Option<u64> {
    u64::from_str_radix(text(bytes)?, 16).ok()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn split_path(bytes: &[u8]) -> (PathBuf, bool) {
    let path = bytes.trim_ascii_start();
    let path = path.strip_suffix(b"\n").unwrap_or(path);
    let (path, deleted) = match path.strip_suffix(b" (deleted)") {
        Some(path) => (path, true),
        None => (path, false),
    };
    (OsString::from_vec(unescape(path)).into(), deleted)
}

/// Undoes the kernel's `\012` for a newline.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(*first);
            rest = tail;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_mapping() {
        let line = b"7f1c2a000000-7f1c2a155000 r-xp 00026000 fe:01 1234567    /usr/lib/a b.so\n";
        let expected = Line {
            start: 0x7f1c_2a00_0000,
            end: 0x7f1c_2a15_5000,
            offset: 0x26000,
            device: 0xfe << 32 | 1,
            inode: 1_234_567,
            shared: false,
            path: "/usr/lib/a b.so".into(),
            deleted: false,
        };
        assert_eq!(parse_executable(line), Some(expected));
    }

    #[test]
    fn deleted_escaped_and_anonymous() {
        let line = parse_executable(b"1000-2000 r-xp 0 00:00 5 /a\\012b (deleted)").unwrap();
        assert!(line.deleted);
        assert_eq!(line.path, PathBuf::from("/a\nb"));
        let line = parse_executable(b"1000-2000 rwxp 00000000 00:00 0 \n").unwrap();
        assert_eq!(line.path, PathBuf::new());
    }

    #[test]
    fn data_and_nonsense_are_left_out() {
        for line in [
            "1000-2000 rw-p 0 0:0 0 /a",
            "2000-1000 r-xp 0 0:0 0 /a",
            "",
            "x",
            "1-2 r-xp",
        ] {
            assert_eq!(parse_executable(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_executable(&line);
        }
    }
}
