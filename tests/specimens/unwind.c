/* Chains of C that an unwinder may get wrong, to be built without frame pointers. */
#include "specimen.h"
#include "unwind.h"

#include <alloca.h>
#include <signal.h>
#include <stdlib.h>

/* The number is hidden from the compiler, so that it makes no copies of a function for it. */
static int opaque(int number)
{
    __asm__ volatile("" : "+r"(number));
    return number;
}

/* ---- recursion ---- */

static NAMED void recurse(int depth)
{
    if (depth > 1)
        recurse(depth - 1);
    else
        leaf();
    AND_RETURN;
}

static NAMED void *thread_60(void *none)
{
    recurse(opaque(60));
    return none;
}

static NAMED void *thread_400(void *none)
{
    recurse(opaque(400));
    return none;
}

static NAMED void *thread_600(void *none)
{
    recurse(opaque(600));
    return none;
}

/* ---- frames of a size that only the program knows, of alignment, of a MiB ---- */

static NAMED void touch(volatile char *memory, size_t bytes)
{
    memory[0] = 1;
    memory[bytes - 1] = 1;
}

static NAMED void with_alloca(int bytes)
{
    volatile char *memory = alloca((size_t)bytes);
    touch(memory, (size_t)bytes);
    leaf();
    AND_RETURN;
}

static NAMED void with_vla(int bytes)
{
    volatile char memory[bytes];
    touch(memory, sizeof memory);
    with_alloca(opaque(777));
    AND_RETURN;
}

static NAMED void *thread_alloca(void *none)
{
    with_vla(opaque(4321));
    return none;
}

/* Its frame begins at a multiple of 64, and holds a part of unknown size besides: its caller is
 * found through a pointer that is kept in the frame (gcc's dynamic realign argument pointer). */
static NAMED void realigned(int bytes, int depth);

/* Uses every register for its own, the frame pointer's too. */
static NAMED void many_registers(int depth)
{
    long a = opaque(1), b = opaque(2), c = opaque(3), d = opaque(4), e = opaque(5), f = opaque(6),
         g = opaque(7), h = opaque(8);
    if (depth > 1)
        realigned(opaque(100), depth - 1);
    else
        leaf();
    __asm__ volatile("" : : "r"(a), "r"(b), "r"(c), "r"(d), "r"(e), "r"(f), "m"(g), "m"(h));
}

static NAMED void realigned(int bytes, int depth)
{
    _Alignas(64) volatile double wide[16];
    volatile char *memory = alloca((size_t)bytes);
    wide[0] = 1;
    touch(memory, (size_t)bytes);
    touch((volatile char *)wide, sizeof wide);
    many_registers(depth);
    AND_RETURN;
}

static NAMED void *thread_realigned(void *none)
{
    realigned(opaque(100), opaque(5));
    return none;
}

static NAMED void a_mebibyte(void)
{
    volatile char memory[1 << 20];
    touch(memory, sizeof memory);
    leaf();
    AND_RETURN;
}

static NAMED void *thread_mebibyte(void *none)
{
    a_mebibyte();
    AND_RETURN;
    return none;
}

/* ---- calls that are jumps, and calls that have nothing behind them ---- */

static NAMED void tail_leaf(int number)
{
    (void)number;
    leaf();
    AND_RETURN;
}

static NAMED void tail_middle(int number)
{
    tail_leaf(number + 1);
}

static NAMED void tail_outer(int number)
{
    tail_middle(number);
    AND_RETURN;
}

static NAMED void *thread_tail(void *none)
{
    tail_outer(opaque(1));
    AND_RETURN;
    return none;
}

static NAMED __attribute__((noreturn)) void never_returns(void)
{
    for (;;)
        leaf();
}

/* Ends with the call: its return address is the first one of the next function. */
static NAMED __attribute__((noreturn)) void ends_with_a_call(void)
{
    never_returns();
}

static NAMED void *thread_noreturn(void *none)
{
    if (!none)
        ends_with_a_call();
    return none;
}

/* ---- through libc and back ---- */

static NAMED int compares(const void *left, const void *right)
{
    leaf();
    AND_RETURN;
    return *(const int *)left - *(const int *)right;
}

static NAMED void sorts(void)
{
    int numbers[] = {3, 1, 2};
    qsort(numbers, 3, sizeof numbers[0], compares);
    AND_RETURN;
}

static NAMED void *thread_qsort(void *none)
{
    sorts();
    AND_RETURN;
    return none;
}

/* ---- signals: raised by a call, and by the very first instruction of a function ---- */

static NAMED void on_raise(int number)
{
    (void)number;
    leaf();
    AND_RETURN;
}

static NAMED void raises(void)
{
    raise(SIGUSR2);
    AND_RETURN;
}

static NAMED void *thread_raise(void *none)
{
    struct sigaction action = {.sa_handler = on_raise};
    sigaction(SIGUSR2, &action, NULL);
    raises();
    AND_RETURN;
    return none;
}

void faults_at_entry(void);
#if defined(__x86_64__)
#define FAULT "ud2\n"
#define NO_CALLER ".cfi_undefined 16\n"
#elif defined(__aarch64__)
#define FAULT "udf #0\n"
#define NO_CALLER ".cfi_undefined 30\n"
#endif
__asm__(".text\n"
        ".globl before_the_fault\n"
        ".type before_the_fault, %function\n"
        "before_the_fault:\n"
        ".cfi_startproc\n" NO_CALLER "nop\n"
        ".cfi_endproc\n"
        ".size before_the_fault, . - before_the_fault\n"
        ".globl faults_at_entry\n"
        ".type faults_at_entry, %function\n"
        "faults_at_entry:\n"
        ".cfi_startproc\n" FAULT "ret\n"
        ".cfi_endproc\n"
        ".size faults_at_entry, . - faults_at_entry\n");

static NAMED void on_fault(int number)
{
    (void)number;
    leaf();
    AND_RETURN;
}

static NAMED void *thread_fault(void *none)
{
    static char memory[64 << 10];
    stack_t other = {.ss_sp = memory, .ss_size = sizeof memory};
    sigaltstack(&other, NULL);
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
    sigaction(SIGILL, &action, NULL);
    faults_at_entry();
    AND_RETURN;
    return none;
}

/* ---- lazily bound calls, and the kernel's own code: only while it burns ---- */

static NAMED void calls_libc(void)
{
    for (;;) {
        opaque((int)strtol("31337", NULL, 10));
        if (!burns())
            leaf();
    }
}

static NAMED void *thread_plt(void *none)
{
    calls_libc();
    AND_RETURN;
    return none;
}

static NAMED void reads_clocks(void)
{
    struct timespec now;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (!burns())
            leaf();
    }
}

static NAMED void *thread_vdso(void *none)
{
    reads_clocks();
    AND_RETURN;
    return none;
}

const struct chain chains[] = {
    {"60", thread_60, 0},
    {"400", thread_400, 0},
    {"600", thread_600, 1},
    {"alloca", thread_alloca, 0},
    {"realigned", thread_realigned, 0},
    {"mebibyte", thread_mebibyte, 0},
    {"tail", thread_tail, 0},
    {"noreturn", thread_noreturn, 0},
    {"qsort", thread_qsort, 0},
    {"raise", thread_raise, 0},
    {"fault", thread_fault, 0},
    {"plt", thread_plt, 0},
    {"vdso", thread_vdso, 0},
    {NULL, NULL, 0},
};
