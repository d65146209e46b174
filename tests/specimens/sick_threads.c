/* Threads that are stopped, starved, spin, or hang in a system call, and healthy ones that look like it:
 * `sick_threads MODE`.
 *
 * Prints `ready {"pid":…,"tids":{…}}`, gets into its state and stays so; it ends by itself after five minutes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noipa))
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MS 1000000L

static void ready(pid_t pid)
{
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d}}\n", pid, pid);
    fflush(stdout);
}

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        /* This machine cannot: see tests/src/specimen.rs. */
        exit(77);
    }
}

static void rest(long ns)
{
    struct timespec time = {ns / 1000000000L, ns % 1000000000L};
    nanosleep(&time, NULL);
}

/* A child that ends with this process; 0 in the child. */
static pid_t child(void)
{
    pid_t pid = fork();
    must(pid, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(300);
    }
    return pid;
}

NAMED static void work(void)
{
    volatile unsigned long sum = 0;
    for (unsigned long i = 0; i < 1000000; i++)
        sum += i * i;
}

/* ---- stopped ---- */

static void ticks(void)
{
    for (;;) {
        work();
        rest(20 * MS);
    }
}

static void stopped(void)
{
    pid_t pid = child();
    if (pid == 0)
        ticks();
    rest(50 * MS);
    kill(pid, SIGSTOP);
    ready(pid);
    pause();
}

static void traced(int held)
{
    pid_t pid = child();
    if (pid == 0)
        ticks();
    rest(50 * MS);
    must((int)ptrace(PTRACE_SEIZE, pid, NULL, NULL), "ptrace");
    if (held)
        ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    ready(pid);
    for (;;)
        pause();
}

static void traced_held(void)
{
    traced(1);
}

static void traced_running(void)
{
    traced(0);
}

/* Stops for a moment again and again, as a sampling debugger makes it. */
static void stutter(void)
{
    pid_t pid = child();
    if (pid == 0)
        ticks();
    ready(pid);
    for (;;) {
        rest(200 * MS);
        kill(pid, SIGSTOP);
        rest(20 * MS);
        kill(pid, SIGCONT);
    }
}

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return -1;
    int result = (int)write(fd, text, strlen(text));
    close(fd);
    return result;
}

/* Control groups: version 1 where it is mounted, else version 2. */
static const char *const FREEZERS[][2] = {
    {"/sys/fs/cgroup/freezer", "freezer.state"},
    {"/sys/fs/cgroup", "cgroup.freeze"},
    {"/sys/fs/cgroup/unified", "cgroup.freeze"},
};
static char group[256];

static void leave_group(void)
{
    for (int i = 0; i < 100 && rmdir(group) < 0 && errno == EBUSY; i++)
        rest(20 * MS);
}

static void make_group(const char *root, const char *name, pid_t pid)
{
    char path[512], number[32];
    snprintf(group, sizeof group, "%s/%s-%d", root, name, pid);
    must(mkdir(group, 0755), group);
    snprintf(path, sizeof path, "%s/cgroup.procs", group);
    snprintf(number, sizeof number, "%d", pid);
    must(put(path, number), path);
}

static void in_group(const char *file, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", group, file);
    must(put(path, text), path);
}

/* Waits for the end, without reaping: SIGTERM and the harness's SIGKILL of the parent kill the child; the
 * group is left by a process of its own, which outlives both. */
static void sweep(pid_t pid, const char *file, const char *text)
{
    pid_t parent = getpid();
    pid_t sweeper = fork();
    must(sweeper, "fork");
    if (sweeper != 0)
        return;
    setsid();
    /* The harness reads these to their end. */
    close(0);
    close(1);
    close(2);
    for (int i = 0; i < 3000 && kill(parent, 0) == 0 && getppid() == parent; i++)
        rest(100 * MS);
    kill(pid, SIGKILL);
    if (file != NULL)
        in_group(file, text);
    leave_group();
    _exit(0);
}

static void frozen(const char *const freezer[2])
{
    pid_t pid = child();
    if (pid == 0)
        ticks();
    make_group(freezer[0], "remora-frozen", pid);
    int old = strcmp(freezer[1], "freezer.state") == 0;
    sweep(pid, freezer[1], old ? "THAWED" : "0");
    in_group(freezer[1], old ? "FROZEN" : "1");
    rest(100 * MS);
    ready(pid);
    pause();
}

static void frozen_old(void)
{
    must(access("/sys/fs/cgroup/freezer/cgroup.procs", W_OK), "the version 1 freezer");
    frozen(FREEZERS[0]);
}

static void frozen_new(void)
{
    int at = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? 1 : 2;
    must(access(at == 1 ? "/sys/fs/cgroup/cgroup.procs" : "/sys/fs/cgroup/unified/cgroup.procs", W_OK), "cgroup2");
    frozen(FREEZERS[at]);
}

/* In a control group of its own that runs. */
static void thawed(void)
{
    must(access("/sys/fs/cgroup/freezer/cgroup.procs", W_OK), "the version 1 freezer");
    pid_t pid = child();
    if (pid == 0)
        ticks();
    make_group("/sys/fs/cgroup/freezer", "remora-thawed", pid);
    sweep(pid, NULL, NULL);
    ready(pid);
    pause();
}

/* ---- starved ---- */

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    must(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
}

NAMED static void wants_cpu(void)
{
    for (;;)
        work();
}

/* A real-time thread takes the CPU of this one; the kernel leaves others five hundredths of each second. */
static void starved(void)
{
    pin(0);
    pid_t hog = child();
    if (hog == 0) {
        struct sched_param first = {.sched_priority = 10};
        must(sched_setscheduler(0, SCHED_FIFO, &first), "sched_setscheduler");
        for (;;)
            work();
    }
    rest(50 * MS);
    ready(getpid());
    wants_cpu();
}

/* Shares a CPU with another, fairly. */
static void sharing(void)
{
    pin(0);
    if (child() == 0)
        for (;;)
            work();
    ready(getpid());
    wants_cpu();
}

/* Gives way: what it does not get, others have. */
static void nice_sharing(void)
{
    pin(0);
    if (child() == 0)
        for (;;)
            work();
    must(setpriority(PRIO_PROCESS, 0, 19), "setpriority");
    ready(getpid());
    wants_cpu();
}

/* Four that use the CPU which this process shares with them. */
static void crowded(void)
{
    pin(0);
    for (int i = 0; i < 4; i++)
        if (child() == 0)
            for (;;)
                work();
}

/* Runs when nobody else wants the CPU. */
static void gives_way(void)
{
    struct sched_param none = {0};
    must(sched_setscheduler(0, SCHED_IDLE, &none), "sched_setscheduler");
}

/* A batch that gives way: nobody waits for it. */
static void idle_batch(void)
{
    crowded();
    gives_way();
    ready(getpid());
    wants_cpu();
}

/* The same, with a client that waits for its answer. */
NAMED static void idle_server(void)
{
    char bytes[16] = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    crowded();
    must(bind(server, (struct sockaddr *)&address, length), "bind");
    must(listen(server, 4), "listen");
    must(getsockname(server, (struct sockaddr *)&address, &length), "getsockname");
    if (child() == 0) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(connect(client, (struct sockaddr *)&address, length), "connect");
        must((int)write(client, bytes, sizeof bytes), "write");
        rest(200 * MS);
        must((int)write(client, bytes, sizeof bytes), "write");
        _exit(read(client, bytes, sizeof bytes) < 0);
    }
    int client = accept(server, NULL, NULL);
    must(client, "accept");
    must((int)read(client, bytes, sizeof bytes), "read");
    gives_way();
    ready(getpid());
    wants_cpu();
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void *idle_holder(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&held);
    gives_way();
    wants_cpu();
    return NULL;
}

/* A thread that gives way computes under a lock that the main thread wants. */
NAMED static void idle_lock(void)
{
    pthread_t thread;
    crowded();
    pthread_create(&thread, NULL, idle_holder, NULL);
    while (pthread_mutex_trylock(&held) == 0) {
        pthread_mutex_unlock(&held);
        rest(MS);
    }
    ready(getpid());
    pthread_mutex_lock(&held);
}

static void *worker(void *unused)
{
    (void)unused;
    wants_cpu();
    return NULL;
}

/* More threads than CPUs, by choice. */
static void batch(void)
{
    pthread_t thread;
    for (int i = 0; i < 7; i++)
        pthread_create(&thread, NULL, worker, NULL);
    ready(getpid());
    wants_cpu();
}

static void limited(const char *quota)
{
    const char *old = "/sys/fs/cgroup/cpu";
    pid_t pid = child();
    if (pid == 0)
        wants_cpu();
    if (access("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", F_OK) == 0 || access(old, W_OK) == 0) {
        make_group(old, "remora-limited", pid);
        in_group("cpu.cfs_period_us", "100000");
        in_group("cpu.cfs_quota_us", quota);
    } else {
        char text[64];
        must(put("/sys/fs/cgroup/cgroup.subtree_control", "+cpu"), "cgroup2's cpu controller");
        make_group("/sys/fs/cgroup", "remora-limited", pid);
        snprintf(text, sizeof text, "%s 100000", quota);
        in_group("cpu.max", text);
    }
    sweep(pid, NULL, NULL);
    ready(pid);
    pause();
}

static void throttled(void)
{
    limited("10000");
}

/* A limit that it does not reach. */
static void roomy(void)
{
    limited("400000");
}

/* ---- busy_spin ---- */

static int ready_forever(int epoll)
{
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
    must((int)write(ends[1], "unread", 6), "write");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[0]};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event), "epoll_ctl");
    return ends[0];
}

NAMED static void handle(struct epoll_event *event)
{
    /* Forgets to read. */
    __asm__ volatile("" : : "r"(event) : "memory");
}

NAMED static void spins_in_epoll(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    ready_forever(epoll);
    ready(getpid());
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(epoll, &event, 1, -1) > 0)
            handle(&event);
    }
}

NAMED static void spins_in_poll(void)
{
    struct pollfd fd = {.fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN};
    ready(getpid());
    for (;;)
        poll(&fd, 1, 0);
}

NAMED static void spins_in_yield(void)
{
    ready(getpid());
    for (;;)
        sched_yield();
}

NAMED static void spins_on_a_lock(void)
{
    pthread_spinlock_t lock;
    pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE);
    pthread_spin_lock(&lock);
    ready(getpid());
    pthread_spin_lock(&lock);
}

static void computes(void)
{
    ready(getpid());
    wants_cpu();
}

static void *feeds(void *argument)
{
    int fd = *(int *)argument;
    char bytes[64] = {0};
    for (;;)
        if (write(fd, bytes, sizeof bytes) < 0)
            return NULL;
}

/* A loop that never runs dry: each time it asks, there is something, and it takes it. */
static void serves(void)
{
    static int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[0]};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event), "epoll_ctl");
    pthread_t thread;
    pthread_create(&thread, NULL, feeds, &ends[1]);
    ready(getpid());
    char bytes[64];
    for (;;)
        if (epoll_wait(epoll, &event, 1, -1) > 0 && read(ends[0], bytes, sizeof bytes) < 0)
            return;
}

/* ---- blocked_syscall ---- */

static char path[64];

static void remove_path(int number)
{
    unlink(path);
    _exit(number == SIGTERM ? 0 : 1);
}

static int lock_file(void)
{
    snprintf(path, sizeof path, "/tmp/remora-lock-%d", getpid());
    signal(SIGTERM, remove_path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd, path);
    return fd;
}

NAMED static void waits_for_a_file_lock(void)
{
    int fd = lock_file();
    int to_child[2], to_parent[2];
    must(pipe(to_child), "pipe");
    must(pipe(to_parent), "pipe");
    if (child() == 0) {
        int own = open(path, O_RDWR);
        must(flock(own, LOCK_EX), "flock");
        must((int)write(to_parent[1], "x", 1), "write");
        for (;;)
            pause();
    }
    char byte;
    must((int)read(to_parent[0], &byte, 1), "read");
    unlink(path);
    ready(getpid());
    flock(fd, LOCK_EX);
}

NAMED static void fills_a_pipe(void)
{
    int ends[2];
    must(pipe(ends), "pipe");
    if (child() == 0) {
        /* Has the reading end, and does not read. */
        close(ends[1]);
        for (;;)
            pause();
    }
    close(ends[0]);
    ready(getpid());
    char bytes[4096] = {0};
    while (write(ends[1], bytes, sizeof bytes) > 0) {
    }
}

NAMED static void opens_a_fifo(void)
{
    snprintf(path, sizeof path, "/tmp/remora-fifo-%d", getpid());
    signal(SIGTERM, remove_path);
    must(mkfifo(path, 0600), path);
    ready(getpid());
    must(open(path, O_WRONLY), path);
}

/* Its child does not exec. */
NAMED static void waits_for_an_exec(void)
{
    ready(getpid());
    if (vfork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(300);
        for (;;)
            syscall(SYS_pause);
    }
}

/* A slow reader: the pipe is full most of the time, and it moves. */
NAMED static void steady_pipe(void)
{
    int ends[2];
    must(pipe(ends), "pipe");
    if (child() == 0) {
        char bytes[4096];
        close(ends[1]);
        for (;;) {
            rest(100 * MS);
            if (read(ends[0], bytes, sizeof bytes) <= 0)
                _exit(0);
        }
    }
    close(ends[0]);
    ready(getpid());
    char bytes[4096] = {0};
    while (write(ends[1], bytes, sizeof bytes) > 0) {
    }
}

static void *reads(void *argument)
{
    char bytes[8];
    while (read(*(int *)argument, bytes, sizeof bytes) >= 0) {
    }
    return NULL;
}

static void *waits_for_child(void *argument)
{
    waitpid(*(pid_t *)argument, NULL, 0);
    return NULL;
}

static void *sleeps(void *unused)
{
    (void)unused;
    for (;;)
        rest(3600 * 1000 * MS);
    return NULL;
}

static void *waits_for_signal(void *unused)
{
    sigset_t set;
    (void)unused;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    for (;;)
        sigwaitinfo(&set, NULL);
    return NULL;
}

static void *accepts(void *argument)
{
    accept(*(int *)argument, NULL, NULL);
    return NULL;
}

/* Threads at rest in every way in which a server's threads rest. */
static void at_rest(void)
{
    static int pipe_ends[2], event, timer, listener;
    static pid_t waited_for;
    pthread_t thread;
    waited_for = child();
    if (waited_for == 0)
        for (;;)
            pause();
    must(pipe(pipe_ends), "pipe");
    event = eventfd(0, EFD_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr address = {.sa_family = AF_UNIX};
    must(bind(listener, &address, sizeof(sa_family_t)), "bind");
    must(listen(listener, 4), "listen");
    pthread_create(&thread, NULL, reads, &pipe_ends[0]);
    pthread_create(&thread, NULL, reads, &event);
    pthread_create(&thread, NULL, reads, &timer);
    pthread_create(&thread, NULL, waits_for_child, &waited_for);
    pthread_create(&thread, NULL, sleeps, NULL);
    pthread_create(&thread, NULL, waits_for_signal, NULL);
    pthread_create(&thread, NULL, accepts, &listener);
    ready(getpid());
    pause();
}

/* ---- loops ---- */

static void *keeps(void *argument)
{
    pthread_mutex_lock(argument);
    for (;;)
        pause();
    return NULL;
}

/* An epoll loop in C that takes a lock which another thread keeps; a client's request waits. */
NAMED static void loop_takes_a_lock(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int fd = ready_forever(epoll);
    struct epoll_event event;
    pthread_create(&thread, NULL, keeps, &mutex);
    rest(50 * MS);
    ready(getpid());
    must(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
    if (event.data.fd == fd)
        pthread_mutex_lock(&mutex);
}

/* Waits for its one client in epoll, as a database server does, and works for it a while. */
static void one_client(void)
{
    int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[0]};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event), "epoll_ctl");
    if (child() == 0)
        for (char byte = 0;;) {
            if (write(ends[1], &byte, 1) < 0 || read(ends[1], &byte, 1) <= 0)
                _exit(0);
            rest(200 * MS);
        }
    close(ends[1]);
    ready(getpid());
    for (char byte;;) {
        struct timespec now, end;
        if (epoll_wait(epoll, &event, 1, -1) < 0 || read(ends[0], &byte, 1) <= 0)
            return;
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += 2;
        do {
            work();
            clock_gettime(CLOCK_MONOTONIC, &now);
        } while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
        if (write(ends[0], &byte, 1) < 0)
            return;
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} MODES[] = {
    {"stopped", stopped},
    {"traced-held", traced_held},
    {"traced-running", traced_running},
    {"stutter", stutter},
    {"frozen-v1", frozen_old},
    {"frozen-v2", frozen_new},
    {"thawed", thawed},
    {"starved", starved},
    {"sharing", sharing},
    {"nice", nice_sharing},
    {"idle-batch", idle_batch},
    {"idle-server", idle_server},
    {"idle-lock", idle_lock},
    {"batch", batch},
    {"throttled", throttled},
    {"roomy", roomy},
    {"spin-epoll", spins_in_epoll},
    {"spin-poll", spins_in_poll},
    {"spin-yield", spins_in_yield},
    {"spin-lock", spins_on_a_lock},
    {"compute", computes},
    {"serve", serves},
    {"file-lock", waits_for_a_file_lock},
    {"pipe-full", fills_a_pipe},
    {"fifo", opens_a_fifo},
    {"vfork", waits_for_an_exec},
    {"pipe-steady", steady_pipe},
    {"rest", at_rest},
    {"loop-lock", loop_takes_a_lock},
    {"one-client", one_client},
};

int main(int argc, char **argv)
{
    alarm(300);
    for (size_t i = 0; argc == 2 && i < COUNT(MODES); i++) {
        if (strcmp(argv[1], MODES[i].name) == 0) {
            MODES[i].run();
            for (;;)
                pause();
        }
    }
    fprintf(stderr, "sick_threads MODE\n");
    return 2;
}
