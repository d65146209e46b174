/* CPU time in known functions: a known split, two threads on one CPU, code made at run time. */
#include "specimen.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static uint32_t hot, warm;

/* From half of `ns` to half as much again, so that the two functions do not alternate in a fixed
 * period: one of 10.1 ms runs in lockstep with a sampler at 99 Hz, which then sees only one of them. */
static uint64_t about(uint64_t ns)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return ns / 2 + (state >> 33) % ns;
}

static NAMED void burn_hot(void)
{
    spin(about(7 * MS));
}

static NAMED void burn_warm(void)
{
    spin(about(3 * MS));
}

static NAMED void outer_burn(void)
{
    uint64_t entry = log_begin(hot);
    burn_hot();
    log_end(entry);
    entry = log_begin(warm);
    burn_warm();
    log_end(entry);
}

/* 70 % in burn_hot, 30 % in burn_warm, on average. */
static NAMED void run_burn(void)
{
    hot = log_function("burn_hot");
    warm = log_function("burn_warm");
    life_ready();
    for (;;)
        outer_burn();
}

/* Ends by itself when the test says go. */
static NAMED void run_exit_early(void)
{
    hot = log_function("burn_hot");
    warm = log_function("burn_warm");
    life_ready();
    while (!atomic_load(&go))
        outer_burn();
    life_end(0);
}

static NAMED void burn_pinned(void)
{
    spin(5 * MS);
}

static void *burn_pinned_thread(void *function)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    must(sched_setaffinity(0, sizeof cpus, &cpus), "sched_setaffinity");
    for (;;) {
        uint64_t entry = log_begin(*(uint32_t *)function);
        burn_pinned();
        log_end(entry);
    }
    return NULL;
}

/* Two threads that both want CPU 0 all the time: each waits for it half of the time. */
static void run_pinned(void)
{
    hot = log_function("burn_pinned");
    life_thread("pinned-a", burn_pinned_thread, &hot);
    life_thread("pinned-b", burn_pinned_thread, &hot);
    life_ready();
    life_idle();
}

/* A counting loop with a frame of its own; returns when the count in its argument is used up. */
static const unsigned char loop_code[] = {
#if defined(__x86_64__)
    0x55,             /* push %rbp */
    0x48, 0x89, 0xe5, /* mov %rsp, %rbp */
    0x48, 0xff, 0xcf, /* 1: dec %rdi */
    0x75, 0xfb,       /* jnz 1b */
    0x5d,             /* pop %rbp */
    0xc3,             /* ret */
#elif defined(__aarch64__)
    0xfd, 0x7b, 0xbf, 0xa9, /* stp x29, x30, [sp, #-16]! */
    0xfd, 0x03, 0x00, 0x91, /* mov x29, sp */
    0x00, 0x04, 0x00, 0xf1, /* 1: subs x0, x0, #1 */
    0xe1, 0xff, 0xff, 0x54, /* b.ne 1b */
    0xfd, 0x7b, 0xc1, 0xa8, /* ldp x29, x30, [sp], #16 */
    0xc0, 0x03, 0x5f, 0xd6, /* ret */
#endif
};

static NAMED void outer_jit(void (*loop)(uint64_t), uint32_t function)
{
    uint64_t entry = log_begin(function);
    loop(5000000);
    log_end(entry);
}

/* Code that no file holds, named in /tmp/perf-PID.map as run-time compilers do. */
static NAMED void run_jit(void)
{
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(code, loop_code, sizeof loop_code);
    must(mprotect(code, 4096, PROT_READ | PROT_EXEC), "mprotect");
    __builtin___clear_cache(code, (char *)code + 4096);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(path, "w");
    if (!map)
        die("cannot write %s", path);
    fprintf(map, "%lx %zx jitted_loop\n", (unsigned long)code, sizeof loop_code);
    fclose(map);
    uint32_t function = log_function("jitted_loop");
    life_ready();
    for (;;)
        outer_jit((void (*)(uint64_t))code, function);
}

const struct mode modes_burn[] = {
    {"burn", run_burn},
    {"exit-early", run_exit_early},
    {"pinned", run_pinned},
    {"jit", run_jit},
    {0},
};
