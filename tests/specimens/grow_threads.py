"""Threads that become more and more, and ones that only look like it.

`python3 grow_threads.py MODE`; modes are the functions below.
"""

import json
import os
import signal
import sys
import threading
import time


def wait_for_confirmation(event):
    event.wait()


def handle_order(number):
    """Starts a thread that waits for an answer that nobody sends."""
    thread = threading.Thread(
        target=wait_for_confirmation,
        args=(threading.Event(),),
        name=f"order-{number}",
        daemon=True,
    )
    thread.start()


def leak():
    for number in range(2_000):
        handle_order(number)
        time.sleep(0.15)


def pool():
    """Fills in four seconds, and levels off."""
    for number in range(30):
        handle_order(number)
        time.sleep(0.13)
    while True:
        time.sleep(0.2)


def come_and_go():
    """A wave of threads every three seconds, each of which ends."""
    while True:
        wave = [
            threading.Thread(target=time.sleep, args=(0.05 * number,), daemon=True)
            for number in range(40)
        ]
        for thread in wave:
            thread.start()
        for thread in wave:
            thread.join()
        time.sleep(1)


MODES = {"leak": leak, "pool": pool, "come-and-go": come_and_go}

signal.alarm(300)
print("ready", json.dumps({"pid": os.getpid(), "tids": {"main": os.getpid()}}), flush=True)
MODES[sys.argv[1]]()
