/* Threads and processes that wait for each other for ever, and ones that look like it and do not. One mode a
 * run: see main. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noinline))

static pthread_mutex_t locks[3] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                   PTHREAD_MUTEX_INITIALIZER};
static pthread_rwlock_t rwlocks[2] = {PTHREAD_RWLOCK_INITIALIZER, PTHREAD_RWLOCK_INITIALIZER};
static pthread_barrier_t barrier;
static pthread_t joined;
/* The threads' ids and names for the ready line. */
static struct {
    const char *name;
    pid_t tid;
} known[8];
static int knows;
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void spin_ms(long ms)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < ms);
}

static void know(const char *name, pid_t tid)
{
    pthread_mutex_lock(&known_lock);
    known[knows].name = name;
    known[knows++].tid = tid;
    pthread_mutex_unlock(&known_lock);
    prctl(PR_SET_NAME, name);
}

static void ready(void)
{
    /* Let them go to sleep first. */
    pause_ms(100);
    printf("ready {\"pid\":%d,\"tids\":{", getpid());
    for (int at = 0; at < knows; at++)
        printf("%s\"%s\":%d", at ? "," : "", known[at].name, known[at].tid);
    printf("}}\n");
    fflush(stdout);
}

static pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument))
        exit(1);
    return thread;
}

struct pair {
    const char *name;
    int first, second;
};

static NAMED void take_second(pthread_mutex_t *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
}

static void *take_two(void *argument)
{
    const struct pair *pair = argument;
    know(pair->name, gettid());
    pthread_mutex_lock(&locks[pair->first]);
    pthread_barrier_wait(&barrier);
    take_second(&locks[pair->second]);
    pthread_mutex_unlock(&locks[pair->first]);
    return NULL;
}

static void cycle_of(int size)
{
    static struct pair pairs[3] = {{"one", 0, 1}, {"two", 1, 2}, {"three", 2, 0}};
    pairs[size - 1].second = 0;
    pthread_barrier_init(&barrier, NULL, size + 1);
    for (int at = 0; at < size; at++)
        start(take_two, &pairs[at]);
    pthread_barrier_wait(&barrier);
}

static NAMED void take_twice(void)
{
    pthread_mutex_lock(&locks[0]);
    take_second(&locks[0]);
}

static void *self_lock(void *unused)
{
    (void)unused;
    know("one", gettid());
    pthread_barrier_wait(&barrier);
    take_twice();
    return NULL;
}

static void *take_two_rw(void *argument)
{
    const struct pair *pair = argument;
    know(pair->name, gettid());
    pthread_rwlock_wrlock(&rwlocks[pair->first]);
    pthread_barrier_wait(&barrier);
    if (pair->first == 0)
        pthread_rwlock_rdlock(&rwlocks[pair->second]);
    else
        pthread_rwlock_wrlock(&rwlocks[pair->second]);
    return NULL;
}

/* Reads under one, and wants to write under the other. */
static NAMED void read_and_write(pthread_rwlock_t *read, pthread_rwlock_t *written)
{
    pthread_rwlock_rdlock(read);
    pthread_barrier_wait(&barrier);
    pthread_rwlock_wrlock(written);
    pthread_rwlock_unlock(written);
    pthread_rwlock_unlock(read);
}

static void *take_two_read(void *argument)
{
    const struct pair *pair = argument;
    know(pair->name, gettid());
    /* As in a program that has run for a while: the linker has bound the call. */
    pthread_rwlock_rdlock(&rwlocks[0]);
    pthread_rwlock_unlock(&rwlocks[0]);
    pthread_barrier_wait(&barrier);
    read_and_write(&rwlocks[pair->first], &rwlocks[pair->second]);
    return NULL;
}

static void *needs_lock(void *unused)
{
    (void)unused;
    know("worker", gettid());
    pthread_barrier_wait(&barrier);
    take_second(&locks[0]);
    return NULL;
}

static void *joins(void *unused)
{
    (void)unused;
    know("joiner", gettid());
    pthread_mutex_lock(&locks[0]);
    pthread_barrier_wait(&barrier);
    pthread_join(joined, NULL);
    return NULL;
}

static NAMED void ask(int to, int from)
{
    char byte = 0;
    if (to >= 0 && write(to, &byte, 1) != 1)
        exit(1);
    if (read(from, &byte, 1) < 0)
        exit(1);
}

/* Fills a pipe until nobody takes any more. */
static NAMED void fill(int to)
{
    static char bytes[4096];
    while (write(to, bytes, sizeof bytes) > 0)
        ;
}

/* A child whose end goes with its parent's. */
static pid_t child(void)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        exit(1);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(0);
        prctl(PR_SET_NAME, "answerer");
    }
    return pid;
}

/* Both fill the other's pipe and read nothing: `both` says so; else both read and nobody wrote. */
static void pipes(int both)
{
    int there[2], back[2];
    if (pipe(there) || pipe(back))
        exit(1);
    pid_t pid = child();
    int out = pid ? there[1] : back[1], in = pid ? back[0] : there[0];
    close(pid ? there[0] : there[1]);
    close(pid ? back[1] : back[0]);
    if (pid) {
        known[knows].name = "child";
        known[knows++].tid = pid;
        ready();
    }
    if (both)
        fill(out);
    ask(-1, in);
}

/* Requests without an answer: each waits for the other to say something. `rests`: the parent sleeps instead. */
static void sockets(int rests)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        exit(1);
    pid_t pid = child();
    close(ends[pid ? 1 : 0]);
    char byte;
    if (pid == 0)
        for (;;)
            if (recv(ends[1], &byte, 1, 0) <= 0)
                _exit(0);
    known[knows].name = "child";
    known[knows++].tid = pid;
    ready();
    for (;;) {
        if (rests)
            pause_ms(1000);
        else if (recv(ends[0], &byte, 1, 0) <= 0)
            exit(0);
    }
}

/* Both have locked a file and want that of the other. */
static void files(void)
{
    char names[2][64];
    int held[2];
    for (int at = 0; at < 2; at++) {
        snprintf(names[at], sizeof names[at], "/tmp/sick_locks.%d.%d", getpid(), at);
        held[at] = open(names[at], O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    }
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        exit(1);
    pid_t pid = child();
    int own = pid ? 0 : 1;
    close(held[0]);
    close(held[1]);
    int mine = open(names[own], O_RDWR), other = open(names[1 - own], O_RDWR);
    flock(mine, LOCK_EX);
    /* Both have one. */
    ask(ends[own], ends[own]);
    if (pid) {
        known[knows].name = "child";
        known[knows++].tid = pid;
        unlink(names[0]);
        unlink(names[1]);
        ready();
    }
    flock(other, LOCK_EX);
}

/* The parent waits for the child's end, the child for a word of the parent. */
static void waits_for_child(void)
{
    int words[2];
    if (pipe(words))
        exit(1);
    pid_t pid = child();
    close(words[pid ? 0 : 1]);
    if (pid == 0) {
        ask(-1, words[0]);
        _exit(0);
    }
    known[knows].name = "child";
    known[knows++].tid = pid;
    ready();
    waitpid(pid, NULL, 0);
}

static void *convoy(void *argument)
{
    const char *name = argument;
    long hold = name[0] == 'l' ? 60 : 1;
    know(name, gettid());
    pthread_barrier_wait(&barrier);
    for (;;) {
        pthread_mutex_lock(&locks[0]);
        if (hold > 1)
            spin_ms(hold);
        pthread_mutex_unlock(&locks[0]);
        pause_ms(hold > 1 ? 2 : 20);
    }
    return NULL;
}

static pthread_cond_t work = PTHREAD_COND_INITIALIZER;

static void *works(void *unused)
{
    (void)unused;
    know("worker", gettid());
    pthread_mutex_lock(&locks[0]);
    for (;;)
        pthread_cond_wait(&work, &locks[0]);
    return NULL;
}

/* Passes a lock that it held for long on, again and again: whoever waits gets it within a second. */
static void *passes(void *argument)
{
    know(argument, gettid());
    pthread_barrier_wait(&barrier);
    for (;;) {
        pthread_mutex_lock(&locks[0]);
        pthread_mutex_lock(&locks[1]);
        pause_ms(30);
        pthread_mutex_unlock(&locks[1]);
        pthread_mutex_unlock(&locks[0]);
        pause_ms(200);
    }
    return NULL;
}

static void run(const char *mode)
{
    if (!strcmp(mode, "abba")) {
        cycle_of(2);
    } else if (!strcmp(mode, "three")) {
        cycle_of(3);
    } else if (!strcmp(mode, "robust")) {
        pthread_mutexattr_t robust;
        pthread_mutexattr_init(&robust);
        pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
        for (int at = 0; at < 3; at++)
            pthread_mutex_init(&locks[at], &robust);
        cycle_of(2);
    } else if (!strcmp(mode, "self")) {
        pthread_barrier_init(&barrier, NULL, 2);
        start(self_lock, NULL);
        pthread_barrier_wait(&barrier);
    } else if (!strcmp(mode, "rwlock") || !strcmp(mode, "rwlock-read")) {
        static struct pair pairs[2] = {{"one", 0, 1}, {"two", 1, 0}};
        void *(*take)(void *) = !strcmp(mode, "rwlock") ? take_two_rw : take_two_read;
        pthread_barrier_init(&barrier, NULL, 3);
        start(take, &pairs[0]);
        start(take, &pairs[1]);
        if (take == take_two_read)
            pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
    } else if (!strcmp(mode, "join")) {
        pthread_barrier_init(&barrier, NULL, 3);
        joined = start(needs_lock, NULL);
        start(joins, NULL);
        pthread_barrier_wait(&barrier);
    } else if (!strcmp(mode, "pipe-write")) {
        pipes(1);
    } else if (!strcmp(mode, "pipe-read")) {
        pipes(0);
    } else if (!strcmp(mode, "unix")) {
        sockets(0);
    } else if (!strcmp(mode, "unix-rest")) {
        sockets(1);
    } else if (!strcmp(mode, "flock")) {
        files();
    } else if (!strcmp(mode, "child")) {
        waits_for_child();
    } else if (!strcmp(mode, "contended")) {
        pthread_barrier_init(&barrier, NULL, 4);
        start(convoy, "long");
        start(convoy, "short-1");
        start(convoy, "short-2");
        pthread_barrier_wait(&barrier);
    } else if (!strcmp(mode, "contended-briefly")) {
        pthread_barrier_init(&barrier, NULL, 4);
        start(convoy, "short-1");
        start(convoy, "short-2");
        start(convoy, "short-3");
        pthread_barrier_wait(&barrier);
    } else if (!strcmp(mode, "pool")) {
        for (int at = 0; at < 4; at++)
            start(works, NULL);
    } else if (!strcmp(mode, "passed-on")) {
        pthread_barrier_init(&barrier, NULL, 3);
        start(passes, "one");
        start(passes, "two");
        pthread_barrier_wait(&barrier);
    } else {
        fprintf(stderr, "no mode %s\n", mode);
        exit(2);
    }
}

int main(int count, char **arguments)
{
    alarm(300);
    know("main", getpid());
    prctl(PR_SET_NAME, "sick_locks");
    if (count < 2)
        return 2;
    run(arguments[1]);
    ready();
    for (;;)
        pause_ms(1000);
}
