//! Servers that nobody here wrote, each with its load, in folders of their own; what is not
//! installed is said in words, and the test skips it.

use crate::background::{Background, free_port};
use crate::compile::folder;
use crate::specimen::send;
use rustix::process::Signal;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server or a load takes a few seconds to start here; more is a failure to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any capture; the test ends it.
const LOAD_SECONDS: &str = "120";

/// A server under load, ended when dropped: first the load, then the server.
#[derive(Debug)]
pub struct Loaded {
    load: Option<Background>,
    server: Background,
    /// Asked by this first: it leaves things behind when it is killed.
    goodbye: Option<Signal>,
    folder: Option<TempDir>,
}

impl Loaded {
    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Ends the load, not the server.
    pub fn end_load(&mut self) {
        drop(self.load.take());
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        drop(self.load.take());
        if let Some(signal) = self.goodbye {
            send(self.pid(), signal);
            let started = Instant::now();
            while started.elapsed() < PATIENCE && is_alive(self.pid()) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        drop(self.folder.take());
    }
}

/// Neither gone nor a zombie.
fn is_alive(pid: u32) -> bool {
    crate::proc::state(pid, pid).is_some_and(|state| state != 'Z')
}

/// Waits until a port is served.
///
/// # Errors
/// In words, when it is not within `PATIENCE`.
pub fn connect(port: u16) -> Result<TcpStream, String> {
    let started = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return Ok(stream),
            Err(error) if started.elapsed() > PATIENCE => {
                return Err(format!("port {port}: {error}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The load of a web server at this port.
fn wrk(port: u16) -> Result<Background, String> {
    let mut load = Command::new("wrk");
    load.args(["-t", "1", "-c", "16", "-d", LOAD_SECONDS]);
    Background::start(load.arg(format!("http://127.0.0.1:{port}/")))
}

/// A web server, told its port, and its load.
fn web(server: &mut Command, port: u16, folder: Option<TempDir>) -> Result<Loaded, String> {
    let server = Background::start(server)?;
    connect(port)?;
    Ok(Loaded {
        load: Some(wrk(port)?),
        server,
        goodbye: None,
        folder,
    })
}

/// nginx: the command for a single process in this folder, at this port.
pub fn nginx_command(folder: &Path, port: u16) -> Command {
    let config = folder.join("nginx.conf");
    let place = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/log;
         events {{}}
         http {{
             access_log off; client_body_temp_path {place}; proxy_temp_path {place};
             fastcgi_temp_path {place}; uwsgi_temp_path {place}; scgi_temp_path {place};
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 'well'; }} }}
         }}"
    );
    std::fs::write(&config, text).expect("an own folder");
    let mut nginx = Command::new("nginx");
    nginx
        .arg("-e")
        .arg(folder.join("log"))
        .arg("-p")
        .arg(folder);
    nginx.arg("-c").arg(config);
    nginx
}

/// nginx under wrk.
///
/// # Errors
/// In words, when one is not installed.
pub fn nginx() -> Result<Loaded, String> {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    web(&mut nginx_command(folder.path(), port), port, Some(folder))
}

/// redis under its own benchmark.
///
/// # Errors
/// In words, when one is not installed.
pub fn redis() -> Result<Loaded, String> {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let mut server = Command::new("redis-server");
    let arguments = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    server.args(["--port", &port.to_string()]).args(arguments);
    let server = Background::start(server.current_dir(folder.path()))?;
    connect(port)?;
    let mut load = Command::new("redis-benchmark");
    load.args(["-p", &port.to_string(), "-t", "set,get", "-c", "20", "-q"]);
    let load = Background::start(load.args(["-n", "1000000000"]))?;
    Ok(Loaded {
        load: Some(load),
        server,
        goodbye: None,
        folder: Some(folder),
    })
}

/// A web server of node under wrk.
///
/// # Errors
/// In words, when one is not installed.
pub fn node() -> Result<Loaded, String> {
    let port = free_port();
    let program = format!(
        "require('http').createServer((ask, answer) => {{
             const numbers = [...Array(50).keys()].sort((a, b) => b - a);
             answer.end(JSON.stringify(numbers));
         }}).listen({port}, '127.0.0.1');"
    );
    web(Command::new("node").args(["-e", &program]), port, None)
}

const AIOHTTP: &str = "
import sys
from aiohttp import web
async def answer(request):
    return web.json_response({'numbers': sorted(range(50), key=lambda n: -n)})
app = web.Application()
app.add_routes([web.get('/', answer)])
web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]), print=None)
";

/// An asyncio server from the package index under wrk.
///
/// # Errors
/// In words, when it cannot be installed.
pub fn aiohttp() -> Result<Loaded, String> {
    let (python, port) = (environment("aiohttp")?, free_port());
    let mut server = Command::new(python);
    web(server.args(["-c", AIOHTTP, &port.to_string()]), port, None)
}

/// The interpreter of an environment that has this package; kept for the next run.
fn environment(package: &str) -> Result<PathBuf, String> {
    let place = folder().join(format!("environment-{package}"));
    let python = place.join("bin/python3");
    let import = format!("import {package}");
    if quiet(Command::new(&python).args(["-c", &import])).is_err() {
        quiet(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
        quiet(Command::new(&python).args(["-m", "pip", "install", "--quiet", package]))?;
    }
    Ok(python)
}

/// Runs a command to its end, which must be a success.
fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", words.trim()))
}

const JAVA: &str = "
import java.util.*;
class Busy {
    static long mix(long n) { return n < 2 ? n : mix(n - 1) ^ (n * 31); }
    public static void main(String[] none) throws Exception {
        for (int i = 0; i < 3; i++) new Thread(() -> {
            for (long n = 0; ; n++) {
                Map<Long, String> map = new TreeMap<>(Comparator.reverseOrder());
                for (long k = 0; k < 200; k++) map.put(mix(k % 60 + n % 7), \"v\" + k);
                if (map.size() == 1) System.out.println(map);
                if (n % 100 == 0) try { Thread.sleep(1); } catch (InterruptedException e) { return; }
            }
        }).start();
        Thread.sleep(600000);
    }
}
";

/// A program of Java: threads that compute, allocate and sleep.
///
/// # Errors
/// In words, when there is no JDK.
pub fn java() -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("Busy.java"), JAVA).expect("an own folder");
    quiet(
        Command::new("javac")
            .arg("Busy.java")
            .current_dir(folder.path()),
    )?;
    let mut java = Command::new("java");
    java.arg("-cp").arg(folder.path()).arg("Busy");
    Ok(Loaded {
        load: None,
        server: Background::start(&mut java)?,
        goodbye: None,
        folder: Some(folder),
    })
}

/// PostgreSQL under pgbench; its children do the work.
///
/// # Errors
/// In words, when it is not installed or cannot be set up.
pub fn postgres() -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let (place, port) = (folder.path(), free_port().to_string());
    let server = postgres_program("postgres")?;
    quiet(Command::new("chown").arg("postgres").arg(place))?;
    let data = place.join("data");
    quiet(
        as_postgres(&postgres_program("initdb")?)
            .args(["-A", "trust", "-D"])
            .arg(&data),
    )?;
    let mut command = as_postgres(&server);
    command.arg("-D").arg(&data).arg("-k").arg(place);
    command.args([
        "-p",
        &port,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "fsync=off",
    ]);
    let mut loaded = Loaded {
        load: None,
        server: Background::start(command.current_dir(place))?,
        goodbye: Some(Signal::INT),
        folder: None,
    };
    connect(port.parse().expect("a number"))?;
    let bench = || {
        let mut bench = Command::new("pgbench");
        bench.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port]);
        bench
    };
    let started = Instant::now();
    while let Err(why) = quiet(bench().args(["-i", "-q", "postgres"])) {
        if started.elapsed() > PATIENCE {
            return Err(why);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    loaded.load = Some(Background::start(bench().args([
        "-c",
        "4",
        "-T",
        LOAD_SECONDS,
        "postgres",
    ]))?);
    loaded.folder = Some(folder);
    Ok(loaded)
}

/// A program of the newest version that is installed.
fn postgres_program(name: &str) -> Result<PathBuf, String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let programs = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)));
    let newest = programs.filter(|program| program.exists()).max();
    newest.ok_or_else(|| format!("PostgreSQL's {name} is not installed"))
}

/// It refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(program);
    command
}
