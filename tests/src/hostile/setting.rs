//! A setting of the kernel, changed for the time of a cell.

use std::path::{Path, PathBuf};

/// Real-time throttling: the microseconds of each period that threads under SCHED_FIFO may have; -1: all.
pub const REAL_TIME_RUNTIME: &str = "/proc/sys/kernel/sched_rt_runtime_us";

/// Put back when dropped.
#[derive(Debug)]
pub struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    /// Changes it.
    ///
    /// # Errors
    /// In words, where this machine does not allow it; then nothing is changed.
    pub fn change(path: &str, value: &str) -> Result<Self, String> {
        let say = |error| format!("{path}: {error}");
        let before = std::fs::read_to_string(path).map_err(say)?;
        let before = before.trim().to_owned();
        std::fs::write(path, value).map_err(say)?;
        Ok(Self {
            path: Path::new(path).to_owned(),
            before,
        })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, &self.before) {
            super::not_put_back(&format!("{}: {error}", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_puts_it_back() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let path = file.path().to_str().expect("printable").to_owned();
        std::fs::write(&path, "950000\n").expect("own file");
        let read = || std::fs::read_to_string(file.path()).expect("own file");
        let changed = std::thread::spawn(move || {
            let _setting = Setting::change(&path, "-1").expect("own file");
            panic!("holding it: {path}");
        });
        assert!(changed.join().is_err());
        assert_eq!(read(), "950000");
        assert!(Setting::change("/proc/no/such/setting", "1").is_err());
    }
}
