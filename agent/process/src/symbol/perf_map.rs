//! A reader of perf maps: lines of `START SIZE name`, numbers in hexadecimal.
//!
//! blazesym reads them too, but only through the pid of a living process, into memory, and one
//! malformed line (a run-time compiler is writing while we read) costs it the whole map. This one
//! streams, keeps only the names of the addresses asked for, and skips what it cannot read.
//! Addresses are used again when code is thrown away, so the last line that covers one wins.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Longer lines are malformed, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// Assignments of a name to an address: a hostile map of a million lines that cover everything
/// must end.
const MAX_ASSIGNMENTS: u64 = 50_000_000;

/// What a perf map says of the addresses that were asked for.
#[derive(Debug, Default)]
pub(super) struct JitNames {
    /// Raw names by address.
    pub by_address: HashMap<u64, Arc<str>>,
    /// Lines that could not be read.
    pub bad_lines: u64,
    /// The map was not read to its end: too long, or reading failed.
    pub cut: bool,
}

/// Looks up `addresses` in a map, of which at most `limit` bytes are read.
pub(super) fn look_up(file: &File, limit: u64, addresses: &[u64]) -> JitNames {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    let mut search = Search {
        names: vec![None; addresses.len()],
        addresses,
        assignments: 0,
        found: JitNames::default(),
    };
    let reader = BufReader::new(Positioned { file, position: 0 }.take(limit));
    search.found.cut = search.run(reader).unwrap_or(true);
    let named = search.addresses.into_iter().zip(search.names);
    search.found.by_address = named.filter_map(|(at, name)| Some((at, name?))).collect();
    search.found
}

struct Search {
    addresses: Vec<u64>,
    names: Vec<Option<Arc<str>>>,
    assignments: u64,
    found: JitNames,
}

impl Search {
    /// Reads to the end; `true` when it had to stop before.
    fn run(&mut self, mut reader: BufReader<io::Take<Positioned<'_>>>) -> io::Result<bool> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)?
                == 0
            {
                return Ok(reader.get_ref().limit() == 0);
            }
            if line.len() as u64 == MAX_LINE && line.last() != Some(&b'\n') {
                self.found.bad_lines += 1;
                reader.skip_until(b'\n')?;
                continue;
            }
            self.take(line.trim_ascii());
            if self.assignments > MAX_ASSIGNMENTS {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let Some((start, size, name)) = parse(line) else {
            self.found.bad_lines += 1;
            return;
        };
        // An entry without a size names its own address alone.
        let end = start.saturating_add(size.max(1));
        let first = self.addresses.partition_point(|address| *address < start);
        let behind = self.addresses.partition_point(|address| *address < end);
        if first < behind {
            let name: Arc<str> = String::from_utf8_lossy(name).into();
            self.names[first..behind].fill(Some(name));
            self.assignments += (behind - first) as u64;
        }
    }
}

fn parse(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (start, rest) = number(line)?;
    let (size, name) = number(rest)?;
    (!name.is_empty()).then_some((start, size, name))
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(u8::is_ascii_whitespace)?;
    let digits = text[..end].strip_prefix(b"0x").unwrap_or(&text[..end]);
    let value = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((value, text[end..].trim_ascii_start()))
}

/// Reads a file without moving the position of its handle, which others share.
struct Positioned<'a> {
    file: &'a File,
    position: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn map(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file
    }

    fn names(text: &[u8], addresses: &[u64]) -> JitNames {
        look_up(&map(text), 1 << 20, addresses)
    }

    #[test]
    fn the_last_entry_wins_and_ends_are_exclusive() {
        let found = names(
            b"1000 10 old\n2000 10 far\n1008 8 new name\n0x3000 0 point\n",
            &[0xfff, 0x1000, 0x1008, 0x100f, 0x1010, 0x3000, 0x3001],
        );
        let name = |at| found.by_address.get(&at).map(|name| &**name);
        assert_eq!(name(0xfff), None);
        assert_eq!(name(0x1000), Some("old"));
        assert_eq!(name(0x1008), Some("new name"));
        assert_eq!(name(0x100f), Some("new name"));
        assert_eq!(name(0x1010), None);
        assert_eq!((name(0x3000), name(0x3001)), (Some("point"), None));
        assert_eq!((found.bad_lines, found.cut), (0, false));
    }

    #[test]
    fn bad_lines_are_counted_and_skipped() {
        let long = format!("1000 10 {}\n", "x".repeat(2 * MAX_LINE as usize));
        let text = [
            b"zz 10 a\n1000\n1000 10\n\n",
            long.as_bytes(),
            b"1000 10 good",
        ]
        .concat();
        let found = names(&text, &[0x1001]);
        assert_eq!(found.by_address[&0x1001].as_ref(), "good");
        assert_eq!(found.bad_lines, 4);
    }

    #[test]
    fn a_map_over_the_limit_is_cut() {
        let found = look_up(&map(b"1000 10 a\n2000 10 b\n"), 10, &[0x1000, 0x2000]);
        assert!(found.cut);
        assert_eq!(found.by_address.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            names(&text, &[0, 1, u64::MAX]);
        }

        #[test]
        fn agrees_with_the_plain_definition(
            entries in proptest::collection::vec((0u64..64, 0u64..16), 0..30),
            addresses in proptest::collection::vec(0u64..80, 0..20),
        ) {
            let text: String = entries.iter().enumerate()
                .map(|(index, (start, size))| format!("{start:x} {size:x} f{index}\n"))
                .collect();
            let found = names(text.as_bytes(), &addresses);
            for address in addresses {
                let expected = entries.iter().rposition(|(start, size)| {
                    (*start..start + size.max(&1)).contains(&address)
                });
                let name = found.by_address.get(&address).map(|name| name.to_string());
                prop_assert_eq!(name, expected.map(|index| format!("f{index}")));
            }
        }
    }
}
