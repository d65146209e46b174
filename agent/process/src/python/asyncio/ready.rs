//! Whether a loop of asyncio goes from callback to callback: it takes each out of its deque `_ready`, from the left
//! (`BaseEventLoop._run_once`, `Lib/asyncio/base_events.py`), and nobody else does. Of a loop that keeps it elsewhere
//! (uvloop) the task that runs shows it.

use super::{ALLOWANCE, Reader};
use crate::memory::Memory;
use crate::python::Python;

/// `dequeobject.leftblock` and `.leftindex` (`Modules/_collectionsmodule.c`, the same from 3.8 to 3.13).
const LEFT_BLOCK: u64 = 24;
/// See [`LEFT_BLOCK`].
const LEFT_INDEX: u64 = 40;

/// Where the left end of a loop's deque is, and which task runs. At two moments in two places: something was taken out
/// in between. In one place: unknown, for a deque that runs empty begins anew in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyHead {
    /// Address of the loop.
    pub loop_id: u64,
    /// Addresses of the deque and of its first block, and the place in that.
    deque: Option<[u64; 3]>,
    /// Address of the task.
    current: Option<u64>,
}

impl ReadyHead {
    /// Whether callbacks were taken out between two looks at one loop.
    pub fn moved(&self, later: &Self) -> bool {
        let another = |before: Option<u64>, now: Option<u64>| {
            before.zip(now).is_some_and(|(before, now)| before != now)
        };
        let taken = match (self.deque, later.deque) {
            (Some([deque, ..]), Some([same, ..])) => deque == same && self.deque != later.deque,
            _ => false,
        };
        self.loop_id == later.loop_id && (taken || another(self.current, later.current))
    }
}

/// Those of all loops that run, as far as they can be read.
pub fn ready_heads<M: Memory>(python: &Python, memory: &M) -> Vec<ReadyHead> {
    let Ok(reader) = Reader::new(memory, python.layout, python.version, ALLOWANCE) else {
        return Vec::new();
    };
    let interpreters = reader.interpreters(python.runtime()).into_iter();
    let heads = interpreters.flat_map(|interpreter| {
        let registry = reader.registry(interpreter).ok().flatten();
        let current = registry.map(|registry| reader.current(&registry));
        let current = current.unwrap_or_default();
        let loops = reader.loop_threads(interpreter).into_keys();
        let head = |id| ReadyHead {
            loop_id: id,
            deque: reader.deque(id),
            current: current.get(&id).copied(),
        };
        loops.map(head).collect::<Vec<_>>()
    });
    heads.collect()
}

impl<M: Memory> Reader<'_, M> {
    fn deque(&self, loop_id: u64) -> Option<[u64; 3]> {
        let objects = &self.objects;
        let deque = objects.attribute(loop_id, "_ready")?;
        if objects.type_of(deque)?.short_name() != "deque" {
            return None;
        }
        let word = |offset: u64| objects.memory().u64(deque.checked_add(offset)?);
        Some([deque, word(LEFT_BLOCK)?, word(LEFT_INDEX)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::installed;
    use crate::python::specimen::Specimen;
    use std::time::Duration;

    /// Its tasks go around the loop, seven of them, so that the deque never runs empty; then one callback goes on.
    const PROGRAM: &str = "
import asyncio, sys, threading
over = False
async def turn():
    while not over: await asyncio.sleep(0)
def go_on():
    asyncio.get_running_loop().call_soon(print)
    print('goes on', flush=True)
    while True: sum(range(100))
def listen(loop):
    global over
    sys.stdin.readline()
    over = True
    loop.call_soon_threadsafe(go_on)
async def main():
    threading.Thread(target=listen, args=[asyncio.get_running_loop()], daemon=True).start()
    tasks = [asyncio.ensure_future(turn()) for _ in range(7)]
    print('turns', flush=True)
    await asyncio.gather(*tasks, asyncio.sleep(3600))
asyncio.run(main())
";

    #[test]
    fn a_loop_that_turns_is_told_from_one_callback_that_goes_on() {
        for installed in installed::all() {
            if installed.version.minor > 13 {
                continue;
            }
            let mut running = Specimen::start(&installed, PROGRAM);
            assert_eq!(running.line(), "turns");
            let python = crate::python::find(&running.snapshot(), &running.memory()).unwrap();
            let memory = running.memory();
            let moved = || {
                let [before] = ready_heads(&python, &memory)[..] else {
                    panic!("{}: no loop, or several", installed.version);
                };
                std::thread::sleep(Duration::from_millis(100));
                ready_heads(&python, &memory)[..]
                    .first()
                    .is_some_and(|later| before.moved(later))
            };
            // By chance it may be in the same place again.
            assert!((0..3).any(|_| moved()), "{}: it turns", installed.version);
            running.tell("");
            assert_eq!(running.line(), "goes on");
            assert!((0..3).all(|_| !moved()), "{}: it stays", installed.version);
        }
    }
}
