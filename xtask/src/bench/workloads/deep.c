/* Spins at the end of as many calls as its argument says: what is left of a sample's cost is its
 * stack. */
#include <stdint.h>
#include <stdlib.h>

static __attribute__((noipa)) void spin(void)
{
    for (volatile uint64_t turns = 0;; turns++) {
    }
}

static __attribute__((noipa)) void deeper(int left)
{
    if (left > 1)
        deeper(left - 1);
    else
        spin();
    __asm__ volatile("" : : : "memory");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    deeper(atoi(argv[1]));
}
