//! redis-server under redis-benchmark, as Debian ships them.

use anyhow::{Context, Result, ensure};
use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use super::{Counter, Running, START_LIMIT, place};
use crate::bench::{child::Process, clock::Clock};

/// Starts the server and its load: 20 clients, one GET each under way.
pub(super) fn start(folder: &Path, clock: &Clock) -> Result<Running> {
    let port = free_port()?;
    let port_text = port.to_string();
    let mut server = place::measured("redis-server")?;
    server.args([
        "--bind",
        "127.0.0.1",
        "--port",
        &port_text,
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    let mut server = Process::start(server.arg("--dir").arg(folder))?;

    let mut counter = None;
    clock.until(START_LIMIT, "redis-server's first answer", || {
        let complaint = server.complaint();
        ensure!(
            server.ended()?.is_none(),
            "{complaint} (Debian packages redis-server, redis-tools)"
        );
        counter = Counter::redis(port).ok();
        Ok(counter.is_some())
    })?;
    let counter = counter.context("redis-server does not answer")?;

    // Again and again (-l) until it is ended.
    let mut load = place::load("redis-benchmark")?;
    load.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port_text,
        "-c",
        "20",
        "-P",
        "1",
        "-t",
        "get",
    ]);
    let load = Process::start(load.args(["-n", "100000000", "-l", "-q"]))?;
    Ok(Running::new(server, vec![load], counter))
}

/// A loopback port that nobody listens on at this moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
