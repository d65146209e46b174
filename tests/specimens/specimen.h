/* What every specimen shares: raw system calls, the log of its own truth, its beginning and end.
 *
 * A specimen behaves in one known way and keeps its own account of it. libc has no frame pointers
 * on most distributions, so a specimen that must show its own function as the caller of a blocking
 * system call makes the call itself, inline, in a function of a known name.
 */
#ifndef SPECIMEN_H
#define SPECIMEN_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A function that stays whole, under its own name, whatever the optimiser thinks. */
#define NAMED __attribute__((noipa))

#define MS 1000000ull
#define SECOND 1000000000ull

/* Makes the calling function keep a frame. Even with -fno-omit-frame-pointer gcc (since 8) leaves it
 * out of a leaf function that needs no stack; then its caller is missing from frame-pointer stacks,
 * because the chain begins at the caller's frame, whose return address is the caller's caller. */
static inline __attribute__((always_inline)) void keep_frame(void)
{
    __asm__ volatile("" : : "r"(__builtin_frame_address(0)));
}

/* ---- one system call without libc; the result is negative errno on failure ---- */

static inline __attribute__((always_inline)) long raw_syscall(long nr, long a, long b, long c,
                                                              long d, long e, long f)
{
    keep_frame();
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
#else
#error "no raw system call for this architecture"
#endif
}

static inline __attribute__((always_inline)) uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    raw_syscall(SYS_clock_gettime, clock, (long)&now, 0, 0, 0, 0);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* Keeps a CPU busy until the calling thread has used `ns` of CPU time. Inlined, so that the samples
 * belong to the caller. The clock is read about every 100 us. */
static inline __attribute__((always_inline)) void spin(uint64_t ns)
{
    uint64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
    do {
        for (volatile int i = 0; i < 50000; i++) {
        }
    } while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end);
}

/* ---- log.c: intervals with the specimen's own clocks, in memory that outlives it ---- */

void log_open(void);
/* Number of a function in the log; adds it when it is new. */
uint32_t log_function(const char *name);
/* An interval begins now in the calling thread; returns its number for log_end. */
uint64_t log_begin(uint32_t function);
void log_end(uint64_t entry);
/* One JSON line: time and number of intervals by function. */
void log_print_truth(void);

/* ---- life.c: how a specimen begins and ends ---- */

struct options {
    const char *mode;
    uint64_t run_ns;    /* ends by itself after this */
    uint64_t period_ns; /* length of one wait */
    const char *extra;  /* mode-specific argument */
};

extern struct options options;
/* Set when the test sends SIGUSR1. */
extern atomic_bool go;

/* Blocks the signals that the keeper waits for; must run before any thread is made. */
void life_begin(int argc, char **argv);
/* Of the threads that are started from now on; 64 KiB unless a program asks for more. */
extern size_t life_stack_bytes;
/* Starts a thread, sets its name, enters it in the ready line; returns its tid. */
pid_t life_thread(const char *name, void *(*run)(void *), void *argument);
/* Prints the ready line. From here on the keeper ends the process. */
void life_ready(void);
/* Prints the truth and ends the process. */
void life_end(int status) __attribute__((noreturn));
/* Never returns: for a main thread that has no part. */
void life_idle(void) __attribute__((noreturn));
/* Says why on standard error and ends the process with status 1. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* This machine cannot do it: says why and ends with status 77. */
void unsupported(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Dies unless `result` is a success or one of the errors that end a wait: EINTR, EAGAIN, ETIMEDOUT. */
long waited(long result, const char *what);
long must(long result, const char *what);
void sleep_ns(uint64_t ns);

/* ---- modes ---- */

/* A wait that the main thread makes again and again, and what ends it. */
struct wait_mode {
    const char *name;
    const char *function; /* the NAMED function that makes the system call */
    void (*setup)(void);  /* may be null */
    void (*wait)(void);
    void (*wake)(void); /* called by the thread "waker" each period; null: the wait ends by itself */
    void (*prepare)(void); /* before each wait, outside of the account; may be null */
};

extern const struct wait_mode wait_modes_io[], wait_modes_socket[], wait_modes_sync[],
    wait_modes_process[], wait_modes_disk[];

/* A mode that does everything itself. */
struct mode {
    const char *name;
    void (*run)(void);
};

extern const struct mode modes_burn[], modes_grow[], modes_threads[], modes_process[], modes_event_loop[], modes_locks[], modes_soak[];

/* wait_in_NAME makes the call; outer_NAME calls it, so that the chain is known. */
#define WAIT_CALL(id, ...)                                                                         \
    static NAMED long wait_in_##id(void)                                                           \
    {                                                                                              \
        return raw_syscall(__VA_ARGS__);                                                           \
    }
#define OUTER(id)                                                                                  \
    static NAMED void outer_##id(void)                                                             \
    {                                                                                              \
        waited(wait_in_##id(), #id);                                                               \
    }

#endif
