/* The specimen's own account: one entry for each interval that it spends in a function of interest.
 *
 * The entries lie in a memory file that the test hands over (SPECIMEN_LOG_FD), so the test can read
 * them while the specimen sleeps and after it was killed, and cut them to the window of a capture.
 * Forked children and what they execute write to the same file. The layout is repeated in
 * tests/src/truth.rs.
 */
#include "specimen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FUNCTIONS = 32, NAME_BYTES = 64, ENTRIES = 1 << 19 };

struct entry {
    uint32_t function;
    uint32_t tid;
    uint64_t start_ns; /* CLOCK_MONOTONIC */
    _Atomic uint64_t end_ns; /* 0: still in it */
    uint64_t cpu_ns;   /* the thread's CPU clock at the beginning, then the CPU time inside */
};

struct log {
    _Atomic uint64_t entries;
    _Atomic uint64_t functions;
    char names[FUNCTIONS][NAME_BYTES];
    struct entry entry[];
};

static struct log *log_memory;

void log_open(void)
{
    size_t bytes = sizeof(struct log) + ENTRIES * sizeof(struct entry);
    const char *given = getenv("SPECIMEN_LOG_FD");
    int fd = given ? atoi(given) : -1;
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) != 0)
        die("ftruncate of the log failed");
    int flags = MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0);
    log_memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (log_memory == MAP_FAILED)
        die("mmap of the log failed");
}

uint32_t log_function(const char *name)
{
    uint64_t count = atomic_load(&log_memory->functions);
    for (uint64_t i = 0; i < count; i++) {
        if (strcmp(log_memory->names[i], name) == 0)
            return (uint32_t)i;
    }
    uint64_t index = atomic_fetch_add(&log_memory->functions, 1);
    if (index >= FUNCTIONS)
        die("more functions than the log has room for");
    snprintf(log_memory->names[index], NAME_BYTES, "%s", name);
    return (uint32_t)index;
}

uint64_t log_begin(uint32_t function)
{
    uint64_t index = atomic_fetch_add(&log_memory->entries, 1);
    if (index >= ENTRIES)
        die("the log is full");
    struct entry *entry = &log_memory->entry[index];
    entry->function = function;
    entry->tid = (uint32_t)raw_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
    entry->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    entry->start_ns = clock_ns(CLOCK_MONOTONIC);
    return index;
}

void log_end(uint64_t index)
{
    struct entry *entry = &log_memory->entry[index];
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    entry->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - entry->cpu_ns;
    atomic_store(&entry->end_ns, now);
}

static void print_function(uint32_t function, uint64_t now)
{
    uint64_t total = 0, cpu = 0, count = 0, open = 0;
    uint64_t entries = atomic_load(&log_memory->entries);
    for (uint64_t i = 0; i < entries && i < ENTRIES; i++) {
        struct entry *entry = &log_memory->entry[i];
        if (entry->function != function || entry->start_ns == 0)
            continue;
        uint64_t end = atomic_load(&entry->end_ns);
        count++;
        open += end == 0;
        total += (end ? end : now) - entry->start_ns;
        cpu += end ? entry->cpu_ns : 0;
    }
    printf("%s\"%s\":{\"total_ns\":%llu,\"cpu_ns\":%llu,\"count\":%llu,\"open\":%llu}",
           function ? "," : "", log_memory->names[function], (unsigned long long)total,
           (unsigned long long)cpu, (unsigned long long)count, (unsigned long long)open);
}

void log_print_truth(void)
{
    uint64_t functions = atomic_load(&log_memory->functions);
    printf("{\"functions\":{");
    for (uint32_t i = 0; i < functions && i < FUNCTIONS; i++)
        print_function(i, clock_ns(CLOCK_MONOTONIC));
    printf("}}\n");
    fflush(stdout);
}
