//! Pools of connections that a thread waits for a free slot of: how many slots there are and are taken, and which
//! threads hold one.
//!
//! The waiter's frame in the function that takes a slot has the pool as its first argument. A thread holds a slot
//! whose frames have a connection in their hands that leads back to the pool: in a local variable or on the value
//! stack. Attributes are those of SQLAlchemy 1.3 to 2.1, psycopg_pool 3.1 to 3.3, redis-py 3 to 8, urllib3 1.26 to 2.

use super::frames::Place;
use super::{ALLOWANCE, MAX_SLOTS, MAX_WAITERS, Reader};
use crate::memory::Memory;
use crate::python::find::Python;
use crate::python::object::Objects;
use std::collections::{BTreeMap, BTreeSet};

/// Frames of a waiter, from its leaf on, among which that of the pool is.
const NEAR_FRAMES: usize = 10;
/// Threads whose frames are searched for connections.
const MAX_THREADS: usize = 512;
/// Slots behind a frame's local variables that are looked at.
const STACK_SLOTS: usize = 16;
/// Pools of a process, and connections of a pool or session that are looked at.
const MAX_POOLS: usize = 32;
const MAX_CONNECTIONS: usize = 1024;
/// More slots than this are none.
const MAX_COUNT: i64 = 1 << 32;
/// Functions by which pools that somebody wrote by hand give an element of their queue, and those that take it back.
const GIVES: [&str; 9] = [
    "acquire",
    "borrow",
    "checkout",
    "get_conn",
    "get_connection",
    "getconn",
    "connection",
    "lease",
    "get_resource",
];
const TAKES_BACK: [&str; 10] = [
    "release",
    "give_back",
    "checkin",
    "put_conn",
    "put_connection",
    "putconn",
    "return_conn",
    "return_connection",
    "release_connection",
    "put_resource",
];

/// Whose pool it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `sqlalchemy.pool.QueuePool`.
    SqlAlchemy,
    /// `psycopg_pool.ConnectionPool`.
    Psycopg,
    /// `redis.BlockingConnectionPool`.
    Redis,
    /// `urllib3.HTTPConnectionPool`.
    Urllib3,
    /// A class of the program's own around a `queue.Queue`.
    Queue,
}

/// The functions that wait for a free slot: name, end of the file's path, type of the first argument.
const WAITS: [(Library, &str, &str, &str); 6] = [
    (
        Library::SqlAlchemy,
        "_do_get",
        "sqlalchemy/pool/impl.py",
        "QueuePool",
    ),
    (
        Library::Psycopg,
        "_getconn_unchecked",
        "psycopg_pool/pool.py",
        "ConnectionPool",
    ),
    (
        Library::Psycopg,
        "getconn",
        "psycopg_pool/pool.py",
        "ConnectionPool",
    ),
    (
        Library::Redis,
        "get_connection",
        "redis/connection.py",
        "BlockingConnectionPool",
    ),
    (
        Library::Urllib3,
        "_get_conn",
        "urllib3/connectionpool.py",
        "HTTPConnectionPool",
    ),
    (Library::Queue, "get", "/queue.py", "Queue"),
];

/// A pool of which a thread waits for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotPool {
    /// Address of the pool object.
    pub object: u64,
    /// What it is.
    pub library: Library,
    /// Name of its type.
    pub name: String,
    /// How many slots there are at the most.
    pub size: Option<u64>,
    /// How many are taken.
    pub taken: Option<u64>,
    /// States of the threads that wait for one.
    pub waiters: Vec<u64>,
    /// States of the threads that hold some, and how many.
    pub holders: Vec<(u64, usize)>,
}

/// Reads the pools that these threads, given by their states, wait for.
pub fn slots(python: &Python, minor: u8, memory: &impl Memory, asleep: &[u64]) -> Vec<SlotPool> {
    let known = Objects::new(memory, &python.layout, minor, ALLOWANCE);
    let Some(objects) = known else {
        return Vec::new();
    };
    let mut reader = Reader::new(&python.layout, objects, minor);
    let states = reader.states(python);
    let mut waiters: BTreeMap<u64, (Library, Vec<u64>)> = BTreeMap::new();
    let own = asleep.iter().filter(|state| states.contains(state));
    for state in own.take(MAX_WAITERS) {
        if let Some((library, object)) = reader.slot_pool(*state) {
            let of_pool = waiters.entry(object).or_insert((library, Vec::new()));
            of_pool.1.push(*state);
        }
    }
    let of_all = waiters.into_iter().take(MAX_POOLS);
    let mut pools: Vec<SlotPool> = of_all
        .filter_map(|(object, (library, waiters))| reader.read_pool(library, object, waiters))
        .collect();
    if !pools.is_empty() {
        reader.find_slot_holders(&states, &mut pools);
    }
    pools
}

impl<M: Memory> Reader<'_, M> {
    /// The pool that a thread waits for a slot of: one of a library that is known, else one that somebody wrote.
    fn slot_pool(&mut self, state: u64) -> Option<(Library, u64)> {
        let frames = self.frames(state);
        let mut queue = None;
        for (at, place) in frames.iter().enumerate().take(NEAR_FRAMES) {
            let Some(code) = self.code(place) else {
                continue;
            };
            let mut known = WAITS.iter();
            let found = known
                .find(|(_, name, file, _)| &*code.name == *name && code.filename.ends_with(file));
            let Some((library, _, _, kind)) = found else {
                continue;
            };
            let object = self.first_argument(place)?;
            if !self.objects.type_of(object)?.is_a(kind) {
                continue;
            }
            if *library != Library::Queue {
                return Some((*library, object));
            }
            queue = queue.or(frames.get(at + 1).map(|owner| (*owner, object)));
        }
        let (owner, queue) = queue?;
        let pool = self.made_by_hand(&owner, queue)?;
        Some((Library::Queue, pool))
    }

    /// The object whose method waits for an element of its queue, if it is a pool: it has a method that takes back.
    fn made_by_hand(&mut self, owner: &Place, queue: u64) -> Option<u64> {
        let name = self.code(owner)?.name.clone();
        let object = self.first_argument(owner)?;
        let kind = self.objects.type_address(object)?;
        let has = |method: &&str| self.objects.named(kind, method).is_some();
        let gives = GIVES.contains(&name.trim_start_matches('_'));
        let pool = gives && TAKES_BACK.iter().any(has);
        (pool && self.queue_of(object) == Some(queue)).then_some(object)
    }

    /// The queue that an object keeps in an attribute.
    fn queue_of(&self, object: u64) -> Option<u64> {
        let values = self.objects.attributes(object)?;
        let mut values = values.into_iter();
        values.find(|value| {
            let kind = self.objects.type_of(*value);
            kind.is_some_and(|kind| kind.is_a("Queue"))
        })
    }

    /// An attribute of an instance, in its `__dict__` or in a slot of its class.
    fn member(&self, object: u64, name: &'static str) -> Option<u64> {
        let own = self.objects.attribute(object, name);
        own.or_else(|| self.objects.slot(object, name))
    }

    fn first_argument(&self, place: &Place) -> Option<u64> {
        self.slots(place, 0, 1).first().copied()
    }

    fn read_pool(&self, library: Library, object: u64, waiters: Vec<u64>) -> Option<SlotPool> {
        let (size, taken) = self.counts(library, object).unwrap_or_default();
        let count = |count: Option<i64>| {
            let count = count.filter(|it| (0..MAX_COUNT).contains(it))?;
            u64::try_from(count).ok()
        };
        let name = self.objects.type_of(object)?.short_name().to_owned();
        Some(SlotPool {
            object,
            library,
            name,
            size: count(size).filter(|size| *size > 0),
            taken: count(taken),
            waiters,
            holders: Vec::new(),
        })
    }

    /// How many slots a pool has, and how many of them are taken.
    fn counts(&self, library: Library, pool: u64) -> Option<(Option<i64>, Option<i64>)> {
        let get = |object, name: &str| self.objects.attribute(object, name);
        let number = |object, name: &str| self.objects.small(get(object, name)?);
        let (size, free) = match library {
            Library::SqlAlchemy => {
                let queue = get(pool, "_pool")?;
                let kept = number(queue, "maxsize")?;
                let more = number(pool, "_max_overflow")?;
                let made = kept.checked_add(number(pool, "_overflow")?)?;
                let taken = made.checked_sub(self.length(get(queue, "queue")?)?)?;
                let size = (more >= 0).then(|| kept.checked_add(more)).flatten();
                return Some((size, Some(taken)));
            }
            Library::Psycopg => {
                let made = number(pool, "_nconns")?;
                let taken = made.checked_sub(self.length(get(pool, "_pool")?)?)?;
                return Some((number(pool, "_max_size"), Some(taken)));
            }
            Library::Redis => {
                let queue = get(get(pool, "pool")?, "queue")?;
                (number(pool, "max_connections")?, self.length(queue)?)
            }
            Library::Urllib3 => {
                let queue = get(pool, "pool")?;
                (
                    number(queue, "maxsize")?,
                    self.length(get(queue, "queue")?)?,
                )
            }
            Library::Queue => {
                let queue = self.queue_of(pool)?;
                let size = number(queue, "maxsize")?;
                (size, self.length(get(queue, "queue")?)?)
            }
        };
        let taken = (size > 0).then(|| size.checked_sub(free)).flatten();
        Some((Some(size), taken))
    }

    /// How many elements a `deque` or `list` has.
    fn length(&self, object: u64) -> Option<i64> {
        let items = match self.objects.type_of(object)?.is_a("list") {
            true => self.objects.sequence(object, MAX_CONNECTIONS)?,
            false => self.objects.deque(object, MAX_CONNECTIONS)?,
        };
        i64::try_from(items.len()).ok()
    }

    /// Adds the threads that have connections of the pools in their hands.
    fn find_slot_holders(&self, states: &[u64], pools: &mut [SlotPool]) {
        for state in states.iter().take(MAX_THREADS) {
            let mut held: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); pools.len()];
            for place in self.frames(*state) {
                let count = place.locals.min(MAX_SLOTS) + STACK_SLOTS;
                let slots: BTreeSet<u64> = self.slots(&place, 0, count).into_iter().collect();
                for slot in slots.into_iter().filter(|slot| *slot != 0) {
                    for (pool, held) in pools.iter().zip(&mut held) {
                        held.extend(self.connections(pool, slot));
                    }
                }
            }
            for (pool, held) in pools.iter_mut().zip(&held) {
                if !held.is_empty() {
                    pool.holders.push((*state, held.len()));
                }
            }
        }
    }

    /// The connections of a pool that an object stands for.
    fn connections(&self, pool: &SlotPool, object: u64) -> Vec<u64> {
        match pool.library {
            Library::SqlAlchemy => self.of_sqlalchemy(pool.object, object),
            Library::Psycopg => {
                let of_pool = self.member(object, "_pool") == Some(pool.object);
                let is_connection = |kind: &crate::python::object::Type| {
                    kind.is_a("Connection") || kind.is_a("BaseConnection")
                };
                let kind = self.objects.type_of(object);
                let own = of_pool && kind.is_some_and(|kind| is_connection(&kind));
                own.then_some(object).into_iter().collect()
            }
            Library::Redis => {
                let own = self.is_of_redis(pool.object, object).unwrap_or(false);
                own.then_some(object).into_iter().collect()
            }
            Library::Urllib3 | Library::Queue => Vec::new(),
        }
    }

    /// A connection of redis that its pool has made, and that is not in its queue.
    fn is_of_redis(&self, pool: u64, object: u64) -> Option<bool> {
        let kind = self.objects.type_of(object)?;
        if !kind.is_a("AbstractConnection") && !kind.is_a("Connection") {
            return Some(false);
        }
        let made = self.objects.attribute(pool, "_connections")?;
        let queue = self.objects.attribute(pool, "pool")?;
        let free = self.objects.attribute(queue, "queue")?;
        let list = |list| self.objects.sequence(list, MAX_CONNECTIONS);
        Some(list(made)?.contains(&object) && !list(free)?.contains(&object))
    }

    /// What SQLAlchemy hands out: a `_ConnectionFairy`, a `Connection` with one, or a `Session` with such.
    fn of_sqlalchemy(&self, pool: u64, object: u64) -> Vec<u64> {
        let Some(kind) = self.objects.type_of(object) else {
            return Vec::new();
        };
        if kind.is_a("Session") {
            return self.of_session(pool, object).unwrap_or_default();
        }
        let fairy = match () {
            () if kind.is_a("_ConnectionFairy") => Some(object),
            () if kind.is_a("Connection") => self.fairy(object),
            () => None,
        };
        let own = fairy.filter(|fairy| self.is_out(pool, *fairy) == Some(true));
        own.into_iter().collect()
    }

    /// What a `Connection` wraps; 1.3 has another name for it.
    fn fairy(&self, connection: u64) -> Option<u64> {
        ["_dbapi_connection", "_Connection__connection"]
            .into_iter()
            .find_map(|name| self.member(connection, name))
    }

    /// Whether it is of this pool and not given back: then it has no record any more.
    fn is_out(&self, pool: u64, fairy: u64) -> Option<bool> {
        let record = self.member(fairy, "_connection_record")?;
        let is_there = self.objects.type_of(record)?.name != "NoneType";
        Some(is_there && self.member(fairy, "_pool")? == pool)
    }

    /// The connections in the transaction of a session: values `(connection, transaction, …)`.
    fn of_session(&self, pool: u64, session: u64) -> Option<Vec<u64>> {
        let names = ["_transaction", "transaction"];
        let mut transactions = names
            .into_iter()
            .filter_map(|name| self.member(session, name));
        let connections =
            transactions.find_map(|transaction| self.member(transaction, "_connections"))?;
        let values = self.objects.dict(connections)?.into_iter();
        let fairies = values.take(MAX_CONNECTIONS).filter_map(|(_, value)| {
            let connection = self.objects.sequence(value, 1)?.first().copied()?;
            self.fairy(connection)
        });
        let mut fairies: Vec<u64> = fairies.collect();
        fairies.retain(|fairy| self.is_out(pool, *fairy) == Some(true));
        Some(fairies)
    }
}

#[cfg(test)]
mod tests;
