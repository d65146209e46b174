/* Programs that grow: by leaks, and by what only looks like one. The first argument says how. Each prints
 * its ready line and then changes a little at a time, until its alarm.
 *
 * leak        blocks of malloc that nobody frees
 * leak-limited  the same with a limit that is near
 * load        fills a cache at the same pace, and then has it
 * leak-arena  the same in another thread, beside one that rests
 * warm-up     a cache that is filled ever more slowly
 * teeth       takes much and frees it all, in rounds
 * step        one large block, 16 s after the start
 * pool        a pool that fills, and stays full
 * page-cache  reads through a file that it has mapped
 * fragments   keeps a little of each block, so that its heap grows by what is free between
 * churn       takes and frees the same amount all the time
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noipa))
#define MIB ((size_t)1 << 20)

enum { BLOCK = 32 * 1024, BLOCKS_A_MIB = 32, LIFE_S = 300 };

static void *volatile kept;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void rest_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void ready(void)
{
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d}}\n", getpid(), getpid());
    fflush(stdout);
}

/* What it starts with: what grows, grows beside it. */
static void own_something(void)
{
    char *memory = malloc(16 * MIB);
    if (!memory)
        die("malloc");
    memset(memory, 1, 16 * MIB);
    kept = memory;
}

static NAMED char *take_block(void)
{
    char *block = malloc(BLOCK);
    if (!block)
        die("malloc");
    memset(block, 1, BLOCK);
    return block;
}

/* 4 MiB a second. */
static NAMED void forget_blocks(void)
{
    for (;;) {
        for (int i = 0; i < 4; i++)
            kept = take_block();
        rest_ms(31);
    }
}

static void limit_memory(void)
{
    struct rlimit limit = {4096 * MIB, 4096 * MIB};
    if (setrlimit(RLIMIT_AS, &limit))
        die("setrlimit");
}

static void leak_limited(void)
{
    limit_memory();
    forget_blocks();
}

static NAMED void load(void)
{
    limit_memory();
    for (int i = 0; i < 20 * BLOCKS_A_MIB; i++) {
        kept = take_block();
        if (i % 4 == 3)
            rest_ms(31);
    }
    for (;;)
        pause();
}

static void *forget_in_thread(void *unused)
{
    forget_blocks();
    return unused;
}

static void leak_arena(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, forget_in_thread, NULL))
        die("pthread_create");
    for (;;)
        pause();
}

/* What begins late begins when others have long started. */
enum { LATE_MS = 8000 };

/* A fifth of what is missing, every second: 64 MiB in the end. */
static NAMED void warm_up(void)
{
    double missing = 64.0 * BLOCKS_A_MIB, filled = 0, target = 0;
    rest_ms(LATE_MS);
    for (;;) {
        double pace = missing * 0.01;
        for (target += pace, missing -= pace; filled < target; filled++)
            kept = take_block();
        rest_ms(50);
    }
}

static NAMED void teeth(void)
{
    enum { ROUND = 32 * BLOCKS_A_MIB };
    static char *round[ROUND];
    for (;;) {
        for (int i = 0; i < ROUND; i++) {
            round[i] = take_block();
            if (i % 16 == 0)
                rest_ms(25);
        }
        for (int i = ROUND; i-- > 0;)
            free(round[i]);
    }
}

static NAMED void step(void)
{
    rest_ms(2 * LATE_MS);
    char *memory = malloc(96 * MIB);
    if (!memory)
        die("malloc");
    memset(memory, 1, 96 * MIB);
    kept = memory;
    for (;;)
        pause();
}

static NAMED void pool(void)
{
    rest_ms(LATE_MS);
    for (int i = 0; i < 36 * BLOCKS_A_MIB; i++) {
        kept = take_block();
        if (i % 4 == 3)
            rest_ms(31);
    }
    for (;;)
        pause();
}

static NAMED void page_cache(void)
{
    char path[] = "/tmp/remora-specimen-XXXXXX";
    int file = mkstemp(path);
    size_t bytes = 200 * MIB;
    if (file < 0 || unlink(path) || ftruncate(file, (off_t)bytes))
        die(path);
    static char page[1 << 16];
    memset(page, 1, sizeof page);
    for (size_t at = 0; at < bytes; at += sizeof page)
        if (pwrite(file, page, sizeof page, (off_t)at) < 0)
            die("pwrite");
    volatile char *memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    ready();
    for (size_t at = 0; at < bytes; at += 4096) {
        (void)memory[at];
        if (at % MIB == 0)
            rest_ms(100);
    }
    for (;;)
        pause();
}

/* Of four blocks the heads stay: what is free between them is too small for the next ones. */
static NAMED void keep_heads(void)
{
    for (;;) {
        void *blocks[4];
        for (int i = 0; i < 4; i++)
            blocks[i] = take_block();
        for (int i = 0; i < 4; i++)
            kept = realloc(blocks[i], 64);
        rest_ms(31);
    }
}

static NAMED void churn(void)
{
    enum { HELD = 8 * BLOCKS_A_MIB };
    static char *held[HELD];
    for (unsigned i = 0;; i++) {
        free(held[i % HELD]);
        held[i % HELD] = take_block();
        if (i % 8 == 0)
            rest_ms(10);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {
    {"leak", forget_blocks},   {"leak-arena", leak_arena}, {"warm-up", warm_up},      {"teeth", teeth},           {"step", step},
    {"pool", pool},            {"page-cache", page_cache}, {"churn", churn},
    {"fragments", keep_heads}, {"leak-limited", leak_limited}, {"load", load},
};

int main(int count, char **arguments)
{
    alarm(LIFE_S);
    for (size_t i = 0; count > 1 && i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(arguments[1], modes[i].name))
            continue;
        own_something();
        if (modes[i].run != page_cache)
            ready();
        modes[i].run();
    }
    fprintf(stderr, "no such mode\n");
    return 2;
}
