/* `stops SEED`: hundreds of threads, each blocked at the end of a random chain of functions that
 * differ in what an unwinder must know of them. */
#include "specimen.h"

#include <alloca.h>
#include <poll.h>
#include <pthread.h>
#include <search.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

/* Behind a call that must not become a jump: the caller still has something to do. */
#define AND_RETURN __asm__ volatile("" : : : "memory")

enum { STOPS = 300, DEEPEST = 60 };

/* The way of one thread: which function is next, and where it ends. */
struct way {
    uint64_t random;
    int left;
};

static NAMED void go_on(struct way *way);

static uint32_t draw(struct way *way, uint32_t choices)
{
    way->random = way->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(way->random >> 33) % choices;
}

/* ---- steps ---- */

static NAMED void plain(struct way *way)
{
    go_on(way);
    AND_RETURN;
}

static NAMED void of_a_size_that_it_draws(struct way *way)
{
    volatile char *memory = alloca(draw(way, 400) + 1);
    memory[0] = 1;
    go_on(way);
    AND_RETURN;
}

static NAMED void aligned(struct way *way)
{
    _Alignas(64) volatile double wide[8];
    __asm__ volatile("" : : "r"(wide));
    go_on(way);
    AND_RETURN;
}

static NAMED void aligned_and_drawn(struct way *way)
{
    _Alignas(64) volatile double wide[8];
    volatile char *memory = alloca(draw(way, 400) + 1);
    __asm__ volatile("" : : "r"(wide));
    memory[0] = 1;
    go_on(way);
    AND_RETURN;
}

static NAMED long with_many_arguments(struct way *way, long a, long b, long c, long d, long e,
                                      long f, long g, long h)
{
    go_on(way);
    AND_RETURN;
    return a * b + c * d + e * f + g * h;
}

static NAMED void calls_with_arguments_on_the_stack(struct way *way)
{
    long n = draw(way, 9);
    volatile long sum = with_many_arguments(way, n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7);
    (void)sum;
}

static NAMED void on_the_way_out(struct way *way)
{
    plain(way);
}

static NAMED void kilobytes(struct way *way)
{
    volatile char memory[3000];
    memory[0] = 1;
    __asm__ volatile("" : : "r"(memory));
    go_on(way);
    AND_RETURN;
}

static NAMED int compares(const void *left, const void *right, void *way)
{
    (void)left;
    (void)right;
    go_on(way);
    AND_RETURN;
    return 0;
}

static NAMED void sorts(struct way *way)
{
    int numbers[] = {2, 1};
    qsort_r(numbers, 2, sizeof numbers[0], compares, way);
    AND_RETURN;
}

static NAMED void visits(const void *node, VISIT visit, void *way)
{
    (void)node;
    (void)visit;
    go_on(way);
    AND_RETURN;
}

static NAMED int orders(const void *left, const void *right)
{
    return left < right ? -1 : left > right;
}

static NAMED void walks_a_tree(struct way *way)
{
    void *root = NULL;
    tsearch(way, &root, orders);
    twalk_r(root, visits, way);
    AND_RETURN;
}

static void (*const steps[])(struct way *) = {
    plain,     of_a_size_that_it_draws, aligned, aligned_and_drawn, calls_with_arguments_on_the_stack,
    kilobytes, on_the_way_out,          sorts,   walks_a_tree,
};

/* ---- ends ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static int pipe_ends[2];

static NAMED void sleeps(void)
{
    struct timespec time = {3600, 0};
    nanosleep(&time, NULL);
    AND_RETURN;
}

static NAMED void waits_for_a_condition(void)
{
    pthread_mutex_lock(&mutex);
    pthread_cond_wait(&condition, &mutex);
    AND_RETURN;
}

static NAMED void waits_for_a_lock(void)
{
    pthread_mutex_lock(&never);
    AND_RETURN;
}

static NAMED void waits_for_a_semaphore(void)
{
    sem_wait(&semaphore);
    AND_RETURN;
}

static NAMED void reads(void)
{
    char byte;
    must(read(pipe_ends[0], &byte, 1), "read");
    AND_RETURN;
}

static NAMED void polls(void)
{
    struct pollfd end = {.fd = pipe_ends[0], .events = POLLIN};
    poll(&end, 1, -1);
    AND_RETURN;
}

static void (*const ends[])(void) = {
    sleeps, waits_for_a_condition, waits_for_a_lock, waits_for_a_semaphore, reads, polls,
};

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

static NAMED void go_on(struct way *way)
{
    if (way->left-- > 0)
        steps[draw(way, COUNT(steps))](way);
    else
        ends[draw(way, COUNT(ends))]();
    AND_RETURN;
}

static NAMED void *stop(void *seed)
{
    struct way way = {.random = (uint64_t)seed};
    draw(&way, 1);
    way.left = (int)draw(&way, DEEPEST);
    go_on(&way);
    AND_RETURN;
    return NULL;
}

int main(int argc, char **argv)
{
    life_begin(argc, argv);
    life_stack_bytes = 512 << 10;
    uint64_t seed = strtoull(options.mode, NULL, 10);
    must(pipe(pipe_ends), "pipe");
    sem_init(&semaphore, 0, 0);
    pthread_mutex_lock(&never);
    for (int i = 0; i < STOPS; i++) {
        char name[16];
        snprintf(name, sizeof name, "stop-%d", i);
        life_thread(name, stop, (void *)(seed + (uint64_t)i * 7919));
    }
    life_ready();
    life_idle();
}
