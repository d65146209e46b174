//! Real run-time compilers: Node and the Java machine, each by what it writes itself.

use super::*;
use remora_model::FrameKind;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that tells by a line when it is warm, and runs on.
struct Warm(Child);

impl Warm {
    /// `None`, with the reason printed, when there is no such program.
    fn start(command: &mut Command) -> Option<Self> {
        let Ok(child) = command.stdout(Stdio::piped()).spawn() else {
            remora_testing::skip(format_args!("{command:?} does not start here"));
            return None;
        };
        let mut warm = Self(child);
        let mut line = String::new();
        let output = warm.0.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "warm\n");
        Some(warm)
    }

    /// Its perf map, as soon as it names `function`: start and name of each piece of code.
    fn perf_map(&self, function: &str) -> HashMap<u64, String> {
        let path = format!("/tmp/perf-{}.map", self.0.id());
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            if text.contains(function) {
                return text.lines().filter_map(entry).collect();
            }
            assert!(Instant::now() < end, "{function} is not in {path}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn entry(line: &str) -> Option<(u64, String)> {
    let mut words = line.splitn(3, ' ');
    let start = words.next()?.trim_start_matches("0x");
    let (_size, name) = (words.next()?, words.next()?);
    Some((u64::from_str_radix(start, 16).ok()?, name.to_owned()))
}

impl Drop for Warm {
    fn drop(&mut self) {
        // It may have exited.
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(format!("/tmp/perf-{}.map", self.0.id()));
    }
}

const NODE: &str = "\
function findMe(n) {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += Math.sqrt(i);
  return sum;
}
function work() { for (let i = 0; i < 300; i++) findMe(10000); }
work();
console.log('warm');
// Node writes its dump from a buffer: ever new code pushes the old code out.
let count = 0;
setInterval(() => {
  work();
  for (let i = 0; i < 40; i++) {
    new Function('n', `let s = ${count++}; for (let i = 0; i < n; i++) s += i; return s`)(20000);
  }
}, 1);
";

fn node(folder: &Path, flags: &[&str]) -> Option<Warm> {
    let script = folder.join("script.js");
    std::fs::write(&script, NODE).unwrap();
    let mut command = Command::new("node");
    Warm::start(command.args(flags).arg(script).current_dir(folder))
}

#[test]
fn node_has_names_by_its_perf_map() {
    let folder = tempfile::tempdir().unwrap();
    let Some(node) = node(folder.path(), &["--perf-basic-prof"]) else {
        return;
    };
    let map = node.perf_map("findMe");
    let is_wanted = |name: &str| name.starts_with("JS:*findMe ");
    let (start, name) = map.iter().find(|(_, name)| is_wanted(name)).unwrap();
    let frame = single(&snapshot(node.0.id()), start + 4);
    assert_eq!((&*frame.name, frame.kind), (name.as_str(), FrameKind::Jit));
    assert_eq!(frame.line, None);
}

/// Node writes both: the perf map is the truth of the dump's names.
#[test]
fn node_has_names_and_lines_by_its_jitdump() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--perf-prof", "--perf-basic-prof"];
    let Some(node) = node(folder.path(), &flags) else {
        return;
    };
    let mut map = node.perf_map("JS:*findMe ");
    let space = snapshot(node.0.id());
    let dump = space.mappings().iter().find_map(|mapping| {
        let module = mapping.module.as_ref()?;
        module.name.ends_with(".dump").then(|| module.clone())
    });
    let dump = dump.expect("node maps its dump as code");
    let is_wanted = |name: &str| name.starts_with("JS:*findMe ");
    let (start, _) = map.iter().find(|(_, name)| is_wanted(name)).unwrap();
    let start = *start;
    let ask =
        |addresses: &[u64]| crate::symbol::jitdump::look_up(&dump.content, u64::MAX, addresses);
    let end = Instant::now() + Duration::from_secs(20);
    while !ask(&[start]).symbols.contains_key(&start) {
        assert!(Instant::now() < end, "node does not write its dump");
        std::thread::sleep(Duration::from_millis(50));
    }
    // What is interpreted (`~`) is in the map, and is no code.
    map.retain(|_, name| !name.contains(":~"));
    let addresses: Vec<u64> = map.keys().copied().collect();
    let found = ask(&addresses);
    assert!(!found.cut);
    let known = map
        .iter()
        .filter_map(|(address, name)| Some((name, &found.symbols.get(address)?.name)));
    let known: Vec<_> = known.collect();
    let agreed = known.iter().filter(|(map, dump)| map.trim() == dump.trim());
    // Code that was made since the map was read may be at the address of other code.
    let agreed = agreed.count();
    assert!(
        agreed > 1000 && agreed * 100 >= known.len() * 99,
        "{agreed} of {}",
        known.len()
    );
    let raw: Vec<[u64; 1]> = (0..32).map(|step| [start + 4 * step]).collect();
    let lines = raw.iter().map(|address| single(&space, address[0]));
    let lines: Vec<_> = lines
        .filter_map(|frame| Some((frame.file?, frame.line?)))
        .collect();
    assert!(!lines.is_empty());
    for (file, line) in lines {
        assert!(
            file.ends_with("script.js") && (1..=5).contains(&line),
            "{file}:{line}"
        );
    }
}

const JAVA: &str = "\
public class Fish {
    static long findMe(long n) {
        long sum = 0;
        for (long i = 0; i < n; i++) sum += i ^ (sum << 1);
        return sum;
    }
    public static void main(String[] arguments) throws Exception {
        long sum = 0;
        for (int i = 0; i < 20000; i++) sum += findMe(1000);
        System.out.println(\"warm\");
        while (sum != 42) { sum += findMe(1000); Thread.sleep(1); }
    }
}
";

/// The Java machine writes its perf map when it is asked to (since Java 17).
#[test]
fn java_has_names_by_its_perf_map() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Fish.java");
    std::fs::write(&source, JAVA).unwrap();
    let Some(java) = Warm::start(Command::new("java").arg(&source)) else {
        return;
    };
    let pid = java.0.id().to_string();
    let asked = Command::new("jcmd")
        .args([&pid, "Compiler.perfmap"])
        .output();
    if !asked.is_ok_and(|output| output.status.success()) {
        return remora_testing::skip("this Java machine writes no perf map");
    }
    let name = "long Fish.findMe(long)";
    let map = java.perf_map(name);
    let (start, _) = map.iter().find(|(_, known)| *known == name).unwrap();
    let frame = single(&snapshot(java.0.id()), start + 4);
    assert_eq!((&*frame.name, frame.kind), (name, FrameKind::Jit));
}
