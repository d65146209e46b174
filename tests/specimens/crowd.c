/* A large and healthy server: 1,000 threads, 10,000 sockets with both ends in this process, and two threads that
 * count what they do: `crowd [COUNT]`.
 *
 * Threads wait for work in every way that servers do: in a condition variable, in epoll and in poll on sockets, in
 * a sleep. Two hand a request and its answer to and fro over a TCP connection, and compute in between: COUNT is a file
 * that holds the number of answers so far, a 64-bit number in host order. The harness of `cargo xtask bench --triage`
 * reads it. Prints `ready {"pid":…,"tids":{…}}` when everything is there, and ends by itself after an hour.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noipa))

enum {
    PAIRS = 5000, /* every second one is TCP, the others are unix streams */
    POOL = 398,
    LOOPS = 250,
    POLLERS = 250,
    SLEEPERS = 99, /* and two that work, and the main thread: 1,000 */
    SOCKETS_OF_A_LOOP = 16,
    BATCH = 16,
};

static int ends[PAIRS][2];
static atomic_int started;
static volatile uint64_t own_count, *count = &own_count;

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        /* This machine cannot: see tests/src/specimen.rs. */
        exit(77);
    }
}

/* ---- threads at rest ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;

static NAMED void *pool_worker(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&started, 1);
    for (;;)
        pthread_cond_wait(&work, &lock);
    return NULL;
}

static NAMED void *event_loop(void *number)
{
    int epoll = epoll_create1(0);
    must(epoll, "epoll_create1");
    for (int i = 0; i < SOCKETS_OF_A_LOOP; i++) {
        int fd = ends[1 + ((intptr_t)number * SOCKETS_OF_A_LOOP + i) % (PAIRS - 1)][0];
        struct epoll_event interest = {.events = EPOLLIN, .data.fd = fd};
        must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest), "epoll_ctl");
    }
    atomic_fetch_add(&started, 1);
    for (;;) {
        struct epoll_event events[8];
        epoll_wait(epoll, events, 8, 2000 + (int)(intptr_t)number);
    }
    return NULL;
}

static NAMED void *poller(void *number)
{
    struct pollfd polled[4];
    for (int i = 0; i < 4; i++)
        polled[i] = (struct pollfd){ends[1 + ((intptr_t)number * 4 + i) % (PAIRS - 1)][1], POLLIN, 0};
    atomic_fetch_add(&started, 1);
    for (;;)
        poll(polled, 4, -1);
    return NULL;
}

static NAMED void *sleeper(void *number)
{
    struct timespec time = {0, 300000000L + (intptr_t)number * 1000000L};
    atomic_fetch_add(&started, 1);
    for (;;)
        nanosleep(&time, NULL);
    return NULL;
}

/* ---- two that work ---- */

/* Some 40 us: what a request costs that is worth a connection. */
static NAMED uint64_t compute(uint64_t state)
{
    for (int i = 0; i < 20000; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    return state;
}

static NAMED void *answers(void *unused)
{
    (void)unused;
    uint64_t request;
    atomic_fetch_add(&started, 1);
    while (read(ends[0][1], &request, sizeof request) == sizeof request) {
        request = compute(request);
        if (write(ends[0][1], &request, sizeof request) != sizeof request)
            break;
    }
    return NULL;
}

static NAMED void *asks(void *unused)
{
    (void)unused;
    uint64_t state = 88172645463325252ull;
    atomic_fetch_add(&started, 1);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            if (write(ends[0][0], &state, sizeof state) != sizeof state ||
                read(ends[0][0], &state, sizeof state) != sizeof state)
                return NULL;
            state = compute(state);
            *count += 1;
        }
        /* A moment for everyone else. */
        struct timespec time = {0, 200000L};
        nanosleep(&time, NULL);
    }
}

/* ---- */

static void connect_all(void)
{
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    must(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    must(listen(listener, 16), "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
    for (int i = 0; i < PAIRS; i++) {
        if (i % 2) {
            must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]), "socketpair");
            continue;
        }
        must(ends[i][0] = socket(AF_INET, SOCK_STREAM, 0), "socket");
        must(connect(ends[i][0], (struct sockaddr *)&address, sizeof address), "connect");
        must(ends[i][1] = accept(listener, NULL, NULL), "accept");
        for (int end = 0; end < 2; end++)
            setsockopt(ends[i][end], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    close(listener);
}

static void start(int number, void *(*run)(void *))
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    for (intptr_t i = 0; i < number; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, &attributes, run, (void *)i);
        errno = error;
        must(error ? -1 : 0, "pthread_create");
    }
}

static void count_in(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    must(fd, path);
    must(ftruncate(fd, sizeof *count), path);
    void *page = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(page == MAP_FAILED ? -1 : 0, "mmap");
    close(fd);
    count = page;
}

int main(int argc, char **argv)
{
    struct rlimit limit = {12000, 12000};
    must(setrlimit(RLIMIT_NOFILE, &limit), "12,000 descriptors");
    if (argc > 1)
        count_in(argv[1]);
    connect_all();
    start(POOL, pool_worker);
    start(LOOPS, event_loop);
    start(POLLERS, poller);
    start(SLEEPERS, sleeper);
    start(1, answers);
    start(1, asks);
    while (atomic_load(&started) < POOL + LOOPS + POLLERS + SLEEPERS + 2)
        usleep(1000);
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d}}\n", getpid(), getpid());
    fflush(stdout);
    alarm(3600);
    for (;;)
        pause();
}
