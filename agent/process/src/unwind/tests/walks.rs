//! Walks of stacks: made by hand, and of a living process.

use crate::maps::{Files, Mapping, Snapshot};
use crate::memory::{Memory, ProcessMemory};
use crate::unwind::{Limits, Table, compile, walk};
use remora_common::unwind::{
    CFA_END, CFA_FP, CFA_NONE, CFA_SIGNAL, CFA_SP, CFA_SP_FAR, EXACT, MAX_USER_FRAMES, Machine,
    Outcome, Registers, Row, SAVED_FP, SAVED_RA,
};
use std::collections::HashMap;

/// Words at addresses.
struct Words(HashMap<u64, u64>);

impl Words {
    fn of(words: &[(u64, u64)]) -> Self {
        Self(words.iter().copied().collect())
    }
}

impl Memory for Words {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        for (place, bytes) in buffer.chunks_exact_mut(8).enumerate() {
            let word = self.0.get(&(address + place as u64 * 8))?;
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Some(())
    }
}

fn row(rule: u8, cfa_offset: i16, fp_offset: i8) -> Option<Row> {
    Some(Row {
        pc: 0,
        cfa_offset,
        fp_offset,
        rule,
    })
}

fn registers(ip: u64, sp: u64, fp: u64) -> Registers {
    Registers { ip, sp, fp, lr: 0 }
}

#[test]
fn a_chain_without_frame_pointers_ends_at_the_start() {
    let memory = Words::of(&[(0x10, 0), (0x18, 0x200), (0x20, 7), (0x28, 0x300)]);
    let rows = |address| match address {
        0x100 => row(CFA_SP, 2, 0),
        0x1ff => row(CFA_SP | SAVED_FP, 2, -2),
        0x2ff => row(CFA_END, 0, 0),
        _ => None,
    };
    let walked = walk(Machine::X86_64, registers(0x100, 0x10, 0), &memory, rows);
    assert_eq!(walked, (vec![0x100, 0x200, 0x300], Outcome::Complete));
}

#[test]
fn a_caller_is_looked_up_in_its_call_and_an_interrupted_frame_where_it_stands() {
    // A handler, its trampoline, and a leaf that the signal interrupted at its first instruction.
    let frame = 0x1000;
    let memory = Words::of(&[
        (frame - 16, 0),
        (frame - 8, 0x200),
        (frame + 120, 0x77),
        (frame + 128, 0),
        (frame + 160, 0x5000),
        (frame + 168, 0x300),
        (0x4ff8, 0),
        (0x5000, 0x400),
    ]);
    let mut asked = Vec::new();
    let rows = |address| {
        asked.push(address);
        match address {
            0x100 | 0x300 => row(CFA_SP, 1, 0),
            0x1ff => row(CFA_SIGNAL, 0, 0),
            0x3ff => row(CFA_END, 0, 0),
            _ => None,
        }
    };
    let walked = walk(
        Machine::X86_64,
        registers(0x100, frame - 8, 0),
        &memory,
        rows,
    );
    // The trampoline and what was interrupted are no return addresses.
    let frames = vec![0x100, 0x200 | EXACT, 0x300 | EXACT, 0x400];
    assert_eq!(walked, (frames, Outcome::Complete));
    assert_eq!(asked, [0x100, 0x1ff, 0x300, 0x3ff]);
}

#[test]
fn arm64_takes_the_link_register_in_a_leaf_alone() {
    let memory = Words::of(&[(0x18, 0x1234_0000_0000_0300)]);
    let rows = |address| match address {
        0x100 => row(CFA_SP, 0, 0),
        0x1ff => row(CFA_SP | SAVED_RA, 2, -1),
        0x2ff => row(CFA_SP, 0, 0),
        _ => None,
    };
    let leaf = Registers {
        ip: 0x100,
        sp: 0x10,
        fp: 0,
        lr: 0x200,
    };
    let walked = walk(Machine::ARM64, leaf, &memory, rows);
    assert_eq!(walked, (vec![0x100, 0x200, 0x300], Outcome::Broken));
}

#[test]
fn each_way_to_fail_has_its_outcome() {
    let memory = Words::of(&[(0x10, 0), (0x18, 0x200), (0x20, 0x20), (0x28, 0x100)]);
    let from = |sp, fp, rule: fn(u64) -> Option<Row>| {
        walk(Machine::X86_64, registers(0x100, sp, fp), &memory, rule)
    };
    assert_eq!(from(0x10, 0, |_| None), (vec![0x100], Outcome::Broken));
    let lost = |address| (address == 0x100).then(|| row(CFA_SP, 2, 0)).flatten();
    assert_eq!(from(0x10, 0, lost), (vec![0x100], Outcome::Broken));
    let unreadable = (vec![0x100], Outcome::StackUnreadable);
    assert_eq!(from(0x9000, 0, |_| row(CFA_SP, 2, 0)), unreadable);
    assert_eq!(
        from(0x10, 0, |_| row(15, 2, 0)),
        (vec![0x100], Outcome::Unsupported)
    );
    assert_eq!(from(0x20, 0x10, |_| row(CFA_FP, 2, 0)).1, Outcome::Broken);
    assert_eq!(from(0x10, 0x11, |_| row(CFA_NONE, 0, 0)).1, Outcome::NoRow);
    let end = from(0x10, 0, |_| row(CFA_NONE, 0, 0)).1;
    assert_eq!(end, Outcome::FramePointers, "zero by nature or by chance");
}

#[test]
fn a_frame_of_megabytes_is_stepped_over() {
    // 2 MiB and 8 bytes above lies the return address, six words below it the frame pointer, by
    // which the caller's frame is found.
    let cfa = 0x10_0000 + (2 << 20) + 8;
    let fp = cfa + 0x100;
    let memory = Words::of(&[
        (cfa - 16, 0),
        (cfa - 8, 0x200),
        (cfa - 48, fp),
        (fp, 0),
        (fp + 8, 0x300),
    ]);
    let words: u32 = (2 << 20) / 8 + 1;
    let far = Row {
        pc: 0,
        cfa_offset: (words as u16).cast_signed(),
        fp_offset: ((words >> 16) as u8 | (6 << 4)).cast_signed(),
        rule: CFA_SP_FAR | SAVED_FP,
    };
    let rows = |address| match address {
        0x100 => Some(far),
        0x1ff => row(CFA_FP, 2, 0),
        _ => row(CFA_END, 0, 0),
    };
    let begin = registers(0x100, 0x10_0000, 0);
    let walked = walk(Machine::X86_64, begin, &memory, rows);
    assert_eq!(walked, (vec![0x100, 0x200, 0x300], Outcome::Complete));
}

/// Memory where each word is the same.
struct Same;

impl Memory for Same {
    fn read(&self, _: u64, buffer: &mut [u8]) -> Option<()> {
        buffer.fill(1);
        Some(())
    }
}

#[test]
fn an_endless_stack_is_cut() {
    for rule in [CFA_SP, CFA_SIGNAL] {
        let begin = registers(0x100, 0x10, 0);
        let (frames, outcome) = walk(Machine::X86_64, begin, &Same, |_| row(rule, 2, 0));
        assert_eq!(
            (frames.len(), outcome),
            (MAX_USER_FRAMES, Outcome::Truncated)
        );
    }
}

/// Finds rows in the tables of a process's files, made when they are first asked for.
struct Tables(HashMap<usize, Option<Table>>);

impl Tables {
    fn row(&mut self, mapping: &Mapping, address: u64) -> Option<Row> {
        let module = mapping.module.as_ref()?;
        let key = std::sync::Arc::as_ptr(module).addr();
        let made = || compile(&module.content, &Limits::default()).ok();
        let table = self.0.entry(key).or_insert_with(made).as_ref()?;
        let len = mapping.end - mapping.start;
        let bias = table.bias(mapping.start, len, mapping.offset)?;
        table.row(u32::try_from(address.wrapping_sub(bias)).ok()?)
    }
}

/// Stack pointer and instruction pointer of a blocked process: the last words of
/// `/proc/PID/syscall`.
fn blocked_at(pid: u32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = text.split_ascii_whitespace().rev();
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let ip = number()?;
    Some((number()?, ip))
}

#[test]
fn a_sleeping_program_is_walked_to_its_start() {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let pid = child.id();
    let in_sleep = |_: &u32| {
        let path = format!("/proc/{pid}/syscall");
        // clock_nanosleep
        std::fs::read_to_string(path).is_ok_and(|text| text.starts_with("230 "))
    };
    let pause = std::time::Duration::from_millis(20);
    let asleep = (0..250)
        .inspect(|_| std::thread::sleep(pause))
        .any(|at| in_sleep(&at));
    let walked = asleep.then(|| {
        let maps = Snapshot::read(pid, 0, &mut Files::default()).unwrap();
        let memory = ProcessMemory::open(pid).unwrap();
        let (sp, ip) = blocked_at(pid).unwrap();
        let mut tables = Tables(HashMap::new());
        let rows = |address| tables.row(maps.find(address)?, address);
        let walked = walk(Machine::X86_64, registers(ip, sp, 0), &memory, rows);
        let names = walked.0.iter().map(|ip| maps.find(ip - 1)?.module.clone());
        let names: Vec<_> = names.map(|module| module.unwrap().name.clone()).collect();
        (names, walked.1)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let Some((names, outcome)) = walked else {
        remora_testing::skip("/proc/PID/syscall does not show the sleep (x86-64, ptrace access)");
        return;
    };
    assert_eq!(outcome, Outcome::Complete, "{names:?}");
    assert!(names.len() >= 5, "{names:?}");
    assert!(
        names[0].contains("libc") && names[names.len() - 1].ends_with("sleep"),
        "{names:?}"
    );
}
