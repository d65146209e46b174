"""Sockets whose queues are known.

    sockets.py queues    one of each kind, with bytes that nobody reads; a child at the other end of some.
                         A line of input: reads some of them empty; the next: sends more, and says when.
    sockets.py reuse N   N connections; each line of input: closes them and opens others by the same numbers
    sockets.py many N    N connected sockets, of every kind in turn
    sockets.py serve A   listens on address A (host:port, or a path), accepts one and reads nothing
    sockets.py call A    connects there, sends 4,321 bytes, and waits

Prints a line of JSON at each step; ends when its input does. Queue lengths are its own: what it sent and
did not read.
"""

import fcntl
import json
import os
import resource
import select
import socket
import struct
import sys
import tempfile
import termios
import time

KEEP = []
TRUTH = {}
SIOCOUTQ = termios.TIOCOUTQ


def say(**words):
    print(json.dumps(words), flush=True)


def ioctl(sock, request):
    return struct.unpack("i", fcntl.ioctl(sock, request, b"\0\0\0\0"))[0]


def note(role, sock, **truth):
    """Remembers a socket under a name, with what its queues hold."""
    KEEP.append(sock)
    truth.update(fd=sock.fileno(), inode=os.fstat(sock.fileno()).st_ino)
    TRUTH[role] = truth
    return sock


def pair_tcp(family, host):
    server = socket.socket(family)
    server.bind((host, 0))
    server.listen(16)
    client = socket.socket(family)
    client.connect(server.getsockname())
    accepted, _ = server.accept()
    KEEP.append(server)
    return client, accepted


def queues():
    for name, family, host in [("tcp4", socket.AF_INET, "127.0.0.1"), ("tcp6", socket.AF_INET6, "::1")]:
        client, accepted = pair_tcp(family, host)
        client.sendall(b"x" * 5000)
        accepted.recv(1)
        note(name, accepted, receive=4999)
        note(name + "-client", client, receive=0)
    # IPv4 through a socket of IPv6.
    server = socket.socket(socket.AF_INET6)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", 0))
    server.listen(4)
    client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
    accepted, _ = server.accept()
    client.sendall(b"m" * 77)
    KEEP.extend((server, client))
    note("mapped", accepted, receive=77)

    listener = note("listener", socket.socket(), backlog=3, limit=9)
    listener.bind(("127.0.0.1", 0))
    listener.listen(9)
    for number in range(3):
        KEEP.append(socket.create_connection(listener.getsockname()))
    note("waiting", KEEP[-1], receive=0)

    bound = note("udp", socket.socket(socket.AF_INET, socket.SOCK_DGRAM), messages=4)
    bound.bind(("127.0.0.1", 0))
    sender = note("udp-sender", socket.socket(socket.AF_INET, socket.SOCK_DGRAM), receive=0)
    sender.connect(bound.getsockname())
    for _ in range(4):
        sender.send(b"u" * 100)
    # No room for more than a few: the rest is dropped.
    small = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.bind(("::1", 0))
    note("udp-full", small)
    for _ in range(100):
        sender6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sender6.sendto(b"d" * 500, small.getsockname())
        sender6.close()

    a, b = socket.socketpair()
    a.sendall(b"s" * 700)
    a.sendall(b"s" * 70)
    b.recv(100)
    note("stream-sender", a)
    note("stream", b, receive=670)
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.send(b"d" * 50)
    a.send(b"d" * 60)
    KEEP.append(a)
    note("dgram", b, receive=50, messages=2)
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    a.send(b"q" * 50)
    a.send(b"q" * 60)
    KEEP.append(a)
    note("seqpacket", b, receive=110, messages=2)
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "listening")
    listener = note("unix-listener", socket.socket(socket.AF_UNIX), backlog=1, limit=5)
    listener.bind(path)
    listener.listen(5)
    waiting = note("unix-waiting", socket.socket(socket.AF_UNIX), receive=0)
    waiting.connect(path)
    TRUTH["unix-listener"]["path"] = path
    hidden = note("abstract", socket.socket(socket.AF_UNIX), backlog=0, limit=2)
    hidden.bind("\0remora-%d" % os.getpid())
    hidden.listen(2)
    note("netlink", socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))

    client, accepted = pair_tcp(socket.AF_INET, "127.0.0.1")
    client.sendall(b"bye")
    client.close()
    # A FIN counts as a byte.
    note("left", accepted, receive=4)
    client, accepted = pair_tcp(socket.AF_INET, "127.0.0.1")
    client.setblocking(False)
    sent = 0
    try:
        while True:
            sent += client.send(b"w" * 65536)
    except BlockingIOError:
        pass
    note("full", accepted)
    note("full-sender", client)

    # A child holds the other end of these.
    served, calling = pair_tcp(socket.AF_INET, "127.0.0.1")
    unix_served, unix_calling = socket.socketpair()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        served.close()
        unix_served.close()
        for sock in KEEP:
            sock.close()
        calling.sendall(b"c" * 1234)
        unix_calling.sendall(b"c" * 12)
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(0)
    calling.close()
    unix_calling.close()
    note("served", served, receive=1234)
    note("unix-served", unix_served, receive=12)
    select.select([served], [], [])
    select.select([unix_served], [], [])

    epoll = select.epoll()
    epoll.register(by("tcp4"), select.EPOLLIN | select.EPOLLET)
    epoll.register(by("tcp6"), select.EPOLLOUT)
    epoll.register(by("udp"), select.EPOLLIN | select.EPOLLONESHOT)
    epoll.poll(0.01)
    epoll.poll(0.01)
    # Probes of the closed window bring a little more for a while.
    before, now = -1, 0
    while before != now:
        before = now
        time.sleep(1)
        now = ioctl(by("full"), termios.FIONREAD)
    TRUTH["full"]["receive"] = now
    TRUTH["full-sender"]["send"] = ioctl(by("full-sender"), SIOCOUTQ)
    TRUTH["stream-sender"]["send"] = ioctl(by("stream-sender"), SIOCOUTQ)
    say(pid=os.getpid(), tid=os.getpid(), child=child, epoll=epoll.fileno(), sockets=TRUTH)
    pairs = [("tcp4", "tcp4-client"), ("stream", "stream-sender")]
    for number, _ in enumerate(sys.stdin):
        now_ns = time.monotonic_ns()
        for role, peer in pairs:
            if number % 2 == 0:
                by(role).recv(65536)
            else:
                by(peer).sendall(b"n" * 88)
        say(at_ns=now_ns)


def by(role):
    fd = TRUTH[role]["fd"]
    return next(sock for sock in KEEP if sock.fileno() == fd)


def reuse(count):
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(count)
    fds = []
    for _ in range(count):
        client = socket.create_connection(server.getsockname())
        KEEP.extend((client, server.accept()[0]))
        fds.append(client.fileno())
    say(pid=os.getpid(), fds=fds)
    for _ in sys.stdin:
        for fd in fds:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                os.dup2(other.fileno(), fd)
        say(done=True)


def many(count):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kinds = [
        lambda: pair_tcp(socket.AF_INET, "127.0.0.1"),
        socket.socketpair,
        lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    ]
    pairs = []
    while 2 * len(pairs) < count:
        a, b = kinds[len(pairs) % len(kinds)]()
        a.send(b"z" * 9)
        pairs.append((a, b))
        # Its listening sockets are not wanted here.
        for server in KEEP:
            server.close()
        KEEP.clear()
    say(pid=os.getpid(), fds=[sock.fileno() for pair in pairs for sock in pair], kept=len(pairs))
    sys.stdin.read()


def address(text):
    if "/" in text:
        return socket.AF_UNIX, text
    host, port = text.rsplit(":", 1)
    return socket.AF_INET, (host, int(port))


def serve(text):
    family, place = address(text)
    server = socket.socket(family)
    server.bind(place)
    server.listen(4)
    say(pid=os.getpid())
    accepted, _ = server.accept()
    select.select([accepted], [], [])
    time.sleep(0.1)
    say(fd=accepted.fileno(), inode=os.fstat(accepted.fileno()).st_ino)
    sys.stdin.read()


def call(text):
    family, place = address(text)
    sock = socket.socket(family)
    sock.connect(place)
    sock.sendall(b"l" * 4321)
    say(pid=os.getpid(), fd=sock.fileno(), inode=os.fstat(sock.fileno()).st_ino)
    sys.stdin.read()


mode, arguments = sys.argv[1], sys.argv[2:]
{
    "queues": queues,
    "reuse": lambda: reuse(int(arguments[0])),
    "many": lambda: many(int(arguments[0])),
    "serve": lambda: serve(arguments[0]),
    "call": lambda: call(arguments[0]),
}[mode]()
