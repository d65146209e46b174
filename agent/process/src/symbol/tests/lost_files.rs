//! Targets whose files cannot be found by their path any more.

use super::specimen::{C, Running, compile};
use super::*;
use remora_model::FrameKind;
use std::path::Path;
use std::process::Command;

fn assert_found(frame: &Frame) {
    assert_eq!(
        (&*frame.name, frame.line),
        ("find_me", Some(3)),
        "{frame:?}"
    );
}

#[test]
fn a_deleted_binary_before_and_after_the_snapshot() {
    let Some((folder, program)) = compile("gcc", C, &["-g", "-O1"]) else {
        return;
    };
    let (first, second) = (Running::start(&program), Running::start(&program));
    let before = snapshot(first.pid());
    drop(folder);
    assert_found(&single(&before, first.address));
    if !rustix::process::geteuid().is_root() {
        return remora_testing::skip("map_files needs root");
    }
    let frame = single(&snapshot(second.pid()), second.address);
    assert_found(&frame);
    assert_eq!(frame.module.as_deref(), program.to_str());
}

#[test]
fn a_replaced_binary_is_read_as_it_was() {
    let Some((_folder, program)) = compile("gcc", C, &["-g", "-O1"]) else {
        return;
    };
    let other = C.replace("find_me", "an_impostor_with_a_longer_name");
    let Some((_other_folder, other)) = compile("gcc", &other, &["-g", "-O1"]) else {
        return;
    };
    let running = Running::start(&program);
    let space = snapshot(running.pid());
    let aside = program.with_extension("new");
    std::fs::copy(other, &aside).unwrap();
    std::fs::rename(&aside, &program).unwrap();
    assert_found(&single(&space, running.address));
}

#[test]
fn a_process_that_has_exited() {
    let Some((_folder, program)) = compile("gcc", C, &["-g", "-O1"]) else {
        return;
    };
    let running = Running::start(&program);
    let (space, address) = (snapshot(running.pid()), running.address);
    drop(running);
    assert_found(&single(&space, address));
}

#[test]
fn a_stripped_binary_says_where() {
    let Some((_folder, program)) = compile("gcc", C, &["-s", "-O1"]) else {
        return;
    };
    let running = Running::start(&program);
    let space = snapshot(running.pid());
    let mut symbolizer = Symbolizer::new(Limits::default());
    let stack = symbolize(&mut symbolizer, &space, &[running.address]);
    let [frame] = &stack.frames[..] else {
        panic!("{stack:?}")
    };
    assert!(frame.name.starts_with("prog+0x"), "{}", frame.name);
    assert!(!frame.named);
    let losses = symbolizer.losses();
    assert_eq!(
        (losses.unsymbolised_frames, losses.files_unparsable),
        (1, 0),
        "{losses:?}"
    );
}

#[test]
fn a_debug_file_beside_the_binary() {
    let flags = ["-g", "-O1", "-Wl,--build-id"];
    let Some((folder, program)) = compile("gcc", C, &flags) else {
        return;
    };
    let debug = folder.path().join("prog.debug");
    let tool = |command: &mut Command| {
        assert!(
            command
                .current_dir(folder.path())
                .status()
                .unwrap()
                .success()
        );
    };
    tool(
        Command::new("objcopy")
            .arg("--only-keep-debug")
            .arg(&program)
            .arg(&debug),
    );
    tool(Command::new("strip").arg("-s").arg(&program));
    tool(
        Command::new("objcopy")
            .arg("--add-gnu-debuglink=prog.debug")
            .arg(&program),
    );
    let running = Running::start(&program);
    assert_found(&single(&snapshot(running.pid()), running.address));
}

#[test]
fn a_file_that_shrinks_costs_names_not_the_agent() {
    let Some((_folder, program)) = compile("gcc", C, &["-g", "-O1"]) else {
        return;
    };
    let running = Running::start(&program);
    let (space, address) = (snapshot(running.pid()), running.address);
    drop(running);
    std::fs::File::options()
        .write(true)
        .open(&program)
        .unwrap()
        .set_len(5000)
        .unwrap();
    let mut symbolizer = Symbolizer::new(Limits::default());
    let stack = symbolize(&mut symbolizer, &space, &[address]);
    assert!(!stack.frames[0].named, "{stack:?}");
    assert_eq!(symbolizer.losses().files_unparsable, 1);
}

#[test]
fn a_binary_that_exists_only_in_another_mount_namespace() {
    if !rustix::process::geteuid().is_root() {
        return remora_testing::skip("a mount namespace needs root");
    }
    let Some((folder, program)) = compile("gcc", C, &["-g", "-O1"]) else {
        return;
    };
    let private = folder.path().join("private");
    std::fs::create_dir(&private).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs none \"$1\" && cp \"$2\" \"$1/prog\" && exec \"$1/prog\"";
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&private)
        .arg(&program);
    let running = Running::wait_for(command);
    assert!(!private.join("prog").exists());
    let frame = single(&snapshot(running.pid()), running.address);
    assert_found(&frame);
    assert_eq!(frame.module.as_deref(), private.join("prog").to_str());
}

#[test]
fn a_perf_map_names_code_without_a_file() {
    let before = own();
    let code = executable_page();
    let space = before.merged(&own());
    let path = format!("/proc/{}/root/tmp/perf-{0}.map", std::process::id());
    let line = |at: u64, name: &str| format!("{at:x} 40 {name}\n");
    let text = line(code, "old") + &line(code, "py::run;it:<main>") + "broken\n";
    std::fs::write(Path::new(&path), &text).unwrap();
    let mut symbolizer = Symbolizer::new(Limits::default());
    let stack = symbolize(&mut symbolizer, &space, &[code + 4, code + 0x100]);
    std::fs::remove_file(&path).unwrap();
    let [unnamed, named] = &stack.frames[..] else {
        panic!("{stack:?}")
    };
    assert_eq!(
        (&*named.name, named.kind),
        ("py::run:it:<main>", FrameKind::Jit)
    );
    assert_eq!((&*unnamed.name, unnamed.named), ("[jit]", false));
    assert_eq!(symbolizer.losses().perf_map_bad_lines, 1);
}

/// A page of anonymous executable memory, leaked: other tests see a mapping more.
fn executable_page() -> u64 {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: a new mapping at a place that the kernel chooses.
    let page = unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) };
    page.unwrap() as u64
}
