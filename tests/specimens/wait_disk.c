/* Waits for storage: fsync after a write, and reads past the page cache.
 *
 * The file lies in the working directory, which the test puts on a real disk.
 */
#include "specimen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCK = 1 << 20, BLOCKS = 16 };

static int file;
static char *block;
static long block_at;

static void open_file(int flags)
{
    file = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
    if (file < 0)
        unsupported("no unnamed file in the working directory: %s", strerror(errno));
    block = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(block, 'x', BLOCK);
}

static void make_sync_file(void)
{
    open_file(0);
}

static void make_read_file(void)
{
    open_file(O_DIRECT);
    for (int i = 0; i < BLOCKS; i++)
        must(pwrite(file, block, BLOCK, (off_t)i * BLOCK), "pwrite");
    must(fsync(file), "fsync");
}

WAIT_CALL(fsync, SYS_fsync, file, 0, 0, 0, 0, 0)
OUTER(fsync)

static void make_dirty(void)
{
    block_at = (block_at + 1) % BLOCKS;
    must(pwrite(file, block, 4096, block_at * BLOCK), "pwrite");
}

WAIT_CALL(read_disk, SYS_pread64, file, (long)block, BLOCK, block_at *BLOCK, 0, 0)
static NAMED void outer_read_disk(void)
{
    block_at = (block_at + 1) % BLOCKS;
    waited(wait_in_read_disk(), "pread");
}

const struct wait_mode wait_modes_disk[] = {
    {"fsync", "wait_in_fsync", make_sync_file, outer_fsync, NULL, make_dirty},
    {"disk-read", "wait_in_read_disk", make_read_file, outer_read_disk, NULL, NULL},
    {0},
};
