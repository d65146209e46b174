"""Two threads that take two locks of Python's `threading` in different orders, in the ways that real code holds them.

`python3 sick_lock_idioms.py MODE`; modes are the functions below. `in_order` does all of it in one order: nothing is
wrong there.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time

HELD_S = 0.02


def acquire(first, second, pause):
    first.acquire()
    try:
        pause()
        second.acquire()
        try:
            pass
        finally:
            second.release()
    finally:
        first.release()


class Account:
    def __init__(self, lock):
        self._lock = lock

    def transfer(self, to, pause):
        self._lock.acquire()
        try:
            pause()
            to._lock.acquire()
            to._lock.release()
        finally:
            self._lock.release()


def attribute(first, second, pause):
    Account(first).transfer(Account(second), pause)


def element(first, second, pause):
    locks = {"first": first, "others": [second]}
    locks["first"].acquire()
    pause()
    locks["others"][0].acquire()
    locks["others"][0].release()
    locks["first"].release()


def give(*locks):
    for lock in locks:
        lock.release()


def elsewhere(first, second, pause):
    first.acquire()
    pause()
    second.acquire()
    give(second, first)


@contextlib.contextmanager
def locked(lock):
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def manager(first, second, pause):
    with locked(first):
        pause()
        with locked(second):
            pass


class Guard:
    def __init__(self, lock):
        self._lock = lock

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


def guard(first, second, pause):
    with Guard(first):
        pause()
        with Guard(second):
            pass


def stack(first, second, pause):
    with contextlib.ExitStack() as locks:
        locks.enter_context(first)
        pause()
        locks.enter_context(second)


def semaphore(first, second, pause):
    with first:
        pause()
        with second:
            pass


KINDS = {"semaphore": threading.Semaphore}
IDIOMS = (acquire, attribute, element, elsewhere, manager, guard, stack, semaphore)


tids = {"main": threading.get_native_id()}


def start(name, run, *arguments):
    thread = threading.Thread(target=run, args=arguments, name=name, daemon=True)
    thread.start()
    tids[name] = thread.native_id


def sick(idiom):
    kind = KINDS.get(idiom.__name__, threading.Lock)
    a, b = kind(), kind()
    both = threading.Barrier(2)
    start("one", idiom, a, b, both.wait)
    start("two", idiom, b, a, both.wait)


def again_and_again(idiom, a, b):
    while True:
        idiom(a, b, lambda: time.sleep(HELD_S))
        time.sleep(HELD_S)


def in_order():
    for idiom in IDIOMS:
        kind = KINDS.get(idiom.__name__, threading.Lock)
        a, b = kind(), kind()
        for number in range(2):
            start(f"{idiom.__name__}-{number}", again_and_again, idiom, a, b)


if __name__ == "__main__":
    signal.alarm(300)
    chosen = {idiom.__name__: idiom for idiom in IDIOMS}.get(sys.argv[1])
    if chosen is None:
        in_order()
    else:
        sick(chosen)
    time.sleep(0.2)
    print("ready " + json.dumps({"pid": os.getpid(), "tids": tids}), flush=True)
    while True:
        time.sleep(1)
