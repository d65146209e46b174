"""A server of aiohttp, on the loop that its second argument names: asyncio or uvloop.

`web.py PORT LOOP`. Each request waits a little and asks another task for its answer.
"""

import asyncio
import sys

from aiohttp import web


async def answers(queue):
    while True:
        future = await queue.get()
        await asyncio.sleep(0.002)
        if not future.done():
            future.set_result("hello")


async def ask(queue):
    future = asyncio.get_running_loop().create_future()
    await queue.put(future)
    return await future


async def handle(request):
    return web.Response(text=await ask(request.app["queue"]))


async def start(app):
    app["queue"] = asyncio.Queue()
    app["answers"] = [
        asyncio.create_task(answers(app["queue"]), name="answers-%d" % i) for i in range(4)
    ]


async def main(port):
    app = web.Application()
    app.on_startup.append(start)
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if sys.argv[2] == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main(int(sys.argv[1])))
