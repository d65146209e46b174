"""Threads of Python that wait for each other for ever, and ones that look like it and do not.

`python3 sick_threads.py MODE`; modes are the functions below.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time

tids = {"main": threading.get_native_id()}
a, b = threading.Lock(), threading.Lock()


def start(name, run, *arguments):
    def body():
        tids[name] = threading.get_native_id()
        run(*arguments)

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    return thread


def take(lock):
    with lock:
        pass


def take_both(first, second, barrier):
    with first:
        barrier.wait()
        take(second)


def abba():
    barrier = threading.Barrier(3)
    start("one", take_both, a, b, barrier)
    start("two", take_both, b, a, barrier)
    barrier.wait()


def rlocks():
    global a, b
    a, b = threading.RLock(), threading.RLock()
    abba()


def conditions():
    global a, b
    a, b = threading.Condition(threading.Lock()), threading.Condition(threading.Lock())
    abba()


def take_twice():
    with a:
        with a:
            pass


def itself():
    start("one", take_twice)


def join():
    """Who joins a thread holds the lock that the thread wants."""
    go = threading.Event()

    def worker():
        go.wait()
        take(a)

    thread = start("worker", worker)

    def joins():
        with a:
            go.set()
            thread.join()

    start("joiner", joins)


def gil_mutex():
    """One holds a mutex of C and wants the GIL back; the other holds the GIL and wants the mutex."""
    mutex = ctypes.create_string_buffer(64)

    def wants_gil():
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
        time.sleep(1)

    def wants_mutex():
        time.sleep(0.5)
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)

    start("one", wants_gil)
    start("two", wants_mutex)


def gil_busy():
    """Four threads that compute: each gets the GIL for a quarter of the time."""

    def run():
        number = 0
        while True:
            number += 1

    for number in range(4):
        start(f"busy-{number}", run)


def pool():
    """At rest: nobody has work."""
    work = queue.Queue()
    for number in range(4):
        start(f"worker-{number}", work.get)


def passed_on():
    """The same locks in the same order, often and for long."""

    def run():
        while True:
            with a:
                with b:
                    time.sleep(0.03)
            time.sleep(0.1)

    start("one", run)
    start("two", run)


def left_over():
    """Both had both, one after the other; now a third holds them, for a good reason, and both wait."""
    done = threading.Barrier(3)

    def holder():
        done.wait()
        with a, b:
            done.wait()
            while True:
                time.sleep(0.5)

    def waiter(first, second):
        with first:
            with second:
                pass
        done.wait()
        done.wait()
        take(second)

    start("holder", holder)
    start("one", waiter, a, b)
    start("two", waiter, a, b)


if __name__ == "__main__":
    signal.alarm(300)
    globals()[sys.argv[1]]()
    time.sleep(0.2)
    print("ready " + json.dumps({"pid": os.getpid(), "tids": tids}), flush=True)
    while True:
        time.sleep(1)
