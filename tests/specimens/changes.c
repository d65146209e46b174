/* Processes that change while somebody looks at them: `changes MODE`.
 *
 * leader-gone    two threads in a deadlock; the main thread has ended
 * leader-goes    the same; the main thread ends at SIGUSR1
 * exec-sick      two threads in a deadlock; at SIGUSR1 the process becomes `rest`
 * exec-well      at rest; at SIGUSR1 the process becomes `deadlock`
 * deadlock       two threads in a deadlock
 * rest           threads at rest
 *
 * Prints `ready {"pid":…,"tids":{…}}`, again after an exec; ends by itself after five minutes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMED __attribute__((noipa))

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;
static sigset_t signals;
static int tids[2];

static NAMED void takes_other(pthread_mutex_t *mine, pthread_mutex_t *other)
{
    pthread_mutex_lock(mine);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(other);
    abort();
}

static void *one(void *unused)
{
    prctl(PR_SET_NAME, "one");
    tids[0] = (int)syscall(SYS_gettid);
    pthread_barrier_wait(&both);
    takes_other(&first, &second);
    return unused;
}

static void *two(void *unused)
{
    prctl(PR_SET_NAME, "two");
    tids[1] = (int)syscall(SYS_gettid);
    pthread_barrier_wait(&both);
    takes_other(&second, &first);
    return unused;
}

static NAMED void *rests(void *unused)
{
    int epoll = epoll_create1(0);
    struct epoll_event event;
    for (;;)
        epoll_wait(epoll, &event, 1, -1);
    return unused;
}

static void start(void *(*run)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, NULL) != 0)
        exit(77);
}

static void lock_up(void)
{
    pthread_barrier_init(&both, NULL, 2);
    start(one);
    start(two);
    usleep(200000);
}

static void ready(void)
{
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d,\"one\":%d,\"two\":%d}}\n", getpid(), getpid(), tids[0],
           tids[1]);
    fflush(stdout);
}

static NAMED void waits_for_the_word(void)
{
    int signal;
    sigwait(&signals, &signal);
}

static void becomes(const char *program, const char *mode)
{
    waits_for_the_word();
    execl(program, program, mode, (char *)NULL);
    abort();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    /* It stays set after an exec: the mask is the process's, and so is the alarm. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    alarm(300);
    if (!strncmp(mode, "leader", 6)) {
        lock_up();
        ready();
        if (!strcmp(mode, "leader-goes"))
            waits_for_the_word();
        pthread_exit(NULL);
    }
    if (!strcmp(mode, "exec-sick")) {
        lock_up();
        ready();
        becomes("/proc/self/exe", "rest");
    }
    if (!strcmp(mode, "exec-well")) {
        start(rests);
        ready();
        becomes("/proc/self/exe", "deadlock");
    }
    if (!strcmp(mode, "deadlock"))
        lock_up();
    else
        start(rests);
    ready();
    rests(NULL);
}
