"""Python programs that grow: by leaks, and by what only looks like one. The first argument says how.

leak      orders in a list that nobody empties
cache     a dict of results without a bound
bytes     strings of bytes, which no list of the collector has
lru       a dict of results with a bound, which is reached
garbage   cycles that the collector frees, in rounds
steady    takes and drops the same amount all the time
"""

import collections
import gc
import json
import os
import signal
import sys
import time


class Order:
    """Has a list: some 4 KiB."""

    def __init__(self, number):
        self.number = number
        self.lines = [number] * 480
        self.note = "order %d of the day" % number


class Result:
    def __init__(self, key):
        self.key = key
        self.body = bytearray(4000)


class Node:
    def __init__(self):
        self.ring = self
        self.body = bytearray(8000)


def keep_orders(kept):
    """Some 4 MiB a second."""
    while True:
        for _ in range(30):
            kept.append(Order(len(kept)))
        time.sleep(0.03)


def remember_results(cache):
    while True:
        for _ in range(30):
            cache[len(cache)] = Result(len(cache))
        time.sleep(0.03)


def keep_bytes(kept):
    while True:
        kept.append(bytes(120_000))
        time.sleep(0.03)


def remember_some(cache):
    number = 0
    while True:
        for _ in range(30):
            cache[number] = Result(number)
            number += 1
            if len(cache) > 3_000:
                cache.popitem(last=False)
        time.sleep(0.03)


def make_garbage(_):
    gc.disable()
    while True:
        for _ in range(60):
            for _ in range(30):
                Node()
            time.sleep(0.025)
        gc.collect()


def drop_again(kept):
    while True:
        kept.extend(Order(i) for i in range(300))
        time.sleep(0.03)
        kept.clear()


def start_up(kept):
    # What imports do: much is compiled and kept, and then the program is there.
    end = time.monotonic() + 4
    while time.monotonic() < end:
        kept.append(compile("a = [%d]\n" % len(kept) * 200, "module", "exec"))
        time.sleep(0.002)
    while True:
        time.sleep(0.03)


MODES = {
    "imports": (start_up, list),
    "leak": (keep_orders, list),
    "cache": (remember_results, dict),
    "bytes": (keep_bytes, list),
    "lru": (remember_some, collections.OrderedDict),
    "garbage": (make_garbage, list),
    "steady": (drop_again, list),
}

signal.alarm(300)
run, make = MODES[sys.argv[1]]
print("ready", json.dumps({"pid": os.getpid(), "tids": {"main": os.getpid()}}), flush=True)
run(make())
