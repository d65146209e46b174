/* `unwind burn|wait|still [--extra NAME]`: a thread for each chain but those apart, or for that one
 * alone. */
#include "specimen.h"
#include "unwind.h"

#include <string.h>

static NAMED void leaf_spins(void)
{
    for (volatile uint64_t turns = 0;; turns++) {
    }
}

static NAMED void leaf_waits(time_t seconds, long nanoseconds)
{
    struct timespec time = {seconds, nanoseconds};
    nanosleep(&time, NULL);
    AND_RETURN;
}

int burns(void)
{
    return strcmp(options.mode, "burn") == 0;
}

NAMED void leaf(void)
{
    if (burns())
        leaf_spins();
    while (strcmp(options.mode, "wait") == 0)
        leaf_waits(0, 50 * MS);
    for (;;)
        leaf_waits(3600, 0);
}

int main(int argc, char **argv)
{
    life_begin(argc, argv);
    life_stack_bytes = 2 << 20;
    for (const struct chain *chain = chains; chain->name; chain++) {
        if (options.extra ? strcmp(options.extra, chain->name) == 0 : !chain->apart)
            life_thread(chain->name, chain->run, NULL);
    }
    life_ready();
    life_idle();
}
