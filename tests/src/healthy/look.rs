//! One look of remora at a healthy program, and what it says of it.

use crate::remora::Remora;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Several looks at once on few CPUs: each takes its time to name what it saw.
const CROWD: Duration = Duration::from_secs(120);

/// What remora said.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its verdict: `healthy`, `idle`, or something that is a false alarm.
    pub verdict: String,
    /// Findings and notices, a line each.
    pub said: Vec<String>,
    /// How long it watched.
    pub watched: Duration,
    /// Threads of all its processes.
    pub threads: u64,
}

impl Look {
    /// Whether it is silent.
    pub fn is_right(&self) -> bool {
        self.said.is_empty() && matches!(&*self.verdict, "healthy" | "idle")
    }
}

/// Looks at a process and its children, and keeps the whole answer in a file.
///
/// # Errors
/// In words: remora fails, or says nothing that can be read.
pub fn look(pid: u32, length: Duration, keep: Option<&Path>) -> Result<Look, String> {
    let (pid, seconds) = (pid.to_string(), length.as_secs().to_string());
    let arguments = ["triage", "--json", "--strict", "--children", "--pid", &pid];
    // One that hangs is ended there, with a panic: it is that program's outcome, not the end of all.
    let run = std::panic::catch_unwind(|| {
        Remora::with(&arguments)
            .args(&["--duration", &seconds])
            .lasting(length + CROWD)
            .run()
    });
    let run = run.map_err(|_| "remora did not end in time".to_owned())?;
    if let Some(file) = keep {
        std::fs::write(file, &run.stdout)
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let said: Value = serde_json::from_str(&run.stdout)
        .map_err(|error| format!("{}: {error}: {}", run.command, run.stderr.trim()))?;
    let lists = ["findings", "notices"].map(|name| said[name].as_array());
    let lines = lists.into_iter().flatten().flatten().map(line);
    // A process that one of them waits for is watched for its sake, and is no target.
    let targets = said["targets"].as_array().into_iter().flatten();
    let threads = targets.filter(|target| target["related"].is_null());
    let look = Look {
        verdict: said["verdict"].as_str().unwrap_or("none").to_owned(),
        said: lines.collect(),
        watched: Duration::try_from_secs_f64(said["capture"]["duration_s"].as_f64().unwrap_or(0.0))
            .unwrap_or_default(),
        threads: threads
            .filter_map(|target| target["threads"].as_u64())
            .sum(),
    };
    let code = run.status.code();
    let expected = match (&*look.verdict, look.said.is_empty()) {
        ("healthy" | "idle", _) => 0,
        ("unclear", _) => 11,
        _ => 10,
    };
    match code == Some(expected) {
        true => Ok(look),
        false => Err(format!("{} with exit code {code:?}", look.verdict)),
    }
}

/// A finding in a line: what, and on what evidence.
fn line(finding: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let evidence = finding["evidence"].as_array().into_iter().flatten();
    let facts = evidence.map(|fact| format!("{}: {}", text(&fact["what"]), text(&fact["value"])));
    let facts: Vec<_> = facts.collect();
    format!(
        "{}: {} [{}]",
        text(&finding["kind"]),
        text(&finding["summary"]),
        facts.join("; ")
    )
}
