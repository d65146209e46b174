/* A loop of libevent that never sleeps: `sick_libevent busy-MS`. Its callback asks for itself again, and computes for so
 * long each time.
 *
 * Prints `ready {"pid":…,"tids":{…}}`, stays so, and ends by itself after five minutes. The library is loaded when it
 * runs: its headers need not be there.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noipa))
/* Of event2/event.h. */
#define EV_READ 0x02
#define EV_PERSIST 0x10

typedef void (*callback)(int fd, short what, void *argument);
static double ms;
static int ends[2];

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

NAMED static void handle_request(int fd, short what, void *argument)
{
    char byte;
    double end = now() + ms;
    volatile unsigned long sum = 0;
    (void)what;
    (void)argument;
    if (read(fd, &byte, 1) != 1 || write(ends[1], "x", 1) != 1)
        exit(1);
    while (now() < end)
        for (unsigned long i = 0; i < 1000; i++)
            sum += i * i;
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (found == NULL)
        exit(77);
    return found;
}

int main(int argc, char **argv)
{
    void *library = dlopen("libevent-2.1.so.7", RTLD_NOW);
    if (argc < 2 || strncmp(argv[1], "busy-", 5) != 0 || library == NULL) {
        fprintf(stderr, "no libevent 2.1 here, or no such mode\n");
        /* This machine cannot: see tests/src/specimen.rs. */
        return 77;
    }
    void *(*base_new)(void) = symbol(library, "event_base_new");
    void *(*new)(void *, int, short, callback, void *) = symbol(library, "event_new");
    int (*add)(void *, const struct timeval *) = symbol(library, "event_add");
    int (*dispatch)(void *) = symbol(library, "event_base_dispatch");
    ms = atof(argv[1] + 5);
    alarm(300);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0 || write(ends[1], "x", 1) != 1)
        return 77;
    void *base = base_new();
    add(new (base, ends[0], EV_READ | EV_PERSIST, handle_request, NULL), NULL);
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d}}\n", getpid(), getpid());
    fflush(stdout);
    return dispatch(base);
}
