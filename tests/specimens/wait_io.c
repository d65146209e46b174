/* Waits for events and bytes: epoll, poll, select, pipes, eventfd, io_uring, a message queue. */
#include "specimen.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>

static int event_fd = -1;

static void make_event(void)
{
    event_fd = (int)must(eventfd(0, EFD_CLOEXEC), "eventfd");
}

static void wake_event(void)
{
    uint64_t one = 1;
    must(write(event_fd, &one, sizeof one), "write of the eventfd");
}

static void drain_event(void)
{
    uint64_t value;
    must(read(event_fd, &value, sizeof value), "read of the eventfd");
}

/* eventfd */
static uint64_t event_value;
WAIT_CALL(read_eventfd, SYS_read, event_fd, (long)&event_value, sizeof event_value, 0, 0, 0)
OUTER(read_eventfd)

/* eventfd, full: a write that would pass the largest value waits for a reader */
static uint64_t event_full = UINT64_MAX - 1;
WAIT_CALL(write_eventfd, SYS_write, event_fd, (long)&event_full, sizeof event_full, 0, 0, 0)
OUTER(write_eventfd)

/* epoll */
static int epoll_fd;
static struct epoll_event epoll_out;
#ifdef SYS_epoll_wait
WAIT_CALL(epoll_wait, SYS_epoll_wait, epoll_fd, (long)&epoll_out, 1, -1, 0, 0)
#else
WAIT_CALL(epoll_wait, SYS_epoll_pwait, epoll_fd, (long)&epoll_out, 1, -1, 0, 8)
#endif
static NAMED void outer_epoll_wait(void)
{
    waited(wait_in_epoll_wait(), "epoll_wait");
    drain_event();
}

static void make_epoll(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    make_event();
    epoll_fd = (int)must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &event), "epoll_ctl");
}

/* poll, with and without descriptors */
static struct pollfd poll_set = {.events = POLLIN};
static struct timespec poll_time;
#ifdef SYS_poll
WAIT_CALL(poll, SYS_poll, (long)&poll_set, 1, -1, 0, 0, 0)
#else
WAIT_CALL(poll, SYS_ppoll, (long)&poll_set, 1, 0, 0, 8, 0)
#endif
static NAMED void outer_poll(void)
{
    waited(wait_in_poll(), "poll");
    drain_event();
}

static void make_poll(void)
{
    make_event();
    poll_set.fd = event_fd;
}

WAIT_CALL(poll_nothing, SYS_ppoll, 0, 0, (long)&poll_time, 0, 8, 0)
static NAMED void outer_poll_nothing(void)
{
    poll_time = (struct timespec){0, (long)options.period_ns};
    waited(wait_in_poll_nothing(), "poll without descriptors");
}

/* select */
static fd_set select_set;
#ifdef SYS_select
WAIT_CALL(select, SYS_select, event_fd + 1, (long)&select_set, 0, 0, 0, 0)
#else
WAIT_CALL(select, SYS_pselect6, event_fd + 1, (long)&select_set, 0, 0, 0, 0)
#endif
static NAMED void outer_select(void)
{
    FD_ZERO(&select_set);
    FD_SET(event_fd, &select_set);
    waited(wait_in_select(), "select");
    drain_event();
}

/* pipes: as small as a pipe can be, so that two pages do not fit */
static int pipe_ends[2];
static char pipe_bytes[2 * 4096];

static void make_pipe(void)
{
    must(pipe2(pipe_ends, O_CLOEXEC), "pipe2");
    must(fcntl(pipe_ends[1], F_SETPIPE_SZ, 4096), "F_SETPIPE_SZ");
}

static void write_byte(void)
{
    must(write(pipe_ends[1], pipe_bytes, 1), "write of the pipe");
}

static void read_two_pages(void)
{
    for (size_t got = 0; got < sizeof pipe_bytes;)
        got += (size_t)must(read(pipe_ends[0], pipe_bytes, sizeof pipe_bytes), "read of the pipe");
}

static char one_byte;
WAIT_CALL(read_pipe, SYS_read, pipe_ends[0], (long)&one_byte, 1, 0, 0, 0)
OUTER(read_pipe)
WAIT_CALL(read_never, SYS_read, pipe_ends[0], (long)&one_byte, 1, 0, 0, 0)
OUTER(read_never)
static char two_pages[2 * 4096];
WAIT_CALL(write_pipe, SYS_write, pipe_ends[1], (long)two_pages, sizeof two_pages, 0, 0, 0)
OUTER(write_pipe)

/* io_uring: one read of the eventfd, submitted and awaited in one call */
static int uring_fd;
static struct uring {
    struct io_uring_sqe *entries;
    _Atomic uint32_t *submit_tail, *done_head, *done_tail;
    uint32_t *submit_array;
    uint32_t submit_mask;
} uring;

static void make_uring(void)
{
    struct io_uring_params parameters = {0};
    make_event();
    long fd = raw_syscall(SYS_io_uring_setup, 4, (long)&parameters, 0, 0, 0, 0);
    if (fd < 0)
        unsupported("io_uring_setup: %s", strerror((int)-fd));
    uring_fd = (int)fd;
    size_t bytes = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
    char *ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, uring_fd,
                      IORING_OFF_SQ_RING);
    uring.entries = mmap(NULL, parameters.sq_entries * sizeof(struct io_uring_sqe),
                         PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, uring_fd,
                         IORING_OFF_SQES);
    if (ring == MAP_FAILED || uring.entries == MAP_FAILED)
        die("mmap of the rings failed");
    uring.submit_tail = (void *)(ring + parameters.sq_off.tail);
    uring.submit_array = (void *)(ring + parameters.sq_off.array);
    uring.submit_mask = *(uint32_t *)(void *)(ring + parameters.sq_off.ring_mask);
    uring.done_head = (void *)(ring + parameters.cq_off.head);
    uring.done_tail = (void *)(ring + parameters.cq_off.tail);
}

WAIT_CALL(io_uring, SYS_io_uring_enter, uring_fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0)
static NAMED void outer_io_uring(void)
{
    uint32_t tail = atomic_load(uring.submit_tail), index = tail & uring.submit_mask;
    uring.entries[index] = (struct io_uring_sqe){
        .opcode = IORING_OP_READ,
        .fd = event_fd,
        .addr = (uint64_t)(uintptr_t)&event_value,
        .len = sizeof event_value,
    };
    uring.submit_array[index] = index;
    atomic_store(uring.submit_tail, tail + 1);
    waited(wait_in_io_uring(), "io_uring_enter");
    atomic_store(uring.done_head, atomic_load(uring.done_tail));
}

/* a system call with no reason of its own */
static mqd_t queue;
static char message[64];

static void make_queue(void)
{
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = sizeof message};
    char name[64] = "/specimen-";
    for (int pid = getpid(), at = 10; pid; pid /= 10)
        name[at++] = (char)('0' + pid % 10);
    queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
    if (queue < 0)
        unsupported("mq_open: no POSIX message queues here");
    mq_unlink(name);
}

static void send_message(void)
{
    must(mq_send(queue, "x", 1, 0), "mq_send");
}

WAIT_CALL(message_queue, SYS_mq_timedreceive, queue, (long)message, sizeof message, 0, 0, 0)
OUTER(message_queue)

static void make_full_event(void)
{
    make_event();
    must(write(event_fd, &event_full, sizeof event_full), "write of the eventfd");
}

const struct wait_mode wait_modes_io[] = {
    {"epoll", "wait_in_epoll_wait", make_epoll, outer_epoll_wait, wake_event, NULL},
    {"poll", "wait_in_poll", make_poll, outer_poll, wake_event, NULL},
    {"poll-nothing", "wait_in_poll_nothing", NULL, outer_poll_nothing, NULL, NULL},
    {"select", "wait_in_select", make_event, outer_select, wake_event, NULL},
    {"eventfd-read", "wait_in_read_eventfd", make_event, outer_read_eventfd, wake_event, NULL},
    {"eventfd-write", "wait_in_write_eventfd", make_full_event, outer_write_eventfd, drain_event, NULL},
    {"pipe-read", "wait_in_read_pipe", make_pipe, outer_read_pipe, write_byte, NULL},
    {"pipe-write", "wait_in_write_pipe", make_pipe, outer_write_pipe, read_two_pages, NULL},
    {"never", "wait_in_read_never", make_pipe, outer_read_never, NULL, NULL},
    {"io-uring", "wait_in_io_uring", make_uring, outer_io_uring, wake_event, NULL},
    {"message-queue", "wait_in_message_queue", make_queue, outer_message_queue, send_message, NULL},
    {0},
};
