/* The load of the echo server: keeps one message of 64 bytes under way on each of 16 connections
 * and counts the echoes. In C, so that the server and not the client is what runs out of CPU. */
#include "counter.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

enum { CONNECTIONS = 16, MESSAGE = 64 };

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int port = atoi(argv[1]);
    volatile uint64_t *count = counter_open(argv[2]);
    struct pollfd peers[CONNECTIONS];
    size_t received[CONNECTIONS] = {0};
    char message[MESSAGE] = "the quick brown fox jumps over the lazy dog";

    for (int i = 0; i < CONNECTIONS; i++) {
        peers[i] = (struct pollfd){.fd = dial(port), .events = POLLIN};
        if (write(peers[i].fd, message, MESSAGE) != MESSAGE)
            die("write");
    }
    for (;;) {
        if (poll(peers, CONNECTIONS, -1) < 0)
            die("poll");
        for (int i = 0; i < CONNECTIONS; i++) {
            if (!peers[i].revents)
                continue;
            ssize_t got = read(peers[i].fd, message, MESSAGE - received[i]);
            if (got <= 0)
                die("read");
            received[i] += (size_t)got;
            if (received[i] < MESSAGE)
                continue;
            received[i] = 0;
            *count += 1;
            if (write(peers[i].fd, message, MESSAGE) != MESSAGE)
                die("write");
        }
    }
}
