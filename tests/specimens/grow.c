/* A process that grows when it is told (SIGUSR1), in every way that memory comes and goes, and then
 * takes the name `grown` and rests: what it has then is the truth. Each way has a function of its own,
 * and the amounts are those of tests/tests/memory.rs. */
#include "specimen.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define MIB ((size_t)1 << 20)
#define HUGE_BYTES (2 * MIB)

enum { BLOCK = 64 * 1024, PAGE = 4096 };

static atomic_bool helper_done;

static inline __attribute__((always_inline)) void touch(volatile char *memory, size_t bytes)
{
    keep_frame();
    for (size_t at = 0; at < bytes; at += PAGE)
        memory[at] = 1;
}

static char *map(size_t bytes, int flags)
{
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    if (flags & MAP_PRIVATE)
        madvise(memory, bytes, MADV_NOHUGEPAGE);
    return memory;
}

/* Blocks of malloc that stay: three of four here, one of four there. */
static NAMED void grow_mostly(void)
{
    touch(malloc(BLOCK), BLOCK);
}

static NAMED void grow_partly(void)
{
    touch(malloc(BLOCK), BLOCK);
}

static NAMED void grow_heap(size_t blocks)
{
    for (size_t i = 0; i < blocks; i++) {
        if (i % 4 != 3)
            grow_mostly();
        else
            grow_partly();
        sleep_ns(100000);
    }
}

static NAMED void churn_mapped(void)
{
    for (int i = 0; i < 16; i++) {
        char *memory = map(2 * MIB, MAP_PRIVATE);
        touch(memory, 2 * MIB);
        munmap(memory, 2 * MIB);
    }
}

static NAMED void churn_advised(void)
{
    char *memory = map(16 * MIB, MAP_PRIVATE);
    for (int i = 0; i < 2; i++) {
        touch(memory, 16 * MIB);
        madvise(memory, 16 * MIB, MADV_DONTNEED);
    }
}

static NAMED void churn_brk(void)
{
    char *memory = sbrk(16 * MIB);
    touch(memory, 16 * MIB);
    sbrk(-(intptr_t)(16 * MIB));
}

/* The kernel touches it, in a system call. */
static NAMED void grow_read(FILE *zero)
{
    char *memory = map(16 * MIB, MAP_PRIVATE);
    must(raw_syscall(SYS_read, fileno(zero), (long)memory, 16 * MIB, 0, 0, 0), "read");
}

static NAMED void grow_shared(void)
{
    touch(map(16 * MIB, MAP_SHARED), 16 * MIB);
}

/* A fault for each 2 MiB, where the kernel gives huge pages. */
static NAMED void grow_huge(void)
{
    uintptr_t room = (uintptr_t)map(34 * MIB, MAP_PRIVATE);
    char *memory = (char *)((room + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
    madvise(memory, 32 * MIB, MADV_HUGEPAGE);
    touch(memory, 32 * MIB);
}

static NAMED int grow_stack(int depth)
{
    volatile char frame[BLOCK];
    touch(frame, BLOCK);
    return depth ? grow_stack(depth - 1) + frame[0] : 0;
}

static NAMED int grow_thread_stack(int depth)
{
    volatile char frame[BLOCK];
    touch(frame, BLOCK);
    return depth ? grow_thread_stack(depth - 1) + frame[0] : 0;
}

static NAMED void grow_arena(void)
{
    for (int i = 0; i < 128; i++)
        touch(malloc(BLOCK), BLOCK);
}

static void wait_for_go(void)
{
    while (!atomic_load(&go))
        sleep_ns(10 * MS);
}

/* Before Linux 6.7 a thread's stack may get huge pages, so few faults that samples tell little. */
static void no_huge_stack(void)
{
    pthread_attr_t attributes;
    void *stack;
    size_t bytes;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        die("pthread_getattr_np");
    pthread_attr_getstack(&attributes, &stack, &bytes);
    pthread_attr_destroy(&attributes);
    madvise(stack, bytes, MADV_NOHUGEPAGE);
}

static void *help(void *unused)
{
    no_huge_stack();
    free(malloc(100)); /* its arena is there from the start */
    wait_for_go();
    grow_arena();
    grow_thread_stack(63);
    atomic_store(&helper_done, true);
    life_idle();
    return unused;
}

static NAMED void run_grow(void)
{
    FILE *zero = fopen("/dev/zero", "r");
    if (!zero)
        die("/dev/zero");
    life_stack_bytes = 8 * MIB;
    life_thread("helper", help, NULL);
    life_ready();
    wait_for_go();
    grow_huge();
    grow_heap(1024);
    churn_mapped();
    churn_advised();
    churn_brk();
    grow_read(zero);
    grow_shared();
    grow_stack(63);
    while (!atomic_load(&helper_done))
        sleep_ns(MS);
    prctl(PR_SET_NAME, "grown");
    life_idle();
}

const struct mode modes_grow[] = {
    {"grow", run_grow},
    {0},
};
