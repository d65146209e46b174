/* Sockets that are not consumed, each in one known way, and healthy programs that look like it.
 *
 *   sick_sockets MODE
 *
 * The process that prints the ready line is the one to look at; a child is at the other end. It gets itself
 * into its state, says so, and stays so until it is killed, for 300 s at the most.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMED __attribute__((noipa))
#define REQUEST 5000

static char bytes[1 << 20];

static long must(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static void ready(void)
{
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d}}\n", getpid(), getpid());
    fflush(stdout);
}

static void ms(unsigned time)
{
    usleep(time * 1000);
}

/* The other end: a child that dies with its parent. */
static bool child(void)
{
    pid_t parent = getpid();
    if (must(fork(), "fork") != 0)
        return false;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        exit(1);
    alarm(300);
    prctl(PR_SET_NAME, "peer");
    return true;
}

static int listener(struct sockaddr_in *address, int backlog)
{
    socklen_t len = sizeof *address;
    int server = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must(bind(server, (struct sockaddr *)address, len), "bind");
    must(listen(server, backlog), "listen");
    must(getsockname(server, (struct sockaddr *)address, &len), "getsockname");
    return server;
}

static int connected(const struct sockaddr_in *address)
{
    int sock = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(connect(sock, (const struct sockaddr *)address, sizeof *address), "connect");
    return sock;
}

/* A pair over TCP or unix. */
static void pair(bool tcp, int ends[2])
{
    if (!tcp) {
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
        return;
    }
    struct sockaddr_in address;
    int server = listener(&address, 4);
    ends[1] = connected(&address);
    ends[0] = must(accept(server, NULL, NULL), "accept");
    close(server);
}

/* Our end of a connection to a child that sends a request and waits for the answer. */
static int asked(bool tcp)
{
    int ends[2];
    pair(tcp, ends);
    if (child()) {
        close(ends[0]);
        must(write(ends[1], bytes, REQUEST), "request");
        read(ends[1], bytes, sizeof bytes);
        for (;;)
            pause();
    }
    close(ends[1]);
    while (recv(ends[0], bytes, REQUEST, MSG_PEEK) < REQUEST)
        ms(1);
    return ends[0];
}

static int watching(int fd, uint32_t events)
{
    int epoll = must(epoll_create1(0), "epoll_create1");
    struct epoll_event event = {.events = events, .data.fd = fd};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    return epoll;
}

/* The loop: tells of each event, which is read `most` bytes of. */
static NAMED void event_loop(int epoll, size_t most)
{
    struct epoll_event event;
    for (;;) {
        if (epoll_wait(epoll, &event, 1, -1) == 1 && most)
            recv(event.data.fd, bytes, most, MSG_DONTWAIT);
    }
}

/* ---- sick ---- */

static int silent_pipe(void)
{
    int ends[2];
    must(pipe(ends), "pipe");
    return ends[0];
}

static void unwatched(bool tcp)
{
    asked(tcp);
    int epoll = watching(silent_pipe(), EPOLLIN);
    ready();
    event_loop(epoll, 0);
}

static void unwatched_unix(void) { unwatched(false); }
static void unwatched_tcp(void) { unwatched(true); }

static void one_shot(void)
{
    int epoll = watching(asked(true), EPOLLIN | EPOLLONESHOT);
    ready();
    event_loop(epoll, 10);
}

static void edge(void)
{
    int epoll = watching(asked(true), EPOLLIN | EPOLLET);
    ready();
    event_loop(epoll, 100);
}

/* Reading is paused until all is written, and the other end reads only when it has its answer read. */
static void write_only(void)
{
    int ends[2];
    pair(false, ends);
    if (child()) {
        close(ends[0]);
        must(write(ends[1], bytes, REQUEST), "request");
        for (;;)
            pause();
    }
    close(ends[1]);
    while (send(ends[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
    int epoll = watching(ends[0], EPOLLOUT);
    ready();
    event_loop(epoll, 0);
}

static NAMED void handle_slowly(void)
{
    for (;;)
        sleep(300);
}

static void elsewhere(void)
{
    int fd = asked(true);
    int epoll = watching(fd, EPOLLIN);
    struct epoll_event event;
    must(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
    ready();
    handle_slowly();
}

static NAMED void handle_hotly(void)
{
    for (volatile unsigned long turns = 0;; turns++) {
    }
}

static void spinning(void)
{
    int fd = asked(true);
    int epoll = watching(fd, EPOLLIN);
    struct epoll_event event;
    must(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
    ready();
    handle_hotly();
}

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER;

static void *worker(void *fd)
{
    pthread_mutex_lock(&taken);
    read((int)(long)fd, bytes, sizeof bytes);
    return NULL;
}

/* Each connection has a thread of its own, and all of them wait for a lock. */
static void busy_workers(void)
{
    pthread_mutex_lock(&taken);
    for (int at = 0; at < 3; at++) {
        pthread_t thread;
        must(-pthread_create(&thread, NULL, worker, (void *)(long)asked(true)), "pthread_create");
    }
    ready();
    for (;;)
        pause();
}

static void *reader_that_ends(void *fd)
{
    read((int)(long)fd, bytes, 1);
    return NULL;
}

static void dead_reader(void)
{
    pthread_t thread;
    must(-pthread_create(&thread, NULL, reader_that_ends, (void *)(long)asked(false)), "thread");
    pthread_join(thread, NULL);
    ready();
    for (;;)
        pause();
}

static void no_accept(void)
{
    struct sockaddr_in address;
    int server = listener(&address, 3);
    if (child()) {
        for (int at = 0; at < 3; at++)
            connected(&address);
        pause();
    }
    (void)server;
    int epoll = watching(silent_pipe(), EPOLLIN);
    ms(200);
    ready();
    event_loop(epoll, 0);
}

/* The other end has closed, and this one was told and did not. */
static void close_wait(void)
{
    int ends[2];
    pair(true, ends);
    int epoll = watching(silent_pipe(), EPOLLIN);
    close(ends[1]);
    ready();
    event_loop(epoll, 0);
}

/* The other end has closed its direction, and goes on reading. */
static void half_closed(void)
{
    int ends[2];
    pair(true, ends);
    if (child()) {
        close(ends[0]);
        must(shutdown(ends[1], SHUT_WR), "shutdown");
        while (read(ends[1], bytes, sizeof bytes) > 0) {
        }
        exit(0);
    }
    close(ends[1]);
    ready();
    for (;;) {
        must(write(ends[0], bytes, 1000), "write");
        ms(200);
    }
}

static NAMED void send_all(int fd)
{
    for (;;)
        must(send(fd, bytes, sizeof bytes, 0), "send");
}

/* The child, which never reads, is at the other end. */
static void blocked_sender(bool tcp)
{
    int ends[2];
    pair(tcp, ends);
    if (child()) {
        close(ends[0]);
        for (;;)
            pause();
    }
    close(ends[1]);
    ready();
    send_all(ends[0]);
}

static void blocked_sender_tcp(void) { blocked_sender(true); }
static void blocked_sender_unix(void) { blocked_sender(false); }

/* ---- healthy ---- */

/* The process that is looked at sends without end; its child reads slowly but steadily. */
static void slow_peer(bool tcp)
{
    int ends[2];
    pair(tcp, ends);
    if (child()) {
        close(ends[1]);
        for (;;) {
            ms(150);
            read(ends[0], bytes, 512);
        }
    }
    close(ends[0]);
    ready();
    send_all(ends[1]);
}

/* The process that is looked at reads; its child sends. */
static void slow_reader(bool tcp)
{
    int ends[2];
    pair(tcp, ends);
    if (child()) {
        close(ends[0]);
        send_all(ends[1]);
    }
    close(ends[1]);
    ms(200);
    ready();
    for (;;) {
        ms(300);
        read(ends[0], bytes, 512);
    }
}

static void slow_reader_tcp(void) { slow_reader(true); }
static void slow_reader_unix(void) { slow_reader(false); }
static void slow_peer_tcp(void) { slow_peer(true); }
static void slow_peer_unix(void) { slow_peer(false); }

/* The queue fills for a second and is drained then. */
static void bounded_queue(void)
{
    int ends[2];
    pair(true, ends);
    if (child()) {
        close(ends[0]);
        for (;;) {
            must(send(ends[1], bytes, 1000, 0), "send");
            ms(10);
        }
    }
    close(ends[1]);
    ready();
    for (;;) {
        sleep(1);
        while (recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
        }
    }
}

static void accept_burst(void)
{
    struct sockaddr_in address;
    int server = listener(&address, 64);
    if (child()) {
        for (;;) {
            int burst[40];
            for (int at = 0; at < 40; at++)
                burst[at] = connected(&address);
            for (int at = 0; at < 40; at++)
                close(burst[at]);
            ms(700);
        }
    }
    int epoll = watching(server, EPOLLIN);
    ready();
    struct epoll_event event;
    for (;;) {
        must(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
        int fd = must(accept(server, NULL, NULL), "accept");
        ms(5);
        close(fd);
    }
}

/* Connections that are kept and have nothing to say. */
static void idle_pool(void)
{
    int epoll = must(epoll_create1(0), "epoll_create1");
    for (int at = 0; at < 20; at++) {
        int ends[2];
        pair(at % 2, ends);
        must(write(ends[1], bytes, 700), "write");
        must(read(ends[0], bytes, 700), "read");
        if (at == 19 && child()) {
            for (;;)
                pause();
        }
        struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[0]};
        must(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event), "epoll_ctl");
    }
    ready();
    event_loop(epoll, sizeof bytes);
}

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {
    {"unwatched-unix", unwatched_unix},
    {"unwatched-tcp", unwatched_tcp},
    {"one-shot", one_shot},
    {"edge", edge},
    {"write-only", write_only},
    {"elsewhere", elsewhere},
    {"spinning", spinning},
    {"busy-workers", busy_workers},
    {"dead-reader", dead_reader},
    {"no-accept", no_accept},
    {"close-wait", close_wait},
    {"half-closed", half_closed},
    {"blocked-sender-tcp", blocked_sender_tcp},
    {"blocked-sender-unix", blocked_sender_unix},
    {"slow-reader-tcp", slow_reader_tcp},
    {"slow-reader-unix", slow_reader_unix},
    {"slow-peer-tcp", slow_peer_tcp},
    {"slow-peer-unix", slow_peer_unix},
    {"bounded-queue", bounded_queue},
    {"accept-burst", accept_burst},
    {"idle-pool", idle_pool},
};

int main(int argc, char **argv)
{
    alarm(300);
    signal(SIGPIPE, SIG_IGN);
    for (size_t at = 0; argc > 1 && at < sizeof modes / sizeof *modes; at++) {
        if (strcmp(modes[at].name, argv[1]) == 0)
            modes[at].run();
    }
    fprintf(stderr, "%s: no such mode\n", argv[0]);
    return 2;
}
