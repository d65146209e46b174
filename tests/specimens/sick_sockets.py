"""Sockets of an asyncio program that are sick in one known way, and healthy ones that look like it.

    sick_sockets.py MODE

The process that prints the ready line is the one to look at; a child that it forks is at the other end. It
stays as it is until it is killed, for 300 s at the most.
"""

import asyncio
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time

KEPT = []
PR_SET_PDEATHSIG = 1


def ready():
    print("ready " + json.dumps({"pid": os.getpid(), "tids": {"main": os.getpid()}}), flush=True)


def child(run, *arguments):
    """Runs a function in a child that dies with this process."""
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.alarm(300)
        try:
            run(*arguments)
        except (BrokenPipeError, ConnectionResetError):
            pass
        os._exit(0)


def listening(backlog=128):
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(backlog)
    return server


def pair():
    """Both ends of a connection over TCP: ours, and the one that goes to a child."""
    with listening() as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def served(run, *arguments):
    """Our end of a connection to a child that runs this."""
    ours, theirs = pair()

    def there():
        ours.close()
        run(theirs, *arguments)

    child(there)
    theirs.close()
    ours.setblocking(False)
    return ours


def every(seconds, data):
    """A child's end that sends so often."""

    def run(sock):
        while True:
            sock.sendall(data)
            time.sleep(seconds)

    return run


def hear(sock):
    """Reads away what comes, for ever."""
    while sock.recv(65536):
        pass
    signal.pause()


async def heartbeat():
    """What keeps the loop from being asleep all the time."""
    while True:
        await asyncio.sleep(0.5)


class Feed(asyncio.Protocol):
    """Reads a feed; `each` is done with what came."""

    def __init__(self, each):
        self.each = each

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.each(self.transport, data)


async def feed(sock, each):
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: Feed(each), sock=sock)
    KEPT.append((transport, asyncio.create_task(heartbeat(), name="heartbeat")))
    return transport


# ---- sick ----


async def paused():
    """It pauses reading at the first message, and never resumes."""

    def pause(transport, _data):
        transport.pause_reading()

    # One that has said all it has to say: no byte comes after the pause.
    def there(sock):
        sock.sendall(b"f" * 500)
        time.sleep(0.5)
        sock.sendall(b"f" * 500)
        signal.pause()

    await feed(served(there), pause)
    await asyncio.sleep(1.5)
    ready()
    await asyncio.sleep(300)


async def blocked():
    """A callback waits as no callback may, with data waiting in the loop's sockets."""

    def handle_forever(_transport, _data):
        ready()
        time.sleep(300)

    await feed(served(every(0.05, b"f" * 200)), handle_forever)
    await asyncio.sleep(300)


async def silent_feed():
    """A feed that talked, and is silent: `pong` answers of ours are its only other traffic."""

    def there(sock):
        for _ in range(600):
            sock.sendall(b"tick" * 20)
            time.sleep(0.005)
        signal.pause()

    count = 0

    def note(_transport, _data):
        nonlocal count
        count += 1

    await feed(served(there), note)
    await asyncio.sleep(4)
    ready()
    await asyncio.sleep(300)


async def half_open_feed():
    """The same; this side asks whether the other is there and has no answer."""

    def there(sock):
        until = time.monotonic() + 3
        while time.monotonic() < until:
            sock.sendall(b"tick" * 20)
            time.sleep(0.005)
        signal.pause()

    transport = await feed(served(there), lambda _transport, _data: None)
    for _ in range(10):
        await asyncio.sleep(0.5)
        transport.write(b"ping")
    ready()
    await asyncio.sleep(300)


def fed(sock):
    """Fifty a second for ten seconds, then nothing."""
    for _ in range(500):
        sock.sendall(b"tick" * 20)
        time.sleep(0.02)
    signal.pause()


async def young_feed():
    """A feed that was never asked for anything falls silent while it is watched."""
    await feed(served(fed), lambda _transport, _data: None)
    ready()
    await asyncio.sleep(300)


async def drain():
    """The other end reads nothing: the task waits for room."""
    ours, theirs = pair()

    def there():
        ours.close()
        signal.pause()

    child(there)
    theirs.close()
    _, writer = await asyncio.open_connection(sock=ours)
    KEPT.append(asyncio.create_task(heartbeat(), name="heartbeat"))

    async def order_router():
        while True:
            writer.write(b"o" * 65536)
            await writer.drain()

    KEPT.append(asyncio.create_task(order_router(), name="order-router"))
    await asyncio.sleep(0.5)
    ready()
    await asyncio.sleep(300)


async def leak_sockets():
    """Opens a connection again and again, and forgets it without closing."""

    def there(server):
        kept = []
        while True:
            kept.append(server.accept()[0])

    server = listening()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    child(there, server)
    address = server.getsockname()
    server.close()
    ready()
    while True:
        await asyncio.sleep(0.1)
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        KEPT.append(sock)


async def near_limit():
    """Nearly all of its descriptors are in use: files that nobody closed."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    while True:
        file = open(__file__, "rb")
        KEPT.append(file)
        if file.fileno() >= 245:
            break
    ready()
    await asyncio.sleep(300)


# ---- healthy ----


async def flow_control():
    """Reads in bursts: what comes meanwhile waits for half a second."""
    sock = served(every(0.01, b"m" * 400))
    ready()
    while True:
        await asyncio.sleep(0.5)
        while True:
            try:
                if not sock.recv(65536):
                    return
            except BlockingIOError:
                break


async def steady_feed():
    """A feed that goes on."""
    await feed(served(every(0.02, b"tick" * 20)), lambda _transport, _data: None)
    ready()
    await asyncio.sleep(300)


async def idle_pool():
    """Connections that had requests and answers of many segments, and are kept for the next ones."""

    def there(sock):
        while sock.recv(100):
            for _ in range(300):
                sock.sendall(b"row" * 30)

    loop = asyncio.get_running_loop()
    for _ in range(5):
        sock = served(there)
        for _ in range(3):
            await loop.sock_sendall(sock, b"select")
            got = 0
            while got < 300 * 90:
                got += len(await loop.sock_recv(sock, 65536))
        await feed(sock, lambda _transport, _data: None)
    ready()
    await asyncio.sleep(300)


async def young_download():
    """The same as an answer: it was asked for, and ends."""

    def there(sock):
        sock.recv(100)
        fed(sock)

    sock = served(there)
    sock.send(b"get")
    await feed(sock, lambda _transport, _data: None)
    ready()
    await asyncio.sleep(300)


async def young_bursts():
    """What comes unasked in bursts is often silent for a while."""

    def there(sock):
        for _ in range(6):
            for _ in range(40):
                sock.sendall(b"line" * 20)
                time.sleep(0.002)
            time.sleep(1.5)
        signal.pause()

    await feed(served(there), lambda _transport, _data: None)
    ready()
    await asyncio.sleep(300)


async def saw_tooth():
    """Files pile up and are closed together, as a collector does."""
    ready()
    while True:
        files = []
        for _ in range(60):
            files.append(open(__file__, "rb"))
            await asyncio.sleep(0.05)
        for file in files:
            file.close()


async def warm_up():
    """A pool of connections that fills in its first seconds."""

    def there(server):
        kept = []
        while True:
            kept.append(server.accept()[0])

    server = listening()
    child(there, server)
    address = server.getsockname()
    server.close()
    ready()
    for number in range(60):
        await asyncio.sleep(0.005 * number)
        KEPT.append(socket.create_connection(address))
    await asyncio.sleep(300)


async def more_clients():
    """A server that clients come to and stay at."""

    def there(address):
        kept = []
        while True:
            kept.append(socket.create_connection(address))
            time.sleep(0.1)

    server = await asyncio.start_server(lambda _reader, writer: KEPT.append(writer), "127.0.0.1", 0)
    child(there, server.sockets[0].getsockname())
    ready()
    await asyncio.sleep(300)


signal.alarm(300)
asyncio.run(
    {
        "paused": paused,
        "blocked": blocked,
        "silent-feed": silent_feed,
        "half-open-feed": half_open_feed,
        "young-feed": young_feed,
        "young-download": young_download,
        "young-bursts": young_bursts,
        "drain": drain,
        "leak-sockets": leak_sockets,
        "near-limit": near_limit,
        "flow-control": flow_control,
        "steady-feed": steady_feed,
        "idle-pool": idle_pool,
        "saw-tooth": saw_tooth,
        "warm-up": warm_up,
        "more-clients": more_clients,
    }[sys.argv[1]]()
)
