/* `specimen MODE`: one program, many ways to spend time. */
#include "specimen.h"

#include <stdio.h>
#include <string.h>

static const struct wait_mode *const wait_modes[] = {
    wait_modes_io, wait_modes_socket, wait_modes_sync, wait_modes_process, wait_modes_disk,
};
static const struct mode *const modes[] = {modes_burn, modes_grow, modes_threads, modes_process, modes_event_loop,
                                           modes_locks, modes_soak};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void *wake_each_period(void *mode_memory)
{
    const struct wait_mode *mode = mode_memory;
    for (;;) {
        sleep_ns(options.period_ns);
        mode->wake();
    }
    return NULL;
}

static NAMED void run_waits(const struct wait_mode *mode, uint32_t function)
{
    for (;;) {
        if (mode->prepare)
            mode->prepare();
        uint64_t entry = log_begin(function);
        mode->wait();
        log_end(entry);
    }
}

int main(int argc, char **argv)
{
    life_begin(argc, argv);
    for (size_t i = 0; i < COUNT(modes); i++) {
        for (const struct mode *mode = modes[i]; mode->name; mode++) {
            if (strcmp(mode->name, options.mode) == 0)
                mode->run();
        }
    }
    for (size_t i = 0; i < COUNT(wait_modes); i++) {
        for (const struct wait_mode *mode = wait_modes[i]; mode->name; mode++) {
            if (strcmp(mode->name, options.mode) != 0)
                continue;
            if (mode->setup)
                mode->setup();
            if (mode->wake)
                life_thread("waker", wake_each_period, (void *)mode);
            uint32_t function = log_function(mode->function);
            life_ready();
            run_waits(mode, function);
        }
    }
    die("no such mode");
}
