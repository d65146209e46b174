//! Windows as bytes: a number takes as many bytes as it needs, what is zero takes none. A thread in a window
//! takes some 12 bytes instead of 88, so ten minutes of 500 threads are 4 MB.

use super::{Histogram, Window};
use remora_model::{
    MemoryReading,
    timeline::{ACTIVITIES, LoopPoint, SocketWindow, ThreadWindow},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

/// The bit behind those of the activities: iterations of an event loop ended.
const HAS_LOOP: u64 = 1 << ACTIVITIES;

/// One window, packed.
#[derive(Debug)]
pub(crate) struct Packed {
    pub start_ns: u64,
    pub length_ns: u64,
    pub merged: u32,
    threads: Box<[u8]>,
    sockets: Box<[u8]>,
    processes: Box<[(u32, MemoryReading)]>,
}

/// All windows, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Windows(pub VecDeque<Packed>);

impl Windows {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One after the other, each unpacked when it is asked for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Window> + '_ {
        self.0.iter().map(Packed::unpack)
    }
}

impl Packed {
    /// Packs a window whose threads and sockets are in order.
    pub(crate) fn new(window: Window) -> Self {
        Self {
            start_ns: window.start_ns,
            length_ns: window.length_ns,
            merged: window.merged,
            threads: pack_threads(&window.threads),
            sockets: pack_sockets(&window.sockets),
            processes: window.processes.into(),
        }
    }

    /// As it was.
    pub(crate) fn unpack(&self) -> Window {
        Window {
            start_ns: self.start_ns,
            length_ns: self.length_ns,
            merged: self.merged,
            threads: self.threads().collect(),
            sockets: self.sockets().collect(),
            processes: self.processes.to_vec(),
        }
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.threads.len()
            + self.sockets.len()
            + size_of_val::<[_]>(&self.processes)
    }

    /// Adds threads to others: `into` names the serial of the sum for each.
    pub(crate) fn fold(&mut self, into: &HashMap<u32, u32>) {
        if self.threads().any(|it| into.contains_key(&it.serial)) {
            self.threads = pack_threads(&fold(self.threads().collect(), into));
        }
    }

    /// Leaves sockets out.
    pub(crate) fn forget_sockets(&mut self, gone: &HashSet<u32>) {
        if self.sockets().any(|it| gone.contains(&it.id)) {
            let kept: Vec<_> = self.sockets().filter(|it| !gone.contains(&it.id)).collect();
            self.sockets = pack_sockets(&kept);
        }
    }

    fn threads(&self) -> impl Iterator<Item = ThreadWindow> + '_ {
        let mut bytes = Numbers(&self.threads);
        let (mut serial, mut tid, mut pid) = (0, 0, 0);
        std::iter::from_fn(move || {
            serial = step(serial, bytes.next()?);
            tid = step(tid, bytes.next()?);
            pid = step(pid, bytes.next()?);
            let present = bytes.next()?;
            let mut time_us = [0; ACTIVITIES];
            for (activity, us) in time_us.iter_mut().enumerate() {
                if present & 1 << activity != 0 {
                    *us = bytes.next()?;
                }
            }
            let event_loop = if present & HAS_LOOP != 0 {
                Some(Box::new(unpack_loop(&mut bytes)?))
            } else {
                None
            };
            Some(ThreadWindow {
                serial,
                tid,
                pid,
                time_us,
                event_loop,
            })
        })
    }

    fn sockets(&self) -> impl Iterator<Item = SocketWindow> + '_ {
        let mut bytes = Numbers(&self.sockets);
        let mut id = 0;
        std::iter::from_fn(move || {
            id = step(id, bytes.next()?);
            let mut depth = || bytes.next().map(|depth| depth as u32);
            Some(SocketWindow {
                id,
                receive_last: depth()?,
                receive_max: depth()?,
                send_last: depth()?,
                send_max: depth()?,
            })
        })
    }
}

/// The same threads, in order, those that `into` names added to their sums.
pub(super) fn fold(threads: Vec<ThreadWindow>, into: &HashMap<u32, u32>) -> Vec<ThreadWindow> {
    let mut all: BTreeMap<u32, ThreadWindow> = BTreeMap::new();
    for mut thread in threads {
        if let Some(sum) = into.get(&thread.serial) {
            (thread.serial, thread.tid) = (*sum, 0);
        }
        match all.entry(thread.serial) {
            std::collections::btree_map::Entry::Occupied(mut sum) => sum.get_mut().add(thread),
            std::collections::btree_map::Entry::Vacant(none) => {
                none.insert(thread);
            }
        }
    }
    all.into_values().collect()
}

fn pack_threads(threads: &[ThreadWindow]) -> Box<[u8]> {
    let mut bytes = Vec::new();
    let (mut serial, mut tid, mut pid) = (0, 0, 0);
    for thread in threads {
        put(&mut bytes, difference(serial, thread.serial));
        put(&mut bytes, difference(tid, thread.tid));
        put(&mut bytes, difference(pid, thread.pid));
        (serial, tid, pid) = (thread.serial, thread.tid, thread.pid);
        let mut present = if thread.event_loop.is_some() {
            HAS_LOOP
        } else {
            0
        };
        for (activity, us) in thread.time_us.iter().enumerate() {
            present |= u64::from(*us != 0) << activity;
        }
        put(&mut bytes, present);
        for us in thread.time_us.iter().filter(|us| **us != 0) {
            put(&mut bytes, *us);
        }
        if let Some(point) = &thread.event_loop {
            pack_loop(&mut bytes, point);
        }
    }
    bytes.into()
}

fn pack_loop(bytes: &mut Vec<u8>, point: &LoopPoint) {
    put(
        bytes,
        u64::try_from(point.longest.as_nanos()).unwrap_or(u64::MAX),
    );
    put(bytes, point.late);
    put(bytes, point.lengths.counts().len() as u64);
    for (bucket, count) in point.lengths.counts() {
        put(bytes, (*bucket).into());
        put(bytes, (*count).into());
    }
}

fn unpack_loop(bytes: &mut Numbers) -> Option<LoopPoint> {
    let longest = Duration::from_nanos(bytes.next()?);
    let late = bytes.next()?;
    let buckets = bytes.next()?;
    let counts = (0..buckets).map_while(|_| Some((bytes.next()? as u16, bytes.next()? as u32)));
    Some(LoopPoint {
        lengths: Histogram::of(counts.collect()),
        longest,
        late,
    })
}

fn pack_sockets(sockets: &[SocketWindow]) -> Box<[u8]> {
    let mut bytes = Vec::new();
    let mut id = 0;
    for socket in sockets {
        put(&mut bytes, difference(id, socket.id));
        id = socket.id;
        let depths = [
            socket.receive_last,
            socket.receive_max,
            socket.send_last,
            socket.send_max,
        ];
        for depth in depths {
            put(&mut bytes, depth.into());
        }
    }
    bytes.into()
}

/// The way from a number to the next, small ones in both directions small.
fn difference(from: u32, to: u32) -> u64 {
    let way = i64::from(to) - i64::from(from);
    ((way << 1) ^ (way >> 63)) as u64
}

fn step(from: u32, difference: u64) -> u32 {
    let way = (difference >> 1) as i64 ^ -((difference & 1) as i64);
    (i64::from(from) + way) as u32
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Numbers as [`put`] left them.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn thread() -> impl Strategy<Value = ThreadWindow> {
        let times = prop::array::uniform8(prop_oneof![Just(0), any::<u64>(), 0..2_000_000_u64]);
        let points = prop::collection::btree_map(any::<u16>(), any::<u32>(), 0..5);
        let event_loop = prop::option::of((points, any::<u64>(), any::<u64>()));
        let ids = (any::<u32>(), any::<u32>(), any::<u32>());
        (ids, times, event_loop).prop_map(|((serial, tid, pid), time_us, event_loop)| {
            ThreadWindow {
                serial,
                tid,
                pid,
                time_us,
                event_loop: event_loop.map(|(counts, longest_ns, late)| {
                    Box::new(LoopPoint {
                        lengths: Histogram::of(counts.into_iter().collect()),
                        longest: Duration::from_nanos(longest_ns),
                        late,
                    })
                }),
            }
        })
    }

    fn window(threads: Vec<ThreadWindow>, ids: Vec<u32>) -> Window {
        Window {
            start_ns: 1,
            length_ns: 2,
            merged: 3,
            threads,
            sockets: ids
                .into_iter()
                .map(|id| SocketWindow {
                    id,
                    receive_last: id / 2,
                    receive_max: u32::MAX,
                    send_last: 0,
                    send_max: id,
                })
                .collect(),
            processes: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(
            threads in prop::collection::vec(thread(), 0..20),
            ids in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            let window = window(threads, ids);
            let back = Packed::new(window.clone()).unpack();
            prop_assert_eq!(back.threads, window.threads);
            prop_assert_eq!(back.sockets, window.sockets);
            prop_assert_eq!((back.start_ns, back.length_ns, back.merged), (1, 2, 3));
        }
    }

    #[test]
    fn threads_that_are_summed_keep_their_time() {
        let one = |serial: u32| ThreadWindow {
            serial,
            tid: serial + 100,
            pid: 7,
            time_us: [u64::from(serial), 0, 0, 0, 0, 0, 0, 1],
            event_loop: None,
        };
        let mut packed = Packed::new(window((1..=5).map(one).collect(), Vec::new()));
        packed.fold(&HashMap::from([
            (1, u32::MAX),
            (3, u32::MAX),
            (4, u32::MAX - 1),
        ]));
        let threads: Vec<_> = packed.threads().collect();
        let serials: Vec<_> = threads.iter().map(|it| (it.serial, it.tid)).collect();
        let sums = [(u32::MAX - 1, 0), (u32::MAX, 0)];
        assert_eq!(serials, [&[(2, 102), (5, 105)][..], &sums].concat());
        assert_eq!(threads[3].time_us, [4, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn sockets_that_nobody_will_ask_for_take_nothing() {
        let mut packed = Packed::new(window(Vec::new(), vec![1, 2, 3]));
        packed.forget_sockets(&HashSet::from([1, 3, 9]));
        let left: Vec<_> = packed.sockets().map(|socket| socket.id).collect();
        assert_eq!(left, [2]);
    }
}
