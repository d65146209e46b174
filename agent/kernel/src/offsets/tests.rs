//! Offsets of both architectures, from BTF that was built by hand.

use super::*;
use crate::btf::writer::{FieldSpec, Writer};
use remora_common::config::ABSENT;

/// A task as a kernel since 5.14 has it, with everything that is read.
const TASK: &[(&str, u32)] = &[
    ("__state", 24),
    ("stack", 32),
    ("on_cpu", 52),
    ("prio", 60),
    ("pid", 1448),
    ("tgid", 1452),
    ("group_leader", 1512),
    ("start_boottime", 1640),
    ("pagefault_disabled", 1700),
    ("comm", 1808),
    ("files", 1848),
];

/// Writes the structures outside the task, as x86-64 has them on 6.18.
fn write_files(w: &mut Writer, word: u32) {
    w.structure("files_struct", 704, &[("fdt", word, 32 * 8, 0)]);
    w.structure(
        "fdtable",
        56,
        &[("max_fds", word, 0, 0), ("fd", word, 8 * 8, 0)],
    );
    w.structure("file", 176, &[("f_inode", word, 32 * 8, 0)]);
    w.structure("inode", 600, &[("i_mode", word, 0, 0)]);
}

fn write_task(w: &mut Writer, word: u32, without: &[&str]) {
    let entity = w.structure(
        "sched_entity",
        256,
        &[
            ("exec_start", word, 64 * 8, 0),
            ("nr_migrations", word, 88 * 8, 0),
            ("sum_exec_runtime", word, 72 * 8, 0),
            ("prev_sum_exec_runtime", word, 80 * 8, 0),
            ("cfs_rq", word, 136 * 8, 0),
        ],
    );
    let info = w.structure("sched_info", 32, &[("last_arrival", word, 16 * 8, 0)]);
    w.structure("cfs_rq", 512, &[("rq", word, 320 * 8, 0)]);
    w.structure(
        "rq",
        4096,
        &[
            ("clock", word, 2600 * 8, 0),
            ("clock_task", word, 2624 * 8, 0),
        ],
    );
    let mut fields: Vec<FieldSpec<'_>> = TASK
        .iter()
        .filter(|(name, _)| !without.contains(name))
        .map(|(name, byte)| (*name, word, byte * 8, 0))
        .collect();
    fields.push(("se", entity, 128 * 8, 0));
    let restart = w.structure("restart_block", 56, &[("fn", word, 8 * 8, 0)]);
    fields.push(("restart_block", restart, 1200 * 8, 0));
    fields.push(("sched_info", info, 1100 * 8, 0));
    // What each architecture calls the thread's TLS base.
    let user = w.structure("", 16, &[("tp_value", word, 0, 0)]);
    let thread = w.structure(
        "thread_struct",
        200,
        &[("fsbase", word, 40 * 8, 0), ("uw", user, 104 * 8, 0)],
    );
    fields.push(("thread", thread, 4096 * 8, 0));
    if !without.contains(&"in_iowait") {
        fields.push(("in_iowait", word, 1193 * 8 + 2, 1));
    }
    w.structure("task_struct", 9000, &fields);
}

fn write_x86_registers(w: &mut Writer, word: u32) {
    let names = [
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si",
        "di", "orig_ax", "ip",
    ];
    let mut fields: Vec<FieldSpec<'_>> = names
        .iter()
        .zip(0..)
        .map(|(name, index)| (*name, word, index * 64, 0))
        .collect();
    // Since 6.9 `cs` shares its place with the state that FRED keeps there.
    let selector = w.structure("", 8, &[("cs", word, 0, 0)]);
    fields.extend([("", selector, 17 * 64, 0), ("sp", word, 19 * 64, 0)]);
    w.structure("pt_regs", 168, &fields);
}

fn write_arm_registers(w: &mut Writer, word: u32) {
    let user = w.structure("user_pt_regs", 272, &[("regs", word, 0, 0)]);
    let plain = w.structure(
        "",
        272,
        &[
            ("regs", word, 0, 0),
            ("sp", word, 248 * 8, 0),
            ("pc", word, 256 * 8, 0),
            ("pstate", word, 264 * 8, 0),
        ],
    );
    let either = w.structure("", 272, &[("user_regs", user, 0, 0), ("", plain, 0, 0)]);
    w.structure(
        "pt_regs",
        336,
        &[("", either, 0, 0), ("syscallno", word, 280 * 8, 0)],
    );
}

fn look_up(arch: Arch, without: &[&str]) -> (Offsets, Vec<Absent>) {
    let mut w = Writer::new();
    let word = w.int("long", 8);
    write_files(&mut w, word);
    write_task(&mut w, word, without);
    match arch {
        Arch::X86_64 => write_x86_registers(&mut w, word),
        Arch::Aarch64 => write_arm_registers(&mut w, word),
    }
    let blob = w.finish();
    offsets(&Btf::parse(&blob).unwrap(), arch)
}

#[test]
fn everything_is_found_on_x86_64() {
    let (found, absent) = look_up(Arch::X86_64, &[]);
    assert_eq!(absent, []);
    let expected = Offsets {
        task_pid: 1448,
        task_tgid: 1452,
        task_state: 24,
        task_comm: 1808,
        task_files: 1848,
        task_stack: 32,
        task_on_cpu: 52,
        task_exec_start: 192,
        task_run_time: 200,
        task_run_time_before: 208,
        task_prio: 60,
        task_last_arrival: 1116,
        task_migrations: 216,
        task_cfs_rq: 264,
        cfs_rq_rq: 320,
        rq_clock: 2600,
        rq_clock_task: 2624,
        task_group_leader: 1512,
        task_start_boottime: 1640,
        task_in_iowait: 1193,
        task_in_iowait_mask: 0b100,
        files_fdt: 32,
        fdtable_fd: 8,
        fdtable_max_fds: 0,
        file_inode: 32,
        inode_mode: 0,
        regs_syscall: 120,
        regs_args: [112, 104, 96, 56, 72, 64],
        regs_ip: 128,
        regs_sp: 152,
        regs_fp: 32,
        regs_mode: 136,
        regs_lr: ABSENT,
        task_tls: 4096 + 40,
        task_pagefault_disabled: 1700,
        task_restart: 1200 + 8,
    };
    assert_eq!(
        bytemuck::bytes_of(&found),
        bytemuck::bytes_of(&expected),
        "{found:?}"
    );
}

#[test]
fn everything_is_found_on_arm64() {
    let (found, absent) = look_up(Arch::Aarch64, &[]);
    assert_eq!(absent, []);
    assert_eq!(found.regs_syscall, 280);
    assert_eq!(found.regs_args, [0, 8, 16, 24, 32, 40]);
    assert_eq!((found.regs_lr, found.task_tls), (240, 4096 + 104));
    assert_eq!(
        (found.regs_fp, found.regs_sp, found.regs_ip),
        (232, 248, 256)
    );
    assert_eq!(found.regs_mode, 264);
    assert_eq!(found.task_pid, 1448);
}

#[test]
fn what_is_absent_says_what_it_costs() {
    let (found, absent) = look_up(Arch::X86_64, &["in_iowait", "files"]);
    assert_eq!((found.task_files, found.task_in_iowait), (ABSENT, ABSENT));
    assert_eq!(found.task_in_iowait_mask, 0);
    let told: Vec<_> = absent
        .iter()
        .map(|it| (it.member.as_str(), it.cost, it.fatal))
        .collect();
    assert_eq!(
        told,
        [
            ("task_struct.files", COST_FILE, false),
            (
                "task_struct.in_iowait",
                "disk waits are told from the system call only",
                false
            ),
        ]
    );
}

#[test]
fn identity_and_state_are_fatal() {
    let (_, absent) = look_up(Arch::Aarch64, &["pid", "tgid", "__state", "stack"]);
    let fatal: Vec<_> = absent
        .iter()
        .filter(|it| it.fatal)
        .map(|it| &*it.member)
        .collect();
    assert_eq!(
        fatal,
        ["task_struct.pid", "task_struct.tgid", "task_struct.__state"]
    );
    assert_eq!(absent.len(), 4);
}

#[test]
fn the_registers_of_the_other_architecture_are_absent_by_name() {
    let mut w = Writer::new();
    let word = w.int("long", 8);
    write_arm_registers(&mut w, word);
    let blob = w.finish();
    let (found, absent) = offsets(&Btf::parse(&blob).unwrap(), Arch::X86_64);
    assert_eq!(found.regs_syscall, ABSENT);
    assert_eq!(found.regs_sp, 248, "the one name that both have");
    assert!(
        absent
            .iter()
            .any(|it| it.member == "pt_regs.orig_ax" && it.cost == COST_SYSCALL)
    );
    assert_eq!(
        absent
            .iter()
            .filter(|it| it.member.starts_with("task_struct."))
            .count(),
        20
    );
}

#[test]
fn the_state_has_an_older_name() {
    let mut w = Writer::new();
    let word = w.int("long", 8);
    w.structure("task_struct", 64, &[("state", word, 16 * 8, 0)]);
    let blob = w.finish();
    let (found, absent) = offsets(&Btf::parse(&blob).unwrap(), Arch::X86_64);
    assert_eq!(found.task_state, 16);
    assert!(!absent.iter().any(|it| it.member == "task_struct.__state"));
}

#[test]
fn a_flag_has_a_byte_and_a_mask() {
    let member = |bit_offset, bits| Member {
        byte_offset: 7,
        bit_offset,
        bits,
    };
    assert_eq!(byte_mask(member(0, 1)), Ok((7, 1)));
    assert_eq!(byte_mask(member(7, 1)), Ok((7, 0x80)));
    assert_eq!(byte_mask(member(2, 3)), Ok((7, 0b1_1100)));
    assert_eq!(byte_mask(member(0, 8)), Ok((7, 0xff)));
    assert_eq!(byte_mask(member(0, 0)), Ok((7, 0xff)), "a plain byte");
    assert!(
        byte_mask(member(7, 2)).is_err(),
        "it crosses into the next byte"
    );
    assert!(byte_mask(member(3, 255)).is_err());
}
