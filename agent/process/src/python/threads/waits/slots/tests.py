# Pools that threads wait for a slot of, with the attributes and functions of the libraries that they stand for. Prints for each
# pool its way, its address, its size and what is taken, then the identities of waiters, then `holder=slots`; then `end`.
import queue
import sys
import threading
import time

SQLALCHEMY = '''
import queue, threading
class QueuePool:
    def __init__(self, size, more):
        self._pool = queue.Queue(size)
        self._overflow = -size
        self._max_overflow = more
    def _do_get(self):
        wait = self._overflow >= self._max_overflow
        try:
            return self._pool.get(wait)
        except queue.Empty:
            self._overflow += 1
            return Record()
class Record:
    pass
class _ConnectionFairy:
    def __init__(self, pool, record):
        self._pool, self._connection_record = pool, record
class Connection:
    __slots__ = ("_dbapi_connection",)
    def __init__(self, pool):
        self._dbapi_connection = _ConnectionFairy(pool, pool._do_get())
'''
PSYCOPG = '''
import collections, threading
class BasePool:
    pass
class ConnectionPool(BasePool):
    def __init__(self, size):
        self._max_size, self._nconns = size, size
        self._pool = collections.deque(Connection() for _ in range(size))
        self._more = threading.Condition()
    def _getconn_unchecked(self):
        with self._more:
            while not self._pool:
                self._more.wait()
            return self._pool.popleft()
    def getconn(self):
        connection = self._getconn_unchecked()
        connection._pool = self
        return connection
class Connection:
    _pool = None
'''


def library(source, path):
    names = {}
    exec(compile(source, "/usr/lib/python3/site-packages/" + path, "exec"), names)
    return names


class Home:
    """Written by hand."""

    def __init__(self, size):
        self.idle = queue.LifoQueue(size)
        for number in range(size):
            self.idle.put(number)

    def acquire(self):
        return self.idle.get()

    def release(self, number):
        self.idle.put(number)


class Feed:
    """No pool: it takes nothing back."""

    def __init__(self):
        self.items = queue.Queue()

    def acquire(self):
        return self.items.get()


def nested(take, barrier):
    first = take()
    barrier.wait()
    second = take()
    print(first, second)


def asks(take):
    print(take())


def case(way, pool, take, size, taken, holders, extra):
    """`holders` threads take one each and want another, `extra` want one."""
    barrier = threading.Barrier(holders + 1)
    threads = [threading.Thread(target=nested, args=(take, barrier), daemon=True) for _ in range(holders)]
    for thread in threads:
        thread.start()
    barrier.wait()
    more = [threading.Thread(target=asks, args=(take,), daemon=True) for _ in range(extra)]
    for thread in more:
        thread.start()
    time.sleep(0.1)
    waiters = ",".join(str(thread.ident) for thread in threads + more)
    held = ",".join(str(thread.ident) for thread in threads)
    print(way, id(pool), size, taken, waiters, held, flush=True)
    return threads


sql, psy = library(SQLALCHEMY, "sqlalchemy/pool/impl.py"), library(PSYCOPG, "psycopg_pool/pool.py")
one = sql["QueuePool"](2, 1)
two = psy["ConnectionPool"](2)
three, four = Home(2), Feed()
case("sqlalchemy", one, lambda: sql["Connection"](one), 3, 3, 3, 1)
case("psycopg", two, two.getconn, 2, 2, 2, 1)
case("queue", three, three.acquire, 2, 2, 2, 1)
feed = threading.Thread(target=asks, args=(four.acquire,), daemon=True)
feed.start()
time.sleep(0.1)
print("end", flush=True)
sys.stdin.read()
