"""A program with tasks of known kinds that all stand still, and its own account of them.

Prints one JSON document, then waits until its standard input ends. The account is what Python itself
says: names, coroutine chains by `cr_await` and its like, lines by the frames, and what each task was
made to await. `python3 tasks.py [extra tasks]`; with UVLOOP in the environment, on that loop.
"""

import asyncio
import functools
import json
import os
import sys
import threading
import types

PY = sys.version_info
KEEP = []  # what must not be collected


def following(awaitable):
    """Coroutines from an awaitable inwards, and what the last one awaits."""
    import gc

    while True:
        if isinstance(awaitable, types.CoroutineType):
            yield awaitable, awaitable.cr_frame, awaitable.cr_await
            awaitable = awaitable.cr_await
        elif isinstance(awaitable, types.GeneratorType):
            yield awaitable, awaitable.gi_frame, awaitable.gi_yieldfrom
            awaitable = awaitable.gi_yieldfrom
        elif isinstance(awaitable, types.AsyncGeneratorType):
            yield awaitable, awaitable.ag_frame, awaitable.ag_await
            awaitable = awaitable.ag_await
        elif type(awaitable).__name__ in (
            "async_generator_asend",
            "async_generator_athrow",
            "coroutine_wrapper",
            "anext_awaitable",
        ):
            awaitable = gc.get_referents(awaitable)[0]
        else:
            return


def account(task):
    stack = [
        {
            "function": coroutine.__qualname__,
            "file": frame.f_code.co_filename,
            "line": frame.f_lineno,
        }
        for coroutine, frame, _ in following(task.get_coro())
    ]
    return {
        "id": hex(id(task)),
        "name": task.get_name(),
        "class": type(task).__name__,
        "loop": hex(id(asyncio.get_running_loop())),
        "stack": stack,
    }


async def deep(levels, what):
    if levels:
        await deep(levels - 1, what)
    else:
        await what


class Awaitable:
    """Awaited by a generator of its own."""

    def __init__(self, what):
        self.what = what

    def __await__(self):
        return (yield from self.what.__await__())


@types.coroutine
def old_style(what):
    yield from what.__await__()


async def numbers(what):
    yield 1
    await what
    yield 2


async def iterate(what):
    async for number in numbers(what):
        KEEP.append(number)


async def hold(lock, forever):
    async with lock:
        await forever


async def take(lock):
    async with lock:
        pass


async def notified(condition):
    async with condition:
        await condition.wait()


async def listen(ready):
    server = await asyncio.start_server(lambda r, w: KEEP.append((r, w)), "127.0.0.1", 0)
    ready.set_result(server.sockets[0].getsockname())
    async with server:
        await server.serve_forever()


async def read_stream(address):
    reader, writer = await asyncio.open_connection(*address)
    KEEP.append(writer)
    await reader.readline()


async def read_socket(address):
    import socket

    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    KEEP.append(sock)
    await loop.sock_connect(sock, address)
    await loop.sock_recv(sock, 10)


async def group(forever):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deep(0, forever), name="in-group-1")
        tasks.create_task(deep(0, forever), name="in-group-2")


class Mixin:
    pass


class OwnTask(Mixin, asyncio.Task):
    """A class derived from Task, with attributes of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.request = "GET /"


async def many(count):
    for _ in range(count):
        KEEP.append(asyncio.ensure_future(deep(3, asyncio.sleep(3600))))
    await asyncio.sleep(0)


def in_thread(started):
    async def main():
        asyncio.get_running_loop().call_soon(started.set)
        await asyncio.sleep(3600)

    asyncio.run(main())


async def main(extra):
    loop = asyncio.get_running_loop()
    expected = {}

    def start(name, coroutine, kind, **more):
        task = asyncio.create_task(coroutine, name=name)
        expected[name] = {"task": task, "awaits": kind, **more}
        return task

    forever = loop.create_future()
    sleeper = start("sleeper", asyncio.sleep(3600), "sleep")
    start("five-deep", deep(4, asyncio.sleep(3600)), "sleep")
    start("very deep", deep(200, asyncio.sleep(3600)), "sleep")
    unnamed = asyncio.ensure_future(deep(1, forever))
    expected[unnamed.get_name()] = {"task": unnamed, "awaits": "future", "object": forever}
    start("größe \U0001f600", deep(0, forever), "future", object=forever)
    start("x" * 3000, deep(0, forever), "future", object=forever)
    start("awaits-task", deep(1, sleeper), "task", tasks=[sleeper])
    start("shielded", deep(0, asyncio.shield(sleeper)), "task", tasks=[sleeper])
    start("generator", old_style_caller(forever), "future", object=forever)
    start("awaitable", deep(0, Awaitable(forever)), "future", object=forever)
    start("iterates", iterate(forever), "future", object=forever)
    gathered = [start("gathered-%d" % i, deep(0, forever), "future") for i in range(3)]
    start("gathers", gather(gathered), "gather", tasks=gathered)
    start("waits", wait(gathered), "wait", tasks=gathered)
    timed = start("timed", deep(0, forever), "future", object=forever)
    start("wait_for", asyncio.wait_for(timed, 3600), "task", tasks=[timed])
    lock, event, condition = asyncio.Lock(), asyncio.Event(), asyncio.Condition()
    queue, full, semaphore = asyncio.Queue(), asyncio.Queue(1), asyncio.Semaphore(0)
    full.put_nowait(1)
    KEEP.extend([lock, event, condition, queue, full, semaphore])
    start("holds", hold(lock, forever), "future", object=forever)
    start("takes-1", take(lock), "lock", object=lock)
    start("takes-2", take(lock), "lock", object=lock)
    start("event", event.wait(), "event", object=event)
    start("condition", notified(condition), "condition", object=condition)
    start("semaphore", semaphore.acquire(), "semaphore", object=semaphore)
    start("gets", queue.get(), "queue", object=queue)
    start("puts", full.put(2), "queue", object=full)
    start("joins", full.join(), "queue", object=full)
    ready = loop.create_future()
    serving = "server" if "UVLOOP" not in os.environ else None
    start("server", listen(ready), serving)
    address = await ready
    start("stream", read_stream(address), "stream")
    start("socket", read_socket(address), None if "UVLOOP" in os.environ else "socket")
    blocker = threading.Event()
    start("executor", deep(0, in_executor(loop, blocker)), "executor")
    # It ends with this process, however that ends.
    child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
    KEEP.append(child)
    start("child", child.wait(), None if "UVLOOP" in os.environ else "process")
    own = OwnTask(deep(1, forever), loop=loop)
    own.set_name("own class")
    expected["own class"] = {"task": own, "awaits": "future", "object": forever}
    pure = asyncio.tasks._PyTask(deep(1, forever), loop=loop, name="pure python")
    expected["pure python"] = {"task": pure, "awaits": "future", "object": forever}
    wake = loop.create_future()
    start("woken", deep(2, wake), None, state="ready")
    if PY >= (3, 11):
        start("group", group(forever), "task_group")
        start("barrier", asyncio.Barrier(2).wait(), "barrier")
    asyncio.ensure_future(many(extra))
    # Whatever has not come to its await by then never will.
    await asyncio.sleep(0.3 + extra / 2000)

    # Nor will these begin, or go on.
    start("new", deep(1, forever), None, state="ready")
    start("cancelled", deep(1, forever), None, state="ready").cancel()
    wake.set_result(None)
    tasks = []
    for task in asyncio.all_tasks():
        if task is asyncio.current_task():
            continue
        seen = account(task)
        known = expected.get(task.get_name(), {})
        seen["state"] = known.get("state", "waiting")
        seen["cancelling"] = task.get_name() == "cancelled"
        seen["awaits"] = known.get("awaits")
        seen["tasks"] = [hex(id(other)) for other in known.get("tasks", [])]
        seen["object"] = hex(id(known["object"])) if "object" in known else None
        tasks.append(seen)
    started = threading.Event()
    threading.Thread(target=in_thread, args=(started,), daemon=True).start()
    started.wait()
    truth = {
        "tasks": tasks,
        "loop": hex(id(loop)),
        "loop_class": type(loop).__name__,
        "tid": threading.get_native_id(),
        "main": account(asyncio.current_task()),
    }
    print(json.dumps(truth), flush=True)
    await last(blocker, child)


async def old_style_caller(what):
    await old_style(what)


async def gather(tasks):
    await asyncio.gather(*tasks)


async def wait(tasks):
    await asyncio.wait(tasks)


async def in_executor(loop, blocker):
    await loop.run_in_executor(None, blocker.wait)


async def last(blocker, child):
    # In the one running task: its loop stands in here, and cannot move.
    stuck(blocker, child)


def stuck(blocker, child):
    sys.stdin.read()
    child.kill()
    os._exit(0)


if "UVLOOP" in os.environ:
    import uvloop

    uvloop.install()
asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
