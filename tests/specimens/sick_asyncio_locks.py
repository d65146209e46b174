"""Tasks of asyncio that wait for each other for ever, and ones that look like it and do not.

`python3 sick_asyncio_locks.py MODE`; modes are the coroutines below.
"""

import asyncio
import json
import os
import signal
import sys
import threading


async def take(lock):
    async with lock:
        pass


async def take_both(first, second, both):
    async with first:
        both.append(1)
        while len(both) < 2:
            await asyncio.sleep(0.01)
        await take(second)


async def abba(keep):
    a, b, both = asyncio.Lock(), asyncio.Lock(), []
    keep.append(asyncio.create_task(take_both(a, b, both), name="one"))
    keep.append(asyncio.create_task(take_both(b, a, both), name="two"))


async def conditions(keep):
    a, b, both = asyncio.Condition(), asyncio.Condition(), []
    keep.append(asyncio.create_task(take_both(a, b, both), name="one"))
    keep.append(asyncio.create_task(take_both(b, a, both), name="two"))


async def take_twice(lock):
    async with lock:
        async with lock:
            pass


async def itself(keep):
    keep.append(asyncio.create_task(take_twice(asyncio.Lock()), name="one"))


async def awaits_other(keep, other):
    while len(keep) <= other:
        await asyncio.sleep(0.01)
    await keep[other]


async def circle(keep):
    """Each awaits the next one."""
    for number in range(3):
        task = awaits_other(keep, (number + 1) % 3)
        keep.append(asyncio.create_task(task, name=f"circle-{number}"))


async def gathers(keep):
    """One gathers two, and one of these awaits it."""

    async def both():
        slow = asyncio.create_task(asyncio.sleep(250), name="slow")
        back = asyncio.create_task(awaits_other(keep, 0), name="back")
        keep.extend([slow, back])
        await asyncio.gather(slow, back)

    keep.append(asyncio.create_task(both(), name="both"))


async def held_long(keep):
    """A lock is held by one that sleeps, and others wait for it."""
    lock = asyncio.Lock()

    async def hold():
        async with lock:
            await asyncio.sleep(200)

    keep.append(asyncio.create_task(hold(), name="holder"))
    await asyncio.sleep(0)
    for number in range(3):
        keep.append(asyncio.create_task(take(lock), name=f"waiter-{number}"))


async def in_order(keep):
    """Both locks, by all, in one order; each holds them for a while."""
    a, b = asyncio.Lock(), asyncio.Lock()

    async def run():
        while True:
            async with a:
                async with b:
                    await asyncio.sleep(0.02)

    for number in range(4):
        keep.append(asyncio.create_task(run(), name=f"runner-{number}"))


async def workers(keep):
    """At rest: nobody has work, and a supervisor gathers them."""
    work = asyncio.Queue()
    keep.extend(asyncio.create_task(work.get(), name=f"worker-{n}") for n in range(4))
    keep.append(asyncio.ensure_future(asyncio.gather(*keep)))


async def main():
    keep = []
    await globals()[sys.argv[1]](keep)
    await asyncio.sleep(0.2)
    tids = {"main": threading.get_native_id()}
    print("ready " + json.dumps({"pid": os.getpid(), "tids": tids}), flush=True)
    while True:
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    signal.alarm(300)
    asyncio.run(main())
