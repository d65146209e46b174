"""Threads of Python that wait for what will never come, and ones that look like it and are well.

`python3 sick_waits.py MODE`; modes are the functions below, with `_` for `-`.
"""

import asyncio
import contextlib
import ctypes
import json
import multiprocessing
import os
import queue
import signal
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

tids = {"main": threading.get_native_id()}


def ready(pid=None):
    print("ready", json.dumps({"pid": pid or os.getpid(), "tids": tids}), flush=True)


def start(name, run, *arguments):
    begun = threading.Event()

    def body():
        tids[name] = threading.get_native_id()
        begun.set()
        run(*arguments)

    threading.Thread(target=body, name=name, daemon=True).start()
    begun.wait()


# One pool, whose jobs wait for jobs of the same pool.


def part(number):
    time.sleep(0.05)
    return number


def whole(pool, go):
    go.wait()
    return sum(job.result() for job in [pool.submit(part, number) for number in range(3)])


def nested_jobs(jobs):
    pool = ThreadPoolExecutor(4)
    go = threading.Event()
    first = [pool.submit(whole, pool, go) for _ in range(jobs)]
    go.set()
    ready()
    while True:
        print([job.result() for job in first], flush=True)
        first = [pool.submit(whole, pool, go) for _ in range(jobs)]


def nested():
    nested_jobs(4)


def nested_well():
    nested_jobs(2)


def pool_at_rest():
    """Workers without work, a main thread without end."""
    pool = ThreadPoolExecutor(4)
    list(pool.map(part, range(8)))
    ready()
    threading.Event().wait()


# Two locks in two orders, held in the ways of real code.


def by_acquire(first, second, barrier):
    first.acquire()
    try:
        barrier.wait()
        second.acquire()
        try:
            pass
        finally:
            second.release()
    finally:
        first.release()


@contextlib.contextmanager
def locked(lock):
    with lock:
        yield


def by_generator(first, second, barrier):
    with locked(first):
        barrier.wait()
        with locked(second):
            pass


def by_exit_stack(first, second, barrier):
    with contextlib.ExitStack() as stack:
        stack.enter_context(first)
        barrier.wait()
        stack.enter_context(second)


def by_with(first, second, barrier):
    with first:
        barrier.wait()
        with second:
            pass


def two_orders(take, new=threading.Lock):
    barrier = threading.Barrier(3)
    one, two = new(), new()
    start("one", take, one, two, barrier)
    start("two", take, two, one, barrier)
    barrier.wait()
    ready()
    while True:
        time.sleep(0.5)


def take(lock):
    lock.acquire()


def by_helper(first, second, barrier):
    take(first)
    barrier.wait()
    take(second)


def taken_before():
    """Nothing on the stacks says who took the locks: the functions that did so have returned."""
    two_orders(by_helper)


# The event loop's default executor, all of whose threads wait for what does not come.


def wait_for(event):
    event.wait()


def fill_executor(events):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(4, thread_name_prefix="job"))
        for event in events:
            loop.run_in_executor(None, wait_for, event)
        await asyncio.sleep(0.2)
        ready()
        while True:
            await asyncio.sleep(0.5)

    asyncio.run(main())


def executor():
    fill_executor([threading.Event() for _ in range(6)])


def executor_busy():
    """The same queue behind jobs that end after a second each."""
    events = [threading.Event() for _ in range(400)]

    def set_all():
        for event in events:
            time.sleep(0.25)
            event.set()

    start("setter", set_all)
    fill_executor(events)


def one_order():
    """The same in one order, in all the ways: each waits, none for long."""
    locks = threading.Lock(), threading.Lock()
    pause = threading.Barrier(1)

    def run(take):
        while True:
            take(*locks, pause)
            time.sleep(0.02)

    for take in (by_acquire, by_generator, by_exit_stack, by_with):
        start(take.__name__, run, take)
    ready()
    while True:
        time.sleep(0.5)


def limited():
    """More jobs than a semaphore lets run, and those that run take their time over the network."""
    limit = threading.Semaphore(1)
    here, there = socket.socketpair()

    def run():
        with limit:
            here.recv(1)

    for number in range(3):
        start(f"job-{number}", run)
    ready()
    while True:
        time.sleep(20)
        there.send(b"x")


# A lock between processes, whose holder was killed.


def end_with_parent():
    """`PR_SET_PDEATHSIG`: workers do not outlive the test that ends their parent."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def farm(kill):
    multiprocessing.set_start_method("fork")
    lock = multiprocessing.Lock()

    def work(number):
        end_with_parent()
        while True:
            with lock:
                if kill and number == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(0.01)
            time.sleep(0.05)

    workers = [multiprocessing.Process(target=work, args=(number,), daemon=True) for number in range(4)]
    for worker in workers:
        worker.start()
    tids.clear()
    tids["worker"] = workers[2].pid
    time.sleep(0.5)
    ready(workers[2].pid)
    for worker in workers:
        worker.join()


def killed_holder():
    farm(True)


def farm_well():
    farm(False)


def mp_pool_at_rest():
    """Workers of multiprocessing take turns at their queue by a lock."""
    multiprocessing.set_start_method("fork")
    with multiprocessing.Pool(3, initializer=end_with_parent) as pool:
        pool.map(abs, range(9))
        workers = [child.pid for child in multiprocessing.active_children()]
        ready(workers[-1])
        time.sleep(1000)


# A server that takes connections and never says a word.


def handshakes(limit):
    mute = socket.create_server(("127.0.0.1", 0), backlog=50)
    port = mute.getsockname()[1]
    kept = []

    def serve():
        while True:
            kept.append(mute.accept())
            if limit:
                kept.pop()[0].close()

    def check():
        connection = socket.create_connection(("127.0.0.1", port), timeout=3)
        connection.settimeout(limit)
        try:
            ssl._create_unverified_context().wrap_socket(connection, server_hostname="feed.example")
        except OSError:
            connection.close()

    def checks():
        while True:
            check()
            time.sleep(0.2)

    start("server", serve)
    start("checker", checks)
    ready()
    while True:
        time.sleep(0.5)


def handshake():
    handshakes(None)


def handshake_well():
    handshakes(0.5)


def consumers_at_rest():
    """Threads of one's own that wait for work, also a few functions deep."""
    work = queue.Queue()

    def take():
        return work.get()

    def run():
        while True:
            take()

    for number in range(3):
        start(f"consumer-{number}", run)
    ready()
    threading.Event().wait()


if __name__ == "__main__":
    signal.alarm(300)
    globals()[sys.argv[1].replace("-", "_")]()
