//! Small dumps, written here; what real compilers write is tested with their processes.

use super::*;
use proptest::prelude::*;

/// A dump that grows record by record.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        let words = [MAGIC, 1, 40, 62, 0, 4711, 0, 0, 0, 0];
        Self(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    fn record(mut self, kind: u32, time: u64, body: &[u8]) -> Self {
        let size = HEAD as u32 + body.len() as u32;
        self.0
            .extend([kind, size].iter().flat_map(|word| word.to_ne_bytes()));
        self.0.extend(time.to_ne_bytes());
        self.0.extend(body);
        self
    }

    fn load(self, time: u64, index: u64, address: u64, size: u64, name: &str) -> Self {
        // Pids, and the address twice: as loaded, and as run.
        let words = [0, address, address, size, index];
        let head = words.iter().flat_map(|word| word.to_ne_bytes());
        let code = vec![0xcc; size as usize];
        let body: Vec<u8> = head.chain(name.bytes()).chain([0]).chain(code).collect();
        self.record(JIT_CODE_LOAD, time, &body)
    }

    fn moved(self, time: u64, index: u64, from: u64, to: u64, size: u64) -> Self {
        let words = [0, to, from, to, size, index];
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.record(JIT_CODE_MOVE, time, &body)
    }

    fn lines(self, address: u64, entries: &[(u64, u32, &[u8])]) -> Self {
        let head = [address, entries.len() as u64];
        let mut body: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
        for (address, line, path) in entries {
            body.extend(address.to_ne_bytes());
            body.extend([*line, 0].iter().flat_map(|word| word.to_ne_bytes()));
            body.extend_from_slice(path);
            body.push(0);
        }
        self.record(JIT_CODE_DEBUG_INFO, 0, &body)
    }

    fn ask(&self, addresses: &[u64]) -> Dump {
        let content = Content::Bytes(self.0.clone().into());
        look_up(&content, u64::MAX, addresses)
    }

    fn name(&self, address: u64) -> Option<String> {
        let mut dump = self.ask(&[address]);
        assert!(!dump.cut);
        dump.symbols
            .remove(&address)
            .map(|symbol| symbol.name.to_string())
    }

    fn place(&self, address: u64) -> Option<(String, u32)> {
        let place = self.ask(&[address]).symbols.remove(&address)?.place;
        place.map(|(path, line)| (path.to_string(), line))
    }
}

#[test]
fn the_latest_code_at_an_address_has_it() {
    let dump = Writer::new()
        .load(10, 1, 0x1000, 0x20, "old")
        .load(30, 2, 0x1010, 0x10, "latest")
        .load(20, 3, 0x1010, 0x10, "written late")
        .load(40, 4, 0x3000, 0, "empty")
        .record(77, 50, b"unknown kind");
    let name = |address| dump.name(address);
    assert_eq!(name(0xfff), None);
    assert_eq!(name(0x1000).as_deref(), Some("old"));
    assert_eq!(name(0x1010).as_deref(), Some("latest"));
    assert_eq!(name(0x101f).as_deref(), Some("latest"));
    assert_eq!(name(0x1020), None);
    assert_eq!(name(0x3000), None);
    assert_eq!(name(u64::MAX), None);
}

#[test]
fn code_keeps_its_name_and_lines_where_it_moves() {
    let dump = Writer::new()
        .lines(0x1000, &[(0x1000, 7, b"a.js"), (0x1008, 8, b"\xff")])
        .load(10, 1, 0x1000, 0x10, "moves")
        .moved(20, 1, 0x1000, 0x5000, 0x10)
        .load(30, 2, 0x1000, 0x10, "came after")
        .moved(40, 99, 0x1000, 0x9000, 0x10);
    assert_eq!(dump.name(0x5008).as_deref(), Some("moves"));
    assert_eq!(dump.place(0x5009), Some(("a.js".to_owned(), 8)));
    assert_eq!(dump.name(0x1008).as_deref(), Some("came after"));
    assert_eq!(dump.name(0x9000), None, "moved from nowhere");
}

#[test]
fn lines_are_those_of_the_entry_before() {
    let entries = [
        (0x1004, 10, &b"one.java"[..]),
        (0x1008, 11, b"\xff"),
        (0x1010, 5, b"two.java"),
    ];
    let dump = Writer::new()
        .lines(0x1000, &entries)
        .load(1, 1, 0x1000, 0x20, "int Fish.swim()")
        .load(2, 2, 0x2000, 0x20, "without lines");
    assert_eq!(dump.place(0x1000), None, "before the first entry");
    assert_eq!(dump.place(0x1004), Some(("one.java".to_owned(), 10)));
    assert_eq!(dump.place(0x100f), Some(("one.java".to_owned(), 11)));
    assert_eq!(dump.place(0x101f), Some(("two.java".to_owned(), 5)));
    assert_eq!(dump.place(0x2000), None);
    let both = dump.ask(&[0x1010, 0x1005]).symbols;
    let line = |address: u64| both[&address].place.as_ref().map(|(_, line)| *line);
    assert_eq!((line(0x1005), line(0x1010)), (Some(10), Some(5)));
}

#[test]
fn lines_of_other_code_are_not_taken() {
    let dump = Writer::new()
        .lines(0x7000, &[(0x7000, 1, b"other.js")])
        .load(1, 1, 0x1000, 0x20, "f");
    assert_eq!(dump.place(0x1000), None);
}

#[test]
fn lines_of_v8_lie_behind_a_header_that_is_not_there() {
    let dump = Writer::new()
        .lines(0x1000, &[(0x1040, 1, b"a.js"), (0x1050, 2, b"\xff")])
        .load(1, 1, 0x1000, 0x20, "JS:*work a.js:1:14");
    assert_eq!(dump.place(0x1000), Some(("a.js".to_owned(), 1)));
    assert_eq!(dump.place(0x1010), Some(("a.js".to_owned(), 2)));
}

#[test]
fn paths_that_v8_lost_are_those_of_the_name() {
    // As V8 writes them: of the right length, and anything but the path.
    let entries = [
        (0x1040, 1, &b"x\0\0\0"[..]),
        (0x1048, 2, b"\x91c\x02\xff"),
        (0x1050, 3, b"\0\0\0\0"),
    ];
    let lost = Writer::new().lines(0x1000, &entries);
    let named = |name: &str| Writer(lost.0.clone()).load(1, 1, 0x1000, 0x20, name);
    let dump = named("JS:*get work a.js:1:14");
    let place = |line| Some(("a.js".to_owned(), line));
    assert_eq!(dump.place(0x1000), place(1));
    assert_eq!(dump.place(0x1008), place(2));
    assert_eq!(dump.place(0x101f), place(3));
    for name in ["JS:*work longer.js:1:14", "JS:*work", "int Fish.swim()"] {
        let mut found = named(name).ask(&[0x1000]);
        let symbol = found.symbols.remove(&0x1000).unwrap();
        assert_eq!((&*symbol.name, symbol.place), (name, None));
        assert_eq!(found.damaged_lines, 1, "{name}");
    }
}

#[test]
fn a_dump_that_is_being_written_is_no_error() {
    let whole = Writer::new()
        .load(1, 1, 0x1000, 0x10, "first")
        .load(2, 2, 0x1000, 0x10, "second");
    // The last record loses its code, its name, its head.
    for lost in [1, 20, 40, 70] {
        let dump = Writer(whole.0[..whole.0.len() - lost].to_vec());
        assert_eq!(dump.name(0x1000).as_deref(), Some("first"), "{lost}");
    }
    assert_eq!(whole.name(0x1000).as_deref(), Some("second"));
}

#[test]
fn what_cannot_be_read_is_said() {
    let good = Writer::new().load(1, 1, 0x1000, 0x10, "first");
    let content = Content::Bytes(good.0.clone().into());
    let short = look_up(&content, 45, &[0x1000]);
    assert!(short.cut && short.symbols.is_empty());
    assert!(Writer(b"nonsense".to_vec()).ask(&[1]).cut);
    assert!(look_up(&Content::Missing, u64::MAX, &[1]).cut);
    let mut endless = good;
    endless.0.extend([0; 64]);
    let found = endless.ask(&[0x1000]);
    assert!(found.cut, "a record without a size");
    assert_eq!(
        &*found.symbols[&0x1000].name, "first",
        "what stood before it holds"
    );
}

proptest! {
    #[test]
    fn damage_is_survived(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..30),
        keep in any::<prop::sample::Index>(),
        address in 0u64..0x6000,
    ) {
        let mut dump = Writer::new()
            .lines(0x1000, &[(0x1000, 7, b"a.js"), (0x1008, 8, b"\xff")])
            .load(10, 1, 0x1000, 0x10, "JS:moves")
            .moved(20, 1, 0x1000, 0x5000, 0x10)
            .load(30, 2, 0x1000, 0x10, "came after");
        for (at, value) in damage {
            *at.get_mut(&mut dump.0) = value;
        }
        dump.0.truncate(keep.index(dump.0.len()) + 1);
        let found = dump.ask(&[address, 0x1000, 0x5008, 0, u64::MAX]);
        prop_assert!(found.symbols.len() <= 5);
    }
}
