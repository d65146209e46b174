//! A control group for the time of a cell, in whichever hierarchy the machine has.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where control groups are mounted: all of version 2, or a folder for each controller and `unified`.
const ROOT: &str = "/sys/fs/cgroup";

/// How long an emptied group may be busy: its processes have been waited for, but leave it a little later.
const BUSY: Duration = Duration::from_secs(5);

/// Removed when dropped; what is in it must have ended, or goes back to the root.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    root: PathBuf,
    is_v2: bool,
}

impl Group {
    /// A group of version 1 with this controller.
    ///
    /// # Errors
    /// In words, where there is none.
    pub fn version_1(controller: &str) -> Result<Self, String> {
        let root = Path::new(ROOT).join(controller);
        if !root.join("tasks").exists() {
            return Err(format!("no control groups of version 1 with {controller}"));
        }
        Self::below(root, false)
    }

    /// A group of version 2.
    ///
    /// # Errors
    /// In words, where there is none.
    pub fn version_2() -> Result<Self, String> {
        let roots = [Path::new(ROOT).to_owned(), Path::new(ROOT).join("unified")];
        let root = roots
            .into_iter()
            .find(|root| root.join("cgroup.controllers").exists());
        Self::below(root.ok_or("no control groups of version 2")?, true)
    }

    /// A group that can limit this: of version 1, else of version 2 where the controller is on.
    ///
    /// # Errors
    /// In words, where there is none.
    pub fn with(controller: &str) -> Result<Self, String> {
        Self::version_1(controller).or_else(|_| {
            let group = Self::version_2()?;
            let on = std::fs::read_to_string(group.folder.join("cgroup.controllers"));
            let is_on = on.is_ok_and(|on| on.split_whitespace().any(|name| name == controller));
            let missing = format!("the controller {controller} is not on");
            is_on.then_some(group).ok_or(missing)
        })
    }

    fn below(root: PathBuf, is_v2: bool) -> Result<Self, String> {
        let folder = root.join(format!("remora-test-{}", std::process::id()));
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self {
            folder,
            root,
            is_v2,
        })
    }

    /// Whether it is of version 2.
    pub fn is_v2(&self) -> bool {
        self.is_v2
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// In words, where the kernel refuses.
    pub fn set(&self, file: &str, value: &str) -> Result<(), String> {
        let path = self.folder.join(file);
        std::fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Puts a process into it.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn take(&self, pid: u32) {
        let taken = self.set("cgroup.procs", &pid.to_string());
        taken.unwrap_or_else(|why| panic!("{why}"));
    }

    /// A prefix for a command that runs in it.
    pub fn prefix(&self) -> Vec<String> {
        let procs = self.folder.join("cgroup.procs");
        let script = format!("echo $$ > '{}' && exec \"$@\"", procs.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whatever it froze must move on first, and whoever is in it has to leave.
        drop(self.set("freezer.state", "THAWED"));
        if self.is_v2 {
            drop(self.set("cgroup.freeze", "0"));
        }
        let start = Instant::now();
        while std::fs::remove_dir(&self.folder).is_err() {
            let procs = std::fs::read_to_string(self.folder.join("cgroup.procs"));
            for pid in procs.unwrap_or_default().lines() {
                drop(std::fs::write(self.root.join("cgroup.procs"), pid));
            }
            if start.elapsed() > BUSY {
                return super::not_put_back(&self.folder.display().to_string());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
