# Locks in the ways that real code holds them: two threads a way, each holds one and wants the other's.
# Prints for each way its name, and identity and kernel id of both threads; then waits for the end of its input.
import contextlib
import sys
import threading
import time

A, B = threading.Lock(), threading.Lock()
TABLE = {"a": threading.Lock(), 7: threading.Lock()}
LIST = [threading.Lock(), threading.Lock()]
ready = {}


def met():
    barrier, name = ready[threading.current_thread().name]
    barrier.wait()


def acquire(x, y):
    x.acquire()
    try:
        met()
        y.acquire()
        try:
            pass
        finally:
            y.release()
    finally:
        x.release()


def globals_ab(first, second):
    if first:
        A.acquire()
        try:
            met()
            B.acquire()
            B.release()
        finally:
            A.release()
    else:
        B.acquire()
        try:
            met()
            A.acquire()
            A.release()
        finally:
            B.release()


class Account:
    def __init__(self, lock):
        self._lock = lock

    def transfer(self, to):
        self._lock.acquire()
        try:
            met()
            to._lock.acquire()
            to._lock.release()
        finally:
            self._lock.release()


class Slotted:
    __slots__ = ("_lock", "other")

    def __init__(self, lock):
        self._lock = lock


def attribute(x, y):
    Account(x).transfer(Account(y))


def slotted(x, y):
    one, two = Slotted(x), Slotted(y)
    one._lock.acquire()
    met()
    two._lock.acquire()
    two._lock.release()
    one._lock.release()


def in_dict(x, y):
    key, other = ("a", 7) if x is A else (7, "a")
    TABLE[key].acquire()
    met()
    TABLE[other].acquire()
    TABLE[other].release()
    TABLE[key].release()


def in_list(x, y):
    at, other = (0, 1) if x is A else (1, 0)
    LIST[at].acquire()
    try:
        met()
        with LIST[other]:
            pass
    finally:
        LIST[at].release()


def closure(x, y):
    def inner():
        x.acquire()
        try:
            met()
            y.acquire()
            y.release()
        finally:
            x.release()

    inner()


def give(x, y):
    y.release()
    x.release()


def elsewhere(x, y):
    x.acquire()
    met()
    y.acquire()
    give(x, y)


@contextlib.contextmanager
def locked(lock):
    with lock:
        yield


@contextlib.contextmanager
def acquired(lock):
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def managers(x, y):
    with locked(x):
        met()
        with locked(y):
            pass


def managers_by_hand(x, y):
    with acquired(x):
        met()
        with acquired(y):
            pass


class Guard:
    def __init__(self, lock):
        self.inner = lock
        self.others = threading.Lock()

    def __enter__(self):
        self.inner.acquire()
        return self

    def __exit__(self, *_):
        self.inner.release()


def guards(x, y):
    with Guard(x):
        met()
        with Guard(y):
            pass


def exit_stack(x, y):
    with contextlib.ExitStack() as stack:
        stack.enter_context(x)
        met()
        stack.enter_context(y)


def callback(x, y):
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(x))
        met()
        stack.enter_context(locked(y))


def blocks(x, y):
    with x:
        met()
        with y:
            pass


semaphores = blocks
bounded = acquire
conditions = blocks
conditions_by_hand = acquire


def rlocks(x, y):
    acquire(x, y)


KINDS = {
    "semaphores": lambda: threading.Semaphore(1),
    "bounded": lambda: threading.BoundedSemaphore(1),
    "conditions": lambda: threading.Condition(threading.Lock()),
    "conditions_by_hand": lambda: threading.Condition(threading.Lock()),
    "rlocks": threading.RLock,
}
WAYS = """acquire attribute slotted in_dict in_list closure elsewhere managers managers_by_hand guards exit_stack
callback blocks semaphores bounded conditions conditions_by_hand rlocks globals_ab""".split()


def run(name, way, *arguments):
    ready[threading.current_thread().name] = barriers[name], name
    way(*arguments)


barriers = {name: threading.Barrier(2) for name in WAYS}
rest = threading.Condition(threading.Lock())


def idle():
    with rest:
        rest.wait()


threading.Thread(target=idle, daemon=True).start()
for name in WAYS:
    kind = KINDS.get(name, threading.Lock)
    x, y = kind(), kind()
    if name in ("in_dict", "in_list"):
        x, y = A, B
    pairs = [(x, y), (y, x)]
    if name == "globals_ab":
        pairs = [(True, False), (False, True)]
    threads = []
    for pair in pairs:
        thread = threading.Thread(target=run, args=(name, globals()[name], *pair), name=name + str(len(threads)), daemon=True)
        thread.start()
        threads.append(thread)
    time.sleep(0.05)
    print(name, *[f"{it.ident} {it.native_id}" for it in threads], flush=True)
print("end", flush=True)
sys.stdin.read()
