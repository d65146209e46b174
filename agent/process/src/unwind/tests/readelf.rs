//! Comparison with `readelf --debug-dump=frames-interp` of binutils: an implementation that nobody
//! here wrote, row by row.

use super::{compile_file, kind};
use crate::unwind::Table;
use remora_common::unwind::{
    CFA_DEREF_FP, CFA_DEREF_SP, CFA_END, CFA_FP, CFA_NONE, CFA_PLT, CFA_SIGNAL, CFA_SP,
    CFA_UNSUPPORTED, Row, SAVED_FP, SAVED_FP_AT_FP,
};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A line of readelf's table: what it says of one address.
#[derive(Clone, Debug, Default)]
struct Line {
    start: u64,
    cfa: String,
    rbp: String,
    ra: String,
}

/// A common entry: whether it is of a signal trampoline, and its line.
#[derive(Clone, Debug, Default)]
struct Common {
    is_signal: bool,
    line: Line,
}

/// A function.
#[derive(Debug, Default)]
struct Function {
    start: u64,
    end: u64,
    common: u64,
    lines: Vec<Line>,
}

/// Common entries by offset, and functions, of the `.eh_frame` of a file.
fn readelf(path: &Path) -> Option<(HashMap<u64, Common>, Vec<Function>)> {
    let mut child = Command::new("readelf")
        .args(["-W", "-wNF"])
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let (mut commons, mut functions) = (HashMap::new(), Vec::<Function>::new());
    let (mut columns, mut common, mut wanted) = (Vec::new(), None, false);
    for line in BufReader::new(child.stdout.take()?).lines() {
        let line = line.ok()?;
        // A register that holds another is named twice: `r9 (r9)`.
        let words = line
            .split_ascii_whitespace()
            .filter(|word| !word.starts_with('('));
        let words: Vec<_> = words.collect();
        match *words {
            ["Contents", "of", "the", name, "section:"] => wanted = name == ".eh_frame",
            _ if !wanted => {}
            [offset, _, _, "CIE", augmentation, ..] => {
                let offset = u64::from_str_radix(offset, 16).unwrap();
                let is_signal = augmentation.contains('S');
                commons.insert(
                    offset,
                    Common {
                        is_signal,
                        ..Common::default()
                    },
                );
                common = Some(offset);
            }
            [_, _, _, "FDE", common_at, range] => {
                let (start, end) = range.strip_prefix("pc=").unwrap().split_once("..").unwrap();
                let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
                functions.push(Function {
                    start: number(start),
                    end: number(end),
                    common: number(common_at.strip_prefix("cie=").unwrap()),
                    lines: Vec::new(),
                });
                common = None;
            }
            ["LOC", ..] => columns = words.iter().map(|name| (*name).to_owned()).collect(),
            [first, ..] if words.len() == columns.len() && first.len() == 16 => {
                let value = |name: &str| {
                    let place = columns.iter().position(|column| column == name);
                    place.map_or("", |place| words[place]).to_owned()
                };
                let row = Line {
                    start: u64::from_str_radix(first, 16).unwrap(),
                    cfa: value("CFA"),
                    rbp: value("rbp"),
                    ra: value("ra"),
                };
                match common {
                    Some(at) => commons.get_mut(&at).unwrap().line = row,
                    None => functions.last_mut().unwrap().lines.push(row),
                }
            }
            _ => {}
        }
    }
    assert!(child.wait().unwrap().success());
    Some((commons, functions))
}

/// Words of `text` behind `prefix`, if they fit.
fn words<T: TryFrom<i64>>(text: &str, prefix: &str) -> Option<T> {
    let bytes: i64 = text.strip_prefix(prefix)?.parse().ok()?;
    (bytes % 8 == 0).then(|| T::try_from(bytes / 8).ok())?
}

/// Whether `row` says what readelf's line says.
fn agrees(line: &Line, row: Row) -> bool {
    if line.ra == "u" {
        return kind(row) == CFA_END;
    }
    let cfa = match line.cfa.as_bytes() {
        b"exp" if [CFA_PLT, CFA_DEREF_FP, CFA_DEREF_SP].contains(&kind(row)) => {
            Some((kind(row), row.cfa_offset))
        }
        _ if line.cfa.starts_with("rsp") => words(&line.cfa, "rsp").map(|words| (CFA_SP, words)),
        _ if line.cfa.starts_with("rbp") => words(&line.cfa, "rbp").map(|words| (CFA_FP, words)),
        _ => None,
    };
    let saved = match &*line.rbp {
        "" | "u" | "s" => Some((0, 0)),
        "exp" if row.rule & SAVED_FP_AT_FP != 0 => Some((SAVED_FP_AT_FP, row.fp_offset)),
        rule => words(rule, "c").map(|words| (SAVED_FP, words)),
    };
    match (cfa, saved, &*line.ra) {
        (Some((cfa, offset)), Some((saved, fp)), "c-8") => {
            (row.rule, row.cfa_offset, row.fp_offset) == (cfa | saved, offset, fp)
        }
        _ => row.rule == CFA_UNSUPPORTED,
    }
}

/// Compares a table with readelf; returns how many lines agreed.
fn compare(
    path: &Path,
    table: &Table,
    commons: &HashMap<u64, Common>,
    functions: &[Function],
) -> usize {
    let mut agreed = 0;
    let row = |address: u64| {
        table
            .row(u32::try_from(address - table.base).unwrap())
            .unwrap()
    };
    for function in functions
        .iter()
        .filter(|function| function.start >= table.base)
    {
        let common = &commons[&function.common];
        let first = Line {
            start: function.start,
            ..common.line.clone()
        };
        let lines = if function.lines.is_empty() {
            &vec![first]
        } else {
            &function.lines
        };
        let ends = lines
            .iter()
            .skip(1)
            .map(|line| line.start)
            .chain([function.end]);
        for (line, end) in lines
            .iter()
            .zip(ends)
            .filter(|(line, end)| line.start < *end)
        {
            for address in [line.start, end - 1] {
                let row = row(address);
                let same = if common.is_signal {
                    kind(row) == CFA_SIGNAL
                } else {
                    agrees(line, row)
                };
                assert!(
                    same,
                    "{} {address:#x}: {line:?} but {row:?}",
                    path.display()
                );
            }
            agreed += 1;
        }
    }
    agreed
}

/// Behind a function, where no other begins within an alignment, there is a hole.
fn holes(table: &Table, functions: &[Function]) -> usize {
    let mut starts: Vec<_> = functions.iter().map(|function| function.start).collect();
    starts.sort_unstable();
    let end = functions
        .iter()
        .map(|function| function.end)
        .max()
        .unwrap_or(0);
    let lonely = functions
        .iter()
        .map(|function| function.end)
        .filter(|address| {
            let next = starts[starts.partition_point(|start| start < address)..].first();
            next.is_none_or(|next| next - address > 32) && (*address == end || next.is_some())
        });
    let lonely: Vec<_> = lonely.collect();
    for address in &lonely {
        let inside = functions
            .iter()
            .any(|one| one.start < *address && *address < one.end);
        let row = table
            .row(u32::try_from(address - table.base).unwrap())
            .unwrap();
        assert!(inside || kind(row) == CFA_NONE, "{address:#x}: {row:?}");
    }
    lonely.len()
}

#[test]
fn tables_say_what_readelf_says() {
    let library = |name: &str| {
        let folders = ["/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib"];
        let paths = folders.iter().map(|folder| Path::new(folder).join(name));
        paths.into_iter().find(|path| path.exists())
    };
    let own = std::fs::read_link("/proc/self/exe").unwrap();
    let candidates = [
        Some(own),
        Some("/usr/bin/python3".into()),
        Some("/bin/ls".into()),
        library("libc.so.6"),
        library("libstdc++.so.6"),
        library("libcrypto.so.3"),
        library("ld-linux-x86-64.so.2"),
    ];
    if !cfg!(target_arch = "x86_64") {
        remora_testing::skip("the comparison reads x86-64's register names");
        return;
    }
    let mut agreed = 0;
    for path in candidates
        .into_iter()
        .flatten()
        .filter(|path| path.exists())
    {
        let Some((commons, functions)) = readelf(&path) else {
            remora_testing::skip("no readelf here (package binutils)");
            return;
        };
        let table = compile_file(&path);
        let lines = compare(&path, &table, &commons, &functions);
        let holes = holes(&table, &functions);
        println!("{}: {lines} lines agree, {holes} holes", path.display());
        agreed += lines;
    }
    assert!(agreed > 10_000, "only {agreed} lines were compared");
}
