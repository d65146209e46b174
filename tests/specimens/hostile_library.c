/* The library of `hostile`. */
#include "hostile.h"

#include <sys/epoll.h>
#include <unistd.h>

static NAMED unsigned step(unsigned state)
{
    for (int round = 0; round < 100000; round++)
        state = state * 1664525u + 1013904223u;
    return state;
}

NAMED void library_computes(void)
{
    for (volatile unsigned state = 1;; usleep(1000))
        state = step(state);
}

NAMED void library_sleeps(void)
{
    int epoll = epoll_create1(0);
    struct epoll_event event;
    for (;;)
        epoll_wait(epoll, &event, 1, -1);
}
