"""`hostile.py`: an asyncio program with some tasks, some of which do a little, for hosts and file systems that make
it hard to look. Says when it is ready; ends by itself after half an hour (twenty rounds of the matrix take ten minutes).
"""

import asyncio
import json
import os
import signal


def computes():
    return sum(number * number for number in range(2000))


async def works():
    while True:
        computes()
        await asyncio.sleep(0.02)


async def waits(event):
    await event.wait()


async def main():
    event = asyncio.Event()
    tasks = [asyncio.create_task(work) for work in (works(), works(), waits(event))]
    await asyncio.sleep(0)
    print("ready", json.dumps({"pid": os.getpid(), "tids": {"main": os.getpid()}}), flush=True)
    await asyncio.gather(*tasks)


signal.alarm(1800)
asyncio.run(main())
