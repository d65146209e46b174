/* What the specimen `exec` becomes: another program, other functions. */
#include "specimen.h"

static NAMED void burn_after_exec(void)
{
    spin(5 * MS);
}

static NAMED void outer_after_exec(uint32_t function)
{
    uint64_t entry = log_begin(function);
    burn_after_exec();
    log_end(entry);
}

int main(int argc, char **argv)
{
    life_begin(argc, argv);
    uint32_t function = log_function("burn_after_exec");
    life_ready();
    for (;;)
        outer_after_exec(function);
}
