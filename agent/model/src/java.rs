//! Java virtual machines, and what their threads wait for, as the machines' own memory tells.

use serde::{Deserialize, Serialize};

/// The machine of a process, as it was at the end of the capture.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Java {
    /// Its process.
    pub pid: u32,
    /// Version, as `17.0.15+6`; `None` where it was not read.
    pub version: Option<String>,
    /// Threads that it knows and that were read.
    pub threads: u32,
    /// Threads that could not be read: they changed each time, or came and went.
    pub unread: u32,
    /// Why none of it was read.
    pub refused: Option<String>,
}

/// How a thread of a Java program waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum JavaAwaited {
    /// Parked (`LockSupport.park`), as all of `java.util.concurrent` does it.
    Park,
    /// About to enter a monitor (`synchronized`).
    Monitor,
    /// To be notified (`Object.wait`).
    Notify,
}

/// A thread of a Java program that sleeps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct JavaWait {
    /// The thread.
    pub tid: u32,
    /// How.
    pub on: JavaAwaited,
    /// Address of the object that it waits on, at that moment; 0: none is noted.
    pub object: u64,
    /// The classes that the object is of, its own first, as `java.util.concurrent.FutureTask`.
    pub classes: Vec<String>,
    /// The thread that holds it.
    pub holder: Option<u32>,
    /// The name of the thread that holds it and has ended; empty where it is not known.
    pub ended_holder: Option<String>,
}

impl JavaWait {
    /// What it waits on, short: `ReentrantLock 0x7f…`, `a monitor of LinkedList 0x7f…`.
    pub fn thing(&self) -> String {
        let class = self.classes.first().map_or("object", |class| short(class));
        match self.on {
            JavaAwaited::Park => format!("{class} {:#x}", self.object),
            JavaAwaited::Monitor | JavaAwaited::Notify => {
                format!("monitor of {class} {:#x}", self.object)
            }
        }
    }
}

/// A class without its package, and without what a lock of the library is made of inside:
/// `java.util.concurrent.locks.ReentrantLock$NonfairSync` is a `ReentrantLock`.
fn short(class: &str) -> &str {
    // The name of a hidden class has a `/` with dots behind it.
    let name = class.split('/').next().unwrap_or(class);
    let name = name.rsplit('.').next().unwrap_or(name);
    match name.rsplit_once('$') {
        Some((outer, "Sync" | "NonfairSync" | "FairSync")) if class.starts_with("java.") => outer,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_called_as_in_the_program() {
        for (class, name) in [
            (
                "java.util.concurrent.locks.ReentrantLock$NonfairSync",
                "ReentrantLock",
            ),
            ("java.util.concurrent.Semaphore$FairSync", "Semaphore"),
            ("com.acme.Own$Sync", "Own$Sync"),
            ("com.acme.Book$$Lambda/0x00007f8c01.2", "Book$$Lambda"),
            ("Plain", "Plain"),
            ("", ""),
        ] {
            assert_eq!(short(class), name, "{class}");
        }
    }
}
