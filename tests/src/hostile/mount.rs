//! A file system that stops answering.
//!
//! Nothing here touches the mount itself: whoever looks at a path on it may wait for ever. Its server does the mounting,
//! the guard ends the server, which ends all waits, and then unmounts without a look.

use crate::compile::build_with;
use crate::specimen::{Specimen, Start};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const FLAGS: [&str; 6] = ["-O1", "-g", "-std=gnu17", "-Wall", "-Wextra", "-pthread"];

/// The kernel believes names and attributes for a second after they were told: `dead_mount.c`.
const FORGOTTEN: Duration = Duration::from_millis(1200);

/// How it stops answering. In each, what was in memory of its files is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Its server is stopped: requests are not taken. Who waits for one can be killed.
    Stopped,
    /// Requests are taken and not answered. Who waits for one cannot be killed.
    Taken,
}

/// Mounted until dropped.
#[derive(Debug)]
pub struct DeadMount {
    server: Option<Specimen>,
    place: TempDir,
}

impl DeadMount {
    /// Shows a folder; it answers, for now.
    ///
    /// # Errors
    /// In words, where this machine cannot.
    pub fn of(folder: &Path) -> Result<Self, String> {
        let program = build_with(
            "gcc",
            "dead_mount",
            &[&FLAGS[..], &["dead_mount.c"]].concat(),
        )?;
        let place = TempDir::new().map_err(|error| error.to_string())?;
        let printable = |path: &Path| path.to_str().expect("printable").to_owned();
        let mut mount = Self {
            server: None,
            place,
        };
        let start = Start::program(&program)
            .argument(&printable(folder))
            .argument(&printable(mount.place.path()));
        mount.server = Some(start.spawn()?);
        Ok(mount)
    }

    /// Where a file of the folder is seen.
    pub fn path(&self, file: &Path) -> PathBuf {
        self.place.path().join(file)
    }

    /// Stops answering, and returns when nothing that it said before is believed any more.
    pub fn falls_silent(&mut self, how: Silence) {
        let server = self.server.as_mut().expect("it is there until the end");
        match how {
            Silence::Taken => {
                server.signal(Signal::USR1);
                server.until_it_says("dropped");
            }
            Silence::Stopped => {
                server.signal(Signal::USR2);
                server.until_it_says("dropped");
                server.signal(Signal::STOP);
            }
        }
        std::thread::sleep(FORGOTTEN);
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        // In this order: without a server every wait ends with an error, and only then can anything be ended.
        let Some(server) = self.server.take() else {
            return;
        };
        drop(server);
        if let Err(error) = unmount(self.place.path(), UnmountFlags::DETACH) {
            super::not_put_back(&format!("{}: {error}", self.place.path().display()));
        }
    }
}
