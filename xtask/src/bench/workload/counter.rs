//! Where the count of operations is read.

use anyhow::{Context, Result, ensure};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

/// A running count.
pub(super) enum Counter {
    /// A 64-bit number that the workload keeps in a mapped file.
    File(File),
    /// `total_commands_processed` of a redis server.
    Redis(BufReader<TcpStream>),
}

impl Counter {
    /// The count in the file `path`, which is created.
    pub(super) fn file(path: &Path) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len(size_of::<u64>() as u64)?;
        Ok(Self::File(file))
    }

    /// The count of the redis server on the loopback `port`.
    pub(super) fn redis(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self::Redis(BufReader::new(stream)))
    }

    /// Operations so far.
    pub(super) fn read(&mut self) -> Result<u64> {
        match self {
            Self::File(file) => {
                let mut count = [0; size_of::<u64>()];
                file.read_exact_at(&mut count, 0)?;
                Ok(u64::from_ne_bytes(count))
            }
            Self::Redis(stream) => {
                stream.get_mut().write_all(b"INFO stats\r\n")?;
                commands(&bulk(stream)?)
            }
        }
    }
}

/// Reads one bulk string of the redis protocol: `$LENGTH`, the bytes, an empty line.
fn bulk(stream: &mut impl BufRead) -> Result<String> {
    const LONGEST: u64 = 1 << 20;
    let mut head = String::new();
    stream.by_ref().take(32).read_line(&mut head)?;
    let length: u64 = head
        .trim()
        .strip_prefix('$')
        .and_then(|n| n.parse().ok())
        .context("not a bulk string")?;
    ensure!(length <= LONGEST, "a reply of {length} bytes");
    let mut body = String::new();
    stream.take(length + 2).read_to_string(&mut body)?;
    Ok(body)
}

fn commands(info: &str) -> Result<u64> {
    let count = info
        .lines()
        .find_map(|line| line.strip_prefix("total_commands_processed:"));
    Ok(count
        .context("no total_commands_processed in INFO")?
        .trim()
        .parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_whole_and_no_further() {
        let body = "# Stats\r\ntotal_connections_received:2\r\ntotal_commands_processed:41\r\n";
        let replies = format!("${}\r\n{body}\r\n$1\r\nx\r\n", body.len());
        let mut stream = replies.as_bytes();
        assert_eq!(commands(&bulk(&mut stream).unwrap()).unwrap(), 41);
        assert_eq!(bulk(&mut stream).unwrap(), "x\r\n");
    }

    #[test]
    fn what_is_not_info_is_an_error() {
        for reply in ["-ERR no\r\n", "$-1\r\n", "$99999999999\r\n", ""] {
            assert!(bulk(&mut reply.as_bytes()).is_err(), "{reply}");
        }
        assert!(commands("# Stats\r\n").is_err());
    }
}
