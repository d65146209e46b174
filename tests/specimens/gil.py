"""`gil.py`: a thread that holds the GIL and never gives it up, one that waits for it, one without."""

import json
import os
import signal
import sys
import threading
import time

started = threading.Barrier(3)


def waits_for_the_gil():
    started.wait()
    time.sleep(0.3)
    while True:
        pass


def sleeps_without():
    started.wait()
    time.sleep(3600)


def holds():
    while True:
        pass


def main():
    signal.alarm(300)  # should the test not be there any more
    sys.setswitchinterval(3600)
    threads = [threading.Thread(target=run, daemon=True) for run in (waits_for_the_gil, sleeps_without)]
    for thread in threads:
        thread.start()
    started.wait()
    time.sleep(0.1)
    tids = {"holder": threading.get_native_id()}
    tids.update(zip(("waiter", "sleeper"), (thread.native_id for thread in threads)))
    print("ready", json.dumps({"pid": os.getpid(), "tids": tids}), flush=True)
    holds()


main()
