/* 500 threads that come and go, with 5,000 sockets that do, too: for as long as one likes. */
#include "specimen.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { SOAK_THREADS = 500, PAIRS = 5, TURNS = 200 };

static void start_one(unsigned seed);

static void *come_and_go(void *seed_memory)
{
    unsigned seed = (unsigned)(uintptr_t)seed_memory;
    int pairs[PAIRS][2];
    for (int i = 0; i < PAIRS; i++)
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), "socketpair");
    for (int turn = 0; turn < TURNS; turn++) {
        int *pair = pairs[rand_r(&seed) % PAIRS];
        close(pair[0]);
        close(pair[1]);
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
        char bytes[512] = {0};
        must(write(pair[0], bytes, 1 + rand_r(&seed) % sizeof bytes), "write to a socket");
        if (turn % 3 == 0)
            must(read(pair[1], bytes, sizeof bytes), "read from a socket");
        sleep_ns(20 * MS + (uint64_t)rand_r(&seed) % (20 * MS));
    }
    for (int i = 0; i < PAIRS; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    start_one(seed + 1);
    return NULL;
}

static void start_one(unsigned seed)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, come_and_go, (void *)(uintptr_t)seed) != 0)
        die("pthread_create failed");
}

static void run_soak(void)
{
    struct rlimit limit = {20000, 20000};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        unsupported("20,000 descriptors are not allowed here");
    for (unsigned i = 0; i < SOAK_THREADS; i++)
        start_one(i);
    life_ready();
    life_idle();
}

const struct mode modes_soak[] = {
    {"soak", run_soak},
    {0},
};
