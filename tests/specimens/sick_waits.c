/* Waits with a time limit of a program that was stopped and continued, as by a debugger: the kernel goes on with them
 * by restart_syscall. Modes: sick (two of them are for each other's mutex), well. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noinline))
#define FAR 9999

static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t rests = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pid_t one_tid;
static int pipe_ends[2];

static struct timespec far(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_sec += FAR;
    return time;
}

static NAMED void take_second(pthread_mutex_t *lock)
{
    struct timespec time = far();
    pthread_mutex_timedlock(lock, &time);
}

static void *take_two(void *argument)
{
    long first = (long)argument;
    if (first == 0)
        one_tid = gettid();
    prctl(PR_SET_NAME, first ? "two" : "one");
    pthread_mutex_lock(&locks[first]);
    pthread_barrier_wait(&barrier);
    take_second(&locks[1 - first]);
    return NULL;
}

static void *polls(void *unused)
{
    (void)unused;
    struct pollfd wanted = {pipe_ends[0], POLLIN, 0};
    for (;;)
        poll(&wanted, 1, FAR * 1000);
    return NULL;
}

static void *waits(void *unused)
{
    (void)unused;
    struct timespec time = far();
    pthread_mutex_lock(&rests);
    for (;;)
        pthread_cond_timedwait(&never, &rests, &time);
    return NULL;
}

/* A child stops this process for a moment. */
static void be_stopped(void)
{
    pid_t child = fork();
    if (child < 0)
        exit(1);
    if (child == 0) {
        usleep(300000);
        kill(getppid(), SIGSTOP);
        usleep(100000);
        kill(getppid(), SIGCONT);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(int count, char **words)
{
    pthread_t thread;
    if (count != 2 || pipe(pipe_ends))
        return 2;
    alarm(300);
    pthread_create(&thread, NULL, polls, NULL);
    pthread_create(&thread, NULL, waits, NULL);
    if (!strcmp(words[1], "sick")) {
        pthread_barrier_init(&barrier, NULL, 3);
        pthread_create(&thread, NULL, take_two, (void *)0);
        pthread_create(&thread, NULL, take_two, (void *)1);
        pthread_barrier_wait(&barrier);
    }
    be_stopped();
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d", getpid(), getpid());
    if (one_tid)
        printf(",\"one\":%d", one_tid);
    printf("}}\n");
    fflush(stdout);
    for (;;)
        sleep(FAR);
}
