//! Where an address lies in a process: heap, a stack, a file's data.

use super::maps::line::{self, Line};
use super::proc_fs::speaker;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// Bytes of `/proc/PID/maps` that are read at the most: a process may have 65,530 mappings and more.
const LIMIT_BYTES: u64 = 16 << 20;

/// What lies at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In words: `heap`, `stack`, `anonymous memory`, `libfoo.so data`.
    pub words: String,
    /// Device, inode and offset of the byte in a file or shared memory; `None` of private memory.
    pub shared: Option<(u64, u64, u64)>,
}

/// The places of `addresses` in a process, in their order, `None` where nothing is mapped; no answer at
/// all when the mappings cannot be read: the process is gone, or hidden.
pub fn places(pid: u32, addresses: &[u64]) -> Option<Vec<Option<Place>>> {
    let lines = read(pid)?;
    let places = addresses.iter().map(|address| {
        let after = lines.partition_point(|line| line.start <= *address);
        let at = after.checked_sub(1)?;
        let line = lines.get(at)?;
        let before = at.checked_sub(1).and_then(|at| lines.get(at));
        (*address < line.end).then(|| place(line, before, *address))
    });
    Some(places.collect())
}

/// The mappings; `None` where none are readable: no living process has none.
fn read(pid: u32) -> Option<Vec<Line>> {
    let file = File::open(format!("/proc/{}/maps", speaker(pid))).ok()?;
    let lines: Vec<Line> = BufReader::new(file.take(LIMIT_BYTES))
        .split(b'\n')
        .map_while(Result::ok)
        .filter_map(|text| line::parse(&text))
        .collect();
    (!lines.is_empty()).then_some(lines)
}

/// `before`: the mapping below. A file's zeroed data has no name, and follows what has.
fn place(line: &Line, before: Option<&Line>, address: u64) -> Place {
    let is_file = |line: &&Line| line.path.is_absolute() && !line.shared;
    let follows = before
        .filter(|before| before.end == line.start)
        .filter(is_file);
    let name = line.path.to_string_lossy();
    let words = match name.as_ref() {
        "[heap]" => "heap".to_owned(),
        "[stack]" => "stack".to_owned(),
        "" => match follows {
            Some(file) => format!("{} data", file_name(&file.path)),
            None => "anonymous memory".to_owned(),
        },
        _ if name.starts_with('[') => name.trim_matches(['[', ']']).to_owned(),
        _ if line.shared => format!("shared memory {}", file_name(&line.path)),
        _ => format!("{} data", file_name(&line.path)),
    };
    Place {
        words: super::escape(words.as_bytes()),
        shared: (line.shared && line.inode != 0).then(|| {
            let offset = line.offset.wrapping_add(address - line.start);
            (line.device, line.inode, offset)
        }),
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_has_places() {
        let on_heap = Box::new(7_u64);
        let on_stack = 7_u64;
        static IN_DATA: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(7);
        let addresses = [
            &raw const *on_heap as u64,
            &raw const on_stack as u64,
            &raw const IN_DATA as u64,
            0,
        ];
        let found = places(std::process::id(), &addresses).expect("our own are readable");
        assert!(found[0].is_some() && found[1].is_some());
        let data = found[2].as_ref().expect("it is mapped");
        assert!(
            data.words.ends_with(" data") || data.words == "anonymous memory",
            "{data:?}"
        );
        assert_eq!(found[3], None);
    }

    #[test]
    fn what_cannot_be_read_is_not_unmapped() {
        assert_eq!(places(u32::MAX, &[0x1000]), None);
        assert_eq!(places(std::process::id(), &[0]), Some(vec![None]));
        let zombie = super::super::specimen::Running::new("true", &[]);
        zombie.await_death();
        assert_eq!(places(zombie.pid(), &[0x1000]), None, "it has no memory");
    }

    #[test]
    fn shared_memory_is_known_by_its_file() {
        let line =
            line::parse(b"7f00-8f00 rw-s 00001000 00:01 42  /dev/shm/ring (deleted)").unwrap();
        let found = place(&line, None, 0x7f10);
        assert_eq!(found.words, "shared memory ring");
        assert_eq!(found.shared, Some((1, 42, 0x1010)));
    }
}
