"""Event loops that are sick in a known way, and healthy ones that look like it: `python3 sick_loops.py MODE`.

Prints `ready {"pid":…,"tids":{…}}` when it is (or is about to be) so, stays so, and ends by itself after
five minutes.
"""

import asyncio
import concurrent.futures
import json
import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
import time

KEEP = []


def ready(**tids):
    tids = {"main": threading.get_native_id(), **tids}
    print("ready " + json.dumps({"pid": os.getpid(), "tids": tids}), flush=True)


def deaf():
    """A connection to another process, which accepts and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    parent = os.getpid()
    if os.fork() == 0:
        connection = listener.accept()
        while connection and os.getppid() == parent:
            time.sleep(0.2)
        os._exit(0)
    client = socket.create_connection(listener.getsockname())
    listener.close()
    return client


# What a callback does that it should not.


def blocked_in_recv():
    deaf().recv(1)


def blocked_in_sleep():
    # Each wait is short; the loop does not come back all the same.
    while True:
        time.sleep(0.3)


def blocked_on_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def blocked_on_queue():
    queue.Queue().get()


def blocked_on_cpu():
    total = 0
    while True:
        for value in range(1000):
            total += value * value


SICK = {
    "recv": blocked_in_recv,
    "sleep": blocked_in_sleep,
    "lock": blocked_on_lock,
    "queue": blocked_on_queue,
    "cpu": blocked_on_cpu,
}


async def wedge(what):
    ready()
    await asyncio.sleep(0.05)
    what()


async def idle():
    ready()
    await asyncio.Event().wait()


async def ticking():
    """A loop with a little to do ten times a second."""
    ready()
    while True:
        sum(range(2000))
        await asyncio.sleep(0.1)


async def saturated():
    """Never runs dry, and each piece is short: tasks that hand on to each other, and bytes that come."""
    left, right = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=left)
    other, back = await asyncio.open_connection(sock=right)

    async def echo():
        while True:
            back.write(await other.read(4096))
            await back.drain()

    KEEP.append(asyncio.create_task(echo()))
    ready()
    while True:
        for _ in range(32):
            writer.write(b"x" * 100)
        await writer.drain()
        await reader.read(4096)


async def busy(ms):
    """A callback that asks for itself again, and computes for so long each time."""
    loop = asyncio.get_running_loop()

    def again():
        end = time.perf_counter() + ms / 1000
        while time.perf_counter() < end:
            sum(range(100))
        loop.call_soon(again)

    again()
    ready()
    await asyncio.Event().wait()


async def executor():
    """A blocking call where it belongs: in a thread."""
    loop = asyncio.get_running_loop()
    ready()
    ours, theirs = socket.socketpair()
    await loop.run_in_executor(None, ours.recv, 1)
    theirs.close()


async def batch():
    """Long pieces of work, and rest between them."""
    ready()
    while True:
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            sum(value * value for value in range(500))
        await asyncio.sleep(0.3)


async def late_sleeps():
    """Iterations that a blocking call makes late, again and again."""
    ready()
    while True:
        # Four of them in the three seconds of a look; three are asked for.
        time.sleep(0.58)
        await asyncio.sleep(0.02)


async def rare():
    """One long iteration, then only short ones."""
    ready()
    time.sleep(0.7)
    await ticking_quietly()


async def ticking_quietly():
    while True:
        await asyncio.sleep(0.01)


async def turning_callback():
    """The same by a callback that asks for itself again."""

    def ask_again():
        asyncio.get_running_loop().call_soon(ask_again)

    ask_again()
    ready()
    await asyncio.Event().wait()


async def turning():
    """Waits for a condition by going around the loop."""
    ready()
    done = False
    while not done:
        await asyncio.sleep(0)


async def unread():
    """Watches a socket, and never reads what is there."""
    left, right = socket.socketpair()
    KEEP.extend([left, right])
    right.send(b"x" * 64)
    asyncio.get_running_loop().add_reader(left.fileno(), lambda: None)
    ready()
    await asyncio.Event().wait()


async def in_thread(what):
    """The loop that is sick runs in another thread; the main one is well."""
    began = threading.Event()
    tids = {}

    def run():
        tids["feed"] = threading.get_native_id()
        began.set()
        asyncio.run(wedge_quietly(what))

    threading.Thread(target=run, name="feed", daemon=True).start()
    began.wait()
    ready(**tids)
    await asyncio.Event().wait()


async def wedge_quietly(what):
    await asyncio.sleep(0.05)
    what()


def ends_with(parent):
    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


async def process_pool():
    """Workers that were forked inside of a callback: the loop's frames stand in their stacks for ever."""
    pool = concurrent.futures.ProcessPoolExecutor(
        3, multiprocessing.get_context("fork"), initializer=ends_with, initargs=(os.getpid(),)
    )
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(pool, time.sleep, 0.2) for _ in range(6)))
    if os.fork() == 0:
        # And one by hand.
        while os.getppid() != 1:
            time.sleep(0.2)
        os._exit(0)
    KEEP.append(pool)
    ready()
    while True:
        await asyncio.sleep(0.05)


def compute():
    """Honest work in a thread without a loop."""
    ready()
    blocked_on_cpu()


HEALTHY = {
    "idle": idle,
    "ticking": ticking,
    "saturated": saturated,
    "executor": executor,
    "batch": batch,
    "late-sleeps": late_sleeps,
    "rare": rare,
    "turning": turning,
    "turning-callback": turning_callback,
    "unread": unread,
    "process-pool": process_pool,
}


def main():
    signal.alarm(300)
    mode = sys.argv[1]
    if mode.startswith("uvloop-"):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        mode = mode[len("uvloop-"):]
    if mode.startswith("busy-"):
        asyncio.run(busy(float(mode[len("busy-"):])))
    elif mode == "compute":
        compute()
    elif mode in HEALTHY:
        asyncio.run(HEALTHY[mode]())
    elif mode.startswith("thread-"):
        asyncio.run(in_thread(SICK[mode.removeprefix("thread-")]))
    else:
        asyncio.run(wedge(SICK[mode]))


main()
