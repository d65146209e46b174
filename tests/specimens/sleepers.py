"""Threads that sleep for good, each after another life: its class, its last stint on the CPU, its CPU.

`python3 sleepers.py`; prints one line when all sleep: an object from name to [thread id, CLOCK_MONOTONIC in ns when it was about
to sleep]. A life that the machine does not allow is left out. Ends when its input does.
"""

import json
import os
import sys
import threading
import time

slept = {}


def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def live(name, cpu, fifo, stint, nice):
    me = threading.get_native_id()
    try:
        if cpu is not None:
            os.sched_setaffinity(me, {cpu})
        if fifo:
            os.sched_setscheduler(me, os.SCHED_FIFO, os.sched_param(10))
    except OSError:
        return
    burn(stint)
    if nice:
        # Puts the thread back on its queue in the middle of its stint.
        os.setpriority(os.PRIO_PROCESS, me, nice)
    ours, _theirs = pipe = os.pipe()
    slept[name] = [me, time.monotonic_ns()]
    os.read(ours, 1)
    os.close(pipe[1])


last = max(os.sched_getaffinity(0))
lives = {
    "other": (None, False, 0, 0),
    "other-stint": (0, False, 1.5, 0),
    "other-nice": (0, False, 0.5, 5),
    "fifo": (None, True, 0, 0),
    "fifo-stint": (0, True, 0.4, 0),
    "fifo-last": (last, True, 0.2, 0),
    "other-last": (last, False, 0.5, 0),
}
for name, life in lives.items():
    threading.Thread(target=live, args=(name, *life), daemon=True).start()
    time.sleep(0.1 + life[2])
time.sleep(3)
print(json.dumps(slept), flush=True)
sys.stdin.read()
