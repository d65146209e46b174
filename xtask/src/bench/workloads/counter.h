/* The count of operations, in a file that the harness reads whenever it likes: no signal, no
 * request, nothing that the workload would do only because it is measured. */
#pragma once
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Maps the counter file; it is one 64-bit number in host order, written by one thread at a time. */
static volatile uint64_t *counter_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(uint64_t)) < 0)
        die(path);
    void *page = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        die("mmap of the counter");
    close(fd);
    return page;
}
