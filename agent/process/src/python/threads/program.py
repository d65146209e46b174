import asyncio, functools, os, sys, threading, time

go = threading.Semaphore(0)
native = {}


def park():
    native[threading.get_ident()] = threading.get_native_id()
    go.release()
    time.sleep(1000)


def deep(left):
    if left:
        return deep(left - 1)
    park()


def generator():
    def inner():
        yield 1
        park()
        yield 2

    yield from inner()


def run_generators():
    return [x for g in [generator()] for x in (y for y in g)]


class Awaitable:
    def __await__(self):
        yield
        park()


async def leaf():
    await Awaitable()


async def branch():
    async with Context():
        await leaf()


class Context:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


def run_coroutine():
    coroutine = branch()
    coroutine.send(None)
    coroutine.send(None)


def key(item):
    return functools.reduce(lambda a, b: park(), [1, 2])


def callback():
    sorted([1], key=key)


def raising():
    try:
        raise ValueError
    except ValueError:
        try:
            1 / 0
        finally:
            park()


class WithProperty:
    @property
    def slow(self):
        return getattr(self, "missing")

    def __getattr__(self, name):
        park()


def attribute():
    return WithProperty().slow


async def agen():
    yield 1
    park()


async def consume():
    async for _ in agen():
        pass


def run_loop():
    asyncio.new_event_loop().run_until_complete(consume())


work = [lambda: deep(300), run_generators, run_coroutine, callback, raising, attribute, run_loop]
threads = [threading.Thread(target=one, daemon=True, name="at work %d" % at) for at, one in enumerate(work)]
for thread in threads:
    thread.start()
for _ in threads:
    go.acquire()
time.sleep(0.5)
for ident, frame in sys._current_frames().items():
    if ident not in native:
        continue
    frames = []
    while frame:
        frames.append("%s:%d" % (frame.f_code.co_name, frame.f_lineno))
        frame = frame.f_back
    print(ident, native[ident], *frames)
print("end", flush=True)
input()
