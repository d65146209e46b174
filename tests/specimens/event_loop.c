/* Event loops that keep an account of each iteration: from their return from the wait for events to
 * their next one. Some waits find something at once, some iterations are far too long. */
#include "specimen.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

enum { EVERY = 40, SLEEPS = 7, SPINS = 23, AT_ONCE = 3 };

static int event, timer, set;

static NAMED void stall_sleep(void)
{
    struct timespec time = {0, 150 * MS};
    raw_syscall(SYS_nanosleep, (long)&time, 0, 0, 0, 0, 0);
}

static NAMED void stall_spin(void)
{
    spin(130 * MS);
}

static NAMED void work(unsigned turn)
{
    spin(turn % 2 ? 2 * MS : MS / 2);
}

static void one_iteration(unsigned turn)
{
    uint64_t value;
    if (read(event, &value, sizeof value) < 0 && read(timer, &value, sizeof value) < 0) {
        /* A wait that ended for another reason. */
    }
    if (turn % EVERY == SLEEPS)
        stall_sleep();
    else if (turn % EVERY == SPINS)
        stall_spin();
    else
        work(turn);
    value = 1;
    if (turn % AT_ONCE == 0)
        must(write(event, &value, sizeof value), "write to an eventfd");
}

static long wait_epoll(void)
{
    struct epoll_event events[4];
    return epoll_wait(set, events, 4, 1000);
}

static long wait_poll(void)
{
    struct pollfd descriptors[2] = {{event, POLLIN, 0}, {timer, POLLIN, 0}};
    return poll(descriptors, 2, 1000);
}

static void run(long (*wait)(void))
{
    event = (int)must(eventfd(0, EFD_NONBLOCK), "eventfd");
    timer = (int)must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd");
    struct itimerspec each = {{0, 5 * MS}, {0, 5 * MS}};
    must(timerfd_settime(timer, 0, &each, NULL), "timerfd_settime");
    set = (int)must(epoll_create1(0), "epoll_create1");
    struct epoll_event both = {.events = EPOLLIN};
    must(epoll_ctl(set, EPOLL_CTL_ADD, event, &both), "epoll_ctl");
    must(epoll_ctl(set, EPOLL_CTL_ADD, timer, &both), "epoll_ctl");
    uint32_t function = log_function("iteration");
    life_ready();
    for (unsigned turn = 0;; turn++) {
        wait();
        uint64_t entry = log_begin(function);
        one_iteration(turn);
        log_end(entry);
    }
}

static void run_epoll(void)
{
    run(wait_epoll);
}

static void run_poll(void)
{
    run(wait_poll);
}

const struct mode modes_event_loop[] = {
    {"epoll-loop", run_epoll},
    {"poll-loop", run_poll},
    {0},
};
