//! A CPython asyncio echo server; the client counts the echoes.

use anyhow::{Context, Result, ensure};
use std::path::Path;

use super::{
    Counter, Running, START_LIMIT,
    native::{SOURCES, compile},
    place,
};
use crate::bench::{child::Process, clock::Clock};

/// Starts the server and a client with 16 connections.
pub(super) fn start(folder: &Path, clock: &Clock) -> Result<Running> {
    let client = compile("echo_client", folder)?;
    let script = Path::new(SOURCES).join("echo_server.py");
    let mut server = Process::start(place::measured("python3")?.arg("-I").arg(script))?;
    let mut port = None;
    clock.until(START_LIMIT, "the echo server's port", || {
        ensure!(
            server.ended()?.is_none(),
            "{} (Debian package python3)",
            server.complaint()
        );
        port = server
            .lines()
            .iter()
            .find_map(|line| line.strip_prefix("port ").map(str::to_owned));
        Ok(port.is_some())
    })?;
    let port = port.context("the echo server has no port")?;

    let count = folder.join("echo.count");
    let counter = Counter::file(&count)?;
    let client = Process::start(place::load(client)?.arg(port).arg(&count))?;
    Ok(Running::new(server, vec![client], counter))
}
