//! What the kernel prints of mappings, and what it never would.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Smaps {
    Smaps::parse(text.as_bytes()).expect("bytes do not fail")
}

fn mapping(heading: &str, rss: u64) -> String {
    format!("{heading}\nSize: 1 kB\nRss:   {rss} kB\nAnonymous:  {rss} kB\nVmFlags: rd wr\n")
}

#[test]
fn kinds_are_told_by_name_place_and_neighbours() {
    let lines = [
        ("5500-5600 r-xp 0 08:01 77 /usr/bin/x", MappingKind::File),
        ("5600-5700 rw-p 0 00:00 0 [heap]", MappingKind::Heap),
        (
            "7f0000000000-7f0000021000 rw-p 0 00:00 0 ",
            MappingKind::Arena,
        ),
        (
            "7f0000021000-7f0004000000 ---p 0 00:00 0 ",
            MappingKind::Anonymous,
        ),
        (
            "7f0100000000-7f0100021000 rw-p 0 00:00 0 ",
            MappingKind::Anonymous,
        ),
        (
            "7f0200001000-7f0200002000 ---p 0 00:00 0 ",
            MappingKind::Anonymous,
        ),
        (
            "7f0200002000-7f0200802000 rw-p 0 00:00 0 ",
            MappingKind::ThreadStack,
        ),
        (
            "7f0300000000-7f0300001000 rw-s 0 00:05 9 /dev/zero (deleted)",
            MappingKind::SharedMemory,
        ),
        (
            "7f0300001000-7f0300002000 rw-p 0 00:00 0 [anon:jemalloc]",
            MappingKind::Anonymous,
        ),
        (
            "7ffd00000000-7ffd00021000 rw-p 0 00:00 0 [stack]",
            MappingKind::Stack,
        ),
        (
            "7ffd00100000-7ffd00102000 r-xp 0 00:00 0 [vdso]",
            MappingKind::Special,
        ),
    ];
    let text: String = lines.iter().map(|(line, _)| mapping(line, 4)).collect();
    let kinds: Vec<_> = parse(&text).mappings.iter().map(|one| one.kind).collect();
    let expected: Vec<_> = lines.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, expected);
}

#[test]
fn private_copies_of_a_file_are_anonymous_and_huge_pages_add_up() {
    let text = "1000-9000 rw-p 0 08:01 5 /lib/a b.so\nRss: 32 kB\nAnonymous: 8 kB\nSwap: 4 kB\n\
                200000-600000 rw-p 0 00:00 0 \nRss: 4096 kB\nAnonymous: 4096 kB\nAnonHugePages: 2048 kB\n";
    let smaps = parse(text);
    assert_eq!(smaps.mappings[0].name, "/lib/a b.so");
    assert_eq!(smaps.huge_bytes(), 2 << 20);
    let resident = smaps.resident();
    assert_eq!(resident.anon_bytes, (8 + 4096) << 10);
    assert_eq!(
        (resident.file_bytes, resident.swap_bytes),
        (24 << 10, 4 << 10)
    );
}

#[test]
fn nonsense_is_passed_over() {
    for text in [
        "Rss: 4 kB\n",
        "2000-1000 rw-p 0 0:0 0\nRss: 4 kB\n",
        "zz-1 r\n\n\nRss\n",
        "1000-2000 rw-p 0 0:0 0\nRss: -4 kB\nRss: 99999999999999999999 kB\nRss: 4\n",
    ] {
        assert_eq!(parse(text).resident(), Resident::default(), "{text}");
    }
    let huge = "1000-2000 rw-p 0 0:0 0\nRss: 18014398509481983 kB\nRss: 18014398509481983 kB\n";
    assert!(parse(huge).resident().total_bytes() > 0);
}

#[test]
fn sixty_thousand_mappings_and_more_are_bounded() {
    let text: String = (1..=MAX_MAPPINGS as u64 + 10)
        .map(|at| {
            format!(
                "{:x}-{:x} rw-p 0 0:0 0 \nRss: 4 kB\n",
                at << 13,
                (at << 13) + 4096
            )
        })
        .collect();
    let smaps = parse(&text);
    assert_eq!(
        (smaps.mappings.len(), smaps.truncated),
        (MAX_MAPPINGS, true)
    );
}

#[test]
fn our_own_file_agrees_with_its_sum() {
    let pid = std::process::id();
    let smaps = Smaps::read(pid).expect("our own");
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("our own");
    let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let rss = kib(rss.expect("a line").as_bytes());
    let total = smaps.resident().total_bytes();
    assert!(total.abs_diff(rss) < rss / 5, "{total} {rss}");
    assert!(
        smaps
            .mappings
            .iter()
            .any(|one| one.kind == MappingKind::File)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Smaps::parse(bytes.as_slice());
    }

    #[test]
    fn any_lines_are_survived(lines in prop::collection::vec("[0-9a-f-]{1,20} [rwxps-]{1,5} [0-9: a-z/]{0,30}|[A-Z][a-z]{2,8}: +[0-9]{1,22} kB", 0..20)) {
        let smaps = parse(&lines.join("\n"));
        prop_assert!(smaps.mappings.iter().all(|one| one.start < one.end));
    }
}
