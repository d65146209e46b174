/* How a specimen begins and ends: one line `ready {...}`, then its work, then one line of truth.
 *
 * The thread "keeper" waits for the signals, so that no other thread's wait is ever cut short by
 * one: SIGTERM or the end of the run time ends the process, SIGUSR1 sets `go`.
 */
#include "specimen.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum { THREADS = 600, NAME_BYTES = 16 };

size_t life_stack_bytes = 64 * 1024;
struct options options = {.run_ns = 60 * SECOND, .period_ns = 20 * MS};
atomic_bool go;

static struct thread {
    char name[NAME_BYTES];
    pid_t tid;
} threads[THREADS];
static int thread_count;
static sigset_t keeper_signals;

static void *keep(void *unused)
{
    (void)unused;
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + options.run_ns;
    for (;;) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now >= end)
            life_end(0);
        struct timespec left = {(time_t)((end - now) / SECOND), (long)((end - now) % SECOND)};
        int signal = sigtimedwait(&keeper_signals, NULL, &left);
        if (signal == SIGTERM)
            life_end(0);
        if (signal == SIGUSR1)
            atomic_store(&go, true);
    }
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text || *end)
        die("not a number: %s", text);
    return value;
}

static void enter(const char *name, pid_t tid)
{
    if (thread_count == THREADS)
        die("more threads than the ready line has room for");
    snprintf(threads[thread_count].name, NAME_BYTES, "%s", name);
    threads[thread_count++].tid = tid;
}

void life_begin(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc < 2)
        die("usage: %s MODE [--run-ms N] [--period-us N] [--extra TEXT]", argv[0]);
    options.mode = argv[1];
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--run-ms") == 0)
            options.run_ns = number(argv[i + 1]) * MS;
        else if (strcmp(argv[i], "--period-us") == 0)
            options.period_ns = number(argv[i + 1]) * 1000;
        else if (strcmp(argv[i], "--extra") == 0)
            options.extra = argv[i + 1];
        else
            die("unknown option %s", argv[i]);
    }
    log_open();
    prctl(PR_SET_NAME, options.mode);
    enter("main", gettid());
    sigemptyset(&keeper_signals);
    sigaddset(&keeper_signals, SIGTERM);
    sigaddset(&keeper_signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &keeper_signals, NULL);
    life_thread("keeper", keep, NULL);
}

struct start {
    const char *name;
    void *(*run)(void *);
    void *argument;
    _Atomic pid_t tid;
};

static void *begin_thread(void *start_memory)
{
    struct start *start = start_memory;
    void *(*run)(void *) = start->run;
    void *argument = start->argument;
    prctl(PR_SET_NAME, start->name);
    atomic_store(&start->tid, gettid()); /* after this the memory is the starter's again */
    return run(argument);
}

pid_t life_thread(const char *name, void *(*run)(void *), void *argument)
{
    struct start start = {.name = name, .run = run, .argument = argument};
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, life_stack_bytes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, begin_thread, &start);
    if (error)
        die("pthread_create: %s", strerror(error));
    while (atomic_load(&start.tid) == 0)
        sleep_ns(50000);
    enter(name, start.tid);
    return start.tid;
}

void life_ready(void)
{
    printf("ready {\"pid\":%d,\"tids\":{", getpid());
    for (int i = 0; i < thread_count; i++)
        printf("%s\"%s\":%d", i ? "," : "", threads[i].name, threads[i].tid);
    printf("}}\n");
    fflush(stdout);
}

void life_end(int status)
{
    log_print_truth();
    _exit(status);
}

void life_idle(void)
{
    for (;;)
        sleep_ns(3600 * SECOND);
}

static void say(const char *format, va_list arguments)
{
    fprintf(stderr, "specimen %s: ", options.mode ? options.mode : "");
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    _exit(1);
}

void unsupported(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    _exit(77);
}

long must(long result, const char *what)
{
    if (result < 0)
        die("%s: %s", what, strerror(result == -1 && errno ? errno : (int)-result));
    return result;
}

long waited(long result, const char *what)
{
    if (result == -EINTR || result == -EAGAIN || result == -ETIMEDOUT)
        return result;
    if (result < 0)
        die("%s: %s", what, strerror((int)-result));
    return result;
}

void sleep_ns(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / SECOND), (long)(ns % SECOND)};
    raw_syscall(SYS_nanosleep, (long)&time, 0, 0, 0, 0, 0);
}
