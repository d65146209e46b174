/* Computes and never calls the kernel: what is left of a profiler's cost is its sampling. An
 * operation is 1,000 steps of a xorshift generator. */
#include "counter.h"

__attribute__((noinline)) static uint64_t steps(uint64_t x)
{
    for (int i = 0; i < 1000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    volatile uint64_t *count = counter_open(argv[1]);
    for (uint64_t x = 88172645463325252u; x;) {
        x = steps(x);
        *count += 1;
    }
}
