/* Reads the clock in a loop on a CPU of its own, under SCHED_FIFO, and notes each gap: whatever ran there meanwhile.
 *
 * jitter CPU FILE SHORTEST_NS
 *
 * FILE is memory (a memfd of the harness): a page of nothing but the number of gaps so far, then a ring of pairs: when the
 * gap ended and how long it was, in nanoseconds of CLOCK_MONOTONIC. All of it is there from the start, so that writing
 * it never enters the kernel. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { PAGE = 4096 };

struct gap {
    uint64_t end_ns, length_ns;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[1]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) < 0)
        die("its CPU");
    int file = open(argv[2], O_RDWR | O_CLOEXEC);
    struct stat stat;
    if (file < 0 || fstat(file, &stat) < 0)
        die(argv[2]);
    char *memory = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    if (memory == MAP_FAILED || mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        die("memory");
    volatile uint64_t *count = (uint64_t *)memory;
    struct gap *gaps = (struct gap *)(memory + PAGE);
    uint64_t room = ((uint64_t)stat.st_size - PAGE) / sizeof *gaps, noted = 0;
    uint64_t shortest = strtoull(argv[3], NULL, 10);
    struct sched_param highest = {.sched_priority = sched_get_priority_max(SCHED_FIFO)};
    if (sched_setscheduler(0, SCHED_FIFO, &highest) < 0)
        die("SCHED_FIFO");

    for (uint64_t before = now_ns();;) {
        uint64_t now = now_ns();
        if (now - before >= shortest) {
            gaps[noted % room] = (struct gap){now, now - before};
            __atomic_store_n(count, ++noted, __ATOMIC_RELEASE);
        }
        before = now;
    }
}
