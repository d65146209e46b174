//! Runs the iterators over descriptors: what sockets the targets have, and whose are at the other end.
//!
//! An iterator that is bound to a process visits that process's descriptors; one that is not visits every
//! descriptor of the host, and its program sends those of other processes back at once. Nothing here
//! touches the tables, so a pass can run on a thread of its own.

use super::{Probe, ProbeError, hooks, link};
use aya::{Btf, Ebpf};
use remora_common::socket::{SOCKET_NAME_BYTES, SocketRecord};
use remora_kernel::{self as kernel, Kernel};
use remora_model::{HookState, Signal, SignalId};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

/// Processes that get a link of their own; where there are more, one pass over the host is cheaper.
const LINKS: usize = 1024;

/// The kernel hands out 32 KiB of whole records at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The most that one pass may bring: 300,000 sockets.
const OUTPUT_BYTES: usize = 64 << 20;

/// How often in a row the kernel may ask us to come again: after each million descriptors that are none
/// of ours.
const AGAIN: u32 = 1000;

/// What serves the signal.
const HOOK: &str = "iter/task_file";

/// Loads the iterators, where they are wanted, and says how well they work.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf, kernel: &Kernel, wanted: bool) -> Signal {
    let state = match wanted {
        true => load(ebpf, btf, kernel).unwrap_or_else(|error| HookState::Off(error.to_string())),
        false => HookState::Off("not asked for: --socket-hz 0".to_owned()),
    };
    Signal {
        id: SignalId::Sockets,
        hook: HOOK.to_owned(),
        state,
    }
}

/// Loads the iterators, and says how well they work.
pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf, kernel: &Kernel) -> Result<HookState, ProbeError> {
    if let Some(why) = kernel::offsets::sockets::missing(&kernel.socket_offsets) {
        let hook = HOOK.to_owned();
        return Err(ProbeError::Hook { hook, why });
    }
    hooks::file_iterator(ebpf, btf, "sockets")?;
    hooks::file_iterator(ebpf, btf, "sockets_of_host")?;
    state(ebpf)
}

/// How well the loaded iterators work on this kernel, tried on this process.
pub(super) fn state(ebpf: &Ebpf) -> Result<HookState, ProbeError> {
    let refused = |error: io::Error| ProbeError::Hook {
        hook: HOOK.to_owned(),
        why: error.to_string(),
    };
    let probe = SocketProbe::new(ebpf)
        .map_err(refused)?
        .ok_or(ProbeError::Mismatch("sockets"))?;
    link::create(probe.targets.as_fd(), None).map_err(refused)?;
    let bound = link::create(probe.targets.as_fd(), Some(std::process::id()));
    Ok(match bound {
        Ok(_) => HookState::On,
        Err(why) => HookState::Degraded(format!(
            "each sample visits every descriptor of the host: this kernel cannot bind the iterator to a \
             process (6.1): {why}"
        )),
    })
}

/// The iterators over descriptors, ready to run.
#[derive(Debug)]
pub struct SocketProbe {
    targets: OwnedFd,
    host: OwnedFd,
    /// By process; and one for all, where the kernel cannot bind or there are too many.
    links: BTreeMap<u32, OwnedFd>,
    whole: Option<OwnedFd>,
    /// Why processes have no links of their own.
    unbound: Option<String>,
}

impl Probe {
    /// The iterators over descriptors; `None` when they are off (see [`Probe::signals`]).
    pub fn sockets(&self) -> Option<SocketProbe> {
        SocketProbe::new(&self.ebpf).ok().flatten()
    }
}

impl SocketProbe {
    fn new(ebpf: &Ebpf) -> io::Result<Option<Self>> {
        let program = |name| Some(ebpf.program(name)?.fd().ok()?.as_fd().try_clone_to_owned());
        let (Some(targets), Some(host)) = (program("sockets"), program("sockets_of_host")) else {
            return Ok(None);
        };
        Ok(Some(Self {
            targets: targets?,
            host: host?,
            links: BTreeMap::new(),
            whole: None,
            unbound: None,
        }))
    }

    /// The sockets of these processes, as they are now: records for [`records`].
    ///
    /// # Errors
    /// When a pass cannot be begun or read to its end: what it brought is not the whole then.
    pub fn pass(&mut self, processes: &BTreeSet<u32>, output: &mut Vec<u8>) -> io::Result<()> {
        output.clear();
        self.links.retain(|pid, _| processes.contains(pid));
        if processes.len() <= LINKS && self.unbound.is_none() {
            for pid in processes {
                if self.links.contains_key(pid) {
                    continue;
                }
                match link::create(self.targets.as_fd(), Some(*pid)) {
                    Ok(link) => drop(self.links.insert(*pid, link)),
                    Err(why) => {
                        self.unbound = Some(why.to_string());
                        break;
                    }
                }
            }
        }
        if processes.len() > LINKS || self.unbound.is_some() {
            self.links.clear();
            if self.whole.is_none() {
                self.whole = Some(link::create(self.targets.as_fd(), None)?);
            }
            let whole = self.whole.iter();
            return whole.into_iter().try_for_each(|link| read(link, output));
        }
        self.whole = None;
        self.links.values().try_for_each(|link| read(link, output))
    }

    /// The sockets of every process of the host, given to `each` as they come, until `deadline`; whether
    /// that was all of them.
    ///
    /// # Errors
    /// When the pass cannot be begun or read.
    pub fn host(
        &self,
        deadline: Instant,
        mut each: impl FnMut(&SocketRecord, &[u8]),
    ) -> io::Result<bool> {
        let link = link::create(self.host.as_fd(), None)?;
        let mut file = File::from(link::begin(link.as_fd())?);
        let mut chunk = vec![0; CHUNK_BYTES];
        while Instant::now() < deadline {
            match take(&mut file, &mut chunk)? {
                0 => return Ok(true),
                len => records(chunk.get(..len).unwrap_or_default())
                    .for_each(|(record, name)| each(&record, name)),
            }
        }
        Ok(false)
    }
}

/// Reads one pass to its end.
fn read(link: &OwnedFd, output: &mut Vec<u8>) -> io::Result<()> {
    let mut file = File::from(link::begin(link.as_fd())?);
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let len = take(&mut file, &mut chunk)?;
        if len == 0 {
            return Ok(());
        }
        if output.len() + len > OUTPUT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        output.extend_from_slice(chunk.get(..len).unwrap_or_default());
    }
}

/// One read. The kernel asks to come again when it has visited a million descriptors in vain.
fn take(file: &mut File, chunk: &mut [u8]) -> io::Result<usize> {
    for _ in 0..AGAIN {
        match file.read(chunk) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            other => return other,
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The records of a pass, each with its name. A record of another size, or one that is cut, ends them.
pub fn records(mut output: &[u8]) -> impl Iterator<Item = (SocketRecord, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = output.split_at_checked(size_of::<SocketRecord>())?;
        let record: SocketRecord = bytemuck::pod_read_unaligned(head);
        let name_len = record.name_len as usize;
        if record.size as usize != size_of::<SocketRecord>() || name_len > SOCKET_NAME_BYTES {
            return None;
        }
        let (name, rest) = rest.split_at_checked(name_len.next_multiple_of(8))?;
        output = rest;
        Some((record, name.get(..name_len)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use proptest::prelude::*;

    fn record(fd: u32, name: &[u8]) -> Vec<u8> {
        let record = SocketRecord {
            size: size_of::<SocketRecord>() as u32,
            fd,
            name_len: name.len() as u32,
            ..Zeroable::zeroed()
        };
        let mut bytes = bytemuck::bytes_of(&record).to_vec();
        bytes.extend_from_slice(name);
        bytes.resize(bytes.len().next_multiple_of(8), 0xee);
        bytes
    }

    #[test]
    fn records_come_out_with_their_names_and_a_cut_one_does_not() {
        let output = [record(3, b""), record(4, b"/run/x"), record(5, &[7; 112])].concat();
        let found: Vec<_> = records(&output)
            .map(|(record, name)| (record.fd, name.to_vec()))
            .collect();
        assert_eq!(
            found,
            [(3, vec![]), (4, b"/run/x".to_vec()), (5, vec![7; 112])]
        );
        assert_eq!(records(&output[..output.len() - 1]).count(), 2);
    }

    #[test]
    fn a_record_of_another_build_ends_the_pass() {
        let mut output = [record(3, b""), record(4, b""), record(5, b"")].concat();
        output[size_of::<SocketRecord>()] ^= 1;
        assert_eq!(records(&output).count(), 1);
        let mut long = record(3, b"");
        let name_len = std::mem::offset_of!(SocketRecord, name_len);
        long[name_len] = 255;
        long.resize(4096, 0);
        assert_eq!(records(&long).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(records(&bytes).count() <= bytes.len() / size_of::<SocketRecord>());
        }
    }
}
