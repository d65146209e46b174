"""`nesting.py burn|wait`: threads in known nestings, which say what CPython itself says of them.

The leaf of each asks the interpreter for the frames of its own thread, then spins or sleeps for ever
on that very line. The line `ready {...}` comes when all of them are there.
"""

import asyncio
import contextlib
import ctypes
import functools
import json
import os
import signal
import sys
import threading
import time

MODE = sys.argv[1]
said = {}


def say():
    """Notes the frames of the caller, leaf first: name, file, line. Nothing is returned."""
    frames, frame = [], sys._getframe(1)
    while frame:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        frames.append([name, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    said[threading.current_thread().name] = frames


def stay():
    """Spins; sleeping is done by C alone."""
    while True:
        pass


rest = stay if MODE == "burn" else functools.partial(time.sleep, 3600)


def leaf():
    say() or rest()


def sync():
    def inner():
        leaf()

    def middle():
        return [inner(), 1]

    middle()


class Outer:
    class Inner:
        def method(self):
            return self.static()

        @staticmethod
        def static():
            return Outer.of_class(1, key=2)

    @classmethod
    def of_class(cls, *args, **more):
        return cls().attribute

    @property
    def attribute(self):
        return +self

    def __pos__(self):
        leaf()


def classes():
    Outer.Inner().method()


def small_functions():
    twice = lambda f: (f(), f())
    return [twice(leaf) for _ in range(1) if {n: n for n in range(3)}]


def generators():
    def numbers():
        yield 1
        leaf()

    def delegates():
        yield from numbers()

    for _ in delegates():
        pass


def coroutines():
    async def inner():
        await asyncio.sleep(0)
        leaf()

    async def source():
        yield 1
        await inner()

    async def outer():
        async for _ in source():
            pass

    async def main():
        await asyncio.gather(asyncio.sleep(3600), outer())

    asyncio.run(main())


def callbacks():
    def by_key(_):
        return functools.reduce(fold, [1, 2])

    def fold(_left, _right):
        return list(map(mapped, [1]))

    def mapped(_):
        return max([1, 2], key=lambda n: leaf())

    sorted([1], key=by_key)


def from_c():
    callback = ctypes.CFUNCTYPE(None)(leaf)
    callback()


def exceptions():
    def fails(depth):
        if depth == 0:
            raise ValueError("from the depth")
        fails(depth - 1)

    def handles():
        try:
            fails(20)
        except ValueError:
            finishes()

    def finishes():
        try:
            return 1
        finally:
            leaf()

    handles()


def deep(left=300):
    if left > 1:
        deep(left - 1)
    else:
        leaf()


def contexts():
    @contextlib.contextmanager
    def around():
        leaf()
        yield

    with around():
        pass


def compiled():
    exec(compile("def made():\n\n    leaf()\nmade()", "<made>", "exec"), globals())


def long_lines():
    return (
        1,
        [
            leaf(
            ),
        ],
    )


CHAINS = [sync, classes, small_functions, generators, coroutines, callbacks, exceptions, deep,
          contexts, compiled, long_lines, from_c]


def main():
    signal.alarm(300)  # should the test not be there any more
    tids = {"main": threading.get_native_id()}
    for chain in CHAINS:
        thread = threading.Thread(target=chain, name=chain.__name__, daemon=True)
        thread.start()
        while thread.name not in said:
            time.sleep(0.01)
        tids[thread.name] = thread.native_id
    print("ready", json.dumps({"pid": os.getpid(), "tids": tids, "frames": said}), flush=True)
    time.sleep(3600)


main()
