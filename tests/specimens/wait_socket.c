/* Waits on sockets: unix and TCP over loopback; for bytes, for room, for a peer. */
#include "specimen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { CHUNK = 64 * 1024 };

static int here, there; /* two ends of one connection */
static int listener;
static char bytes_here[CHUNK], bytes_there[CHUNK];

static union address {
    struct sockaddr any;
    struct sockaddr_in tcp;
    struct sockaddr_un local;
} address;
static socklen_t address_length;

/* Listens on a free loopback port, or on an abstract unix name that the kernel picks. */
static void make_listener(int family, int backlog)
{
    address_length = sizeof address;
    listener = (int)must(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    union address bound = {0};
    socklen_t length = sizeof(sa_family_t);
    bound.any.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        bound.tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        length = sizeof bound.tcp;
    }
    must(bind(listener, &bound.any, length), "bind");
    must(getsockname(listener, &address.any, &address_length), "getsockname");
    must(listen(listener, backlog), "listen");
}

static int new_socket(void)
{
    return (int)must(socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
}

static void make_tcp_pair(void)
{
    make_listener(AF_INET, 4);
    here = new_socket();
    must(connect(here, &address.any, address_length), "connect");
    there = (int)must(accept(listener, NULL, NULL), "accept");
}

static void make_unix_pair(void)
{
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
    here = ends[0];
    there = ends[1];
}

static void shrink_buffers(void)
{
    int size = 4096;
    setsockopt(here, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(there, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

static void make_small_tcp_pair(void)
{
    make_tcp_pair();
    shrink_buffers();
}

static void make_small_unix_pair(void)
{
    make_unix_pair();
    shrink_buffers();
}

/* receive */
WAIT_CALL(receive, SYS_recvfrom, here, (long)bytes_here, CHUNK, 0, 0, 0)
OUTER(receive)
/* the same wait by read(2): the descriptor's kind must tell that it is a socket */
WAIT_CALL(read_socket, SYS_read, here, (long)bytes_here, CHUNK, 0, 0, 0)
OUTER(read_socket)

static void send_byte(void)
{
    must(send(there, bytes_there, 1, 0), "send");
}

/* send: fill what the buffers take without waiting, then wait for room */
WAIT_CALL(send, SYS_sendto, here, (long)bytes_here, CHUNK, 0, 0, 0)
static NAMED void outer_send(void)
{
    waited(wait_in_send(), "send");
}

static void drain_chunk(void)
{
    size_t got = 0;
    while (got < CHUNK) {
        ssize_t more = recv(there, bytes_there, CHUNK, MSG_DONTWAIT);
        if (more < 0 && errno == EAGAIN)
            break;
        got += (size_t)must(more, "recv");
    }
}

/* accept */
static void make_tcp_listener(void)
{
    make_listener(AF_INET, 64);
}

static void make_full_unix_listener(void)
{
    make_listener(AF_UNIX, 0);
    must(connect(new_socket(), &address.any, address_length), "first connect");
}

static void make_full_tcp_listener(void)
{
    make_listener(AF_INET, 0);
    must(connect(new_socket(), &address.any, address_length), "first connect");
}

static void knock(void)
{
    int fd = new_socket();
    struct linger linger = {1, 0}; /* reset at close: no port is left behind in TIME_WAIT */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    must(connect(fd, &address.any, address_length), "connect");
    close(fd);
}

static NAMED long wait_in_accept(void)
{
    return raw_syscall(SYS_accept4, listener, 0, 0, SOCK_CLOEXEC, 0, 0);
}

static NAMED void outer_accept(void)
{
    long fd = waited(wait_in_accept(), "accept");
    if (fd >= 0)
        close((int)fd);
}

/* connect: the backlog is full, so it waits until someone accepts (unix) or for ever (TCP) */
static int caller;
WAIT_CALL(connect, SYS_connect, caller, (long)&address, address_length, 0, 0, 0)
static NAMED void outer_connect(void)
{
    caller = new_socket();
    waited(wait_in_connect(), "connect");
    close(caller);
}

static void accept_one(void)
{
    close((int)must(accept(listener, NULL, NULL), "accept"));
}

const struct wait_mode wait_modes_socket[] = {
    {"receive-unix", "wait_in_receive", make_unix_pair, outer_receive, send_byte, NULL},
    {"receive-tcp", "wait_in_receive", make_tcp_pair, outer_receive, send_byte, NULL},
    {"read-socket", "wait_in_read_socket", make_unix_pair, outer_read_socket, send_byte, NULL},
    {"send-unix", "wait_in_send", make_small_unix_pair, outer_send, drain_chunk, NULL},
    {"send-tcp", "wait_in_send", make_small_tcp_pair, outer_send, drain_chunk, NULL},
    {"accept", "wait_in_accept", make_tcp_listener, outer_accept, knock, NULL},
    {"connect-unix", "wait_in_connect", make_full_unix_listener, outer_connect, accept_one, NULL},
    {"connect-tcp", "wait_in_connect", make_full_tcp_listener, outer_connect, NULL, NULL},
    {0},
};
