/* Maps 64 pages, touches each once, gives them back: an operation is a page fault. */
#define _GNU_SOURCE
#include "counter.h"

enum { PAGES = 64 };

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    volatile uint64_t *count = counter_open(argv[1]);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), length = PAGES * page;
    for (;;) {
        char *area = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED)
            die("mmap");
        madvise(area, length, MADV_NOHUGEPAGE); /* one fault a page; refused where there are none */
        for (size_t at = 0; at < length; at += page)
            *(volatile char *)(area + at) = 1;
        munmap(area, length);
        *count += PAGES;
    }
}
