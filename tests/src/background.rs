//! A program beside the capture that is ended with the test: a server, its load.

use std::process::{Child, Command, Stdio};

/// Killed when dropped.
#[derive(Debug)]
pub struct Background(Child);

impl Background {
    /// Starts it, without input and output.
    ///
    /// # Errors
    /// In words, when it is not installed: the test says so and is skipped.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn();
        child.map(Self).map_err(|error| {
            let program = command.get_program().to_string_lossy();
            format!("cannot run {program}: {error}")
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A TCP port of the loopback that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback");
    listener.local_addr().expect("it is bound").port()
}
