//! Targets that exited or executed another program during the capture: the verdict is about what they were then.

use super::text::clean;
use crate::{Capture, Process};

/// Targets that are named.
const SHOWN: usize = 4;

/// A sentence for each target that exited or executed another program during the capture.
pub fn notes(capture: &Capture) -> Vec<String> {
    let targets = capture
        .processes
        .iter()
        .filter(|process| process.is_target());
    targets.filter_map(note).take(SHOWN).collect()
}

fn note(process: &Process) -> Option<String> {
    let (name, pid) = (clean(&process.comm), process.pid);
    match (&process.was, process.exited) {
        (None, false) => None,
        (None, true) => Some(format!(
            "{name} ({pid}) exited during the capture; its last state was not checked"
        )),
        (Some(was), ended) => Some(format!(
            "{} ({pid}) executed {name} during the capture{}; its state before was not checked",
            clean(was),
            if ended { " and exited" } else { "" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Builder;

    #[test]
    fn an_exit_and_an_exec_are_noted_and_nothing_else_is() {
        let mut builder = Builder::new(100, "old\x1b[31m");
        assert_eq!(notes(&builder.0), Vec::<String>::new());
        let process = &mut builder.0.processes[0];
        process.was = Some(std::mem::replace(&mut process.comm, "new".to_owned()));
        let words = notes(&builder.0).concat();
        assert!(words.contains("(100) executed new during"), "{words}");
        assert!(!words.contains('\x1b'), "{words}");
        builder.0.processes[0].was = None;
        builder.0.processes[0].exited = true;
        let words = notes(&builder.0).concat();
        assert!(words.starts_with("new (100) exited during"), "{words}");
    }
}
