/* `dead_mount SOURCE PLACE`: a file system that stops answering. Shows the folder SOURCE at PLACE, read-only,
 * through the FUSE protocol (linux/fuse.h), as bindfs and sshfs do.
 *
 * SIGUSR2   drops what the kernel has cached of its files, says `dropped`, goes on
 * SIGUSR1   the same, and from then on takes each request and answers none: who waits for one cannot be killed
 *           before the connection ends
 * SIGSTOP   takes no request any more: who waits for one can be killed
 *
 * Prints `ready {"pid":…,"tids":{}}` when it is mounted. Its end by any signal ends the connection, and all waits with
 * an error; the place is left to be unmounted. Ends by itself after five minutes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NODES = 65536, BUFFER = 1 << 20, LONGEST_READ = 1 << 17, UNSUPPORTED = 77 };

/* Of every file that was looked up: its path, by the number that the kernel knows it by. None is ever forgotten. */
struct node {
    char *path;
    dev_t device;
    ino_t inode;
};
static struct node nodes[NODES];
static _Atomic uint64_t last_node;
static int connection;
static _Atomic int answers = 1;
static char request[BUFFER], answer[LONGEST_READ + 4096];

static void fail(const char *what)
{
    perror(what);
    exit(UNSUPPORTED);
}

/* ---- answers ---- */

static void reply(const struct fuse_in_header *in, int error, const void *data, size_t length)
{
    struct fuse_out_header out = {.len = (uint32_t)(sizeof out + length), .error = -error, .unique = in->unique};
    struct iovec parts[] = {{&out, sizeof out}, {(void *)data, length}};
    if (!atomic_load(&answers))
        return;
    /* A request that was given up meanwhile is no longer known: ENOENT. */
    if (writev(connection, parts, length ? 2 : 1) < 0 && errno != ENOENT)
        fail("an answer");
}

static void refuse(const struct fuse_in_header *in, int error)
{
    reply(in, error, NULL, 0);
}

static struct fuse_attr attributes(const struct stat *stat)
{
    return (struct fuse_attr){
        .ino = stat->st_ino,
        .size = (uint64_t)stat->st_size,
        .blocks = (uint64_t)stat->st_blocks,
        .atime = (uint64_t)stat->st_atim.tv_sec,
        .mtime = (uint64_t)stat->st_mtim.tv_sec,
        .ctime = (uint64_t)stat->st_ctim.tv_sec,
        .mode = stat->st_mode,
        .nlink = (uint32_t)stat->st_nlink,
        .uid = stat->st_uid,
        .gid = stat->st_gid,
        .blksize = 4096,
    };
}

/* The number of a file; the same file has one, by whatever path. */
static uint64_t number_of(const char *path, const struct stat *stat)
{
    uint64_t last = atomic_load(&last_node);
    for (uint64_t at = 1; at <= last; at++)
        if (nodes[at].inode == stat->st_ino && nodes[at].device == stat->st_dev)
            return at;
    if (last + 1 == NODES)
        return 0;
    nodes[last + 1] = (struct node){strdup(path), stat->st_dev, stat->st_ino};
    atomic_store(&last_node, last + 1);
    return last + 1;
}

/* ---- requests ---- */

static void on_init(const struct fuse_in_header *in, const struct fuse_init_in *asked)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = FUSE_KERNEL_MINOR_VERSION,
        .max_readahead = asked->max_readahead,
        .flags = FUSE_ASYNC_READ & asked->flags,
        .max_write = 4096,
    };
    reply(in, 0, &out, sizeof out);
    printf("ready {\"pid\":%d,\"tids\":{}}\n", getpid());
    fflush(stdout);
}

static void on_lookup(const struct fuse_in_header *in, const char *path, const char *name)
{
    char full[PATH_MAX];
    struct stat stat;
    if (snprintf(full, sizeof full, "%s/%s", path, name) >= (int)sizeof full)
        return refuse(in, ENAMETOOLONG);
    if (lstat(full, &stat) < 0)
        return refuse(in, errno);
    struct fuse_entry_out out = {
        .nodeid = number_of(full, &stat),
        .entry_valid = 1,
        .attr_valid = 1,
        .attr = attributes(&stat),
    };
    if (!out.nodeid)
        return refuse(in, ENFILE);
    reply(in, 0, &out, sizeof out);
}

static void on_getattr(const struct fuse_in_header *in, const char *path)
{
    struct stat stat;
    if (lstat(path, &stat) < 0)
        return refuse(in, errno);
    struct fuse_attr_out out = {.attr_valid = 1, .attr = attributes(&stat)};
    reply(in, 0, &out, sizeof out);
}

static void on_readlink(const struct fuse_in_header *in, const char *path)
{
    ssize_t length = readlink(path, answer, PATH_MAX);
    if (length < 0)
        return refuse(in, errno);
    reply(in, 0, answer, (size_t)length);
}

static void on_open(const struct fuse_in_header *in, const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return refuse(in, errno);
    struct fuse_open_out out = {.fh = (uint64_t)file, .open_flags = FOPEN_KEEP_CACHE};
    reply(in, 0, &out, sizeof out);
}

static void on_read(const struct fuse_in_header *in, const struct fuse_read_in *asked)
{
    size_t most = asked->size < LONGEST_READ ? asked->size : LONGEST_READ;
    ssize_t length = pread((int)asked->fh, answer, most, (off_t)asked->offset);
    if (length < 0)
        return refuse(in, errno);
    reply(in, 0, answer, (size_t)length);
}

static void on_opendir(const struct fuse_in_header *in, const char *path)
{
    DIR *folder = opendir(path);
    if (!folder)
        return refuse(in, errno);
    struct fuse_open_out out = {.fh = (uint64_t)(uintptr_t)folder};
    reply(in, 0, &out, sizeof out);
}

static void on_readdir(const struct fuse_in_header *in, const struct fuse_read_in *asked)
{
    DIR *folder = (DIR *)(uintptr_t)asked->fh;
    size_t length = 0;
    seekdir(folder, (long)asked->offset);
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t name = strlen(entry->d_name), size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name);
        if (length + size > asked->size || length + size > sizeof answer)
            break;
        struct fuse_dirent out = {
            .ino = entry->d_ino,
            .off = (uint64_t)telldir(folder),
            .namelen = (uint32_t)name,
            .type = entry->d_type,
        };
        memset(answer + length, 0, size);
        memcpy(answer + length, &out, FUSE_NAME_OFFSET);
        memcpy(answer + length + FUSE_NAME_OFFSET, entry->d_name, name);
        length += size;
    }
    reply(in, 0, answer, length);
}

static void on_statfs(const struct fuse_in_header *in, const char *path)
{
    struct statvfs stat;
    if (statvfs(path, &stat) < 0)
        return refuse(in, errno);
    struct fuse_statfs_out out = {.st = {.blocks = stat.f_blocks, .bsize = 4096, .namelen = 255, .frsize = 4096}};
    reply(in, 0, &out, sizeof out);
}

static void serve(const struct fuse_in_header *in)
{
    const void *asked = in + 1;
    const char *path = in->nodeid && in->nodeid < NODES ? nodes[in->nodeid].path : NULL;
    switch (in->opcode) {
    case FUSE_INIT:
        return on_init(in, asked);
    case FUSE_LOOKUP:
        return on_lookup(in, path, asked);
    case FUSE_GETATTR:
        return on_getattr(in, path);
    case FUSE_READLINK:
        return on_readlink(in, path);
    case FUSE_OPEN:
        return on_open(in, path);
    case FUSE_READ:
        return on_read(in, asked);
    case FUSE_OPENDIR:
        return on_opendir(in, path);
    case FUSE_READDIR:
        return on_readdir(in, asked);
    case FUSE_STATFS:
        return on_statfs(in, path);
    case FUSE_RELEASE:
        close((int)((const struct fuse_release_in *)asked)->fh);
        return refuse(in, 0);
    case FUSE_RELEASEDIR:
        closedir((DIR *)(uintptr_t)((const struct fuse_release_in *)asked)->fh);
        return refuse(in, 0);
    /* These want no answer. */
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    default:
        return refuse(in, ENOSYS);
    }
}

/* ---- orders ---- */

/* Pages that are mapped go too: their owner asks for them again. */
static void drop_caches(void)
{
    uint64_t last = atomic_load(&last_node);
    for (uint64_t at = 1; at <= last; at++) {
        struct fuse_notify_inval_inode_out what = {.ino = at, .off = 0, .len = 0};
        struct fuse_out_header out = {.len = sizeof out + sizeof what, .error = FUSE_NOTIFY_INVAL_INODE};
        struct iovec parts[] = {{&out, sizeof out}, {&what, sizeof what}};
        /* ENOENT: the kernel has forgotten that file by itself. */
        if (writev(connection, parts, 2) < 0 && errno != ENOENT)
            fail("a notice");
    }
}

/* A thread of its own: dropping a page waits for those who read it, and so for answers. */
static void *obeys(void *set)
{
    for (int signal; sigwait(set, &signal) == 0;) {
        drop_caches();
        if (signal == SIGUSR1)
            atomic_store(&answers, 0);
        puts("dropped");
        fflush(stdout);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: dead_mount SOURCE PLACE\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(300);
    struct stat stat;
    if (lstat(argv[1], &stat) < 0 || number_of(argv[1], &stat) != FUSE_ROOT_ID)
        fail(argv[1]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    connection = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (connection < 0)
        fail("/dev/fuse");
    char options[128];
    snprintf(options, sizeof options, "fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other,default_permissions",
             connection, stat.st_mode & S_IFMT);
    if (mount("dead_mount", argv[2], "fuse.dead_mount", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0)
        fail(argv[2]);

    static sigset_t orders;
    sigemptyset(&orders);
    sigaddset(&orders, SIGUSR1);
    sigaddset(&orders, SIGUSR2);
    sigprocmask(SIG_BLOCK, &orders, NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, obeys, &orders) != 0)
        fail("a thread");
    for (;;) {
        ssize_t length = read(connection, request, sizeof request);
        /* ENOENT: it was given up before it could be taken. ENODEV: unmounted. */
        if (length < 0 && errno != EINTR && errno != ENOENT && errno != EAGAIN)
            return errno == ENODEV ? 0 : 1;
        if (length >= (ssize_t)sizeof(struct fuse_in_header))
            serve((const struct fuse_in_header *)request);
    }
}
