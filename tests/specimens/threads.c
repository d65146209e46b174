/* Many threads at once, and threads that are born and die during the capture. */
#include "specimen.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>

enum { MANY = 500 };

static uint32_t function;
static struct timespec sleep_time;

static NAMED long wait_in_many(void)
{
    return raw_syscall(SYS_nanosleep, (long)&sleep_time, 0, 0, 0, 0, 0);
}

static NAMED void *outer_many(void *unused)
{
    (void)unused;
    for (;;) {
        uint64_t entry = log_begin(function);
        waited(wait_in_many(), "nanosleep");
        log_end(entry);
    }
    return NULL;
}

/* 500 threads that sleep ten periods at a time. */
static void run_many(void)
{
    function = log_function("wait_in_many");
    uint64_t ns = 10 * options.period_ns;
    sleep_time = (struct timespec){(time_t)(ns / SECOND), (long)(ns % SECOND)};
    for (int i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "many-%03d", i);
        life_thread(name, outer_many, NULL);
    }
    life_ready();
    life_idle();
}

static NAMED long wait_in_late(void)
{
    return raw_syscall(SYS_nanosleep, (long)&sleep_time, 0, 0, 0, 0, 0);
}

static NAMED void *outer_late(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "late");
    uint64_t entry = log_begin(function);
    waited(wait_in_late(), "nanosleep");
    log_end(entry);
    return NULL;
}

/* A thread is born each 100 ms, sleeps 250 ms and ends. */
static void run_late(void)
{
    function = log_function("wait_in_late");
    sleep_time.tv_nsec = 250 * MS;
    life_ready();
    for (;;) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, outer_late, NULL) != 0)
            die("pthread_create failed");
        pthread_detach(thread);
        sleep_ns(100 * MS);
    }
}

const struct mode modes_threads[] = {
    {"many-threads", run_many},
    {"late-threads", run_late},
    {0},
};
