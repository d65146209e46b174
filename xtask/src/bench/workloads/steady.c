/* Half idle: computes a little, touches memory, sleeps a millisecond. Counts its rounds. */
#include "counter.h"

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    volatile uint64_t *count = counter_open(argv[1]);
    for (;; usleep(1000)) {
        char *memory = malloc(1 << 16);
        for (volatile int step = 0; step < 100000; step++)
            memory[step & 0xffff] = (char)step;
        free(memory);
        *count += 1;
    }
}
