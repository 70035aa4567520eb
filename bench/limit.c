/* The limit: the least a server can do. A bare epoll loop for TCP, a bare recvfrom/sendto loop for UDP.
 *
 *     limit tcp|udp PORT          serves on 127.0.0.1 until it is killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[65536];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void serve_tcp(int listener) {
    int ep = epoll_create1(0), one = 1;
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, events[256];
    if (listen(listener, 4096) < 0) die("listen");
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int peer;
                while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    ev.data.fd = peer;
                    epoll_ctl(ep, EPOLL_CTL_ADD, peer, &ev);
                }
                continue;
            }
            ssize_t got = recv(fd, buffer, sizeof buffer, 0);
            if (got <= 0) {
                close(fd);
                continue;
            }
            for (ssize_t at = 0; at < got;) { /* a limit need not be fair: it waits for a slow reader */
                ssize_t sent = send(fd, buffer + at, got - at, MSG_NOSIGNAL);
                if (sent > 0) at += sent;
                else if (errno == EAGAIN) usleep(10);
                else break;
            }
        }
    }
}

static void serve_udp(int fd) {
    struct sockaddr_storage peer;
    for (;;) {
        socklen_t length = sizeof peer;
        ssize_t got = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&peer, &length);
        if (got >= 0) sendto(fd, buffer, got, 0, (struct sockaddr *)&peer, length);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: limit tcp|udp PORT\n"), 64;
    int tcp = !strcmp(argv[1], "tcp"), one = 1;
    int fd = socket(AF_INET, tcp ? SOCK_STREAM | SOCK_NONBLOCK : SOCK_DGRAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) die("bind");
    if (tcp) serve_tcp(fd);
    else serve_udp(fd);
}
