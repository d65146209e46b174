/* What `late` loads in the middle of a capture. */
#include "unwind.h"

static NAMED void late_inner(void (*leaf)(void))
{
    volatile char memory[333];
    memory[0] = 1;
    __asm__ volatile("" : : "r"(memory));
    leaf();
    AND_RETURN;
}

NAMED void late_outer(void (*leaf)(void))
{
    late_inner(leaf);
    AND_RETURN;
}
