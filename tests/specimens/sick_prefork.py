"""A master without work of its own, and workers that it forked. The first argument says what they do:

deadlock  each takes a lock twice
work      each handles something, again and again
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time


def take_twice():
    lock = threading.Lock()
    with lock:
        with lock:
            pass


def handle():
    while True:
        time.sleep(0.05)
        sum(range(1000))


MODES = {"deadlock": take_twice, "work": handle}

run = MODES[sys.argv[1]]
signal.alarm(300)
workers = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        # PR_SET_PDEATHSIG: it ends with its master.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        signal.alarm(300)
        run()
        os._exit(1)
    workers.append(pid)
print("ready", json.dumps({"pid": os.getpid(), "tids": {"master": os.getpid(), "worker": workers[0]}}), flush=True)
while True:
    time.sleep(1)
