/* A mutex of each kind: one thread holds it for long, two wait for it. `--extra KIND`. */
#include "specimen.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

/* In memory that a forked child shares. */
static pthread_mutex_t *shared_mutex;
static pthread_mutex_t mutex;
static uint32_t wait_function;

static NAMED void hold_sleep(void)
{
    struct timespec time = {0, 20 * MS};
    raw_syscall(SYS_nanosleep, (long)&time, 0, 0, 0, 0, 0);
}

static NAMED void hold_spin(void)
{
    spin(20 * MS);
}

static void *hold_often(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&mutex);
        hold_sleep();
        hold_spin();
        pthread_mutex_unlock(&mutex);
        sleep_ns(5 * MS);
    }
    return NULL;
}

static NAMED void take_lock(void)
{
    uint64_t entry = log_begin(wait_function);
    pthread_mutex_lock(&mutex);
    log_end(entry);
    pthread_mutex_unlock(&mutex);
}

static void *take_often(void *unused)
{
    (void)unused;
    for (;;) {
        take_lock();
        sleep_ns(1 * MS);
    }
    return NULL;
}

static void *hold_for_ever(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&mutex);
    atomic_store(&go, true);
    for (;;)
        hold_sleep();
    return NULL;
}

static void make_mutex(void)
{
    const char *kind = options.extra ? options.extra : "normal";
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    if (strcmp(kind, "recursive") == 0)
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    else if (strcmp(kind, "errorcheck") == 0)
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    else if (strcmp(kind, "adaptive") == 0)
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    else if (strcmp(kind, "robust") == 0)
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    else if (strcmp(kind, "pi") == 0)
        pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    else if (strcmp(kind, "normal") != 0)
        die("no such kind of mutex: %s", kind);
    if (pthread_mutex_init(&mutex, &attributes) != 0)
        unsupported("pthread_mutex_init refuses the kind %s", kind);
    wait_function = log_function("take_lock");
}

static void run_locks(void)
{
    make_mutex();
    life_thread("holder", hold_often, NULL);
    life_thread("waiter-1", take_often, NULL);
    life_thread("waiter-2", take_often, NULL);
    life_ready();
    life_idle();
}

static void run_lock_stuck(void)
{
    make_mutex();
    life_thread("holder", hold_for_ever, NULL);
    while (!atomic_load(&go))
        sleep_ns(1 * MS);
    life_thread("waiter-1", take_often, NULL);
    life_ready();
    life_idle();
}

static NAMED void hold_shared(void)
{
    pthread_mutex_lock(shared_mutex);
    hold_sleep();
    pthread_mutex_unlock(shared_mutex);
}

static NAMED void take_shared(void)
{
    pthread_mutex_lock(shared_mutex);
    pthread_mutex_unlock(shared_mutex);
}

/* A mutex that two processes share, at another address in each. */
static void run_lock_shared(void)
{
    int memory = (int)must(memfd_create("shared-lock", 0), "memfd_create");
    must(ftruncate(memory, 4096), "ftruncate");
    void *here = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (here == MAP_FAILED)
        die("mmap failed");
    shared_mutex = here;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (pthread_mutex_init(shared_mutex, &attributes) != 0)
        die("pthread_mutex_init failed");
    pid_t parent = getpid();
    for (int child = 0; child < 2; child++) {
        if (must(fork(), "fork") != 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(0);
        void *there = mmap((char *)here + 0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        if (there == MAP_FAILED)
            _exit(1);
        shared_mutex = there;
        for (;;) {
            take_shared();
            sleep_ns(1 * MS);
        }
    }
    life_ready();
    for (;;) {
        hold_shared();
        sleep_ns(2 * MS);
    }
}

const struct mode modes_locks[] = {
    {"lock-shared", run_lock_shared},
    {"locks", run_locks},
    {"lock-stuck", run_lock_stuck},
    {0},
};
