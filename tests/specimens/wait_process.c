/* Waits for a child, and a parent held by vfork until its child is gone. */
#include "specimen.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/wait.h>

static pid_t child;

WAIT_CALL(wait_child, SYS_wait4, child, 0, 0, 0, 0, 0)
static NAMED void outer_wait_child(void)
{
    child = fork();
    if (child == 0) {
        sleep_ns(options.period_ns);
        _exit(0);
    }
    must(child, "fork");
    waited(wait_in_wait_child(), "wait4");
}

#if defined(__x86_64__)
/* The child borrows the parent's stack, so it lives in registers alone: it sleeps and exits. */
static struct timespec vfork_time;
static NAMED long wait_in_vfork(void)
{
    keep_frame();
    long result = SYS_vfork;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "mov %[sleep], %%eax\n\t"
                     "mov %[time], %%rdi\n\t"
                     "xor %%esi, %%esi\n\t"
                     "syscall\n\t"
                     "mov %[exit], %%eax\n\t"
                     "xor %%edi, %%edi\n\t"
                     "syscall\n\t"
                     "1:"
                     : "+a"(result)
                     : [sleep] "i"(SYS_nanosleep), [exit] "i"(SYS_exit_group), [time] "r"(
                           &vfork_time)
                     : "rcx", "r11", "rdi", "rsi", "memory");
    return result;
}

static void set_vfork_time(void)
{
    vfork_time.tv_nsec = (long)options.period_ns;
}
#else
/* No vfork call here: clone with CLONE_VFORK holds the parent in the same way. */
static NAMED long wait_in_vfork(void)
{
    long result = raw_syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0, 0);
    if (result == 0) {
        sleep_ns(options.period_ns);
        _exit(0);
    }
    return result;
}

static void set_vfork_time(void)
{
}
#endif

/* The same by clone and by clone3, as posix_spawn of newer C libraries does; the child has memory of
 * its own here, so it may return. */
static NAMED long wait_in_clone(void)
{
    return raw_syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0, 0);
}

static struct clone_args clone_args = {.flags = CLONE_VFORK, .exit_signal = SIGCHLD};
WAIT_CALL(clone3, SYS_clone3, (long)&clone_args, sizeof clone_args, 0, 0, 0, 0)

static void sleep_then_reap(long pid)
{
    if (pid == 0) {
        sleep_ns(options.period_ns);
        _exit(0);
    }
    waitpid((pid_t)pid, NULL, 0);
}

static NAMED void outer_clone(void)
{
    sleep_then_reap(waited(wait_in_clone(), "clone"));
}

static NAMED void outer_clone3(void)
{
    sleep_then_reap(waited(wait_in_clone3(), "clone3"));
}

static NAMED void outer_vfork(void)
{
    long pid = waited(wait_in_vfork(), "vfork");
    waitpid((pid_t)pid, NULL, 0);
}

const struct wait_mode wait_modes_process[] = {
    {"wait-child", "wait_in_wait_child", NULL, outer_wait_child, NULL, NULL},
    {"vfork", "wait_in_vfork", set_vfork_time, outer_vfork, NULL, NULL},
    {"clone-vfork", "wait_in_clone", NULL, outer_clone, NULL, NULL},
    {"clone3-vfork", "wait_in_clone3", NULL, outer_clone3, NULL, NULL},
    {0},
};
