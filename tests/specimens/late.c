/* `late dlopen|exec --extra PATH`: on SIGUSR1 its code comes from a file that was not there before. */
#include "specimen.h"
#include "unwind.h"

#include <dlfcn.h>
#include <string.h>

static NAMED void leaf_spins(void)
{
    for (volatile uint64_t turns = 0;; turns++) {
    }
}

static NAMED void loads(void)
{
    void *library = dlopen(options.extra, RTLD_NOW);
    if (!library)
        die("%s", dlerror());
    void (*enter)(void (*)(void)) = (void (*)(void (*)(void)))dlsym(library, "late_outer");
    if (!enter)
        die("%s", dlerror());
    enter(leaf_spins);
    AND_RETURN;
}

int main(int argc, char **argv)
{
    life_begin(argc, argv);
    life_ready();
    while (!atomic_load(&go))
        sleep_ns(10 * MS);
    if (strcmp(options.mode, "dlopen") == 0)
        loads();
    execl(options.extra, options.extra, "burn", "--extra", "60", (char *)NULL);
    die("cannot become %s", options.extra);
}
