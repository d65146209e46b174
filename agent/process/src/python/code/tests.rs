//! Lines against the truth of each installed version, for all functions of its standard library;
//! code objects of a running process; damaged tables.

use super::lines::line;
use super::*;
use crate::python::find::find;
use crate::python::installed;
use crate::python::specimen::Specimen;
use proptest::prelude::*;
use std::process::Command;

/// Prints for each code object of the standard library: its first line, its table in hex, and the
/// lines of its instructions as the interpreter has them.
const TRUTH: &str = include_str!("truth.py");

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    let parse = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(parse).collect()
}

#[test]
fn lines_are_those_of_the_interpreter() {
    for installed in installed::all() {
        let format = match installed.version.minor {
            8 | 9 => LineFormat::Lnotab,
            10 => LineFormat::Pairs,
            _ => LineFormat::Locations,
        };
        let output = Command::new(&installed.program)
            .args(["-c", TRUTH])
            .output()
            .unwrap();
        let (mut codes, mut offsets) = (0, 0);
        for text in String::from_utf8(output.stdout).unwrap().lines() {
            let fields: Vec<&str> = text.split(' ').collect();
            let &[first_line, table, truth] = &fields[..] else {
                panic!("{text}");
            };
            let first_line = first_line.parse().unwrap();
            let table = bytes_of(table.trim_start_matches('x'));
            for place in truth.split(',') {
                let (offset, expected) = place.split_once(':').unwrap();
                let offset = offset.parse().unwrap();
                let found = line(format, &table, first_line, offset);
                let expected = (expected != "-").then(|| expected.parse().unwrap());
                assert_eq!(found, expected, "{} {text} at {offset}", installed.version);
                offsets += 1;
            }
            codes += 1;
        }
        assert!(offsets > 50_000, "{}: {offsets} offsets", installed.version);
        eprintln!(
            "{}: {offsets} lines of {codes} code objects agree",
            installed.version
        );
    }
}

const LIVE: &str = r#"
import sys
source = '''
class Класс:
    def größe(self):
        return lambda: [x for x in ()]
def 𠀀(): pass
def outer():
    def inner(): pass
    return inner
'''
def codes(code):
    yield code
    for const in code.co_consts:
        if hasattr(const, "co_code"):
            yield from codes(const)
module = compile(source + "def " + "long" * 300 + "(): pass", "pfad/ünï;x.py", "exec")
for code in codes(module):
    qualname = getattr(code, "co_qualname", code.co_name)
    print(id(code), id(code.co_name), code.co_firstlineno, qualname, sep="\t")
print("end", flush=True)
input()
"#;

#[test]
fn code_objects_of_a_process_are_read() {
    for installed in installed::all() {
        let mut specimen = Specimen::start(&installed, LIVE);
        let lines: Vec<String> = std::iter::repeat_with(|| specimen.line())
            .take_while(|line| line != "end")
            .collect();
        let memory = specimen.memory();
        let layout = find(&specimen.snapshot(), &memory).unwrap().layout;
        let mut resolver = Resolver::new(layout);
        assert!(lines.len() >= 8);
        for line in &lines {
            let fields: Vec<&str> = line.split('\t').collect();
            let frame = PythonFrame {
                code: fields[0].parse::<u64>().unwrap() | ENTRY_FRAME,
                instruction: u32::MAX,
                fingerprint: fingerprint(fields[1].parse().unwrap()),
            };
            let code = resolver.resolve(&memory, &frame).unwrap();
            let cut: String = fields[3].chars().take(MAX_NAME).collect();
            assert_eq!(
                code.qualname.trim_end_matches('…'),
                cut,
                "{}",
                installed.version
            );
            assert_eq!(&*code.filename, "pfad/ünï:x.py");
            assert_eq!(code.first_line.to_string(), fields[2]);
            assert_eq!(code.line(frame.instruction), Some(code.first_line));
            assert!(Arc::ptr_eq(
                &code,
                &resolver.resolve(&memory, &frame).unwrap()
            ));
        }
        let frame = PythonFrame {
            code: lines[0].split('\t').next().unwrap().parse().unwrap(),
            instruction: 0,
            fingerprint: 7,
        };
        assert_eq!(resolver.resolve(&memory, &frame), None);
        let gone = PythonFrame { code: 16, ..frame };
        assert_eq!(resolver.resolve(&memory, &gone), None);
        assert_eq!(resolver.resolve(&memory, &gone), None);
        let failures = resolver.failures();
        assert_eq!((failures.replaced, failures.unreadable), (1, 1));
    }
}

const FORMATS: [LineFormat; 3] = [LineFormat::Lnotab, LineFormat::Pairs, LineFormat::Locations];

proptest! {
    #[test]
    fn any_table_is_survived(
        table in proptest::collection::vec(any::<u8>(), 0..400),
        first_line in any::<i32>(),
        offset in any::<u32>(),
    ) {
        for format in FORMATS {
            let _ = line(format, &table, first_line, offset);
        }
    }

    #[test]
    fn a_long_number_is_survived(fill in 0x40_u8..0x80, count in 0usize..40) {
        let table = [&[0x80 | 14 << 3][..], &vec![fill; count], &[0x80, 0x80 | 14 << 3, fill]];
        let _ = line(LineFormat::Locations, &table.concat(), 1, 3);
    }
}
