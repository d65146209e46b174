/* Processes that become others: fork, exec from the first thread, exec from another thread. */
#include "specimen.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static uint32_t function;

static NAMED void burn_in_child(void)
{
    spin(100 * MS);
}

static NAMED void run_child(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "child");
    uint64_t entry = log_begin(function);
    burn_in_child();
    log_end(entry);
    _exit(0);
}

/* Children one after another; each burns 100 ms of CPU time. */
static void run_fork(void)
{
    function = log_function("burn_in_child");
    life_ready();
    for (;;) {
        pid_t child = fork();
        if (child == 0)
            run_child();
        must(child, "fork");
        waitpid(child, NULL, 0);
        sleep_ns(options.period_ns);
    }
}

static NAMED void burn_before_exec(void)
{
    spin(5 * MS);
}

/* Burns until the test says go, then becomes the program that --extra names. */
static NAMED void burn_then_exec(void)
{
    while (!atomic_load(&go)) {
        uint64_t entry = log_begin(function);
        burn_before_exec();
        log_end(entry);
    }
    char run_ms[32];
    snprintf(run_ms, sizeof run_ms, "%llu", (unsigned long long)(options.run_ns / MS));
    execl(options.extra, options.extra, "after-exec", "--run-ms", run_ms, (char *)NULL);
    die("cannot execute %s", options.extra);
}

static void run_exec(void)
{
    if (!options.extra)
        die("--extra must name the program to become");
    function = log_function("burn_before_exec");
    life_ready();
    burn_then_exec();
}

static void *exec_thread(void *unused)
{
    (void)unused;
    burn_then_exec();
    return NULL;
}

/* The same from a second thread: the kernel gives it the process's id, and the first one dies. */
static void run_exec_thread(void)
{
    if (!options.extra)
        die("--extra must name the program to become");
    function = log_function("burn_before_exec");
    life_thread("executor", exec_thread, NULL);
    life_ready();
    life_idle();
}

const struct mode modes_process[] = {
    {"fork", run_fork},
    {"exec", run_exec},
    {"exec-thread", run_exec_thread},
    {0},
};
