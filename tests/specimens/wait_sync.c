/* Waits for time, for a lock, for a signal, for a page. */
#include "specimen.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static struct timespec period(void)
{
    return (struct timespec){(time_t)(options.period_ns / SECOND),
                             (long)(options.period_ns % SECOND)};
}

/* sleep */
static struct timespec sleep_time;
WAIT_CALL(nanosleep, SYS_nanosleep, (long)&sleep_time, 0, 0, 0, 0, 0)
static NAMED void outer_nanosleep(void)
{
    sleep_time = period();
    waited(wait_in_nanosleep(), "nanosleep");
}

WAIT_CALL(clock_nanosleep, SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, (long)&sleep_time,
          0, 0, 0)
static NAMED void outer_clock_nanosleep(void)
{
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + options.period_ns;
    sleep_time = (struct timespec){(time_t)(end / SECOND), (long)(end % SECOND)};
    waited(wait_in_clock_nanosleep(), "clock_nanosleep");
}

static struct timespec short_time = {0, 100000};
WAIT_CALL(short_sleep, SYS_nanosleep, (long)&short_time, 0, 0, 0, 0, 0)
OUTER(short_sleep)

/* futex, as a mutex waits: the word is 2, "locked, with waiters" */
static _Atomic uint32_t lock_word = 2;
WAIT_CALL(futex_lock, SYS_futex, (long)&lock_word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2, 0, 0, 0)
static NAMED void outer_futex_lock(void)
{
    waited(wait_in_futex_lock(), "futex");
    atomic_store(&lock_word, 2);
}

/* futex, as a condition variable waits: bitset form, the word a sequence number */
static _Atomic uint32_t sequence;
static uint32_t sequence_seen;
WAIT_CALL(futex_condition, SYS_futex, (long)&sequence,
          FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, sequence_seen, 0, 0,
          FUTEX_BITSET_MATCH_ANY)
static NAMED void outer_futex_condition(void)
{
    waited(wait_in_futex_condition(), "futex");
    sequence_seen = atomic_load(&sequence);
}

static void wake_word(_Atomic uint32_t *word)
{
    must(raw_syscall(SYS_futex, (long)word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0), "futex");
}

static void unlock(void)
{
    atomic_store(&lock_word, 0);
    wake_word(&lock_word);
}

static void notify(void)
{
    atomic_fetch_add(&sequence, 1);
    wake_word(&sequence);
}

/* signals */
static struct timespec signal_time;
static uint64_t signal_mask;
WAIT_CALL(sigtimedwait, SYS_rt_sigtimedwait, (long)&signal_mask, 0, (long)&signal_time, 8, 0, 0)
static NAMED void outer_sigtimedwait(void)
{
    signal_time = period();
    waited(wait_in_sigtimedwait(), "rt_sigtimedwait");
}

static void choose_signal(void)
{
    signal_mask = 1ull << (SIGUSR2 - 1);
}

static pid_t pausing;
#ifdef SYS_pause
WAIT_CALL(pause, SYS_pause, 0, 0, 0, 0, 0, 0)
#else
static uint64_t no_signals = (1ull << (SIGTERM - 1)) | (1ull << (SIGUSR1 - 1));
WAIT_CALL(pause, SYS_rt_sigsuspend, (long)&no_signals, 8, 0, 0, 0, 0)
#endif
OUTER(pause)

static void ignore(int signal)
{
    (void)signal;
}

static void handle_signal(void)
{
    struct sigaction action = {.sa_handler = ignore};
    sigaction(SIGUSR2, &action, NULL);
    pausing = gettid();
}

static void send_signal(void)
{
    must(raw_syscall(SYS_tgkill, getpid(), pausing, SIGUSR2, 0, 0, 0), "tgkill");
}

/* a page fault that waits until another thread provides the page */
static int fault_fd;
static volatile char *page;
enum { PAGE = 4096 };

static NAMED long wait_in_page_fault(void)
{
    keep_frame();
    return page[0];
}

static NAMED void outer_page_fault(void)
{
    must(madvise((void *)page, PAGE, MADV_DONTNEED), "madvise");
    waited(wait_in_page_fault(), "page fault");
}

static void make_fault(void)
{
    long fd = raw_syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0, 0, 0, 0);
    if (fd < 0)
        unsupported("userfaultfd: %s", strerror((int)-fd));
    fault_fd = (int)fd;
    struct uffdio_api api = {.api = UFFD_API};
    must(ioctl(fault_fd, UFFDIO_API, &api), "UFFDIO_API");
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {
        .range = {(uint64_t)(uintptr_t)page, PAGE},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    must(ioctl(fault_fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
}

static void provide_page(void)
{
    struct uffd_msg message;
    must(read(fault_fd, &message, sizeof message), "read of the userfaultfd");
    struct uffdio_zeropage zero = {.range = {(uint64_t)(uintptr_t)page, PAGE}};
    must(ioctl(fault_fd, UFFDIO_ZEROPAGE, &zero), "UFFDIO_ZEROPAGE");
}

const struct wait_mode wait_modes_sync[] = {
    {"nanosleep", "wait_in_nanosleep", NULL, outer_nanosleep, NULL, NULL},
    {"clock-nanosleep", "wait_in_clock_nanosleep", NULL, outer_clock_nanosleep, NULL, NULL},
    {"short-sleep", "wait_in_short_sleep", NULL, outer_short_sleep, NULL, NULL},
    {"futex-lock", "wait_in_futex_lock", NULL, outer_futex_lock, unlock, NULL},
    {"futex-condition", "wait_in_futex_condition", NULL, outer_futex_condition, notify, NULL},
    {"sigtimedwait", "wait_in_sigtimedwait", choose_signal, outer_sigtimedwait, NULL, NULL},
    {"pause", "wait_in_pause", handle_signal, outer_pause, send_signal, NULL},
    {"page-fault", "wait_in_page_fault", make_fault, outer_page_fault, provide_page, NULL},
    {0},
};
