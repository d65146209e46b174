"""Pools of connections that are used up, and ones that look like it and are well.

`python3 sick_pools.py MODE`; modes are the functions below, with `_` for `-`. Those of SQLAlchemy need that package; the database is
a file, so that no server is needed.
"""

import json
import os
import queue
import sys
import tempfile
import threading
import time

tids = {"main": threading.get_native_id()}


def ready():
    print("ready", json.dumps({"pid": os.getpid(), "tids": tids}), flush=True)


def start(name, run, *arguments):
    begun = threading.Event()

    def body():
        tids[name] = threading.get_native_id()
        begun.set()
        run(*arguments)

    threading.Thread(target=body, name=name, daemon=True).start()
    begun.wait()


def rest():
    while True:
        time.sleep(600)


def engine(size):
    import sqlalchemy
    from sqlalchemy.pool import QueuePool

    folder = tempfile.mkdtemp()
    arguments = {"check_same_thread": False}
    return sqlalchemy.create_engine(
        f"sqlite:///{folder}/book.db",
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=None,
        connect_args=arguments,
    )


def audit(of, order):
    import sqlalchemy

    # A second connection, while the caller has one.
    with of.connect() as log:
        log.execute(sqlalchemy.text("select :order"), {"order": order})


def place(of, met, order):
    import sqlalchemy

    with of.connect() as orders:
        orders.execute(sqlalchemy.text("select :order"), {"order": order})
        met.wait()
        audit(of, order)


def nested():
    """Two jobs have the two connections of a pool, and each wants a second one."""
    of, met = engine(2), threading.Barrier(3)
    for order, name in enumerate(["one", "two"]):
        start(name, place, of, met, order)
    met.wait()
    start("late", audit, of, 3)
    ready()
    rest()


def session():
    """The same, where a session has the first one."""
    import sqlalchemy
    from sqlalchemy.orm import Session

    of, met = engine(1), threading.Barrier(2)

    def save():
        with Session(of) as session:
            session.execute(sqlalchemy.text("select 1"))
            met.wait()
            audit(of, 1)

    start("one", save)
    met.wait()
    ready()
    rest()


def kept():
    """A job has the one connection and waits for what nobody sets; another wants it."""
    of, never = engine(1), threading.Event()
    met = threading.Barrier(2)

    def keep():
        with of.connect() as connection:
            met.wait()
            never.wait()
            print(connection)

    start("keeper", keep)
    met.wait()
    start("wants", audit, of, 1)
    ready()
    rest()


def busy():
    """Four jobs share two connections, each for some milliseconds."""
    of = engine(2)

    def work():
        import sqlalchemy

        while True:
            with of.connect() as connection:
                connection.execute(sqlalchemy.text("select 1"))
                time.sleep(0.005)
            time.sleep(0.02)

    for name in ["one", "two", "three", "four"]:
        start(name, work)
    ready()
    rest()


def idle():
    """A pool whose connections are all free, and workers at rest."""
    of, jobs = engine(2), queue.Queue()

    def work():
        while True:
            audit(of, jobs.get())

    for name in ["one", "two"]:
        start(name, work)
    jobs.put(1)
    ready()
    rest()


class Home:
    """A pool that somebody wrote."""

    def __init__(self, size):
        self.idle = queue.Queue(size)
        for number in range(size):
            self.idle.put(object())

    def acquire(self):
        return self.idle.get()

    def release(self, connection):
        self.idle.put(connection)


def copy(pool, met):
    source = pool.acquire()
    try:
        met.wait()
        sink = pool.acquire()
        pool.release(sink)
    finally:
        pool.release(source)


def by_hand():
    """Two jobs of a pool that somebody wrote want a second element each."""
    pool, met = Home(2), threading.Barrier(3)
    for name in ["one", "two"]:
        start(name, copy, pool, met)
    met.wait()
    ready()
    rest()


def by_hand_busy():
    """The same pool, used for some milliseconds at a time."""
    pool = Home(2)

    def work():
        while True:
            element = pool.acquire()
            time.sleep(0.005)
            pool.release(element)
            time.sleep(0.02)

    for name in ["one", "two", "three"]:
        start(name, work)
    ready()
    rest()


class Feed:
    """Takes samples from a queue, and is no pool."""

    def __init__(self):
        self.samples = queue.Queue()

    def acquire(self):
        return self.samples.get()


def feed():
    """A worker waits for samples that come now and then."""
    source = Feed()

    def work():
        while True:
            print(source.acquire(), flush=True)

    start("one", work)
    ready()
    rest()


globals()[sys.argv[1].replace("-", "_")]()
