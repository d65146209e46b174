/* Two threads hand a turn to and fro by mutex and condition variable. The harness runs them on one
 * CPU: then every operation is a context switch, and nothing else is done. */
#include "counter.h"
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn;
static volatile uint64_t *count;

static void *play(void *argument)
{
    int me = (int)(intptr_t)argument;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (turn != me)
            pthread_cond_wait(&turned, &lock);
        *count += 1;
        turn = !me;
        pthread_cond_signal(&turned);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    count = counter_open(argv[1]);
    pthread_t other;
    if (pthread_create(&other, NULL, play, (void *)1))
        die("pthread_create");
    play((void *)0);
}
