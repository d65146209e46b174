//! Real processes for the tests of this module, ended with the test.

use super::proc_fs;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child process in a group of its own, killed with the group and reaped when it is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it; it executes its own image when this returns.
    pub(crate) fn new(program: &str, arguments: &[&str]) -> Self {
        let child = Self::start(Command::new(program).args(arguments)).unwrap();
        // The call returns in the middle of the exec: name and arguments come a little later.
        until("image", || {
            let exited = proc_fs::stat(child.pid()).is_some_and(|stat| stat.state == b'Z');
            let cmdline = proc_fs::read(format!("/proc/{}/cmdline", child.pid()), 1);
            exited || cmdline.is_ok_and(|bytes| !bytes.is_empty())
        });
        child
    }

    /// A file that was just written is busy as long as another test's fork holds it open.
    fn start(command: &mut Command) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        loop {
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result.map(Self),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    pub(crate) fn reap(&mut self) {
        self.0.wait().unwrap();
    }

    /// Waits until it has exited, and leaves it a zombie.
    pub(crate) fn await_death(&self) {
        let pid = Pid::from_child(&self.0);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(pid), options).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // As long as it is not reaped, no other group can have its number.
        if self.0.try_wait().is_ok_and(|exited| exited.is_none()) {
            let _ = rustix::process::kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// Waits for a condition that processes bring about.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "no {what} after 20 s"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `look` with the id of a living thread of ours, in that thread.
pub(crate) fn with_thread<T: Send>(look: impl FnOnce(u32) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            look(tid.unsigned_abs())
        });
        thread.join().unwrap()
    })
}

/// `sleep` under another name.
pub(crate) fn copy_of_sleep(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::copy("/bin/sleep", &path).unwrap();
    path
}

/// A process that goes on without its main thread; `None` without Python.
pub(crate) fn without_main_thread() -> Option<Running> {
    let exit = if cfg!(target_arch = "aarch64") {
        93
    } else {
        60
    };
    let script = format!(
        "import ctypes, threading, time\n\
         threading.Thread(target=time.sleep, args=(300,)).start()\n\
         ctypes.CDLL(None).syscall({exit}, 0)"
    );
    let child = Running::start(Command::new("python3").args(["-c", &script])).ok()?;
    until("dead main thread", || {
        proc_fs::stat(child.pid()).is_some_and(|stat| stat.state == b'Z')
    });
    Some(child)
}

/// A `sleep` in a PID namespace of its own, whose pid there nothing has on the host. `None`, and the
/// test says that it is skipped, where no namespace can be made.
pub(crate) fn container_with_foreign_pid() -> Option<(Running, u32)> {
    let container = try_container();
    if container.is_none() {
        remora_testing::skip("no PID namespace with a pid of its own could be made (not root?)");
    }
    container
}

fn try_container() -> Option<(Running, u32)> {
    let wanted = (2..30_000).find(|pid| proc_fs::stat(*pid).is_none())?;
    // Pids are given in order: processes are started until one has the wanted pid.
    let script =
        format!("while :; do sleep 300 & [ $! -ge {wanted} ] && break; kill $!; done; wait");
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", "sh", "-c", &script]);
    let container = Running::start(&mut unshare).ok()?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        let inside = proc_fs::processes().ok()?.into_iter().any(|pid| {
            let pids = proc_fs::status(pid).map(|status| proc_fs::namespace_pids(&status));
            let named = proc_fs::stat(pid).is_some_and(|stat| stat.comm == b"sleep");
            named && pids.is_ok_and(|pids| pids == [pid, wanted])
        });
        if inside {
            return Some((container, wanted));
        }
        if !super::Target::of(container.pid()).is_ok_and(|target| target.is_same()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
