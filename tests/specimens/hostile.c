/* Hosts and processes that make it hard to look: `hostile MODE [ARGUMENT]`.
 *
 * What fills a host:
 * spin CPU       one thread under SCHED_FIFO that never gives its CPU back
 * ping-pong CPU  two threads on one CPU that hand a turn to and fro
 * load N         so many processes that compute
 * hog MIB        touches so much memory again and again
 *
 * What is looked at:
 * works          one thread computes in a library, one sleeps there, one naps; the library is a file of its own
 * maps           three threads map and unmap, one computes
 * vforks         waits for a child that never executes nor ends: uninterruptible
 * reads FILE     at SIGUSR1 one thread reads the file, the next looks it up again and again
 * locks FILE     maps the file; at SIGUSR1 one thread reads it through /proc/self/mem, which holds the lock of the memory
 *                meanwhile, the next maps something: whoever wants that lock then waits behind it
 *
 * Prints `ready {"pid":…,"tids":{…}}`. Ends with its parent, or by itself after half an hour.
 */
#define _GNU_SOURCE
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/futex.h>
#include <unistd.h>

enum { UNSUPPORTED = 77, LIFE_S = 1800, PAGE = 4096 };

static void unsupported(const char *what)
{
    perror(what);
    exit(UNSUPPORTED);
}

static void ready(void)
{
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d}}\n", getpid(), getpid());
    fflush(stdout);
}

static void start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0)
        unsupported("a thread");
}

/* ---- what fills a host ---- */

static void only_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        unsupported("the CPU");
}

static NAMED void spins(void)
{
    for (;;)
        __asm__ volatile("" : : : "memory");
}

static void spin(int cpu)
{
    struct sched_param highest = {.sched_priority = sched_get_priority_max(SCHED_FIFO)};
    only_on(cpu);
    if (sched_setscheduler(0, SCHED_FIFO, &highest) < 0)
        unsupported("SCHED_FIFO");
    ready();
    spins();
}

static _Atomic int turn;

static NAMED void *hands_over(void *mine)
{
    int own = (int)(long)mine;
    for (;;) {
        while (atomic_load(&turn) != own)
            syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !own, NULL, NULL, 0);
        atomic_store(&turn, !own);
        syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return mine;
}

static void ping_pong(int cpu)
{
    only_on(cpu);
    start(hands_over, (void *)1);
    ready();
    hands_over((void *)0);
}

static void load(int processes)
{
    pid_t first = getpid();
    for (int left = processes - 1; left > 0; left--) {
        pid_t child = fork();
        if (child < 0)
            unsupported("fork");
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != first)
                exit(0);
            spins();
        }
    }
    ready();
    spins();
}

static NAMED void hog(size_t bytes)
{
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        unsupported("memory");
    memset(memory, 1, bytes);
    ready();
    for (;; usleep(10000))
        memset(memory, 2, bytes);
}

/* ---- what is looked at ---- */

static void *computes(void *unused)
{
    prctl(PR_SET_NAME, "computes");
    library_computes();
    return unused;
}

static void *sleeps(void *unused)
{
    prctl(PR_SET_NAME, "sleeps");
    library_sleeps();
    return unused;
}

static NAMED void works(void)
{
    start(computes, NULL);
    start(sleeps, NULL);
    ready();
    for (;;)
        usleep(20000);
}

static NAMED void *maps_and_unmaps(void *file)
{
    int own = open(file, O_RDONLY);
    if (own < 0)
        unsupported(file);
    for (;;) {
        char *of_file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, own, 0);
        char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (of_file == MAP_FAILED || memory == MAP_FAILED)
            abort();
        memory[0] = of_file[0];
        /* A hole in the middle splits it, so that the number of mappings changes too; another thread may fill it. */
        munmap(memory + 4 * PAGE, PAGE);
        munmap(memory, 4 * PAGE);
        munmap(memory + 5 * PAGE, 3 * PAGE);
        munmap(of_file, PAGE);
    }
}

static void maps(void)
{
    for (int thread = 0; thread < 3; thread++)
        start(maps_and_unmaps, "/proc/self/exe");
    start(computes, NULL);
    ready();
    for (;;)
        pause();
}

static NAMED void vforks(void)
{
    ready();
    if (vfork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
}

static const char *file;
static int descriptor;

static NAMED void *reads(void *unused)
{
    char page[PAGE];
    for (off_t at = 0; pread(descriptor, page, sizeof page, at) > 0; at += PAGE)
        ;
    return unused;
}

static NAMED void *looks_up(void *unused)
{
    struct stat stat;
    for (;; usleep(1000))
        lstat(file, &stat);
    return unused;
}

static void opens(const char *path)
{
    file = path;
    descriptor = open(path, O_RDONLY);
    if (descriptor < 0)
        unsupported(path);
}

static void waits_for_the_word(void)
{
    sigset_t set;
    int signal;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    ready();
    sigwait(&set, &signal);
}

static void reads_at_the_word(const char *path)
{
    opens(path);
    waits_for_the_word();
    start(looks_up, NULL);
    reads(NULL);
    pause();
}

static NAMED void *maps_something(void *unused)
{
    /* By now the lock is held. */
    usleep(200000);
    mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pause();
    return unused;
}

static void locks_at_the_word(const char *path)
{
    opens(path);
    char byte, *of_file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, descriptor, 0);
    int memory = open("/proc/self/mem", O_RDONLY);
    if (of_file == MAP_FAILED || memory < 0)
        unsupported("/proc/self/mem");
    waits_for_the_word();
    start(maps_something, NULL);
    pread(memory, &byte, 1, (off_t)(uintptr_t)of_file);
    pause();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "", *argument = argc > 2 ? argv[2] : "0";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LIFE_S);
    if (!strcmp(mode, "spin"))
        spin(atoi(argument));
    else if (!strcmp(mode, "ping-pong"))
        ping_pong(atoi(argument));
    else if (!strcmp(mode, "load"))
        load(atoi(argument));
    else if (!strcmp(mode, "hog"))
        hog((size_t)atoi(argument) << 20);
    else if (!strcmp(mode, "works"))
        works();
    else if (!strcmp(mode, "maps"))
        maps();
    else if (!strcmp(mode, "vforks"))
        vforks();
    else if (!strcmp(mode, "reads"))
        reads_at_the_word(argument);
    else if (!strcmp(mode, "locks"))
        locks_at_the_word(argument);
    fprintf(stderr, "no such mode: %s\n", mode);
    return 2;
}
