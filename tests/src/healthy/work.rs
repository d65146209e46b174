//! What a program is given to do: little, but steadily, for several work at once on few CPUs.

use super::family::Family;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(50);
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Work, until it is dropped.
#[derive(Debug)]
pub struct Work {
    load: Option<Child>,
    asking: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Work {
    /// A command, a path that is asked for again and again, or both.
    pub(super) fn start(
        load: Option<Command>,
        path: Option<&str>,
        port: u16,
    ) -> Result<Self, String> {
        let load = load.map(|mut load| load.spawn()).transpose();
        let load = load.map_err(|error| error.to_string())?;
        let asking = match path {
            None => None,
            Some(path) => {
                ask(port, path).map_err(|error| format!("GET {path}: {error}"))?;
                let end = Arc::new(AtomicBool::new(false));
                let (ends, path) = (Arc::clone(&end), path.to_owned());
                let asking = std::thread::spawn(move || {
                    while !ends.load(Ordering::Relaxed) {
                        // A server that is busy for a moment is no failure of the test.
                        drop(ask(port, &path));
                        std::thread::sleep(PAUSE);
                    }
                });
                Some((end, asking))
            }
        };
        Ok(Self { load, asking })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(mut load) = self.load.take() {
            let family = Family::of(load.id());
            crate::proc::end(&mut load);
            family.end();
        }
        if let Some((end, asking)) = self.asking.take() {
            end.store(true, Ordering::Relaxed);
            drop(asking.join());
        }
    }
}

/// A request and its answer, on a connection of its own.
fn ask(port: u16, path: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    match answer.starts_with(b"HTTP/") {
        true => Ok(()),
        false => Err(std::io::Error::other("the answer is no HTTP")),
    }
}
