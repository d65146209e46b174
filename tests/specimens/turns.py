"""`turns.py`: threads whose native stack says less than their Python one.

`naps` sleeps in two functions in turn: from 3.11 on Python calls Python in one C loop, so both waits have the
same native frames. `guest` computes, having made a second interpreter: it has a thread state in each.
"""

import json
import os
import signal
import threading
import time

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters


def by_day():
    time.sleep(0.01)


def by_night():
    time.sleep(0.01)


def naps():
    while True:
        by_day()
        by_night()


def guest():
    while True:
        pass


def main():
    signal.alarm(300)  # should the test not be there any more
    napper = threading.Thread(target=naps, daemon=True)
    napper.start()
    second = interpreters.create()
    tids = {"guest": threading.get_native_id(), "napper": napper.native_id}
    print("ready", json.dumps({"pid": os.getpid(), "tids": tids}), flush=True)
    guest()
    return second


main()
