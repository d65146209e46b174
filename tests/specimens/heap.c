/* Programs that allocate in a known way. The first argument says how.
 *
 * keep   on SIGUSR1 allocates what `tests/tests/heap.rs` knows, frees the rest, takes the name `kept` and rests
 * storm  allocates and frees all the time
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noipa))

enum { ROUNDS = 200, LIFE_S = 120, PASSED = 512 };

static void *volatile kept;
static void *passed[PASSED];

static void rest_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* 200 × 50 × 200 bytes: 2,000,000. */
static NAMED void keep_small(void)
{
    for (int i = 0; i < 50; i++) {
        char *block = malloc(200);
        memset(block, 1, 200);
        kept = block;
    }
}

/* 200 × 100,000 bytes: 20,000,000. */
static NAMED void keep_zeroed(void)
{
    kept = calloc(1000, 100);
}

/* 200 × 5 × 4,096 bytes: 4,096,000. */
static NAMED void keep_aligned(void)
{
    for (int i = 0; i < 5; i++) {
        void *block;
        if (posix_memalign(&block, 64, 4096))
            abort();
        kept = block;
    }
}

/* 200 × 10 × 3,000 bytes: 6,000,000; what it was before counts no more. */
static NAMED void keep_moved(void)
{
    for (int i = 0; i < 10; i++) {
        void *block = malloc(2000);
        kept = realloc(block, 3000);
    }
}

/* One mapping of 8 MiB. */
static NAMED void keep_mapped(void)
{
    kept = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static NAMED void use_and_free(void)
{
    for (int i = 0; i < 100; i++) {
        char *block = malloc(1000);
        block[0] = 1;
        kept = block;
        free(block);
    }
}

/* Allocated here, freed by another thread. */
static NAMED void hand_over(void)
{
    for (int i = 0; i < PASSED; i++)
        passed[i] = malloc(10000);
}

static void *take_over(void *unused)
{
    for (int i = 0; i < PASSED; i++)
        free(passed[i]);
    return unused;
}

/* What a program does beside allocating: some ten microseconds for each block of a round. */
static NAMED void work(void)
{
    for (volatile int i = 0; i < 500000; i++)
        ;
}

static void keep(void)
{
    pthread_t other;
    for (int round = 0; round < ROUNDS; round++) {
        keep_small();
        keep_zeroed();
        use_and_free();
        work();
        rest_ms(1);
    }
    /* The rest is so much younger. */
    rest_ms(2000);
    for (int round = 0; round < ROUNDS; round++) {
        keep_aligned();
        keep_moved();
        work();
        rest_ms(1);
    }
    keep_mapped();
    hand_over();
    if (pthread_create(&other, NULL, take_over, NULL) || pthread_join(other, NULL))
        abort();
    prctl(PR_SET_NAME, "kept");
    for (;;)
        pause();
}

static NAMED void storm(void)
{
    for (;;) {
        void *block = malloc(64);
        kept = block;
        free(block);
    }
}

int main(int argc, char **argv)
{
    sigset_t go;
    int signal;
    sigemptyset(&go);
    sigaddset(&go, SIGUSR1);
    sigprocmask(SIG_BLOCK, &go, NULL);
    alarm(LIFE_S);
    printf("ready {\"pid\":%d,\"tids\":{\"main\":%d}}\n", getpid(), getpid());
    fflush(stdout);
    sigwait(&go, &signal);
    if (argc > 1 && !strcmp(argv[1], "storm"))
        storm();
    keep();
}
