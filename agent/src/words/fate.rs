//! What became of a target while it was looked at: a verdict is of what it was then.

use super::text::clean;
use crate::model::{Capture, Process};

/// Targets of which it is said.
const SHOWN: usize = 4;

/// A sentence for each target that ended or executed another program during the capture.
pub fn fates(capture: &Capture) -> Vec<String> {
    let targets = capture
        .processes
        .iter()
        .filter(|process| process.is_target());
    targets.filter_map(fate).take(SHOWN).collect()
}

fn fate(process: &Process) -> Option<String> {
    let (name, pid) = (clean(&process.comm), process.pid);
    match (&process.was, process.exited) {
        (None, false) => None,
        (None, true) => Some(format!(
            "{name} ({pid}) ended during the look: what it waited for at its end is not judged"
        )),
        (Some(was), ended) => Some(format!(
            "{} ({pid}) became {name} by an exec during the look{}: what it waited for before is not judged",
            clean(was),
            if ended { ", and ended" } else { "" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::Builder;

    #[test]
    fn an_end_and_an_exec_are_said_and_nothing_else_is() {
        let mut builder = Builder::new(100, "old\x1b[31m");
        assert_eq!(fates(&builder.0), Vec::<String>::new());
        let process = &mut builder.0.processes[0];
        process.was = Some(std::mem::replace(&mut process.comm, "new".to_owned()));
        let words = fates(&builder.0).concat();
        assert!(words.contains("(100) became new by an exec"), "{words}");
        assert!(!words.contains('\x1b'), "{words}");
        builder.0.processes[0].was = None;
        builder.0.processes[0].exited = true;
        let words = fates(&builder.0).concat();
        assert!(words.starts_with("new (100) ended during"), "{words}");
    }
}
