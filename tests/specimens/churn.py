"""Tasks that are made, named, awaited and done by the thousand, in several layers.

Prints a line when it runs; ends when its standard input ends. Every name and every function that a
task of it can have is known: see `tests/tests/tasks.rs`.
"""

import asyncio
import sys
import threading


async def inner(turns):
    for _ in range(turns):
        await asyncio.sleep(0)


async def middle(turns):
    await inner(turns)


async def outer(turns):
    await middle(turns)


async def source(count):
    for number in range(count):
        await asyncio.sleep(0)
        yield number


async def consumer(count):
    async for _ in source(count):
        pass


async def wave(number):
    names = ["churn-%d-%d" % (number, i) for i in range(40)]
    tasks = [
        asyncio.create_task(outer(i % 5) if i % 4 else consumer(i % 3), name=name)
        for i, name in enumerate(names)
    ]
    await asyncio.gather(*tasks)


async def main(stop):
    number = 0
    while not stop.is_set():
        await asyncio.gather(*(wave(number + i) for i in range(5)))
        number += 5
    print(number * 40, flush=True)


def watch(stop):
    sys.stdin.read()
    stop.set()


stop = threading.Event()
threading.Thread(target=watch, args=(stop,), daemon=True).start()
print("ready", flush=True)
asyncio.run(main(stop))
